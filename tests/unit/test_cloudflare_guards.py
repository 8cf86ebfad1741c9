"""How a token at Cloudflare could be lost, widened or taken for dead by something unforeseen, each made to happen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from issuers.cloudflare import CloudflareTokens, Settings
from rotatord.cloudflare_catalogue import Catalogue, Group, Resource
from rotatord.cloudflare_client import Calls, Cloudflare, Family
from rotatord.cloudflare_errors import Answer, error_of
from rotatord.cloudflare_labels import label_of
from rotatord.cloudflare_scope import Grant, flat, problems, time_of
from rotatord.cloudflare_tokens import Tokens
from rotatord.errors import Denied, Invalid, Retryable
from rotatord.model import JsonMap
from rotatord.ports import Accepted, Inconclusive, Query, RefusedVerdict, Surroundings
from rotatord.secret import Secret
from rotatord.testing.clock import VirtualClock
from rotatord.testing.cloudflare import FakeCloudflare, Garbled, Lags, RunningClock
from rotatord.testing.cloudflare.faults import Fault
from rotatord.testing.cloudflare.outgoing import InMemory
from rotatord.testing.wires import Reply, Wire
from tests.unit.test_cloudflare_tokens import DNS, _request, issuer_of, minted, shown

TOKEN = "0123456789abcdef0123456789abcdef"
GROUP = "4755a26eedb94da69e1066d98aa820be"


@pytest.fixture
def cloudflare() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(clock=RunningClock(0)) as started:
        yield started


class Kept:
    """A server that keeps what it is sent, as far as it understands it."""

    def __init__(self, token: JsonMap, *, understands: bool = True) -> None:
        self.token = token
        self.sent: list[JsonMap] = []
        self._understands = understands

    def get(self, path: str) -> JsonMap:
        assert path.endswith(self.token["id"])
        return self.token

    def thing(self, method: str, path: str, *, body: JsonMap) -> JsonMap:
        self.sent.append(body)
        kept = body if self._understands else {**body, "condition": {"request_ip": body["condition"]["request_ip"]}}
        return {"id": self.token["id"], **kept}


def held(**more: Any) -> JsonMap:
    policy = {"id": "1", "effect": "allow", "permission_groups": [{"id": GROUP}], "resources": {"zone": "*"}}
    return {"id": TOKEN, "name": "dns", "status": "active", "policies": [policy], **more}


def tokens_at(server: Kept) -> Tokens:
    return Tokens(server, Family())  # type: ignore[arg-type]


# --- switched off and on -------------------------------------------------------------------------------------------


def test_what_we_do_not_know_of_a_condition_is_not_dropped() -> None:
    """A kind of condition that Cloudflare comes to invent: left out of the replacement, the token would be let in where it is
    not."""
    server = Kept(held(condition={"request_ip": {"in": ["203.0.113.0/24"]}, "request_country": {"in": ["NL"]}}))
    tokens_at(server).set_status(TOKEN, "disabled")
    assert server.sent[0]["condition"] == server.token["condition"]
    alone = Kept(held(condition={"request_country": {"in": ["NL"]}}))
    tokens_at(alone).set_status(TOKEN, "disabled")
    assert alone.sent[0]["condition"] == alone.token["condition"]


def test_what_we_do_not_know_of_a_policy_is_not_dropped() -> None:
    """It may be what limits it."""
    token = held()
    token["policies"][0]["until"] = "2027-01-01T00:00:00Z"
    server = Kept(token)
    tokens_at(server).set_status(TOKEN, "disabled")
    (policy,) = server.sent[0]["policies"]
    assert policy["until"] == "2027-01-01T00:00:00Z"
    assert "id" not in policy


def test_a_condition_that_is_not_kept_is_told() -> None:
    """Cloudflare took the request and dropped a part: whoever has to know learns of it."""
    token = held(condition={"request_ip": {"in": ["203.0.113.0/24"]}, "request_country": {"in": ["NL"]}})
    with pytest.raises(Invalid, match="otherwise than it was sent"):
        tokens_at(Kept(token, understands=False)).set_status(TOKEN, "disabled")


@pytest.mark.parametrize("lacking", [{"policies": []}, {"policies": None}, {"name": ""}])
def test_half_a_token_is_not_sent_again(lacking: JsonMap) -> None:
    """What is left out of the replacement is gone, with "success": half an answer must not become the whole token."""
    server = Kept(held(**lacking))
    with pytest.raises(Retryable, match="half of it"):
        tokens_at(server).set_status(TOKEN, "disabled")
    assert server.sent == []


def test_old_news_keeps_nobody_switched_off() -> None:
    """Right after it was switched off, an edge that has not heard of it says that it is on: that is not believed."""
    for seed in range(6):
        with FakeCloudflare(seed=seed, clock=RunningClock(0), lags=Lags(listing=60.0)) as cloudflare:
            issuer = issuer_of(cloudflare)
            made = minted(issuer)
            cloudflare.advance(120)
            issuer.suspend(made.ref, {})
            issuer.resume(made.ref, {})
            cloudflare.advance(120)
            assert shown(cloudflare, made.ref)["status"] == "active"


# --- our own -------------------------------------------------------------------------------------------------------


def test_the_token_that_we_use_ourselves_is_never_ended(cloudflare: FakeCloudflare) -> None:
    """One token for rotatord and for a program: switched off by itself it could not be switched on again by anybody here."""
    parent = cloudflare.parent_token("Zone Read", "DNS Write")
    issuer = issuer_of(cloudflare, parent)
    ref = f"account/{cloudflare.account_id}/{parent.id}"
    with pytest.raises(Retryable, match="rotatord itself uses"):
        issuer.suspend(ref, {})
    with pytest.raises(Retryable, match="rotatord itself uses"):
        issuer.revoke(ref, None, {})
    assert cloudflare.find(parent.id).grant is not None
    other = cloudflare.parent_token("Zone Read")
    issuer_of(cloudflare, other).revoke(ref, None, {})
    assert cloudflare.find(parent.id).grant is None


def test_who_we_are_is_asked_once(cloudflare: FakeCloudflare) -> None:
    """Of a value that does not change it does not change either; another one is asked for anew."""
    parents = [cloudflare.parent_token("Zone Read") for _ in range(2)]
    value = [parents[0].value]
    issuer = issuer_of(cloudflare, parents[0])
    issuer._api._secret = lambda _: value[0]
    versions = [minted(issuer, rotation=f"rot_{number}") for number in range(3)]
    before = len([call for call in cloudflare.book.calls if call.operation.endswith("verify")])
    for version in versions:
        issuer.revoke(version.ref, None, {})
    asked = [call for call in cloudflare.book.calls if call.operation.endswith("verify")]
    assert len(asked) - before == 1
    value[0] = parents[1].value
    issuer.revoke(f"account/{cloudflare.account_id}/{parents[0].id}", None, {})
    with pytest.raises(Retryable):
        issuer.revoke(f"account/{cloudflare.account_id}/{parents[1].id}", None, {})


def test_trouble_on_the_way_is_not_an_unknown_token(cloudflare: FakeCloudflare) -> None:
    """Whoever is woken looks where the trouble is, and not at a token that is as it should be."""
    issuer = issuer_of(cloudflare)
    cloudflare.faults.plan("accounts.tokens.verify", Garbled(b"<html>", 502, "text/html"))
    with pytest.raises(Retryable, match="502"):
        issuer.own_life()


# --- verdicts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("active", Accepted),
        ("disabled", RefusedVerdict),
        ("expired", RefusedVerdict),
        ("revoked", RefusedVerdict),
        ("pending", Inconclusive),
        ("Active", Inconclusive),
        (None, Inconclusive),
    ],
)
def test_a_status_that_nobody_knows_proves_nothing(status: str | None, verdict: type, cloudflare: FakeCloudflare) -> None:
    """Neither that it works nor that it is dead."""
    import json

    theirs = cloudflare.token("DNS Read", owner="user", old=True)
    issuer = issuer_of(cloudflare, owner="user")
    body = {"success": True, "errors": [], "messages": [], "result": {"id": theirs.id, "status": status}}
    cloudflare.faults.plan("user.tokens.verify", Garbled(json.dumps(body).encode(), 200, "application/json"), times=None)
    assert isinstance(issuer.probe(Secret({"token": theirs.value}), {"scope": {}}), verdict)


def test_what_works_and_is_not_shown_yet_is_not_proven() -> None:
    """What it may do is not known: published it might be too wide, or pinned to nothing."""
    with FakeCloudflare(seed=3, clock=RunningClock(0), lags=Lags(listing=60.0)) as cloudflare:
        issuer = issuer_of(cloudflare)
        made = minted(issuer)
        answers = [issuer.probe(made.fields, {"scope": DNS}) for _ in range(12)]
        assert all(isinstance(answer, Inconclusive) or answer == Accepted(DNS, made.ref, made.expires_at) for answer in answers)
        assert any(isinstance(answer, Inconclusive) and "does not show" in answer.why for answer in answers)
        cloudflare.advance(120)
        assert issuer.probe(made.fields, {"scope": DNS}) == Accepted(DNS, made.ref, made.expires_at)


@pytest.mark.parametrize("value", ["cfk_" + "a" * 48, "0123456789abcdef" * 2 + "01234", f"v1.0-{'a' * 24}-{'b' * 146}"])
def test_a_key_is_not_called_dead_because_it_is_no_token(value: str, cloudflare: FakeCloudflare) -> None:
    """Cloudflare cannot read a Global API Key as a token; it lives all the same."""
    answer = issuer_of(cloudflare).probe(Secret({"token": value}), {"scope": DNS})
    assert isinstance(answer, Inconclusive)
    assert "no token" in answer.why
    assert value not in answer.why


# --- names and times -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["²", "\u0661", "", "-1", "1" * 60])
def test_a_name_made_by_hand_hides_no_other_token(generation: str, cloudflare: FakeCloudflare) -> None:
    """Anybody may name a token nearly as ours are named: it is a stranger, and the list can still be read."""
    assert label_of(f"rotatord:here:dns:rot_1:{generation}") is None
    cloudflare.token("DNS Read", name=f"rotatord:here:dns:rot_0:{generation}")
    issuer = issuer_of(cloudflare)
    made = minted(issuer)
    assert [live.ref for live in issuer.find(Query(installation="here", credential="dns"))] == [made.ref]


def test_a_time_without_a_zone_is_one_of_cloudflares(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTC, wherever this machine stands."""
    import time

    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        wanted = datetime(2026, 12, 1, 10, tzinfo=UTC)
        for text in ("2026-12-01T10:00:00", "2026-12-01T10:00:00Z", "2026-12-01T12:00:00+02:00", "2026-12-01T10:00:00.000Z"):
            assert time_of(text) == wanted
    finally:
        monkeypatch.undo()
        time.tzset()


