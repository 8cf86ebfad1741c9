"""The cluster that is meant, at a real API server: under the rights that are printed for it, and its audit log as the judge."""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from backends import kubernetes as backend
from consumers import workload
from issuers import kubernetes_token as issuer
from rotatord.errors import Denied, Retryable
from rotatord.kubernetes_pin import SHOWN_BY
from rotatord.model import Destination, Slot
from rotatord.ports import MintRequest, Published, Surroundings
from rotatord.secret import Secret
from rotatord.testing.contracts.backend_setting import FIRST, MARKER, put
from tests.servers.kubernetes import ControlPlane
from tests.servers.kubernetes_corner import rules
from tests.servers.tool import Tool

pytestmark = pytest.mark.kubernetes
SCOPE = {"audiences": ["https://app.example"]}
OWN = "rotatord"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "kubernetes.md"


class Pinned:
    """The three plugins over one namespace, under what they say they need, meaning the cluster of ``uid``."""

    def __init__(self, plane: ControlPlane, namespace: str, around: Surroundings) -> None:
        self.plane, self.namespace, self.around = plane, namespace, around
        self.uid: str = plane.admin.must("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
        self.parameters = {"namespace": namespace, "service_account": "app"}
        self.destination = Destination(
            backend="cluster", address={"namespace": namespace, "name": "app"}, keys={"TOKEN": "token"}
        )
        plane.admin.must("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "app"}})
        self.opened: list[Any] = []

    def plugins(self, kubeconfig: Path, uid: str | None) -> tuple[Any, Any, Any]:
        settings = {"kubeconfig": str(kubeconfig), "cluster_uid": uid}
        web = {**settings, "namespace": self.namespace, "name": "web", "gather": 0}
        made = (
            issuer.create(settings, self.around),
            backend.create(settings, self.around),
            workload.deployment(web, self.around),
        )
        self.opened += made
        return made

    def grant(self, uid: str | None, account: str = OWN) -> Path:
        """The rights that the plugins tell when they mean the cluster of ``uid``."""
        tokens, store, web = self.plugins(Path("nobody"), uid)
        needed = [*tokens.rights(SCOPE, self.parameters), *store.rights(self.destination, home=True), *web.rights()]
        inside, everywhere = [one for one in needed if one.namespace], [one for one in needed if not one.namespace]
        return self.plane.grant(self.namespace, account, rules(inside), rules(everywhere))

    def request(self) -> MintRequest:
        return MintRequest(
            installation="i", credential="c", rotation="r", generation=1, scope=SCOPE, parameters=self.parameters
        )

    def asked(self, account: str = OWN) -> list[tuple[str, str, str, int]]:
        """Our requests as the audit log has them, without those that everybody may make."""
        events = self.plane.audit(f"system:serviceaccount:{self.namespace}:{account}")
        return [
            (each.verb, each.resource, each.name, each.code) for each in events if each.resource != "selfsubjectaccessreviews"
        ]


@pytest.fixture
def pinned(control_plane: ControlPlane, namespace: str, surroundings: Callable[..., Surroundings]) -> Iterator[Pinned]:
    made = Pinned(control_plane, namespace, surroundings())
    yield made
    for plugin in made.opened:
        plugin.close()


def published() -> Published:
    token = f"r.{secrets.token_hex(3)}"
    return Published(credential="c", label="1-x", rotation="r", token=token, at=datetime.now(UTC))


def test_the_cluster_that_is_meant_is_worked_at(pinned: Pinned) -> None:
    """Under the printed rights and no other: minted, written, restarted, ended, and nothing denied."""
    pinned.plane.deployment(pinned.namespace, "web")
    tokens, store, web = pinned.plugins(pinned.grant(pinned.uid), pinned.uid)
    assert [*tokens.preflight(SCOPE, pinned.parameters), *store.preflight(pinned.destination), *web.preflight()] == []
    minted = tokens.mint(pinned.request(), None)
    put(store, pinned.destination, Slot.CURRENT, FIRST)
    web.reload(published())
    tokens.revoke(minted.ref, None, pinned.parameters)
    asked = pinned.asked()
    assert [event for event in asked if event[3] in (401, 403)] == []
    assert ("get", "namespaces", "kube-system", 200) in asked


def test_what_the_page_says_shows_the_uid(pinned: Pinned, kubectl: Tool, tmp_path: Path) -> None:
    """The command of docs/kubernetes.md and of the refusal, run."""
    shown = re.search(r"^kubectl (get namespace kube-system .*)$", PAGE.read_text(), re.MULTILINE)
    assert shown is not None
    said = kubectl.to(pinned.plane.kubeconfig(tmp_path / "admin")).run(*shlex.split(shown[1]))
    assert said == pinned.uid
    assert shown[0] == SHOWN_BY


def test_at_another_nothing_is_made_written_restarted_or_ended(pinned: Pinned) -> None:
    """All that it hears of us, whatever rights we have there, is the question which one it is; what was there goes on."""
    pinned.plane.deployment(pinned.namespace, "web")
    kubeconfig = pinned.grant(pinned.uid)
    right, _, _ = pinned.plugins(kubeconfig, pinned.uid)
    minted = right.mint(pinned.request(), None)
    before = len(pinned.asked())
    tokens, store, web = pinned.plugins(kubeconfig, "00000000-0000-4000-8000-000000000000")
    acts: tuple[Callable[[], object], ...] = (
        lambda: tokens.mint(pinned.request(), None),
        lambda: tokens.revoke(minted.ref, None, pinned.parameters),
        lambda: store.write(pinned.destination, Slot.CURRENT, Secret({"token": "v"}), MARKER, "0"),
        lambda: web.reload(published()),
    )
    for act in acts:
        with pytest.raises(Retryable, match=f"is of cluster {pinned.uid}; cluster_uid says 0000"):
            act()
    assert set(pinned.asked()[before:]) == {("get", "namespaces", "kube-system", 200)}
    target = {"scope": SCOPE, "parameters": pinned.parameters}
    assert right.probe(minted.fields, target).ref == minted.ref


def test_without_the_right_to_look_the_rule_is_told(pinned: Pinned) -> None:
    """Whoever sets the pin and forgets the right reads which one it is, before anything is made."""
    tokens, store, _ = pinned.plugins(pinned.grant(None), pinned.uid)
    with pytest.raises(Denied, match=r"resources: \[namespaces\], verbs: \[get\], resourceNames: \[kube-system\]"):
        tokens.preflight(SCOPE, pinned.parameters)
    assert any("resourceNames: [kube-system]" in problem for problem in store.preflight(pinned.destination))
    assert {event[:3] for event in pinned.asked()} == {("get", "namespaces", "kube-system")}
