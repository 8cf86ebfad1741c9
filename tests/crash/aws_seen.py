"""The strict AWS through its own book. Imports nothing of rotatord."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.crash.reaching import AWS_REFUSES, Http
from tests.crash.seen import Json, Seen, Watched, seconds
from tests.crash.vault_seen import one_lives

ROTATORD = "user/rotatord"
USED_FOR = "iam:GetUser"  # what applications do with their keys, and rotatord never with theirs


@dataclass
class AwsSeen(Seen):
    """See :class:`Seen`."""

    book: Http = None  # type: ignore[assignment]
    watched: Sequence[Watched] = ()
    foreign_key: str = ""
    now: Json = field(default_factory=dict)  # how everything stands, as of the last look
    _calls: int = 0
    _refusals: int = 0
    _whose: dict[str, str] = field(default_factory=dict)  # keys and sessions by the credential they were published for

    @classmethod
    def at(cls, book: str, watched: Sequence[Watched], **more: Any) -> AwsSeen:
        return cls(book=Http(book), watched=[each for each in watched if each.issuer.startswith("aws_")], **more)

    # --- the record ---

    def read(self) -> None:
        """What has come to the book since."""
        self.now = self.book.must("GET", f"/?calls={self._calls}&refusals={self._refusals}")
        self._calls += len(self.now["calls"])
        self._refusals += len(self.now["refusals"])
        for each in self.watched:
            for place in each.places:  # the same write repeated is the same version: versions are what counts
                kind, _, name = place.partition(" ")
                if kind == "secretsmanager":
                    self.writes[each.name, place] = self.now["secrets"].get(name, {}).get("versions", 0)
            key = self._published(each).get("KEY_ID")
            if key:
                self._whose[key] = each.name
        for call in self.now["calls"]:
            self._take(*call)
        for when, operation, key, why, code in self.now["refusals"]:
            if operation == USED_FOR and code in AWS_REFUSES:
                self.refused[self._name_of(key)].append(f"{when} AWS: {key} {why} ({code})")

    def _take(self, when: str, operation: str, key: str, caller: str, resource: str, outcome: str) -> None:
        if operation == USED_FOR and not caller.endswith(ROTATORD):
            self.uses[self._name_of(key)] += 1
            return
        if outcome != "ok" or not caller.endswith(ROTATORD):
            return
        name = resource.rpartition("/")[2]
        if operation == "iam:CreateAccessKey":
            self.mints[name].append(when)
        elif operation == "sts:AssumeRole":
            self.mints[self._of("aws_sts")].append(when)
        elif operation == "iam:DeleteAccessKey":
            self.ended[name].append(when)
        elif operation in {"secretsmanager:PutSecretValue", "ssm:PutParameter"}:
            self._written(operation, resource, when)
        if operation.startswith("iam:") and name not in {each.name for each in self.watched} and "Get" not in operation:
            self.foreign.append(f"AWS: {operation} on {resource}")

    def _written(self, operation: str, resource: str, when: str) -> None:
        for each in self.watched:
            for place in each.places:
                kind, _, name = place.partition(" ")
                if kind == "ssm" and resource.endswith(f":parameter{name}"):
                    self.writes[each.name, place] += 1
                elif kind == "secretsmanager" and f":secret:{name}-" in resource:
                    self.published.append(seconds(when))

    def _of(self, issuer: str) -> str:
        return next((each.name for each in self.watched if each.issuer == issuer), "")

    def _name_of(self, key: str) -> str:
        return self._whose.get(key, key)

    # --- how it stands ---

    def _published(self, each: Watched) -> dict[str, str]:
        secret = self.now["secrets"].get(each.home.partition(" ")[2]) or {"stages": {}}
        held: dict[str, str] = json.loads(secret["stages"].get("AWSCURRENT") or "{}")
        return held

    def settled(self, each: Watched) -> list[str]:
        """The one key that lives is published everywhere; the published session is known; no slot holds a value."""
        if each not in self.watched:
            return []
        self.read()
        wrong, held = [], self._published(each)
        key = held.get("KEY_ID", "")
        if each.issuer == "aws_iam_user":
            keys = self.now["keys"][each.name]
            wrong += one_lives(each.name, list(keys), key if keys.get(key) == "Active" else "")
        elif self.now["sessions"].get(key, "") <= self.now["at"]:
            wrong.append(f"{each.name}: the published session {key} is not alive")
        for place in each.places[1:]:
            kind, _, name = place.partition(" ")
            other = json.loads(self.now["parameters"].get(name, {}).get("text") or "{}") if kind == "ssm" else {}
            if other.get("KEY_ID") != key:
                wrong.append(f"{each.name}: {place} holds {other.get('KEY_ID')}, not {key}")
        return wrong + self._slots(each)

    def _slots(self, each: Watched) -> list[str]:
        # Sessions end by themselves only, and until then the last one may lie in previous.
        wrong, path = [], each.home.partition(" ")[2] + ("/pending" if each.issuer == "aws_sts" else "")
        for name, secret in self.now["secrets"].items():
            texts = [text or "" for text in secret["stages"].values()] if not secret["deleted"] else []
            if name.startswith(f"rotatord/{path}/") and any("AKIA" in text or "ASIA" in text for text in texts):
                wrong.append(f"{each.name}: the slot {name} holds a value")
        for name, parameter in self.now["parameters"].items():
            slot = f"/{path}/pending" in name or f"/{path}/previous" in name
            if name.startswith("/rotatord") and slot and "AKIA" in parameter["text"]:
                wrong.append(f"{each.name}: the slot {name} holds a value")
        return wrong

    def bystanders(self) -> list[str]:
        """What has become of things that are nobody of ours."""
        if self.foreign_key and self.now["keys"].get("bystander", {}).get(self.foreign_key) != "Active":
            return ["AWS: the bystander's key is gone"]
        return []
