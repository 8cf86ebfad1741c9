"""Tokens at Cloudflare: switched off and nothing else changed, whose they are, when they were used, and how many fit."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from issuers.cloudflare import CloudflareTokens, create
from rotatord.cloudflare_client import Family
from rotatord.cloudflare_tokens import Tokens
from rotatord.errors import Conflict, Denied, Invalid, NotFound, Retryable
from rotatord.model import JsonMap
from rotatord.ports import Accepted, Empowered, Inconclusive, MintRequest, Query, RefusedVerdict, Surroundings, TellsOwnLife
from rotatord.secret import Secret
from rotatord.testing.cloudflare import FakeCloudflare, Habits, HalfPage, Held, Repeats, RunningClock
from rotatord.testing.contracts.common import assert_hides

DNS: JsonMap = {"permissions": ["Zone.DNS:Edit"], "resources": ["zone/example.com"]}
ADDRESSES = ["203.0.113.0/24", "2001:db8::/32"]
WIDE: JsonMap = {
    "allow": [
        {"permissions": ["DNS Write", "DNS Read"], "resources": ["zone/*"]},
        {"permissions": ["Account Settings Read"], "resources": ["account"]},
    ],
    "deny": [{"permissions": ["DNS Write"], "resources": ["zone/example.com"]}],
    "ip_allow": ADDRESSES,
    "ip_deny": ["203.0.113.66"],
    "not_before": "2026-01-01T00:00:00Z",
}


@pytest.fixture(params=["request_ip", "request.ip"])
def cloudflare(request: pytest.FixtureRequest) -> Iterator[FakeCloudflare]:
    habits = Habits(condition_spelling=request.param, verify="refuses" if request.param == "request.ip" else "tells")
    with FakeCloudflare(clock=RunningClock(0), habits=habits) as started:
        started.address = "203.0.113.7"
        yield started


def issuer_of(cloudflare: FakeCloudflare, parent: Held | None = None, owner: str = "account", **more: Any) -> CloudflareTokens:
    around = Surroundings(installation="here", state_dir="", now=cloudflare.clock.now, secret=str)
    parent = parent or cloudflare.parent_token("Zone Read", owner=owner)  # type: ignore[arg-type]
    account = {"account_id": cloudflare.account_id} if owner == "account" else {}
    return create({"token": parent.value, "endpoint": cloudflare.url, "allow_private": True, **account, **more}, around)


def minted(issuer: CloudflareTokens, scope: JsonMap = DNS, **more: Any) -> Any:
    known: dict[str, Any] = {
        "installation": "here",
        "credential": "dns",
        "rotation": "rot_1",
        "generation": 1,
        "parameters": {},
    }
    return issuer.mint(MintRequest(**{**known, "scope": scope, "ttl": timedelta(days=7), **more}), None)


def shown(cloudflare: FakeCloudflare, ref: str) -> JsonMap:
    """A token as whoever may do everything sees it, without what the server counts."""
    token_id = ref.rpartition("/")[2]
    base = f"/accounts/{cloudflare.account_id}/tokens" if ref.startswith("account/") else "/user/tokens"
    token: JsonMap = cloudflare.ask("GET", f"{base}/{token_id}", headers=cloudflare.global_key.headers).result
    counted = {"modified_on", "last_used_on"}
    policies = sorted(({**policy, "id": ""} for policy in token["policies"]), key=str)
    return {**{key: value for key, value in token.items() if key not in counted}, "policies": policies}


# --- off and on ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scope", [DNS, WIDE, {"permissions": ["DNS Read"], "resources": ["zone/example.com"], "ip_deny": ["198.51.100.1"]}]
)
def test_switching_off_and_on_changes_nothing_else(scope: JsonMap, cloudflare: FakeCloudflare) -> None:
    """Policies, condition and dates are all sent again, because Cloudflare replaces the whole by what is sent."""
    issuer = issuer_of(cloudflare)
    made = minted(issuer, scope)
    before = shown(cloudflare, made.ref)
    issuer.suspend(made.ref, {})
    assert shown(cloudflare, made.ref) == {**before, "status": "disabled"}
    assert isinstance(issuer.probe(made.fields, {"scope": scope}), RefusedVerdict)
    issuer.resume(made.ref, {})
    assert shown(cloudflare, made.ref) == before
    assert isinstance(issuer.probe(made.fields, {"scope": scope}), Accepted)


def test_what_is_off_already_is_not_sent_again(cloudflare: FakeCloudflare) -> None:
    """So a repetition undoes nothing that somebody changed meanwhile."""
    issuer = issuer_of(cloudflare)
    made = minted(issuer)
    for _ in range(3):
        issuer.suspend(made.ref, {})
    assert [call.operation for call in cloudflare.book.calls].count("accounts.tokens.update") == 1


def test_a_token_that_nobody_can_use_is_not_sent_again(cloudflare: FakeCloudflare) -> None:
    """One with an empty condition lets nobody in; sent without it, it would let in everybody."""
    issuer = issuer_of(cloudflare)
    body = {**issuer.preview(_request(DNS))["body"], "condition": {"request_ip": {"in": []}}}
    made = cloudflare.ask(
        "POST", f"/accounts/{cloudflare.account_id}/tokens", headers=cloudflare.global_key.headers, body=body
    ).result
    ref = f"account/{cloudflare.account_id}/{made['id']}"
    with pytest.raises(Invalid, match="lets nobody in"):
        issuer.suspend(ref, {})
    issuer.revoke(ref, None, {})
    assert list(issuer.find(Query(installation="here", credential="dns", ref=ref))) == []


def _request(scope: JsonMap) -> MintRequest:
    return MintRequest(installation="here", credential="dns", rotation="rot_1", generation=1, scope=scope, parameters={})


def test_one_that_has_expired_needs_no_switching_off(cloudflare: FakeCloudflare) -> None:
    """It is refused anyhow, found as long as it is there, and no part of the inventory."""
    issuer = issuer_of(cloudflare)
    made = minted(issuer)
    cloudflare.advance(8 * 86_400)
    issuer.suspend(made.ref, {})
    issuer.resume(made.ref, {})
    assert isinstance(issuer.probe(made.fields, {"scope": DNS}), RefusedVerdict)
    assert made.ref not in {live.ref for live in issuer.inventory()}
    issuer.revoke(made.ref, None, {})
    assert list(issuer.find(Query(installation="here", credential="dns", ref=made.ref))) == []


# --- whose it is ---------------------------------------------------------------------------------------------------


def test_a_user_token_is_ended_where_it_was_made(cloudflare: FakeCloudflare) -> None:
    """An issuer that came to make an account's tokens finds, switches off and ends a user's by what their refs say; asked
    for among its own, a living token would look gone."""
    parent = cloudflare.parent_token("Zone Read", "Account API Tokens Write", owner="user")
    before = issuer_of(cloudflare, parent, owner="user")
    made = minted(before)
    assert made.ref.startswith("user/")
    after = issuer_of(cloudflare, parent, owner="account")
    (live,) = after.find(Query(installation="here", credential="dns", ref=made.ref))
    assert live.credential == "dns"
    assert minted(after, rotation="rot_2").ref.startswith("account/")
    assert after.probe(made.fields, {"scope": DNS}) == Accepted(DNS, made.ref, made.expires_at)
    after.suspend(made.ref, {})
    assert cloudflare.find(made.ref[5:]).grant is not None
    after.revoke(made.ref, None, {})
    assert cloudflare.find(made.ref[5:]).grant is None


def test_a_value_is_tried_where_its_kind_is_verified(cloudflare: FakeCloudflare) -> None:
    """Forty characters do not say whose they are: 401 with code 1000 counts only where all places say it. What a token may
    do that is not ours to look at is not known."""
    users, accounts = issuer_of(cloudflare, owner="user"), issuer_of(cloudflare)
    theirs, ours = (cloudflare.token("DNS Read", owner=owner, old=True) for owner in ("user", "account"))  # type: ignore[arg-type]
    assert isinstance(accounts.probe(Secret({"token": ours.value}), {"scope": {}}), Accepted)
    assert isinstance(users.probe(Secret({"token": theirs.value}), {"scope": {}}), Accepted)
    assert accounts.probe(Secret({"token": theirs.value}), {"scope": DNS}) == Accepted(None, f"user/{theirs.id}")
    both = issuer_of(cloudflare, owner="user", account_id=cloudflare.account_id, kind="user")
    answer = both.probe(Secret({"token": ours.value}), {"scope": {}})
    assert isinstance(answer, Accepted)
    assert answer.ref == f"account/{cloudflare.account_id}/{ours.id}"
    assert isinstance(users.probe(Secret({"token": cloudflare.token("DNS Read").value}), {"scope": {}}), Inconclusive)
    cloudflare.delete(theirs.id)
    assert isinstance(accounts.probe(Secret({"token": theirs.value}), {"scope": {}}), RefusedVerdict)


def test_a_ref_that_is_none_is_told(cloudflare: FakeCloudflare) -> None:
    """Whoever adopts with a wrong ref learns how one looks; a bare id means a token of the issuer's own kind."""
    issuer = issuer_of(cloudflare)
    made = minted(issuer)
    bare = made.ref.rpartition("/")[2]
    assert [live.ref for live in issuer.find(Query(installation="here", credential="dns", ref=bare))] == [bare]
    for wrong in ("", "me", "user/", f"team/{bare}", f"account/x/{bare}", bare.upper(), f"{bare}/"):
        with pytest.raises(Invalid, match="user/TOKEN_ID"):
            issuer.find(Query(installation="here", credential="dns", ref=wrong))


