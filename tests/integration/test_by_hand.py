"""The page for whoever rotates by hand while rotatord is down: its commands, typed as they stand there, at real servers, and
what rotatord makes of it when it is back."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rotatord.testing.aws import REGION, FakeAws
from tests.integration.on_vault import Corner
from tests.integration.running import ROTATORD, Installation
from tests.servers.fixtures import KV_MOUNT, Place, need
from tests.servers.helm import KUBECTL
from tests.servers.kubernetes import ControlPlane
from tests.servers.system_program import AWS_CLI, JQ
from tests.servers.vault import VAULT

PAGE = Path(__file__).parents[2] / "docs" / "by-hand.md"
SECONDS = 120
POLICY = "policies: {default: {poll: 200ms, settle: 0s, suspend: false, unproven: {overlap: 200ms}}}\n"
CREDENTIAL = """
credentials:
  - {{name: app, issuer: tokens, {scope}destinations: [{{{place}, keys: {{TOKEN: token}}, version_key: VERSION}}]}}
"""


def block(name: str) -> str:
    """The commands under this mark of the page."""
    found = re.search(rf"<!-- by hand: {re.escape(name)} -->\n\n```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"the page has no block {name}"
    return found[1]


@dataclass
class Shell:
    """Somebody's terminal: variables stay from one block to the next. ``names``: what the page calls otherwise."""

    home: Path
    installation: Installation
    programs: list[Path]
    environment: dict[str, str]
    names: dict[str, str]
    typed: list[str] = field(default_factory=list)

    def types(self, text: str, *, ends: int = 0) -> str:
        """What it prints. Blocks typed before set their variables again, but do nothing else."""
        for old, new in self.names.items():
            text = text.replace(old, new)
        folder = self.home / "bin"
        folder.mkdir(exist_ok=True)
        for each in [*self.programs, Path(ROTATORD)]:
            if not (folder / each.name).exists():
                (folder / each.name).symlink_to(each)
        state = self.home / "variables"
        before = f"set -euo pipefail\n[ ! -f {state} ] || . {state}\n"
        kept = "NEW REF MOUNT DOCUMENT KEY NAMESPACE SECRET"
        after = f"\ndeclare -p {kept} 2>/dev/null | sed 's/^declare -[-x]*/export/' >{state} || true\n"
        own = {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(self.home)}
        own["ROTATORD_STATE_DIR"] = str(self.installation.state)
        done = subprocess.run(
            ["bash", "-c", before + text + after],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**own, **self.environment},
            cwd=self.home,
            check=False,
        )
        said = done.stdout + done.stderr
        assert done.returncode == ends, said
        return said


