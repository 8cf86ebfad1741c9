"""The Roles that docs/kubernetes.md prints are enough for its example, and nothing of them is unused: the API server's audit
log is the judge."""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from rotatord import config
from rotatord.errors import Retryable
from rotatord.model import Slot, Spec
from rotatord.ports import MintRequest, Published, Surroundings
from rotatord.registry import Configured, Registry
from rotatord.testing.contracts.backend_setting import FIRST, MARKER, SECOND, later, put, token_of
from rotatord.testing.contracts.issuer_setting import probe, query
from tests.servers.kubernetes import ControlPlane
from tests.servers.kwok_stages import UNREADY

pytestmark = pytest.mark.kubernetes
PAGE = Path(__file__).resolve().parents[2] / "docs" / "kubernetes.md"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
Allowed = set[tuple[str, str, str, str]]  # namespace, resource with subresource, verb, name
OF_EVERYBODY = "selfsubjectaccessreviews"  # by the role that every authenticated user has


class Place:
    """The page's example in namespaces of this test's own, and the rights that the page prints for it, as they stand."""

    def __init__(self, plane: ControlPlane, directory: Path) -> None:
        self.plane = plane
        own = f"t{secrets.token_hex(4)}"
        self.names = {word: f"{own}-{word}" for word in ("shop", "audit", "rotatord")}
        page = PAGE.read_text()
        found = re.search(
            r"```yaml\n# configuration: rotatord-kubernetes\n(.*?)```.*?drawn by make docs -->\n\n```yaml\n(.*?)```",
            page,
            re.DOTALL,
        )
        assert found, "docs/kubernetes.md has no example of rights"
        self.kubeconfig = directory / "kubeconfig"
        here = rf"{{type: \1, kubeconfig: {self.kubeconfig}"
        text = re.sub(r"\{type: (kubernetes|kubernetes_token|deployment|statefulset|daemonset)\b", here, found[1])
        self.file = directory / "rotatord.yaml"
        self.file.write_text(re.sub(r"(?<=namespace: )(shop|audit)\b", lambda word: self.names[word[0]], text))
        self.objects = [self._moved(each) for each in YAML(typ="safe").load_all(found[2]) if each]

    def _moved(self, value: Any) -> Any:
        """The same in this test's namespaces, under its own name where there is none around it."""
        if value.get("metadata", {}).get("namespace"):
            value["metadata"]["namespace"] = self.names[value["metadata"]["namespace"]]
        else:
            value["metadata"]["name"] = self.names["rotatord"]
            if "roleRef" in value:
                value["roleRef"]["name"] = self.names["rotatord"]
        for subject in value.get("subjects", ()):
            subject["namespace"] = self.names["rotatord"]
        return value

    def grant(self) -> None:
        """What ``kubectl apply`` does with the page."""
        for name in self.names.values():
            self.plane.namespace(name)
        shop, own = self.names["shop"], self.names["rotatord"]
        for namespace, account in ((shop, "reports"), (own, "rotatord")):
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
            self.plane.admin.must("POST", path, {"metadata": {"name": account}})
        for each in self.objects:
            namespace = each["metadata"].get("namespace")
            where = f"{RBAC}/namespaces/{namespace}" if namespace else RBAC
            self.plane.admin.must("POST", f"{where}/{each['kind'].lower()}s", each)
        self.plane.kubeconfig(self.kubeconfig, service_account=(own, "rotatord"))

    def end(self) -> None:
        for name in self.names.values():
            self.plane.admin.delete(f"/api/v1/namespaces/{name}")
        for kind in ("clusterroles", "clusterrolebindings"):
            self.plane.admin.delete(f"{RBAC}/{kind}/{self.names['rotatord']}")

    @property
    def granted(self) -> Allowed:
        return {
            (each["metadata"].get("namespace", ""), resource, verb, name)
            for each in self.objects
            for rule in each.get("rules", ())
            for resource in rule["resources"]
            for verb in rule["verbs"]
            for name in rule.get("resourceNames", [""])
        }

    def used(self) -> tuple[Allowed, list[str]]:
        """What our account asked for, and what of it was denied."""
        own = self.names["rotatord"]
        events = [
            event for event in self.plane.audit(f"system:serviceaccount:{own}:rotatord") if event.resource != OF_EVERYBODY
        ]
        used: Allowed = set()
        for event in events:
            resource = f"{event.resource}/{event.subresource}" if event.subresource else event.resource
            anyone = (event.namespace, resource, event.verb, "")
            used.add(anyone if anyone in self.granted else (*anyone[:3], event.name))
        return used, [f"{event.verb} {event.uri}: {event.code}" for event in events if event.code in (401, 403)]