# --- scopes --------------------------------------------------------------------------------------------------------


def test_an_empty_list_of_addresses_is_not_everywhere() -> None:
    """Whoever writes one, or whose template does, meant some."""
    (sentence,) = problems({**DNS, "ip_allow": []})
    assert "ip_allow is empty" in sentence
    assert problems({**DNS, "ip_deny": []}) == []


class OneOfBothLevels(Catalogue):
    """A catalogue with a group that may be granted on zones and on accounts."""

    def groups(self, calls: Calls, *, missing: bool = False) -> dict[str, Group]:
        return {
            GROUP: Group(GROUP, "DNS Write", ("zone", "account")),
            TOKEN: Group(TOKEN, "Workers Scripts Write", ("account",)),
        }

    def _resource(self, calls: Calls, word: str, problems: list[str]) -> Resource | None:
        kind = word.partition("/")[0]
        return Resource(kind, f"the {kind}")


def test_a_level_that_is_written_limits_where_it_is_granted() -> None:
    """A group that Cloudflare has for zones and accounts, named for zones, is not granted on the account beside them."""
    catalogue = OneOfBothLevels(Family(), "", lambda: datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1))
    words = ("zone/example.com", "account/Example")
    found = catalogue.resolve(None, [Grant("allow", ("Zone.DNS:Edit", "Account.Workers Scripts:Edit"), words)])  # type: ignore[arg-type]
    assert found.problems == []
    assert {(policy["permission_groups"][0]["id"], *policy["resources"]) for policy in found.policies} == {
        (GROUP, "the zone"),
        (TOKEN, "the account"),
    }


