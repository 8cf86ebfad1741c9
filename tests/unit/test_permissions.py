"""The least rights of a configuration: asked of plugins, merged, and printed so that each system understands them."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from rotatord import config
from rotatord.cli import main
from rotatord.errors import Invalid
from rotatord.model import ConsumerSpec, Destination, HealthSpec, JsonMap, Policy, Spec
from rotatord.permission_forms import IAM_MANAGED_CHARACTERS, ServiceAccount, cautions, hcl, iam, rbac
from rotatord.permissions import Grants, Identity, Needs
from rotatord.registry import PluginSettings
from rotatord.rights import AwsRight, KubernetesRight, Right, VaultRight
from rotatord.testing.plugins import FakePlugins

CONFIGURATION = """\
issuers:
  vault: {type: vault_token, address: "https://vault.example:8200", auth: {kubernetes: {role: r}}, role: apps}
backends:
  kv: {type: vault, address: "https://vault.example:8200", auth: {kubernetes: {role: r}}}
  files: {type: file}
policies:
  default: {unproven: {overlap: 1h}}
credentials:
"""
CREDENTIAL = """\
  - name: app-NUMBER
    issuer: vault
    scope: {permissions: [reports]}
    destinations:
      - {backend: kv, path: apps/NUMBER, keys: {TOKEN: token}}
      - {backend: kv, path: more/NUMBER, keys: {TOKEN: token}}
