"""rotatord replaces what it speaks to Vault with itself: its own token, and the secret-id it logs in with. A real Vault, least
rights, other credentials rotating beside it, and kill -9 in between: nothing is refused, and nobody is ever locked out."""

from __future__ import annotations

import json
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.running import Installation
from tests.servers.fixtures import KV_MOUNT, Place
from tests.servers.vault import VaultServer

pytestmark = [pytest.mark.vault, pytest.mark.slow, pytest.mark.timeout(600)]
ROTATIONS = 10
EXPECTED_REFUSED = ("auth/token/lookup-self", "auth/token/lookup")  # what is dead is shown to be refused
CONFIG = """
state_dir: state
log: {{format: json}}
issuers:
  tokens: {{type: vault_token, address: "{address}", auth: {{token: {{file: own-token}}}}, call_settles_within: 2s}}
  logins: {{type: vault_approle, role: {name}-login, address: "{address}", call_settles_within: 2s, auth: {approle}}}
backends:
  kv: {{type: vault, address: "{address}", auth: {approle}}}
  files: {{type: file}}
policies:
  default: {{max_age: 30d, overlap: 0s, settle: 0s, poll: 100ms, verify_within: 30s}}
  sloppy: {{max_age: 30d, overlap: 0s, settle: 0s, poll: 100ms, unproven: {{overlap: 100ms}}}}
credentials:
  - name: own-token
    issuer: tokens
    scope: {{permissions: [{own}]}}
    parameters: {{role: {name}-own}}
    destinations: [{{backend: files, path: own-token, format: raw, keys: {{token: token}}}}]
  - name: own-login
    issuer: logins
    destinations: [{{backend: files, path: login.json, keys: {{role_id: role_id, secret_id: secret_id}}}}]
  - name: app
    issuer: tokens
    policy: sloppy
    scope: {{permissions: [{name}]}}
    parameters: {{role: {name}}}
    destinations: [{{backend: kv, path: {name}/app, keys: {{TOKEN: token}}}}]
"""
APPROLE = "{approle: {role_id: {file: login.json, key: role_id}, secret_id: {file: login.json, key: secret_id}}}"


@dataclass
class Ours:
    """A daemon whose own ways into Vault are files that it writes itself, and the truth as root sees it."""

    server: VaultServer
    name: str
    installation: Installation
    first_token: str
    first_secret_id: str

    def alive(self, accessor: str) -> bool:
        return self.server.request("POST", "auth/token/lookup-accessor", {"accessor": accessor})[0] == 200

    def secret_ids(self) -> set[str]:
        status, answer = self.server.request("LIST", f"auth/approle/role/{self.name}-login/secret-id")
        return set(answer["data"]["keys"]) if status == 200 else set()

    def own_tokens(self) -> list[str]:
        """The live tokens that may do what ours may, logins aside."""
        found = []
        for accessor in self.server.call("LIST", "auth/token/accessors")["data"]["keys"]:
            status, answer = self.server.request("POST", "auth/token/lookup-accessor", {"accessor": accessor})
            if status == 200 and f"own-{self.name}" in answer["data"]["policies"]:
                found.append(accessor)
        return found

    def refused(self) -> list[str]:
        """What Vault refused of us that it should not have, by its audit device."""
        found = []
        for entry in self.server.audit():
            path = entry.get("request", {}).get("path", "")
            if entry["type"] == "response" and "permission denied" in entry.get("error", "") and path not in EXPECTED_REFUSED:
                found.append(f"{path}: {entry['error']}")
        return found


