"""The Kubernetes control plane, real: etcd, API server, controller manager, scheduler, and kwok's nodes and pods.

Everything listens on free loopback ports, lives in one directory and ends by its own id. How the pretended pods can be
made to misbehave stands in ``kwok_stages.py``.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from tests.servers import kwok_stages
from tests.servers.audit_log import POLICY, AuditEvent, AuditLog
from tests.servers.certificates import Authority, Pair
from tests.servers.component import Component, free_port
from tests.servers.go_program import GoProgram
from tests.servers.kubernetes_admin import MERGE, Admin, AdminError
from tests.servers.workloads import PATHS, settled, workload

Json = dict[str, Any]

_VERSION = "k8s.io/component-base/version"
_STAMP = f"-s -w -X {_VERSION}.gitVersion=v1.36.3 -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36"

KUBERNETES = GoProgram(
    name="kube-apiserver",
    version="1.36.3",
    package="k8s.io/kubernetes/cmd/kube-apiserver",
    build_flags=("-trimpath", "-ldflags", _STAMP),  # without the stamp clients cannot parse the server's version
    takes="about 9 minutes on two cores",
    beside=(
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ),
    module="kubernetes",
)
ETCD = GoProgram(
    name="etcd",
    version="3.6.5",
    package="go.etcd.io/etcd/server/v3",
    build_flags=("-trimpath", "-ldflags", "-s -w"),
    takes="about a minute",
)
KWOK = GoProgram(
    name="kwok",
    version="0.8.0",
    package="sigs.k8s.io/kwok/cmd/kwok",
    build_flags=("-trimpath", "-ldflags", "-s -w"),
    takes="about 3 minutes on two cores",
)

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
NODES = ("node-a", "node-b", "node-c")
_START_SECONDS = 110  # below the limit of one test, so that it is this error that one sees
_SERVICES = "10.96.0.0/24"
_CONTROLLERS = (
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "cronjob-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "statefulset-controller",
    "clusterrole-aggregation-controller",
)


class ControlPlaneError(Exception):
    """The control plane does not run as a test needs it."""


@dataclass
class ControlPlane:
    """One cluster of its own. ``binaries``: the path of every component by its name."""

    binaries: dict[str, Path]
    directory: Path
    components: dict[str, Component] = field(default_factory=dict)
    port: int = 0
    start_seconds: float = 0.0

    @property
    def address(self) -> str:
        """The API server's."""
        return f"https://127.0.0.1:{self.port}"

    # --- life ---

    def start(self) -> None:
        """Start everything; when it returns, a first Deployment has run. Again after :meth:`stop`: the same cluster."""
        began = time.monotonic()
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self.port:
            self._prepare()
        for attempt in range(3):  # a free port may be taken between our look and the server's
            if attempt:
                self._lay_out()
            if self._serves():
                break
        else:
            raise ControlPlaneError(self._complaint("the API server did not start"))
        for name in COMPONENTS[2:]:
            self._launch(name)
        self._settle(began)
        self.start_seconds = time.monotonic() - began

    def stop(self) -> None:
        """End every component, last started first."""
        for name in reversed(COMPONENTS):
            if name in self.components:
                self.components[name].stop(kill=name != "etcd")  # nothing but etcd has anything to lose
        if self.port:
            self.admin.close()

    def kill(self, name: str) -> None:
        """One component dies at once."""
        self.components[name].stop(kill=True)

    def revive(self, name: str) -> None:
        """Start a component that was killed; for etcd and the API server, wait until requests are served again."""
        self._launch(name)
        if name in COMPONENTS[:2]:
            self._until_ready(time.monotonic() + _START_SECONDS)

    def memory(self) -> dict[str, int]:
        """Resident bytes by component."""
        return {name: component.memory() for name, component in self.components.items()}

    # --- identities ---

    def kubeconfig(self, path: Path, *, token: str | None = None, service_account: tuple[str, str] | None = None) -> Path:
        """Write a kubeconfig: the administrator's, a given token's, or a fresh token's of (namespace, ServiceAccount)."""
        if service_account:
            token = self.token(*service_account)
        return self._kubeconfig(path, {"token": token} if token else _user(self.pairs["admin"]))

    def token(self, namespace: str, service_account: str, seconds: int = 3600, audiences: Sequence[str] = ()) -> str:
        """A token of a ServiceAccount by TokenRequest."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        spec: Json = {"expirationSeconds": seconds} | ({"audiences": list(audiences)} if audiences else {})
        made = self.admin.must("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec})
        token: str = made["status"]["token"]
        return token

    def grant(self, namespace: str, service_account: str, rules: Sequence[Json], cluster_rules: Sequence[Json] = ()) -> Path:
        """A ServiceAccount that may do this in its namespace (and that in the cluster); its kubeconfig, once it works."""
        base = f"/api/v1/namespaces/{namespace}"
        status, answer = self.admin.post(f"{base}/serviceaccounts", {"metadata": {"name": service_account}})
        if status not in {201, 409}:
            raise AdminError(f"ServiceAccount {namespace}/{service_account}: {status} {answer}")
        subject = {"kind": "ServiceAccount", "name": service_account, "namespace": namespace}
        group = "/apis/rbac.authorization.k8s.io/v1"
        for kind, where, given in (
            ("Role", f"{group}/namespaces/{namespace}/", rules),
            ("ClusterRole", f"{group}/", cluster_rules),
        ):
            if not given:
                continue
            name = f"{namespace}-{service_account}-{secrets.token_hex(3)}"
            role = {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": name},
                "rules": list(given),
            }
            ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name}
            bound = {"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]}
            self.admin.must("POST", f"{where}{kind.lower()}s", role)
            self.admin.must("POST", f"{where}{kind.lower()}bindings", bound)
        self._until_effective(namespace, service_account, [*rules, *cluster_rules])
        file = self.directory / "kubeconfigs" / f"{namespace}-{service_account}-{secrets.token_hex(3)}.json"
        return self.kubeconfig(file, service_account=(namespace, service_account))

    # --- what runs in it ---

    def namespace(self, name: str) -> str:
        """Create a namespace in which pods can be made at once."""
        self.admin.must("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        self.admin.until(f"/api/v1/namespaces/{name}/serviceaccounts/default", bool, f"the ServiceAccount default of {name}")
        return name

    def deployment(self, namespace: str, name: str, replicas: int = 1, *, wait: bool = True, **more: Any) -> Json:
        """Create a Deployment (see ``workloads.py`` for what can be said) and wait until it is ready."""
        return self._create("deployment", namespace, name, wait=wait, replicas=replicas, **more)

    def statefulset(self, namespace: str, name: str, replicas: int = 1, *, wait: bool = True, **more: Any) -> Json:
        """The same with a StatefulSet."""
        return self._create("statefulset", namespace, name, wait=wait, replicas=replicas, **more)

    def daemonset(self, namespace: str, name: str, *, wait: bool = True, **more: Any) -> Json:
        """The same with a DaemonSet: a pod on each of the nodes."""
        return self._create("daemonset", namespace, name, wait=wait, **more)

    def settled(self, kind: str, namespace: str, name: str, seconds: float = 30) -> Json:
        """Wait until every wanted pod of the newest template is ready and no other is left (terminating ones may be)."""
        return self.admin.until(f"{PATHS[kind].format(namespace)}/{name}", settled, f"{kind} {name} ready", seconds)

    def pods(self, namespace: str, app: str) -> list[Json]:
        """The pods with the label ``app``, terminating ones included."""
        status, answer = self.admin.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=f"app={app}")
        if status != 200:
            raise AdminError(f"pods of {namespace}: {status} {answer.get('message')}")
        found: list[Json] = answer["items"]
        return found

    def annotate(self, path: str, annotations: dict[str, str | None]) -> Json:
        """Set annotations of any object, or take them away (None)."""
        return self.admin.must("PATCH", path, {"metadata": {"annotations": annotations}}, MERGE)

    def annotate_pods(self, namespace: str, app: str, annotations: dict[str, str | None]) -> None:
        """The same to every living pod with the label ``app``."""
        for pod in self.pods(namespace, app):
            self.annotate(f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}", annotations)

    # --- what was asked of it ---

    def audit(self, user: str | None = None, namespace: str | None = None) -> list[AuditEvent]:
        """Every request answered so far, of one user or in one namespace; the cluster's own are never among them.

        A ServiceAccount's user is ``system:serviceaccount:NAMESPACE:NAME``.
        """
        for _ in range(2):  # what was answered before the first mark is surely written before the second
            mark = f"audit-mark-{secrets.token_hex(6)}"
            self.admin.get(f"/api/v1/namespaces/{mark}")
            self._until(lambda mark=mark: any(event.name == mark for event in self.log.read()), 30, "the audit log")  # type: ignore[misc]
        return [
            event
            for event in self.log.read()
            if (user is None or event.user == user)
            and (namespace is None or event.namespace == namespace)
            and not event.name.startswith("audit-mark-")
        ]

    # --- inside ---

    def _prepare(self) -> None:
        self.authority = Authority(self.directory / "certificates")
        also = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "10.96.0.1")
        self.pairs = {
            "server": self.authority.server("kube-apiserver", also),
            "tokens": self.authority.signing_key("tokens"),
            "admin": self.authority.client("test:admin", "system:masters"),
            "kwok": self.authority.client("test:kwok", "system:masters"),
            "kube-controller-manager": self.authority.client("system:kube-controller-manager", "system:masters"),
            "kube-scheduler": self.authority.client("system:kube-scheduler"),
        }
        (self.directory / "audit-policy.json").write_text(json.dumps(POLICY))
        self.log = AuditLog(self.directory / "audit.log")
        kwok_stages.write(self.directory / "stages.yaml")
        self._lay_out()

    def _lay_out(self) -> None:
        """Choose ports, and make the components that use them."""
        self.port, etcd = free_port(), free_port()
        self.admin = Admin(self.address, self.authority.file, self.pairs["admin"])
        for name in COMPONENTS[2:]:
            self._kubeconfig(self.directory / f"{name}.kubeconfig", _user(self.pairs[name]))
        arguments = {
            "etcd": self._etcd(etcd),
            "kube-apiserver": self._api_server(etcd),
            "kube-controller-manager": self._controller_manager(),
            "kube-scheduler": [
                f"--kubeconfig={self.directory}/kube-scheduler.kubeconfig",
                "--leader-elect=false",
                "--secure-port=0",
            ],
            "kwok": [
                f"--kubeconfig={self.directory}/kwok.kubeconfig",
                f"--config={self.directory}/stages.yaml",
                "--manage-all-nodes=true",
                "--node-lease-duration-seconds=40",
            ],
        }
        self.components = {name: Component(name, self.binaries[name], arguments[name], self.directory) for name in COMPONENTS}

    def _etcd(self, port: int) -> list[str]:
        return [
            f"--data-dir={self.directory}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{port}",
            f"--advertise-client-urls=http://127.0.0.1:{port}",
            "--listen-peer-urls=http://127.0.0.1:0",  # nobody else is there
            "--unsafe-no-fsync",
            "--log-level=warn",
            "--name=test",
            "--initial-cluster=test=http://localhost:2380",  # its name of itself; nothing listens there
        ]

    def _api_server(self, etcd: int) -> list[str]:
        server, tokens = self.pairs["server"], self.pairs["tokens"]
        return [
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--endpoint-reconciler-type=none",  # it does not take a loopback address
            f"--service-cluster-ip-range={_SERVICES}",
            f"--tls-cert-file={server.certificate}",
            f"--tls-private-key-file={server.key}",
            f"--client-ca-file={self.authority.file}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={tokens.certificate}",
            f"--service-account-signing-key-file={tokens.key}",
            f"--audit-log-path={self.log.file}",
            f"--audit-policy-file={self.directory}/audit-policy.json",
            "--audit-log-maxsize=2000",
            "--profiling=false",
        ]

    def _controller_manager(self) -> list[str]:
        return [
            f"--kubeconfig={self.directory}/kube-controller-manager.kubeconfig",
            f"--service-account-private-key-file={self.pairs['tokens'].key}",
            f"--root-ca-file={self.authority.file}",
            f"--controllers={','.join(_CONTROLLERS)}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--node-monitor-grace-period=10m",  # a loaded machine must not cost a node
        ]

    def _launch(self, name: str) -> None:
        if name == "kwok":  # it would wait until its predecessor's leases of the nodes have run out
            self.admin.must("DELETE", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases")
        self.components[name].start()

    def _serves(self) -> bool:
        """Whether etcd and the API server answer; both are ended where they do not."""
        for name in COMPONENTS[:2]:
            self._launch(name)
        try:
            self._until_ready(time.monotonic() + _START_SECONDS)
        except ControlPlaneError:
            alive = [name for name in COMPONENTS[:2] if self.components[name].alive]
            if len(alive) == 2:
                raise  # slow, not in the way of another: another port would not help
            for name in alive:
                self.components[name].stop(kill=True)
            return False
        return True

    def _until_ready(self, deadline: float) -> None:
        def ready() -> bool:
            return self.admin.get("/readyz")[0] == 200

        self._until(ready, deadline - time.monotonic(), "the API server", COMPONENTS[:2])

    def _settle(self, began: float) -> None:
        """Nodes, and one Deployment all the way: then every component does its work."""
        left = _START_SECONDS - (time.monotonic() - began)
        for name in NODES:
            labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
            body = {"metadata": {"name": name, "labels": labels}, "status": _CAPACITY}
            status, answer = self.admin.post("/api/v1/nodes", body)
            if status not in {201, 409}:
                raise ControlPlaneError(f"no node: {status} {answer}")
        name = f"first-{secrets.token_hex(3)}"
        base = f"/api/v1/namespaces/{name}"
        self.admin.must("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        self._until(lambda: self.admin.get(f"{base}/serviceaccounts/default")[0] == 200, left, "a ServiceAccount", COMPONENTS)
        self._create("deployment", name, "first", wait=False)
        path = f"{PATHS['deployment'].format(name)}/first"
        self._until(lambda: settled(self.admin.get(path)[1]), left, "a first Deployment", COMPONENTS)
        self.admin.delete(base)

    def _create(self, kind: str, namespace: str, name: str, *, wait: bool, **more: Any) -> Json:
        made = self.admin.must("POST", PATHS[kind].format(namespace), workload(kind, name, **more))
        return self.settled(kind, namespace, name) if wait else made

    def _until_effective(self, namespace: str, service_account: str, rules: Sequence[Json]) -> None:
        """The authorizer learns of bindings a little later than they are made."""
        user = f"system:serviceaccount:{namespace}:{service_account}"
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        for rule in rules:
            if "resources" not in rule:
                continue
            resource, _, subresource = rule["resources"][0].partition("/")
            asked = {
                "namespace": namespace,
                "verb": rule["verbs"][0],
                "group": rule["apiGroups"][0],
                "resource": resource,
                "subresource": subresource,
                "name": rule.get("resourceNames", [""])[0],
            }
            spec = {"user": user, "groups": ["system:serviceaccounts", "system:authenticated"], "resourceAttributes": asked}
            review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
            self._until(
                lambda review=review: self.admin.must("POST", path, review)["status"]["allowed"],  # type: ignore[misc]
                30,
                f"the rule {rule} for {user}",
            )

    def _until(self, reached: Callable[[], Any], seconds: float, what: str, of: Sequence[str] = ()) -> None:
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while time.monotonic() < deadline:
            if not all(self.components[name].alive for name in of):
                break
            try:
                if reached():
                    return
            except urllib3.exceptions.HTTPError:
                pass
            pause.wait(0.02)
        raise ControlPlaneError(self._complaint(f"{what}: not within {seconds:.0f} s"))

    def _complaint(self, what: str) -> str:
        lines = [what]
        for component in self.components.values():
            state = "running" if component.alive else "ended" if component.process else "not started"
            lines.append(f"  {component.name}: {state}; see {component.log_file}")
        ended = [each for each in self.components.values() if each.process is not None and not each.alive]
        lines += [f"{component.name} last said:\n{component.last_words()}" for component in ended]
        return "\n".join(lines)

    def _kubeconfig(self, path: Path, user: Json) -> Path:
        """JSON is YAML."""
        cluster = {"server": self.address, "certificate-authority-data": _base64(self.authority.file)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            "current-context": "test",
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
            json.dump(config, handle)
        return path


_CAPACITY = {
    key: {"cpu": "1000", "memory": "1Ti", "pods": "10000", "ephemeral-storage": "1Ti"} for key in ("capacity", "allocatable")
}


def _user(pair: Pair) -> Json:
    return {"client-certificate-data": _base64(pair.certificate), "client-key-data": _base64(pair.key)}


def _base64(file: Path) -> str:
    return base64.b64encode(file.read_bytes()).decode()
