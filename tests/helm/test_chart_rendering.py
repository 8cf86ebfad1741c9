"""What the chart renders: as the goldens say, restricted, and with nothing mounted that is not used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helm.charting import CHART, CI, Helm, Json, of_kind, only, pod_specs, read_yaml

GOLDENS = Path(__file__).with_name("goldens")
DRAW = os.environ.get("ROTATORD_DRAW_GOLDENS") == "1"
RENDERED_ANYWAY = ("--set", "helmTest.enabled=true")


def texts(value: Any) -> Iterator[str]:
    """Every piece of text in an object."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def daemon(objects: list[Json]) -> Json:
    """The pod's spec."""
    spec: Json = only(objects, "StatefulSet")["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_the_chart_renders_what_its_golden_says(helm: Helm, values: Path) -> None:
    """A change of what is installed is seen in review. `make helm GOLDENS=1` draws them anew."""
    golden = GOLDENS / f"{values.stem.removesuffix('-values')}.yaml"
    text = helm.text(values)
    if DRAW:
        golden.write_text(text)
    assert text == golden.read_text(), "if this is meant: make helm GOLDENS=1"


def test_every_golden_has_its_values() -> None:
    """None is left of a values file that is gone."""
    assert sorted(f"{path.stem}-values" for path in GOLDENS.glob("*.yaml")) == [path.stem for path in CI]


@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_lint_has_nothing_to_say(helm: Helm, values: Path) -> None:
    """Strictly, with every values file that CI knows."""
    assert "0 chart(s) failed" in helm.lint(values)


@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_every_pod_is_restricted(helm: Helm, values: Path) -> None:
    """Non-root, no privilege to gain, nothing writable but its volumes, the default seccomp profile, no token unasked."""
    for spec in pod_specs(helm.template(values, more=RENDERED_ANYWAY)):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            context = container["securityContext"]
            assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_no_right_reaches_over_a_namespace(helm: Helm, values: Path) -> None:
    """No cluster-wide right to Secrets, no list or watch of them, no wildcard anywhere; and every Role is bound where it is."""
    objects = helm.template(values)
    for role in of_kind(objects, "Role") + of_kind(objects, "ClusterRole"):
        for rule in role["rules"]:
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
            if "secrets" in rule["resources"]:
                assert role["kind"] == "Role"
                assert not {"list", "watch", "update", "deletecollection"} & set(rule["verbs"])
                assert rule["verbs"] == ["create"] or rule["resourceNames"]
    for kind in ("Role", "ClusterRole"):
        bound = [(item["metadata"].get("namespace"), item["roleRef"]["name"]) for item in of_kind(objects, f"{kind}Binding")]
        assert bound == [(item["metadata"].get("namespace"), item["metadata"]["name"]) for item in of_kind(objects, kind)]


def test_a_platform_may_choose_the_user(helm: Helm) -> None:
    """Where namespaces have ranges of users (OpenShift), none is asked for; everything else stays restricted."""
    context = daemon(helm.template(helm.values({"podSecurityContext": dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"))})))
    assert context["securityContext"] == {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_selectors_meet_the_daemon_alone(helm: Helm) -> None:
    """The Service, the policy and the monitor find the daemon's pod and never the test's."""
    objects = helm.template(CHART / "ci" / "cluster-values.yaml")
    pod = only(objects, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    service = only(objects, "Service")
    selectors = [
        service["spec"]["selector"],
        only(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        only(objects, "StatefulSet")["spec"]["selector"]["matchLabels"],
    ]
    tested = only(objects, "Pod")["metadata"]["labels"]
    for selector in selectors:
        assert selector.items() <= pod.items()
        assert not selector.items() <= tested.items()
    assert only(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    admitted = only(objects, "NetworkPolicy")["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert admitted.items() <= tested.items()


def test_ports_have_the_names_that_others_use(helm: Helm) -> None:
    """The Service, the policy and the probes name ports; the container has each of them."""
    for values in CI:
        objects = helm.template(values)
        container = daemon(objects)["containers"][0]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for port in only(objects, "Service")["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
        named = [container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "liveness", "readiness")]
        for policy in of_kind(objects, "NetworkPolicy"):
            named += [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
        assert set(named) <= set(ports)


def test_volumes_and_mounts_meet(helm: Helm) -> None:
    """Every mount has its volume and every volume its mount."""
    for values in CI:
        for spec in pod_specs(helm.template(values, more=RENDERED_ANYWAY)):
            containers = [*spec["containers"], *spec.get("initContainers", [])]
            mounts = {mount["name"] for container in containers for mount in container.get("volumeMounts", [])}
            assert mounts == {volume["name"] for volume in spec["volumes"]}


def test_text_reaches_the_daemon_letter_for_letter(helm: Helm, tmp_path: Path) -> None:
    """Comments, words that YAML 1.1 takes for something else, a first line that is indented, no newline at the end."""
    text = (
        "  # indented\n  policies:\n    on: {renew_before: 7d}\t# a tab, and `backticks`, {{ braces }}\n    0123: {max_age: 1d}"
    )
    file = tmp_path / "rotatord.yaml"
    file.write_text(text)
    objects = helm.template(more=["--set-file", f"config={file}"])
    assert only(objects, "ConfigMap")["data"]["rotatord.yaml"] == text


def test_a_mapping_reaches_the_daemon_as_it_means(helm: Helm) -> None:
    """Numbers stay numbers, large ones too, and text that looks like something else stays text."""
    config = {"a": "0640", "b": 100000000, "c": "on", "d": 1.5, "e": ["yes", True, None], "f": {"g": "10m", "h": "é\nx"}}
    rendered = only(helm.template(helm.values({"config": config})), "ConfigMap")["data"]["rotatord.yaml"]
    from ruamel.yaml import YAML

    assert YAML(typ="safe").load(rendered) == config


def test_the_pod_restarts_only_for_what_is_read_at_the_start(helm: Helm) -> None:
    """A new credential is taken up by the running daemon; another socket mode, log level or number of threads is not."""

    def template(config: Json) -> Json:
        made: Json = only(helm.template(helm.values({"config": config})), "StatefulSet")["spec"]["template"]
        return made

    base = {"limits": {"threads": 4, "issuer": {"concurrency": 1}}, "policies": {"a": {"max_age": "1d"}}}
    assert template(base) == template(base | {"policies": {"a": {"max_age": "2d"}}})
    assert template(base) == template(base | {"limits": {"threads": 4, "issuer": {"concurrency": 9}}})
    assert template(base) != template(base | {"limits": {"threads": 5, "issuer": {"concurrency": 1}}})
    assert template(base) != template(base | {"log": {"level": "debug"}})
    shared = base | {"database": {"url": {"file": "/a"}}, "fingerprint_key": {"file": "/k"}}
    assert template(shared) != template(shared | {"fingerprint_key": {"file": "/l"}})
    assert template(shared) != template(shared | {"database": {"url": {"file": "/b"}}})
    assert template(base) != template(base | {"api": {"socket_mode": "0660"}})


def test_a_token_is_mounted_only_where_it_is_used(helm: Helm) -> None:
    """None for a configuration that asks nothing of this cluster, and each other one only when asked for."""

    def mounted(values: Json) -> set[str]:
        spec = daemon(helm.template(helm.values(values)))
        return {volume["name"] for volume in spec["volumes"]} - {"config", "state", "tmp"}

    vault = {"type": "vault", "address": "https://v:8200", "auth": {"kubernetes": {"role": "r"}}}
    place = {"backend": "c", "namespace": "n", "name": "s", "keys": {"T": "token"}}
    used = {"backends": {"c": {"type": "kubernetes"}}, "credentials": [{"name": "x", "issuer": "i", "destinations": [place]}]}
    other = used | {"backends": {"c": {"type": "kubernetes", "kubeconfig": "/k"}}}
    read = {"type": "x", "jwt": {"file": "/var/run/secrets/kubernetes.io/serviceaccount/token"}}
    own = vault | {"auth": {"kubernetes": {"role": "r", "token_file": "/var/run/secrets/rotatord/vault/token"}}}
    assert mounted({}) == set()
    assert mounted({"config": used}) == {"api-token"}
    assert mounted({"config": other}) == set()
    assert mounted({"config": {"backends": {"v": vault}}}) == {"api-token"}
    assert mounted({"config": {"issuers": {"v": read}}}) == {"api-token"}
    assert mounted({"config": {"backends": {"v": own}}, "tokens": {"vault": {"enabled": True}}}) == {"vault-token"}
    assert mounted({"tokens": {"api": {"mount": "always"}}}) == {"api-token"}


def test_names_of_two_releases_in_one_namespace_of_others_differ(helm: Helm) -> None:
    """Two teams that call their release alike may both keep a Secret in a third team's namespace."""
    values = CHART / "ci" / "cluster-values.yaml"
    names = [
        {(role["metadata"]["namespace"], role["metadata"]["name"]) for role in of_kind(objects, "Role")}
        for objects in (helm.template(values, namespace="one"), helm.template(values, namespace="two"))
    ]
    assert names[0]
    assert not names[0] & names[1]


def test_several_replicas_come_with_a_budget_and_are_spread(helm: Helm) -> None:
    """One replica has neither: a budget would only keep its node from being drained."""
    assert not of_kind(helm.template(), "PodDisruptionBudget")
    assert "topologySpreadConstraints" not in daemon(helm.template())
    objects = helm.template(CHART / "ci" / "several-values.yaml")
    pod = only(objects, "StatefulSet")["spec"]["template"]
    budget = only(objects, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 2
    assert budget["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    spread = pod["spec"]["topologySpreadConstraints"][0]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"] == budget["selector"]


def test_nothing_of_several_replicas_outlives_them(helm: Helm) -> None:
    """Their journal lies in the database: no claim, which only one of them could mount."""
    objects = helm.template(CHART / "ci" / "several-values.yaml")
    assert not of_kind(objects, "PersistentVolumeClaim")
    assert [set(volume) for volume in daemon(objects)["volumes"] if volume["name"] == "state"] == [{"name", "emptyDir"}]
    by_variables = {
        "extraEnv": [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": "database", "key": "it"}}}
            for name in ("ROTATORD_DATABASE_URL", "ROTATORD_FINGERPRINT_KEY")
        ]
    }
    assert not of_kind(helm.template(helm.values(by_variables | {"replicaCount": 2})), "PersistentVolumeClaim")


def test_a_monitor_that_nobody_knows_is_left_out_or_refused(helm: Helm) -> None:
    """As ``renderMode`` says; a cluster that knows it gets it."""
    known = ["--api-versions", "monitoring.coreos.com/v1/ServiceMonitor"]
    on = ["--set", "serviceMonitor.enabled=true"]
    assert not of_kind(helm.template(more=on), "ServiceMonitor")
    assert of_kind(helm.template(more=[*on, *known]), "ServiceMonitor")
    strict = [*on, "--set", "serviceMonitor.renderMode=failIfMissing"]
    assert of_kind(helm.template(more=[*strict, *known]), "ServiceMonitor")
    with pytest.raises(Exception, match="this cluster does not know ServiceMonitors"):
        helm.template(more=strict)


def test_the_notes_say_what_to_do_next(helm: Helm) -> None:
    """Who installs it reads how to look at it, where it may act, and what is missing."""
    values = helm.values({"config": {}, "persistence": {"enabled": False}})
    notes = helm.run("install", "rel", str(CHART), "--dry-run=client", "--namespace", "keys", "--values", str(values))
    notes = notes.partition("NOTES:")[2]
    assert "kubectl -n keys exec rel-rotatord-0 -- rotatord check" in notes
    assert "manages no credential yet" in notes
    assert "config.installation" in notes
    assert "WARNING: persistence.enabled is false" in notes
    assert "set `image.repository` to where you pushed it" in notes


def test_the_notes_name_the_namespaces_it_may_act_in(helm: Helm) -> None:
    """Rights in no namespace, such as asking about tokens, are told in words."""
    tokens = {"type": "kubernetes_token", "namespace": "shop"}
    credential = {"name": "dns", "issuer": "tokens", "parameters": {"service_account": "dns"}}
    values = helm.values({"config": {"issuers": {"tokens": tokens}, "credentials": [credential]}})
    notes = helm.run("install", "rel", str(CHART), "--dry-run=client", "--values", str(values)).partition("NOTES:")[2]
    assert "names in: shop, and ask in the whole cluster whether a token is good.\n" in notes


def test_the_chart_names_the_product_as_it_is(helm: Helm) -> None:
    """The application's version is the package's, so that a release cannot run another one unnoticed."""
    import rotatord

    described = read_yaml((CHART / "Chart.yaml").read_text())[0]
    assert described["appVersion"] == rotatord.__version__
    assert described["annotations"]["artifacthub.io/license"] == "Apache-2.0"
    assert read_yaml(described["annotations"]["artifacthub.io/changes"])
