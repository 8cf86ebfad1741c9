"""The Roles that the chart renders are what the plugins say they need, no less and no more."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helm.charting import CI, NAMESPACE, Helm, Json, granted, only
from tests.integration.running import ROTATORD

NAMESPACES = ("shop", "mail", "dns")
UID = "218fc5a9-a5f1-4b54-aa05-46717d0ab26d"
ANSWERS = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
    "current-context": "x",
}


def needed(config: str, directory: Path) -> set[tuple[str, str, str, str, str]]:
    """What ``rotatord rights`` says of a configuration, for the identity of the pod, in the form of :func:`granted`."""
    kubeconfig, file = directory / "kubeconfig", directory / "rotatord.yaml"
    kubeconfig.write_text(json.dumps(ANSWERS))  # tells the namespace that a pod would know from its mounts
    file.write_text(config)
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "ROTATORD_STATE_DIR": str(directory / "state")}
    command = [ROTATORD, "rights", "--config", str(file), "--as", "rbac", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert not [one for one in said["silent"] if one["why"]], said["silent"]
    own = [one for one in said["rights"] if one["system"] == "kubernetes" and not one["at"]]
    return {
        (rule["namespace"], rule["group"], rule["resource"], verb, name)
        for one in own
        for rule in one["rules"]
        for verb in rule["verbs"]
        for name in rule["names"] or [""]
    }


def compare(helm: Helm, objects: list[Json], directory: Path) -> set[tuple[str, str, str, str, str]]:
    """Both ways: nothing missing, nothing more."""
    wanted = needed(only(objects, "ConfigMap")["data"]["rotatord.yaml"], directory)
    given = granted(objects)
    assert wanted - given == set(), "missing from the chart's Roles"
    assert given - wanted == set(), "granted by the chart, and no plugin asks for it"
    return given


@pytest.mark.parametrize("values", CI, ids=lambda path: path.stem)
def test_the_roles_are_what_the_plugins_ask_for(helm: Helm, values: Path, tmp_path: Path) -> None:
    """For every values file that CI knows."""
    compare(helm, helm.template(values, more=["--set", "rbac.create=true"]), tmp_path)


def test_everything_that_the_plugins_can_ask_for_is_asked_for_in_ci(helm: Helm) -> None:
    """The comparison above is about all of it: each resource that a plugin of the cluster touches."""
    given = granted(helm.template(next(path for path in CI if path.stem == "cluster-values")))
    assert {(resource, verb) for _, _, resource, verb, _ in given} == {
        *(("secrets", verb) for verb in ("get", "patch", "create", "delete")),
        *((kind, verb) for kind in ("deployments", "statefulsets", "daemonsets") for verb in ("get", "patch")),
        ("replicasets", "list"),
        ("pods", "list"),
        ("pods", "delete"),
        ("serviceaccounts/token", "create"),
        ("tokenreviews", "create"),
        ("namespaces", "get"),
    }


def drawn(chance: random.Random) -> Json:
    """A configuration with whatever the plugins of the cluster can be told."""
    backends = {
        "plain": {"type": "kubernetes"},
        "placed": {"type": "kubernetes", "namespace": chance.choice(NAMESPACES), "slots": "{slot}.{name}"},
        "elsewhere": {"type": "kubernetes", "kubeconfig": "/run/k"},
        "another": {"type": "kubernetes", "context": "other"},
    }
    if chance.random() < 0.3:
        backends[chance.choice([*backends])]["cluster_uid"] = UID
    issuers: Json = {
        "self": {"type": "builtin"},
        "accounts": {"type": "kubernetes_token", "namespace": "shop", "markers": chance.randint(2, 5)},
        "far": {"type": "kubernetes_token", "kubeconfig": "/run/k"},
    }
    if chance.random() < 0.2:
        issuers[chance.choice(["accounts", "far"])]["cluster_uid"] = UID
    return {
        "issuers": issuers,
        "backends": backends,
        "credentials": [credential(chance, number, backends) for number in range(chance.randint(1, 8))],
    }


def credential(chance: random.Random, number: int, backends: Json) -> Json:
    """One of its credentials."""

    def place(name: str, backend: str = "") -> Json:
        backend = backend or chance.choice([*backends])
        named = {} if backend in {"plain", "placed"} and chance.random() < 0.3 else {"namespace": chance.choice(NAMESPACES)}
        return {"backend": backend, "name": name, "keys": {"TOKEN": "token"}, **named}

    def consumer(index: int) -> Json:
        kind = chance.choice(["deployment", "statefulset", "daemonset"])
        made: Json = {"type": kind, "namespace": chance.choice(NAMESPACES), "name": f"w{chance.randint(0, 3)}-{index}"}
        made |= chance.choice([{}, {"workload": f"real{number}"}, {"kubeconfig": "/run/k"}, {"context": "other"}])
        if chance.random() < 0.3:
            made["strategy"] = "observe"
        if chance.random() < 0.1:
            made["cluster_uid"] = UID
        if chance.random() < 0.3:
            made["copies"] = [place(f"copy{number}-{index}")]
        return made

    issuer = chance.choice(["self", "accounts", "far"])
    scope: dict[str, Any] = {"permissions": ["a"]} if issuer == "self" else {"audiences": ["a"]}
    parameters: Json = {}
    if issuer != "self":
        parameters = {"service_account": f"sa{number}"} | chance.choice([{}, {"marker": f"m{number}"}])
        if issuer == "far" or chance.random() < 0.5:
            parameters["namespace"] = chance.choice(NAMESPACES)
    return {
        "name": f"c{number}",
        "issuer": issuer,
        "scope": scope,
        "parameters": parameters,
        "policy": {"renew_before": "10m", "max_age": "30d", "ttl": "1h"},
        "destinations": [place(f"s{number}-{index}") for index in range(chance.randint(1, 3))],
        "consumers": [consumer(index) for index in range(chance.randint(1, 3))],
    }


@pytest.mark.parametrize("seed", range(8))
def test_any_configuration_is_granted_exactly_what_it_needs(helm: Helm, seed: int, tmp_path: Path) -> None:
    """Namespaces named here or there or nowhere, homes and others, copies, observed workloads, other clusters, own markers."""
    config = drawn(random.Random(seed))
    given = compare(helm, helm.template(helm.values({"config": config})), tmp_path)
    text = tmp_path / "as-text.yaml"
    text.write_text(json.dumps(config))
    assert granted(helm.template(more=["--set-file", f"config={text}"])) == given
