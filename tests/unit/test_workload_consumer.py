"""Restarting a workload: once for each rotation and leg, never over somebody else's change, and nothing that is not its own."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from fake_cluster import START, FakeCluster, pod, reference, waiting, workload
from ruamel.yaml import YAML

from consumers import workload as consumer
from rotatord.configuration.schema import OWN_CONSUMER_KEYS
from rotatord.durations import parse
from rotatord.errors import Conflict, Denied, Retryable
from rotatord.kubernetes_client import Cluster
from rotatord.model import ConsumerSpec
from rotatord.ports import ConsumerPreflight, Health, Published, Restarts, Surroundings
from rotatord.registry import PluginTrouble, Registry
from rotatord.rights import ConsumerRights, KubernetesRight

Json = dict[str, Any]
KINDS = {
    "deployments": consumer.DEPLOYMENT,
    "statefulsets": consumer.STATEFULSET,
    "daemonsets": consumer.DAEMONSET,
}


@pytest.fixture
def cluster() -> FakeCluster:
    """Whose workloads are older than any publication of these tests."""
    made = FakeCluster()
    made.now = START - timedelta(days=1)
    return made


def around(cluster: FakeCluster) -> Surroundings:
    return Surroundings(installation="i", state_dir="/", now=cluster.our_time, secret=lambda _: "")


def plugin(cluster: FakeCluster, resource: str = "deployments", **settings: Any) -> consumer.WorkloadConsumer:
    made = consumer.Settings(namespace="ns", name="web", **settings)
    return consumer.WorkloadConsumer(KINDS[resource], made, around(cluster), cluster=cast("Cluster", cluster))


def published(token: str = "rot_2.1", seen: str = "") -> Published:
    return Published(credential="c", label="2-x", rotation="rot_2", token=token, at=START, restart_seen=seen)


def stateful(cluster: FakeCluster, *pods: Json, **spec: Any) -> Json:
    """A StatefulSet in the middle of its life, whose controller has seen everything."""
    web = cluster.put("statefulsets", workload("statefulsets", **spec))
    for each in pods:
        each["metadata"]["ownerReferences"] = [reference(web)]
        cluster.put("pods", each)
    cluster.now = START
    return web


def observed(cluster: FakeCluster, revision: str = "new") -> None:
    """The controller has looked at the newest template."""
    generation = cluster.objects["statefulsets", "ns", "web"]["metadata"]["generation"]
    cluster.edit("statefulsets", "web", status={"observedGeneration": generation, "updateRevision": revision})


SET: Json = {"kind": "StatefulSet", "metadata": {"name": "web", "uid": "?"}}


# --- restarts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", KINDS)
def test_one_token_is_one_restart(cluster: FakeCluster, resource: str) -> None:
    """The annotation is the token, under a manager of our own; asked again there is nothing to do; a new leg is new."""
    cluster.put(resource, workload(resource))
    web = plugin(cluster, resource)
    for _ in range(3):
        web.reload(published())
    assert cluster.done("patch") == 1
    body = cluster.objects[resource, "ns", "web"]
    assert consumer.annotation(body) == "rot_2.1"
    assert body["metadata"]["managedFields"][0]["manager"] == "rotatord"
    web.reload(published("rot_2.2"))
    assert cluster.done("patch") == 2


def test_a_restart_that_began_since_is_not_repeated(cluster: FakeCluster) -> None:
    """By whomever: another credential of the same workload, Reloader, a person. Scaling and status are none."""
    cluster.put("deployments", workload("deployments"))
    web = plugin(cluster)
    seen = web.last_restart(published())
    cluster.edit("deployments", "web", spec={"replicas": 7}, status={"readyReplicas": 7})
    assert web.last_restart(published()) == seen
    template = cluster.objects["deployments", "ns", "web"]["spec"]["template"]
    restarted = {**template, "metadata": {**template["metadata"], "annotations": {"kubectl": "restarted"}}}
    cluster.edit("deployments", "web", spec={"template": restarted})
    assert web.last_restart(published()) != seen
    web.reload(published(seen=seen))
    assert cluster.done("patch") == 0
    web.reload(published(seen=web.last_restart(published())))
    assert cluster.done("patch") == 1


def test_five_credentials_share_one_restart(cluster: FakeCluster) -> None:
    """All read back before the first of them asks."""
    cluster.put("deployments", workload("deployments"))
    web = plugin(cluster)
    seen = web.last_restart(published())
    for number in range(5):
        web.reload(published(f"rot_{number}.1", seen))
    assert cluster.done("patch") == 1


def test_a_lost_compare_and_set_is_looked_at_again(cluster: FakeCluster) -> None:
    """An autoscaler or the status came between: nothing of theirs is undone, and the restart is asked for once."""
    cluster.put("deployments", workload("deployments"))
    cluster.before_apply = [lambda: cluster.edit("deployments", "web", spec={"replicas": 9})] * 2
    plugin(cluster).reload(published())
    body = cluster.objects["deployments", "ns", "web"]
    assert (consumer.annotation(body), body["spec"]["replicas"]) == ("rot_2.1", 9)


def test_a_restart_that_came_between_counts(cluster: FakeCluster) -> None:
    """Another credential restarted it between our look and our write: it is not restarted a second time."""
    cluster.put("deployments", workload("deployments"))
    web = plugin(cluster)
    seen = web.last_restart(published())
    cluster.before_apply = [lambda: plugin(cluster).reload(published("other.1", seen))]
    web.reload(published(seen=seen))
    assert consumer.annotation(cluster.objects["deployments", "ns", "web"]) == "other.1"


def test_a_workload_that_never_holds_still_is_retryable(cluster: FakeCluster) -> None:
    """The engine asks again later."""
    cluster.put("deployments", workload("deployments"))
    numbers = iter(range(10, 20))
    cluster.before_apply = [lambda: cluster.edit("deployments", "web", spec={"replicas": next(numbers)})] * 9
    with pytest.raises(Retryable, match="keeps changing"):
        plugin(cluster).reload(published())


def test_what_lands_late_of_an_earlier_leg_is_refused(cluster: FakeCluster) -> None:
    """The write names the version that it saw."""
    cluster.put("deployments", workload("deployments"))
    late = cluster.get("deployments", "ns", "web")
    plugin(cluster).reload(published("rot_2.2"))
    assert late is not None
    with pytest.raises(Conflict):
        plugin(cluster)._restart(cast("Cluster", cluster), late, published("rot_2.1"))
    assert consumer.annotation(cluster.objects["deployments", "ns", "web"]) == "rot_2.2"


def test_observed_workloads_are_left_alone(cluster: FakeCluster) -> None:
    """Somebody else restarts them."""
    cluster.put("deployments", workload("deployments"))
    web = plugin(cluster, strategy="observe")
    web.reload(published())
    assert (cluster.done("patch"), web.gather, web.evidence) == (0, 0.0, "rollout")
    assert plugin(cluster, strategy="observe", refresh_within="2m").evidence == "polling"


def test_a_missing_workload_is_retryable(cluster: FakeCluster) -> None:
    """Whoever deploys it may be making it anew; never an empty list."""
    web = plugin(cluster)
    for ask in (web.reload, web.instances, web.last_restart):
        with pytest.raises(Retryable, match="there is no Deployment web in namespace ns"):
            ask(published())
    assert web.check(published())[0] == "unknown"


def test_refusals_pass_as_they_are(cluster: FakeCluster) -> None:
    """A check makes "unknown" of them: it never raises."""
    cluster.fails = [Denied("may not"), Denied("may not")]
    with pytest.raises(Denied):
        plugin(cluster).reload(published())
    assert plugin(cluster).check(published()) == ("unknown", "may not")


# --- StatefulSets ----------------------------------------------------------------------------------------------------


def test_the_broken_pod_that_blocks_is_deleted(cluster: FakeCluster) -> None:
    """Exactly that one, once the controller knows the template; the way back would stand still for ever otherwise."""
    bad = waiting(pod("web-2", SET, controller_revision_hash="bad"), "CrashLoopBackOff")
    stateful(cluster, pod("web-0", SET, controller_revision_hash="old"), pod("web-1", SET, controller_revision_hash="old"), bad)
    web = plugin(cluster, "statefulsets")
    with pytest.raises(Retryable, match="has not looked at the restart yet") as told:
        web.reload(published("rot_2.2"))
    assert told.value.retry_after == consumer.LOOK_AGAIN_SECONDS
    assert cluster.done("delete") == 0
    observed(cluster)
    with pytest.raises(Retryable, match="deleted its pod web-2"):
        web.reload(published("rot_2.2"))
    assert [name for kind, _, name in cluster.objects if kind == "pods"] == ["web-0", "web-1"]
    web.reload(published("rot_2.2"))
    assert (cluster.done("delete"), cluster.done("patch")) == (1, 1)


def test_a_pod_that_only_starts_is_given_time(cluster: FakeCluster) -> None:
    """An ordered rollout goes on by itself once it is ready; after ``stuck_after`` it counts as broken."""
    stateful(cluster, pod("web-0", SET, ready=False, controller_revision_hash="old"))
    cluster.objects["pods", "ns", "web-0"]["metadata"]["creationTimestamp"] = cluster.time()
    web = plugin(cluster, "statefulsets", stuck_after="60s")
    with pytest.raises(Retryable):
        web.reload(published())
    observed(cluster)
    with pytest.raises(Retryable, match="web-0 is not ready, and the others wait for it"):
        web.reload(published())
    assert cluster.done("delete") == 0
    cluster.age(61)
    with pytest.raises(Retryable, match="deleted its pod web-0"):
        web.reload(published())


def test_pods_of_the_new_template_are_never_deleted(cluster: FakeCluster) -> None:
    """Nor ready ones, nor ones that end already, nor any where pods are replaced side by side."""
    new = waiting(pod("web-2", SET, controller_revision_hash="new"), "CrashLoopBackOff")
    ending = waiting(pod("web-1", SET, controller_revision_hash="old"), "CrashLoopBackOff")
    ending["metadata"]["deletionTimestamp"] = cluster.time()
    stateful(cluster, pod("web-0", SET, controller_revision_hash="old"), ending, new)
    web = plugin(cluster, "statefulsets")
    with pytest.raises(Retryable):
        web.reload(published())
    observed(cluster)
    web.reload(published())
    assert cluster.done("delete") == 0


@pytest.mark.parametrize("spec", [{"podManagementPolicy": "Parallel"}, {"updateStrategy": {"type": "OnDelete"}}])
def test_where_nothing_waits_for_it_nothing_is_deleted(cluster: FakeCluster, spec: Json) -> None:
    """Its own controller replaces it, or nobody does."""
    stateful(cluster, waiting(pod("web-0", SET, controller_revision_hash="old"), "CrashLoopBackOff"), **spec)
    plugin(cluster, "statefulsets").reload(published())
    assert cluster.done("delete") == 0


def test_the_first_of_several_broken_pods_goes_first(cluster: FakeCluster) -> None:
    """In the order in which the controller waits for them: web-10 is after web-9."""
    bad = [waiting(pod(f"web-{number}", SET, controller_revision_hash="old"), "ErrImagePull") for number in (10, 9)]
    stateful(cluster, *bad)
    web = plugin(cluster, "statefulsets")
    with pytest.raises(Retryable):
        web.reload(published())
    observed(cluster)
    with pytest.raises(Retryable, match="deleted its pod web-9,"):
        web.reload(published())


def broken(number: int, revision: str) -> Json:
    return waiting(pod(f"web-{number}", SET, controller_revision_hash=revision), "CrashLoopBackOff")


def test_a_broken_pod_that_nobody_waits_for_yet_stays(cluster: FakeCluster) -> None:
    """The controller stands at one before it, which is ending, or of the new template and still starts: that one comes first,
    and the broken one of before may be replaced without our doing."""
    starting = pod("web-0", SET, ready=False, controller_revision_hash="new")
    starting["metadata"]["creationTimestamp"] = START.isoformat()
    stateful(cluster, starting, broken(1, "old"), pod("web-2", SET, controller_revision_hash="old"))
    web = plugin(cluster, "statefulsets", stuck_after="60s")
    with pytest.raises(Retryable):
        web.reload(published())
    observed(cluster)
    with pytest.raises(Retryable, match="pod web-0 is not ready, and the others wait for it"):
        web.reload(published())
    body = cluster.objects["pods", "ns", "web-0"]
    body["metadata"]["deletionTimestamp"] = cluster.time()
    with pytest.raises(Retryable, match="pod web-0 is not ready"):
        web.reload(published())
    del body["metadata"]["deletionTimestamp"]
    cluster.age(61)  # it will not become ready by itself: the gate says so, and why
    web.reload(published())
    assert cluster.done("delete") == 0
    body["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    with pytest.raises(Retryable, match="deleted its pod web-1"):
        web.reload(published())


# --- clocks ----------------------------------------------------------------------------------------------------------

SKEWS = [timedelta(minutes=-2), timedelta(0), timedelta(minutes=2)]


def since(cluster: FakeCluster, seconds: float, *, node_behind: float = 0.0) -> None:
    """Every pod became what it is so many seconds ago; its node's clock may be behind."""
    at = cluster.now - timedelta(seconds=seconds)
    said = (at - timedelta(seconds=node_behind)).isoformat()
    for (kind, _, _), body in cluster.objects.items():
        if kind == "pods":
            body["status"]["conditions"][0]["lastTransitionTime"] = said
            fields: Json = {"f:status": {"f:conditions": {'k:{"type":"Ready"}': {}}}}
            wrote = {"manager": "kubelet", "subresource": "status", "time": at.isoformat(), "fieldsV1": fields}
            body["metadata"]["managedFields"] = [wrote]


