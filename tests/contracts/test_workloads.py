"""Deployments, StatefulSets and DaemonSets of a real control plane under the consumer contract, and under that of checks."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from consumers import workload
from rotatord.errors import Retryable
from rotatord.ports import Health, Instance, Published, Restarts, Surroundings
from rotatord.rights import ConsumerRights, KubernetesRight
from rotatord.testing.contracts.common import eventually
from rotatord.testing.contracts.consumer import ConsumerContract
from rotatord.testing.contracts.health import HealthContract
from rotatord.testing.silent import closed_port, silent_server
from tests.servers.kubernetes import ControlPlane
from tests.servers.kwok_stages import CRASH
from tests.servers.workloads import PATHS

AROUND = Surroundings(installation="contract", state_dir="/", now=lambda: datetime.now(UTC), secret=lambda _: "")
FACTORIES = {"deployment": workload.deployment, "statefulset": workload.statefulset, "daemonset": workload.daemonset}
SELECTOR = {
    "matchLabels": {"app": "app"},
    "matchExpressions": [
        {"key": "app", "operator": "In", "values": ["app", "other"]},
        {"key": "old", "operator": "DoesNotExist"},
    ],
}
MUTE = "its pods are younger or they are not; they say nothing of versions"


def made(kind: str, namespace: str, kubeconfig: Path, **settings: Any) -> workload.WorkloadConsumer:
    return FACTORIES[kind]({"name": "app", "namespace": namespace, "kubeconfig": str(kubeconfig), **settings}, AROUND)


class Patient:
    """Asks again where it is told to, as the engine does. All else is the plugin's own."""

    def __init__(self, plugin: workload.WorkloadConsumer) -> None:
        self._plugin = plugin
        self.timeout, self.evidence = plugin.timeout, plugin.evidence

    def reload(self, published: Published) -> None:
        for _ in range(60):
            try:
                return self._plugin.reload(published)
            except Retryable as error:
                if error.retry_after is None:
                    raise
                threading.Event().wait(min(error.retry_after, 0.2))
        raise AssertionError("asked sixty times")

    def instances(self, published: Published) -> Any:
        return self._plugin.instances(published)


def next_second() -> datetime:
    """Waits for it: the cluster knows when a pod was made to the second."""
    threading.Event().wait(1 - time.time() % 1)
    return datetime.now(UTC).replace(microsecond=0)