def lines(text: str) -> list[str]:
    """Each command of a block."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def until_drift(installation: Installation) -> None:
    row = installation.until_row("app", lambda row: bool(row["drift"]), "see that somebody was there")
    assert [item["what"] for item in row["drift"]] == ["foreign"]


@pytest.fixture
def hand_over(tmp_path: Path) -> Iterator[list[Installation]]:
    """What is started here is ended."""
    started: list[Installation] = []
    yield started
    for each in started:
        if each.daemon is not None:
            each.stop()


@pytest.mark.vault
@pytest.mark.timeout(SECONDS + 60)
def test_a_token_of_vault_is_rotated_by_hand(vault_place: Place, hand_over: list[Installation]) -> None:
    """Steps 1 to 6: nobody is at work, the new token is written and the old one ended by hand, and adopted afterwards."""
    place = vault_place
    corner = Corner.make(place)
    scope = f"scope: {{permissions: [{corner.name}]}}, "
    where = f"backend: kv, mount: {KV_MOUNT}, path: {corner.name}/app"
    installation = Installation(place.directory, corner.head() + POLICY + CREDENTIAL.format(scope=scope, place=where))
    hand_over.append(installation)
    installation.start()
    installation.until_row("app", lambda row: row["state"] == "quiet", "make the first version")
    ours, (old_ref,) = corner.document()["TOKEN"], corner.labelled()
    installation.stop()
    root = {"VAULT_ADDR": corner.server.address, "VAULT_TOKEN": corner.server.root_token, "OLD_REF": old_ref}
    names = {"ROLE=app": f"ROLE={corner.name}", "DOCUMENT=apps/app": f"DOCUMENT={corner.name}/app"}
    names["MOUNT=secret"] = f"MOUNT={KV_MOUNT}"
    shell = Shell(place.directory, installation, [need(VAULT), need(JQ)], root, names)

    looked = re.search(r"## 1\. Look\n\n```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert looked
    status, plan, why = lines(looked[1])
    assert "this is what its journal says" in shell.types(status, ends=3)
    assert "app" in shell.types(plan, ends=3)
    assert "live:" in shell.types(why)
    shell.types(block("vault issuer"))
    assert shell.types(block("vault")).endswith("written\n")
    hand = corner.document()["TOKEN"]
    assert hand != ours
    assert corner.works(hand)
    assert corner.works(ours)
    assert "VERSION" in corner.document()
    shell.types(block("revoke"))
    assert not corner.works(ours)

    installation.start()
    until_drift(installation)
    assert corner.document()["TOKEN"] == hand
    looks, adopts = lines(block("back"))
    assert "foreign value" in shell.types(looks, ends=1)
    shell.types(adopts)
    row = installation.until_row("app", lambda row: row["state"] == "quiet" and not row["drift"], "take it over", SECONDS)
    assert (row["generation"], row["needs_person"]) == (2, [])
    assert corner.document() == corner.document() | {"TOKEN": hand, "VERSION": row["version"]}
    installation.rotate("app")
    installation.until_row("app", lambda row: row["state"] == "quiet", "go on as before", SECONDS)
    assert not corner.works(hand)


@pytest.mark.kubernetes
@pytest.mark.timeout(SECONDS + 60)
def test_a_kubernetes_secret_is_changed_by_hand(
    control_plane: ControlPlane, tmp_path: Path, hand_over: list[Installation]
) -> None:
    """The key is changed beside the others, its workload restarted; rotatord leaves it, and puts its own back when told."""
    namespace = control_plane.namespace(f"t{secrets.token_hex(5)}")
    kubeconfig = control_plane.kubeconfig(tmp_path / "kubeconfig.json")
    control_plane.deployment(namespace, "app")
    config = f"state_dir: state\nissuers: {{tokens: {{type: builtin, permissions: [read]}}}}\n{POLICY}"
    config += f"backends: {{cluster: {{type: kubernetes, kubeconfig: {kubeconfig}}}}}\n"
    where = f"backend: cluster, namespace: {namespace}, name: app"
    installation = Installation(tmp_path, config + CREDENTIAL.format(scope="scope: {permissions: [read]}, ", place=where))
    hand_over.append(installation)
    installation.start()
    installation.until_row("app", lambda row: row["state"] == "quiet", "make the first version")
    before = secret_of(control_plane, namespace)
    installation.stop()
    names = {"NAMESPACE=app": f"NAMESPACE={namespace}"}
    told = {"KUBECONFIG": str(kubeconfig), "NEW": "made-by-hand-4711"}
    shell = Shell(tmp_path, installation, [need(KUBECTL), need(JQ)], told, names)
    assert shell.types(block("kubernetes")).endswith("written\n")
    assert secret_of(control_plane, namespace) == before | {"TOKEN": "made-by-hand-4711"}
    assert "successfully rolled out" in shell.types(block("restart"))
    put_back(installation, shell)
    after = secret_of(control_plane, namespace)
    assert after["TOKEN"] not in {before["TOKEN"], "made-by-hand-4711"}
    assert after["VERSION"].startswith("2-")


def put_back(installation: Installation, shell: Shell) -> None:
    """rotatord is back, keeps what it finds, and writes one of its own when it is told to: its old one is in no slot."""
    installation.start()
    until_drift(installation)
    threading.Event().wait(1.0)
    assert installation.row("app")["rotation"] is None
    shell.types(block("back to ours"))
    installation.until_row("app", lambda row: row["state"] == "quiet" and not row["drift"], "put ours back", SECONDS)


def secret_of(plane: ControlPlane, namespace: str) -> dict[str, str]:
    status, answer = plane.admin.get(f"/api/v1/namespaces/{namespace}/secrets/app")
    assert status == 200, answer
    return {key: base64.b64decode(value).decode() for key, value in answer["data"].items()}


@pytest.mark.timeout(SECONDS + 60)
def test_a_secret_of_aws_is_changed_by_hand(aws: FakeAws, tmp_path: Path, hand_over: list[Installation]) -> None:
    """The key is changed beside the others; rotatord leaves it alone, and puts its own back on demand."""
    own = f"region: {REGION}, endpoint_url: '{aws.url}', access_key: {{id: {{env: OWN_ID}}, secret: {{env: OWN_KEY}}}}"
    config = f"state_dir: state\nissuers: {{tokens: {{type: builtin, permissions: [read]}}}}\n{POLICY}"
    config += f"backends: {{store: {{type: aws_secrets_manager, {own}}}}}\n"
    where = "backend: store, name: apps/app"
    environment = {"OWN_ID": aws.admin.id, "OWN_KEY": aws.admin.secret}
    text = config + CREDENTIAL.format(scope="scope: {permissions: [read]}, ", place=where)
    installation = Installation(tmp_path, text, environment)
    hand_over.append(installation)
    installation.start()
    installation.until_row("app", lambda row: row["state"] == "quiet", "make the first version")
    reader = aws.client("secretsmanager")

    def held() -> dict[str, str]:
        found: dict[str, str] = json.loads(reader.get_secret_value(SecretId="apps/app")["SecretString"])
        return found

    before = held()
    installation.stop()
    told = {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": aws.admin.id,
        "AWS_SECRET_ACCESS_KEY": aws.admin.secret,
        "AWS_DEFAULT_REGION": REGION,
        "NEW": "made-by-hand-4711",
    }
    shell = Shell(tmp_path, installation, [need(AWS_CLI), need(JQ)], told, {})
    assert shell.types(block("aws")).endswith("written\n")
    assert held() == before | {"TOKEN": "made-by-hand-4711"}
    put_back(installation, shell)
    assert held()["TOKEN"] not in {before["TOKEN"], "made-by-hand-4711"}
    assert held()["VERSION"].startswith("2-")
