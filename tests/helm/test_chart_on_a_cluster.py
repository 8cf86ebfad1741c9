"""The chart at a real API server: every object accepted and restricted; installed, upgraded, taken back, removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helm.charting import CHART, CI, RELEASE, Helm, Json, granted, of_kind
from tests.servers.kubernetes import ControlPlane
from tests.servers.kubernetes_admin import APPLY, MERGE, Admin

pytestmark = pytest.mark.kubernetes

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
GROUPS = {"v1": "/api/v1"}
PLURALS = {"NetworkPolicy": "networkpolicies"}
MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {"kind": "ServiceMonitor", "plural": "servicemonitors"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def path_of(item: Json) -> str:
    """Where objects of its kind are made."""
    group = GROUPS.get(item["apiVersion"], f"/apis/{item['apiVersion']}")
    place = f"/namespaces/{item['metadata']['namespace']}" if "namespace" in item["metadata"] else ""
    return f"{group}{place}/{PLURALS.get(item['kind'], item['kind'].lower() + 's')}"


def tried(admin: Admin, item: Json) -> str:
    """What the API server has against an object, looked at in full and strictly; nothing is made."""
    path = f"{path_of(item)}/{item['metadata']['name']}"
    query = {"dryRun": "All", "fieldManager": "test", "force": "true", "fieldValidation": "Strict"}
    status, answer = admin.request("PATCH", path, item, APPLY, query)
    return "" if status in {200, 201} else f"{item['kind']} {item['metadata']['name']}: {status} {answer.get('message')}"


@pytest.fixture
def restricted(control_plane: ControlPlane, namespace: str) -> str:
    """A namespace of this test's own that takes restricted pods only."""
    control_plane.admin.must("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": RESTRICTED}}, MERGE)
    return namespace


@pytest.fixture
def cluster_helm(helm: Helm, control_plane: ControlPlane, tmp_path: Path) -> Helm:
    """Helm as the cluster's administrator."""
    return Helm(helm.binary, helm.directory, control_plane.kubeconfig(tmp_path / "admin.kubeconfig"))


@pytest.fixture(scope="module")
def admin(control_plane: ControlPlane) -> Admin:
    """The administrator, in a cluster that knows ServiceMonitors and has the namespaces of CI's values."""
    for path, body in (
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", MONITORS),
        ("/api/v1/namespaces", {"metadata": {"name": "shop"}}),
        ("/api/v1/namespaces", {"metadata": {"name": "mail"}}),
    ):
        assert control_plane.admin.post(path, body)[0] in {201, 409}
    control_plane.admin.until("/apis/monitoring.coreos.com/v1", lambda seen: seen.get("resources"), "ServiceMonitors")
    return control_plane.admin


@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_every_object_is_accepted(helm: Helm, admin: Admin, restricted: str, values: Path) -> None:
    """By a server-side dry run with strict validation; the StatefulSet's pod too, which admission sees when it is made."""
    objects = helm.template(values, namespace=restricted, more=["--set", "helmTest.enabled=true"])
    accounts = {item["spec"]["template"]["spec"]["serviceAccountName"] for item in of_kind(objects, "StatefulSet")}
    for name in accounts:
        assert admin.post(f"/api/v1/namespaces/{restricted}/serviceaccounts", {"metadata": {"name": name}})[0] == 201
    for item in of_kind(objects, "StatefulSet"):
        template = item["spec"]["template"]
        metadata = {**template["metadata"], "name": "pod", "namespace": restricted}
        objects.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    assert [said for item in objects if (said := tried(admin, item))] == []


def test_the_restricted_standard_is_enforced_there(admin: Admin, helm: Helm, restricted: str) -> None:
    """The check above can fail: the same pod with one thing less is refused."""
    pod = of_kind(helm.template(namespace=restricted), "Pod")[0]
    del pod["spec"]["securityContext"]["seccompProfile"]
    assert "violates PodSecurity" in tried(admin, pod)


# --- a life ----------------------------------------------------------------------------------------------------------------


def config(*places: str, threads: int = 4) -> Json:
    """A configuration with a destination in each of these namespaces."""
    return {
        "limits": {"threads": threads},
        "backends": {"cluster": {"type": "kubernetes"}},
        "issuers": {"self": {"type": "builtin"}},
        "credentials": [
            {
                "name": "one",
                "issuer": "self",
                "policy": {"renew_before": "1h", "max_age": "1d", "unproven": {"overlap": "1m"}},
                "destinations": [
                    {"backend": "cluster", "namespace": place, "name": "one", "keys": {"TOKEN": "token"}} for place in places
                ],
            }
        ],
    }


