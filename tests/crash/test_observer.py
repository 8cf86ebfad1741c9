"""The observer notices what it is there for: each violation is planted on real servers, by hand, and found."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.aws_seen import AwsSeen
from tests.crash.kubernetes_seen import KubernetesSeen
from tests.crash.observer import Observer, Told
from tests.crash.reaching import Aws, Vault
from tests.crash.seen import Watched, seconds
from tests.crash.vault_seen import VaultSeen, ask_for_plain
from tests.servers.component import die_with_parent, free_port
from tests.servers.fixtures import need, prepare
from tests.servers.kubernetes import ControlPlane
from tests.servers.vault import VAULT, VaultServer

ROOT = Path(__file__).resolve().parents[2]
INDEPENDENT = ("observer", "vault_seen", "kubernetes_seen", "aws_seen", "seen", "reaching", "busy_consumers", "pods")
OURS = ("rotatord", "issuers", "backends", "consumers")
QUIET = {"app": Told("quiet", minted=set(range(9)), publishes={(str(n), "") for n in range(9)}, deaths=set("abcdefg"))}


def test_it_imports_nothing_of_rotatord() -> None:
    """Neither the observer nor the applications do, nor anything of this folder that they import."""
    for name in INDEPENDENT:
        found = importlib.util.find_spec(f"tests.crash.{name}")
        assert found is not None
        assert found.origin is not None
        for node in ast.walk(ast.parse(Path(found.origin).read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for imported in names:
                top, _, rest = imported.partition(".")
                assert top not in OURS, f"{name} imports {imported}"
                if top == "tests":
                    assert rest.removeprefix("crash.") in INDEPENDENT, f"{name} imports {imported}"


def test_moments_are_read_with_any_number_of_decimals() -> None:
    """Vault gives nine, Kubernetes six, the fake of AWS an offset."""
    assert seconds("2026-11-22T11:16:31.474176292Z") == pytest.approx(seconds("2026-11-22T11:16:31.474176+00:00"), abs=1e-5)
    assert seconds("2026-11-22T11:16:31Z") == seconds("2026-11-22T11:16:31+00:00")


# --- Vault ------------------------------------------------------------------------------------------------------------


class OnVault:
    """A credential ``app`` whose tokens somebody mints and publishes by hand, and an application that uses them."""

    def __init__(self, server: VaultServer) -> None:
        self.server = server
        prepare(server)
        ask_for_plain(Vault(server.address, server.root_token))
        server.policy("app", 'path "secret/data/crash/traffic-app*" { capabilities = ["read"] }')
        server.call("POST", "auth/token/roles/app", {"allowed_policies": ["app"], "orphan": True})
        server.call("POST", "secret/data/crash/traffic-app", {"data": {"for": "app"}})
        server.call("POST", "secret/data/crash/bystander", {"data": {"KEEP": "as it is"}})
        self.foreign = server.call("POST", "auth/token/create-orphan", {"policies": ["app"]})["auth"]["accessor"]
        self.watched = [Watched("app", "vault_token", "kv crash/app", ("kv crash/app",))]
        more: dict[str, Any] = {"foreign_tokens": [self.foreign]}
        eye = VaultSeen.at(server.address, server.root_token, server.audit_file, self.watched, **more)
        self.observer = Observer(self.watched, (eye,))
        self.application = Vault(server.address, "")
        self.token, self.accessor = self.mint(1)
        self.publish()

    def mint(self, generation: int, rotation: str = "rot_1") -> tuple[str, str]:
        labels = {"rotatord_credential": "app", "rotatord_rotation": rotation, "rotatord_generation": str(generation)}
        made = self.server.call("POST", "auth/token/create/app", {"policies": ["app"], "meta": labels})["auth"]
        return made["client_token"], made["accessor"]

    def publish(self) -> None:
        self.server.call("POST", "secret/data/crash/app", {"data": {"TOKEN": self.token, "_rotatord": "{}"}})

    def revoke(self, accessor: str) -> None:
        self.server.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})

    def use(self) -> str:
        return self.application.ask("secret/data/crash/traffic-app", self.token).how

    def found(self, kind: str) -> list[str]:
        """What the full check says of this kind, after one use; nothing of any other."""
        self.observer.settled(QUIET)
        assert all(f" {kind}: " in each for each in self.observer.violations), self.observer.violations
        return self.observer.violations


@pytest.fixture
def on_vault(tmp_path: Path) -> Iterator[OnVault]:
    server = VaultServer(need(VAULT), tmp_path / "vault", audit_accessors=True)
    try:
        server.start()
        yield OnVault(server)
    finally:
        server.stop()


@pytest.mark.vault
class TestVault:
    """Over Vault's audit device and its accessors."""

    def test_nothing_is_wrong(self, on_vault: OnVault) -> None:
        """One token lives, it is the published one, and whoever uses it is served."""
        assert on_vault.use() == "ok"
        on_vault.observer.settled(QUIET)
        assert on_vault.observer.violations == []
        assert on_vault.observer.requests == 1
        assert on_vault.observer.unused == []
        assert len(on_vault.observer.published) == 1

    def test_a_token_revoked_under_its_consumer(self, on_vault: OnVault) -> None:
        """The use that was refused, and that nothing published lives."""
        on_vault.revoke(on_vault.accessor)
        assert on_vault.use() == "refused"
        on_vault.observer.look()
        (said,) = on_vault.observer.violations
        assert "refused: app" in said
        on_vault.observer.settled(QUIET)
        assert "what is published is not alive" in on_vault.observer.violations[1]

    def test_a_sealed_server_refuses_nobody(self, on_vault: OnVault) -> None:
        """Unavailable is not refused."""
        on_vault.server.seal()
        assert on_vault.use() == "unavailable"
        on_vault.server.unseal()
        assert on_vault.use() == "ok"
        assert on_vault.found("none") == []

    def test_an_extra_live_version(self, on_vault: OnVault) -> None:
        """A token that is labelled as ours and published nowhere."""
        _, orphan = on_vault.mint(2)
        (said,) = on_vault.found("orphans")
        assert orphan in said

    def test_a_doubled_mint(self, on_vault: OnVault) -> None:
        """The same label twice, though one of them is gone again."""
        _, twin = on_vault.mint(1)
        on_vault.revoke(twin)
        (said,) = on_vault.found("doubles")
        assert "minted twice for rot_1 generation 1" in said

    def test_a_mint_without_an_intent(self, on_vault: OnVault) -> None:
        """Vault has more mints than rotatord's log intended."""
        _, extra = on_vault.mint(2)
        on_vault.revoke(extra)
        on_vault.observer.settled({"app": Told("quiet", minted={1}, publishes={("rot_1", "1")}, deaths={"2"})})
        (said,) = on_vault.observer.violations
        assert "2 mints, and the log intended 1" in said

    def test_a_second_write_of_a_version(self, on_vault: OnVault) -> None:
        """More writes than publications."""
        on_vault.publish()
        on_vault.observer.settled({"app": Told("quiet", minted={1}, publishes={("rot_1", "1")})})
        (said,) = on_vault.observer.violations
        assert "2 writes of kv crash/app" in said

    def test_a_foreign_token_that_was_revoked(self, on_vault: OnVault) -> None:
        """What nobody of ours minted was ended."""
        on_vault.revoke(on_vault.foreign)
        found = on_vault.found("foreign")
        assert any("nobody of ours minted it" in each for each in found)
        assert any("is gone" in each for each in found)

    def test_a_value_left_in_a_slot(self, on_vault: OnVault) -> None:
        """Pending is not empty though nothing is open."""
        on_vault.server.call("POST", "secret/data/crash/app.rotatord/pending", {"data": {"token": "x"}})
        (said,) = on_vault.found("orphans")
        assert "slot pending" in said

    def test_what_does_not_settle(self, on_vault: OnVault) -> None:
        """An open rotation in a calm phase; a halt is allowed, and told."""
        on_vault.observer.settled({"app": Told("published")})
        assert "is published in a calm phase" in on_vault.observer.violations[0]
        on_vault.observer.settled({"app": Told("halted", halt="a person is needed")})
        assert on_vault.observer.halts == ["app: a person is needed"]


