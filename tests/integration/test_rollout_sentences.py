"""Workloads that no restart can be proven for as they are: each with the sentence for the person, and what happens after
the person has done what it says. All wait side by side, from when the fleet of this file is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rotatord.testing.contracts.common import eventually
from tests.integration.on_kubernetes import Fleet, fleet_of, fresh_namespace
from tests.servers.kubernetes import ControlPlane
from tests.servers.kwok_stages import UNREADY
from tests.servers.workloads import PATHS, workload

pytestmark = pytest.mark.kubernetes

ROLLING: dict[str, Any] = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}}
BY_HAND: dict[str, Any] = {"updateStrategy": {"type": "OnDelete"}}
# By credential: kind and spec of its workload (None: there is none), what the person is told, and then does.
STORIES: dict[str, tuple[str, dict[str, Any] | None, str, dict[str, Any]]] = {
    "paused": (
        "deployment",
        {"paused": True},
        "it is paused: a restart would be taken and nothing rolled out",
        {"paused": False},
    ),
    "parted": (
        "statefulset",
        {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}},
        "its partition is 1: the pods below that number keep the old template",
        ROLLING,
    ),
    "by-hand-set": ("statefulset", BY_HAND, "its updateStrategy is OnDelete", ROLLING),
    "by-hand-each": ("daemonset", BY_HAND, "its updateStrategy is OnDelete", {"updateStrategy": {"type": "RollingUpdate"}}),
    "empty": ("deployment", {"replicas": 0}, "it is scaled to zero; nothing is made until it runs", {"replicas": 1}),
    "absent": ("deployment", None, "there is no Deployment absent in namespace", {}),
}


def create(plane: ControlPlane, namespace: str, kind: str, name: str, **spec: Any) -> None:
    body = workload(kind, name, annotations={UNREADY: "until it has read"}, **spec)
    plane.admin.must("POST", PATHS[kind].format(namespace), body)


@pytest.fixture(scope="module")
def fleet(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Whoever must wait has said why; then the person sets it right. The quota comes after a first version."""
    namespace, cramped = fresh_namespace(control_plane), fresh_namespace(control_plane)
    credentials: list[dict[str, Any]] = [{"name": name, "kind": kind} for name, (kind, *_) in STORIES.items()]
    credentials += [{"name": "recreated", "kind": "deployment"}, {"name": "idle", "kind": "deployment", "policy": "idle"}]
    credentials += [{"name": "cramped", "kind": "deployment", "namespace": cramped}]
    for name, (kind, spec, *_) in STORIES.items():
        if spec is not None:
            create(control_plane, namespace, kind, name, **spec)
    create(control_plane, namespace, "deployment", "recreated", replicas=2, strategy={"type": "Recreate"})
    create(control_plane, namespace, "deployment", "idle", replicas=0)
    create(control_plane, cramped, "deployment", "cramped", replicas=3, strategy={"rollingUpdate": {"maxUnavailable": 0}})
    directory = tmp_path_factory.mktemp("sentences") / "fleet"
    with fleet_of(control_plane, namespace, directory, credentials, also=[cramped]) as fleet:
        fleet.quiet("cramped")
        fleet.first["cramped"] = (fleet.token("cramped", cramped), fleet.last("cramped"))
        fleet.cramped = cramped
        quota = {"metadata": {"name": "quota"}, "spec": {"hard": {"pods": "3"}}}
        control_plane.admin.must("POST", f"/api/v1/namespaces/{cramped}/resourcequotas", quota)
        control_plane.admin.until(
            f"/api/v1/namespaces/{cramped}/resourcequotas/quota",
            lambda seen: seen.get("status", {}).get("used", {}).get("pods") == "3",
            "the quota counts",
        )
        fleet.installation.command("rotate", "cramped")
        for name, (kind, spec, _, remedy) in STORIES.items():
            row = fleet.installation.until_row(name, lambda row: bool(row["waiting"]), "wait", 60)
            fleet.installation.until_row(name, lambda row, name=name: STORIES[name][2] in row["waiting"], "say why", 30)
            fleet.said[name] = row["state"]
            if spec is None:
                create(control_plane, namespace, kind, name)
            else:
                fleet.change(kind, name, remedy)
        yield fleet
    assert fleet.applications.trouble == []
    assert fleet.applications.refused == []
    for each in (namespace, cramped):
        control_plane.admin.delete(f"/api/v1/namespaces/{each}")


@pytest.mark.parametrize("name", list(STORIES))
def test_nothing_is_made_before_a_restart_could_be_proven(fleet: Fleet, name: str) -> None:
    """It was said what is in the way while nothing had been made; once that was set right, the rotation went through."""
    assert fleet.said[name] == "planned"
    row = fleet.quiet(name)
    assert row["generation"] == 1
    assert row["last_rotation"]["state"] == "completed"
    eventually(lambda: set(fleet.applications.tokens(name)) == {fleet.token(name)}, "its pods on the new version")


def test_a_policy_may_say_that_idle_passes(fleet: Fleet) -> None:
    """Then a rotation over a workload that is scaled to zero ends well."""
    assert fleet.quiet("idle")["last_rotation"]["state"] == "completed"
    assert fleet.applications.tokens("idle") == []


def test_recreate_is_rotated_and_remarked_upon(fleet: Fleet) -> None:
    """Every restart of it is an outage, which is its owner's choice: it is done, and said in the evidence."""
    assert fleet.quiet("recreated")["last_rotation"]["state"] == "completed"
    (verified,) = fleet.installation.events("recreated", "verify", "done")
    details = " ".join(each["detail"] for each in verified["evidence"]["evidence"])
    assert "strategy Recreate: every restart stops all pods before it starts new ones" in details


def test_a_quota_without_room_for_a_restart(fleet: Fleet) -> None:
    """The rotation is undone: the old value is in the Secret and all pods still run. That they do not restart on the way
    back either halts it, with the sentence; once the quota is raised, `resume` ends it and the new version is dead."""
    old, before = fleet.first["cramped"]
    halted = fleet.installation.until_row("cramped", lambda row: bool(row["halt"]), "halt", 90)
    assert "the quota has no room for the pods of a restart" in halted["halt"]["message"]
    assert "maxSurge: 0" in halted["halt"]["message"]
    assert fleet.token("cramped", fleet.cramped) == old
    assert fleet.ready("cramped", fleet.cramped) == [True] * 3
    fleet.plane.admin.must("DELETE", f"/api/v1/namespaces/{fleet.cramped}/resourcequotas/quota")
    fleet.installation.command("resume", "cramped")
    last = fleet.ended("cramped", before)
    assert last["state"] == "rolled_back"
    assert set(fleet.applications.tokens("cramped")) == {old}
