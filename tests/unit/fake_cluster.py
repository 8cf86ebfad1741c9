"""An API server in memory, as far as workloads need one: versions, compare-and-set, label selectors, refusals, faults."""

from __future__ import annotations

import copy
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from rotatord.errors import Conflict, OutsideError

Json = dict[str, Any]
KINDS = {"deployments": "Deployment", "statefulsets": "StatefulSet", "daemonsets": "DaemonSet"}
START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class FakeCluster:
    """Objects by kind, namespace and name. Nothing happens by itself: a test plays the controllers."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.calls: list[tuple[str, str]] = []
        self.fails: list[OutsideError] = []  # raised by the next calls, one each
        self.before_apply: list[Any] = []  # called before the next applies, one each
        self.denied: set[tuple[str, str]] = set()  # verb and resource
        self.closed = False
        self.now = START
        self.ahead = timedelta(0)  # of our clock before the cluster's
        self._numbers = itertools.count(1)

    def within(self, seconds: float) -> FakeCluster:
        return self

    def close(self) -> None:
        self.closed = True

    @property
    def server_time(self) -> datetime | None:
        return self.now

    def our_time(self) -> datetime:
        """What the daemon's own clock shows."""
        return self.now + self.ahead

    def time(self) -> str:
        return self.now.isoformat().replace("+00:00", "Z")

    def put(self, kind: str, body: Json) -> Json:
        """Create or replace, as whoever else works in the cluster does."""
        meta = body["metadata"]
        key = (kind, meta.setdefault("namespace", "ns"), meta["name"])
        number = next(self._numbers)
        meta.setdefault("uid", f"uid-{number}")
        meta.setdefault("creationTimestamp", self.time())
        old = self.objects.get(key)
        changed = old is not None and old.get("spec") != body.get("spec")
        meta["generation"] = (old["metadata"]["generation"] + changed) if old else meta.get("generation", 1)
        meta["resourceVersion"] = str(number)
        self.objects[key] = copy.deepcopy(body)
        return body

    def edit(self, kind: str, name: str, **parts: Any) -> Json:
        """Change top-level parts of an object."""
        body = copy.deepcopy(self.objects[kind, "ns", name])
        for part, value in parts.items():
            body[part] = {**body.get(part, {}), **value}
        return self.put(kind, body)

    def age(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    # --- what the product calls ---

    def get(self, kind: str, namespace: str, name: str) -> Json | None:
        self._enter("get", kind)
        found = self.objects.get((kind, namespace, name))
        return copy.deepcopy(found)

    def list(self, kind: str, namespace: str, *, labels: str = "") -> list[Json]:
        self._enter("list", kind)
        wanted = [part.partition("=") for part in labels.split(",") if part]
        return [
            copy.deepcopy(body)
            for (its_kind, its_namespace, _), body in sorted(self.objects.items())
            if (its_kind, its_namespace) == (kind, namespace)
            and all(body["metadata"].get("labels", {}).get(key) == value for key, _, value in wanted)
        ]

    def apply(self, kind: str, namespace: str, name: str, body: Json, *, manager: str, force: bool = False) -> Json:
        if self.before_apply:
            self.before_apply.pop(0)()
        self._enter("patch", kind)
        old = self.objects.get((kind, namespace, name))
        meta = body["metadata"]
        if old is None or old["metadata"]["uid"] != meta["uid"]:
            raise Conflict("it is another one")
        if old["metadata"]["resourceVersion"] != meta["resourceVersion"]:
            raise Conflict("the object has been modified")
        new = _merged(copy.deepcopy(old), {"spec": body["spec"]})
        entry = {"manager": manager, "operation": "Apply", "time": self.time(), "fieldsV1": {"f:spec": {"f:template": {}}}}
        others = [each for each in new["metadata"].get("managedFields", []) if each["manager"] != manager]
        new["metadata"]["managedFields"] = [*others, entry]
        return copy.deepcopy(self.put(kind, new))

    def delete(self, kind: str, namespace: str, name: str, *, uid: str | None = None) -> None:
        self._enter("delete", kind)
        old = self.objects.get((kind, namespace, name))
        if old is not None and uid in (None, old["metadata"]["uid"]):
            del self.objects[kind, namespace, name]

    def review_access(self, attributes: Json) -> bool:
        self._enter("review", attributes["resource"])
        return (attributes["verb"], attributes["resource"]) not in self.denied

    def _enter(self, verb: str, kind: str) -> None:
        self.calls.append((verb, kind))
        if self.fails:
            raise self.fails.pop(0)

    def done(self, verb: str) -> int:
        """How often a verb was asked for."""
        return sum(each == verb for each, _ in self.calls)


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}


# --- what the controllers would have made ----------------------------------------------------------------------------


def workload(kind: str, name: str = "web", **spec: Any) -> Json:
    """A workload whose rollout is over."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    body: Json = {
        "apiVersion": "apps/v1",
        "kind": KINDS[kind],
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }
    if kind != "daemonsets":
        body["spec"].setdefault("replicas", 3)
    return body


def pod(name: str, owner: Json, *, app: str = "web", ready: bool = True, **labels: str) -> Json:
    """A running pod that ``owner`` controls."""
    return {
        "metadata": {
            "name": name,
            "labels": {"app": app, **{key.replace("_", "-"): value for key, value in labels.items()}},
            "ownerReferences": [reference(owner)],
        },
        "spec": {"containers": [{"name": "main", "image": "x"}], "nodeName": "node-a"},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"name": "main", "ready": ready, "state": {"running": {}}}],
        },
    }


def reference(owner: Json) -> Json:
    meta = owner["metadata"]
    return {"kind": owner["kind"], "name": meta["name"], "uid": meta["uid"], "controller": True}


def waiting(raw: Json, reason: str, message: str = "") -> Json:
    """The same pod with a container that does not start."""
    state = {"waiting": {"reason": reason, "message": message}}
    ended = {"terminated": {"exitCode": 1, "message": "token=hunter2 is wrong"}}
    raw["status"]["containerStatuses"] = [{"name": "main", "ready": False, "state": state, "lastState": ended}]
    raw["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    return raw