# --- AWS --------------------------------------------------------------------------------------------------------------


class OnAws:
    """A user ``app`` of the strict AWS as a program, whose key lies in a secret."""

    def __init__(self) -> None:
        use = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:GetUser", "Resource": "*"}]}
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        users = {"rotatord": everything, "bystander": None, "app": use}
        wanted = {"seed": 1, "port": free_port(), "users": users, "roles": {}, "keys": ["rotatord", "bystander"]}
        self.program = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.aws_account"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (a short and plain system call)
        )
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(json.dumps(wanted).encode() + b"\n")
        self.program.stdin.close()
        told = json.loads(self.program.stdout.readline())
        self.aws = Aws(told["url"], told["keys"]["rotatord"])
        self.iam = self.aws.client("iam", *told["keys"]["rotatord"])
        self.store = self.aws.client("secretsmanager", *told["keys"]["rotatord"])
        watched = [Watched("app", "aws_iam_user", "secretsmanager crash/app", ("secretsmanager crash/app",))]
        self.foreign = told["keys"]["bystander"][0]
        self.observer = Observer(watched, (AwsSeen.at(told["book"], watched, foreign_key=self.foreign),))
        made = self.iam.create_access_key(UserName="app")["AccessKey"]
        self.held = {"KEY_ID": made["AccessKeyId"], "KEY": made["SecretAccessKey"]}
        self.store.create_secret(Name="crash/app", SecretString=json.dumps(self.held))
        self.observer.look()

    def use(self) -> str:
        return self.aws.ask(self.held).how

    def use_until(self, how: str) -> None:
        """A change spreads within a second."""
        for _ in range(400):
            if self.use() == how:
                return
        raise AssertionError(f"never {how}")