@pytest.fixture
def ours(own_vault: VaultServer, tmp_path: Any) -> Iterator[Ours]:
    """A Vault of its own: its audit device tells of nobody else."""
    place = Place(own_vault, "corner", tmp_path)
    own_vault.policy(place.name, f'path "{KV_MOUNT}/data/{place.name}/more" {{ capabilities = ["read"] }}')
    for role in (place.name, f"{place.name}-own"):
        place.documented_policy("rotatord-vault-token", ROLE=role)
    rules = place.rules[f"rotatord-vault-token-{place.name}"]
    own = f"own-{place.name}"
    own_vault.policy(own, rules)
    kind = {"orphan": True, "renewable": True, "token_type": "service"}
    own_vault.call("POST", f"auth/token/roles/{place.name}", {"allowed_policies": [place.name], **kind})
    own_vault.call("POST", f"auth/token/roles/{place.name}-own", {"allowed_policies": [own], **kind})
    place.documented_policy("rotatord-vault-kv", KV=KV_MOUNT, PATH=f"{place.name}/app")
    place.documented_policy("rotatord-vault-approle", MOUNT="approle", ROLE=f"{place.name}-login")
    policies = [f"rotatord-vault-kv-{place.name}", f"rotatord-vault-approle-{place.name}"]
    own_vault.call("POST", f"auth/approle/role/{place.name}-login", {"token_policies": policies, "token_ttl": "10m"})
    role_id = own_vault.call("GET", f"auth/approle/role/{place.name}-login/role-id")["data"]["role_id"]
    made = own_vault.call("POST", f"auth/approle/role/{place.name}-login/secret-id")["data"]
    token = own_vault.call("POST", "auth/token/create-orphan", {"policies": [own], "ttl": "1h"})["auth"]
    (tmp_path / "own-token").write_text(token["client_token"])
    (tmp_path / "login.json").write_text(json.dumps({"role_id": role_id, "secret_id": made["secret_id"]}))
    config = CONFIG.format(address=own_vault.address, name=place.name, own=own, approle=APPROLE)
    with Installation(tmp_path, config) as installation:
        yield Ours(own_vault, place.name, installation, token["accessor"], made["secret_id_accessor"])


def adopt(ours: Ours) -> None:
    """What a person does once: hand over what was made by hand, by ref, so that it ends when it is replaced."""
    daemon = ours.installation
    for name, ref in (("own-token", ours.first_token), ("own-login", f"approle/{ours.name}-login/{ours.first_secret_id}")):
        daemon.until_row(name, lambda row: row["standing"] == "unmanaged", "be seen")
        assert daemon.ask("adopt", name, "--ref", ref).returncode == 0
        daemon.until_quiet(name)
    daemon.until_quiet("app")


def test_own_token_and_login_ten_times_each(ours: Ours) -> None:
    """Each replaced ten times while another credential is: nothing refused, what was made by hand dead, one of each left."""
    adopt(ours)
    daemon = ours.installation
    assert set(daemon.row("own-token")["own_of"]) == {"issuers.tokens"}
    assert set(daemon.row("own-login")["own_of"]) == {"backends.kv", "issuers.logins"}
    for _ in range(ROTATIONS):
        for name in ("own-token", "app", "own-login"):
            daemon.rotated(name)
    assert daemon.row("own-token")["generation"] == daemon.row("own-login")["generation"] == ROTATIONS + 1
    assert ours.refused() == []
    assert len(ours.own_tokens()) == len(ours.secret_ids()) == 1
    assert not ours.alive(ours.first_token)
    assert ours.first_secret_id not in ours.secret_ids()


def test_killed_in_between(ours: Ours) -> None:
    """kill -9 at any moment of either: it goes on with whichever works, and ends as it should."""
    adopt(ours)
    daemon, dice = ours.installation, random.Random(7)
    for turn in range(ROTATIONS):
        name = ("own-token", "own-login")[turn % 2]
        daemon.command("rotate", name)
        threading.Event().wait(dice.random() * 0.5)
        daemon.stop(signal.SIGKILL)
        daemon.start()
        daemon.until_quiet(name, 90)
        daemon.rotated("app")
    assert ours.refused() == []
    assert len(ours.own_tokens()) == len(ours.secret_ids()) == 1


def test_a_new_one_that_lacks_a_right_is_never_published(ours: Ours) -> None:
    """Somebody takes a right out of the policy that new tokens get: what works and could not mint stays in the pending slot,
    is ended, and the one in place goes on."""
    adopt(ours)
    daemon, server = ours.installation, ours.server
    before = (daemon.directory / "own-token").read_text()
    weak = f"weak-{ours.name}"
    server.policy(weak, 'path "auth/token/revoke-accessor" { capabilities = ["update"] }')
    server.call("POST", f"auth/token/roles/{ours.name}-own", {"allowed_policies": [weak], "orphan": True})
    daemon.hang_up(daemon.config.replace(f"permissions: [own-{ours.name}]", f"permissions: [{weak}]"))
    row = daemon.until_row(
        "own-token",
        lambda row: (row["last_rotation"] or {}).get("state") == "rolled_back" and row["state"] == "quiet",
        "turn back",
    )
    assert "locked out" in row["last_rotation"]["error"]
    assert "auth/token/create" in row["last_rotation"]["error"]
    assert (daemon.directory / "own-token").read_text() == before
    daemon.rotated("app")
    assert ours.refused() == []
