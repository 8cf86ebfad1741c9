"""The pods of one workload: whose they are, whether they still run, and what troubles them. Pure.

A selector alone says nothing: labels are shared and changed. What counts is the controller's reference on the pod. Where
an owner is gone already, or the workload was made anew under its old name, its pods may still run, and are counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rotatord.model import JsonMap

POD_HASH = "pod-template-hash"
REVISION_HASH = "controller-revision-hash"
LONGEST_MESSAGE = 200
_ALWAYS_YOUNG = timedelta(hours=1)  # whoever is younger than a publication by any clock is younger than this before it
# Why a container does not start, with a message that quotes neither its command nor its environment.
_TOLD = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"})
_TROUBLE = _TOLD | {"CrashLoopBackOff", "CreateContainerError", "RunContainerError", "PostStartHookError"}
# The kubelet's own words for pods that it ended or never began; it says so only once nothing of them runs.
_ENDED_BY_KUBELET = frozenset(
    {"Evicted", "NodeAffinity", "NodeShutdown", "OutOfcpu", "OutOfmemory", "OutOfpods", "Preempting", "Terminated"}
    | {"UnexpectedAdmissionError"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """What is asked of one pod."""

    name: str
    uid: str
    created: datetime
    owner: str = ""  # uid of its controller
    revision: str = ""  # the hash of the template it was made from
    ready: bool = False
    since: datetime  # when its readiness last changed, or later: by the API server's clock where that tells
    ends_at: datetime | None = None  # it was told to end, and has until then
    finalizers: bool = False
    node: str = ""
    trouble: str = ""

    @property
    def terminating(self) -> bool:
        return self.ends_at is not None


def moment(text: object) -> datetime:
    """A time as the API writes it. Raises ValueError."""
    return datetime.fromisoformat(str(text))


def read_pod(raw: JsonMap) -> Pod:
    """Raises KeyError, TypeError or ValueError for what is no pod."""
    meta, status = raw["metadata"], raw.get("status") or {}
    labels = meta.get("labels") or {}
    ready: JsonMap = next((each for each in status.get("conditions") or [] if each["type"] == "Ready"), {})
    created = moment(meta["creationTimestamp"])
    ending = meta.get("deletionTimestamp")
    changed = moment(ready["lastTransitionTime"]) if ready.get("lastTransitionTime") else created
    return Pod(
        name=meta["name"],
        uid=meta["uid"],
        created=created,
        owner=(controller_of(raw) or {}).get("uid", ""),
        revision=labels.get(REVISION_HASH, ""),
        ready=ready.get("status") == "True",
        since=max([moment(each["time"]) for each in _told_ready(meta)], default=changed),
        ends_at=moment(ending) if ending else None,
        finalizers=bool(meta.get("finalizers")),
        node=(raw.get("spec") or {}).get("nodeName", ""),
        trouble=trouble_of(raw),
    )


def _told_ready(meta: JsonMap) -> list[JsonMap]:
    """Who wrote the condition Ready, with the time at which the API server last took that writer's word. The condition's own
    time is by the clock of the pod's node, which may be wrong by minutes."""
    entries = [each for each in meta.get("managedFields") or [] if each.get("time") and each.get("subresource") == "status"]
    conditions = [((each.get("fieldsV1") or {}).get("f:status") or {}).get("f:conditions") or {} for each in entries]
    return [each for each, fields in zip(entries, conditions, strict=True) if 'k:{"type":"Ready"}' in fields]