@pytest.mark.parametrize("ahead", SKEWS)
@pytest.mark.parametrize("node_behind", [0, 120])
def test_how_long_pods_are_ready_goes_by_the_clusters_clock(cluster: FakeCluster, ahead: timedelta, node_behind: float) -> None:
    """Ours two minutes off, or a node's two minutes behind: the ten seconds are neither void nor longer."""
    deployed(cluster)
    cluster.ahead = ahead
    web = plugin(cluster, strategy="observe", steady_for="10s")
    since(cluster, 3, node_behind=node_behind)
    assert "ready for less than 10s so far" in web.check(published())[1]
    since(cluster, 11, node_behind=node_behind)
    assert web.check(published())[0] == "healthy"


@pytest.mark.parametrize("ahead", SKEWS)
def test_a_pod_is_given_its_time_by_the_clusters_clock(cluster: FakeCluster, ahead: timedelta) -> None:
    """With a clock of ours that is ahead a pod that only starts would be deleted, with one behind it would block for longer."""
    stateful(cluster, pod("web-0", SET, ready=False, controller_revision_hash="old"))
    observed(cluster)
    cluster.ahead = ahead
    web = plugin(cluster, "statefulsets", stuck_after="60s")
    since(cluster, 50)
    with pytest.raises(Retryable):
        web.reload(published())
    observed(cluster)
    with pytest.raises(Retryable, match="the others wait for it"):
        web.reload(published())
    assert cluster.done("delete") == 0
    since(cluster, 61)
    with pytest.raises(Retryable, match="deleted its pod web-0"):
        web.reload(published())


