"""The control plane that other tests stand on: what is asked of it really happens, and faults can be put in."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.servers.kubernetes import NODES, ControlPlane
from tests.servers.kubernetes_admin import Admin
from tests.servers.kwok_stages import CRASH, PENDING, READY_AFTER, TERMINATES_AFTER, UNREADY, UNREADY_WITH
from tests.servers.tool import Tool, ToolError

pytestmark = pytest.mark.kubernetes

SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "patch"]}
DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"


def _ready(pods: list[dict[str, Any]]) -> list[bool]:
    return [
        any(each["type"] == "Ready" and each["status"] == "True" for each in pod.get("status", {}).get("conditions", []))
        for pod in pods
    ]


def _restart(plane: ControlPlane, namespace: str, name: str, value: str) -> None:
    template = {"metadata": {"annotations": {"test/restarted": value}}}
    status, _ = plane.admin.patch(f"{DEPLOYMENTS.format(namespace)}/{name}", {"spec": {"template": template}})
    assert status == 200


@pytest.mark.parametrize("kind", ["deployment", "statefulset", "daemonset"])
def test_workloads_become_ready_and_are_replaced(control_plane: ControlPlane, namespace: str, kind: str) -> None:
    """Pods come with the workload; another template brings new ones."""
    wanted = len(NODES) if kind == "daemonset" else 2
    getattr(control_plane, kind)(namespace, "app", **({} if kind == "daemonset" else {"replicas": 2}))
    before = {pod["metadata"]["uid"] for pod in control_plane.pods(namespace, "app")}
    assert len(before) == wanted
    path = f"/apis/apps/v1/namespaces/{namespace}/{kind}s/app"
    template = {"metadata": {"annotations": {"test/restarted": "1"}}}
    assert control_plane.admin.patch(path, {"spec": {"template": template}})[0] == 200
    control_plane.settled(kind, namespace, "app")
    after = {pod["metadata"]["uid"] for pod in control_plane.pods(namespace, "app")}
    assert len(after) == wanted
    assert not before & after


def test_readiness_is_flipped_on_living_pods(control_plane: ControlPlane, namespace: str) -> None:
    """Unready, crashing and ready again, without a new pod; a crash loop counts restarts."""
    control_plane.deployment(namespace, "app", 1)
    path = f"/api/v1/namespaces/{namespace}/pods/{control_plane.pods(namespace, 'app')[0]['metadata']['name']}"
    uid = control_plane.admin.get(path)[1]["metadata"]["uid"]

    control_plane.annotate(path, {UNREADY: "yes"})
    control_plane.admin.until(path, lambda pod: _ready([pod]) == [False], "the pod unready")
    control_plane.annotate(path, {UNREADY: None})
    control_plane.admin.until(path, lambda pod: _ready([pod]) == [True], "the pod ready")

    control_plane.annotate(path, {CRASH: "yes"})
    pod = control_plane.admin.until(path, lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] >= 2, "restarts")
    assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert _ready([pod]) == [False]
    control_plane.annotate(path, {CRASH: None})
    pod = control_plane.admin.until(path, lambda pod: _ready([pod]) == [True], "the pod ready")
    assert pod["metadata"]["uid"] == uid
    assert pod["status"]["containerStatuses"][0]["restartCount"] >= 2


def test_a_new_template_can_break_the_application(control_plane: ControlPlane, namespace: str) -> None:
    """Pods of one template value are ready, those of another are not: a credential that the application cannot use."""
    control_plane.deployment(namespace, "app", 2, annotations={UNREADY_WITH: "test/restarted!=good"})
    _restart(control_plane, namespace, "app", "bad")
    path = f"{DEPLOYMENTS.format(namespace)}/app"
    stuck = control_plane.admin.until(path, lambda it: it["status"].get("unavailableReplicas", 0) > 0, "a stuck rollout")
    assert stuck["status"]["readyReplicas"] == 2  # the old ones stay
    _restart(control_plane, namespace, "app", "good")
    control_plane.settled("deployment", namespace, "app")


@pytest.mark.parametrize(
    ("rule", "ready"), [("test/a", False), ("test/a=1", False), ("test/a=2", True), ("test/a!=1", True), ("test/b", True)]
)
def test_what_a_pod_cannot_bear(control_plane: ControlPlane, namespace: str, rule: str, ready: bool) -> None:
    """The three forms of the rule, over a pod with the annotation ``test/a: 1``."""
    control_plane.deployment(namespace, "app", 1, annotations={UNREADY_WITH: rule, "test/a": "1"}, wait=False)
    path = f"{DEPLOYMENTS.format(namespace)}/app"
    control_plane.admin.until(f"/api/v1/namespaces/{namespace}/pods", lambda pods: pods["items"] and _is_begun(pods), "a pod")
    assert _ready(control_plane.pods(namespace, "app")) == [ready]
    assert control_plane.admin.get(path)[0] == 200


def _is_begun(pods: dict[str, Any]) -> bool:
    return all(pod["status"].get("phase") == "Running" for pod in pods["items"])


def test_pods_that_end_slowly(control_plane: ControlPlane, namespace: str) -> None:
    """A deleted pod stays, ready and terminating, for as long as it says, also when it is changed meanwhile."""
    control_plane.deployment(namespace, "app", 1, annotations={TERMINATES_AFTER: "2"})
    old = control_plane.pods(namespace, "app")[0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{namespace}/pods/{old}"
    began = time.monotonic()
    _restart(control_plane, namespace, "app", "1")
    seen = control_plane.admin.until(path, lambda pod: "deletionTimestamp" in pod["metadata"], "the old pod ending")
    assert _ready([seen]) == [True]
    control_plane.annotate(path, {"test/other": "1"})
    control_plane.admin.until(path, lambda pod: not pod, "the old pod gone")
    assert 1 <= time.monotonic() - began < 10


def test_pods_that_begin_late_or_never(control_plane: ControlPlane, namespace: str) -> None:
    """One stays pending until it may start; one takes its time."""
    control_plane.deployment(namespace, "late", 1, annotations={READY_AFTER: "1"}, wait=False)
    control_plane.deployment(namespace, "never", 1, annotations={PENDING: "yes"}, wait=False)
    control_plane.settled("deployment", namespace, "late")
    assert _ready(control_plane.pods(namespace, "never")) == [False]
    control_plane.annotate_pods(namespace, "never", {PENDING: None})
    control_plane.settled("deployment", namespace, "never")


def test_a_job_succeeds(control_plane: ControlPlane, namespace: str) -> None:
    """Charts have hooks; they need an end."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "test.invalid/pause:1"}]}
    body = {"metadata": {"name": "once"}, "spec": {"template": {"spec": pod}}}
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    assert control_plane.admin.post(path, body)[0] == 201
    control_plane.admin.until(f"{path}/once", lambda job: job["status"].get("succeeded") == 1, "the job done")