@pytest.fixture
def on_aws() -> Iterator[OnAws]:
    made = OnAws()
    yield made
    made.program.terminate()
    made.program.wait(20)
    assert made.program.stdout is not None
    made.program.stdout.close()


class TestAws:
    """Over the strict AWS's own book."""

    def test_nothing_is_wrong(self, on_aws: OnAws) -> None:
        """One key lives, it is the published one, and it works once everybody knows of it."""
        on_aws.use_until("ok")
        on_aws.observer.settled(QUIET)
        assert [each for each in on_aws.observer.violations if " refused: " not in each] == []
        assert on_aws.observer.requests > 0

    def test_a_key_deleted_under_its_consumer(self, on_aws: OnAws) -> None:
        """The refused use, and that nothing published lives."""
        on_aws.iam.delete_access_key(UserName="app", AccessKeyId=on_aws.held["KEY_ID"])
        on_aws.use_until("refused")
        on_aws.observer.settled(QUIET)
        assert any("refused: app" in each for each in on_aws.observer.violations)
        assert any("what is published is not alive" in each for each in on_aws.observer.violations)

    def test_an_extra_key_and_an_unintended_one(self, on_aws: OnAws) -> None:
        """A second key of the user, which the log did not intend."""
        extra = on_aws.iam.create_access_key(UserName="app")["AccessKey"]["AccessKeyId"]
        on_aws.observer.settled({"app": Told("quiet", minted={1}, publishes={("rot_1", "1")})})
        assert any(" orphans: " in each and extra in each for each in on_aws.observer.violations)
        assert any(" doubles: " in each and "2 mints" in each for each in on_aws.observer.violations)

    def test_a_foreign_key(self, on_aws: OnAws) -> None:
        """Somebody else's key is deleted by us."""
        on_aws.iam.delete_access_key(UserName="bystander", AccessKeyId=on_aws.foreign)
        on_aws.observer.settled(QUIET)
        assert any("iam:DeleteAccessKey" in each for each in on_aws.observer.violations)
        assert any("bystander's key is gone" in each for each in on_aws.observer.violations)


# --- Kubernetes -------------------------------------------------------------------------------------------------------


@pytest.mark.kubernetes
def test_a_token_ended_under_its_consumer(own_control_plane: ControlPlane) -> None:
    """Its marker is deleted, and a second one is left: the refused use and the wrong number of markers are seen."""
    plane, base = own_control_plane, "/api/v1/namespaces/crash"
    plane.namespace("crash")
    plane.admin.must("POST", f"{base}/serviceaccounts", {"metadata": {"name": "app"}})
    plane.admin.must("POST", f"{base}/secrets", {"metadata": {"name": "bystander"}, "stringData": {"KEEP": "as it is"}})
    markers = [
        plane.admin.must(
            "POST", f"{base}/secrets", {"metadata": {"name": f"app-rotatord-token-{n}"}, "type": "rotatord.io/token-marker"}
        )
        for n in (1, 2)
    ]
    bound = {"apiVersion": "v1", "kind": "Secret", "name": "app-rotatord-token-1", "uid": markers[0]["metadata"]["uid"]}
    spec = {"spec": {"boundObjectRef": bound, "expirationSeconds": 3600}}
    token = plane.admin.must("POST", f"{base}/serviceaccounts/app/token", spec)["status"]["token"]
    plane.admin.must("POST", f"{base}/secrets", {"metadata": {"name": "app"}, "stringData": {"TOKEN": token}})
    plane.grant("crash", "app", [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}])
    plane.admin.must("POST", f"{base}/configmaps", {"metadata": {"name": "uses-app"}})
    watched = [Watched("app", "kubernetes_token", "secret crash/app", ("secret crash/app",))]
    pair = plane.pairs["admin"]
    reach = {"authority": str(plane.authority.file), "certificate": str(pair.certificate), "key": str(pair.key)}
    eye = KubernetesSeen.at({"address": plane.address, **reach}, plane.log.file, watched)
    observer = Observer(watched, (eye,))
    assert eye.cluster.ask("uses-app", token).how == "ok"
    observer.settled(QUIET)
    (said,) = observer.violations
    assert "2 versions live, not one: app-rotatord-token-1 is published" in said
    plane.admin.delete(f"{base}/secrets/app-rotatord-token-1")
    plane._until(lambda: eye.cluster.ask("uses-app", token).how == "refused", 30, "the end of the token")
    plane.audit()
    observer.settled(QUIET)
    assert any("refused: app" in each for each in observer.violations)
    assert any("what is published is not alive" in each for each in observer.violations)