def test_pods_younger_than_a_publication_are_so_by_one_clock(cluster: FakeCluster) -> None:
    """Ours is behind: a pod that the cluster made half a minute before the publication only seems to be younger."""
    deployed(cluster)
    since(cluster, 60)
    cluster.ahead = timedelta(minutes=-1)
    for (kind, _, _), body in cluster.objects.items():
        if kind == "pods":
            body["metadata"]["creationTimestamp"] = (cluster.now - timedelta(seconds=30)).isoformat()
    seen = Published(credential="c", label="2-x", rotation="rot_2", token="rot_2.1", at=cluster.our_time())
    assert "our restart was taken back" in plugin(cluster).check(seen)[1]


# --- proof -----------------------------------------------------------------------------------------------------------


def deployed(cluster: FakeCluster) -> tuple[Json, Json]:
    """A Deployment with its ReplicaSet and three pods, all as it should be."""
    web = cluster.put("deployments", workload("deployments"))
    meta = {"name": "web-1", "labels": {"app": "web"}, "ownerReferences": [reference(web)]}
    own = cluster.put("replicasets", {"kind": "ReplicaSet", "metadata": meta, "spec": {"template": web["spec"]["template"]}})
    for number in range(3):
        cluster.put("pods", pod(f"web-1-{number}", own))
    status = {"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
    progressing = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
    cluster.edit("deployments", "web", status={**status, "conditions": [progressing]})
    cluster.now = START
    return web, own


def test_instances_are_all_pods_that_may_still_run(cluster: FakeCluster) -> None:
    """Terminating ones are said to be; what surely runs no more is none."""
    _, own = deployed(cluster)
    ending, over = pod("web-1-3", own), pod("web-1-4", own)
    ending["metadata"]["deletionTimestamp"] = cluster.time()
    over["status"] = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 1}}}]}
    cluster.put("pods", ending)
    cluster.put("pods", over)
    found = plugin(cluster).instances(published())
    assert sorted(each.terminating for each in found) == [False, False, False, True]
    assert len({each.id for each in found}) == 4
    assert all(each.version is None and each.created_at is not None for each in found)


