"""One look at a workload, judged: what kubectl calls complete is not always over, and what stands still is said to."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from fake_cluster import START, FakeCluster, workload

from consumers import workload_gate as gate
from consumers.workload_pods import Pod

Json = dict[str, Any]
NOW = START + timedelta(hours=1)
STAMP = START.isoformat()
COMPLETE: dict[str, Json] = {
    "Deployment": {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "terminatingReplicas": 0},
    "StatefulSet": {"replicas": 3, "updatedReplicas": 3, "availableReplicas": 3, "updateRevision": "new"},
    "DaemonSet": {"desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3},
}


def member(name: str, **more: Any) -> Pod:
    plain = {"uid": name, "created": START, "since": START, "owner": "new", "revision": "new", "ready": True, "node": "n"}
    return Pod(name=name, **{**plain, **more})


PODS = tuple(member(f"web-{number}") for number in range(3))


def progressing(status: str = "True", reason: str = "NewReplicaSetAvailable", message: str = "") -> Json:
    return {"type": "Progressing", "status": status, "reason": reason, "message": message, "lastTransitionTime": STAMP}


def look(kind: str, *, status: Json | None = None, spec: Json | None = None, **more: Any) -> gate.Look:
    """A workload whose rollout is over, but for what is said."""
    body = FakeCluster().put(f"{kind.lower()}s", workload(f"{kind.lower()}s", **(spec or {})))
    body["status"] = {"observedGeneration": 1, "conditions": [progressing()], **COMPLETE[kind], **(status or {})}
    facts: dict[str, Any] = {"pods": PODS, "newest": frozenset({"new"}), "now": NOW}
    return gate.Look(
        kind=kind,
        workload=body,
        stuck_after=timedelta(minutes=1),
        progress_within=timedelta(minutes=5),
        steady_for=timedelta(seconds=10),
        **{**facts, **more},
    )


KINDS = list(COMPLETE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollout_that_is_over_is_healthy(kind: str) -> None:
    """All pods are of the present template and available, and no other is left."""
    assert gate.judge(look(kind)) == ("healthy", "3 of 3 pods are of the present template and available")


@pytest.mark.parametrize("kind", KINDS)
def test_a_pod_that_is_still_ending_keeps_it_from_being_over(kind: str) -> None:
    """It still runs, and may still use what it has; kubectl does not count it."""
    ending = member("web-9", owner="old", revision="old", ends_at=NOW + timedelta(seconds=20))
    state, detail = gate.judge(look(kind, pods=(*PODS, ending)))
    assert (state, "1 pod has not ended yet: web-9" in detail) == ("unknown", True)


def test_the_controllers_own_count_of_ending_pods_counts_too() -> None:
    """Where it is served and says more than our look."""
    state, detail = gate.judge(look("Deployment", status={"terminatingReplicas": 2}))
    assert (state, detail) == ("unknown", "2 pods have not ended yet")


@pytest.mark.parametrize("kind", KINDS)
def test_an_older_template_keeps_it_from_being_over(kind: str) -> None:
    """Whatever the counts say."""
    old = member("web-2", owner="old", revision="old")
    state, detail = gate.judge(look(kind, pods=(*PODS[:2], old), now=START + timedelta(minutes=1)))
    assert state == "unknown"
    assert "template" in detail


@pytest.mark.parametrize("kind", KINDS)
def test_a_pod_that_has_just_become_ready_proves_nothing_yet(kind: str) -> None:
    """A container that crashes on its first call is ready until then, and again at each start of its loop."""
    looping = replace(PODS[1], since=NOW - timedelta(seconds=3))
    seen = look(kind, pods=(PODS[0], looping, PODS[2]))
    assert gate.judge(seen) == ("unknown", "ready for less than 10s so far: web-1")
    assert gate.judge(replace(seen, now=NOW + timedelta(seconds=7)))[0] == "healthy"


@pytest.mark.parametrize("kind", KINDS)
def test_what_its_controller_has_not_seen_proves_nothing(kind: str) -> None:
    """The status may still speak of the template before."""
    state, detail = gate.judge(look(kind, status={"observedGeneration": 0}))
    assert (state, detail) == ("unknown", "its controller has not looked at the newest change yet")


@pytest.mark.parametrize("kind", KINDS)
def test_a_workload_that_is_being_deleted_is_unhealthy(kind: str) -> None:
    """Nothing will come of it."""
    seen = look(kind)
    seen.workload["metadata"]["deletionTimestamp"] = STAMP
    assert gate.judge(seen) == ("unhealthy", "is being deleted")


UNFINISHED: list[tuple[str, Json, str]] = [
    ("Deployment", {"updatedReplicas": 1}, "1 of 3 pods are of the present template"),
    ("Deployment", {"replicas": 4}, "pods of an older template remain"),
    ("Deployment", {"availableReplicas": 2}, "2 of 3 pods are available"),
    ("Deployment", {"conditions": [progressing(reason="ReplicaSetUpdated")]}, "does not call the rollout complete"),
    ("StatefulSet", {"updateRevision": "newer"}, "0 of 3 pods are of the present template"),
    ("StatefulSet", {"availableReplicas": 2}, "2 of 3 pods are available"),
    ("DaemonSet", {"updatedNumberScheduled": 2}, "2 of 3 pods are of the present template"),
    ("DaemonSet", {"numberAvailable": 2, "numberUnavailable": 1}, "2 of 3 pods are available"),
]


@pytest.mark.parametrize(("kind", "status", "said"), UNFINISHED)
def test_under_way_is_unknown(kind: str, status: Json, said: str) -> None:
    """Neither proven nor failed, and it says what is missing."""
    state, detail = gate.judge(look(kind, status=status, now=START + timedelta(seconds=1)))
    assert (state, said in detail) == ("unknown", True), detail


def test_a_set_with_fewer_pods_than_wanted_is_not_over() -> None:
    """Those that are there may all be new while one was not yet made again."""
    assert gate.judge(look("StatefulSet", pods=PODS[:2], now=START))[0] == "unknown"


SPECS: list[tuple[str, Json, str]] = [
    ("Deployment", {"paused": True}, "it is paused"),
    ("StatefulSet", {"updateStrategy": {"type": "OnDelete"}}, "its updateStrategy is OnDelete"),
    ("StatefulSet", {"updateStrategy": {"rollingUpdate": {"partition": 2}}}, "its partition is 2"),
    ("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}, "its updateStrategy is OnDelete"),
]


@pytest.mark.parametrize(("kind", "spec", "said"), SPECS)
def test_what_never_rolls_out_is_stuck_at_once(kind: str, spec: Json, said: str) -> None:
    """There is nothing to wait for, where pods of before remain."""
    old = tuple(replace(each, owner="old", revision="old") for each in PODS)
    status = {"updatedReplicas": 0, "updatedNumberScheduled": 0}
    state, detail = gate.judge(look(kind, spec=spec, pods=old, status=status, now=START))
    assert (state, said in detail) == ("unhealthy", True), detail


@pytest.mark.parametrize(("kind", "spec", "said"), SPECS)
def test_what_is_over_is_over_whatever_its_strategy(kind: str, spec: Json, said: str) -> None:
    """No pod of before is left, by whatever hand."""
    assert gate.judge(look(kind, spec=spec))[0] == "healthy"


def test_a_passed_deadline_is_stuck() -> None:
    """Its controller says so, for Deployments."""
    late = progressing("False", "ProgressDeadlineExceeded", 'ReplicaSet "web-2" has timed out progressing.')
    state, detail = gate.judge(look("Deployment", status={"updatedReplicas": 1, "conditions": [late]}))
    assert state == "unhealthy"
    assert "ProgressDeadlineExceeded" in detail


def failure(since: datetime) -> Json:
    message = 'pods "web-x" is forbidden: exceeded quota: team, requested: pods=1, used: pods=3, limited: pods=3'
    return {"type": "ReplicaFailure", "status": "True", "message": message, "lastTransitionTime": since.isoformat()}


def test_a_quota_without_room_is_told_at_once_and_stuck_later() -> None:
    """A rollout that fits its quota only while old pods end meets it too, and gets on."""
    for since, state in ((NOW - timedelta(seconds=5), "unknown"), (NOW - timedelta(minutes=2), "unhealthy")):
        seen = look("Deployment", status={"updatedReplicas": 0, "conditions": [failure(since)]})
        verdict, detail = gate.judge(seen)
        assert verdict == state
        assert "the quota has no room for the pods of a restart" in detail
        assert "maxSurge: 0" in detail


def test_pods_in_trouble_are_told_at_once_and_stuck_later() -> None:
    """A crash loop may end; one that lasts does not. The pods of before are on their way out and accused of nothing."""
    for born, state in ((NOW - timedelta(seconds=5), "unknown"), (NOW - timedelta(minutes=2), "unhealthy")):
        bad = member("web-2", ready=False, created=born, since=born, trouble="container main: CrashLoopBackOff")
        old = member("web-0", owner="old", ready=False, trouble="container main: ImagePullBackOff")
        seen = look("Deployment", status={"updatedReplicas": 1}, pods=(old, PODS[1], bad))
        verdict, detail = gate.judge(seen)
        assert (verdict, "pod web-2: container main: CrashLoopBackOff" in detail) == (state, True)
        assert "ImagePull" not in detail


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_what_has_no_deadline_of_its_own_is_given_one(kind: str) -> None:
    """Nothing has changed for as long as the settings allow: the last pod, or the last change of the workload."""
    status = {"availableReplicas": 2, "numberAvailable": 2}
    unready = replace(PODS[1], ready=False, since=NOW - timedelta(minutes=4))
    seen = look(kind, status=status, pods=(PODS[0], unready, PODS[2]))
    assert gate.judge(seen)[0] == "unknown"
    later = replace(seen, now=NOW + timedelta(minutes=2))
    state, detail = gate.judge(later)
    assert (state, "nothing has changed for 5m" in detail) == ("unhealthy", True)
    later.workload["metadata"]["managedFields"] = [{"manager": "rotatord", "time": later.now.isoformat()}]
    assert gate.judge(later)[0] == "unknown"


def test_a_deployment_without_deadline_is_given_one() -> None:
    """The largest number means none; then there is no condition to wait for either."""
    spec, no_conditions = {"progressDeadlineSeconds": 2147483647}, {"conditions": []}
    assert gate.judge(look("Deployment", spec=spec, status=no_conditions))[0] == "healthy"
    state, detail = gate.judge(look("Deployment", spec=spec, status={**no_conditions, "availableReplicas": 1}))
    assert (state, "nothing has changed for 5m" in detail) == ("unhealthy", True)


def test_an_ordered_set_names_the_pod_that_it_stands_at() -> None:
    """The others wait for it."""
    unready = replace(PODS[1], ready=False)
    state, detail = gate.judge(look("StatefulSet", pods=(PODS[0], unready, PODS[2]), status={"availableReplicas": 2}))
    assert (state, "pod web-1 is not ready, and the others wait for it" in detail) == ("unhealthy", True)


@pytest.mark.parametrize(
    ("kind", "none"), [("Deployment", {}), ("StatefulSet", {}), ("DaemonSet", {"desiredNumberScheduled": 0})]
)
def test_nothing_that_runs_is_not_healthy(kind: str, none: Json) -> None:
    """The policy decides what that means."""
    spec = {} if kind == "DaemonSet" else {"replicas": 0}
    state, detail = gate.judge(look(kind, spec=spec, status=none, pods=PODS[:1]))
    assert state == "unknown"
    assert "nothing runs that could be healthy" in detail
    assert "1 pod has not ended yet" in detail


REMARKS: list[tuple[str, Json, str]] = [
    ("Deployment", {"strategy": {"type": "Recreate"}}, "strategy Recreate: every restart stops all pods"),
    ("Deployment", {"replicas": 1, "strategy": {"rollingUpdate": {"maxUnavailable": 1}}}, "its only pod is stopped"),
    ("Deployment", {"replicas": 1, "strategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}, "its only pod is stopped"),
    ("StatefulSet", {"replicas": 1}, "its only pod is stopped before the new one is ready"),
]


@pytest.mark.parametrize(("kind", "spec", "said"), REMARKS)
def test_what_surprises_people_is_remarked_upon(kind: str, spec: Json, said: str) -> None:
    """It is no obstacle."""
    state, detail = gate.judge(look(kind, spec=spec))
    assert (state, f"; note: {said}" in detail) == ("healthy", True)


@pytest.mark.parametrize("key", ["reloader.stakater.com/auto", "secret.reloader.stakater.com/reload"])
def test_who_else_restarts_it_is_remarked_upon(key: str) -> None:
    """Reloader; or nobody, as far as one sees."""
    seen = look("Deployment")
    assert "nobody is known to restart it" in gate.judge(replace(seen, observed=True))[1]
    assert "note" not in gate.judge(replace(seen, observed=True, polled=True))[1]
    seen.workload["metadata"]["annotations"] = {key: "true"}
    assert "Stakater Reloader restarts it too" in gate.judge(seen)[1]
    assert "without `strategy: observe`" in gate.judge(replace(seen, observed=True))[1]
    seen.workload["metadata"]["annotations"] = {key: "false"}
    assert "note" not in gate.judge(seen)[1]


@pytest.mark.parametrize("allowed", ["25%", 0])
def test_a_single_pod_with_room_for_another_is_no_surprise(allowed: str | int) -> None:
    """A share of one pod is rounded down."""
    spec = {"replicas": 1, "strategy": {"rollingUpdate": {"maxUnavailable": allowed}}}
    assert "note" not in gate.judge(look("Deployment", spec=spec))[1]


def test_pods_whose_node_is_dead_are_tolerated_only_when_told_so() -> None:
    """So many as the settings say; never one that has finalizers, or time left to end."""
    overdue = NOW - timedelta(minutes=2)
    dead = member("web-8", revision="old", ends_at=overdue, ready=False)
    counts = {"updatedNumberScheduled": 2, "numberAvailable": 2, "numberUnavailable": 1}
    seen = look("DaemonSet", status=counts, pods=(*PODS[:2], dead))
    assert gate.judge(seen)[0] != "healthy"
    assert gate.left_out(seen) == []
    told = replace(seen, tolerated=1)
    state, detail = gate.judge(told)
    assert (state, "web-8 on n does not confirm its end and is left out" in detail) == ("healthy", True)
    assert gate.left_out(told) == [dead]
    for pod in (replace(dead, finalizers=True), replace(dead, ends_at=NOW)):
        assert gate.left_out(replace(told, pods=(*PODS[:2], pod))) == []
        assert gate.judge(replace(told, pods=(*PODS[:2], pod)))[0] != "healthy"
    second = replace(dead, name="web-9", ends_at=overdue + timedelta(seconds=1))
    assert gate.left_out(replace(told, pods=(second, dead))) == [dead]


def test_a_long_detail_is_cut() -> None:
    """It goes into records and events."""
    bad = member("w" * 900, ready=False, trouble="x" * 900)
    _, detail = gate.judge(look("Deployment", status={"updatedReplicas": 1}, pods=(bad,)))
    assert len(detail) <= 500
