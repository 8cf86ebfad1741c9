"""Deployments, StatefulSets and DaemonSets: restarted through an annotation of their pod template, and proven by their pods.

The annotation is unique to a rotation and its leg, so that one restart is asked for once, and no two restarts in one
second are taken for one. Every change is a compare-and-set: what lands late of an earlier leg is refused.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from weakref import WeakValueDictionary

from pydantic import BeforeValidator, Field, field_validator, model_validator

from consumers import workload_gate as gate
from consumers import workload_pods as pods
from consumers import workload_words as words
from rotatord import durations
from rotatord.errors import Conflict, OutsideError, Retryable
from rotatord.kubernetes_client import Cluster, ClusterSettings
from rotatord.kubernetes_pin import pin_rights
from rotatord.model import JsonMap, digest_of
from rotatord.ports import Instance, Published, Surroundings
from rotatord.rights import KubernetesRight

KEY = "rotatord.io/rotation"
MANAGER = "rotatord"
LOOK_AGAIN_SECONDS = 1.0
_REQUESTS = 3  # so many slow requests fit into one method
_LOOKS = 4


def _seconds(value: Any) -> Any:
    return durations.parse(value).total_seconds() if isinstance(value, str) else value


Seconds = Annotated[float, BeforeValidator(_seconds)]


class Settings(ClusterSettings):
    """One workload. ``name`` is what the consumer is called; ``workload``, where the workload itself is called otherwise."""

    namespace: str = Field(min_length=1)
    name: str = ""
    workload: str = ""
    strategy: Literal["restart", "observe"] = "restart"  # observe: somebody else restarts it, or its pods read anew
    secret: str | None = None  # the Secret that its pods read: preflight then sees whether and how they do
    gather: Seconds = Field(default=5.0, ge=0, le=600)  # seconds in which its other credentials may join a restart
    stuck_after: Seconds = Field(default=60.0, gt=0)  # seconds that a pod may be in trouble
    steady_for: Seconds = Field(default=10.0, ge=0)  # seconds that every pod must have been ready
    progress_within: Seconds = Field(default=300.0, gt=0)  # seconds without change, where there is no deadline of its own
    ignore_not_ready_nodes: int | str = 0  # so many pods of a DaemonSet (or "10%") need not confirm their end
    refresh_within: Any = None  # its value is the engine's; here only whether there is one

    @field_validator("ignore_not_ready_nodes")
    @classmethod
    def _number_or_share(cls, value: int | str) -> int | str:
        text = str(value).removesuffix("%")
        if not text.isdigit() or (str(value).endswith("%") and int(text) > 100):
            raise ValueError("should be a number of nodes, or a share of them such as 10%")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.called:
            raise ValueError("name says which workload is meant")
        if self.refresh_within is not None and self.strategy != "observe":
            raise ValueError("refresh_within is for pods that read anew by themselves: say strategy: observe with it")
        return self

    @property
    def called(self) -> str:
        return self.workload or self.name


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of workload."""

    name: str
    resource: str


DEPLOYMENT = Kind("Deployment", "deployments")
STATEFULSET = Kind("StatefulSet", "statefulsets")
DAEMONSET = Kind("DaemonSet", "daemonsets")