@pytest.mark.parametrize("token", ["rot_2.look", "look"])
def test_before_any_rotation_it_is_judged_as_it_stands(cluster: FakeCluster, token: str) -> None:
    """There is no restart of ours yet."""
    deployed(cluster)
    assert plugin(cluster).check(published(token))[0] == "healthy"


def test_a_restart_that_was_taken_back_is_told(cluster: FakeCluster) -> None:
    """A GitOps tool removed our annotation: pods of before may stay for ever, and the person is told by whom."""
    deployed(cluster)
    web = plugin(cluster)
    fields = {"f:spec": {"f:template": {"f:metadata": {}}}}
    body = cluster.objects["deployments", "ns", "web"]
    body["metadata"]["managedFields"] = [{"manager": "argocd-controller", "time": cluster.time(), "fieldsV1": fields}]
    state, detail = web.check(published())
    assert state == "unknown"
    assert "our restart was taken back by argocd-controller" in detail
    assert "ignoreDifferences" in detail
    seen = web.last_restart(published())
    assert web.check(published(seen=seen))[0] == "unknown"
    assert plugin(cluster, strategy="observe").check(published())[0] == "healthy"


def test_a_restart_after_ours_is_as_good(cluster: FakeCluster) -> None:
    """Another credential's, or somebody's who changed the template since we looked."""
    deployed(cluster)
    web = plugin(cluster)
    assert web.check(published(seen="something else"))[0] == "healthy"
    body = cluster.objects["deployments", "ns", "web"]
    body["spec"]["template"]["metadata"]["annotations"] = {consumer.KEY: "rot_9.1"}
    cluster.objects["replicasets", "ns", "web-1"]["spec"]["template"] = body["spec"]["template"]
    assert web.check(published())[0] == "healthy"


