"""What a token at Cloudflare may do, in words: understood, refused with what comes nearest, and read back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from issuers.cloudflare import CloudflareTokens, create
from rotatord.cloudflare_formats import SCANNABLE, WHOLE, recognise
from rotatord.cloudflare_labels import LONGEST, label_of, name_of
from rotatord.cloudflare_scope import condition_of, condition_seen, flat, permission, problems
from rotatord.cloudflare_templates import TEMPLATES
from rotatord.errors import Denied, Invalid
from rotatord.model import JsonMap
from rotatord.ports import Accepted, MintRequest, Query, Surroundings
from rotatord.rights import CloudflareRight
from rotatord.testing.cloudflare import FakeCloudflare, Group, Habits, RunningClock, Said, named
from rotatord.testing.cloudflare.catalogue import WORKERS

DNS: JsonMap = {"permissions": ["Zone.DNS:Edit"], "resources": ["zone/example.com"]}
ZONE, ACCOUNT, BUCKET = "com.cloudflare.api.account.zone", "com.cloudflare.api.account", "com.cloudflare.edge.r2.bucket"
USER = "com.cloudflare.api.user"
WRITE, READ, PURGE = (named(name).id for name in ("DNS Write", "DNS Read", "Cache Purge"))


@pytest.fixture
def cloudflare() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(clock=RunningClock(0), zones=("example.com", "example.org")) as started:
        yield started


def issuer_of(cloudflare: FakeCloudflare, owner: str = "account", /, *looks: str, **more: Any) -> CloudflareTokens:
    """An issuer whose own token may look at what it needs."""
    around = Surroundings(installation="here", state_dir="", now=cloudflare.clock.now, secret=str)
    parent = cloudflare.parent_token(*(looks or ("Zone Read", "Account Settings Read")), owner=owner)  # type: ignore[arg-type]
    account = {"account_id": cloudflare.account_id} if owner == "account" else {}
    return create({"token": parent.value, "endpoint": cloudflare.url, "allow_private": True, **account, **more}, around)


def request(scope: JsonMap, **more: Any) -> MintRequest:
    known: dict[str, Any] = {
        "installation": "here",
        "credential": "dns",
        "rotation": "rot_1",
        "generation": 1,
        "parameters": {},
    }
    return MintRequest(**{**known, "scope": scope, **more})


def sent(issuer: CloudflareTokens, scope: JsonMap, **more: Any) -> JsonMap:
    """The body that would be sent."""
    body: JsonMap = issuer.preview(request(scope, **more))["body"]
    return body


# --- words ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "level", "name"),
    [
        ("Zone.DNS:Edit", "zone", "DNS Write"),
        ("zone.dns:edit", "zone", "dns Write"),
        ("DNS Write", "", "DNS Write"),
        ("DNS Edit", "", "DNS Write"),
        ("DNS:Read", "", "DNS Read"),
        ("Cache Purge", "", "Cache Purge"),
        ("Zone.Cache Purge:Purge", "zone", "Cache Purge"),
        ("Account.Load Balancing: Monitors and Pools:Edit", "account", "Load Balancing: Monitors and Pools Write"),
        ("Access: Apps and Policies Read", "", "Access: Apps and Policies Read"),
        ("R2.Workers R2 Storage Bucket Item:Read", "r2", "Workers R2 Storage Bucket Item Read"),
    ],
)
def test_a_permission_is_said_as_the_dashboard_or_the_api_says_it(word: str, level: str, name: str) -> None:
    """Edit is Write; levels go before a dot; names of the API stand as they are."""
    found = permission(word)
    assert found.level == level
    assert name in found.names


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        ({}, "one of: permissions with resources, allow, or template"),
        ({**DNS, "template": "dns-edit", "zone": "example.com"}, "one of"),
        ({"permissions": ["DNS Write"]}, "belong together"),
        ({"template": "dns-edt", "zone": "example.com"}, "did you mean dns-edit?"),
        ({"template": "dns-edit"}, "needs zone"),
        ({"template": "dns-edit", "zone": "example.com", "bucket": "a"}, "no use for bucket"),
        ({**DNS, "zone": "example.com"}, "belongs to a template"),
        ({"permissions": ["DNS Write"], "resources": ["zones/example.com"]}, "should be zone/NAME"),
        ({**DNS, "ip_allow": ["203.0.113.1/24"]}, "outside its mask"),
        ({**DNS, "not_before": "2026-12-01"}, "no time zone"),
        ({**DNS, "not_before": "soon"}, "not a time"),
        ({**DNS, "resource": []}, "did you mean resources?"),
        ({"template": "r2-read", "bucket": "Not A Bucket"}, "should be zone/NAME"),
    ],
)
def test_mistakes_are_told_without_asking_cloudflare(scope: JsonMap, says: str) -> None:
    """Each is a sentence that says what would be right."""
    found = problems(scope)
    assert any(says in sentence for sentence in found), found


def test_a_scope_becomes_policies_of_ids(cloudflare: FakeCloudflare) -> None:
    """One policy for each kind of resource; all zones of an account stand below it, alone."""
    issuer = issuer_of(cloudflare)
    zone, account = cloudflare.zones["example.com"], cloudflare.account_id
    assert sent(issuer, DNS)["policies"] == [
        {"effect": "allow", "permission_groups": [{"id": WRITE}], "resources": {f"{ZONE}.{zone}": "*"}}
    ]
    mixed = {
        "allow": [
            {
                "permissions": ["DNS Read", "Zone.Cache Purge", "Account.Workers Scripts:Edit"],
                "resources": ["zone/*", "account"],
            },
            {"permissions": ["Workers R2 Storage Bucket Item Read"], "resources": ["r2/media", "r2/eu/media"]},
        ],
        "deny": [{"permissions": [WRITE], "resources": [f"zone/{zone}", "zone/example.org"]}],
    }
    policies = sent(issuer, mixed)["policies"]
    assert {
        "effect": "allow",
        "permission_groups": [{"id": READ}, {"id": PURGE}],
        "resources": {f"{ACCOUNT}.{account}": {f"{ZONE}.*": "*"}},
    } in policies
    assert [policy["resources"] for policy in policies if f"{BUCKET}.{account}_default_media" in policy["resources"]] == [
        {f"{BUCKET}.{account}_default_media": "*", f"{BUCKET}.{account}_eu_media": "*"}
    ]
    (denied,) = [policy for policy in policies if policy["effect"] == "deny"]
    assert set(denied["resources"]) == {f"{ZONE}.{zone}", f"{ZONE}.{cloudflare.zones['example.org']}"}
    assert len(policies) == 4


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_every_template_can_be_minted(name: str, cloudflare: FakeCloudflare) -> None:
    """With what it needs, and with all that it takes; what the token may do is seen to be just that."""
    cloudflare.add_bucket("media")
    cloudflare.add_worker("edge")
    issuer = issuer_of(cloudflare, "account", "Zone Read", "Account Settings Read", "Workers Scripts Read")
    values = {"zone": "example.com", "account": "Example Ltd", "bucket": "media", "worker": "edge"}
    for given in (TEMPLATES[name].needs, (*TEMPLATES[name].needs, *TEMPLATES[name].takes)):
        scope = {"template": name, **{key: values[key] for key in given}}
        assert list(issuer.check(scope, {})) == []
        assert list(issuer.preflight(scope, {})) == []
        minted = issuer.mint(request(scope), None)
        assert issuer.probe(minted.fields, {"scope": scope}) == Accepted(scope=scope, ref=minted.ref)


# --- names that are not there, or several times -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "says"),
    [
        ({**DNS, "permissions": ["Zone.DNZ:Edit"]}, "did you mean Zone.DNS:Edit"),
        ({**DNS, "permissions": ["DNS Wriet"]}, "did you mean DNS Write"),
        ({**DNS, "permissions": ["0" * 32]}, "has no permission"),
        ({**DNS, "resources": ["zone/exmaple.com"]}, "did you mean example.com"),
        ({**DNS, "resources": ["account"]}, "is for zone/..., and none of account is that"),
        (
            {"permissions": ["DNS Write"], "resources": ["zone/example.com", "account"]},
            "none of the permissions is for account",
        ),
        ({**DNS, "resources": ["account/Other Ltd/zone/*"]}, "cannot have account 'Other Ltd'"),
        ({"permissions": ["User Details Read"], "resources": ["user"]}, "a token of an account is nobody's"),
        ({"permissions": ["Account Settings Read"], "resources": ["account/*"]}, "write account"),
    ],
)
def test_what_cloudflare_does_not_have_is_refused_with_what_comes_nearest(
    scope: JsonMap, says: str, cloudflare: FakeCloudflare
) -> None:
    """By a sentence before, and Invalid at mint; nothing is made."""
    issuer = issuer_of(cloudflare)
    found = list(issuer.preflight(scope, {}))
    assert any(says in sentence for sentence in found), found
    with pytest.raises(Invalid):
        issuer.mint(request(scope), None)
    assert list(issuer.find(Query(installation="here", credential="dns"))) == []


def test_a_name_of_two_groups_is_decided_by_its_level_or_its_resources(cloudflare: FakeCloudflare) -> None:
    """Else it is refused, with the ids to choose from."""
    issuer = issuer_of(cloudflare)
    by_level = sent(issuer, {"permissions": ["Zone.Logs:Read"], "resources": ["zone/example.com"]})
    by_resource = sent(issuer, {"permissions": ["Logs Read"], "resources": ["zone/example.com"]})
    assert flat(by_level["policies"]) == flat(by_resource["policies"])
    assert "account" in by_level["policies"][0]["resources"].popitem()[0]
    cloudflare.add_group(replace(named("DNS Write"), id="1" * 32))
    with pytest.raises(Invalid, match=f"means several: .*{WRITE}.*{'1' * 32}"):
        sent(issuer_of(cloudflare), DNS)
    assert sent(issuer_of(cloudflare), {**DNS, "permissions": [WRITE]})["policies"]


def test_a_zone_in_two_accounts_is_named_by_its_id(cloudflare: FakeCloudflare) -> None:
    """A user may see both; a token of an account only its own."""
    other = cloudflare.add_account("Other Ltd")
    theirs = cloudflare.add_zone("example.com", other)
    policies = [
        {
            "effect": "allow",
            "permission_groups": [{"id": named("API Tokens Write").id}],
            "resources": {f"{USER}.{cloudflare.user_id}": "*"},
        },
        {"effect": "allow", "permission_groups": [{"id": named("Zone Read").id}], "resources": {f"{ZONE}.*": "*"}},
    ]
    made = cloudflare.ask(
        "POST", "/user/tokens", headers=cloudflare.global_key.headers, body={"name": "all", "policies": policies}
    )
    user = issuer_of(cloudflare, "user", token=made.result["value"])
    (sentence,) = user.preflight(DNS, {})
    assert "several accounts" in sentence
    assert theirs.id in sentence
    assert list(user.preflight({**DNS, "resources": [f"zone/{theirs.id}"]}, {})) == []
    one = issuer_of(cloudflare, "user", token=made.result["value"], account_id=cloudflare.account_id, kind="user")
    assert theirs.id not in str(sent(one, DNS))


def test_what_is_new_is_found_at_once_and_what_was_renamed_within_the_age(cloudflare: FakeCloudflare) -> None:
    """A group or zone that is missing is asked for again; a catalogue is remembered no longer than told."""
    issuer = issuer_of(cloudflare, catalogue_age="10m")
    assert list(issuer.preflight(DNS, {})) == []
    fresh: JsonMap = {"permissions": ["Zone.Brand New:Edit"], "resources": ["zone/example.net"]}
    assert len(issuer.preflight(fresh, {})) >= 1
    cloudflare.add_group(Group("2" * 32, "Brand New Write", ZONE, "other"))
    cloudflare.add_zone("example.net")
    cloudflare.advance(31)
    assert list(issuer.preflight(fresh, {})) == []
    cloudflare.rename_group(WRITE, "Domain Names Write")
    assert list(issuer.preflight(DNS, {})) == []
    cloudflare.advance(601)
    (sentence,) = issuer.preflight(DNS, {})
    assert "has no permission 'Zone.DNS:Edit'" in sentence


def test_looking_names_up_costs_nothing_the_second_time(cloudflare: FakeCloudflare) -> None:
    """Only the mint itself is a request then."""
    issuer = issuer_of(cloudflare)
    issuer.mint(request(DNS), None)
    before = len(cloudflare.book.calls)
    issuer.sent()
    issuer.mint(request(DNS, rotation="rot_2"), None)
    assert len(cloudflare.book.calls) == before + 1
    assert issuer.sent() == 1


def test_a_look_up_that_is_not_allowed_is_a_sentence(cloudflare: FakeCloudflare) -> None:
    """It says what to do: name it by its id, or let our token read it."""
    issuer = issuer_of(cloudflare, "account", "DNS Read")
    cloudflare.faults.clear()
    (sentence,) = issuer.preflight({**DNS, "resources": ["account/Example Ltd/zone/*"]}, {})
    assert "cannot be looked up" in sentence
    assert "by its id" in sentence


# --- conditions, names, formats ----------------------------------------------------------------------------------------------


def test_an_empty_condition_is_never_sent() -> None:
    """It would lock the token out of everywhere; addresses are sent as networks."""
    assert condition_of({}) is None
    assert condition_of({"ip_allow": [], "ip_deny": []}) is None
    assert condition_of({"ip_allow": ["203.0.113.7"]}) == {"request_ip": {"in": ["203.0.113.7/32"]}}
    assert condition_of({"ip_deny": ["2001:db8::/32"]}) == {"request_ip": {"not_in": ["2001:db8::/32"]}}


@pytest.mark.parametrize("spelling", ["request_ip", "request.ip"])
def test_both_spellings_of_a_condition_are_read(spelling: str) -> None:
    """And what is empty in them is left out."""
    assert condition_seen({"condition": {spelling: {"in": ["203.0.113.0/24"], "not_in": []}}}) == {"in": ["203.0.113.0/24"]}
    assert condition_seen({"condition": {spelling: None}}) == condition_seen({"condition": {}}) == condition_seen({}) == {}


@pytest.mark.parametrize("spelling", ["request_ip", "request.ip"])
def test_what_is_seen_is_compared_as_sets(spelling: Any) -> None:
    """Order of policies, groups and addresses, and the spelling of a single address, mean nothing; anything else shows."""
    with FakeCloudflare(clock=RunningClock(0), habits=Habits(condition_spelling=spelling)) as cloudflare:
        issuer = issuer_of(cloudflare)
        scope: JsonMap = {
            "permissions": ["Cache Purge", "DNS Write", "DNS Read"],
            "resources": ["zone/example.com"],
            "ip_allow": ["203.0.113.7", "198.51.100.0/24"],
            "ip_deny": ["198.51.100.9/32"],
            "not_before": "2026-01-01T00:00:00Z",
        }
        minted = issuer.mint(request(scope, ttl=timedelta(days=7)), None)
        answer = issuer.probe(minted.fields, {"scope": scope})
        assert isinstance(answer, Accepted)
        assert answer.scope == scope
        other = {**scope, "permissions": ["DNS Write", "DNS Read"], "ip_allow": ["198.51.100.0/24"]}
        seen = issuer.probe(minted.fields, {"scope": other})
        assert isinstance(seen, Accepted)
        assert seen.scope is not None
        assert sorted(seen.scope["permissions"]) == ["Zone.Cache Purge", "Zone.DNS:Edit", "Zone.DNS:Read"]
        assert set(seen.scope["ip_allow"]) == {"203.0.113.7/32", "198.51.100.0/24"}
        assert seen.scope["resources"] == ["zone/example.com"]


def test_what_somebody_changed_shows() -> None:
    """More permissions, another condition, or none: a probe sees it."""
    with FakeCloudflare(clock=RunningClock(0)) as cloudflare:
        issuer = issuer_of(cloudflare)
        scope = {**DNS, "ip_allow": ["203.0.113.0/24"]}
        minted = issuer.mint(request(scope), None)
        cloudflare.change(minted.ref.rpartition("/")[2], condition=None)
        answer = issuer.probe(minted.fields, {"scope": scope})
        assert isinstance(answer, Accepted)
        assert answer.scope is not None
        assert "ip_allow" not in answer.scope


def test_names_carry_whose_a_token_is_in_120_characters() -> None:
    """Short ones plainly; of long ones a digest, by which they are found all the same."""
    name = name_of("here", "dns", "rot_0123456789abcdef", 12)
    assert name == "rotatord:here:dns:rot_0123456789abcdef:12"
    label = label_of(name)
    assert label is not None
    assert label.of("here", "dns", None)
    assert label.of("here", "dns", "rot_0123456789abcdef")
    assert not label.of("here", "dns", "rot_0")
    assert not label.of("there", "dns", None)
    for installation, credential in (("i" * 127, "c" * 127), ("here", "c" * 127), ("i" * 100, "c"), ("a:b", "~c")):
        name = name_of(installation, credential, "rot_0123456789abcdef", 1)
        assert len(name) <= LONGEST
        label = label_of(name)
        assert label is not None
        assert label.of(installation, credential, "rot_0123456789abcdef")
        assert not label.of(installation, f"{credential}x", None)
    with pytest.raises(Invalid):
        name_of("here", "dns", "r" * 200, 1)
    for other in ("dashboard", "rotatord:", "rotatord:a:b:c:d", "rotatord:a:b:c", "rotatord:::rot:1"):
        assert label_of(other) is None


def test_long_names_are_found_and_told_by_who_has_met_them(cloudflare: FakeCloudflare) -> None:
    """An installation that has not says nothing of whose it is, rather than something wrong."""
    issuer, long = issuer_of(cloudflare), "c" * 120
    minted = issuer.mint(request(DNS, credential=long), None)
    (live,) = issuer.find(Query(installation="here", credential=long, rotation="rot_1"))
    assert (live.ref, live.credential, live.installation) == (minted.ref, long, "here")
    (listed,) = issuer_of(cloudflare).inventory()[:1] or [None]
    fresh = {item.ref: item for item in issuer_of(cloudflare).inventory()}
    assert fresh[minted.ref].credential == ""
    assert listed is not None


@pytest.mark.parametrize(
    ("value", "kind", "legacy", "intact"),
    [
        ("cfut_" + "a" * 48, "user", False, False),
        ("cfat_" + "a" * 40 + "00000000", "account", False, False),
        ("cfk_" + "a" * 48, "global_key", False, False),
        ("cfoat_" + "a" * 48, "oauth", False, None),
        ("YQSn-xWAQiiEh9qM58wZNnyQS7FUdoqGIUAbrh7T", "token", True, None),
        ("0123456789abcdef0123456789abcdef01234", "global_key", True, None),
        (f"v1.0-{'a' * 24}-{'b' * 146}", "origin_ca_key", False, None),
        ("password", "unknown", False, None),
    ],
)
def test_formats_are_told_apart(value: str, kind: str, legacy: bool, intact: bool | None) -> None:
    """By prefix or length; no answer quotes the value."""
    form = recognise(value)
    assert (form.kind, form.legacy, form.intact) == (kind, legacy, intact)
    assert value not in form.warning


def test_checksums_are_the_crc_of_the_forty(cloudflare: FakeCloudflare) -> None:
    """What the fake makes, by the published recipe, is intact; one letter less is not, and is no whole value."""
    import re

    for owner in ("account", "user"):
        value = cloudflare.token("DNS Read", owner=owner).value  # type: ignore[arg-type]
        assert recognise(value).intact is True
        assert recognise(value).warning == ""
        assert SCANNABLE.fullmatch(value)
        assert re.fullmatch(WHOLE, value)
        assert recognise(value[:-1] + ("0" if value[-1] != "0" else "1")).intact is False
        assert not re.fullmatch(WHOLE, value[:-1])
    assert re.fullmatch(WHOLE, cloudflare.token("DNS Read", old=True).value)


# --- rights ------------------------------------------------------------------------------------------------------------------


def test_rights_are_no_more_than_the_scope_needs(cloudflare: FakeCloudflare) -> None:
    """Under exactly those a token is made; each of them is needed."""
    issuer, account = issuer_of(cloudflare), cloudflare.account_id
    rights = list(issuer.rights({"template": "dns-edit-by-name", "zone": "example.com"}, {}))
    assert rights == [
        CloudflareRight("Account.Account API Tokens:Edit", f"account/{account}"),
        CloudflareRight("Zone.Zone:Read", "zone/example.com"),
        CloudflareRight("Zone.DNS:Edit", "zone/example.com"),
    ]
    assert list(issuer.rights({"permissions": ["DNS Read"], "resources": ["zone/*"]}, {})) == rights[:1]
    user = issuer_of(cloudflare, "user")
    wanted = {"permissions": ["User Details Read"], "resources": ["user"]}
    assert [right.permission for right in user.rights(wanted, {})] == ["User.API Tokens:Edit", "User.User Details:Read"]


def test_of_a_single_zone_an_account_hands_on_what_it_holds() -> None:
    """Cloudflare's refusal says which permission is missing; with the rights as printed nothing is."""
    with FakeCloudflare(clock=RunningClock(0), habits=Habits(creator_holds_zones=True)) as cloudflare:
        bare = issuer_of(cloudflare, "account", "Zone Read")
        with pytest.raises(Denied, match=r"DNS Write.*does not hold itself"):
            bare.mint(request(DNS), None)
        assert issuer_of(cloudflare, "account", "Zone Read", "DNS Write").mint(request(DNS), None)
        assert bare.mint(request({**DNS, "resources": ["zone/*"]}), None)


