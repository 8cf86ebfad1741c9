"""The daemon under the chart's own ServiceAccount and Roles, with the chart's own configuration: the API server's audit log
says that nothing was denied, and that nothing is granted which is never used.

No container runs here, so the daemon is a process; everything else is the release's: token, rights, ConfigMap, variables.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from rotatord.testing.contracts.common import eventually
from tests.helm.charting import CHART, RELEASE, Helm, granted, of_kind, pod_specs
from tests.integration.on_kubernetes import PATIENCE, Applications, Introspection
from tests.integration.running import ROTATORD, Installation
from tests.servers.audit_log import AuditEvent
from tests.servers.component import free_port
from tests.servers.kubernetes import ControlPlane
from tests.servers.kubernetes_admin import APPLY, MERGE, Admin
from tests.servers.kwok_stages import UNREADY

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(300)]

KINDS = {"web": "deployment", "cache": "statefulset", "relay": "daemonset"}
UNPROTECTED = {"metadata": {"finalizers": None}}  # nobody here takes that off
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
EVERYBODY = {"selfsubjectaccessreviews"}  # what Kubernetes lets every ServiceAccount ask about itself
GROUPS = {"deployments": "apps", "statefulsets": "apps", "daemonsets": "apps", "replicasets": "apps"} | {
    "tokenreviews": "authentication.k8s.io"
}
CONFIG = """\
installation: inst_chart   # as text, which reaches the daemon letter for letter
log: {{format: json}}
issuers:
  tokens: {{type: builtin, introspection: {{listen: "127.0.0.1:{port}", secret: {{file: {secret}}}}}}}
  accounts: {{type: kubernetes_token, namespace: {there}, markers: 2, ends_within: 3s}}
backends:
  cluster: {{type: kubernetes, namespace: {there}}}
policies:
  quick: {{ttl: 1h, renew_before: 10m, alarm_before: 5m, poll: 200ms, settle: 0s, verify_within: 60s}}
credentials:
  - name: web
    issuer: tokens
    policy: quick
    scope: {{permissions: [read]}}
    destinations:
      - {{backend: cluster, name: web-source, keys: {{TOKEN: token}}, version_key: VERSION}}
      - {{backend: cluster, namespace: {here}, name: web-beside, keys: {{TOKEN: token}}}}
    consumers:
      - type: deployment
        namespace: {there}
        name: web
        {patience}
        copies: [{{backend: cluster, name: web, keys: {{TOKEN: token}}}}]
  - name: cache
    issuer: tokens
    policy: quick
    scope: {{permissions: [read]}}
    destinations: [{{backend: cluster, name: cache, keys: {{TOKEN: token}}, version_key: VERSION}}]
    consumers: [{{type: statefulset, namespace: {there}, name: cache, {flow}}}]
  - name: relay
    issuer: tokens
    policy: quick
    scope: {{permissions: [read]}}
    destinations: [{{backend: cluster, name: relay, keys: {{TOKEN: token}}, version_key: VERSION}}]
    consumers: [{{type: daemonset, namespace: {there}, name: relay, {flow}}}]
  - name: reader
    issuer: accounts
    policy: quick
    scope: {{audiences: [mail]}}
    parameters: {{service_account: reader}}
    destinations: [{{backend: cluster, name: reader, keys: {{TOKEN: token}}}}]
    consumers:
      - {{type: deployment, namespace: {there}, name: the reader, workload: reader, strategy: observe, refresh_within: 1s}}
"""
# Added by an upgrade.
LATER = """\
  - name: later
    issuer: tokens
    policy: {{renew_before: 10m, max_age: 1h, alarm_before: 5m, unproven: {{overlap: 1s}}}}
    scope: {{permissions: [read]}}
    destinations: [{{backend: cluster, namespace: {here}, name: later, keys: {{TOKEN: token}}}}]