def test_no_way_to_the_api_is_not_gone(cloudflare: FakeCloudflare) -> None:
    """A wrong account or endpoint answers 404 too; neither is "not found"."""
    parent = cloudflare.parent_token("Zone Read")
    lost = issuer_of(cloudflare, parent, endpoint=f"{cloudflare.url}/v5")
    ref = f"account/{cloudflare.account_id}/{'0' * 32}"
    for plugin, asked in ((lost, ref), (issuer_of(cloudflare, parent), f"account/{'f' * 32}/{'0' * 32}")):
        with pytest.raises((Invalid, Denied)):
            plugin.find(Query(installation="here", credential="dns", ref=asked))
        with pytest.raises((Invalid, Denied)):
            plugin.revoke(asked, None, {})


# --- lists ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [HalfPage(), Repeats()])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_list_with_something_missing_or_twice_is_asked_again(fault: Any, nth: int, cloudflare: FakeCloudflare) -> None:
    """Over three pages, whichever of them it is."""
    for number in range(120):
        cloudflare.token("DNS Read", name=f"other {number}")
    issuer = issuer_of(cloudflare)
    made = minted(issuer)
    cloudflare.faults.plan("accounts.tokens.list", fault, nth=nth)
    query = Query(installation="here", credential="dns")
    try:
        assert [live.ref for live in issuer.find(query)] == [made.ref]
        assert isinstance(fault, Repeats) and nth == 1  # noqa: PT018 - there is no page before
    except Retryable:
        cloudflare.faults.clear()
        assert [live.ref for live in issuer.find(query)] == [made.ref]


