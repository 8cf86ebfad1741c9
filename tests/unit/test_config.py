"""The configuration: what a good one becomes, and that every mistake of a bad one is told at once with its line."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fake_plugins import find
from hypothesis import given, settings
from hypothesis import strategies as st

from rotatord import config
from rotatord.api.settings import Address
from rotatord.configuration import literals, manual
from rotatord.configuration.document import Document, plain
from rotatord.configuration.schema import ConsumerSection, CredentialSection, DestinationSection, HeadSection, PolicySection
from rotatord.errors import ConfigError, Problem
from rotatord.model import HealthSpec, Window
from rotatord.settings import Settings

HEAD = """\
issuers:
  tokens: {type: fake}
backends:
  files: {type: fake}
policies:
  default: {renew_before: 7d}
"""
CREDENTIAL = """\
credentials:
  - name: dns
    issuer: tokens
    destinations:
      - {backend: files, path: /dns, keys: {TOKEN: token}}
    consumers:
      - {type: observe, refresh_within: 1m}
"""
GOOD = HEAD + CREDENTIAL

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a configuration, or several files of one."""

    def files(text: str = "", **texts: str) -> Path:
        if not texts:
            (tmp_path / "r.yaml").write_text(text)
            return tmp_path / "r.yaml"
        for name, content in texts.items():
            (tmp_path / f"{name}.yaml").write_text(content)
        return tmp_path

    return files


def problems(path: Path) -> list[str]:
    """All mistakes, the directory left out."""
    with pytest.raises(ConfigError) as caught:
        config.load(path, find=find)
    base = str(path if path.is_dir() else path.parent)
    return [str(problem).replace(f"{base}/", "") for problem in caught.value.problems]


def test_a_full_configuration_becomes_specs(write: Write) -> None:
    """Every part of the example of the manual arrives where the engine looks for it."""
    text = """\
installation: prod-1
state_dir: /srv/rotatord
issuers:
  tokens: {type: fake, address: "https://i", token: {file: /run/secrets/t}}
backends:
  files: {type: fake}
policies:
  production:
    max_age: 30d
    renew_before: 33%
    overlap: 1h30m
    windows: [{allow: "Mon-Thu 09:00-16:00", time_zone: Europe/Lisbon}]
    still_used: {revoke_after: 7d}
    unproven: {overlap: 10m}
    require: {ip_allow: true, owner: true}
    on_unknown: replace
credentials:
  - name: dns-writer
    issuer: tokens
    owner: team-edge
    purpose: external-dns edits records
    labels: {tier: gold}
    policy: production
    scope: {permissions: [read], ip_allow: [203.0.113.0/24]}
    parameters: {role: x}
    renamed_from: dns-old
    destinations:
      - {backend: files, path: /a, keys: {token: token}, version_key: VERSION}
      - {backend: files, path: /b, keys: {AUTH: "Bearer {token}"}, wave: 1}
    consumers:
      - {type: fake, name: web, evidence: attestation, wave: 1, health: [{http: {url: "https://x/healthz"}}]}
"""
    loaded = config.load(write(text), find=find)
    spec = loaded.specs["dns-writer"]
    assert (loaded.installation, loaded.state_dir, loaded.renames) == ("prod-1", "/srv/rotatord", {"dns-writer": "dns-old"})
    assert loaded.issuers["tokens"].settings == {"address": "https://i", "token": {"file": "/run/secrets/t"}}
    assert (spec.owner, spec.labels, spec.scope["permissions"], spec.parameters) == (
        "team-edge",
        {"tier": "gold"},
        ["read"],
        {"role": "x"},
    )
    assert spec.source.endswith("r.yaml:18")
    assert (spec.home.address, spec.home.keys, spec.home.version_key) == ({"path": "/a"}, {"token": "token"}, "VERSION")
    assert spec.waves == (0, 1)
    consumer = spec.consumers[0]
    assert (consumer.name, consumer.settings) == ("web", {"evidence": "attestation"})
    assert consumer.health == (HealthSpec(type="http", settings={"url": "https://x/healthz"}),)
    policy = spec.policy
    assert (policy.name, policy.max_age, policy.renew_before, policy.renew_before_percent) == (
        "production",
        timedelta(days=30),
        None,
        33,
    )
    assert (policy.overlap, policy.unproven_overlap) == (timedelta(minutes=90), timedelta(minutes=10))
    assert (policy.still_used, policy.still_used_limit, policy.on_unknown) == ("revoke_after", timedelta(days=7), "replace")
    assert policy.windows == (
        Window(kind="allow", time_zone="Europe/Lisbon", cron="0 9 * * MON,TUE,WED,THU", duration=timedelta(hours=7)),
    )
    assert policy.require == {"ip_allow": True, "owner": True}


