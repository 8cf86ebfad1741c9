"""The API server's audit log: who did what to which object, without any body."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]

# Bodies are never logged, of nothing: they would put Secrets into a file. What the cluster does for itself is left out.
POLICY: Json = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {
            "level": "None",
            "users": ["system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "test:kwok"],
        },
        {"level": "Metadata"},
    ],
}


@dataclass(frozen=True)
class AuditEvent:
    """One request; ``code`` is 0 while a watch still runs."""

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    user: str
    uri: str
    agent: str


@dataclass
class AuditLog:
    """Reads the file on from where it stopped; a watch's two records count as one event."""

    file: Path
    _offset: int = 0
    _events: dict[str, AuditEvent] = field(default_factory=dict)

    def read(self) -> list[AuditEvent]:
        """Everything logged so far, in the order of the first record of each request."""
        if self.file.exists():
            with self.file.open("rb") as handle:
                handle.seek(self._offset)
                whole, _, _ = handle.read().rpartition(b"\n")  # the last line may still be being written
            if whole:
                self._offset += len(whole) + 1
            for line in whole.splitlines():
                record = json.loads(line)
                self._events[record["auditID"]] = _event(record)
        return list(self._events.values())


def _event(record: Json) -> AuditEvent:
    on = record.get("objectRef", {})
    ended = record["stage"] != "ResponseStarted"
    return AuditEvent(
        verb=record["verb"],
        resource=on.get("resource", ""),
        subresource=on.get("subresource", ""),
        namespace=on.get("namespace", ""),
        name=on.get("name", ""),
        code=record.get("responseStatus", {}).get("code", 0) if ended else 0,
        user=record.get("user", {}).get("username", ""),  # nobody, where a token was refused
        uri=record["requestURI"],
        agent=record.get("userAgent", ""),
    )