def test_a_list_that_changes_while_it_is_read_loses_nothing(cloudflare: FakeCloudflare) -> None:
    """Whatever is made or ended between two pages: what was there before and after is found, or it is asked again."""
    others = [cloudflare.token("DNS Read", name=f"other {number}") for number in range(110)]
    parent = cloudflare.parent_token("Zone Read")
    issuer = issuer_of(cloudflare, parent)
    plain = issuer._api.exchange
    kept = {others[number].id for number in range(30, 110)}
    for ended, made, seen_all in (([5], 0, False), ([], 1, False), ([6], 1, True), ([7, 8], 2, True), ([9], 2, False)):
        pages = []

        def exchange(*arguments: Any, ended: list[int] = ended, made: int = made, pages: list[int] = pages) -> Any:
            answer = plain(*arguments)
            pages.append(1)
            if len(pages) == 1:
                for number in ended:
                    cloudflare.delete(others[109 - number].id)
                    kept.discard(others[109 - number].id)
                for number in range(made):
                    cloudflare.token("DNS Read", name=f"late {number}")
            return answer

        issuer._api.exchange = exchange  # type: ignore[method-assign]
        try:
            found = {token["id"] for token in Tokens(issuer._api.calls(), Family(cloudflare.account_id)).all()}
            assert kept <= found
            assert seen_all
        except Retryable:
            assert not seen_all
        issuer._api.exchange = plain  # type: ignore[method-assign]


# --- uses, and room ------------------------------------------------------------------------------------------------


def used_by(cloudflare: FakeCloudflare, fields: Secret) -> None:
    zone = cloudflare.zones["example.com"]
    assert cloudflare.ask("GET", f"/zones/{zone}/dns_records", token=fields.reveal("token")).status == 200