def test_a_minimal_configuration_is_enough(write: Write) -> None:
    """renew_before alone starts; everything else has a default."""
    loaded = config.load(write(GOOD), find=find)
    spec = loaded.specs["dns"]
    assert (spec.policy.renew_before, spec.policy.overlap, spec.policy.expiry_beats_window) == (
        timedelta(days=7),
        timedelta(0),
        True,
    )
    assert (loaded.state_dir, loaded.installation, loaded.renames) == ("/var/lib/rotatord", None, {})


def test_a_directory_is_read_as_one(write: Write) -> None:
    """Sections may be spread over files in any order; the digest depends on all of them."""
    directory = write(a=CREDENTIAL, b=HEAD, c="issuers: {more: {type: fake}}\nlog: {level: debug}\n")
    loaded = config.load(directory, find=find)
    assert (set(loaded.specs), set(loaded.issuers), loaded.log.level) == ({"dns"}, {"tokens", "more"}, "debug")
    assert [Path(name).name for name in loaded.files] == ["a.yaml", "b.yaml", "c.yaml"]
    write(c="issuers: {more: {type: fake}}\n")
    assert config.load(directory, find=find).digest != loaded.digest


def test_credentials_share_their_policy(write: Write) -> None:
    """A thousand credentials of one policy hold one policy object."""
    second = CREDENTIAL.replace("credentials:\n", "").replace("name: dns", "name: two").replace("/dns", "/two")
    loaded = config.load(write(GOOD + second), find=find)
    assert loaded.specs["dns"].policy is loaded.specs["two"].policy


@dataclass(frozen=True)
class Bad:
    """One mistake: what is replaced in GOOD (or all of it), and the lines that tell it."""

    old: str
    new: str
    told: tuple[str, ...]