"""


class Copier:
    """Copies one Secret to another a moment later, as External Secrets Operator would."""

    def __init__(self, admin: Admin, namespace: str, source: str, target: str) -> None:
        self._admin, self._secrets = admin, f"/api/v1/namespaces/{namespace}/secrets"
        self._source, self._target = source, target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="copier", daemon=True)
        self.trouble = ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _work(self) -> None:
        while not self._stop.wait(0.3):
            try:
                status, found = self._admin.get(f"{self._secrets}/{self._source}")
                if status == 200 and found.get("data"):
                    copy = {"apiVersion": "v1", "kind": "Secret", "data": found["data"]}
                    query = {"fieldManager": "copier", "force": "true"}
                    path = f"{self._secrets}/{self._target}"
                    self._admin.request("PATCH", path, copy | {"metadata": {"name": self._target}}, APPLY, query)
            except Exception as error:  # noqa: BLE001 - the test asks for it
                self.trouble = repr(error)


@dataclass
class Running:
    """A release, and its daemon as a process with what the release gives to its pod."""

    plane: ControlPlane
    helm: Helm
    here: str
    there: str
    daemon: Installation
    applications: Applications
    probes: str

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.here}:{RELEASE}-rotatord"

    def granted(self) -> set[tuple[str, str, str, str, str]]:
        """What the cluster's Roles of this release allow now."""
        name = f"{self.here}:{RELEASE}-rotatord"
        group = "/apis/rbac.authorization.k8s.io/v1"
        found = [self.plane.admin.must("GET", f"{group}/clusterroles/{name}")]
        found += [self.plane.admin.must("GET", f"{group}/namespaces/{place}/roles/{name}") for place in (self.here, self.there)]
        return granted(found)

    def token(self, name: str) -> str:
        return self.applications.document(self.there, name).get("TOKEN", "")


def released(running: Running, command: str, config: str) -> str:
    """Install or upgrade with a configuration; it as the cluster has it then, letter for letter."""
    file = running.daemon.directory / "given.yaml"
    file.write_text(config)
    running.helm.run(command, RELEASE, str(CHART), "--namespace", running.here, "--set-file", f"config={file}")
    kept = running.plane.admin.must("GET", f"/api/v1/namespaces/{running.here}/configmaps/{RELEASE}-rotatord")
    assert kept["data"]["rotatord.yaml"] == config
    return config


def until_in_force(running: Running) -> None:
    """The authorizer learns of new Roles a moment later."""
    for namespace, group, resource, verb, name in running.granted():
        kind, _, sub = resource.partition("/")
        asked = {"namespace": namespace, "verb": verb, "group": group, "resource": kind, "subresource": sub, "name": name}
        spec = {"user": running.user, "groups": ["system:serviceaccounts", "system:authenticated"], "resourceAttributes": asked}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        eventually(lambda review=review: running.plane.admin.must("POST", REVIEWS, review)["status"]["allowed"], str(asked))