def test_after_a_restart_our_own_probe_counts_as_a_use_rather_than_hide_one(cloudflare: FakeCloudflare) -> None:
    """Nobody remembers then what was before it; the overlap stretches, and nothing in use is called idle."""
    parent = cloudflare.parent_token("Zone Read")
    first = issuer_of(cloudflare, parent)
    made = minted(first)
    used_by(cloudflare, made.fields)
    cloudflare.advance(600)
    used = first.last_used(made.ref, {})
    assert used is not None
    again = issuer_of(cloudflare, parent)
    assert isinstance(again.probe(made.fields, {"scope": DNS}), Accepted)
    cloudflare.advance(600)
    seen = again.last_used(made.ref, {})
    assert seen is not None
    assert seen >= used
    assert isinstance(again.probe(made.fields, {"scope": DNS}), Accepted)
    cloudflare.advance(600)
    assert again.last_used(made.ref, {}) == seen
    with pytest.raises(NotFound):
        again.last_used(f"account/{cloudflare.account_id}/{'0' * 32}", {})


def test_the_51st_token_of_a_user_is_a_conflict_and_told_before() -> None:
    """With how many there are, and how many of them nobody used for long; where overlaps of ours end, it is waited for."""
    with FakeCloudflare(clock=RunningClock(0)) as cloudflare:
        issuer = issuer_of(cloudflare, owner="user")
        for number in range(48):
            cloudflare.token("DNS Read", owner="user", name=f"somebody's {number}")
        cloudflare.advance(100 * 86_400)
        made = minted(issuer)
        (sentence,) = issuer.preflight(DNS, {})
        assert "has 50 tokens, and Cloudflare allows 50" in sentence
        assert "(48 were not used for 90 days)" in sentence or "(49 were not used for 90 days)" in sentence
        with pytest.raises(Conflict, match="50 tokens at most"):
            minted(issuer, rotation="rot_2")
        issuer.revoke(made.ref, None, {})
        cloudflare.delete(
            next(token.id for token in cloudflare.estate.tokens.values() if token.grant and "somebody" in token.grant.name)
        )
        (remark,) = issuer.remarks(DNS, {})
        assert "has 48 of 50 tokens" in remark
        minted(issuer, rotation="rot_3")
        minted(issuer, rotation="rot_4", generation=2)
        with pytest.raises(Retryable, match="1 of them are in their overlap"):
            issuer.preflight(DNS, {})


def test_more_than_one_account_is_remarked_on(cloudflare: FakeCloudflare) -> None:
    """Of a user's tokens everything means all accounts, unless one is configured."""
    everything: JsonMap = {"permissions": ["DNS Read"], "resources": ["zone/*"]}
    user = issuer_of(cloudflare, owner="user")
    assert any("all accounts" in sentence for sentence in user.remarks(everything, {}))
    assert list(user.remarks(DNS, {})) == []
    one = issuer_of(cloudflare, owner="user", account_id=cloudflare.account_id, kind="user")
    assert list(one.remarks(everything, {})) == list(issuer_of(cloudflare).remarks(everything, {})) == []


def test_a_token_that_begins_later_cannot_be_proven_now(cloudflare: FakeCloudflare) -> None:
    """So it is told before it is made."""
    (sentence,) = issuer_of(cloudflare).preflight({**DNS, "not_before": "2090-01-01T00:00:00Z"}, {})
    assert "until then no token could be proven" in sentence


def test_s3_keys_are_the_id_and_the_digest(cloudflare: FakeCloudflare) -> None:
    """As R2 takes them; one of another token is refused."""
    import hashlib

    issuer = issuer_of(cloudflare, s3_keys=True)
    made = minted(issuer)
    fields = made.fields.reveal_all()
    assert fields["access_key_id"] == made.ref.rpartition("/")[2]
    assert fields["secret_access_key"] == hashlib.sha256(fields["token"].encode()).hexdigest()
    assert isinstance(issuer.probe(made.fields, {"scope": DNS}), Accepted)
    assert isinstance(issuer.probe(Secret({**fields, "access_key_id": "0" * 32}), {"scope": DNS}), RefusedVerdict)
    assert issuer.traits.names == ("access_key_id",)


# --- addresses -----------------------------------------------------------------------------------------------------