def trouble_of(raw: JsonMap) -> str:
    """Why a pod does not become ready, in the cluster's words; "" where nothing is known to be wrong. What a container
    itself said at its end is never shown: it may quote a secret."""
    status = raw.get("status") or {}
    for each in (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or []):
        waiting = (each.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        if reason in _TROUBLE:
            said = f": {shortened(waiting.get('message', ''))}" if reason in _TOLD and waiting.get("message") else ""
            last = ((each.get("lastState") or {}).get("terminated") or {}).get("exitCode")
            ended = f", exit code {last}" if last is not None else ""
            return f"container {each.get('name', '?')}: {reason}{ended}{said}"
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no node takes it: {shortened(condition.get('message', ''))}"
    return ""


def over(raw: JsonMap) -> bool:
    """Whether surely nothing of a pod runs any more, and nothing will."""
    status = raw.get("status") or {}
    if status.get("phase") not in {"Succeeded", "Failed"}:
        return False
    kinds = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    seen = [each for kind in kinds for each in status.get(kind) or []]
    if not all((each.get("state") or {}).get("terminated") for each in seen):
        return False
    wanted = len((raw.get("spec") or {}).get("containers") or [])
    return len(status.get("containerStatuses") or []) == wanted > 0 or status.get("reason") in _ENDED_BY_KUBELET


def shortened(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """One line of bounded length."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


# --- whose they are --------------------------------------------------------------------------------------------------


def controller_of(raw: JsonMap) -> JsonMap | None:
    """The reference to the one owner that controls an object."""
    references = raw["metadata"].get("ownerReferences") or []
    return next((each for each in references if each.get("controller")), None)


def selector_text(workload: JsonMap, published_at: datetime) -> str:
    """The label selector to list its pods by; "" (all) where the workload may have been made anew since the publication:
    the pods of the one before it may have had other labels, and may still run."""
    if moment(workload["metadata"]["creationTimestamp"]) > published_at - _ALWAYS_YOUNG:
        return ""
    selector = workload["spec"]["selector"]
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or []:
        values = ",".join(term.get("values") or [])
        words = {"In": f"{{}} in ({values})", "NotIn": f"{{}} notin ({values})", "Exists": "{}", "DoesNotExist": "!{}"}
        parts.append(words[term["operator"]].format(term["key"]))
    return ",".join(parts)


def selects(workload: JsonMap, labels: Mapping[str, str]) -> bool:
    """Whether the workload's selector fits these labels."""
    selector = workload["spec"]["selector"]
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    tests: dict[str, Callable[[str, list[str]], bool]] = {
        "In": lambda key, values: labels.get(key) in values,
        "NotIn": lambda key, values: labels.get(key) not in values,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return all(
        tests[term["operator"]](term["key"], term.get("values") or []) for term in selector.get("matchExpressions") or []
    )


def sets_of(deployment: JsonMap, replicasets: Iterable[JsonMap]) -> dict[str, JsonMap]:
    """The ReplicaSets of a Deployment by uid: those it controls, those of its namesake before it, and those that nobody
    controls and that it is about to adopt."""
    return {
        each["metadata"]["uid"]: each
        for each in replicasets
        if _controlled(each, "Deployment", deployment)
        or (controller_of(each) is None and selects(deployment, each["metadata"].get("labels") or {}))
    }


def pods_of_deployment(deployment: JsonMap, replicasets: list[JsonMap], pods: Iterable[JsonMap]) -> list[JsonMap]:
    """All its pods, those of ReplicaSets that are gone by now included: a ReplicaSet may go before its last pod does."""
    known = {each["metadata"]["uid"] for each in replicasets}
    own = sets_of(deployment, replicasets)
    name = deployment["metadata"]["name"]

    def ours(pod: JsonMap) -> bool:
        labels = pod["metadata"].get("labels") or {}
        owner = controller_of(pod)
        if owner is None:
            return POD_HASH in labels and selects(deployment, labels)
        if owner["kind"] != "ReplicaSet":
            return False
        return owner["uid"] in own or (owner["uid"] not in known and owner["name"] == f"{name}-{labels.get(POD_HASH)}")

    return [pod for pod in pods if ours(pod)]


def pods_of_set(kind: str, workload: JsonMap, pods: Iterable[JsonMap]) -> list[JsonMap]:
    """All pods of a StatefulSet or DaemonSet, those included that it is about to adopt."""
    ordinal = re.compile(rf"{re.escape(workload['metadata']['name'])}-\d+")

    def adopted(pod: JsonMap) -> bool:
        fits = kind == "DaemonSet" or ordinal.fullmatch(pod["metadata"]["name"]) is not None
        return controller_of(pod) is None and fits and selects(workload, pod["metadata"].get("labels") or {})

    return [pod for pod in pods if _controlled(pod, kind, workload) or adopted(pod)]


def _controlled(raw: JsonMap, kind: str, workload: JsonMap) -> bool:
    """By name, not by uid: what belongs to a namesake that was deleted a moment ago still runs."""
    owner = controller_of(raw)
    return owner is not None and owner["kind"] == kind and owner["name"] == workload["metadata"]["name"]


def newest_of(deployment: JsonMap, replicasets: Iterable[JsonMap]) -> frozenset[str]:
    """The uids of its ReplicaSets that have its present template."""
    return frozenset(uid for uid, each in sets_of(deployment, replicasets).items() if _is_newest(deployment, each))


def _is_newest(deployment: JsonMap, replicaset: JsonMap) -> bool:
    """As the controller itself compares them."""
    template = replicaset["spec"]["template"]
    meta = dict(template.get("metadata") or {})
    meta["labels"] = {key: value for key, value in (meta.get("labels") or {}).items() if key != POD_HASH}
    wanted = deployment["spec"]["template"]
    return _bare({**template, "metadata": meta}) == _bare(wanted)


def _bare(value: object) -> object:
    """Without what is empty: nothing and an empty map are the same to the API."""
    if isinstance(value, Mapping):
        return {key: bare for key, item in value.items() if (bare := _bare(item)) not in (None, {}, [])}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value
