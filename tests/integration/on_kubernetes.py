"""What the tests of rollouts share: applications in a real cluster that use what they read, and one daemon that rotates it.

kwok pretends the pods: they read nothing and know no application. :class:`Applications` stands in for it. A pod holds the
value that its Secret had when it started, becomes ready if its application can work with that, and uses it until it is gone.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import urllib3

from tests.integration.running import Installation
from tests.servers.component import free_port
from tests.servers.kubernetes import ControlPlane
from tests.servers.kwok_stages import UNREADY
from tests.servers.workloads import PATHS

Json = dict[str, Any]
LOOKS_EVERY_SECONDS = 0.1
INSTALLATION = """
state_dir: state
log: {{format: json}}
issuers:
  tokens: {{type: builtin, introspection: {{listen: "127.0.0.1:{port}", secret: {{file: {secret}}}}}}}
backends:
  cluster: {{type: kubernetes, kubeconfig: {kubeconfig}}}
policies:
  quick: {{ttl: 1h, renew_before: 10m, alarm_before: 5m, poll: 200ms, settle: 0s, verify_within: 60s}}
  idle: {{ttl: 1h, renew_before: 10m, alarm_before: 5m, poll: 200ms, settle: 0s, verify_within: 60s, idle: pass}}
credentials:
"""
CREDENTIAL = """
  - name: {name}
    issuer: tokens
    policy: {policy}
    scope: {{permissions: [read]}}
    destinations: [{{backend: cluster, namespace: {namespace}, name: {name}, keys: {{TOKEN: token}}, version_key: VERSION}}]
    consumers: [{{type: {kind}, name: {workload}, namespace: {namespace}, kubeconfig: {kubeconfig}{settings}}}]
"""
PATIENCE = "gather: 200ms, stuck_after: 4s, steady_for: 500ms, progress_within: 12s"


@dataclass
class Introspection:
    """What the issuer answers to a service that is given a token."""

    port: int
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, maxsize=4, timeout=10))

    def __call__(self, token: str) -> bool:
        body = urllib.parse.urlencode({"token": token}).encode()
        headers = {"Authorization": "Bearer callers", "Content-Type": "application/x-www-form-urlencoded"}
        answer = self.pool.request("POST", f"http://127.0.0.1:{self.port}/introspect", body=body, headers=headers)
        return bool(json.loads(answer.data)["active"])


@dataclass
class Pod:
    """One copy of an application: what it read when it started, and whether it could work with it."""

    app: str
    token: str
    works: bool


@dataclass
class Applications:
    """All pods of some namespaces, looked at ten times a second. A pod is one for as long as it is listed: while it ends
    it still works, and what it uses must not be refused."""

    plane: ControlPlane
    namespaces: list[str]
    accepted: Introspection
    broken: dict[str, str] = field(default_factory=dict)  # app: start of the version's label that it cannot work with
    pods: dict[str, Pod] = field(default_factory=dict)  # by uid
    gone: set[str] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)  # uids of pods on dead nodes: whether they are refused nobody asks
    refused: list[str] = field(default_factory=list)  # calls that were refused to somebody who could not know better
    uses: int = 0
    trouble: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def look(self) -> None:
        """One look at everything."""
        present: set[str] = set()
        for namespace in self.namespaces:
            status, answer = self.plane.admin.get(f"/api/v1/namespaces/{namespace}/pods")
            assert status == 200, answer
            for raw in answer["items"]:
                present.add(raw["metadata"]["uid"])
                self._meet(namespace, raw)
        self.gone |= self.pods.keys() - present
        for uid, pod in self.pods.items():
            if uid in present and pod.token and uid not in self.given_up:
                self._use(uid, pod)

    def _meet(self, namespace: str, raw: Json) -> None:
        meta = raw["metadata"]
        started = raw.get("status", {}).get("phase") == "Running"
        if meta["uid"] in self.pods or not started or UNREADY not in meta.get("annotations", {}):
            return
        app = meta["labels"]["app"]
        document = self.document(namespace, app)
        works = not (app in self.broken and document.get("VERSION", "").startswith(self.broken[app]))
        if works:
            path = f"/api/v1/namespaces/{namespace}/pods/{meta['name']}"
            status, _ = self.plane.admin.patch(path, {"metadata": {"annotations": {UNREADY: None}}})
            if status != 200:
                return  # gone, or in somebody else's hands: it starts at the next look
        self.pods[meta["uid"]] = Pod(app, document.get("TOKEN", ""), works)

    def _use(self, uid: str, pod: Pod) -> None:
        self.uses += 1
        if not self.accepted(pod.token) and self._still_there(uid, pod):
            self.refused.append(f"{pod.app} {uid}")

    def _still_there(self, uid: str, pod: Pod) -> bool:
        """A pod that ended between the list and its call made no call."""
        return any(
            raw["metadata"]["uid"] == uid for namespace in self.namespaces for raw in self.plane.pods(namespace, pod.app)
        )

    def document(self, namespace: str, name: str) -> dict[str, str]:
        """What a Secret holds now; {} where there is none."""
        status, answer = self.plane.admin.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
        if status != 200:
            return {}
        return {key: base64.b64decode(value).decode() for key, value in answer.get("data", {}).items()}

    def tokens(self, app: str) -> list[str]:
        """What the pods of an application run on now."""
        return [pod.token for uid, pod in self.pods.items() if pod.app == app and uid not in self.gone]

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._work, name="applications", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Nobody uses anything any more."""
        self._stop.set()
        assert self._thread is not None
        self._thread.join(20)

    def _work(self) -> None:
        while not self._stop.wait(LOOKS_EVERY_SECONDS):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the test asks for it
                self.trouble.append(repr(error))