def test_from_outside_its_addresses_nothing_is_known_of_a_token(cloudflare: FakeCloudflare) -> None:
    """Where Cloudflare says so, it is inconclusive, with what to do about it; and validate tells where that is to be seen."""
    issuer = issuer_of(cloudflare, addresses=["203.0.113.7/32"])
    scope = {**DNS, "ip_allow": ["198.51.100.0/24"]}
    (sentence,) = issuer.check(scope, {})
    assert "leaves out the addresses of this daemon" in sentence
    assert list(issuer.check({**DNS, "ip_allow": ["203.0.113.0/24"]}, {})) == []
    assert list(issuer.check(DNS, {})) == []
    assert (
        list(issuer_of(cloudflare, addresses=["203.0.113.7"], vantage={"proxy": "http://127.0.0.1:1"}).check(scope, {})) == []
    )
    made = minted(issuer, scope)
    answer = issuer.probe(made.fields, {"scope": scope})
    if cloudflare.estate.habits.verify == "refuses":
        assert isinstance(answer, Inconclusive)
        assert "pinned to addresses" in answer.why
    else:
        assert isinstance(answer, Accepted)
    assert_hides(repr(answer), [made.fields])
    issuer.revoke(made.ref, None, {})
    assert isinstance(issuer.probe(made.fields, {"scope": scope}), RefusedVerdict)


# --- our own -------------------------------------------------------------------------------------------------------


def test_our_own_token_is_told_of(cloudflare: FakeCloudflare) -> None:
    """Its end and its length; that it is pinned to nothing, or has no end, is said."""
    pinned = cloudflare.parent_token("Zone Read", addresses=["203.0.113.7/32"], lifetime=timedelta(days=30))
    issuer = issuer_of(cloudflare, pinned)
    assert isinstance(issuer, TellsOwnLife)
    (life,) = issuer.own_life()
    assert life.ends_at == (cloudflare.clock.now() + timedelta(days=30)).replace(microsecond=0)
    assert (life.place, life.lasts, life.danger) == ("token", timedelta(days=30), "")
    (life,) = issuer_of(cloudflare).own_life()
    assert life.ends_at is None
    assert "any address" in life.danger
    (life,) = issuer_of(cloudflare, cloudflare.parent_token("Zone Read", old=True)).own_life()
    assert "the form of before 2026" in life.danger


def test_an_old_value_is_told_until_its_token_ends(cloudflare: FakeCloudflare) -> None:
    """Once it was tried; a rotation moves it, and a new one is never told of."""
    issuer = issuer_of(cloudflare)
    theirs = cloudflare.token("DNS Write", old=True)
    for value in (theirs.value, minted(issuer).fields.reveal("token")):
        assert isinstance(issuer.probe(Secret({"token": value}), {"scope": DNS}), Accepted)
    (sentence,) = issuer.survey()
    assert f"account/{cloudflare.account_id}/{theirs.id}" in sentence
    assert "the form of before 2026" in sentence
    assert theirs.value not in sentence
    issuer.revoke(theirs.id, None, {})
    assert list(issuer.survey()) == []


def test_what_our_own_token_lacks_is_named(cloudflare: FakeCloudflare) -> None:
    """The permission, for whom; or that it is off, or not one at all."""
    for owner, missing in (("account", "Account API Tokens Write"), ("user", "API Tokens Write")):
        reader = cloudflare.token(missing.replace("Write", "Read"), "Zone Read", owner=owner)  # type: ignore[arg-type]
        (sentence,) = issuer_of(cloudflare, reader, owner=owner).preflight(DNS, {})
        assert f"needs the permission {missing}" in sentence
    gone = cloudflare.parent_token("Zone Read")
    issuer = issuer_of(cloudflare, gone)
    cloudflare.delete(gone.id)
    with pytest.raises(Retryable, match="does not know rotatord's own token"):
        issuer.preflight(DNS, {})


def test_a_new_token_of_our_own_is_tried_before_it_is_relied_on(cloudflare: FakeCloudflare) -> None:
    """With exactly that one, and for all that it will be needed for; what it lacks is a sentence."""
    issuer = issuer_of(cloudflare)
    assert isinstance(issuer, Empowered)
    good, poor = cloudflare.parent_token("Zone Read"), cloudflare.token("Account API Tokens Read", "Zone Read")
    for needs in ([(DNS, {})], []):
        assert list(issuer.works_with(lambda _: good.value, needs)) == []
        assert any("needs the permission" in sentence for sentence in issuer.works_with(lambda _: poor.value, needs))
    issuer.take_up()


def test_a_user_token_of_ours_may_make_an_accounts_tokens(cloudflare: FakeCloudflare) -> None:
    """Where the user may: it is looked for in both places."""
    parent = cloudflare.parent_token("Zone Read", "Account API Tokens Write", owner="user")
    issuer = issuer_of(cloudflare, parent)
    assert list(issuer.preflight(DNS, {})) == []
    made = minted(issuer)
    assert made.ref.startswith("account/")
    assert {live.ref for live in issuer.inventory()} == {made.ref}
