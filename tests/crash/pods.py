"""Applications in the cluster. kwok pretends their pods, which read nothing: here stands what runs in them.

A pod holds the value that its Secret had when it started, becomes ready with it, and uses it until it is told to end. It is
gone only when it has stopped: a finalizer of ours holds it until then.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from tests.crash.reaching import Json, Kubernetes, Vault

LOOKS_EVERY = 0.2
FINALIZER = "rotatord.test/still-running"
UNREADY = "rotatord.test/unready"  # what the scene's pods are born with: see tests/servers/kwok_stages.py


@dataclass
class Pods:
    """All pods of one namespace. ``asks``: by application, the path in Vault that its pods ask for."""

    kubernetes: Kubernetes
    namespace: str
    asks: dict[str, str]
    vault: Vault
    name: str = "pods"
    held: dict[str, tuple[str, str]] = field(default_factory=dict)  # uid: application, token
    counts: dict[str, int] = field(default_factory=lambda: {"ok": 0, "refused": 0, "unavailable": 0, "unread": 0})
    said: list[str] = field(default_factory=list)

    def run(self, stopping: threading.Event) -> None:
        while not stopping.wait(LOOKS_EVERY):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the next look sees what this one did not
                self.counts["unread"] += 1
                self._note(f"not looked at: {type(error).__name__}: {error}")

    def look(self) -> None:
        """Meet the new ones, forget those that are gone, and let each one work."""
        status, said = self.kubernetes.get(f"/api/v1/namespaces/{self.namespace}/pods")
        if status != 200:
            raise OSError(f"pods: {status}")
        present = {raw["metadata"]["uid"] for raw in said["items"]}
        for raw in said["items"]:
            if raw["metadata"].get("deletionTimestamp"):
                self._end(raw)
            else:
                self._meet(raw)
        self.held = {uid: held for uid, held in self.held.items() if uid in present}
        for uid, (application, token) in self.held.items():
            reached = self.vault.ask(self.asks[application], token)
            self.counts[reached.how] += 1
            if reached.how == "refused":
                self._note(f"refused: {application} {uid} {reached.why}")

    def _meet(self, raw: Json) -> None:
        meta = raw["metadata"]
        application = meta["labels"].get("app", "")
        if meta["uid"] in self.held or application not in self.asks:
            return
        if raw.get("status", {}).get("phase") != "Running" or UNREADY not in meta.get("annotations", {}):
            return
        token = self.kubernetes.document(f"{self.namespace}/{application}").get("TOKEN", "")
        if not token or self.kubernetes.patch(self._path(raw), {"metadata": {"annotations": {UNREADY: None}}})[0] != 200:
            return  # it starts at the next look
        self.held[meta["uid"]] = (application, token)

    def _end(self, raw: Json) -> None:
        """It stops, and only then it may be gone."""
        self.held.pop(raw["metadata"]["uid"], None)
        if FINALIZER in raw["metadata"].get("finalizers", ()):
            self.kubernetes.patch(self._path(raw), {"metadata": {"finalizers": None}})

    def _path(self, raw: Json) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{raw['metadata']['name']}"

    def _note(self, what: str) -> None:
        if len(self.said) < 200:
            self.said.append(what[:300])
