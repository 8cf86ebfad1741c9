"""Tokens in the strict Cloudflare: made, shown, replaced, rolled and ended as the real ones."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from rotatord.testing.clock import START, VirtualClock
from rotatord.testing.cloudflare import Answered, FakeCloudflare, Habits, Held, Owner, named
from rotatord.testing.cloudflare.formats import checksum

Kind = Literal["account", "user"]
DNS = named("DNS Write").id


class Desk:
    """The fake, and one who makes tokens at it."""

    def __init__(self, owner: Kind = "account", **options: Any) -> None:
        self.fake = FakeCloudflare(seed=2, clock=VirtualClock(), **options)
        self.owner = owner
        self.parent = self.fake.parent_token(owner=owner)
        self.base = "/user/tokens" if owner == "user" else f"/accounts/{self.fake.account_id}/tokens"

    @property
    def zone(self) -> str:
        return self.fake.zones["example.com"]

    def policy(self, *, effect: str = "allow", groups: tuple[str, ...] = (DNS,), **resources: Any) -> dict[str, Any]:
        held = resources.get("resources", {f"com.cloudflare.api.account.zone.{self.zone}": "*"})
        return {"effect": effect, "permission_groups": [{"id": group} for group in groups], "resources": held}

    def make(self, **body: Any) -> Answered:
        return self.fake.ask("POST", self.base, token=self.parent, body={"name": "dns", "policies": [self.policy()], **body})

    def made(self, **body: Any) -> Held:
        answer = self.make(**body)
        assert answer.status == 200, answer.body
        return Held(answer.result["id"], answer.result["value"])

    def ask(self, method: str, path: str = "", body: Any = None, **query: object) -> Answered:
        return self.fake.ask(method, f"{self.base}{path}", token=self.parent, body=body, query=query)

    def verify(self, token: Held | str, **options: Any) -> Answered:
        return self.fake.ask("GET", f"{self.base}/verify", token=token, **options)

    def records(self, token: Held | str, **options: Any) -> Answered:
        return self.fake.ask("GET", f"/zones/{self.zone}/dns_records", token=token, **options)


@pytest.fixture(params=["account", "user"])
def desk(request: pytest.FixtureRequest) -> Desk:
    return Desk(request.param)


def test_a_value_is_shown_once(desk: Desk) -> None:
    """By the answer that makes it, in the form that scanners know, and by no other."""
    answer = desk.make()
    value = answer.result["value"]
    prefix = "cfut_" if desk.owner == "user" else "cfat_"
    assert re.fullmatch(prefix + "[A-Za-z0-9]{40}[0-9a-f]{8}", value)
    assert value.endswith(checksum(value[5:45]))
    shown = [desk.ask("GET").body, desk.ask("GET", f"/{answer.result['id']}").body, desk.verify(value).body]
    assert all(value not in str(one) and "value" not in one for one in shown)


def test_old_values_work_and_rolling_makes_them_longer(desk: Desk) -> None:
    """Forty bare characters become 53 with a prefix; the one before is refused at once."""
    old = desk.fake.token("DNS Write", owner=desk.owner, old=True)
    assert len(old.value) == 40
    assert desk.records(old).status == 200
    rolled = desk.ask("PUT", f"/{old.id}/value", {}).result
    assert (len(rolled), desk.records(rolled).status) == (53, 200)
    assert (desk.records(old).status, desk.records(old).codes, desk.verify(old).codes) == (403, [9109], [1000])
    assert desk.verify(rolled).result["id"] == old.id


def test_verify_wants_the_endpoint_of_its_owner() -> None:
    """A good token is an invalid one at the other endpoint."""
    user, account = Desk("user"), Desk("account")
    account.base = "/user/tokens"
    user.base = f"/accounts/{user.fake.account_id}/tokens"
    for desk in (user, account):
        answer = desk.verify(desk.parent)
        assert (answer.status, answer.codes) == (401, [1000])


def test_verify_says_valid_in_a_message(desk: Desk) -> None:
    """And tells the dates, where there are some."""
    token = desk.made(expires_on="2026-02-01T00:00:00Z")
    answer = desk.verify(token)
    assert answer.result == {"id": token.id, "status": "active", "expires_on": "2026-02-01T00:00:00Z"}
    assert [one["code"] for one in answer.body["messages"]] == [10000]


def test_an_update_replaces_everything(desk: Desk) -> None:
    """What is left out is gone: policies, condition, dates, a status."""
    token = desk.made(
        policies=[desk.policy(), desk.policy(groups=(named("Zone Read").id,))],
        condition={"request_ip": {"in": ["203.0.113.0/24"]}},
        expires_on="2026-02-01T00:00:00Z",
    )
    before = desk.ask("GET", f"/{token.id}").result
    assert desk.ask("PUT", f"/{token.id}", {**before, "status": "disabled"}).status == 200
    assert desk.ask("GET", f"/{token.id}").result["policies"] == before["policies"]
    assert desk.ask("PUT", f"/{token.id}", {"name": "dns", "policies": [desk.policy()]}).status == 200
    after = desk.ask("GET", f"/{token.id}").result
    assert (len(after["policies"]), "condition" in after, "expires_on" in after) == (1, False, False)
    assert (after["status"], after["policies"][0]["id"] in {one["id"] for one in before["policies"]}) == ("active", False)
    assert desk.records(token).status == 200


def test_policies_come_back_in_another_order() -> None:
    """Sorted by ids that the server makes, their groups by theirs."""
    desk = Desk()
    names = ("Zone Read", "DNS Write", "Cache Purge", "Page Rules Read", "Analytics Read")
    asked = [desk.policy(groups=(named(name).id,)) for name in names]
    shown = desk.make(policies=asked).result["policies"]
    assert [one["permission_groups"][0]["name"] for one in shown] != list(names)
    assert sorted(one["permission_groups"][0]["name"] for one in shown) == sorted(names)
    (both,) = desk.make(policies=[desk.policy(groups=(named("Zone Read").id, DNS))]).result["policies"]
    assert [one["id"] for one in both["permission_groups"]] == sorted([named("Zone Read").id, DNS])


def test_a_new_token_cannot_have_a_policy_of_another(desk: Desk) -> None:
    """Ids of policies are made by the server."""
    answer = desk.make(policies=[{**desk.policy(), "id": "beefcafe1337beefcafe1337beefcafe"}])
    assert (answer.status, answer.codes) == (400, [1001])
    assert "Reusing existing policies" in answer.body["errors"][0]["message"]


def test_disabled_expired_and_early_tokens_are_refused(desk: Desk) -> None:
    """Where it matters; verify tells their status instead."""
    off, brief = desk.made(), desk.made(expires_on="2026-01-05T13:00:00Z")
    early = desk.made(not_before="2026-01-05T12:30:00Z")
    desk.ask("PUT", f"/{off.id}", {"name": "dns", "policies": [desk.policy()], "status": "disabled"})
    assert [desk.records(one).codes for one in (off, brief, early)] == [[9109], [], [9109]]
    assert desk.verify(early).result["not_before"] == "2026-01-05T12:30:00Z"
    desk.fake.advance(3600)
    assert [desk.records(one).codes for one in (off, brief, early)] == [[9109], [9109], []]
    assert [desk.verify(one).result["status"] for one in (off, brief, early)] == ["disabled", "expired", "active"]
    assert {one.why for one in desk.fake.book.refused()} == {"disabled", "expired", "not yet valid"}
    assert desk.fake.book.refused(working=True) == []
    desk.ask("PUT", f"/{off.id}", {"name": "dns", "policies": [desk.policy()], "status": "active"})
    assert desk.records(off).status == 200


def test_verify_may_refuse_them_instead() -> None:
    """Nobody has written down which it is, so tests can have either."""
    desk = Desk(habits=Habits(verify="refuses"))
    off = desk.made(condition={"request_ip": {"in": ["203.0.113.0/24"]}})
    assert desk.verify(off, address="203.0.113.1").status == 200
    assert (desk.verify(off).status, desk.verify(off).codes) == (401, [1000])
    desk.fake.change(off.id, status="disabled")
    assert desk.verify(off, address="203.0.113.1").codes == [1000]


def test_a_token_found_in_public_is_revoked(desk: Desk) -> None:
    """It is refused, still shown to whoever asks for it by its id, and cannot be changed back."""
    token = desk.made()
    desk.fake.leak(token.id)
    assert (desk.records(token).codes, desk.verify(token).codes) == ([9109], [1000])
    assert desk.ask("GET", f"/{token.id}").result["status"] == "revoked"
    assert [len(desk.ask("GET", **query).result) for query in ({}, {"include_expired": "true"})] == [1, 2]
    assert desk.ask("PUT", f"/{token.id}", {"name": "dns", "policies": [desk.policy()]}).codes == [1001]
    assert desk.fake.book.live("dns") == []
    assert {one.why for one in desk.fake.book.refused()} == {"revoked"}
    assert desk.ask("DELETE", f"/{token.id}").status == 200


def test_an_update_may_keep_a_condition_that_it_does_not_name() -> None:
    """As one report has it; only an empty one takes it away."""
    desk = Desk(habits=Habits(omitted_condition="keeps"))
    token = desk.made(condition={"request_ip": {"in": ["203.0.113.0/24"]}})
    body: dict[str, Any] = {"name": "dns", "policies": [desk.policy()]}
    assert "condition" in desk.ask("PUT", f"/{token.id}", body).result
    assert "condition" not in desk.ask("PUT", f"/{token.id}", {**body, "condition": {}}).result


def test_a_deleted_token_is_gone(desk: Desk) -> None:
    """From lists, from gets and wherever it is shown."""
    token = desk.made()
    assert desk.ask("DELETE", f"/{token.id}").result == {"id": token.id}
    assert [desk.ask("GET", f"/{token.id}").status, desk.ask("DELETE", f"/{token.id}").status] == [404, 404]
    assert (desk.verify(token).codes, desk.records(token).codes) == ([1000], [9109])
    assert [one["name"] for one in desk.ask("GET").result] == ["parent"]
    assert [one.what for one in desk.fake.book.changes] == ["minted", "deleted"]
    assert desk.fake.book.live("dns") == []


def test_lists_have_pages_and_directions(desk: Desk) -> None:
    """Newest first unless asked otherwise, and expired ones only if asked for."""
    for number in range(6):
        desk.made(name=f"token {number}")
    desk.made(name="brief", expires_on="2026-01-05T13:00:00Z")
    desk.fake.advance(3600)
    first = desk.ask("GET", per_page=5)
    assert [one["name"] for one in first.result] == [f"token {number}" for number in (5, 4, 3, 2, 1)]
    assert first.body["result_info"] == {"page": 1, "per_page": 5, "count": 5, "total_count": 7, "total_pages": 2}
    assert [one["name"] for one in desk.ask("GET", per_page=5, page=2).result] == ["token 0", "parent"]
    assert desk.ask("GET", page=3, per_page=5).result == []
    assert desk.ask("GET", direction="asc").result[0]["name"] == "parent"
    assert desk.ask("GET", include_expired="true").result[0]["status"] == "expired"
    for query in ({"per_page": 4}, {"per_page": 51}, {"page": 0}, {"direction": "up"}, {"page": "x"}):
        assert desk.ask("GET", **query).codes == [1004]


@pytest.mark.parametrize(("owner", "most"), [("account", 500), ("user", 50)])
def test_there_is_a_cap(owner: Kind, most: int) -> None:
    """Fifty for a user, five hundred for an account; deleted and expired ones make room."""
    desk = Desk(owner)
    desk.fake.estate.caps[owner] = 4  # the rule is the same, and it is the real number that says so
    assert {"user": 50, "account": 500}[owner] == most
    whose = Owner(owner, desk.fake.user_id if owner == "user" else desk.fake.account_id)
    first, _ = desk.made(), desk.made(expires_on="2026-01-05T13:00:00Z")
    desk.made()
    assert (desk.make().status, desk.make().codes) == (400, [1002])
    desk.ask("DELETE", f"/{first.id}")
    assert desk.make().status == 200
    assert desk.make().status == 400
    desk.fake.advance(3600)
    assert desk.make().status == 200
    assert desk.fake.book.most(whose) == 4


def test_the_caps_are_the_real_ones() -> None:
    """Until a test says otherwise."""
    assert FakeCloudflare().estate.caps == {"user": 50, "account": 500}


@pytest.mark.parametrize("spelling", ["request_ip", "request.ip"])
def test_conditions_are_understood_in_both_spellings(desk: Desk, spelling: str) -> None:
    """Inside of one list and outside of the other, for both versions of IP."""
    token = desk.made(condition={spelling: {"in": ["203.0.113.0/24", "2001:db8::/32"], "not_in": ["203.0.113.7/32"]}})
    expected = {"203.0.113.1": [], "2001:db8::1": [], "203.0.113.7": [9109], "198.51.100.1": [9109], "2001:db9::1": [9109]}
    assert {address: desk.records(token, address=address).codes for address in expected} == expected
    refused = desk.records(token, address="203.0.113.7").body["errors"][0]["message"]
    assert refused == "Cannot use the access token from location: 203.0.113.7"
    assert desk.verify(token, address="198.51.100.1").status == 200
    shown = desk.ask("GET", f"/{token.id}").result["condition"]
    assert shown == {"request_ip": {"in": ["203.0.113.0/24", "2001:db8::/32"], "not_in": ["203.0.113.7/32"]}}


def test_conditions_can_be_told_in_the_old_spelling() -> None:
    """As clients of years ago expect it."""
    desk = Desk(habits=Habits(condition_spelling="request.ip"))
    assert desk.make(condition={"request_ip": {"in": ["203.0.113.0/24"]}}).result["condition"] == {
        "request.ip": {"in": ["203.0.113.0/24"]}
    }


@pytest.mark.parametrize("empty", [{}, None, {"in": []}, {"in": None}, {"in": [], "not_in": ["203.0.113.7/32"]}])
def test_an_empty_condition_locks_its_token_out(empty: Any) -> None:
    """It is made without a word, and let in from nowhere; the fake notes it."""
    desk = Desk()
    token = desk.made(condition={"request_ip": empty})
    assert desk.records(token).codes == [9109]
    assert desk.fake.book.warnings
    assert Desk(habits=Habits(empty_condition="refused")).make(condition={"request_ip": empty}).codes == [1001]


def test_no_condition_is_none(desk: Desk) -> None:
    """Neither null nor an object with nothing in it."""
    assert [desk.records(desk.made(condition=one)).status for one in (None, {})] == [200, 200]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 121},
        {"name": None},
        {"policies": []},
        {"policies": None},
        {"policies": [{"effect": "permit"}]},
        {"colour": "blue"},
        {"status": "disabled"},  # said of tokens that there are, not of new ones
        {"expires_on": "2026-01-05"},
        {"expires_on": "2025-01-01T00:00:00Z"},
        {"not_before": "2026-03-01T00:00:00Z", "expires_on": "2026-02-01T00:00:00Z"},
        {"condition": {"request_ip": {"in": ["203.0.113.7"]}}},
        {"condition": {"request_ip": {"in": ["203.0.113.7/24"]}}},
        {"condition": {"request_ip": {"in": "203.0.113.0/24"}}},
        {"condition": {"request_ip": {"inside": ["203.0.113.0/24"]}}},
        {"condition": {"request_ip": {"in": ["192.0.2.0/24"]}, "request.ip": {"in": ["192.0.2.0/24"]}}},
        {"condition": {"ip": {}}},
    ],
    ids=str,
)
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    """And nothing is made of it."""
    desk = Desk()
    answer = desk.make(**wrong)
    assert (answer.status, answer.codes) == (400, [1001])
    assert desk.fake.book.minted() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": ()},
        {"groups": ("0" * 32,)},
        {"effect": "maybe"},
        {"resources": {}},
        {"resources": {"com.cloudflare.api.account.zone.x": "yes"}},
        {"resources": {"com.example.zone": "*"}},
        {"resources": {f"com.cloudflare.api.account.zone.{'0' * 32}": "*"}},
        {"resources": {f"com.cloudflare.api.account.{'0' * 32}": {"com.cloudflare.api.account.zone.*": "*"}}},
        {"resources": {"com.cloudflare.api.account.zone.*": "*"}},  # flat: a user's tokens only
        {"resources": {"com.cloudflare.api.account.*": {"com.cloudflare.api.account.zone.*": "*"}}},
    ],
    ids=str,
)
def test_policies_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """An account's token names its own account and zones, and groups that there are."""
    desk = Desk()
    answer = desk.make(policies=[desk.policy(**wrong)])
    assert (answer.status, answer.codes) == (400, [1001])