def test_rights_are_real(control_plane: ControlPlane, namespace: str) -> None:
    """A ServiceAccount may do what its rules say and nothing else, and the audit log knows, without any value."""
    file = control_plane.grant(namespace, "rotator", [SECRETS | {"resourceNames": ["mine"]}])
    token = json.loads(file.read_text())["users"][0]["user"]["token"]
    them = Admin(control_plane.address, control_plane.authority.file, token=token)
    base = f"/api/v1/namespaces/{namespace}/secrets"
    secret = {"metadata": {"name": "mine"}, "stringData": {"TOKEN": "planted-value-3141592653"}}
    assert control_plane.admin.post(base, secret)[0] == 201
    assert them.get(f"{base}/mine")[0] == 200
    assert them.patch(f"{base}/mine", {"stringData": {"TOKEN": "planted-value-2718281828"}})[0] == 200
    assert them.get(f"{base}/other")[0] == 403
    assert them.get(base)[0] == 403
    them.close()
    user = f"system:serviceaccount:{namespace}:rotator"
    seen = [(event.verb, event.name, event.code) for event in control_plane.audit(user=user, namespace=namespace)]
    assert seen == [("get", "mine", 200), ("patch", "mine", 200), ("get", "other", 403), ("list", "", 403)]
    assert "planted-value" not in control_plane.log.file.read_text()