"""


def merged(*rights: Right) -> Grants:
    grants = Grants()
    for right in rights:
        grants.add(right)
    return grants


def secret(name: str, *verbs: str, why: str = "") -> KubernetesRight:
    return KubernetesRight("apps", "", "secrets", verbs, (name,), why)


class Telling:
    """A plugin of any kind that says these rights."""

    def __init__(self, *rights: Right) -> None:
        self._rights = rights

    def rights(self, *_: Any, **__: Any) -> Sequence[Right]:
        return self._rights

    def read_rights(self, destination: Destination) -> Sequence[Right]:
        return [VaultRight(f"read/{destination.address['path']}", ("read",))]

    def retire_rights(self, destination: Destination) -> Sequence[Right]:
        return [VaultRight(f"retire/{destination.address['path']}", ("update",))]


class OfHomes(Telling):
    """A backend that needs more for a home."""

    def rights(self, *args: Any, **kwargs: Any) -> Sequence[Right]:
        return [VaultRight(f"{args[0].address['path']}/{'home' if kwargs['home'] else 'other'}", ("update",))]


class Broken(Telling):
    """A plugin whose settings make no sense."""

    def rights(self, *_: Any, **__: Any) -> Sequence[Right]:
        raise Invalid("which role?")


class Silent:
    """A plugin that says nothing."""


class Ending(Telling):
    """An issuer that can end sessions."""

    def end_sessions(self, ref: str, parameters: JsonMap) -> int:
        return 0

    def session_rights(self, scope: JsonMap, parameters: JsonMap) -> Sequence[Right]:
        return [VaultRight("sessions", ("list",))]


class World:
    """One configuration made of plugins given by name."""

    def __init__(self, issuer: Any, backend: Any = None, consumer: Any = None, settings: JsonMap | None = None) -> None:
        self.issuers: Mapping[str, PluginSettings] = {"i": PluginSettings(type="t", settings=settings or {})}
        self.backends: Mapping[str, PluginSettings] = {"b": PluginSettings(type="vault")}
        plugins = FakePlugins({"i": issuer}, {"b": backend or Telling()}, {"c": consumer or Telling()})
        self.plugins = plugins

    def needs(self, *specs: Spec, retire: bool = False) -> Needs:
        needs = Needs(retire=retire)
        for spec in specs or (Spec(name="x", issuer="i", destinations=(place("/a"), place("/b"))),):
            needs.visit(spec, self.plugins, self)
        return needs


def place(path: str) -> Destination:
    return Destination(backend="b", address={"path": path}, keys={})


def paths(needs: Needs) -> set[str]:
    return {target for grants in needs.grants.values() for rule in grants.rules() for target in rule.targets}


def test_what_is_told_twice_is_granted_once() -> None:
    """The same right from two credentials is one rule, with one reason."""
    once = list(merged(secret("a", "get", why="to read")).rules())
    assert list(merged(secret("a", "get", why="to read"), secret("a", "get", why="to read")).rules()) == once


def test_names_with_the_same_verbs_share_a_rule() -> None:
    """Sorted, so that the output does not change with the order of credentials; other verbs are another rule."""
    rules = list(merged(secret("b", "get", "patch"), secret("a", "get"), secret("a", "patch"), secret("c", "get")).rules())
    assert [(rule.targets, rule.verbs) for rule in rules] == [(("a", "b"), ("get", "patch")), (("c",), ("get",))]


def test_what_is_allowed_everywhere_is_not_allowed_by_name_again() -> None:
    """A right without names covers those with names, and leaves them their other verbs."""
    everywhere = KubernetesRight("apps", "", "secrets", ("create", "get"))
    rules = list(merged(secret("a", "get", "patch"), secret("b", "get"), everywhere).rules())
    assert sorted((rule.targets, rule.verbs) for rule in rules) == [((), ("create", "get")), (("a",), ("patch",))]


@given(
    st.lists(
        st.builds(
            KubernetesRight,
            namespace=st.sampled_from(["", "n"]),
            group=st.sampled_from(["", "apps"]),
            resource=st.sampled_from(["secrets", "pods"]),
            verbs=st.lists(st.sampled_from(["get", "list", "patch"]), min_size=1, max_size=3).map(tuple),
            names=st.lists(st.sampled_from(["a", "b", "c"]), max_size=2).map(tuple),
            why=st.sampled_from(["", "one", "two"]),
        )
    )
)
def test_merging_neither_adds_nor_loses(rights: list[KubernetesRight]) -> None:
    """For every namespace, resource, name and verb: allowed after merging exactly when a plugin asked for it."""

    def allowed(place: Sequence[Any], verbs: Sequence[str], names: Sequence[str]) -> set[tuple[Any, ...]]:
        return {(*place, verb, name) for verb in verbs for name in (names or ("a", "b", "c", "other"))}

    asked = set[tuple[Any, ...]]().union(*(allowed((r.namespace, r.group, r.resource), r.verbs, r.names) for r in rights))
    granted = set[tuple[Any, ...]]().union(*(allowed(r.place, r.verbs, r.targets) for r in merged(*rights).rules()))
    assert granted == asked


def test_every_part_of_a_credential_is_asked() -> None:
    """Issuer, home, other destination, consumer, copy, health check: each with its own question."""
    consumer = ConsumerSpec(type="pods", name="c", copies=(place("/copy"),), health=(HealthSpec(type="http"),))
    spec = Spec(name="x", issuer="i", destinations=(place("/a"), place("/b")), consumers=(consumer,))
    world = World(Telling(VaultRight("mint", ("update",))), OfHomes(), Telling(VaultRight("pods", ("list",))))
    world.plugins.checks = {"c": [("http", Silent())]}
    needs = world.needs(spec)
    assert paths(needs) == {"mint", "/a/home", "/b/other", "pods", "read//copy"}
    assert needs.silent == {"health checks of type http": ""}


def test_sessions_and_retiring_cost_rights_only_where_they_are_wanted() -> None:
    """The policy decides about sessions, the person who asks about retiring."""
    ending = Spec(name="x", issuer="i", destinations=(place("/a"),), policy=Policy(end_sessions=True))
    world = World(Ending())
    assert paths(world.needs()) == set()
    assert paths(world.needs(ending)) == {"sessions"}
    assert paths(world.needs(ending, retire=True)) == {"sessions", "retire//a"}


def test_who_says_nothing_is_named_and_why() -> None:
    """Nothing is made up for a plugin that cannot tell, and one that fails hides none of the others."""
    needs = World(Silent(), Broken(), Telling(VaultRight("pods", ("list",)))).needs(
        Spec(name="x", issuer="i", destinations=(place("/a"),), consumers=(ConsumerSpec(type="pods", name="c"),))
    )
    assert needs.silent == {"issuer i (t)": "", "backend b (vault)": "which role?"}
    assert paths(needs) == {"pods"}


def test_secrets_that_the_configuration_refers_to_have_to_be_read() -> None:
    """A {vault: …} reference in a plugin's settings is a document that our identity needs to see."""
    reference = {"login": {"token": {"vault": "own/token", "key": "value"}}}
    assert paths(World(Telling(), settings=reference).needs()) == {"read/own/token"}


def test_two_identities_are_granted_apart() -> None:
    """Two addresses of Vault, or two clusters, are two policies; where they act is told without what opens them."""
    needs = Needs()
    for address in ("https://one", "https://two", "https://one"):
        settings: JsonMap = {"address": address, "auth": {"token": {"file": "/run/token"}}}
        needs.told(f"at {address}", settings, lambda: [VaultRight("mint", ("update",))])
    assert [identity.shown for identity in needs.grants] == [
        (("address", "https://one"), ("auth", "token")),
        (("address", "https://two"), ("auth", "token")),
    ]


def documents(lines: Sequence[str]) -> list[JsonMap]:
    return [document for document in YAML(typ="safe").load_all("\n".join(lines)) if document]