def test_a_code_that_nobody_knows_is_told_as_it_is(cloudflare: FakeCloudflare) -> None:
    """Words of Cloudflare's that we have not seen reach the person who has to understand them."""
    from rotatord.testing.cloudflare import Refuse

    issuer = issuer_of(cloudflare)
    cloudflare.faults.plan("accounts.tokens.create", Refuse(Said(400, 4711, "the moon is in the wrong phase")))
    with pytest.raises(Invalid, match="4711 the moon is in the wrong phase"):
        issuer.mint(request(DNS), None)


# --- single Workers --------------------------------------------------------------------------------------------------------


def test_a_token_for_one_worker_is_made_proven_and_read_back(cloudflare: FakeCloudflare) -> None:
    """By the Worker's name; it stands below its account, by its tag."""
    tag = cloudflare.add_worker("edge")
    issuer = issuer_of(cloudflare, "account", "Zone Read", "Workers Scripts Read")
    scope: JsonMap = {"template": "worker-deploy-one", "worker": "edge"}
    assert list(issuer.check(scope, {})) == list(issuer.preflight(scope, {})) == []
    (policy,) = sent(issuer, scope)["policies"]
    key = "com.cloudflare.edge.worker.script"
    assert policy["resources"] == {f"{ACCOUNT}.{cloudflare.account_id}": {f"{key}.{tag}": "*"}}
    assert policy["permission_groups"] == [{"id": named("Individual Workers Editor", groups=WORKERS).id}]
    made = issuer.mint(request(scope), None)
    cloudflare.settle()
    seen = issuer.probe(made.fields, {"scope": scope})
    assert isinstance(seen, Accepted)
    assert seen.scope == scope
    other = issuer.probe(made.fields, {"scope": DNS})
    assert isinstance(other, Accepted)
    assert other.scope == {"permissions": ["Worker.Individual Workers Editor"], "resources": ["worker/edge"]}
    again = {"permissions": ["Worker.Individual Workers Editor"], "resources": [f"worker/{tag}"]}
    assert sent(issuer, again)["policies"] == [policy]


def test_a_worker_that_is_not_there_is_refused(cloudflare: FakeCloudflare) -> None:
    """Before anything is made; one that was uploaded meanwhile is found; and a user's token cannot be limited to one."""
    issuer = issuer_of(cloudflare, "account", "Zone Read", "Workers Scripts Read")
    scope: JsonMap = {"permissions": ["Individual Workers Editor"], "resources": ["worker/edge"]}
    cloudflare.add_worker("egde")
    assert "no Worker 'edge'" in (sentence := "; ".join(issuer.preflight(scope, {})))
    assert "upload it first; did you mean egde?" in sentence
    cloudflare.add_worker("edge")
    cloudflare.advance(60)
    assert list(issuer.preflight(scope, {})) == []
    assert "only tokens of an account" in "; ".join(issuer_of(cloudflare, "user").preflight(scope, {}))
    assert "cannot be looked up" in "; ".join(issuer_of(cloudflare).preflight(scope, {}))
    looks = CloudflareRight("Account.Workers Scripts:Read", f"account/{cloudflare.account_id}")
    assert looks in issuer.rights(scope, {})
    assert looks not in issuer.rights({**scope, "resources": ["account"]}, {})