def test_a_denied_address_of_ours_is_told_before(cloudflare: FakeCloudflare) -> None:
    """Fresh tokens could not be tried from here."""
    issuer: CloudflareTokens = issuer_of(cloudflare, addresses=["203.0.113.7/32"])
    (sentence,) = issuer.check({**DNS, "ip_deny": ["203.0.113.0/24"]}, {})
    assert "addresses of this daemon" in sentence
    assert list(issuer.check({**DNS, "ip_deny": ["198.51.100.0/24"]}, {})) == []


@pytest.mark.parametrize("code", ["--5", "\u00b2", "1" * 400, None, [], True])
def test_a_code_that_is_no_number_is_no_bug(code: Any) -> None:
    """Whatever something in between answers, it is an error of ours."""
    answer = Answer(400, {"success": False, "errors": [{"code": code, "message": "odd"}]})
    assert "odd" in str(error_of(answer, "GET /user/tokens"))


# --- what is compared, and what is believed ------------------------------------------------------------------------

EVERY = "com.cloudflare.api.account.zone.*"


def policy_of(effect: str, resources: JsonMap) -> JsonMap:
    return {"effect": effect, "permission_groups": [{"id": GROUP}], "resources": resources}


def test_denied_is_not_allowed_and_one_account_is_not_all() -> None:
    """Two tokens with the same permissions and resources, of which one may do much more."""
    assert flat([policy_of("allow", {"zone": "*"})]) != flat([policy_of("deny", {"zone": "*"})])
    assert flat([policy_of("allow", {"account": {EVERY: "*"}})]) != flat([policy_of("allow", {EVERY: "*"})])
    assert flat([policy_of("allow", {"account": {EVERY: "*"}})]) != flat([policy_of("allow", {"other": {EVERY: "*"}})])
    assert flat([policy_of("allow", {"a": "*", "b": "*"})]) == flat([policy_of("allow", {name: "*"}) for name in "ba"])


