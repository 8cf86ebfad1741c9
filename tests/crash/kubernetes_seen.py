"""The Kubernetes API through its audit log and its objects. Imports nothing of rotatord."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash.reaching import Kubernetes
from tests.crash.seen import Json, Seen, Tail, Watched, seconds
from tests.crash.vault_seen import one_lives

NAMESPACE = "crash"
ROTATORD = f"system:serviceaccount:{NAMESPACE}:rotatord"
MARKER_TYPE = "rotatord.io/token-marker"
_OF_INTEREST = (b"/configmaps/uses-", b"system:serviceaccount:crash:rotatord")
_READING = {"get", "list", "watch"}


@dataclass
class KubernetesSeen(Seen):
    """See :class:`Seen`."""

    cluster: Kubernetes = None  # type: ignore[assignment]
    tail: Tail = None  # type: ignore[assignment]
    watched: Sequence[Watched] = ()
    accounts: frozenset[str] = frozenset()  # ServiceAccounts whose tokens are ours

    @classmethod
    def at(cls, reach: Json, audit: Path, watched: Sequence[Watched], **more: Any) -> KubernetesSeen:
        ours = [each for each in watched if any(place.startswith("secret ") for place in each.places)]
        accounts = frozenset(each.name for each in watched if each.issuer == "kubernetes_token")
        return cls(cluster=Kubernetes(**reach), tail=Tail(audit), watched=ours, accounts=accounts, **more)

    # --- the record ---

    def read(self) -> None:
        """What has come to the audit log since."""
        for line in self.tail.lines():
            if any(word in line for word in _OF_INTEREST):
                self._take(json.loads(line))

    def _take(self, event: Json) -> None:
        on, code = event.get("objectRef") or {}, (event.get("responseStatus") or {}).get("code", 0)
        if event["stage"] == "ResponseStarted" and code != 401:  # a watch; of a refused token nothing else is recorded
            return
        name, when = str(on.get("name", "")), event["requestReceivedTimestamp"]
        if on.get("resource") == "configmaps" and name.startswith("uses-"):
            self._used(name.removeprefix("uses-"), code, when)
        elif event["user"].get("username") == ROTATORD and code < 300 and event["verb"] not in _READING:
            if "dryRun=" in event["requestURI"]:
                return
            self._changed(event["verb"], on, name, when)

    def _used(self, name: str, code: int, when: str) -> None:
        self.uses[name] += 1
        if code == 401:
            self.refused[name].append(f"{when} Kubernetes: 401")
        elif code >= 300:
            self.unavailable[name] += 1

    def _changed(self, verb: str, on: Json, name: str, when: str) -> None:
        resource = f"{on.get('resource')}/{on['subresource']}" if on.get("subresource") else on.get("resource")
        if resource == "serviceaccounts/token":
            self.mints[name].append(when)
            if name not in self.accounts:
                self.foreign.append(f"Kubernetes: a token of the ServiceAccount {name}")
        elif resource == "secrets":
            self._secret(verb, name, when)
        elif resource == "deployments" and name not in {each.name for each in self.watched}:
            self.foreign.append(f"Kubernetes: {verb} deployment {name}")

    def _secret(self, verb: str, name: str, when: str) -> None:
        for account in self.accounts:
            if verb == "delete" and name.startswith(f"{account}-rotatord-token-"):
                self.ended[account].append(f"{name} at {when}")
        ours = [each for each in self.watched if name == each.name or name.startswith(f"{each.name}-rotatord-")]
        if not ours or (verb == "delete" and "-rotatord-token-" not in name):
            self.foreign.append(f"Kubernetes: {verb} secret {name}")
        for each in ours:
            place = f"secret {NAMESPACE}/{name}"
            if place in each.places:
                self.writes[each.name, place] += 1
                if each.home == place:
                    self.published.append(seconds(when))

    # --- how it stands ---

    def settled(self, each: Watched) -> list[str]:
        """One marker where tokens are minted, the published token accepted; slots empty; every destination alike."""
        wrong = []
        if each.issuer == "kubernetes_token":
            token = self._document(each.name).get("TOKEN", "")
            live = self._markers(each.name)
            current = self._marker_of(token)
            wrong += one_lives(each.name, live, current)
        if each.home.startswith("secret "):
            for slot in ("pending", "previous"):
                if self._document(f"{each.name}-rotatord-{slot}"):
                    wrong.append(f"{each.name}: its slot {slot} in Kubernetes holds a value")
        return wrong

    def _document(self, name: str) -> dict[str, str]:
        return self.cluster.document(f"{NAMESPACE}/{name}")

    def _markers(self, account: str) -> list[str]:
        status, said = self.cluster.get(f"/api/v1/namespaces/{NAMESPACE}/secrets", fieldSelector=f"type={MARKER_TYPE}")
        if status != 200:
            raise OSError(f"markers: {status}")
        return [raw["metadata"]["name"] for raw in said["items"] if raw["metadata"]["name"].startswith(f"{account}-rotatord")]

    def _marker_of(self, token: str) -> str:
        """The marker that a token says it is bound to; "" where the API server does not take it."""
        if not token:
            return ""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        status, said = self.cluster.http.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body)
        if status != 201 or not said["status"].get("authenticated"):
            return ""
        claims = token.split(".")[1]
        bound = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["kubernetes.io"]
        return str((bound.get("secret") or {}).get("name", ""))

    def bystanders(self) -> list[str]:
        """What has become of things that are nobody of ours."""
        wrong = []
        if self._document("bystander") != {"KEEP": "as it is"}:
            wrong.append("Kubernetes: the bystander's Secret was changed")
        if any(each.name == "tok-a" for each in self.watched) and self._document("tok-a").get("KEEP") != "as it is":
            wrong.append("Kubernetes: a key of somebody else's in the Secret tok-a was changed")
        return wrong