class WorkloadConsumer:
    """One workload of one cluster. Thread-safe; nothing is kept between calls."""

    def __init__(self, kind: Kind, settings: Settings, surroundings: Surroundings, *, cluster: Cluster | None = None) -> None:
        self._kind = kind
        self._settings = settings
        self._now = surroundings.now
        self._cluster = cluster or shared(settings, surroundings.base_dir)
        self._polled = settings.refresh_within is not None
        self._observed = settings.strategy == "observe"
        self.gather = 0.0 if self._observed else settings.gather
        self.timeout = _REQUESTS * settings.timeout + 1.0
        self.evidence = "polling" if self._polled else "rollout"

    def close(self) -> None:
        """End the connections."""
        self._cluster.close()

    def __str__(self) -> str:
        return f"{self._kind.name} {self._settings.called} in namespace {self._settings.namespace}"

    # --- restart -----------------------------------------------------------------------------------------------------

    def reload(self, published: Published) -> None:
        """Restart, unless somebody has since the destinations were read back. Where the compare-and-set is lost (to an
        autoscaler, or to the controller's status), what is there now is looked at before it is tried again."""
        if self._observed:
            return
        cluster = self._calls()
        for _ in range(_LOOKS):
            workload = self._get(cluster)
            since = published.restart_seen != "" and restart_mark(workload) != published.restart_seen
            with contextlib.suppress(Conflict):
                if annotation(workload) != published.token and not since:
                    workload = self._restart(cluster, workload, published)
                break
        else:
            raise Retryable(f"{self} keeps changing while it is to be restarted", retry_after=LOOK_AGAIN_SECONDS)
        if self._kind is STATEFULSET:
            self._unblock(cluster, workload, published)

    def last_restart(self, published: Published) -> str:  # noqa: ARG002 - the port's signature
        """A digest of what makes pods restart, and of whose template it is."""
        return restart_mark(self._get(self._calls()))

    def _restart(self, cluster: Cluster, workload: JsonMap, published: Published) -> JsonMap:
        meta = workload["metadata"]
        body = {
            "metadata": {"name": meta["name"], "uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "spec": {"template": {"metadata": {"annotations": {KEY: published.token}}}},
        }
        # By force: nobody but us writes this key with a meaning, whoever else may have copied it.
        return cluster.apply(self._kind.resource, meta["namespace"], meta["name"], body, manager=MANAGER, force=True)

    def _unblock(self, cluster: Cluster, workload: JsonMap, published: Published) -> None:
        """A StatefulSet that replaces its pods in order waits for ever for a broken one of before. Exactly the one that it
        waits for is deleted, once its controller knows the new template and the pod has had time to become ready."""
        if words.obstacles(self._kind.name, workload, observed=False):
            return  # it would come back as it was
        look = self._look(cluster, workload, published)
        first = gate.stands_at(look)
        if first is None:
            return
        if status_of(workload).get("observedGeneration", 0) < workload["metadata"]["generation"]:
            raise Retryable(f"{self}: its controller has not looked at the restart yet", retry_after=LOOK_AGAIN_SECONDS)
        newest = status_of(workload).get("updateRevision")
        if not any(pod.revision != newest and not pod.ready for pod in look.staying):
            return  # what is not ready is of the new template: the gate's affair
        broken = not first.ready and (first.trouble or first.since + look.stuck_after <= look.now)
        if broken and first.revision == newest:
            return  # likewise
        if not broken or first.terminating:
            why = f"{self}: its pod {first.name} is not ready, and the others wait for it"
            raise Retryable(why, retry_after=LOOK_AGAIN_SECONDS)
        cluster.delete("pods", self._settings.namespace, first.name, uid=first.uid)
        why = f"{self}: deleted its pod {first.name}, which was not ready and kept the others from being replaced"
        raise Retryable(why, retry_after=LOOK_AGAIN_SECONDS)

    # --- proof -------------------------------------------------------------------------------------------------------

    def instances(self, published: Published) -> Sequence[Instance]:
        """Every pod of it that may still run."""
        cluster = self._calls()
        look = self._look(cluster, self._get(cluster), published)
        missing = gate.left_out(look)
        return [
            Instance(id=pod.uid, created_at=pod.created, terminating=pod.terminating) for pod in look.pods if pod not in missing
        ]

    def check(self, published: Published) -> tuple[str, str]:
        """The strict gate of a rollout. Before any rotation (``….look``) the workload is judged as it stands."""
        cluster = self._calls()
        try:
            look = self._look(cluster, self._get(cluster), published)
        except OutsideError as error:
            return "unknown", pods.shortened(str(error), gate.LONGEST_DETAIL)
        return gate.judge(look, self._taken_back(look, published))

    def idle(self) -> str:
        """That it is scaled to zero. A workload that is missing, or that its controller has not looked at, is not idle."""
        workload = self._calls().get(self._kind.resource, self._settings.namespace, self._settings.called)
        if workload is None or status_of(workload).get("observedGeneration", 0) < workload["metadata"]["generation"]:
            return ""
        return words.idle(self._kind.name) if gate.wanted_of(self._kind.name, workload) == 0 else ""

    def _taken_back(self, look: gate.Look, published: Published) -> str:
        """Why our restart is not in force any more; "" where it is, or where all pods are younger than it anyhow."""
        there = annotation(look.workload)
        if self._observed or published.token.endswith("look") or there == published.token:
            return ""
        if restart_mark(look.workload) != published.restart_seen if published.restart_seen else there:
            return ""  # a restart after it
        ahead = max(look.now - self._now(), timedelta(0))  # of the API server's clock before ours
        if all(pod.created >= (published.at + ahead).replace(microsecond=0) for pod in look.pods):
            return ""
        return words.taken_back(KEY, look.workload)

    def _look(self, cluster: Cluster, workload: JsonMap, published: Published) -> gate.Look:
        """Pods before ReplicaSets: that way a pod's owner is among them, or gone."""
        namespace, labels = self._settings.namespace, pods.selector_text(workload, published.at)
        raw = cluster.list("pods", namespace, labels=labels)
        newest: frozenset[str] = frozenset()
        if self._kind is DEPLOYMENT:
            sets = cluster.list("replicasets", namespace, labels=labels)
            newest = pods.newest_of(workload, sets)
            own = pods.pods_of_deployment(workload, sets, raw)
        else:
            own = pods.pods_of_set(self._kind.name, workload, raw)
        return gate.Look(
            kind=self._kind.name,
            workload=workload,
            pods=tuple(pods.read_pod(each) for each in own if not pods.over(each)),
            newest=newest,
            now=cluster.server_time or self._now(),
            stuck_after=timedelta(seconds=self._settings.stuck_after),
            progress_within=timedelta(seconds=self._settings.progress_within),
            steady_for=timedelta(seconds=self._settings.steady_for),
            tolerated=self._tolerated(workload),
            observed=self._observed,
            polled=self._polled,
        )

    def _tolerated(self, workload: JsonMap) -> int:
        setting = str(self._settings.ignore_not_ready_nodes)
        if not setting.endswith("%"):
            return int(setting)
        return int(status_of(workload).get("desiredNumberScheduled", 0)) * int(setting[:-1]) // 100

    # --- before and around -------------------------------------------------------------------------------------------

    def preflight(self) -> Sequence[str]:
        """What could never be proven as the workload is now, and what we may not do to it."""
        cluster, settings = self._calls(), self._settings
        workload = cluster.get(self._kind.resource, settings.namespace, settings.called)
        if workload is None:
            return [words.missing(self._kind.name, settings.namespace, settings.called)]
        found = [] if self._polled else words.obstacles(self._kind.name, workload, observed=self._observed)
        if settings.secret:
            found += words.reading_problems(settings.secret, workload, polled=self._polled)
        return [*found, *self._denied(cluster)]

    def _denied(self, cluster: Cluster) -> list[str]:
        """What our own identity may not do, as far as it may ask."""
        found = []
        for right in self._needed():
            for verb in right.verbs:
                asked = {"namespace": right.namespace, "verb": verb, "group": right.group, "resource": right.resource}
                try:
                    allowed = cluster.review_access(asked | ({"name": right.names[0]} if right.names else {}))
                except OutsideError:
                    return []
                if not allowed:
                    found.append(f"we may not {verb} {right.resource} in namespace {right.namespace}, needed {right.why}")
        return found

    def rights(self) -> Sequence[KubernetesRight]:
        return [*self._needed(), *pin_rights(self._settings)]

    def _needed(self) -> list[KubernetesRight]:
        """One workload, and the lists that show whose pods are whose: ``list`` cannot be limited to names."""
        namespace, called = self._settings.namespace, self._settings.called
        verbs = ("get",) if self._observed else ("get", "patch")
        why = "to see its rollout" if self._observed else "to restart it and see its rollout"
        found = [
            KubernetesRight(namespace, "apps", self._kind.resource, verbs, (called,), why=why),
            KubernetesRight(namespace, "", "pods", ("list",), why="to see that every pod of before is gone"),
        ]
        if self._kind is DEPLOYMENT:
            found.append(KubernetesRight(namespace, "apps", "replicasets", ("list",), why="to tell whose pods are whose"))
        if self._kind is STATEFULSET and not self._observed:
            why = "to replace a broken pod that an ordered rollout would wait for for ever"
            found.append(KubernetesRight(namespace, "", "pods", ("delete",), why=why))
        return found

    def _calls(self) -> Cluster:
        return self._cluster.within(_REQUESTS * self._settings.timeout)

    def _get(self, cluster: Cluster) -> JsonMap:
        """The workload. That there is none may pass: it is made anew by whoever deploys it."""
        workload = cluster.get(self._kind.resource, self._settings.namespace, self._settings.called)
        if workload is None:
            raise Retryable(words.missing(self._kind.name, self._settings.namespace, self._settings.called))
        return workload


_CLUSTERS: WeakValueDictionary[tuple[ClusterSettings, str], Cluster] = WeakValueDictionary()
_LOCK = threading.Lock()


def shared(settings: ClusterSettings, base_dir: str) -> Cluster:
    """One for all workloads that are reached alike: a thousand consumers are not a thousand connections. Closing it only
    ends what is idle."""
    own = ClusterSettings(**{name: getattr(settings, name) for name in ClusterSettings.model_fields})
    with _LOCK:
        cluster = _CLUSTERS.get((own, base_dir))
        if cluster is None:
            cluster = _CLUSTERS[own, base_dir] = Cluster(own, base_dir=base_dir)
        return cluster


def annotation(workload: JsonMap) -> str:
    """The restart that the template asks for; "" where none was ever asked for."""
    template = workload["spec"]["template"].get("metadata") or {}
    return str((template.get("annotations") or {}).get(KEY, ""))


def restart_mark(workload: JsonMap) -> str:
    """Changes with the template, and with nothing else: scaling and status leave it."""
    return digest_of([workload["metadata"]["uid"], workload["spec"]["template"]])


def status_of(workload: JsonMap) -> JsonMap:
    """Empty where no controller has looked yet."""
    return workload.get("status") or {}


@dataclass(frozen=True, slots=True)
class Create:
    """The factory behind an entry point. It is told what the consumer is called: that is the workload's name."""

    kind: Kind
    takes_name: bool = True

    def __call__(self, settings: JsonMap, surroundings: Surroundings) -> WorkloadConsumer:
        made = Settings.model_validate(settings)
        if made.ignore_not_ready_nodes not in (0, "0") and self.kind is not DAEMONSET:
            raise ValueError("ignore_not_ready_nodes is for DaemonSets")
        return WorkloadConsumer(self.kind, made, surroundings)


deployment = Create(DEPLOYMENT)
statefulset = Create(STATEFULSET)
daemonset = Create(DAEMONSET)