def test_a_restart_that_was_taken_back_once_it_was_done_is_fine(cluster: FakeCluster) -> None:
    """Every pod is younger than the publication, whatever the template says."""
    deployed(cluster)
    for (kind, _, _), body in cluster.objects.items():
        if kind == "pods":
            body["metadata"]["creationTimestamp"] = cluster.time()
    cluster.age(20)
    assert plugin(cluster).check(published())[0] == "healthy"


def test_nodes_that_may_be_dead_are_a_share(cluster: FakeCluster) -> None:
    """Of the pods that there should be, rounded down."""
    for setting, wanted, tolerated in ((2, 50, 2), ("2", 50, 2), ("10%", 50, 5), ("10%", 9, 0), (0, 50, 0)):
        body = cluster.put("daemonsets", workload("daemonsets"))
        body["status"] = {"desiredNumberScheduled": wanted}
        assert plugin(cluster, "daemonsets", ignore_not_ready_nodes=setting)._tolerated(body) == tolerated


@pytest.mark.parametrize("resource", KINDS)
def test_what_is_scaled_to_zero_is_idle(cluster: FakeCluster, resource: str) -> None:
    """Somebody wants nothing to run. What is missing, crashes, or was not looked at yet is not idle."""
    web = plugin(cluster, resource)
    assert web.idle() == ""
    body = workload(resource, replicas=0) if resource != "daemonsets" else workload(resource)
    body["status"] = {"observedGeneration": 0, "desiredNumberScheduled": 0}
    cluster.put(resource, body)
    assert web.idle() == ""
    cluster.edit(resource, "web", status={"observedGeneration": 1})
    assert web.idle() == ("no node takes its pods" if resource == "daemonsets" else "it is scaled to zero")
    cluster.edit(resource, "web", spec={"replicas": 2}, status={"desiredNumberScheduled": 2, "observedGeneration": 2})
    assert web.idle() == ""