def test_roles_are_yaml_that_a_cluster_takes() -> None:
    """One Role for each namespace, a ClusterRole for what has none, each bound to the account."""
    rights = (
        secret("a", "get", "patch", why="the home: of 'app'"),
        KubernetesRight("apps", "", "secrets", ("create",), why="create cannot be limited to names"),
        KubernetesRight("shop", "apps", "deployments", ("get", "patch"), ("web", "true", "1")),
        KubernetesRight("", "authentication.k8s.io", "tokenreviews", ("create",)),
    )
    found = documents(list(rbac(merged(*rights), ServiceAccount("ops", "rotatord"))))
    kinds = [(each["kind"], each["metadata"].get("namespace")) for each in found]
    assert kinds == [
        ("ClusterRole", None),
        ("ClusterRoleBinding", None),
        ("Role", "apps"),
        ("RoleBinding", "apps"),
        ("Role", "shop"),
        ("RoleBinding", "shop"),
    ]
    assert found[2]["rules"] == [
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["get", "patch"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    ]
    assert found[4]["rules"][0]["resourceNames"] == ["1", "true", "web"]
    assert found[3]["subjects"] == [{"kind": "ServiceAccount", "namespace": "ops", "name": "rotatord"}]
    assert found[3]["roleRef"]["name"] == found[2]["metadata"]["name"]


def test_without_an_account_nothing_is_bound() -> None:
    """Roles alone."""
    assert [each["kind"] for each in documents(list(rbac(merged(secret("a", "get")))))] == ["Role"]


def test_many_names_stand_one_a_line() -> None:
    """A Role over hundreds of Secrets stays readable, and says the same."""
    names = tuple(f"a-rather-long-secret-name-{number:03}" for number in range(300))
    lines = list(rbac(merged(KubernetesRight("apps", "", "secrets", ("get",), names))))
    assert max(map(len, lines)) < 128
    assert documents(lines)[0]["rules"][0]["resourceNames"] == list(names)


def test_a_vault_policy_quotes_its_paths() -> None:
    """Nothing in a path ends the string that holds it."""
    lines = list(hcl(merged(VaultRight('kv/data/a"b\\c', ("read", "update"), why="two\nlines"))))
    assert lines == ["# two lines", 'path "kv/data/a\\"b\\\\c" { capabilities = ["read", "update"] }']


@pytest.mark.parametrize(("path", "warned"), [("kv/data/a", False), ("kv/data/a*", True), ("kv/+/a", True), ("kv/a+b", False)])
def test_paths_that_vault_takes_for_patterns_are_told(path: str, *, warned: bool) -> None:
    """A document whose name is a pattern would be granted with others."""
    identity = Identity("vault", "")
    assert bool(list(cautions(identity, merged(VaultRight(path, ("read",)))))) is warned


def test_an_iam_policy_is_json_with_conditions() -> None:
    """Statements by condition and reason; resources with the same actions share one."""
    conditions = (("StringEquals", "secretsmanager:ResourceTag/rotatord", "yes"), ("StringEquals", "aws:RequestedRegion", "r"))
    rights = (
        AwsRight(("iam:CreateAccessKey",), ("arn:aws:iam::1:user/b",), why="to mint"),
        AwsRight(("iam:CreateAccessKey",), ("arn:aws:iam::1:user/a",), why="to mint"),
        AwsRight(("secretsmanager:PutSecretValue",), ("arn:x",), conditions, "to mint"),
    )
    policy = json.loads("\n".join(iam(merged(*rights))))
    assert policy["Version"] == "2012-10-17"
    first, second = policy["Statement"]
    assert first == {
        "Sid": "ToMint",
        "Effect": "Allow",
        "Action": ["iam:CreateAccessKey"],
        "Resource": ["arn:aws:iam::1:user/a", "arn:aws:iam::1:user/b"],
    }
    assert (second["Sid"], len(second["Condition"]["StringEquals"])) == ("ToMint2", 2)


def test_a_policy_that_is_too_long_for_aws_is_told() -> None:
    """AWS refuses it later, and less clearly."""
    identity = Identity("aws", "")
    short, long = ([AwsRight(("a:B",), (f"arn:{number:060}",)) for number in range(count)] for count in (9, 99))
    assert list(cautions(identity, merged(*short))) == []
    assert str(IAM_MANAGED_CHARACTERS) in next(cautions(identity, merged(*long)))


def test_the_way_into_a_role_is_granted_outside_of_it() -> None:
    """To whoever we are before, once for all that act in it; the role itself is named, its external id is not."""
    needs = Needs()
    role = {"arn": "arn:aws:iam::1:role/in", "external_id": "between us"}
    for name in ("issuer keys", "backend sm"):
        needs.told(name, {"profile": "p", "assume_role": role}, lambda: [AwsRight(("iam:ListUsers",), ("*",))])
    (inside, granted), (outside, entrance) = needs.grants.items()
    assert dict(inside.shown) == {"profile": "p", "assume_role": "arn:aws:iam::1:role/in"}
    assert dict(outside.shown) == {"profile": "p"}
    ((rule,), (way,)) = granted.rules(), entrance.rules()
    assert (rule.verbs, way.verbs, way.targets) == (("iam:ListUsers",), ("sts:AssumeRole",), ("arn:aws:iam::1:role/in",))
    assert list(entrance.users) == ["issuer keys", "backend sm"]


# --- the command ---------------------------------------------------------------------------------------------------


Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs ``rotatord rights`` over a configuration with this many credentials."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, count: int = 2, more: str = "", before: str = "") -> tuple[int, str, str]:
        entries = "".join(CREDENTIAL.replace("NUMBER", str(number)) for number in range(count))
        Path("rotatord.yaml").write_text(before + CONFIGURATION + entries + more)
        code = main.run(["rights", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_the_command_prints_policies(ask: Ask) -> None:
    """Vault's policy stands on stdout with its heading; what there is none of is remarked on stderr."""
    code, out, err = ask()
    assert code == 0
    assert out.startswith("# at vault, address https://vault.example:8200, auth kubernetes: for issuer vault (vault_token)")
    assert 'path "secret/data/apps/1.rotatord/pending"' in out
    assert "more/1.rotatord" not in out
    assert "destroy/apps/1" not in re.sub(r"apps/1\.rotatord", "", out)
    assert "nothing that tells its rights needs any at kubernetes" in err


def test_a_plugin_that_says_nothing_is_remarked(ask: Ask) -> None:
    """Once, however many credentials use it, and not among the policies; one that says that it needs nothing is not."""
    checks = "[{command: {command: [/bin/true]}}, {tcp: {host: db.example, port: 1}}]"
    consumers = f"consumers: [{{type: observe, refresh_within: 1m, health: {checks}}}]"
    rest = f"destinations: [{{backend: files, path: fN.env}}], {consumers}"
    entry = f"  - {{name: fN, issuer: vault, scope: {{permissions: [a]}}, {rest}}}\n"
    more = "".join(entry.replace("fN", f"f{number}") for number in range(3))
    code, out, err = ask("--as", "vault", more=more)
    assert (code, err.count("says nothing about its rights")) == (0, 1)
    assert "health checks of type command: says nothing" in err
    assert "command" not in out


def test_programs_get_the_rules_as_values(ask: Ask) -> None:
    """-o json has a schema, and no policy text."""
    code, out, _ = ask("--as", "vault", "-o", "json", "--retire")
    page = json.loads(out)
    assert (code, page["schema"]) == (0, "rotatord.rights/v1")
    (only,) = page["rights"]
    assert (only["system"], only["at"]["address"]) == ("vault", "https://vault.example:8200")
    written = [rule for rule in only["rules"] if "secret/destroy/apps/0" in rule["paths"]]
    assert written[0]["capabilities"] == ["update"]


def test_what_the_daemon_reads_for_itself_is_asked_for_too(ask: Ask) -> None:
    """A token of the API that lies in Vault: one read of one document."""
    tokens = "api: {tokens: [{name: ci, token: {vault: own/ci, key: token}, rights: [read]}]}\n"
    _, out, _ = ask("--as", "vault", before=tokens)
    assert 'path "secret/data/own/ci" { capabilities = ["read"] }' in out


@pytest.mark.parametrize("account", ["rotatord", "a/b/c", "/x", "x/"])
def test_an_account_is_a_namespace_and_a_name(ask: Ask, account: str) -> None:
    """Anything else is a mistake of usage."""
    code, out, err = ask("--service-account", account)
    assert (code, out) == (2, "")
    assert "NAMESPACE/NAME" in err


def test_a_configuration_with_mistakes_gives_no_policy(ask: Ask) -> None:
    """Half a policy would be taken for a whole one."""
    code, out, err = ask(more="  - {name: broken, issuer: nobody, destinations: [{backend: kv, path: x}]}\n")
    assert (code, out) == (2, "")
    assert "nobody" in err


def test_credentials_are_visited_and_let_go(tmp_path: Path) -> None:
    """However many there are, one at a time is in memory, and the configuration that comes back holds none."""
    entries = "".join(CREDENTIAL.replace("NUMBER", str(number)) for number in range(300))
    (tmp_path / "r.yaml").write_text(CONFIGURATION + entries)
    gc.collect()
    before = sum(isinstance(each, Spec) for each in gc.get_objects())
    most, seen = 0, 0

    def visit(spec: Spec, *_: object) -> None:
        nonlocal most, seen
        seen += 1
        if seen % 50 == 0:
            gc.collect()
            most = max(most, sum(isinstance(each, Spec) for each in gc.get_objects()) - before)

    loaded = config.load(tmp_path / "r.yaml", visit=visit)
    assert (seen, loaded.specs) == (300, {})
    assert most <= 3