REMEDY = "so nothing proves that the new version is in use: say `unproven: {overlap: …}` in its policy to accept that"
BAD: dict[str, Bad] = {
    "unknown key at the top": Bad(
        "policies:", "polices: {}\npolicies:", ("r.yaml:5: unknown key 'polices'; did you mean policies?",)
    ),
    "unknown key of a policy": Bad(
        "{renew_before: 7d}",
        "{renew_befor: 7d}",
        ("r.yaml:6: unknown key 'renew_befor'; did you mean renew_before?",),
    ),
    "unknown key of a credential": Bad(
        "    issuer: tokens\n", "    issuer: tokens\n    owners: x\n", ("r.yaml:10: unknown key 'owners'; did you mean owner?",)
    ),
    "unknown key of an issuer": Bad(
        "{type: fake}\nbackends",
        "{type: fake, adress: x}\nbackends",
        ("r.yaml:2: unknown key 'adress'; did you mean address?",),
    ),
    "wrong type": Bad(
        "{renew_before: 7d}", "{unhealthy_after: many}", ("r.yaml:6: 'unhealthy_after' should be a whole number",)
    ),
    "a length without unit": Bad(
        "7d",
        "90",
        ("r.yaml:6: 'renew_before' should be a length of time such as 30d, 1h30m or 90s; did you mean 90s?",),
    ),
    "an unknown word": Bad(
        "{renew_before: 7d}", "{idle: passs}", ("r.yaml:6: 'idle' should be 'pass' or 'hold'; did you mean pass?",)
    ),
    "missing issuer": Bad("issuer: tokens", "issuer: token", ("r.yaml:9: there is no issuer 'token'; did you mean tokens?",)),
    "missing backend": Bad(
        "{backend: files", "{backend: fils", ("r.yaml:11: there is no backend 'fils'; did you mean files?",)
    ),
    "missing policy": Bad(
        "    issuer: tokens\n",
        "    issuer: tokens\n    policy: defalt\n",
        ("r.yaml:10: there is no policy 'defalt'; did you mean default?",),
    ),
    "unknown type of issuer": Bad(
        "{type: fake}\nbackends",
        "{type: fakke}\nbackends",
        ("r.yaml:2: there is no issuer of type 'fakke' (installed: fake, vault_token); did you mean fake?",),
    ),
    "a module that is not installed": Bad(
        "{type: fake}\nbackends",
        "{type: vault_token}\nbackends",
        ("r.yaml:2: issuer of type 'vault_token' needs the module hvac: pip install 'rotatord[vault]'",),
    ),
    "unknown type of consumer": Bad(
        "type: observe",
        "type: observ",
        ("r.yaml:13: there is no consumer of type 'observ' (installed: fake, observe, rollout); did you mean observe?",),
    ),
    "unknown type of check": Bad(
        "refresh_within: 1m}",
        "refresh_within: 1m, health: [{htp: {url: x}}]}",
        ("r.yaml:13: there is no health check of type 'htp' (installed: http); did you mean http?",),
    ),
    "a malformed check": Bad(
        "refresh_within: 1m}",
        "refresh_within: 1m, health: [3]}",
        ("r.yaml:13: a health check should be written as {type: settings}, such as {http: {url: …}}",),
    ),
    "a scope the issuer does not know": Bad(
        "    destinations:", "    scope: {permissions: [wirte]}\n    destinations:", ("r.yaml:10: unknown permission 'wirte'",)
    ),
    "a field the issuer does not have": Bad(
        "{TOKEN: token}",
        "{TOKEN: token, X: 'a {tokn}'}",
        ("r.yaml:11: issuer 'tokens' has no field 'tokn' (it has token); did you mean token?",),
    ),
    "a bad address": Bad("path: /dns", "path: dns", ("r.yaml:11: path should be absolute",)),
    "a home that cannot give back": Bad(
        "{TOKEN: token}",
        "{AUTH: 'Bearer {token}'}",
        ("r.yaml:11: the home has to hold every field verbatim, and no key holds token as it is",),
    ),
    "no destinations": Bad(
        "      - {backend: files, path: /dns, keys: {TOKEN: token}}\n",
        "",
        ("r.yaml:10: 'destinations' should be a list",),
    ),
    "duplicate key": Bad(
        "    issuer: tokens\n",
        "    issuer: tokens\n    issuer: other\n",
        (
            "r.yaml:10: there is no issuer 'other'",
            "r.yaml:10: key 'issuer' stands here a second time (first on line 9)",
        ),
    ),
    "an impossible window": Bad(
        "{renew_before: 7d}",
        "{windows: [{allow: 'Mon 09:00-10:00'}, {deny: 'Mon 08:00-11:00'}]}",
        ("r.yaml:6: never opens: there is no allowed time that no denying one covers in the next 400 days",),
    ),
    "a window on 30 February": Bad(
        "{renew_before: 7d}",
        "{windows: [{allow: '0 0 30 2 *', duration: 1h}]}",
        ("r.yaml:6: window '0 0 30 2 *': never happens or cannot be read as cron: bad day-of-month",),
    ),
    "a window in no zone": Bad(
        "{renew_before: 7d}",
        "{windows: [{allow: 'Mon 09:00-10:00', time_zone: Lisbon}]}",
        ("r.yaml:6: window 'Mon 09:00-10:00': there is no time zone 'Lisbon': IANA names such as Europe/Lisbon or UTC",),
    ),
    "renewal longer than life": Bad(
        "{renew_before: 7d}",
        "{renew_before: 7d, max_age: 7d}",
        ("r.yaml:6: renew_before 7d is not shorter than max_age 7d: always due",),
    ),
    "overlap longer than life": Bad(
        "{renew_before: 7d}",
        "{overlap: 2d, ttl: 1d}",
        ("r.yaml:6: overlap 2d is not shorter than ttl 1d: the old version would outlive it",),
    ),
    "overlap longer than what is left": Bad(
        "{renew_before: 7d}",
        "{overlap: 2h, ttl: 1d, renew_before: 1h}",
        ("r.yaml:6: overlap 2h is longer than the 1h left when a rotation starts: the old one expires first",),
    ),
    "dwell longer than its deadline": Bad(
        "{renew_before: 7d}",
        "{dwell: 20m}",
        ("r.yaml:6: dwell 20m is longer than verify_within 10m: it would always fail",),
    ),
    "a ttl the issuer cannot give": Bad(
        "{type: fake}\nbackends:\n  files: {type: fake}\npolicies:\n  default: {renew_before: 7d}",
        "{type: fake, expiry: false}\nbackends:\n  files: {type: fake}\npolicies:\n  default: {ttl: 9d}",
        ("r.yaml:8: the policy's ttl 9d can never be met: issuer 'tokens' cannot give versions an end",),
    ),
    "in place without leave": Bad(
        "{type: fake}\nbackends",
        "{type: fake, strategy: in_place}\nbackends",
        ("r.yaml:9: minting at issuer 'tokens' kills the old value: the policy needs allow_downtime: true",),
    ),
    "no labels and not exclusive": Bad(
        "{type: fake}\nbackends",
        "{type: fake, labels: false}\nbackends",
        ("r.yaml:9: issuer 'tokens' cannot label what it mints: it needs exclusive: true",),
    ),
    "requirements not met": Bad(
        "{renew_before: 7d}",
        "{require: {owner: true, purpose: true, ip_allow: true, labels: [team]}}",
        (
            "r.yaml:8: policy 'default' requires an owner",
            "r.yaml:8: policy 'default' requires a purpose",
            "r.yaml:8: policy 'default' requires a scope with ip_allow",
            "r.yaml:8: policy 'default' requires the label 'team'",
        ),
    ),
    "unknown requirement": Bad(
        "{renew_before: 7d}", "{require: {ownr: true}}", ("r.yaml:6: unknown key 'ownr'; did you mean owner?",)
    ),
    "a consumer without evidence": Bad(
        "{type: observe, refresh_within: 1m}",
        "{type: observe}",
        (f"r.yaml:13: consumer 'observe' gives no evidence (attest or refresh_within), {REMEDY}",),
    ),
    "copies that cannot be": Bad(
        "{type: observe, refresh_within: 1m}",
        "{type: observe, refresh_within: 1m, copies: [{backend: fils, path: /a, keys: {A: token}}, "
        "{backend: files, path: b, keys: {B: tokn}}, {backend: files, path: /dns, keys: {TOKEN: token}}]}",
        (
            "r.yaml:13: there is no backend 'fils'; did you mean files?",
            "r.yaml:13: path should be absolute",
            "r.yaml:13: issuer 'tokens' has no field 'tokn' (it has token); did you mean token?",
            "r.yaml:13: files:path=/dns is a destination of this credential: it is read back already, and is no copy",
        ),
    ),
    "no consumers": Bad(
        "    consumers:\n      - {type: observe, refresh_within: 1m}\n",
        "",
        (f"r.yaml:8: credential 'dns' has no consumers, {REMEDY}",),
    ),
    "two consumers of one name": Bad(
        "      - {type: observe, refresh_within: 1m}\n",
        "      - {type: observe, refresh_within: 1m}\n      - {type: observe, refresh_within: 2m}\n",
        ("r.yaml:14: two consumers are called 'observe': give each a name",),
    ),
    "a secret in place of a reference": Bad(
        "{type: fake}\nbackends",
        "{type: fake, token: planted-value}\nbackends",
        (f"r.yaml:2: {literals.WHAT}",),
    ),
    "a secret by its looks": Bad(
        "    destinations:",
        "    parameters: {note: ghp_planted0value0planted0value0plante}\n    destinations:",
        (f"r.yaml:10: {literals.WHAT}",),
    ),
    "a bad name": Bad(
        "name: dns",
        "name: d n s",
        ("r.yaml:8: 'name' should be a name: letters, digits, dots, dashes and underscores",),
    ),
    "not a list": Bad(CREDENTIAL, "credentials: {dns: {}}\n", ("r.yaml:7: 'credentials' should be a list",)),
    "not a mapping": Bad(
        GOOD, "- a\n", ("r.yaml:1: the configuration should be a mapping: issuers, backends, policies, credentials",)
    ),
    "a limit for nobody": Bad(
        "policies:",
        "limits: {issuers: {token: {concurrency: 2}}}\npolicies:",
        ("r.yaml:5: there is no issuer 'token'; did you mean tokens?",),
    ),
    "an API for nobody": Bad(
        "policies:", "api: {listen: {port: 8080}}\npolicies:", ("r.yaml:5: 'api' listen needs tokens: nobody could use it",)
    ),
    "a notice without secret": Bad("policies:", "notices: [{url: 'https://x'}]\npolicies:", ("r.yaml:5: 'secret' is missing",)),
    "its own former name": Bad(
        "    issuer: tokens\n",
        "    issuer: tokens\n    renamed_from: dns\n",
        ("r.yaml:8: renamed_from names 'dns', which is still declared at r.yaml:8",),
    ),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_each_mistake_is_told_with_its_line(write: Write, name: str) -> None:
    """Exactly these lines, and no value that might be a secret."""
    bad = BAD[name]
    assert bad.old in GOOD, "the test replaces nothing"
    told = problems(write(GOOD.replace(bad.old, bad.new, 1)))
    assert tuple(told) == bad.told
    assert "planted" not in "".join(told)


def test_all_mistakes_are_told_at_once_in_order(write: Write) -> None:
    """One run shows everything that is wrong, sorted by line, whatever kind it is."""
    text = """\
issuers:
  tokens: {type: fake, adress: x}
  other: {type: fake}
policies:
  p: {max_agee: 3d}
  q: {windows: [{deny: "00:00-24:00"}]}
stat_dir: /x
credentials:
  - {name: a, issuer: othr, policy: p, destinations: [{backend: nowhere, path: /a}]}
  - {name: a, issuer: other, destinations: [{backend: nowhere, path: /a}]}
  - {nme: b}
"""
    told = problems(write(text))
    assert [line.partition(" ")[0] for line in told] == [
        "r.yaml:2:",
        "r.yaml:5:",
        "r.yaml:6:",
        "r.yaml:7:",
        "r.yaml:9:",
        "r.yaml:9:",
        "r.yaml:9:",
        "r.yaml:10:",
        "r.yaml:11:",
        "r.yaml:11:",
        "r.yaml:11:",
        "r.yaml:11:",
    ]
    assert "credential 'a' is declared a second time (first at r.yaml:9)" in told[7]


def test_two_credentials_may_not_write_one_document(write: Write) -> None:
    """Not under two backend names either, when these are configured alike, nor by another spelling of the path."""
    text = GOOD.replace("  files: {type: fake}\n", "  files: {type: fake}\n  again: {type: fake}\n") + (
        "  - name: two\n    issuer: tokens\n    destinations: [{backend: again, path: /x/../dns, keys: {T: token}, mode: 7}]\n"
        "    consumers: [{type: observe, refresh_within: 1m}]\n"
    )
    assert problems(write(text)) == ["r.yaml:17: again:mode=7,path=/x/../dns is written by credential 'dns' (r.yaml:9) already"]


def test_where_a_backend_owns_keys_two_may_share_a_document(write: Write) -> None:
    """Different keys are fine, the same key is not."""
    text = GOOD.replace("  files: {type: fake}\n", "  files: {type: fake, per_key: true}\n") + (
        "  - name: two\n    issuer: tokens\n    destinations: [{backend: files, path: /dns, keys: {OTHER: token}}]\n"
        "    consumers: [{type: observe, refresh_within: 1m}]\n"
    )
    assert set(config.load(write(text), find=find).specs) == {"dns", "two"}
    assert "is written by credential 'dns'" in problems(write(text.replace("OTHER", "TOKEN")))[0]


def test_a_backend_that_recovers_needs_no_verbatim_home(write: Write) -> None:
    """Its plugin says so."""
    text = GOOD.replace("  files: {type: fake}\n", "  files: {type: recovering}\n").replace(
        "{TOKEN: token}", "{A: 'x {token}'}"
    )
    assert config.load(write(text), find=find).specs["dns"].home.keys == {"A": "x {token}"}


def test_unproven_accepts_what_proves_nothing(write: Write) -> None:
    """With unproven in the policy neither consumers nor their evidence are needed."""
    text = GOOD.replace("{renew_before: 7d}", "{unproven: {overlap: 10m}}").partition("    consumers:")[0]
    assert config.load(write(text), find=find).specs["dns"].policy.unproven_overlap == timedelta(minutes=10)


def test_a_policy_in_place_is_checked_in_its_place(write: Write) -> None:
    """A credential may carry its policy itself."""
    text = GOOD.replace("    issuer: tokens\n", "    issuer: tokens\n    policy:\n      renew_before: 2d\n      max_age: 9d\n")
    assert config.load(write(text), find=find).specs["dns"].policy.max_age == timedelta(days=9)
    assert problems(write(text.replace("9d", "1d"))) == [
        "r.yaml:11: renew_before 2d is not shorter than max_age 1d: always due"
    ]
    assert problems(write(text.replace("max_age", "max_ag"))) == ["r.yaml:12: unknown key 'max_ag'; did you mean max_age?"]


def test_the_same_name_in_two_files_is_told_with_both_places(write: Write) -> None:
    """Names and single sections may stand once in a directory."""
    directory = write(a=GOOD + "log: {level: info}\n", b=HEAD + "log: {level: debug}\n")
    assert problems(directory) == [
        "b.yaml:2: 'tokens' is declared a second time (first at a.yaml:2)",
        "b.yaml:4: 'files' is declared a second time (first at a.yaml:4)",
        "b.yaml:6: 'default' is declared a second time (first at a.yaml:6)",
        "b.yaml:7: 'log' stands here a second time (first at a.yaml:14)",
    ]


def test_mistakes_of_a_second_file_are_placed_there(write: Write) -> None:
    """Every place names the file that the mistake is in."""
    directory = write(a=GOOD, b="issuers:\n  more: {type: fake, adress: x}\npolicies: {p: {idle: x}}\n")
    assert [line.partition(" ")[0] for line in problems(directory)] == ["b.yaml:2:", "b.yaml:3:"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1\n", "r.yaml:2: this is not YAML: "),
        ("a:\n\tb: 1\n", "r.yaml:2: this is not YAML: "),
        ("a: {b: c://d}\n", "r.yaml:1: unknown key 'a'"),
        ("log: {format: json}\na: [b:c, {d: e:f}, \n", "r.yaml:3: this is not YAML: "),
        ("a: \x01\n", "r.yaml:1: this is not YAML: "),
        ("installation: !x y\n", "r.yaml:1: tags have no meaning here"),
        ("log: *nowhere\n", "r.yaml:1: there is no anchor &nowhere before this place"),
        ("log: {}\n---\nlog: {}\n", "r.yaml:2: a file holds one document"),
        ("log: " + "[" * 100 + "\n", "r.yaml:1: this is nested too deeply"),
        (GOOD + "  - [\n", "r.yaml:15: this is not YAML: "),
    ],
)
def test_what_is_not_yaml_is_told_with_its_line(write: Write, text: str, told: str) -> None:
    """Whatever stands in a file, the answer is a line, never a traceback."""
    assert told in problems(write(text))[0]


