"""Whether a rollout is over, under way or stuck: one look at a workload and its pods, judged. Pure.

Stricter than ``kubectl rollout status``, which calls a rollout complete while pods of before are still ending, or while a
partition keeps them. Whoever may still run on the old version keeps the verdict from being healthy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from consumers.workload_pods import Pod, moment, shortened
from consumers.workload_words import no_room, obstacles, remarks, scaled_to_zero, who_restarts
from rotatord.durations import spell
from rotatord.model import JsonMap

Verdict = tuple[str, str]
LONGEST_DETAIL = 480
_NO_DEADLINE = 2**31 - 1  # how a Deployment says that its rollouts may take for ever


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen at one moment."""

    kind: str
    workload: JsonMap
    pods: tuple[Pod, ...]  # all that may still run
    newest: frozenset[str] = frozenset()  # uids of the ReplicaSets of a Deployment's present template
    now: datetime  # by the API server's clock, as nearly all other times are: ours may be wrong by minutes
    stuck_after: timedelta
    progress_within: timedelta
    steady_for: timedelta = timedelta(0)
    tolerated: int = 0  # so many pods of a DaemonSet may be missing
    observed: bool = False  # restarts are somebody else's
    polled: bool = False  # its pods read anew by themselves

    @property
    def spec(self) -> JsonMap:
        spec: JsonMap = self.workload["spec"]
        return spec

    @property
    def status(self) -> JsonMap:
        return self.workload.get("status") or {}

    @property
    def ending(self) -> list[Pod]:
        """Told to end, and not known to have ended; without those that are tolerated."""
        missing = left_out(self)
        return [pod for pod in self.pods if pod.terminating and pod not in missing]

    @property
    def staying(self) -> list[Pod]:
        return [pod for pod in self.pods if not pod.terminating]


def judge(look: Look, reverted: str = "") -> Verdict:
    """The verdict of one look. ``reverted``: why the pods are not restarted although we asked for it."""
    state, detail = _judge(look, reverted)
    return state, shortened(detail, LONGEST_DETAIL)


def _judge(look: Look, reverted: str) -> Verdict:
    meta, wanted = look.workload["metadata"], wanted_pods(look)
    if meta.get("deletionTimestamp"):
        return "unhealthy", "is being deleted"
    if look.status.get("observedGeneration", 0) < meta["generation"]:
        return "unknown", "its controller has not looked at the newest change yet"
    if wanted == 0:
        ending = f"; {_unended(len(look.pods))}" if look.pods else ""
        return "unknown", scaled_to_zero(look.kind) + ending
    waiting = _UNFINISHED[look.kind](look, wanted) or _unsteady(look)
    if not waiting and not reverted:
        notes = "".join(f"; note: {remark}" for remark in _notes(look))
        return "healthy", f"{wanted} of {wanted} pods are of the present template and available{notes}"
    if stuck := _stuck(look):
        return "unhealthy", f"{stuck} ({waiting})" if waiting else stuck
    return "unknown", "; ".join(part for part in (reverted, waiting, _held_up(look)) if part)


def wanted_pods(look: Look) -> int:
    """How many pods there should be."""
    return wanted_of(look.kind, look.workload)


