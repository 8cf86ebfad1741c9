"""What a person is told about a workload: what keeps a restart from being proven, and what one should know. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rotatord.model import JsonMap

RELOADER = (
    "reloader.stakater.com/auto",
    "reloader.stakater.com/search",
    "secret.reloader.stakater.com/auto",
    "secret.reloader.stakater.com/reload",
)
_RESTORE = {
    "argocd": "Argo CD: ignoreDifferences for spec.template.metadata.annotations",
    "kustomize-controller": "Flux: kustomize.toolkit.fluxcd.io/ssa: Merge on the workload",
    "helm-controller": "Flux: driftDetection.ignore for spec.template.metadata.annotations",
}


def obstacles(kind: str, workload: JsonMap, *, observed: bool) -> list[str]:
    """What keeps its rollouts from ever being complete. ``observed``: somebody else sees to restarts, by hand perhaps."""
    spec, name = workload["spec"], _called(kind, workload)
    strategy = spec.get("updateStrategy") or {}
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    found = []
    if spec.get("paused"):
        found.append(f"it is paused: a restart would be taken and nothing rolled out; `kubectl rollout resume {name}`")
    if strategy.get("type") == "OnDelete" and not observed:
        found.append(
            "its updateStrategy is OnDelete: pods are only replaced when somebody deletes them; set RollingUpdate, or "
            "`strategy: observe` here and delete them after each rotation"
        )
    if kind == "StatefulSet" and partition:
        found.append(
            f"its partition is {partition}: the pods below that number keep the old template and with it the old version; "
            "set spec.updateStrategy.rollingUpdate.partition to 0"
        )
    return found


def remarks(kind: str, workload: JsonMap) -> list[str]:
    """What is no obstacle, but surprises somebody one day."""
    spec = workload["spec"]
    found = []
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        found.append("strategy Recreate: every restart stops all pods before it starts new ones")
    elif kind != "DaemonSet" and spec.get("replicas", 1) == 1 and _stops_the_only_one(kind, spec):
        found.append("its only pod is stopped before the new one is ready: every restart is an outage")
    return found


def _stops_the_only_one(kind: str, spec: JsonMap) -> bool:
    if kind == "StatefulSet":
        return True
    allowed = ((spec.get("strategy") or {}).get("rollingUpdate") or {}).get("maxUnavailable", "25%")
    if isinstance(allowed, str):
        return int(allowed.rstrip("%")) >= 100  # a share of one pod is rounded down
    return bool(allowed)


def idle(kind: str) -> str:
    """Nothing is to run."""
    return "no node takes its pods" if kind == "DaemonSet" else "it is scaled to zero"


def scaled_to_zero(kind: str) -> str:
    """Nothing runs, so nothing can be healthy."""
    return f"{idle(kind)}: nothing runs that could be healthy on the new version (`idle: pass` in the policy accepts that)"


def no_room(kind: str, message: str) -> str:
    """Pods cannot be made."""
    if "exceeded quota" not in message:
        return f"pods cannot be created: {message}"
    advice = "raise it, or let the rollout do without a further pod (maxSurge: 0, maxUnavailable: 1)"
    return f"the quota has no room for the pods of a restart: {advice if kind == 'Deployment' else 'raise it'}; {message}"


def missing(kind: str, namespace: str, name: str) -> str:
    """There is no such workload."""
    return f"there is no {kind} {name} in namespace {namespace}: create it, or correct `namespace` and `name`"


def taken_back(key: str, workload: JsonMap) -> str:
    """Somebody removed the annotation of our restart before its rollout was over."""
    who = _last_editor(workload)
    advice = next((text for name, text in _RESTORE.items() if name in who), "let it leave that annotation alone")
    by = f" by {who}" if who else ""
    return f"our restart was taken back{by}: the annotation {key} is gone from the template ({advice}; or `strategy: observe`)"


def who_restarts(workload: JsonMap, *, observed: bool) -> list[str]:
    """What is to be known where we are not alone in it, or where nobody may be."""
    template = workload["spec"]["template"].get("metadata") or {}
    places = (workload["metadata"].get("annotations") or {}, template.get("annotations") or {})
    if any(place.get(key, "false") != "false" for place in places for key in RELOADER):
        if observed:
            return ["Stakater Reloader restarts it: without `strategy: observe` a restart that it misses is made up for"]
        return ["Stakater Reloader restarts it too: a restart of its own is not repeated"]
    return ["nobody is known to restart it (`strategy: observe`)"] if observed else []


def uses_of(secret: str, workload: JsonMap) -> set[str]:
    """How the pods read a Secret: ``environment``, ``volume``, ``subPath``; empty where they do not."""
    pod = workload["spec"]["template"]["spec"]
    found: set[str] = set()
    volumes = {each["name"] for each in pod.get("volumes") or [] if _is_of(secret, each)}
    for container in (pod.get("initContainers") or []) + (pod.get("containers") or []):
        refs = [(each.get("secretRef") or {}).get("name") for each in container.get("envFrom") or []]
        refs += [((each.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name") for each in container.get("env") or []]
        found |= {"environment"} if secret in refs else set()
        for mount in container.get("volumeMounts") or []:
            if mount["name"] in volumes:
                found.add("subPath" if mount.get("subPath") or mount.get("subPathExpr") else "volume")
    if any(each.get("name") == secret for each in pod.get("imagePullSecrets") or []):
        found.add("image pulls")
    return found


def reading_problems(secret: str, workload: JsonMap, *, polled: bool) -> Sequence[str]:
    """Whether what the pods do with a Secret lets a rotation reach them. ``polled``: nobody restarts them."""
    uses = uses_of(secret, workload)
    if not uses:
        return [f"its pods do not use the Secret {secret}: correct `secret`, or the workload"]
    frozen = sorted(uses & {"environment", "subPath"})
    if polled and frozen:
        return [
            f"its pods read the Secret {secret} by {' and '.join(frozen)}, which never changes while they run: restart them"
        ]
    return []


def _is_of(secret: str, volume: JsonMap) -> bool:
    projected = [each.get("secret") or {} for each in (volume.get("projected") or {}).get("sources") or []]
    names = [(volume.get("secret") or {}).get("secretName"), *(each.get("name") for each in projected)]
    return secret in names


def _last_editor(workload: JsonMap) -> str:
    """Who last changed the template, but we."""
    edits = [
        each
        for each in workload["metadata"].get("managedFields") or []
        if not each.get("subresource") and "f:template" in (each.get("fieldsV1") or {}).get("f:spec", {})
    ]
    others = [each for each in edits if each.get("manager") != "rotatord"]
    return str(max(others, key=lambda each: each.get("time", "")).get("manager", "")) if others else ""


def _called(kind: str, workload: JsonMap) -> str:
    meta = workload["metadata"]
    return f"{kind.lower()}/{meta['name']} -n {meta['namespace']}"