@pytest.fixture
def running(helm: Helm, control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Running]:
    """Workloads in one namespace, the release in another, and the daemon at work."""
    here, there = namespace, control_plane.namespace(f"{namespace}-apps")
    labels = {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    control_plane.admin.must("PATCH", f"/api/v1/namespaces/{here}", {"metadata": labels}, MERGE)
    control_plane.admin.must("POST", f"/api/v1/namespaces/{there}/serviceaccounts", {"metadata": {"name": "reader"}})
    for name, kind in KINDS.items():
        more = {} if kind == "daemonset" else {"replicas": 2}
        if kind == "deployment":
            more |= {"progressDeadlineSeconds": 20}
        getattr(control_plane, kind)(there, name, wait=False, annotations={UNREADY: "until it has read"}, **more)
    control_plane.deployment(there, "reader", wait=False)
    port, probes, secret = free_port(), f"127.0.0.1:{free_port()}", tmp_path / "introspection"
    secret.write_text("callers")
    helm = Helm(helm.binary, helm.directory, control_plane.kubeconfig(tmp_path / "admin.kubeconfig"))
    applications = Applications(control_plane, [there], Introspection(port))
    made = Running(control_plane, helm, here, there, Installation(tmp_path, ""), applications, probes)
    facts = {"port": port, "secret": secret, "here": here, "there": there}
    lines = PATIENCE.replace(", ", "\n        ")
    made.daemon.config = released(made, "install", CONFIG.format(**facts, patience=lines, flow=PATIENCE))
    kubeconfig = control_plane.kubeconfig(tmp_path / "own.kubeconfig", service_account=(here, f"{RELEASE}-rotatord"))
    made.daemon.environment = {
        "KUBECONFIG": str(kubeconfig),
        "ROTATORD_STATE_DIR": str(made.daemon.state),
        "ROTATORD_PROBES_LISTEN": probes,
    }
    until_in_force(made)
    try:
        with Copier(control_plane.admin, there, "web-source", "web"), made.daemon, applications:
            yield made
    finally:
        control_plane.admin.patch(f"/api/v1/namespaces/{here}/persistentvolumeclaims/{RELEASE}-rotatord-state", UNPROTECTED)
        control_plane.admin.delete(f"/api/v1/namespaces/{there}")
        control_plane.admin.request("DELETE", f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{here}:{RELEASE}-rotatord")


def done(events: list[AuditEvent]) -> set[tuple[str, str, str, str, str]]:
    """What was asked, in the form of :func:`granted`."""
    return {
        (
            event.namespace,
            GROUPS.get(event.resource, ""),
            "/".join(part for part in (event.resource, event.subresource) if part),
            event.verb,
            event.name,
        )
        for event in events
        if event.resource not in EVERYBODY
    }


def covers(grant: tuple[str, ...], asked: set[tuple[str, str, str, str, str]]) -> bool:
    """Whether something was asked that this is needed for."""
    return grant in asked or (grant[-1] == "" and any(one[:-1] == grant[:-1] for one in asked))


def test_nothing_is_denied_and_nothing_is_granted_in_vain(running: Running) -> None:
    """First versions, rotations forward, one that breaks its StatefulSet and is undone, tokens over both of their markers, a
    credential that an upgrade adds: afterwards the audit log and the Roles say the same, both ways."""
    daemon = running.daemon
    for name in ("web", "cache", "relay", "reader"):
        daemon.until_quiet(name, 90)
    first = {name: running.token(name) for name in KINDS}
    running.applications.broken = {"cache": "2-"}
    for name in ("cache", "web", "relay", "reader"):
        daemon.command("rotate", name)

    def ended(name: str) -> str:
        row = daemon.until_row(
            name, lambda row: row["state"] == "quiet" and row["last_rotation"]["reason"] == "manual", "end its rotation", 120
        )
        return str(row["last_rotation"]["state"])

    assert ended("reader") == "completed"
    daemon.rotated("reader", 120)  # back to its first marker
    assert [ended(name) for name in ("web", "relay", "cache")] == ["completed", "completed", "rolled_back"]
    assert running.token("cache") == first["cache"]
    assert running.token("web") != first["web"]
    assert running.applications.refused == []
    upgraded(running)
    helm_test(running)
    daemon.stop()

    events = running.plane.audit(user=running.user)
    assert [event for event in events if event.code in {401, 403}] == []
    allowed, asked = running.granted(), done(events)
    print(f"{len(events)} requests under {len(allowed)} grants")
    assert sorted(grant for grant in allowed if not covers(grant, asked)) == [], "granted and never used"
    assert sorted(one for one in asked if not (one in allowed or (*one[:-1], "") in allowed)) == [], "allowed by somebody else"
    agents = {event.agent for event in events}
    assert all("kubectl" not in agent for agent in agents)


def upgraded(running: Running) -> None:
    """A credential more: granted by the upgrade, and taken up by the daemon that runs."""
    config = released(running, "upgrade", running.daemon.config + LATER.format(here=running.here))
    until_in_force(running)
    fresh = running.daemon.config_file.with_suffix(".fresh")
    fresh.write_text(config)
    fresh.rename(running.daemon.config_file)  # as the kubelet does it, which sends no signal
    running.daemon.until(lambda: bool(running.applications.document(running.here, "later")), "take up a credential")
    running.daemon.until_quiet("later")
    running.daemon.rotated("later")


def helm_test(running: Running) -> None:
    """What `helm test` would run in its pod, against this daemon: each container's very words."""
    values = running.daemon.directory / "given.yaml"
    pods = of_kind(running.helm.template(namespace=running.here, more=["--set-file", f"config={values}"]), "Pod")
    spec = pod_specs(pods)[0]
    validate = [str(values) if word == "/etc/rotatord/rotatord.yaml" else word for word in spec["initContainers"][0]["args"]]
    assert subprocess.run([ROTATORD, *validate], capture_output=True, timeout=60, check=False).returncode == 0
    command = [sys.executable, *spec["containers"][0]["command"][1:-1], f"http://{running.probes}"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (asked.returncode, asked.stdout.split()) == (0, ["/healthz", "200", "/readyz", "200", "/metrics", "200"]), (
        asked.stderr
    )