def test_text_between_brackets_may_hold_a_colon() -> None:
    """As YAML has it by now: what comes before, and after, and the lines of both, are as they stand."""
    text = "a: [1, x]\nb:\n  - {c: [Zone.DNS:Edit, http://d:1/e], f: g:h}\n  - {i: j}\nk: [l:m]\n"
    document = Document("r.yaml", text)
    read = {key: (line, plain(value)) for key, line, value in document.sections(without="z")}
    assert document.problems == []
    assert read == {
        "a": (1, [1, "x"]),
        "b": (2, [{"c": ["Zone.DNS:Edit", "http://d:1/e"], "f": "g:h"}, {"i": "j"}]),
        "k": (5, ["l:m"]),
    }


def test_unreadable_files_are_mistakes_too(tmp_path: Path) -> None:
    """A missing file, a directory without YAML and bytes that are no text."""
    assert problems(tmp_path / "none.yaml") == ["none.yaml:1: cannot be read: No such file or directory"]
    (tmp_path / "empty").mkdir()
    assert "holds no file that ends in .yaml or .yml" in problems(tmp_path / "empty")[0]
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    assert problems(tmp_path / "x.yaml") == ["x.yaml:1: is not UTF-8 text"]


def test_a_mistyped_field_is_told_as_such(write: Write) -> None:
    """A reader's key that is called TOKEN maps to a field; only what looks like a secret there is taken for one."""
    told = problems(write(GOOD.replace("TOKEN: token", "TOKEN: tokn")))
    assert told[0] == "r.yaml:11: issuer 'tokens' has no field 'tokn' (it has token); did you mean token?"
    told = problems(write(GOOD.replace("TOKEN: token", "TOKEN: hvs.CAESIJ0123456789abcdefgh")))
    assert told[0] == f"r.yaml:11: {literals.WHAT}"
    assert "hvs." not in " ".join(told)