def test_a_beginning_that_was_not_asked_for_shows(cloudflare: FakeCloudflare) -> None:
    """Everything else is as it should be."""
    issuer = issuer_of(cloudflare)
    made = minted(issuer, {**DNS, "not_before": "2026-01-01T00:00:00Z"})
    answer = issuer.probe(made.fields, {"scope": DNS})
    assert isinstance(answer, Accepted)
    assert answer.scope is not None
    assert answer.scope["not_before"] == "2026-01-01T00:00:00Z"


def test_an_answer_about_another_token_is_not_believed() -> None:
    """Neither to tell what it may do, nor to be sent in its place."""
    for token in (held(id="f" * 32), held(status="pending")):
        server = Kept(token)
        server.get = lambda path, token=token: token  # type: ignore[method-assign,misc]
        with pytest.raises(Retryable, match="about something else"):
            tokens_at(server).set_status(TOKEN, "disabled")
        assert server.sent == []


@pytest.mark.parametrize("silent", ["user", "accounts"])
def test_one_place_that_knows_nothing_of_it_refuses_nothing(silent: str, cloudflare: FakeCloudflare) -> None:
    """Forty characters may be a user's or an account's: while one of the two places cannot tell, they may live there."""
    owner: Any = "user" if silent == "user" else "account"
    theirs = cloudflare.token("DNS Read", owner=owner, old=True)
    issuer = issuer_of(cloudflare)
    cloudflare.faults.plan(f"{silent}.tokens.verify", Garbled(b"<html>", 502, "text/html"))
    assert isinstance(issuer.probe(Secret({"token": theirs.value}), {"scope": {}}), Inconclusive)
    assert isinstance(issuer.probe(Secret({"token": theirs.value}), {"scope": {}}), Accepted)