class Release:
    """One release in one namespace, with a volume for its claim: no provisioner runs here."""

    def __init__(self, helm: Helm, control_plane: ControlPlane, namespace: str) -> None:
        self.helm, self.control_plane, self.namespace = helm, control_plane, namespace
        self.name = f"{RELEASE}-rotatord"
        self.claim = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{self.name}-state"

    def helmed(self, *command: str, **values: object) -> str:
        given = ["--values", str(self.helm.values(values))] if values else []
        return self.helm.run(*command, "--namespace", self.namespace, *given)

    def bind(self) -> None:
        """Give the claim a volume."""
        admin = self.control_plane.admin
        claim = admin.must("GET", self.claim)
        volume = {
            "metadata": {"name": f"{self.namespace}-state"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/nowhere"},
                "claimRef": {"namespace": self.namespace, "name": claim["metadata"]["name"], "uid": claim["metadata"]["uid"]},
            },
        }
        admin.must("POST", "/api/v1/persistentvolumes", volume)
        bound = {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
        admin.must("PATCH", self.claim, {"metadata": bound, "spec": {"volumeName": volume["metadata"]["name"]}}, MERGE)  # type: ignore[index]
        admin.must("PATCH", f"{self.claim}/status", {"status": {"phase": "Bound"}}, MERGE)

    def drop(self) -> None:
        """Nobody here takes the protection off that keeps volumes from going while they are used."""
        admin = self.control_plane.admin
        for path in (self.claim, f"/api/v1/persistentvolumes/{self.namespace}-state"):
            admin.patch(path, {"metadata": {"finalizers": None}})
            admin.delete(path)

    def settled(self) -> Json:
        return self.control_plane.settled("statefulset", self.namespace, self.name)

    def pod(self) -> Json:
        return self.control_plane.admin.must("GET", f"/api/v1/namespaces/{self.namespace}/pods/{self.name}-0")

    def file(self) -> str:
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{self.name}"
        text: str = self.control_plane.admin.must("GET", path)["data"]["rotatord.yaml"]
        return text

    def roles(self, *namespaces: str) -> set[tuple[str, str, str, str, str]]:
        """What the release grants in these namespaces."""
        found: list[Json] = []
        for namespace in namespaces:
            path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles"
            items = self.control_plane.admin.must("GET", path)["items"]
            found += [item | {"kind": "Role"} for item in items if item["metadata"]["name"] == f"{self.namespace}:{self.name}"]
        return granted(found)


@pytest.fixture
def release(cluster_helm: Helm, control_plane: ControlPlane, restricted: str) -> Iterator[Release]:
    """A release that is not installed yet, and leaves nothing."""
    made = Release(cluster_helm, control_plane, restricted)
    yield made
    made.drop()


@pytest.fixture
def elsewhere(control_plane: ControlPlane, restricted: str) -> Iterator[str]:
    """A second namespace."""
    name = control_plane.namespace(f"{restricted}-two")
    yield name
    control_plane.admin.delete(f"/api/v1/namespaces/{name}")


@pytest.mark.timeout(240)
def test_a_release_lives(release: Release, elsewhere: str) -> None:
    """Installed, upgraded, rolled back and uninstalled: rights follow the configuration at once, the pod is replaced only
    where it has to be, the journal's volume outlives the release, and the next one takes it up."""
    here = release.namespace
    said = release.helmed("install", RELEASE, str(CHART), config=config(here))
    assert f"kubectl -n {here} exec {release.name}-0 -- rotatord check" in said
    release.bind()
    release.settled()
    first = release.pod()
    assert {place for place, *_ in release.roles(here, elsewhere)} == {here}

    release.helmed("upgrade", RELEASE, str(CHART), config=config(here, elsewhere))
    release.settled()
    assert {place for place, *_ in release.roles(here, elsewhere)} == {here, elsewhere}
    assert elsewhere in release.file()
    assert release.pod()["metadata"]["uid"] == first["metadata"]["uid"], "a new destination needs no restart"

    release.helmed("upgrade", RELEASE, str(CHART), config=config(elsewhere, threads=8))
    release.control_plane.admin.until(
        f"/api/v1/namespaces/{here}/pods/{release.name}-0",
        lambda pod: pod and pod["metadata"]["uid"] != first["metadata"]["uid"],
        "another pod: threads are read at the start",
    )
    release.settled()
    assert {place for place, *_ in release.roles(here, elsewhere)} == {elsewhere}

    release.helmed("rollback", RELEASE, "1")
    release.settled()
    assert elsewhere not in release.file()
    assert {place for place, *_ in release.roles(here, elsewhere)} == {here}

    release.helmed("uninstall", RELEASE)
    kept = release.control_plane.admin.must("GET", release.claim)["metadata"]["uid"]
    assert not release.roles(here, elsewhere)
    assert release.control_plane.admin.get(f"/api/v1/namespaces/{here}/services/{release.name}")[0] == 404
    release.control_plane.admin.until(f"/api/v1/namespaces/{here}/pods/{release.name}-0", lambda pod: not pod, "no pod")

    release.helmed("install", RELEASE, str(CHART), config=config(here))
    release.settled()
    assert release.control_plane.admin.must("GET", release.claim)["metadata"]["uid"] == kept


def test_a_release_that_never_gets_ready_is_taken_back(release: Release) -> None:
    """A StatefulSet that goes in order would wait for the broken pod for ever."""
    release.helmed("install", RELEASE, str(CHART))
    release.bind()
    release.settled()
    release.helmed("upgrade", RELEASE, str(CHART), nodeSelector={"there-is": "none"})
    release.control_plane.admin.until(
        f"/api/v1/namespaces/{release.namespace}/pods/{release.name}-0",
        lambda pod: pod and "there-is" in pod["spec"]["nodeSelector"] and pod["status"]["phase"] == "Pending",
        "a pod that finds no node",
    )
    release.helmed("rollback", RELEASE)
    release.settled()
    assert "there-is" not in release.pod()["spec"]["nodeSelector"]


def test_two_releases_of_one_name_share_a_namespace_of_others(
    cluster_helm: Helm, control_plane: ControlPlane, restricted: str, elsewhere: str
) -> None:
    """Each with a Role of its own there; neither takes the other's away."""
    other = control_plane.namespace(f"{restricted}-three")
    releases = [Release(cluster_helm, control_plane, place) for place in (restricted, other)]
    try:
        for release in releases:
            release.helmed("install", RELEASE, str(CHART), config=config(elsewhere), replicaCount=0)
        assert all(release.roles(elsewhere) for release in releases)
        releases[0].helmed("uninstall", RELEASE)
        assert not releases[0].roles(elsewhere)
        assert releases[1].roles(elsewhere)
    finally:
        for release in releases:
            release.drop()
        control_plane.admin.delete(f"/api/v1/namespaces/{other}")