def test_aliases_that_multiply_are_refused_at_once(write: Write) -> None:
    """A few lines that stand for billions of values cost neither memory nor time."""
    rows = ["policies:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert problems(write("\n".join(rows)))[-1].endswith("aliases repeat more here than any configuration needs")


def test_anchors_and_merge_keys_work(write: Write) -> None:
    """YAML's own way to say something once."""
    text = GOOD.replace("default: {renew_before: 7d}", "default: &base {renew_before: 7d}\n  slow: {<<: *base, overlap: 2h}")
    assert config.load(write(text), find=find).policies["slow"].renew_before == timedelta(days=7)


def test_former_names_are_checked(write: Write) -> None:
    """A history goes to one new name only."""
    two = (
        CREDENTIAL.replace("credentials:\n", "")
        .replace("/dns", "/two")
        .replace("name: dns", "name: two\n    renamed_from: old")
    )
    text = GOOD.replace("name: dns", "name: dns\n    renamed_from: old") + two
    assert problems(write(text)) == ["r.yaml:15: renamed_from names 'old', whose history goes to 'dns' already"]


def test_the_environment_overrides_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """ROTATORD_* variables win; without asking for them the environment is not looked at."""
    monkeypatch.setenv("ROTATORD_STATE_DIR", "/env/state")
    monkeypatch.setenv("ROTATORD_LOG_LEVEL", "debug")
    monkeypatch.setenv("ROTATORD_SOCKET", "/env/sock")
    monkeypatch.setenv("ROTATORD_PROBES_LISTEN", "[::]:8080")
    path = write("state_dir: /file/state\napi: {probes: {port: 1}}\n" + GOOD)
    loaded = config.load(path, settings=Settings.from_environment(), find=find)
    assert loaded.api.probes == Address(host="::", port=8080)
    assert (loaded.state_dir, loaded.log.level, loaded.api.socket) == ("/env/state", "debug", "/env/sock")
    assert config.load(path, find=find).state_dir == "/file/state"


def test_a_relative_state_directory_counts_from_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the daemon is started, it and the commands mean the same directory; one in a variable counts from there."""
    path = write("state_dir: state\n" + GOOD)
    monkeypatch.chdir("/")
    assert config.load(path, find=find).state_dir == str(path.parent / "state")
    monkeypatch.setenv("ROTATORD_STATE_DIR", "elsewhere")
    assert config.load(path, settings=Settings.from_environment(), find=find).state_dir == "/elsewhere"


def test_bad_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with what is wrong, all at once."""
    monkeypatch.setenv("ROTATORD_LOG_LEVEL", "loud")
    monkeypatch.setenv("ROTATORD_TCP_LISTEN", "nowhere")
    with pytest.raises(ConfigError) as caught:
        Settings.from_environment()
    assert str(caught.value) == (
        "environment variable ROTATORD_LOG_LEVEL: should be 'debug', 'info', 'warning' or 'error'\n"
        "environment variable ROTATORD_TCP_LISTEN: should be host:port, such as 127.0.0.1:8080"
    )


def test_the_example_of_the_manual_is_fine_with_the_plugins_that_are_installed(write: Write) -> None:
    """What people copy works: loaded with the real entry points."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "configuration.md").read_text()
    example = page.partition("<!-- example: loaded by a test -->\n```yaml\n")[2].partition("```")[0]
    loaded = config.load(write(example))
    assert loaded.specs["reports-reader"].policy.name == "production"


def test_the_manual_knows_every_key() -> None:
    """Every key of every section, and every variable, has its row, with a meaning."""
    drawn = manual.tables()
    for title, key in manual.every_key():
        section = drawn.partition(f"### {title}\n")[2].partition("### ")[0]
        assert f"| `{key}` | " in section
    assert "|  |  |  |" not in drawn


SLOW = """\
import sys
sys.modules["_ruamel_yaml"] = None  # as where it was not compiled
from fake_plugins import find
from rotatord import config
from rotatord.errors import ConfigError
from rotatord.configuration import document
assert document.CParser is None
for path in sys.argv[1:]:
    try:
        print(*config.load(path, find=find).specs)
    except ConfigError as error:
        print(error)
"""


def test_a_slow_parser_says_the_same(tmp_path: Path) -> None:
    """Where there is no compiled parser, values and places are alike."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(GOOD)
    bad.write_text(GOOD.replace("renew_before", "renew_befor"))
    with pytest.raises(ConfigError) as caught:
        config.load(bad, find=find)
    command = [sys.executable, "-c", SLOW, str(good), str(bad)]
    answer = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.splitlines() == ["dns", *str(caught.value).splitlines()]


def test_two_receivers_of_one_name_are_a_mistake(write: Write) -> None:
    """Their names tell them apart in logs."""
    receiver = "{url: 'https://x', secret: {env: X}}"
    assert "two receivers have the same name" in problems(write(f"notices: [{receiver}, {receiver}]\n" + GOOD))[0]


def test_everything_but_the_credentials_can_be_had_alone(write: Write) -> None:
    """The same digest, the same issuers, no credential looked at."""
    path = write(GOOD.replace("issuer: tokens", "issuer: nowhere"))
    head = config.load(path, find=find, credentials=False)
    assert (head.specs, set(head.issuers), set(head.policies)) == ({}, {"tokens"}, {"default"})
    path.write_text(GOOD)
    assert config.load(path, find=find, credentials=False).digest == config.load(path, find=find).digest != head.digest


def test_the_stamp_changes_with_the_files(write: Write) -> None:
    """New text, a new file and a file that went are seen without reading any."""
    directory = write(a=GOOD, b="")
    first = config.stamp(directory)
    assert config.stamp(directory) == first
    write(b="log: {}\n")
    second = config.stamp(directory)
    (directory / "b.yaml").unlink()
    assert len({first, second, config.stamp(directory), config.stamp(directory / "none")}) == 4


SCRAPS = st.sampled_from(
    [
        "{",
        "}",
        "[",
        "]",
        ":",
        " ",
        "\n",
        "- ",
        "~",
        "&a ",
        "*a",
        "<<: ",
        "!!str ",
        "'",
        '"',
        "|",
        "0",
        "-1",
        "1e9",
        "true",
        "\t",
        "#",
        "---\n",
        "é",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def lost(text: str) -> list[Problem]:
    """Loads a text; the problems without a place. Anything else than ConfigError escapes and fails the test."""
    with TemporaryDirectory() as directory:
        path = Path(directory, "r.yaml")
        path.write_text(text)
        try:
            config.load(path, find=find)
        except ConfigError as error:
            return [problem for problem in error.problems if not problem.place.startswith(f"{path}:")]
    return []


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, len(GOOD)), cut=st.integers(0, 12), scraps=st.lists(SCRAPS, max_size=4))
def test_no_text_is_answered_with_anything_but_lines(place: int, cut: int, scraps: list[str]) -> None:
    """However a file is mangled, the answer is a list of places and sentences."""
    assert lost(GOOD[:place] + "".join(scraps) + GOOD[place + cut :]) == []


PLACES = sorted(
    {(section, key) for section, model in (("head", HeadSection), ("policy", PolicySection)) for key in model.model_fields}
    | {("credential", key) for key in CredentialSection.model_fields}
    | {("destination", key) for key in DestinationSection.model_fields}
    | {("consumer", key) for key in ConsumerSection.model_fields}
)


@settings(max_examples=300, deadline=None)
@given(place=st.sampled_from(PLACES), value=JSON)
def test_no_value_anywhere_is_answered_with_anything_but_lines(place: tuple[str, str], value: object) -> None:
    """Whatever stands at whatever key."""
    section, key = place
    consumer: dict[str, object] = {"type": "observe", "refresh_within": "1m"}
    destination: dict[str, object] = {"backend": "files", "path": "/dns", "keys": {"TOKEN": "token"}}
    credential: dict[str, object] = {"name": "dns", "issuer": "tokens", "destinations": [destination], "consumers": [consumer]}
    policy: dict[str, object] = {"renew_before": "7d"}
    whole: dict[str, object] = {
        "issuers": {"tokens": {"type": "fake"}},
        "backends": {"files": {"type": "fake"}},
        "policies": {"default": policy},
        "credentials": [credential],
    }
    chosen = {"head": whole, "policy": policy, "credential": credential, "destination": destination, "consumer": consumer}[
        section
    ]
    chosen[key] = value
    assert lost(json.dumps(whole, ensure_ascii=False)) == []