# --- before and around -----------------------------------------------------------------------------------------------


def test_preflight_says_what_could_never_be_proven(cluster: FakeCluster) -> None:
    """Missing, paused, in parts, by hand; nothing where all is well."""
    (missing,) = plugin(cluster).preflight()
    assert "there is no Deployment web in namespace ns" in missing
    cluster.put("deployments", workload("deployments"))
    assert plugin(cluster).preflight() == []
    cluster.edit("deployments", "web", spec={"paused": True})
    (paused,) = plugin(cluster).preflight()
    assert "`kubectl rollout resume deployment/web -n ns`" in paused
    assert plugin(cluster, strategy="observe", refresh_within="1m").preflight() == []
    cluster.put("statefulsets", workload("statefulsets", updateStrategy={"rollingUpdate": {"partition": 1}}))
    cluster.put("daemonsets", workload("daemonsets", updateStrategy={"type": "OnDelete"}))
    assert "partition is 1" in plugin(cluster, "statefulsets").preflight()[0]
    assert "OnDelete" in plugin(cluster, "daemonsets").preflight()[0]
    assert plugin(cluster, "daemonsets", strategy="observe").preflight() == []


def test_preflight_says_what_we_may_not_do(cluster: FakeCluster) -> None:
    """Before anything is made."""
    cluster.put("deployments", workload("deployments"))
    cluster.denied = {("patch", "deployments")}
    (denied,) = plugin(cluster).preflight()
    assert denied == "we may not patch deployments in namespace ns, needed to restart it and see its rollout"


