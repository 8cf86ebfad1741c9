"""Tokens of a ServiceAccount rotated by a real daemon, which may do what `rotatord rights` prints and nothing else."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
import urllib3
from ruamel.yaml import YAML

from rotatord.formats import parse
from tests.integration.running import Installation
from tests.servers.kubernetes import ControlPlane
from tests.servers.kubernetes_admin import Admin

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(300)]
NAME = "app"
AUDIENCE = "https://kubernetes.default.svc"
CONFIG = """
state_dir: state
log: {{format: json}}
issuers:
  accounts: {{type: kubernetes_token, kubeconfig: {own}, namespace: {namespace}, ends_within: 11s, call_settles_within: 2s}}
backends:
  cluster: {{type: kubernetes, kubeconfig: {own}, namespace: {namespace}}}
  files: {{type: file}}
policies:
  quick: {{ttl: 1h, renew_before: 10m, alarm_before: 5m, overlap: 0s, settle: 0s, poll: 100ms, verify_within: 20s}}
credentials:
  - name: app
    issuer: accounts
    policy: quick
    scope: {{audiences: ["{audience}"]}}
    parameters: {{service_account: app}}
    destinations:
      - {{backend: cluster, name: app-token, keys: {{TOKEN: token}}}}
      - {{backend: files, path: app.env, keys: {{TOKEN: token}}}}
    consumers: [{{type: observe, name: app, refresh_within: 1s}}]
"""


@dataclass
class Application:
    """Reads its token anew four times a second and calls the API server with it all the time."""

    plane: ControlPlane
    file: Path
    calls: int = 0
    refused: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._work, name="application", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _work(self) -> None:
        token, read_at = "", 0.0
        as_app: Admin | None = None
        while not self._stop.wait(0.03):
            if time.monotonic() - read_at > 0.25 and self.file.exists():
                found, read_at = (parse("dotenv", self.file.read_bytes()) or {}).get("TOKEN", token), time.monotonic()
                if found != token:
                    token, as_app = found, Admin(self.plane.address, self.plane.authority.file, token=found)
                    self.tokens.add(token)
            if as_app is not None:
                self._call(as_app)

    def _call(self, as_app: Admin) -> None:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            status, _ = as_app.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        except urllib3.exceptions.HTTPError:
            return  # no answer is no refusal
        self.calls += 1
        if status != 201:
            self.refused.append(f"{status} at {time.strftime('%X')}")


@pytest.fixture
def installation(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Installation]:
    """A daemon's place, and what a person does before it starts: ask for the rights, and grant them as they are printed."""
    for account in ("app", "rotatord"):
        control_plane.admin.must("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": account}})
    own = tmp_path / "own.kubeconfig"
    made = Installation(tmp_path, CONFIG.format(own=own, namespace=namespace, audience=AUDIENCE))
    made.config_file.write_text(made.config)
    printed = made.ask("rights", "-c", str(made.config_file), "--as", "rbac", "--service-account", f"{namespace}/rotatord")
    assert printed.returncode == 0, printed.stderr
    created = []
    for each in filter(None, YAML(typ="safe").load_all(printed.stdout)):
        within = each["metadata"].get("namespace")
        path = f"/apis/rbac.authorization.k8s.io/v1{f'/namespaces/{within}' if within else ''}/{each['kind'].lower()}s"
        control_plane.admin.must("POST", path, each)
        created.append(f"{path}/{each['metadata']['name']}")
    control_plane.kubeconfig(own, service_account=(namespace, "rotatord"))
    yield made
    for path in created:
        control_plane.admin.delete(path)


def markers(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    """The metadata of all that there are."""
    found = plane.admin.must("GET", f"/api/v1/namespaces/{namespace}/secrets")["items"]
    return [each["metadata"] for each in found if each["type"] == "rotatord.io/token-marker"]


def test_rotations_with_the_printed_rights_and_nobody_refused(
    control_plane: ControlPlane, namespace: str, installation: Installation, tmp_path: Path
) -> None:
    """A program that uses its token all the time is never refused, one marker is left, and no request of ours was denied.
    Then somebody deletes the marker: the token is dead, and the next rotation ends well without it."""
    with installation:
        with Application(control_plane, tmp_path / "app.env") as application:
            installation.until_quiet(NAME, 90)
            row = installation.rotated(NAME, 90)
        (marker,) = markers(control_plane, namespace)
        assert marker["annotations"]["rotatord.io/generation"] == str(row["generation"])
        assert (application.refused, len(application.tokens)) == ([], 2)
        assert application.calls > 200
        control_plane.admin.must("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{marker['name']}")
        row = installation.rotated(NAME, 90)
    (marker,) = markers(control_plane, namespace)
    assert marker["annotations"]["rotatord.io/generation"] == str(row["generation"])
    ours = control_plane.audit(f"system:serviceaccount:{namespace}:rotatord")
    assert [f"{event.verb} {event.uri}" for event in ours if event.code in (401, 403)] == []
    assert not {event.verb for event in ours} & {"list", "watch"}
    assert_no_token_in(installation.output.read_text(), application.tokens)


def assert_no_token_in(text: str, tokens: set[str]) -> None:
    """Neither whole nor its signature, which is what makes it a secret."""
    for token in tokens:
        assert re.escape(token.rpartition(".")[2]) not in text