def wanted_of(kind: str, workload: JsonMap) -> int:
    """Likewise, of a workload as the API shows it."""
    if kind == "DaemonSet":
        return int((workload.get("status") or {}).get("desiredNumberScheduled", 0))
    replicas = workload["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


# --- under way -------------------------------------------------------------------------------------------------------


def _deployment(look: Look, wanted: int) -> str:
    """What its rollout waits for; "" when it is over."""
    status = look.status
    old = [pod for pod in look.staying if pod.owner not in look.newest]
    progressing = condition(look, "Progressing")
    if status.get("updatedReplicas", 0) < wanted:
        return f"{status.get('updatedReplicas', 0)} of {wanted} pods are of the present template"
    if old or status.get("replicas", 0) > status.get("updatedReplicas", 0):
        return f"pods of an older template remain{_named(old)}"
    if look.ending or status.get("terminatingReplicas"):
        return _unended(max(len(look.ending), status.get("terminatingReplicas") or 0)) + _named(look.ending)
    if status.get("availableReplicas", 0) < wanted:
        return f"{status.get('availableReplicas', 0)} of {wanted} pods are available"
    if has_deadline(look) and not look.spec.get("paused") and progressing.get("reason") != "NewReplicaSetAvailable":
        return "its controller does not call the rollout complete yet"
    return ""


def _statefulset(look: Look, wanted: int) -> str:
    status = look.status
    new = [pod for pod in look.staying if pod.revision == status.get("updateRevision")]
    old = [pod for pod in look.staying if pod.revision != status.get("updateRevision")]
    if old or len(new) < wanted:
        return f"{len(new)} of {wanted} pods are of the present template{_named(old, ' older: ')}"
    if look.ending:
        return _unended(len(look.ending)) + _named(look.ending)
    if status.get("availableReplicas", 0) < wanted:
        return f"{status.get('availableReplicas', 0)} of {wanted} pods are available"
    return ""


def _daemonset(look: Look, wanted: int) -> str:
    status, enough = look.status, wanted - look.tolerated
    if status.get("updatedNumberScheduled", 0) < enough:
        return f"{status.get('updatedNumberScheduled', 0)} of {wanted} pods are of the present template"
    if len({pod.revision for pod in look.staying}) > 1:
        return "pods of an older template remain"
    if look.ending:
        return _unended(len(look.ending)) + _named(look.ending)
    if status.get("numberAvailable", 0) < enough or status.get("numberUnavailable", 0) > look.tolerated:
        return f"{status.get('numberAvailable', 0)} of {wanted} pods are available"
    return ""


def _unsteady(look: Look) -> str:
    """Without a readiness probe a container that crashes on its first call is ready until then, at each of its starts."""
    fresh = [pod for pod in look.staying if pod.ready and pod.since + look.steady_for > look.now]
    return f"ready for less than {spell(look.steady_for)} so far{_named(fresh)}" if fresh else ""


_UNFINISHED: dict[str, Callable[[Look, int], str]] = {
    "Deployment": _deployment,
    "StatefulSet": _statefulset,
    "DaemonSet": _daemonset,
}


def left_out(look: Look) -> list[Pod]:
    """Pods whose node does not confirm their end, as many as may be missing: nobody can end them from here."""
    overdue = [
        pod for pod in look.pods if pod.ends_at is not None and not pod.finalizers and pod.ends_at + look.stuck_after < look.now
    ]
    return sorted(overdue, key=lambda pod: (pod.ends_at, pod.name))[: look.tolerated]


def _notes(look: Look) -> list[str]:
    missing = [f"{pod.name} on {pod.node} does not confirm its end and is left out" for pod in left_out(look)]
    if not look.polled:
        missing += who_restarts(look.workload, observed=look.observed)
    return missing + remarks(look.kind, look.workload)


# --- stuck -----------------------------------------------------------------------------------------------------------


def _stuck(look: Look) -> str:
    """Why an unfinished rollout will not get on by itself; "" while it may."""
    in_the_way = obstacles(look.kind, look.workload, observed=look.observed)
    if in_the_way:
        return in_the_way[0]
    progressing, failing = condition(look, "Progressing"), condition(look, "ReplicaFailure")
    troubled = [pod for pod in suspects(look) if pod.trouble and pod.created + look.stuck_after <= look.now]
    if failing.get("status") == "True" and moment(failing["lastTransitionTime"]) + look.stuck_after <= look.now:
        return no_room(look.kind, shortened(failing.get("message", "")))
    if troubled:
        return f"pod {troubled[0].name}: {troubled[0].trouble}"
    if progressing.get("status") == "False":
        return f"{progressing.get('reason', 'it failed')}: {shortened(progressing.get('message', ''))}"
    if not has_deadline(look) and last_change(look) + look.progress_within <= look.now:
        return f"nothing has changed for {spell(look.progress_within)}{_blocking(look)}"
    return ""


def _held_up(look: Look) -> str:
    """What is in the way so far; it may still pass by itself."""
    failing = condition(look, "ReplicaFailure")
    if failing.get("status") == "True":
        return no_room(look.kind, shortened(failing.get("message", "")))
    return next((f"pod {pod.name}: {pod.trouble}" for pod in suspects(look) if pod.trouble), _blocking(look).lstrip(": "))


def suspects(look: Look) -> list[Pod]:
    """The pods whose trouble holds the rollout up: of a Deployment those of the present template, for the others go."""
    return [pod for pod in look.staying if look.kind != "Deployment" or pod.owner in look.newest]


def stands_at(look: Look) -> Pod | None:
    """The pod that an ordered rollout waits for: the controller looks at them from the lowest number on, and goes no further
    than the first that is not ready, is ending, or is not ready for long enough."""
    if look.kind != "StatefulSet" or look.spec.get("podManagementPolicy", "OrderedReady") != "OrderedReady":
        return None
    enough = timedelta(seconds=look.spec.get("minReadySeconds") or 0)
    waited = [pod for pod in look.pods if pod.terminating or not pod.ready or (enough and pod.since + enough > look.now)]
    return min(waited, key=lambda pod: ordinal(pod.name), default=None)


def _blocking(look: Look) -> str:
    first = stands_at(look)
    return f": pod {first.name} is not ready, and the others wait for it" if first and not first.ready else ""


def ordinal(name: str) -> int:
    """The number in the name of a StatefulSet's pod."""
    tail = name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else 0


def has_deadline(look: Look) -> bool:
    """Whether its controller says by itself when a rollout stands still."""
    return look.kind == "Deployment" and look.spec.get("progressDeadlineSeconds", 600) != _NO_DEADLINE


def last_change(look: Look) -> datetime:
    """When somebody last changed the workload, or one of its pods came, went or changed its readiness."""
    meta = look.workload["metadata"]
    touched = [
        moment(each["time"]) for each in meta.get("managedFields") or [] if each.get("time") and not each.get("subresource")
    ]
    pods = [time for pod in look.pods for time in (pod.created, pod.since, pod.ends_at) if time is not None]
    return max([moment(meta["creationTimestamp"]), *touched, *pods])


def condition(look: Look, name: str) -> JsonMap:
    """One condition of the status; {} where it is not there."""
    return next((each for each in look.status.get("conditions") or [] if each["type"] == name), {})


def _unended(count: int) -> str:
    return "1 pod has not ended yet" if count == 1 else f"{count} pods have not ended yet"


def _named(pods: list[Pod], before: str = ": ") -> str:
    names = sorted(pod.name for pod in pods)
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return before + ", ".join(names[:3]) + more
