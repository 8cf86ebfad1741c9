"""Bodies of the simplest workloads there are: one container that does nothing, and a Secret it reads where one is named."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

IMAGE = "test.invalid/pause:1"  # nobody pulls it
PATHS = {
    "deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "statefulset": "/apis/apps/v1/namespaces/{}/statefulsets",
    "daemonset": "/apis/apps/v1/namespaces/{}/daemonsets",
}
_KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet"}


def workload(
    kind: str,
    name: str,
    *,
    replicas: int = 1,
    secret: str = "",
    mounted: bool = False,
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Json:
    """A workload with the label ``app: NAME``.

    ``secret`` becomes the environment, or a volume where it is ``mounted``; ``annotations`` are the template's; ``spec``
    goes over the workload's own spec (``strategy={...}``, ``minReadySeconds=1``).
    """
    labels = {"app": name}
    body: Json = {
        "apiVersion": "apps/v1",
        "kind": _KINDS[kind],
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations or {}},
                "spec": _pod(secret, mounted=mounted),
            },
        },
    }
    if kind != "daemonset":
        body["spec"]["replicas"] = replicas
    if kind == "statefulset":
        body["spec"]["serviceName"] = name
    body["spec"] |= spec
    return body


def settled(workload: Json) -> bool:
    """The controller has seen the newest spec, and every wanted pod is of it and ready."""
    status, spec = workload.get("status", {}), workload.get("spec", {})
    if not workload or status.get("observedGeneration", 0) < workload["metadata"]["generation"]:
        return False
    if workload.get("kind") == "DaemonSet":
        wanted, new = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
        return bool(wanted and new == wanted == status.get("numberReady", 0))
    wanted = spec.get("replicas", 1)
    new = status.get("updatedReplicas", 0) if status.get("currentRevision") != status.get("updateRevision") else wanted
    if workload.get("kind") == "Deployment":
        new = status.get("updatedReplicas", 0)
    return bool(status.get("readyReplicas", 0) == status.get("replicas", 0) == new == wanted)


def _pod(secret: str, *, mounted: bool) -> Json:
    container: Json = {"name": "main", "image": IMAGE}
    pod: Json = {"containers": [container]}
    if secret and mounted:
        container["volumeMounts"] = [{"name": "secret", "mountPath": "/secret", "readOnly": True}]
        pod["volumes"] = [{"name": "secret", "secret": {"secretName": secret}}]
    elif secret:
        container["envFrom"] = [{"secretRef": {"name": secret}}]
    return pod