USES: list[tuple[Json, set[str]]] = [
    ({"containers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]}, {"environment"}),
    ({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}, {"environment"}),
    ({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s"}}}]}]}, {"environment"}),
    (
        {"containers": [{"volumeMounts": [{"name": "v"}]}], "volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
        {"volume"},
    ),
    (
        {
            "containers": [{"volumeMounts": [{"name": "v", "subPath": "k"}]}],
            "volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}],
        },
        {"subPath"},
    ),
    ({"containers": [{}], "imagePullSecrets": [{"name": "s"}]}, {"image pulls"}),
    ({"containers": [{"envFrom": [{"secretRef": {"name": "other"}}]}]}, set()),
]


@pytest.mark.parametrize(("spec", "uses"), USES)
def test_how_pods_read_a_secret(cluster: FakeCluster, spec: Json, uses: set[str]) -> None:
    """Environment and subPath never change while a pod runs: those must be restarted."""
    body = workload("deployments")
    body["spec"]["template"]["spec"] = spec
    cluster.put("deployments", body)
    assert consumer.words.uses_of("s", body) == uses
    told = plugin(cluster, secret="s").preflight()
    assert (told == []) is bool(uses)
    polled = plugin(cluster, secret="s", strategy="observe", refresh_within="2m").preflight()
    assert bool(polled) is (not uses or bool(uses & {"environment", "subPath"}))


def test_rights_are_the_least(cluster: FakeCluster) -> None:
    """The one workload by name; pods may be deleted only for StatefulSets that we restart."""
    lists = KubernetesRight("ns", "", "pods", ("list",))
    own = KubernetesRight("ns", "apps", "deployments", ("get", "patch"), ("web",))
    assert set(plugin(cluster).rights()) == {own, lists, KubernetesRight("ns", "apps", "replicasets", ("list",))}
    deletes = KubernetesRight("ns", "", "pods", ("delete",))
    assert deletes in plugin(cluster, "statefulsets").rights()
    assert deletes not in plugin(cluster, "statefulsets", strategy="observe").rights()
    reads = KubernetesRight("ns", "apps", "daemonsets", ("get",), ("web",))
    assert set(plugin(cluster, "daemonsets", strategy="observe").rights()) == {reads, lists}


def test_its_powers(cluster: FakeCluster) -> None:
    """Found by the engine through these."""
    web = plugin(cluster)
    for power in (Restarts, Health, ConsumerPreflight, ConsumerRights):
        assert isinstance(web, power)
    web.close()
    assert cluster.closed


MISTAKES: list[tuple[str, Json, str]] = [
    ("deployment", {}, "namespace"),
    ("deployment", {"namespace": "ns", "refresh_within": "1m"}, "say strategy: observe"),
    ("deployment", {"namespace": "ns", "ignore_not_ready_nodes": 1}, "for DaemonSets"),
    ("daemonset", {"namespace": "ns", "ignore_not_ready_nodes": "101%"}, "share"),
    ("daemonset", {"namespace": "ns", "ignore_not_ready_nodes": "many"}, "number of nodes"),
    ("daemonset", {"namespace": "ns", "gather": "soon"}, "length of time"),
    ("daemonset", {"namespace": "ns", "strateg": "observe"}, "strateg"),
]


class Nothing:
    """A configuration without issuers and backends."""

    issuers: ClassVar[Json] = {}
    backends: ClassVar[Json] = {}


@pytest.mark.parametrize(("type_name", "settings", "said"), MISTAKES)
def test_mistakes_are_told_with_their_place(cluster: FakeCluster, type_name: str, settings: Json, said: str) -> None:
    """As for every plugin; no cluster is asked."""
    registry = Registry(cast("Any", Nothing()), around(cluster))
    with pytest.raises(PluginTrouble, match=said):
        registry.consumer(ConsumerSpec(type=type_name, name="web", settings=settings))


def test_the_workload_has_the_consumers_name(cluster: FakeCluster) -> None:
    """Unless it is called otherwise: two workloads of one credential may have one name in two namespaces."""
    registry = Registry(cast("Any", Nothing()), around(cluster))
    plain = registry.consumer(ConsumerSpec(type="deployment", name="web", settings={"namespace": "ns"}))
    other = registry.consumer(ConsumerSpec(type="deployment", name="b", settings={"namespace": "ns", "workload": "web"}))
    assert str(plain) == str(other) == "Deployment web in namespace ns"
    registry.close()


def test_a_thousand_workloads_share_one_connection(cluster: FakeCluster) -> None:
    """Reached alike, they are spoken to through one client; reached otherwise, through another."""
    registry = Registry(cast("Any", Nothing()), around(cluster))

    def client(name: str, **settings: Any) -> object:
        spec = ConsumerSpec(type="daemonset", name=name, settings={"namespace": "ns", **settings})
        return cast("Any", registry.consumer(spec))._cluster

    assert client("a") is client("b", namespace="other", gather=1)
    assert client("a") is not client("c", context="elsewhere")


def test_the_consumers_on_the_page_are_accepted(cluster: FakeCluster) -> None:
    """As they stand in docs/kubernetes.md, each with the proof that it says."""
    section = (Path(__file__).parents[2] / "docs" / "kubernetes.md").read_text().split("## Consumers")[1]
    (shown,) = YAML(typ="safe", pure=True).load(section.split("```yaml\n")[1].split("```")[0])["credentials"]
    registry = Registry(cast("Any", Nothing()), around(cluster))
    evidence = {}
    for declared in shown["consumers"]:
        settings = {key: value for key, value in declared.items() if key not in OWN_CONSUMER_KEYS}
        within = parse(declared["refresh_within"]) if "refresh_within" in declared else None
        spec = ConsumerSpec(type=declared["type"], name=declared["name"], settings=settings, refresh_within=within)
        evidence[declared["name"]] = registry.consumer(spec).evidence
    assert evidence == {"web": "rollout", "queue": "rollout", "agent": "polling"}