def test_zones_of_an_account_nest() -> None:
    """The flat form is refused in the words that say how."""
    desk = Desk()
    flat = desk.make(policies=[desk.policy(resources={"com.cloudflare.api.account.zone.*": "*"})])
    assert "nest zone under specific account resource" in flat.body["errors"][0]["message"]
    nested = {f"com.cloudflare.api.account.{desk.fake.account_id}": {"com.cloudflare.api.account.zone.*": "*"}}
    assert desk.records(desk.made(policies=[desk.policy(resources=nested)])).status == 200
    assert Desk("user").make(policies=[desk.policy(resources={"com.cloudflare.api.account.zone.*": "*"})]).status == 200


@pytest.mark.parametrize(
    ("group", "place", "made"),
    [
        ("DNS Write", "zone", True),
        ("DNS Write", "nested", True),
        ("DNS Write", "account", True),  # taken, and grants nothing there
        ("DNS Write", "user", False),
        ("Workers Scripts Write", "account", True),
        ("Workers Scripts Write", "zone", False),
        ("Workers Scripts Write", "nested", False),
        ("User Details Read", "user", True),
        ("User Details Read", "account", False),
        ("Workers R2 Storage Bucket Item Read", "bucket", True),
        ("Workers R2 Storage Bucket Item Read", "account", False),
        ("Workers R2 Storage Read", "bucket", False),
    ],
)
def test_groups_stand_where_they_fit(group: str, place: str, made: bool) -> None:
    """One that does not fit each resource of its policy is refused by its name."""
    desk = Desk("user")
    desk.fake.add_bucket("assets")
    account = f"com.cloudflare.api.account.{desk.fake.account_id}"
    places: dict[str, Any] = {
        "zone": {f"com.cloudflare.api.account.zone.{desk.zone}": "*"},
        "nested": {account: {"com.cloudflare.api.account.zone.*": "*"}},
        "account": {account: "*"},
        "user": {f"com.cloudflare.api.user.{desk.fake.user_id}": "*"},
        "bucket": {f"com.cloudflare.edge.r2.bucket.{desk.fake.account_id}_default_assets": "*"},
    }
    answer = desk.make(policies=[desk.policy(groups=(named(group).id,), resources=places[place])])
    assert answer.status == (200 if made else 400)
    if not made:
        said = f'Failed common permission check against resources. (Permission group: "{group}")'
        assert answer.body["errors"] == [{"code": 1001, "message": said}]
    else:
        token = Held("", answer.result["value"])
        assert (desk.records(token).status == 200) == ((group, place) in [("DNS Write", "zone"), ("DNS Write", "nested")])