@pytest.fixture
def place(control_plane: ControlPlane, tmp_path: Path) -> Iterator[Place]:
    made = Place(control_plane, tmp_path)
    made.grant()
    yield made
    made.end()


@pytest.fixture
def example(place: Place, surroundings: Callable[..., Surroundings]) -> Iterator[tuple[Spec, Registry]]:
    """The credential of the page, and its plugins as the daemon makes them, once the rights are in force."""
    kept: list[Spec] = []
    declared: list[Configured] = []

    def visit(spec: Spec, _: object, configured: Configured) -> None:
        kept.append(spec)
        declared.append(configured)

    config.load(place.file, visit=visit)
    registry = Registry(declared[0], surroundings())
    issuer: Any = registry.issuer(kept[0].issuer)
    until(lambda: not issuer.preflight(kept[0].scope, kept[0].parameters), "the rights are in force")
    yield kept[0], registry
    registry.close()


def until(reached: Callable[[], bool], what: str, seconds: float = 30) -> None:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not reached():
        assert time.monotonic() < deadline, what
        pause.wait(0.1)


def test_the_example_needs_exactly_what_the_page_prints(place: Place, example: tuple[Spec, Registry]) -> None:
    """The life of its token, its Secrets and its three workloads, one of them stuck: nothing denied, nothing unused."""
    spec, registry = example
    shop, audit = place.names["shop"], place.names["audit"]
    place.plane.deployment(shop, "web", 2)
    place.plane.statefulset(shop, "queue", 2)
    place.plane.daemonset(audit, "agent")
    copy = {"metadata": {"name": "agent-env"}, "stringData": {"TOKEN": "copied"}}
    place.plane.admin.must("POST", f"/api/v1/namespaces/{audit}/secrets", copy)
    live_as_a_token(registry, spec)
    for number, destination in enumerate(spec.destinations):
        backend: Any = registry.backend(destination.backend)
        assert list(backend.preflight(destination, home=number == 0)) == []
        for slot in Slot if number == 0 else (Slot.CURRENT,):
            put(backend, destination, slot, FIRST)
            put(backend, destination, slot, SECOND, later(MARKER))
            backend.clear(destination, slot, token_of(backend, destination, slot))
    for consumer in spec.consumers:
        for each in consumer.copies:
            assert not registry.backend(each.backend).read(each, Slot.CURRENT).empty
        live_as_a_workload(place, registry.consumer(consumer), consumer.name)
    used, denied = place.used()
    assert denied == []
    assert place.granted - used == set(), "granted, and never used"
    assert used - place.granted == set(), "used without being granted on the page"


def live_as_a_token(registry: Registry, spec: Spec) -> None:
    """Every marker has its turn; each token is found, probed and ended."""
    issuer: Any = registry.issuer(spec.issuer)
    request = MintRequest(
        installation="page", credential=spec.name, rotation="r", generation=1, scope=spec.scope, parameters=spec.parameters
    )
    made = [issuer.mint(replace(request, generation=number), None) for number in range(issuer.traits.max_live)]
    assert len(issuer.find(query(request))) == issuer.traits.max_live
    probe(issuer, made[0].fields, request)
    for each in made:
        issuer.revoke(each.ref, None, spec.parameters)


def live_as_a_workload(place: Place, consumer: Any, name: str) -> None:
    """Restarted, looked at, and where it is stuck in its order, helped along."""
    assert list(consumer.preflight()) == []
    published = Published(credential="c", label="1-x", rotation="r", token=f"r.{name}", at=datetime.now(UTC))
    consumer.last_restart(published)
    stuck = name == "queue"
    consumer._settings = consumer._settings.model_copy(update={"steady_for": 0.0})
    if stuck:
        place.plane.annotate_pods(place.names["shop"], name, {UNREADY: "yes"})
        until(lambda: not any(map(ready, place.plane.pods(place.names["shop"], name))), "no pod is ready")
        consumer._settings = consumer._settings.model_copy(update={"stuck_after": 0.1})
    until(lambda: reloaded(consumer, published), f"{name} is restarted")
    until(lambda: consumer.check(published)[0] == "healthy", f"{name} is healthy")
    assert consumer.instances(published)


def ready(pod: dict[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ()))


def reloaded(consumer: Any, published: Published) -> bool:
    try:
        consumer.reload(published)
    except Retryable:
        return False
    return True