def test_kubeconfig_files_are_private(control_plane: ControlPlane, tmp_path: Path) -> None:
    """They hold keys and tokens."""
    file = control_plane.kubeconfig(tmp_path / "admin.json")
    assert file.stat().st_mode & 0o777 == 0o600
    assert "client-key-data" in file.read_text()


CHART = {"apiVersion": "v2", "name": "tiny", "version": "0.1.0"}
TEMPLATE = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template:
    metadata: {labels: {app: {{ .Release.Name }}}, annotations: {{ toJson .Values.annotations }}}
    spec: {containers: [{name: main, image: "test.invalid/pause:1"}]}
"""


def test_charts_are_installed_and_waited_for(control_plane: ControlPlane, namespace: str, helm: Tool, tmp_path: Path) -> None:
    """helm sees pods become ready, and sees that they do not."""
    chart = tmp_path / "tiny"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text(json.dumps(CHART))
    (chart / "values.yaml").write_text(json.dumps({"replicas": 2, "annotations": {}}))
    (chart / "templates" / "deployment.yaml").write_text(TEMPLATE)
    helm = helm.to(control_plane.kubeconfig(tmp_path / "kubeconfig"))
    helm.run("install", "tiny", chart, "--namespace", namespace, "--wait", "--timeout", "30s")
    assert _ready(control_plane.pods(namespace, "tiny")) == [True, True]
    broken = json.dumps({UNREADY: "yes"})
    with pytest.raises(ToolError):
        helm.run("upgrade", "tiny", chart, "-n", namespace, "--set-json", f"annotations={broken}", "--wait", "--timeout", "2s")
    helm.run("rollback", "tiny", "1", "--namespace", namespace, "--wait", "--timeout", "30s")
    helm.run("uninstall", "tiny", "--namespace", namespace)


def test_a_rollout_is_restarted_by_hand(control_plane: ControlPlane, namespace: str, kubectl: Tool, tmp_path: Path) -> None:
    """What people do at night works here too."""
    control_plane.deployment(namespace, "app", 2)
    kubectl = kubectl.to(control_plane.kubeconfig(tmp_path / "kubeconfig"))
    before = {pod["metadata"]["uid"] for pod in control_plane.pods(namespace, "app")}
    kubectl.run("--namespace", namespace, "rollout", "restart", "deployment/app")
    said = kubectl.run("--namespace", namespace, "rollout", "status", "deployment/app", "--timeout=30s")
    assert "successfully rolled out" in said
    assert not before & {pod["metadata"]["uid"] for pod in control_plane.pods(namespace, "app")}


@pytest.mark.slow
def test_parts_die_and_come_back(own_control_plane: ControlPlane) -> None:
    """The API server can be away, hang or lose its store's process; what was stored is there afterwards."""
    plane = own_control_plane
    plane.namespace("kept")
    plane.kill("kube-apiserver")
    plane.revive("kube-apiserver")
    assert plane.admin.get("/api/v1/namespaces/kept")[0] == 200
    plane.kill("etcd")
    plane.revive("etcd")
    assert plane.admin.get("/api/v1/namespaces/kept")[0] == 200
    plane.components["kube-apiserver"].pause()
    plane.components["kube-apiserver"].resume()
    plane.stop()
    plane.start()
    assert plane.admin.get("/api/v1/namespaces/kept")[0] == 200
    plane.deployment("kept", "app")