@dataclass
class Fleet:
    """A daemon with its credentials, and the applications that use them."""

    plane: ControlPlane
    namespace: str
    directory: Path
    installation: Installation
    applications: Applications
    first: dict[str, tuple[str, str]] = field(default_factory=dict)  # by credential: first token and rotation
    restarts: dict[str, int] = field(default_factory=dict)  # of what several credentials share, so far
    said: dict[str, str] = field(default_factory=dict)  # by credential: its state when it said what it waits for
    cramped: str = ""  # the namespace that has a quota

    def accepted(self, token: str) -> bool:
        return self.applications.accepted(token)

    def token(self, name: str, namespace: str = "") -> str:
        """What its Secret holds."""
        return self.applications.document(namespace or self.namespace, name).get("TOKEN", "")

    def workload(self, kind: str, name: str, namespace: str = "") -> Json:
        return self.plane.admin.must("GET", f"{PATHS[kind].format(namespace or self.namespace)}/{name}")

    def change(self, kind: str, name: str, spec: Json, namespace: str = "") -> None:
        """What a person does with ``kubectl patch``."""
        status, answer = self.plane.admin.patch(f"{PATHS[kind].format(namespace or self.namespace)}/{name}", {"spec": spec})
        assert status == 200, answer

    def ready(self, name: str, namespace: str = "") -> list[bool]:
        """Whether each pod of it is ready."""
        return [
            any(each["type"] == "Ready" and each["status"] == "True" for each in raw.get("status", {}).get("conditions", []))
            for raw in self.plane.pods(namespace or self.namespace, name)
        ]

    def ended(self, name: str, before: str | None, seconds: float = 90) -> Json:
        """The summary of the rotation that ended after the one of this id, once nothing is open or owed."""

        def over(row: Json) -> bool:
            assert not row["halt"], row["halt"]
            last = row["last_rotation"]
            return row["state"] == "quiet" and last is not None and last["id"] != before

        last: Json = self._until(name, over, "end its rotation", seconds)["last_rotation"]
        return last

    def quiet(self, name: str, seconds: float = 90) -> Json:
        """Its row, once nothing is open or owed."""

        def over(row: Json) -> bool:
            assert row["state"] != "empty" or row["last_rotation"] is None, row["last_rotation"]
            return bool(row["state"] == "quiet")

        return self._until(name, over, "become quiet", seconds)

    def _until(self, name: str, reached: Callable[[Json], bool], what: str, seconds: float) -> Json:
        try:
            return self.installation.until_row(name, reached, what, seconds)
        except AssertionError as error:
            waiting, trouble = self.installation.row(name)["waiting"], self.applications.trouble[-3:]
            raise AssertionError(f"{name} waits for {waiting!r}; the applications: {trouble}; {error}") from None

    def last(self, name: str) -> str:
        """The id of the rotation that ended last."""
        return str(self.installation.row(name)["last_rotation"]["id"])


@contextmanager
def fleet_of(
    plane: ControlPlane,
    namespace: str,
    directory: Path,
    credentials: list[Json],
    *,
    also: Sequence[str] = (),
    settled: Sequence[tuple[str, str]] = (),
) -> Iterator[Fleet]:
    """A fleet with these credentials. Their workloads are for the caller to make, before or after; those that are named
    in ``settled`` (kind and name) run before the daemon does. ``also``: further namespaces with applications."""
    directory.mkdir(exist_ok=True)
    port, secret = free_port(), directory / "introspection"
    secret.write_text("callers")
    kubeconfig = plane.kubeconfig(directory / "kubeconfig.json")
    text = INSTALLATION.format(port=port, secret=secret, kubeconfig=kubeconfig)
    for each in credentials:
        facts = {"policy": "quick", "namespace": namespace, "kubeconfig": kubeconfig, "workload": each["name"], **each}
        facts["settings"] = f", {facts.get('settings', PATIENCE)}"
        text += CREDENTIAL.format(**facts)
    installation = Installation(directory, text)
    applications = Applications(plane, [namespace, *also], Introspection(port))
    fleet = Fleet(plane, namespace, directory, installation, applications)
    with applications:
        for kind, name in settled:
            plane.settled(kind, namespace, name, 60)
        with installation:
            try:
                yield fleet
            finally:
                applications.stop()


def fresh_namespace(plane: ControlPlane) -> str:
    """A namespace that pods can be made in at once."""
    return plane.namespace(f"t{secrets.token_hex(5)}")