def test_half_a_catalogue_is_none(cloudflare: FakeCloudflare) -> None:
    """A permission that is in the other half would be called unknown, or an ambiguous one clear."""
    body = b'{"success": true, "errors": [], "result": [{"id": "a"}], "result_info": {"count": 2}}'
    issuer = issuer_of(cloudflare)
    cloudflare.faults.plan("accounts.tokens.permission_groups", Garbled(body, 200, "application/json"))
    with pytest.raises(Retryable, match="1 rows of a page of 2"):
        issuer.preview(_request(DNS))


# --- whose token ours is -------------------------------------------------------------------------------------------


@dataclass
class Users:
    """Two of them, with other tokens each; ours is the first one's until it is changed."""

    first: FakeCloudflare
    second: FakeCloudflare
    ours: str = ""

    def __post_init__(self) -> None:
        self.tokens = [one.parent_token("Zone Read", owner="user").value for one in (self.first, self.second)]
        self.ours = self.tokens[0]

    def issuer(self, **more: Any) -> CloudflareTokens:
        settings = Settings.model_validate({"token": "ours", "endpoint": "https://api.example/client/v4", **more})
        around = Surroundings(installation="here", state_dir="", now=self.first.clock.now, secret=lambda _: self.ours)
        return CloudflareTokens(settings, around, Cloudflare(settings, around, VirtualClock(), InMemory(self.answer)))

    def answer(self, wire: Wire) -> tuple[Reply | None, Fault | None]:
        whose = self.second if self.tokens[1] in wire.headers["authorization"] else self.first
        return whose.answer(wire)


@pytest.fixture
def users(cloudflare: FakeCloudflare) -> Users:
    return Users(cloudflare, FakeCloudflare(seed=99, clock=cloudflare.clock))


def test_what_another_user_cannot_see_is_not_gone(users: Users) -> None:
    """Our own token is replaced by another user's: all that we made looks gone to it, and lives."""
    issuer = users.issuer(user=users.first.user_id)
    made = minted(issuer)
    users.ours = users.tokens[1]
    for query in (Query(installation="here", credential="dns", ref=made.ref), Query(installation="here", credential="dns")):
        with pytest.raises(Denied, match="is of user"):
            issuer.find(query)
    with pytest.raises(Denied, match="is of user"):
        issuer.revoke(made.ref, None, {})
    with pytest.raises(Denied, match="is of user"):
        minted(issuer)
    users.ours = users.tokens[0]
    assert [live.ref for live in issuer.find(Query(installation="here", credential="dns"))] == [made.ref]


def test_another_users_token_does_not_follow_ours(users: Users) -> None:
    """Whether somebody said which user is meant or not; another one of the same user does."""
    for settings in ({}, {"user": users.first.user_id}):
        issuer = users.issuer(**settings)
        issuer.own_life()
        same = users.first.parent_token("Zone Read", owner="user").value
        assert list(issuer.works_with(lambda _, value=same: value, [])) == []  # type: ignore[misc]
        (sentence,) = issuer.works_with(lambda _: users.tokens[1], [])
        assert f"of user {users.second.user_id}, and the present one of user {users.first.user_id}" in sentence


def test_whose_quota_is_used_is_seen(cloudflare: FakeCloudflare) -> None:
    """Until its looks or Cloudflare say that it is an account's, a token may be of any user, and those may all be one."""
    user, account = (
        cloudflare.parent_token("Zone Read", "Account API Tokens Write", owner=kind) for kind in ("user", "account")
    )
    old = cloudflare.parent_token("Zone Read", old=True)
    issuers = [issuer_of(cloudflare, one) for one in (user, account, old)] + [issuer_of(cloudflare, user, owner="user")]
    assert {issuer.principal() for issuer in issuers} == {"cloudflare user unnamed"}
    for issuer in issuers:
        issuer.preflight({"permissions": ["Zone.DNS:Edit"], "resources": ["zone/example.com"]}, {})
    ours, theirs = "cloudflare user unnamed", f"cloudflare account {cloudflare.account_id}"
    assert [issuer.principal() for issuer in issuers] == [ours, theirs, theirs, ours]
    named = issuer_of(cloudflare, user, user=cloudflare.user_id)
    assert named.principal() == f"cloudflare user {cloudflare.user_id}"