def test_buckets_are_named_one_by_one() -> None:
    """All of them at once is refused as something that one may not have."""
    desk = Desk("user")
    groups = (named("Workers R2 Storage Bucket Item Read").id,)
    answer = desk.make(policies=[desk.policy(groups=groups, resources={"com.cloudflare.edge.r2.bucket.*": "*"})])
    assert (answer.status, answer.codes) == (403, [9109])


def test_whoever_makes_a_token_may_have_to_hold_what_it_grants() -> None:
    """On single zones, for tokens of accounts, where that habit is on; all zones nested are let through."""
    desk = Desk(habits=Habits(creator_holds_zones=True))
    assert desk.make().codes == [1001]
    nested = {f"com.cloudflare.api.account.{desk.fake.account_id}": {"com.cloudflare.api.account.zone.*": "*"}}
    assert desk.make(policies=[desk.policy(resources=nested)]).status == 200
    desk.parent = desk.fake.parent_token("DNS Write")
    assert desk.make().status == 200


def test_last_use_is_told_to_the_second(desk: Desk) -> None:
    """Of calls that were let in, and of no others."""
    token = desk.made(condition={"request_ip": {"in": ["203.0.113.0/24"]}})
    assert "last_used_on" not in desk.ask("GET", f"/{token.id}").result
    desk.records(token)
    desk.fake.advance(10.5)
    assert "last_used_on" not in desk.ask("GET", f"/{token.id}").result
    desk.records(token, address="203.0.113.1")
    assert desk.ask("GET", f"/{token.id}").result["last_used_on"] == "2026-01-05T12:00:10Z"
    assert desk.fake.book.used(token.id) == 1


