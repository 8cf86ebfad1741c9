"""Whose pods they are, and whether they still run: a pod that is overlooked dies with the version that it uses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fake_cluster import START, FakeCluster, pod, reference, waiting, workload

from consumers import workload_pods as pods

Json = dict[str, Any]


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def names(found: list[Json]) -> list[str]:
    return [each["metadata"]["name"] for each in found]


def replicaset(cluster: FakeCluster, name: str, owner: Json | None) -> Json:
    meta = {"name": name, "labels": {"app": "web"}}
    if owner is not None:
        meta["ownerReferences"] = [reference(owner)]
    return cluster.put("replicasets", {"kind": "ReplicaSet", "metadata": meta, "spec": {}})


def test_pods_of_a_deployment(cluster: FakeCluster) -> None:
    """Through its ReplicaSets, whatever else has its labels."""
    web = cluster.put("deployments", workload("deployments"))
    other = cluster.put("deployments", workload("deployments", "other"))
    own, foreign = replicaset(cluster, "web-1", web), replicaset(cluster, "other-1", other)
    all_pods = [
        cluster.put("pods", each)
        for each in (
            pod("ours", own, pod_template_hash="1"),
            pod("theirs", foreign, pod_template_hash="1"),
            pod("of-a-job", {"kind": "Job", "metadata": {"name": "web", "uid": "j"}}),
        )
    ]
    assert names(pods.pods_of_deployment(web, [own, foreign], all_pods)) == ["ours"]


def test_pods_outlive_their_replicaset(cluster: FakeCluster) -> None:
    """With revisionHistoryLimit 0 an old ReplicaSet may be gone before its last pod: that pod still runs."""
    web = cluster.put("deployments", workload("deployments"))
    gone = {"kind": "ReplicaSet", "metadata": {"name": "web-abc", "uid": "gone"}}
    namesake = {"kind": "ReplicaSet", "metadata": {"name": "web-two-abc", "uid": "gone too"}}
    last = cluster.put("pods", pod("last", gone, pod_template_hash="abc"))
    foreign = cluster.put("pods", pod("foreign", namesake, pod_template_hash="abc"))
    assert names(pods.pods_of_deployment(web, [], [last, foreign])) == ["last"]


def test_pods_outlive_a_workload_that_was_made_anew(cluster: FakeCluster) -> None:
    """Deleted and created again under its name: the pods of the one before are still its pods, and looked for under every
    label, for the new one may have others."""
    before = {"kind": "Deployment", "metadata": {"name": "web", "uid": "before"}}
    web = cluster.put("deployments", workload("deployments"))
    old = replicaset(cluster, "web-old", before)
    left = cluster.put("pods", pod("left", old, app="earlier-label"))
    assert names(pods.pods_of_deployment(web, [old], [left])) == ["left"]
    assert pods.selector_text(web, START) == ""
    assert pods.selector_text(web, START + timedelta(days=1)) == "app=web"


@pytest.mark.parametrize(("kind", "resource"), [("StatefulSet", "statefulsets"), ("DaemonSet", "daemonsets")])
def test_pods_of_a_set(cluster: FakeCluster, kind: str, resource: str) -> None:
    """By their controller; and those without one that it will adopt, as after ``kubectl delete --cascade=orphan``."""
    web = cluster.put(resource, workload(resource))
    orphan = pod("web-1", web)
    del orphan["metadata"]["ownerReferences"]
    stranger = pod("debug", web, app="debug")
    del stranger["metadata"]["ownerReferences"]
    other = pod("web-2", {"kind": kind, "metadata": {"name": "web-x", "uid": "x"}})
    found = [cluster.put("pods", each) for each in (pod("web-0", web), orphan, stranger, other)]
    assert names(pods.pods_of_set(kind, web, found)) == ["web-0", "web-1"]


def test_a_selector_with_expressions(cluster: FakeCluster) -> None:
    """It is sent as the API wants it, and understood the same here."""
    terms = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "tier", "operator": "NotIn", "values": ["c"]},
        {"key": "app", "operator": "Exists"},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    body = workload("daemonsets", selector={"matchLabels": {"app": "web"}, "matchExpressions": terms})
    web = cluster.put("daemonsets", body)
    assert pods.selector_text(web, START + timedelta(days=1)) == "app=web,tier in (a,b),tier notin (c),app,!old"
    assert pods.selects(web, {"app": "web", "tier": "a"})
    for wrong in ({"app": "x", "tier": "a"}, {"app": "web"}, {"app": "web", "tier": "a", "old": ""}):
        assert not pods.selects(web, wrong)


@pytest.mark.parametrize(
    ("status", "is_over"),
    [
        ({"phase": "Running"}, False),
        ({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}, True),
        ({"phase": "Failed", "containerStatuses": [{"state": {"running": {}}}]}, False),
        ({"phase": "Failed", "containerStatuses": []}, False),
        ({"phase": "Failed", "reason": "Evicted"}, True),
        ({"phase": "Failed", "reason": "NodeLost"}, False),
        (
            {
                "phase": "Succeeded",
                "containerStatuses": [{"state": {"terminated": {}}}],
                "ephemeralContainerStatuses": [{"state": {"running": {}}}],
            },
            False,
        ),
    ],
)
def test_only_what_is_certainly_over_is_left_out(status: Json, is_over: bool) -> None:
    """A phase that somebody else wrote (a lost node) says nothing of the containers."""
    for each in status.get("containerStatuses", []):
        if "terminated" in each["state"]:
            each["state"]["terminated"]["exitCode"] = 0
    assert pods.over({"spec": {"containers": [{}]}, "status": status}) is is_over


def test_trouble_is_told_without_what_a_container_said() -> None:
    """Images and missing keys are explained; commands, environments and last words are not shown."""
    owner = {"kind": "StatefulSet", "metadata": {"name": "web", "uid": "u"}}
    crash = waiting(pod("a", owner), "CrashLoopBackOff", "back-off for token=hunter2")
    missing = waiting(pod("a", owner), "CreateContainerConfigError", 'secret "web" not found')
    command = waiting(pod("a", owner), "RunContainerError", "exec: --token=hunter2: not found")
    told = [pods.trouble_of(each) for each in (crash, missing, command)]
    assert told[0] == "container main: CrashLoopBackOff, exit code 1"
    assert told[1] == 'container main: CreateContainerConfigError, exit code 1: secret "web" not found'
    assert told[2] == "container main: RunContainerError, exit code 1"
    assert "hunter2" not in "".join(told)
    unscheduled = {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes fit"}]}}
    assert pods.trouble_of(unscheduled) == "no node takes it: 0/3 nodes fit"


def test_the_present_template_is_found_as_the_controller_does(cluster: FakeCluster) -> None:
    """Equal but for the hash; nothing and an empty map are the same."""
    web = cluster.put("deployments", workload("deployments"))
    template = web["spec"]["template"]
    labels = {**template["metadata"]["labels"], "pod-template-hash": "1"}
    new, old = replicaset(cluster, "web-1", web), replicaset(cluster, "web-0", web)
    new["spec"]["template"] = {"metadata": {"labels": labels, "annotations": {}}, "spec": template["spec"]}
    old["spec"]["template"] = {"metadata": {"labels": labels, "annotations": {"a": "b"}}, "spec": template["spec"]}
    assert pods.newest_of(web, [new, old]) == {new["metadata"]["uid"]}


def test_long_messages_become_one_line() -> None:
    """They go into records."""
    assert pods.shortened("a\n  b") == "a b"
    assert len(pods.shortened("x" * 1000)) == pods.LONGEST_MESSAGE
