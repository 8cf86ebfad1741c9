"""Rotations through real rollouts: no version dies while a pod of before is there, and a rollout that fails is undone.

All rotations of this file begin together, when its fleet is made; each test then waits for its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rotatord.testing.contracts.common import eventually
from tests.integration.on_kubernetes import PATIENCE, Fleet, fleet_of, fresh_namespace
from tests.servers.kubernetes import ControlPlane
from tests.servers.kwok_stages import TERMINATES_AFTER, UNREADY
from tests.servers.workloads import workload

pytestmark = pytest.mark.kubernetes

KINDS = ("deployment", "statefulset", "daemonset")
GOOD = [f"slow-{kind}" for kind in KINDS]
BAD = [f"broken-{kind}" for kind in KINDS]
SHARED = [f"shared-{number}" for number in range(1, 6)]
GROUP = ["group", "group-2", "group-3"]
LINGERS_SECONDS = 3


def kind_of(name: str) -> str:
    return name.partition("-")[2]


def restarts(fleet: Fleet, name: str) -> int:
    """How often the spec of a Deployment was changed so far."""
    return int(fleet.workload("deployment", name)["metadata"]["generation"])


def short_grace(name: str) -> dict[str, Any]:
    """A template whose pods have a second to end."""
    body = workload("daemonset", name, annotations={UNREADY: "until it has read"})
    template: dict[str, Any] = body["spec"]["template"]
    template["spec"]["terminationGracePeriodSeconds"] = 1
    return template


def lose_a_node(fleet: Fleet, name: str) -> None:
    """One of its pods will never confirm its end."""
    fleet.change("daemonset", name, {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 3}}})
    raw = fleet.plane.pods(fleet.namespace, name)[0]
    path = f"/api/v1/namespaces/{fleet.namespace}/pods/{raw['metadata']['name']}"
    fleet.plane.annotate(path, {TERMINATES_AFTER: "3600"})
    fleet.applications.given_up.add(raw["metadata"]["uid"])


@pytest.fixture(scope="module")
def fleet(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Every credential has its first version, at work in three pods each; then every one of them is rotated."""
    namespace = fresh_namespace(control_plane)
    credentials = [{"name": name, "kind": kind_of(name)} for name in [*GOOD, *BAD]]
    shared = {"kind": "deployment", "workload": "shared", "settings": "gather: 10s, stuck_after: 4s, steady_for: 500ms"}
    credentials += [{"name": name, **shared} for name in SHARED]
    grouped = {"kind": "deployment", "workload": "group", "settings": "gather: 10s, stuck_after: 4s, steady_for: 500ms"}
    credentials += [{"name": name, **grouped} for name in GROUP]
    credentials.append({"name": "lost-daemonset", "kind": "daemonset", "settings": f"{PATIENCE}, ignore_not_ready_nodes: 1"})
    kinds = {name: kind_of(name) for name in [*GOOD, *BAD, "lost-daemonset"]} | dict.fromkeys(("shared", "group"), "deployment")
    for name, kind in kinds.items():
        ends = {TERMINATES_AFTER: str(LINGERS_SECONDS)} if name in GOOD else {}
        more = {} if kind == "daemonset" else {"replicas": 3}
        if kind == "deployment":
            more |= {"progressDeadlineSeconds": 10}
        if name == "lost-daemonset":
            more["template"] = short_grace(name)
        getattr(control_plane, kind)(namespace, name, wait=False, annotations={UNREADY: "until it has read", **ends}, **more)
    settled = [(kind, name) for name, kind in kinds.items()]
    directory = tmp_path_factory.mktemp("rollouts") / "fleet"
    with fleet_of(control_plane, namespace, directory, credentials, settled=settled) as fleet:
        names = [*SHARED, *GROUP, *GOOD, *BAD, "lost-daemonset"]
        for name in names:
            fleet.quiet(name)
        fleet.first = {name: (fleet.token(name), fleet.last(name)) for name in names}
        fleet.restarts = {name: restarts(fleet, name) for name in ("shared", "group")}
        fleet.applications.broken = dict.fromkeys([*BAD, "group"], "2-")
        lose_a_node(fleet, "lost-daemonset")
        for name in names:
            fleet.installation.command("rotate", name)
        yield fleet
    assert fleet.applications.trouble == []
    assert fleet.applications.refused == []
    assert fleet.applications.uses > 0
    control_plane.admin.delete(f"/api/v1/namespaces/{namespace}")


@pytest.mark.parametrize("name", GOOD)
def test_the_old_version_lives_as_long_as_any_pod_of_before(fleet: Fleet, name: str) -> None:
    """Pods take seconds to end. What they hold is accepted until the last of them is gone (the fleet's end asserts that of
    every call), and refused soon after."""
    old, before = fleet.first[name]
    assert fleet.ended(name, before)["state"] == "completed"
    new = fleet.token(name)
    assert new != old
    assert not fleet.accepted(old)
    assert fleet.applications.tokens(name) == [new] * 3


@pytest.mark.parametrize("name", BAD)
def test_a_rollout_that_never_becomes_ready_is_undone(fleet: Fleet, name: str) -> None:
    """No pod can work with the new version: the old value is in the Secret again, every pod runs on it and is ready, and
    the new version is dead. Of a StatefulSet that includes the pod that would have blocked the others for ever."""
    old, before = fleet.first[name]
    last = fleet.ended(name, before)
    assert last["state"] == "rolled_back"
    assert fleet.token(name) == old
    assert fleet.accepted(old)
    eventually(lambda: fleet.applications.tokens(name) == [old] * 3, "three pods on the old version")
    assert fleet.ready(name) == [True] * 3
    tried = {pod.token for pod in fleet.applications.pods.values() if pod.app == name and not pod.works}
    assert len(tried) == 1
    assert not fleet.accepted(tried.pop())


def test_credentials_of_one_workload_share_a_restart(fleet: Fleet) -> None:
    """Five were published within its time to gather: it restarted once."""
    for name in SHARED:
        assert fleet.ended(name, fleet.first[name][1])["state"] == "completed"
    assert restarts(fleet, "shared") == fleet.restarts["shared"] + 1


def test_credentials_of_one_workload_fail_and_are_restored_together(fleet: Fleet) -> None:
    """Its pods cannot work with one of the three new versions: all three go back, and share the restarts there too."""
    for name in GROUP:
        old, before = fleet.first[name]
        assert fleet.ended(name, before)["state"] == "rolled_back"
        assert fleet.token(name) == old
    eventually(lambda: fleet.applications.tokens("group") == [fleet.first["group"][0]] * 3, "three pods on the old version")
    assert fleet.ready("group") == [True] * 3
    assert restarts(fleet, "group") - fleet.restarts["group"] in {2, 3}  # each may notice at a moment of its own


def test_a_node_that_does_not_answer_is_tolerated_where_told_so(fleet: Fleet) -> None:
    """Its pod never confirms its end. The evidence names it, and what it holds is refused in the end: that was accepted."""
    old, before = fleet.first["lost-daemonset"]
    assert fleet.ended("lost-daemonset", before)["state"] == "completed"
    verified = fleet.installation.events("lost-daemonset", "verify", "done")[-1]
    details = " ".join(each["detail"] for each in verified["evidence"]["evidence"])
    assert "does not confirm its end and is left out" in details
    assert not fleet.accepted(old)
