"""What the tests of our own credentials at a real Vault share: a daemon's ways in as files that it writes itself, under least
rights, and the truth as root and the audit device see it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.integration.running import Installation
from tests.servers.fixtures import KV_MOUNT, Place
from tests.servers.vault import VaultServer

EXPECTED = ("auth/token/lookup-self", "auth/token/lookup")  # what is dead is shown to be refused
CONFIG = """
state_dir: state
log: {{format: json}}
issuers:
  tokens: {{type: vault_token, address: "{address}", auth: {{token: {{file: "{where}/own-token"}}}}, call_settles_within: 2s}}
  logins: {{type: vault_approle, role: {name}-login, address: "{address}", call_settles_within: 2s, auth: {approle}}}
backends:
  kv: {{type: vault, address: "{address}", auth: {approle}}}
  files: {{type: file, slots: "{where}/slots"}}
policies:
  default: {{max_age: 30d, overlap: 0s, settle: 0s, poll: 100ms, verify_within: 30s}}
  sloppy: {{max_age: 30d, overlap: 0s, settle: 0s, poll: 100ms, unproven: {{overlap: 100ms}}}}
credentials:
  - name: own-token
    issuer: tokens
    scope: {{permissions: [{own}]}}
    parameters: {{role: {name}-own}}
    destinations: [{{backend: files, path: "{where}/own-token", format: raw, keys: {{token: token}}}}]
  - name: own-login
    issuer: logins
    destinations: [{{backend: files, path: "{where}/login.json", keys: {{role_id: role_id, secret_id: secret_id}}}}]
  - name: app
    issuer: tokens
    policy: sloppy
    scope: {{permissions: [{name}]}}
    parameters: {{role: {name}}}
    destinations: [{{backend: kv, path: {name}/app, keys: {{TOKEN: token}}}}]
"""
APPROLE = (
    '{{approle: {{role_id: {{file: "{where}/login.json", key: role_id}}, '
    'secret_id: {{file: "{where}/login.json", key: secret_id}}}}}}'
)


@dataclass
class Ours:
    """A daemon whose own ways into Vault are files that it writes itself, and the truth as root sees it."""

    server: VaultServer
    name: str
    config: str
    first_token: str
    first_secret_id: str

    @classmethod
    def make(cls, server: VaultServer, directory: Path) -> Self:
        """Roles, policies and the first of both, as a person sets them up; one Vault for each test, whose audit device tells
        of nobody else."""
        place = Place(server, "corner", directory)
        server.policy(place.name, f'path "{KV_MOUNT}/data/{place.name}/more" {{ capabilities = ["read"] }}')
        for role in (place.name, f"{place.name}-own"):
            place.documented_policy("rotatord-vault-token", ROLE=role)
        rules = place.rules[f"rotatord-vault-token-{place.name}"]
        own = f"own-{place.name}"
        server.policy(own, rules)
        kind = {"orphan": True, "renewable": True, "token_type": "service"}
        server.call("POST", f"auth/token/roles/{place.name}", {"allowed_policies": [place.name], **kind})
        server.call("POST", f"auth/token/roles/{place.name}-own", {"allowed_policies": [own], **kind})
        place.documented_policy("rotatord-vault-kv", KV=KV_MOUNT, PATH=f"{place.name}/app")
        place.documented_policy("rotatord-vault-approle", MOUNT="approle", ROLE=f"{place.name}-login")
        policies = [f"rotatord-vault-kv-{place.name}", f"rotatord-vault-approle-{place.name}"]
        server.call("POST", f"auth/approle/role/{place.name}-login", {"token_policies": policies, "token_ttl": "10m"})
        role_id = server.call("GET", f"auth/approle/role/{place.name}-login/role-id")["data"]["role_id"]
        made = server.call("POST", f"auth/approle/role/{place.name}-login/secret-id")["data"]
        token = server.call("POST", "auth/token/create-orphan", {"policies": [own], "ttl": "1h"})["auth"]
        (directory / "own-token").write_text(token["client_token"])
        (directory / "login.json").write_text(json.dumps({"role_id": role_id, "secret_id": made["secret_id"]}))
        approle = APPROLE.format(where=directory)
        config = CONFIG.format(address=server.address, name=place.name, own=own, approle=approle, where=directory)
        return cls(server, place.name, config, token["accessor"], made["secret_id_accessor"])

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
            if entry["type"] == "response" and "permission denied" in entry.get("error", "") and path not in EXPECTED:
                found.append(f"{path}: {entry['error']}")
        return found

    def adopt(self, daemon: Installation) -> None:
        """What a person does once: hand over what was made by hand, by ref, so that it ends when it is replaced."""
        for name, ref in (
            ("own-token", self.first_token),
            ("own-login", self.first_secret_id),  # its accessor is what a person has
        ):
            daemon.until_row(name, lambda row: row["standing"] == "unmanaged", "be seen")
            assert daemon.ask("adopt", name, "--ref", ref).returncode == 0
            daemon.until_quiet(name)
        daemon.until_quiet("app")
