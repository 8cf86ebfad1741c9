"""Vault through its audit device and its list of accessors. Imports nothing of rotatord.

The audit device has values as HMACs, but accessors and labels as they are: :func:`ask_for_plain` has Vault write them so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.reaching import Vault
from tests.crash.seen import Json, Seen, Tail, Watched, seconds, short

_TRAFFIC, _CREATE, _DATA = "secret/data/crash/traffic-", "auth/token/create/", "secret/data/"
_SECRET_ID = "auth/approle/role/app/secret-id"
_ENDS = {"auth/token/revoke-accessor": "accessor", f"{_SECRET_ID}-accessor/destroy": "secret_id_accessor"}
_REFUSALS = ("permission denied", "invalid token", "invalid credentials", "invalid role or secret")
# What the audit device shall write as it is: an accessor is no secret, and by labels a mint is told from another.
PLAIN_IN_REQUESTS = {
    "token": ["accessor", "rotatord_credential", "rotatord_rotation", "rotatord_generation"],
    "approle": ["metadata", "secret_id_accessor"],
}
PLAIN_IN_ANSWERS = {"token": ["accessor"], "approle": ["secret_id_accessor"]}
_OF_INTEREST = (b"/traffic-", b"auth/token/create/", b"secret-id", b"revoke", b"approle/login", b'"path":"secret/')


@dataclass
class VaultSeen(Seen):
    """See :class:`Seen`."""

    vault: Vault = None  # type: ignore[assignment]
    tail: Tail = None  # type: ignore[assignment]
    watched: Sequence[Watched] = ()
    foreign_tokens: Sequence[str] = ()
    foreign_secret_id: str = ""
    whose: dict[str, str] = field(default_factory=dict)  # what was minted: accessor to credential

    @classmethod
    def at(cls, address: str, token: str, audit: Path, watched: Sequence[Watched], **more: Any) -> VaultSeen:
        ours = [each for each in watched if each.issuer in {"vault_token", "vault_approle"} or _kv(each)]
        return cls(vault=Vault(address, token), tail=Tail(audit), watched=ours, **more)

    # --- the record ---

    def read(self) -> None:
        """What has come to the audit device since."""
        for line in self.tail.lines():
            if b'"type":"response"' in line and any(word in line for word in _OF_INTEREST):
                self._take(json.loads(line))

    def _take(self, entry: Json) -> None:
        request, error = entry["request"], entry.get("error") or ""
        path: str = request["path"]
        if path.startswith(_TRAFFIC) and request["operation"] == "read":
            self._used(path.removeprefix(_TRAFFIC).removesuffix("-pod"), error, entry["time"])
        elif path == "auth/approle/login":
            self._used(self._of("vault_approle"), error, entry["time"])
        elif not error and path.startswith(_CREATE):
            labels = (request.get("data") or {}).get("meta") or {}
            self._minted(labels, entry["response"]["auth"]["accessor"])
        elif not error and path == _SECRET_ID and request["operation"] == "update":
            labels = json.loads((request.get("data") or {}).get("metadata") or "{}")
            if any(key.endswith("_rotation") for key in labels):
                self._minted(labels, entry["response"]["data"]["secret_id_accessor"])
        elif not error and path in _ENDS:
            self._ended(request["data"][_ENDS[path]], (entry.get("response") or {}).get("warnings") or [])
        elif not error and path.startswith(_DATA) and request["operation"] in {"create", "update"}:
            self._written(path.removeprefix(_DATA), entry["time"])

    def _used(self, name: str, error: str, when: str) -> None:
        self.uses[name] += 1
        if any(word in error for word in _REFUSALS):
            self.refused[name].append(f"{when} Vault: {' '.join(error.split())}")
        elif error:
            self.unavailable[name] += 1

    def _minted(self, labels: dict[str, str], accessor: str) -> None:
        told = {key.rpartition("_")[2]: value for key, value in labels.items()}
        name = told.get("credential", "")
        self.mints[name].append(accessor)
        self.labelled[name].append(f"{told.get('rotation')} generation {told.get('generation')}")
        self.whose[accessor] = name

    def _ended(self, accessor: str, warnings: list[str]) -> None:
        name = self.whose.get(accessor)
        if name is None:
            self.foreign.append(f"Vault: {accessor} was ended, and nobody of ours minted it")
        elif not warnings:  # with one: it was gone already
            self.ended[name].append(accessor)

    def _written(self, path: str, when: str) -> None:
        for each in self.watched:
            if f"kv {path}" in each.places:
                self.writes[each.name, f"kv {path}"] += 1
                if each.home == f"kv {path}":
                    self.published.append(seconds(when))
        if path == "crash/bystander" and self.writes["", path]:
            self.foreign.append("Vault: the bystander's document was written")
        self.writes["", path] += path == "crash/bystander"

    def _of(self, issuer: str) -> str:
        return next((each.name for each in self.watched if each.issuer == issuer), "")

    # --- how it stands ---

    def settled(self, each: Watched) -> list[str]:
        """What is wrong with a credential over which nothing is open: one live version, the published one, empty slots."""
        wrong = []
        if each.issuer == "vault_token":
            wrong += self._tokens(each)
        elif each.issuer == "vault_approle":
            wrong += self._secret_ids(each)
        if each.home.startswith("kv "):
            for slot in ("pending", "previous"):
                held = self.vault.document(f"{each.home.removeprefix('kv ')}.rotatord/{slot}")
                if [key for key in held if not key.startswith("_")]:
                    wrong.append(f"{each.name}: its slot {slot} in Vault holds a value")
        return wrong

    def _tokens(self, each: Watched) -> list[str]:
        live = self._live_tokens(each.name)
        current = self._accessor_of(self.vault.document(each.home.removeprefix("kv ")).get("TOKEN", ""))
        return one_lives(each.name, live, current)

    def _live_tokens(self, name: str) -> list[str]:
        live = []
        for accessor in self.vault.list("auth/token/accessors"):
            status, said = self.vault.write("auth/token/lookup-accessor", {"accessor": accessor})
            if status == 200 and name in said["data"]["policies"] and accessor not in self.foreign_tokens:
                live.append(accessor)
        return live

    def _accessor_of(self, token: str) -> str:
        status, said = self.vault.http.request("GET", "/v1/auth/token/lookup-self", X_Vault_Token=token) if token else (0, {})
        return str(said["data"]["accessor"]) if status == 200 else ""

    def _secret_ids(self, each: Watched) -> list[str]:
        live = [one for one in self.vault.list(_SECRET_ID) if one != self.foreign_secret_id]
        held = self.vault.document(each.home.removeprefix("kv "))
        body = {"secret_id": held.get("SECRET_ID", "")}
        status, said = self.vault.write(f"{_SECRET_ID}/lookup", body)
        current = str(said["data"]["secret_id_accessor"]) if status == 200 and said.get("data") else ""
        return one_lives(each.name, live, current)

    def bystanders(self) -> list[str]:
        """What has become of things that are nobody of ours."""
        wrong = [
            f"Vault: the foreign token {accessor} is gone"
            for accessor in self.foreign_tokens
            if self.vault.write("auth/token/lookup-accessor", {"accessor": accessor})[0] != 200
        ]
        if self.foreign_secret_id and self.foreign_secret_id not in self.vault.list(_SECRET_ID):
            wrong.append("Vault: the foreign secret-id is gone")
        if self.foreign_tokens and self.vault.document("crash/bystander") != {"KEEP": "as it is"}:
            wrong.append("Vault: the bystander's document was changed")
        return wrong


def ask_for_plain(vault: Vault) -> None:
    """As root: have the audit device write accessors and labels as they are."""
    for mount, keys in PLAIN_IN_REQUESTS.items():
        wanted = {"audit_non_hmac_request_keys": keys, "audit_non_hmac_response_keys": PLAIN_IN_ANSWERS[mount]}
        status, said = vault.write(f"sys/auth/{mount}/tune", wanted)
        if status >= 300:
            raise OSError(f"tune {mount}: {status} {said}")


def one_lives(name: str, live: list[str], current: str) -> list[str]:
    """Exactly one version lives, and it is the one that is published."""
    if not current:
        return [f"{name}: what is published is not alive; alive: {short(live) or 'none'}"]
    if live != [current]:
        others = [one for one in live if one != current]
        return [f"{name}: {len(live)} versions live, not one: {current} is published, orphaned: {short(others)}"]
    return []


def _kv(each: Watched) -> bool:
    return any(place.startswith("kv ") for place in each.places)
