"""A workload in virtual time: pods that read, use and end, controllers that replace them, and what an API server shows of it.

The plugin over it is the real one; every request that it sends passes the strikes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from rotatord.model import digest_of
from rotatord.testing.consumer import FakeConsumer, FakeInstance
from tests.integration.every_call import Strikes
from tests.unit.fake_cluster import FakeCluster, pod, reference, waiting, workload

Json = dict[str, Any]
STARTS = timedelta(seconds=1)
WANTED = 3


class PretendedCluster(FakeCluster):
    """Struck at each request; shows what the controllers of its workload have come to."""

    def __init__(self, owner: Pretended) -> None:
        super().__init__()
        self.owner = owner
        self.strikes = Strikes()

    @property
    def server_time(self) -> datetime | None:
        return self.owner.clock.outside()

    def time(self) -> str:
        return self.owner.clock.outside().isoformat()

    def get(self, kind: str, namespace: str, name: str) -> Json | None:
        return self.strikes.send(f"get {kind}", lambda: FakeCluster.get(self, kind, namespace, name), effect=False)

    def list(self, kind: str, namespace: str, *, labels: str = "") -> list[Json]:
        return self.strikes.send(f"list {kind}", lambda: FakeCluster.list(self, kind, namespace, labels=labels), effect=False)

    def apply(self, kind: str, namespace: str, name: str, body: Json, *, manager: str, force: bool = False) -> Json:
        def write() -> Json:
            return FakeCluster.apply(self, kind, namespace, name, body, manager=manager, force=force)

        return self.strikes.send(f"patch {kind}", write, effect=True)

    def delete(self, kind: str, namespace: str, name: str, *, uid: str | None = None) -> None:
        def gone() -> None:
            FakeCluster.delete(self, kind, namespace, name, uid=uid)
            self.owner.deleted(uid or "")

        return self.strikes.send(f"delete {kind}", gone, effect=True)


class Pretended(FakeConsumer):
    """The pods of one workload, and its controller: one act a tick. ``drains``: how long a pod takes to end."""

    def __init__(self, *arguments: Any, resource: str, **settings: Any) -> None:
        self.resource = resource
        self.revision, self.template = 1, ""
        self.made: dict[str, tuple[int, int]] = {}  # by id: revision and ordinal
        self.cluster = PretendedCluster(self)
        super().__init__(*arguments, evidence="rollout", copies=0, **settings)
        self.cluster.put(resource, workload(resource, "web", replicas=WANTED))
        self.tick()

    def deleted(self, uid: str) -> None:
        """A pod is to end: by our plugin's hand."""
        for copy in self.copies:
            if copy.id == uid and copy.ends_at is None:
                copy.ends_at = self.clock.outside() + self.drains

    def tick(self) -> None:
        with self._lock:
            self._work()
            self._act()
            self._show()
            for copy in self.copies:
                self._use(copy)

    # --- the controllers ---------------------------------------------------------------------------------------------

    def ready(self, copy: FakeInstance) -> bool:
        """It has read something that it can work with, and had time to start."""
        loaded = copy.secret is not None and copy.refused_label is None
        return loaded and copy.ends_at is None and self.clock.outside() >= copy.created_at + STARTS

    def _act(self) -> None:
        template = digest_of(self.cluster.objects[self.resource, "ns", "web"]["spec"]["template"])
        if template != self.template:
            self.revision, self.template = self.revision + 1, template
        living = [copy for copy in self.copies if copy.ends_at is None]
        new = [copy for copy in living if self.made[copy.id][0] == self.revision]
        old = [copy for copy in living if copy not in new]
        if self.resource == "deployments":
            self._surge(new, old)
        else:
            self._in_order(living, old)

    def _surge(self, new: list[FakeInstance], old: list[FakeInstance]) -> None:
        """As a Deployment does: one more, and when it is ready one less. What is not ready of before goes first."""
        for copy in [each for each in old if not self.ready(each)][: max(len(old) + len(new) - WANTED, 0)]:
            old.remove(copy)
            self._end(copy)
        if all(self.ready(copy) for copy in new):
            if len(new) < WANTED and len(new) + len(old) <= WANTED:
                self._begin(0)
            elif old and len(new) + len(old) > WANTED - (len(new) == WANTED):
                self._end(old[0])

    def _in_order(self, living: list[FakeInstance], old: list[FakeInstance]) -> None:
        """As a StatefulSet does: whoever is not ready is waited for, for ever."""
        taken = {self.made[copy.id][1] for copy in self.copies}
        missing = [number for number in range(WANTED) if number not in taken]
        if not all(self.ready(copy) for copy in living):
            return
        if missing:
            self._begin(missing[0])
        elif old and len(self.copies) == WANTED:
            self._end(max(old, key=lambda copy: self.made[copy.id][1]))

    def _begin(self, ordinal: int) -> None:
        copy = self._start()
        self.made[copy.id] = (self.revision, ordinal)

    def _end(self, copy: FakeInstance) -> None:
        copy.ends_at = self.clock.outside() + self.drains

    # --- what is seen of it ------------------------------------------------------------------------------------------

    def _show(self) -> None:
        cluster = self.cluster
        for key in [key for key in cluster.objects if key[0] in {"pods", "replicasets"}]:
            del cluster.objects[key]
        web = cluster.objects[self.resource, "ns", "web"]
        for copy in self.copies:
            cluster.put("pods", self._pod(web, copy))
        if self.resource == "deployments":
            self._put_set(web, self.revision)
        living = [copy for copy in self.copies if copy.ends_at is None]
        new = sum(self.made[copy.id][0] == self.revision for copy in living)
        available = sum(self.ready(copy) for copy in living)
        complete = new == len(living) == available == WANTED
        reason = "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated"
        cluster.edit(
            self.resource,
            "web",
            status={
                "observedGeneration": web["metadata"]["generation"],
                "replicas": len(living),
                "updatedReplicas": new,
                "availableReplicas": available,
                "updateRevision": f"r{self.revision}",
                "conditions": [{"type": "Progressing", "status": "True", "reason": reason}],
            },
        )

    def _pod(self, web: Json, copy: FakeInstance) -> Json:
        revision, ordinal = self.made[copy.id]
        owner = self._put_set(web, revision) if self.resource == "deployments" else web
        name = copy.id if self.resource == "deployments" else f"web-{ordinal}"
        hashes = {"pod_template_hash": f"r{revision}", "controller_revision_hash": f"r{revision}"}
        body = pod(name, owner, ready=self.ready(copy), **hashes)
        if copy.refused_label is not None:
            waiting(body, "CrashLoopBackOff")
        body["metadata"] |= {"uid": copy.id, "creationTimestamp": copy.created_at.isoformat()}
        if copy.ends_at is not None:
            body["metadata"] |= {"deletionTimestamp": copy.ends_at.isoformat(), "name": f"{name}.{copy.id}"}
        return body

    def _put_set(self, web: Json, revision: int) -> Json:
        template = web["spec"]["template"] if revision == self.revision else {"metadata": {"annotations": {"of": "before"}}}
        meta = {
            "name": f"web-r{revision}",
            "uid": f"set-{revision}",
            "labels": {"app": "web"},
            "ownerReferences": [reference(web)],
        }
        return self.cluster.put("replicasets", {"kind": "ReplicaSet", "metadata": meta, "spec": {"template": template}})