def rule_of(right: KubernetesRight) -> dict[str, Any]:
    """A rule of a Role."""
    names = {"resourceNames": list(right.names)} if right.names else {}
    return {"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs), **names}


class OnTheControlPlane:
    """A workload of three pods with our own rights to it, and no others."""

    kind: ClassVar[str]
    held_up: ClassVar[dict[str, Any]]  # the spec of a workload that takes restarts and rolls nothing out

    @pytest.fixture
    def kubeconfig(self, control_plane: ControlPlane, namespace: str) -> Path:
        plugin = made(self.kind, namespace, Path("/nowhere"))
        return control_plane.grant(namespace, "rotatord", [rule_of(right) for right in plugin.rights()])

    def create(self, control_plane: ControlPlane, namespace: str, **more: Any) -> None:
        replicas = {} if self.kind == "daemonset" else {"replicas": 3}
        getattr(control_plane, self.kind)(namespace, "app", **replicas, **more)

    @pytest.fixture
    def plugin_over(
        self, control_plane: ControlPlane, namespace: str, kubeconfig: Path
    ) -> Callable[..., workload.WorkloadConsumer]:
        def over(**more: Any) -> workload.WorkloadConsumer:
            self.create(control_plane, namespace, **more)
            return made(self.kind, namespace, kubeconfig, stuck_after=1, steady_for=0)

        return over

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> Iterator[workload.WorkloadConsumer]:
        with closed_port() as port:
            yield made(self.kind, "default", nowhere(tmp_path, port), timeout=0.5)

    @pytest.fixture
    def hanging(self, tmp_path: Path) -> Iterator[workload.WorkloadConsumer]:
        with silent_server() as port:
            yield made(self.kind, "default", nowhere(tmp_path, port), timeout=0.5)


def nowhere(directory: Path, port: int) -> Path:
    """A kubeconfig for a port at which no API server answers."""
    file = directory / "nowhere.json"
    cluster = {"server": f"https://127.0.0.1:{port}"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": "x"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    file.write_text(json.dumps(config))
    return file


class WorkloadContract(OnTheControlPlane, ConsumerContract):
    """What all three kinds prove."""

    not_applicable: ClassVar = {"refusing": MUTE}

    @pytest.fixture
    def consumer(self, plugin_over: Callable[..., workload.WorkloadConsumer]) -> Patient:
        return Patient(plugin_over())

    @pytest.fixture
    def publish(self) -> Callable[[], Published]:
        numbers = itertools.count(2)

        def put() -> Published:
            number = next(numbers)
            return Published(credential="c", label=f"{number}-x", rotation="rot_1", token=f"rot_1.{number}", at=next_second())

        return put

    @pytest.fixture
    def copies(self) -> int:
        return 3

    @pytest.fixture
    def loads(self, control_plane: ControlPlane, namespace: str) -> Callable[[], int]:
        path = f"{PATHS[self.kind].format(namespace)}/app"
        return lambda: int(control_plane.admin.must("GET", path)["metadata"]["generation"])

    @pytest.fixture
    def deaf(self, plugin_over: Callable[..., workload.WorkloadConsumer]) -> Patient:
        return Patient(plugin_over(**self.held_up))

    def test_it_has_the_powers_of_a_restarted_workload(
        self, plugin_over: Callable[..., workload.WorkloadConsumer], publish: Callable[[], Published]
    ) -> None:
        """Restarts change the mark of the last restart; it is a check of its own health, says its rights and looks first."""
        plugin = plugin_over(selector=SELECTOR)
        assert isinstance(plugin, Restarts)
        assert isinstance(plugin, Health)
        assert isinstance(plugin, ConsumerRights)
        assert plugin.preflight() == []
        published = publish()
        by_labels = replace(published, at=published.at + timedelta(days=1))  # of a workload so old, labels are enough
        assert {each.id for each in plugin.instances(by_labels)} == {each.id for each in plugin.instances(published)}
        before = plugin.last_restart(published)
        assert plugin.last_restart(published) == before != ""
        Patient(plugin).reload(published)
        assert plugin.last_restart(published) != before
        eventually(lambda: plugin.check(published)[0] == "healthy", "the end of the rollout")
        assert all(isinstance(each, Instance) and not each.terminating for each in plugin.instances(published))


class TestDeployment(WorkloadContract):
    plugin = "deployment"
    kind = "deployment"
    held_up: ClassVar = {"paused": True, "wait": False}


class TestStatefulSet(WorkloadContract):
    plugin = "statefulset"
    kind = "statefulset"
    held_up: ClassVar = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}}


class TestDaemonSet(WorkloadContract):
    plugin = "daemonset"
    kind = "daemonset"
    held_up: ClassVar = {"updateStrategy": {"type": "OnDelete"}}


class WorkloadHealthContract(OnTheControlPlane, HealthContract):
    """Its own health check is one like any other."""

    not_applicable: ClassVar = {"nonsense": "what is no answer of an API server is the cluster client's to refuse"}

    @pytest.fixture
    def published(self) -> Published:
        return Published(credential="c", label="2-x", rotation="rot_1", token="rot_1.look", at=datetime.now(UTC))

    @pytest.fixture
    def health(self, plugin_over: Callable[..., workload.WorkloadConsumer]) -> workload.WorkloadConsumer:
        return plugin_over()

    @pytest.fixture
    def unhealthy(
        self, plugin_over: Callable[..., workload.WorkloadConsumer], published: Published
    ) -> workload.WorkloadConsumer:
        plugin = plugin_over(annotations={CRASH: "yes"}, wait=False)
        eventually(lambda: plugin.check(published)[0] != "unknown", "the crash loop is seen")
        return plugin


class TestDeploymentHealth(WorkloadHealthContract):
    kind = "deployment"


class TestStatefulSetHealth(WorkloadHealthContract):
    kind = "statefulset"


class TestDaemonSetHealth(WorkloadHealthContract):
    kind = "daemonset"


pytestmark = pytest.mark.kubernetes