def test_times_are_utc_to_the_second(desk: Desk) -> None:
    """Whatever zone they were asked in."""
    desk.fake.advance(0.75)
    answer = desk.make(expires_on="2026-02-01T01:00:00.5+01:00").result
    assert (answer["issued_on"], answer["expires_on"]) == ("2026-01-05T12:00:00Z", "2026-02-01T00:00:00Z")


def test_the_catalogue_is_whole_and_filtered(desk: Desk) -> None:
    """All at once; names may stand for two groups, and an account's tokens know none of users."""
    path = "/permission_groups"
    groups = desk.ask("GET", path, per_page=5).result
    assert len(groups) > 60
    assert sorted({one["id"] for one in groups}) == sorted(one["id"] for one in groups)
    assert [one["scopes"] for one in desk.ask("GET", path, name="Logs Read").result] == [
        ["com.cloudflare.api.account"],
        ["com.cloudflare.api.account.zone"],
    ]
    of_users = desk.ask("GET", path, scope="com.cloudflare.api.user").result
    assert len(of_users) == (6 if desk.owner == "user" else 0)
    desk.fake.rename_group(DNS, "DNS Edit")
    assert [one["id"] for one in desk.ask("GET", path, name="DNS Edit").result] == [DNS]


def test_what_others_do_is_known_at_once(desk: Desk) -> None:
    """Somebody deletes a token, or takes a right from it."""
    token = desk.made()
    desk.fake.change(token.id, policies=())
    assert desk.records(token).codes == [9109]
    desk.fake.delete(token.id)
    assert [one.by for one in desk.fake.book.changes[1:]] == ["somebody", "somebody"]
    assert [one.why for one in desk.fake.book.refused(token.id)] == ["no permission: DNS Read or DNS Write"]


def test_two_live_tokens_of_one_name_are_counted() -> None:
    """Or of whatever a test takes for one thing."""
    desk = Desk()
    for name in ("a 1", "a 2", "b 1"):
        desk.made(name=name)
    assert desk.fake.book.twice() == {}
    assert desk.fake.book.twice(lambda token: token.name[0]) == {"a": 2}
    assert len(desk.fake.book.minted("a")) == 2


def test_the_same_seed_makes_the_same_account() -> None:
    """Ids and values of one run are those of the next."""
    one, two, three = (FakeCloudflare(seed=seed, clock=VirtualClock()) for seed in (1, 1, 2))
    assert one.parent_token().value == two.parent_token().value != three.parent_token().value
    assert one.now() == START == datetime(2026, 1, 5, 12, tzinfo=UTC)
    lifetime = one.token("DNS Write", lifetime=timedelta(days=1))
    assert one.find(lifetime.id).grant is not None
