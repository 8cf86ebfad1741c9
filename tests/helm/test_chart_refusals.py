"""Values that nobody knows, that leave the restricted standard or that contradict each other are refused, with a sentence."""

from __future__ import annotations

import json

import pytest

from rotatord.configuration import literals
from tests.helm.charting import CHART, Helm, Json, Refused, read_yaml

CLUSTER = {
    "backends": {"cluster": {"type": "kubernetes"}},
    "credentials": [
        {
            "name": "x",
            "issuer": "i",
            "destinations": [{"backend": "cluster", "namespace": "n", "name": "s", "keys": {"T": "t"}}],
        }
    ],
}


def with_place(**place: object) -> Json:
    """A configuration with one destination in this cluster."""
    destination = {"backend": "cluster", "namespace": "n", "name": "s"} | place
    return {"config": CLUSTER | {"credentials": [{"name": "dns", "issuer": "i", "destinations": [destination]}]}}


SHARED: Json = {"database": {"url": {"file": "/run/url"}}, "fingerprint_key": {"file": "/run/key"}}
VAULT = {"type": "vault", "address": "https://v:8200", "auth": {"kubernetes": {"role": "r"}}}

# What the schema refuses: shapes, unknown keys, and whatever would leave the restricted Pod Security Standard.
MISSHAPEN: dict[str, tuple[Json, str]] = {
    "unknown at the top": ({"persistance": {}}, "additional properties 'persistance' not allowed"),
    "unknown further down": ({"image": {"repo": "x"}}, "at '/image': additional properties 'repo' not allowed"),
    "unknown deep down": ({"tokens": {"vault": {"ttl": 1}}}, "at '/tokens/vault': additional properties 'ttl' not allowed"),
    "a word for a number": ({"replicaCount": "two"}, "at '/replicaCount': got string, want integer"),
    "a negative number of replicas": ({"replicaCount": -1}, "at '/replicaCount': minimum: got -1, want 0"),
    "a list as configuration": ({"config": []}, "at '/config': got array, want "),
    "a digest that is none": ({"image": {"digest": "sha256:abc"}}, "at '/image/digest'"),
    "a privileged port": ({"probes": {"port": 80}}, "at '/probes/port': minimum: got 80, want 1,024"),
    "root": ({"podSecurityContext": {"runAsUser": 0}}, "at '/podSecurityContext/runAsUser': minimum: got 0, want 1"),
    "perhaps root": ({"podSecurityContext": {"runAsNonRoot": False}}, "/podSecurityContext/runAsNonRoot': value must be true"),
    "no seccomp": (
        {"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}},
        "at '/podSecurityContext/seccompProfile/type': value must be one of 'RuntimeDefault', 'Localhost'",
    ),
    "no security context": ({"securityContext": None}, "missing property 'securityContext'"),
    "capabilities": (
        {"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}},
        "at '/securityContext/capabilities': additional properties 'add' not allowed",
    ),
    "capabilities kept": ({"securityContext": {"capabilities": {"drop": ["KILL"]}}}, "at '/securityContext/capabilities/drop'"),
    "a root that can be written": (
        {"securityContext": {"readOnlyRootFilesystem": False}},
        "at '/securityContext/readOnlyRootFilesystem': value must be true",
    ),
    "privilege": ({"securityContext": {"privileged": True}}, "at '/securityContext/privileged': value must be false"),
    "a volume for many": (
        {"persistence": {"accessModes": ["ReadWriteMany"]}},
        "at '/persistence/accessModes/0': value must be one of 'ReadWriteOnce', 'ReadWriteOncePod'",
    ),
    "a short-lived token": (
        {"tokens": {"api": {"expirationSeconds": 60}}},
        "at '/tokens/api/expirationSeconds': minimum: got 60, want 600",
    ),
    "too little time to stop": ({"terminationGracePeriodSeconds": 5}, "at '/terminationGracePeriodSeconds': minimum: got 5"),
}

# What the templates refuse: values that are fine alone and not together.
CONTRADICTIONS: dict[str, tuple[Json, str]] = {
    "replicas without a journal to share": (
        {"replicaCount": 3},
        "replicaCount is 3: several replicas need a journal that they share; give config.database.url (PostgreSQL), or set",
    ),
    "a shared journal without a shared key": (
        {"config": {"database": {"url": {"file": "/run/url"}}}},
        "config.database.url is given and config.fingerprint_key is not: each pod would make a key of its own",
    ),
    "a shared journal without a shared key, by variables": (
        {"extraEnv": [{"name": "ROTATORD_DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]},
        "config.database.url is given and config.fingerprint_key is not",
    ),
    "a claim for a journal that lies elsewhere": (
        {"config": SHARED, "persistence": {"existingClaim": "x"}},
        "persistence.existingClaim is given and the journal lies in a database",
    ),
    "built-in tokens without a volume, several replicas": (
        {"config": SHARED | {"issuers": {"own": {"type": "builtin"}}}},
        "issuer own is built in and the journal lies in a database: there is no volume then",
    ),
    "files of several pods": (
        {"config": SHARED | {"backends": {"here": {"type": "file"}}}},
        "backend here keeps its slots in files of each pod and the journal lies in a database: give slots, a path on a volume",
    ),
    "a password in the database's address": (
        {"config": {"database": {"url": "postgresql://me:planted@db/rotatord"}}},
        "config: a secret itself stands somewhere in it",
    ),
    "a state directory": (
        {"config": {"state_dir": "/data"}},
        "config.state_dir: the chart mounts the volume and says where; take this key out",
    ),
    "probes that nobody reaches": (
        {"config": {"api": {"probes": {"port": 8080}}}},
        "config.api.probes.host is 127.0.0.1: the kubelet cannot reach it there; use 0.0.0.0, or take config.api.probes out",
    ),
    "probes that nobody finds": (
        {"config": {"api": {"probes": {"host": "0.0.0.0", "port": 0}}}},
        "config.api.probes.port is 0, which takes any free port",
    ),
    "one port for two": (
        {"service": {"extraPorts": [{"name": "more", "port": 8080}]}},
        "two of probes.port, config.api.listen.port and service.extraPorts are the same port",
    ),
    "a port with a name of ours": (
        {"service": {"extraPorts": [{"name": "api", "port": 9}]}},
        "at '/service/extraPorts/0/port'",
    ),
    "a port called metrics": (
        {"service": {"extraPorts": [{"name": "metrics", "port": 9000}]}},
        "service.extraPorts: the name metrics is the chart's own; use another",
    ),
    "latest": ({"image": {"tag": "latest"}}, "image.tag is latest: nobody could say what runs, or go back to it"),
    "a tag and a digest": (
        {"image": {"tag": "1", "digest": "sha256:" + "0" * 64}},
        "image.tag and image.digest are both given: the digest beats the tag",
    ),
    "a claim that is not used": (
        {"persistence": {"enabled": False, "existingClaim": "x"}},
        "persistence.existingClaim is given and persistence.enabled is false: which one is meant?",
    ),
    "built-in tokens without a volume": (
        {"persistence": {"enabled": False}, "config": {"issuers": {"a": {"type": "builtin"}}}},
        "persistence.enabled is false and issuer a is built in: every token that it made would stop working",
    ),
    "no account": (
        {"serviceAccount": {"create": False}},
        "serviceAccount.create is false and serviceAccount.name is empty: name the one to use",
    ),
    "annotations of another's account": (
        {"serviceAccount": {"create": False, "name": "x", "annotations": {"a": "b"}}},
        "serviceAccount.annotations are given and serviceAccount.create is false",
    ),
    "no token though it is needed": (
        {"tokens": {"api": {"mount": "never"}}, "config": CLUSTER},
        "tokens.api.mount is never, but config names backends, issuers or consumers of this cluster",
    ),
    "no token though Vault is asked with it": (
        {"tokens": {"api": {"mount": "never"}}, "config": {"backends": {"v": VAULT}}},
        "tokens.api.mount is never, but config reads that token, or logs in to Vault with it: set tokens.vault.enabled",
    ),
    "a token for no role": ({"tokens": {"aws": {"enabled": True}}}, "tokens.aws.enabled needs tokens.aws.roleArn"),
    "a policy that is off": (
        {"networkPolicy": {"enabled": False, "egress": {"restricted": True}}},
        "networkPolicy.enabled is false, but ingress or egress below it is given",
    ),
    "egress that is open anyway": (
        {"networkPolicy": {"egress": {"extra": [{"ports": [{"port": 443}]}]}}},
        "networkPolicy.egress.extra is given, but networkPolicy.egress.restricted is false: everything may leave anyway",
    ),
    "a variable of ours": (
        {"extraEnv": [{"name": "ROTATORD_STATE_DIR", "value": "/x"}]},
        "extraEnv: ROTATORD_STATE_DIR is the",
    ),
    "a volume of ours": (
        {"extraVolumes": [{"name": "state", "emptyDir": {}}]},
        "extraVolumes: the name state is the chart's own",
    ),
    "text that is not YAML": ({"config": "a: [1"}, "config is not YAML: "),
    "text that is no mapping": (
        {"config": "rotatord.yaml"},
        "config is text that is no mapping of sections: give the file's content",
    ),
    "a name that is a number": (
        with_place(name=1234),
        "config: credential dns, a destination: name should be text, in quotes where YAML could take it for a number",
    ),
    "a namespace that is a number": (
        with_place(namespace=1),
        "config: credential dns, a destination: namespace should be text",
    ),
    "a workload without a namespace": (
        {"config": {"credentials": [{"name": "dns", "consumers": [{"type": "deployment", "name": "web"}]}]}},
        "config: credential dns, a consumer: namespace should be text",
    ),
}


@pytest.mark.parametrize(("values", "sentence"), MISSHAPEN.values(), ids=MISSHAPEN)
def test_the_schema_refuses(helm: Helm, values: Json, sentence: str) -> None:
    """Before anything is rendered, with the place and what would be right; lint and install say the same."""
    with pytest.raises(Refused) as refused:
        helm.template(helm.values(values))
    assert sentence in str(refused.value)


@pytest.mark.parametrize(("values", "sentence"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_the_templates_refuse(helm: Helm, values: Json, sentence: str) -> None:
    """With a sentence that says which values, why, and what to do."""
    with pytest.raises(Refused) as refused:
        helm.template(helm.values(values))
    assert sentence in str(refused.value)


def test_all_contradictions_are_told_at_once(helm: Helm) -> None:
    """Nobody has to try again for each of them."""
    with pytest.raises(Refused) as refused:
        helm.template(helm.values({"replicaCount": 2, "image": {"tag": "latest"}, "tokens": {"aws": {"enabled": True}}}))
    assert str(refused.value).count("\n") >= 3
    for sentence in ("replicaCount is 2", "image.tag is latest", "tokens.aws.enabled needs"):
        assert sentence in str(refused.value)


def test_no_secret_of_a_refused_configuration_is_told(helm: Helm) -> None:
    """Who wrote a value where a reference belongs does not find it in the log of a pipeline."""
    for config in (
        "issuers:\n  a: {type: vault_token, auth: {token: hvs.planted}}\n broken: [",
        "hvs.planted",
        "- hvs.planted",
    ):
        with pytest.raises(Refused) as refused:
            helm.template(helm.values({"config": config}))
        assert "planted" not in str(refused.value)


LITERALS = {
    "a Vault token": {"issuers": {"v": {"auth": {"token": "hvs.CAESIPLANTEDplantedPLANTED"}}}},
    "an access key's id": {"issuers": {"a": {"anything": "AKIAIOSFODNN7EXAMPLE"}}},
    "a private key": {"api": {"tls": {"key": "-----BEGIN EC PRIVATE KEY-----\nplanted\n"}}},
    "a password in an address": {"notices": [{"url": "https://me:planted@example.com/hook?a=b&c=d"}]},
    "something random under a name that says it": {"notices": [{"secret": "Pl4nted-Pl4nted-Pl4nted"}]},
    "a webhook's secret": {"notices": [{"x": "whsec_cGxhbnRlZHBsYW50ZWQ="}]},
}
NO_LITERALS = {
    "references": {"issuers": {"v": {"auth": {"token": {"file": "/run/secrets/token-0123456789"}}}}},
    "a field under a name that says it": {"credentials": [{"destinations": [{"keys": {"API_TOKEN": "token"}}]}]},
    "a path": {"backends": {"v": {"token": "kv/apps/production/token1"}}},
    "a template": {"backends": {"v": {"token": "{username}:{password}-0123456789"}}},
    "words": {"issuers": {"v": {"secret_key": "correct-horse-battery"}}},
    "an address": {"issuers": {"v": {"address": "https://vault.example:8200"}}},
}


@pytest.mark.parametrize("form", ["a mapping", "text"])
@pytest.mark.parametrize("config", LITERALS.values(), ids=LITERALS)
def test_a_secret_does_not_get_into_a_config_map(helm: Helm, config: Json, form: str) -> None:
    """The daemon would refuse it, but only after the cluster has stored it for everybody to read. It is not shown."""
    given = config if form == "a mapping" else json.dumps(config)
    with pytest.raises(Refused, match="a secret itself stands somewhere in it") as refused:
        helm.template(helm.values({"config": given}))
    assert "lanted" not in str(refused.value)
    assert "AKIA" not in str(refused.value)


def test_not_even_a_comment_may_hold_one(helm: Helm) -> None:
    """Text reaches the ConfigMap letter for letter, what the daemon passes over included."""
    with pytest.raises(Refused, match="a secret itself stands somewhere in it"):
        helm.template(helm.values({"config": "# was hvs.CAESIPLANTEDplantedPLANTED\nlog: {level: info}\n"}))


@pytest.mark.parametrize("config", [*LITERALS.values(), *NO_LITERALS.values()], ids=[*LITERALS, *NO_LITERALS])
def test_the_chart_and_the_daemon_find_the_same_literals(helm: Helm, config: Json) -> None:
    """Neither lets pass, nor refuses, what the other one does not."""
    try:
        helm.template(helm.values({"config": config}))
        found = False
    except Refused as refused:
        found = "a secret itself" in str(refused)
    assert found == any(literals.find(config))


def test_the_schema_knows_every_value_and_no_other() -> None:
    """What stands in values.yaml is in the schema, key by key, and is asked for: a value taken away (null) leaves no gap."""
    optional = {"config", "fsGroup", "fsGroupChangePolicy", "runAsGroup", "runAsUser"}
    values = read_yaml((CHART / "values.yaml").read_text())[0]
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(given: Json, described: Json, place: str) -> None:
        if described.get("additionalProperties") is not False:
            return
        assert set(given) <= set(described["properties"]), place
        assert set(given) - set(described.get("required", [])) <= optional, place
        for key, value in given.items():
            if isinstance(value, dict) and value:
                compare(value, described["properties"][key], f"{place}/{key}")

    assert schema["additionalProperties"] is False
    compare(values, schema, "")
