"""Who may do what in the strict Cloudflare: on zones, accounts, buckets and users, by tokens and by the Global API key."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import pytest

from rotatord.testing.clock import VirtualClock
from rotatord.testing.cloudflare import FakeCloudflare, Habits, Held, named
from rotatord.testing.cloudflare.catalogue import WORKERS

RECORD = {"type": "A", "name": "www", "content": "192.0.2.1"}
PURGE = {"purge_everything": True}


@pytest.fixture
def fake() -> FakeCloudflare:
    made = FakeCloudflare(seed=3, clock=VirtualClock(), zones=("example.com", "example.net"), habits=Habits(enterprise=True))
    made.add_bucket("assets")
    return made


def path(fake: FakeCloudflare, template: str) -> str:
    """A path with the ids of the fake in it."""
    return template.format(
        zone=fake.zones["example.com"],
        other=fake.zones["example.net"],
        account=fake.account_id,
        member=next(iter(fake.account.members)),
    )


CASES: list[tuple[str, str, Any, tuple[str, ...]]] = [
    ("GET", "/zones/{zone}/dns_records", None, ("DNS Read", "DNS Write")),
    ("POST", "/zones/{zone}/dns_records", RECORD, ("DNS Write",)),
    ("DELETE", "/zones/{zone}/dns_records/" + "0" * 32, None, ("DNS Write",)),
    ("GET", "/zones/{zone}", None, ("Zone Read", "Zone Write")),
    ("POST", "/zones/{zone}/purge_cache", PURGE, ("Cache Purge",)),
    ("GET", "/accounts/{account}", None, ("Account Settings Read", "Account Settings Write")),
    ("PUT", "/accounts/{account}", {}, ("Account Settings Write",)),
    ("GET", "/accounts/{account}/members", None, ("Account Settings Read", "Account Settings Write")),
    ("PUT", "/accounts/{account}/members/{member}", {}, ("Account Settings Write",)),
    ("GET", "/accounts/{account}/oauth_clients", None, ("Account Settings Read", "Account Settings Write")),
    ("DELETE", "/accounts/{account}/oauth_clients/x", None, ("Account Settings Write",)),
    ("GET", "/accounts/{account}/logs/audit?since=2026-01-01&before=2026-02-01", None, ("Account Settings Read",)),
    ("GET", "/accounts/{account}/tokens", None, ("Account API Tokens Read", "Account API Tokens Write")),
    ("GET", "/accounts/{account}/tokens/permission_groups", None, ("Account API Tokens Read",)),
    ("POST", "/accounts/{account}/tokens", {}, ("Account API Tokens Write",)),
    ("DELETE", "/accounts/{account}/tokens/" + "0" * 32, None, ("Account API Tokens Write",)),
    ("GET", "/accounts/{account}/workers/scripts", None, ("Workers Scripts Read", "Workers Scripts Write")),
    ("PUT", "/accounts/{account}/workers/scripts/edge", {"metadata": {}}, ("Workers Scripts Write",)),
    ("DELETE", "/accounts/{account}/workers/scripts/edge", None, ("Workers Scripts Write",)),
    ("GET", "/accounts/{account}/r2/buckets", None, ("Workers R2 Storage Read", "Workers R2 Storage Write")),
    ("POST", "/accounts/{account}/r2/buckets", {"name": "logs"}, ("Workers R2 Storage Write",)),
    ("GET", "/accounts/{account}/r2/buckets/assets/objects", None, ("Workers R2 Storage Bucket Item Read",)),
]
USER_CASES: list[tuple[str, str, Any, tuple[str, ...]]] = [
    ("GET", "/user", None, ("User Details Read", "User Details Write")),
    ("GET", "/memberships", None, ("Memberships Read", "Memberships Write")),
    ("GET", "/user/tokens", None, ("API Tokens Read", "API Tokens Write")),
    ("GET", "/user/tokens/permission_groups", None, ("API Tokens Read", "API Tokens Write")),
    ("POST", "/user/tokens", {}, ("API Tokens Write",)),
    ("GET", "/zones/{zone}/pagerules", None, ("Page Rules Read", "Page Rules Write")),
]
UNRELATED = "Notifications Read"


@pytest.mark.parametrize("case", [*CASES, *USER_CASES], ids=lambda case: f"{case[0]} {case[1].partition('?')[0]}")
def test_every_call_needs_its_own_group(fake: FakeCloudflare, case: tuple[str, str, Any, tuple[str, ...]]) -> None:
    """Any of those named will do, and nothing else."""
    method, template, body, groups = case
    owner: Literal["user", "account"] = "user" if case in USER_CASES else "account"
    asked = path(fake, template)
    stranger = fake.ask(method, asked, token=fake.token(UNRELATED, owner=owner), body=body)
    assert (stranger.status, stranger.codes[0] in (9109, 10000)) == (403, True)
    for group in groups:
        answer = fake.ask(method, asked, token=fake.token(group, owner=owner), body=body)
        assert answer.status in (200, 400, 404), (group, answer.body)


def test_a_zone_is_not_another(fake: FakeCloudflare) -> None:
    """A token of one zone sees that one, and lists no other."""
    token = fake.token("DNS Write", "Zone Read", zone="example.com")
    for template, status in (("/zones/{zone}/dns_records", 200), ("/zones/{other}/dns_records", 403), ("/zones/{other}", 403)):
        assert fake.ask("GET", path(fake, template), token=token).status == status
    assert [one["name"] for one in fake.ask("GET", "/zones", token=token).result] == ["example.com"]
    assert fake.ask("GET", "/zones", token=token, query={"name": "example.net"}).result == []


def test_who_may_read_no_zone_lists_none(fake: FakeCloudflare) -> None:
    """Without an error: the right to change records is not that to read zones."""
    answer = fake.ask("GET", "/zones", token=fake.token("DNS Write"))
    assert (answer.status, answer.result, answer.body["result_info"]["total_count"]) == (200, [], 0)


def test_deny_beats_allow(fake: FakeCloudflare) -> None:
    """Whatever the order of the policies."""
    parent = fake.parent_token()
    account = f"com.cloudflare.api.account.{fake.account_id}"
    groups = [{"id": named("DNS Write").id}]
    allow = {"effect": "allow", "permission_groups": groups, "resources": {account: {"com.cloudflare.api.account.zone.*": "*"}}}
    deny_on = {f"com.cloudflare.api.account.zone.{fake.zones['example.net']}": "*"}
    deny = {"effect": "deny", "permission_groups": groups, "resources": deny_on}
    for policies in ([allow, deny], [deny, allow]):
        body = {"name": "all but one", "policies": policies}
        value = fake.ask("POST", f"/accounts/{fake.account_id}/tokens", token=parent, body=body).result["value"]
        statuses = [fake.ask("GET", f"/zones/{zone}/dns_records", token=value).status for zone in fake.zones.values()]
        assert statuses == [200, 403]


def test_a_bucket_is_not_another(fake: FakeCloudflare) -> None:
    """Its own groups let one see what is in it, and nothing else of the account."""
    token = fake.token("Workers R2 Storage Bucket Item Read")
    fake.add_bucket("secret")
    base = f"/accounts/{fake.account_id}/r2/buckets"
    answers = [fake.ask("GET", f"{base}{rest}", token=token) for rest in ("/assets/objects", "/secret/objects", "")]
    assert [one.status for one in answers] == [200, 403, 403]
    assert fake.ask("GET", f"{base}/nowhere/objects", token=token).codes == [10006]
    fake.account.stores = False
    assert fake.ask("GET", base, token=fake.token("Workers R2 Storage Read")).codes == [10042]


def test_a_token_is_a_pair_of_keys_for_storage(fake: FakeCloudflare) -> None:
    """Its id, and the SHA-256 of its value; reading is not writing, and a rolled value is another."""
    reader, writer = (fake.token(f"Workers R2 Storage Bucket Item {verb}") for verb in ("Read", "Write"))
    for token, writes in ((reader, False), (writer, True)):
        secret = hashlib.sha256(token.value.encode()).hexdigest()
        assert [fake.s3(token.id, secret, "assets", write=write) for write in (False, True)] == [True, writes]
        assert not fake.s3(token.id, secret, "nowhere")
        assert not fake.s3(token.id, "0" * 64, "assets")
        assert not fake.s3("0" * 32, secret, "assets")
        fake.ask("PUT", f"/accounts/{fake.account_id}/tokens/{token.id}/value", headers=fake.global_key.headers, body={})
        assert not fake.s3(token.id, secret, "assets")


def test_users_things_are_not_for_accounts(fake: FakeCloudflare) -> None:
    """In the words that make people think that their token is wrong."""
    token = fake.parent_token("Zone Read")
    for asked in ("/user", "/memberships", "/user/tokens", "/user/tokens/permission_groups"):
        answer = fake.ask("GET", asked, token=token)
        assert (answer.status, answer.body["errors"][0]["message"]) == (403, "Valid user-level authentication not found")
    assert (fake.ask("GET", "/accounts", token=token).status, fake.ask("GET", "/accounts", token=token).codes) == (400, [1001])
    assert fake.ask("GET", path(fake, "/zones/{zone}/pagerules"), token=token).codes == [1011]


def test_analytics_are_refused_in_another_form(fake: FakeCloudflare) -> None:
    """With 200, and an envelope of GraphQL's own."""
    query = {"query": "{viewer{zones(filter:{zoneTag:$tag}){x}}}", "variables": {"zoneTag": fake.zones["example.com"]}}
    allowed = fake.ask("POST", "/graphql", token=fake.token("Analytics Read"), body=query)
    refused = fake.ask("POST", "/graphql", token=fake.token("Zone Read"), body=query)
    assert (allowed.status, allowed.body["errors"]) == (200, None)
    assert (refused.status, refused.body["data"], refused.body["errors"][0]["extensions"]["code"]) == (200, None, "authz")


def test_other_peoples_accounts_are_closed(fake: FakeCloudflare) -> None:
    """To the key, to tokens on everything, and to other accounts' tokens."""
    theirs = fake.add_account("Somebody else", member=False)
    zone = fake.add_zone("example.org", theirs)
    groups = [{"id": named("Zone Read").id}]
    everywhere = [{"effect": "allow", "permission_groups": groups, "resources": {"com.cloudflare.api.account.zone.*": "*"}}]
    body = {"name": "every zone", "policies": everywhere}
    mine = fake.ask("POST", "/user/tokens", headers=fake.global_key.headers, body=body).result["value"]
    assert len(fake.ask("GET", "/zones", token=mine).result) == 2
    for options in ({"token": mine}, {"headers": fake.global_key.headers}, {"token": fake.parent_token("Zone Read")}):
        assert fake.ask("GET", f"/zones/{zone.id}", **options).status == 403
        assert fake.ask("GET", f"/accounts/{theirs.id}", **options).status == 403
        assert "example.org" not in str(fake.ask("GET", "/zones", **options).body)


def test_the_key_may_do_everything_and_cannot_be_verified(fake: FakeCloudflare) -> None:
    """Both headers, rightly formed and known; it is no token."""
    key = fake.global_key.headers
    for asked in ("/user", "/user/tokens", "/accounts", "/zones", f"/accounts/{fake.account_id}/tokens"):
        assert fake.ask("GET", asked, headers=key).status == 200
    assert fake.ask("GET", "/user/tokens/verify", headers=key).codes == [1001]
    assert [use.operation for use in fake.estate.user.key_uses][:2] == ["user.get", "user.tokens.list"]
    assert {call.caller for call in fake.book.calls if call.status == 200} == {"global key"}


BAD = {
    (): (400, [9106], []),
    (("authorization", "Bearer short"),): (400, [6003], [6111]),
    (("authorization", "Basic dXNlcjpwYXNzd29yZA=="),): (400, [6003], [6111]),
    (("authorization", "Bearer " + "x" * 39 + "!"),): (400, [6003], [6111]),
    (("authorization", "Bearer " + "x" * 40),): (403, [9109], []),
    (("x-auth-email", "admin@example.com"), ("x-auth-key", "short")): (400, [6003], [6103]),
    (("x-auth-email", "nobody"), ("x-auth-key", "0" * 37)): (400, [6003], [6102]),
    (("x-auth-email", "nobody"), ("x-auth-key", "short")): (400, [6003], [6102, 6103]),
    (("x-auth-email", "admin@example.com"), ("x-auth-key", "0" * 37)): (403, [9103], []),
    (("x-auth-email", "admin@example.com"),): (400, [9106], []),
}


@pytest.mark.parametrize("sent", BAD, ids=str)
def test_credentials_that_are_none(fake: FakeCloudflare, sent: tuple[tuple[str, str], ...]) -> None:
    """Each mistake has its code, and some a chain below it."""
    answer = fake.ask("GET", "/zones", headers=dict(sent))
    chain = [one["code"] for error in answer.body["errors"] for one in error.get("error_chain", [])]
    assert (answer.status, answer.codes, chain) == BAD[sent]


def test_each_part_refuses_unknown_tokens_in_its_own_words(fake: FakeCloudflare) -> None:
    """Records, scripts and verify."""
    unknown = "x" * 40
    asked = ("/zones/{zone}/dns_records", "/accounts/{account}/workers/scripts", "/user/tokens/verify")
    answers = [fake.ask("GET", path(fake, one), token=unknown) for one in asked]
    assert [(one.status, one.codes) for one in answers] == [(403, [9109]), (401, [10000]), (401, [1000])]


@pytest.mark.parametrize(
    ("method", "asked", "status", "codes"),
    [
        ("GET", "/zones/example.com", 404, [7003, 7000]),
        ("GET", "/zones/{zone}/dns_records/x", 404, [7003, 7000]),
        ("GET", "/nothing", 404, [7000]),
        ("PATCH", "/user", 405, [7001]),
        ("POST", "/user/tokens/verify", 405, [7001]),
        ("GET", "/zones/{zone}/dns_records/" + "0" * 32, 404, [81044]),
        ("DELETE", "/accounts/{account}/workers/scripts/none", 404, [10007]),
        ("GET", "/accounts/{account}/oauth_clients/none", 404, [7000]),
        ("GET", "/accounts/{account}/members/" + "0" * 32, 403, [9109]),
    ],
)
def test_ways_that_lead_nowhere(fake: FakeCloudflare, method: str, asked: str, status: int, codes: list[int]) -> None:
    """Ids that are none, things that are not there, methods that are not meant."""
    token = fake.token("DNS Write", "Zone Read", "Workers Scripts Write", "Account Settings Write")
    answer = fake.ask(method, path(fake, asked), token=token)
    assert (answer.status, answer.codes) == (status, codes)


def test_records_and_purges_are_looked_at(fake: FakeCloudflare) -> None:
    """The same twice, an address that is none, a purge of nothing."""
    token, records = fake.token("DNS Write", "Cache Purge"), path(fake, "/zones/{zone}/dns_records")
    assert fake.ask("POST", records, token=token, body=RECORD).status == 200
    assert fake.ask("POST", records, token=token, body=RECORD).codes == [81058]
    assert fake.ask("POST", records, token=token, body={**RECORD, "content": "2001:db8::1"}).codes == [1004]
    for body in ({}, {"purge_everything": False}, {"files": [], "tags": []}):
        assert fake.ask("POST", path(fake, "/zones/{zone}/purge_cache"), token=token, body=body).codes == [1012]
    assert fake.ask("POST", records, token=token, headers={"content-type": "text/plain"}, body=RECORD).codes == [6006]


def test_access_to_the_api_can_be_switched_off(fake: FakeCloudflare) -> None:
    """For the account, but for members who are excepted; its own tokens go on."""
    token, own = fake.parent_token("Zone Read", "Account Settings Write", owner="user"), fake.token("Zone Read")
    account, zone = path(fake, "/accounts/{account}"), path(fake, "/zones/{zone}")
    off = fake.ask("PUT", account, token=token, body={"settings": {"api_access_enabled": False}})
    assert off.result["settings"]["api_access_enabled"] is False
    assert [fake.ask("GET", one, token=token).status for one in (account, zone)] == [403, 403]
    assert fake.ask("GET", "/zones", token=token).result == []
    assert fake.ask("GET", zone, token=own).status == 200
    next(iter(fake.account.members.values())).api_access = True
    assert fake.ask("GET", zone, token=token).status == 200
    memberships = fake.ask("GET", "/memberships", headers=fake.global_key.headers).result
    assert [one["api_access_enabled"] for one in memberships] == [True]


def test_access_can_be_switched_on_an_enterprise_plan_only() -> None:
    """Elsewhere it is refused, for the account and for members."""
    fake = FakeCloudflare(seed=3, clock=VirtualClock())
    token, account = fake.token("Account Settings Write"), f"/accounts/{fake.account_id}"
    member = f"{account}/members/{next(iter(fake.account.members))}"
    changes: dict[str, Any] = {account: {"settings": {"api_access_enabled": False}}, member: {"api_access_enabled": False}}
    for asked, body in changes.items():
        assert fake.ask("PUT", asked, token=token, body=body).status == 403


def test_the_audit_log_names_credentials(fake: FakeCloudflare) -> None:
    """What changed, by which token or by the key, from where; failures too, and no reads."""
    token, records = fake.token("DNS Write", "Account Settings Read", name="writer"), path(fake, "/zones/{zone}/dns_records")
    agent = {"user-agent": "lego/4"}
    fake.ask("GET", records, token=token)
    fake.ask("POST", records, token=token, body=RECORD, headers=agent, address="203.0.113.9")
    fake.advance(60)
    fake.ask("POST", records, body=RECORD, headers=fake.global_key.headers)
    log, days = path(fake, "/accounts/{account}/logs/audit"), {"since": "2026-01-05", "before": "2026-01-05"}
    newest, oldest = fake.ask("GET", log, token=token, query=days).result
    assert (oldest["actor"]["token_id"], oldest["actor"]["token_name"]) == (token.id, "writer")
    assert (oldest["actor"]["ip_address"], oldest["raw"]["user_agent"]) == ("203.0.113.9", "lego/4")
    assert (newest["actor"]["context"], newest["action"]["result"]) == ("api_key", "failure")
    first = fake.ask("GET", log, token=token, query={**days, "limit": 1, "direction": "asc"}).body
    assert first["result"] == [oldest]
    after = first["result_info"]["cursors"]["after"]
    assert fake.ask("GET", log, token=token, query={**days, "limit": 1, "direction": "asc", "cursor": after}).result == [newest]
    assert fake.ask("GET", log, token=token, query={"since": "2026-01-01"}).codes == [1004]
    assert fake.ask("GET", log, token=token, query={**days, "actor": "me"}).codes == [1004]


def test_a_token_may_be_for_one_worker(fake: FakeCloudflare) -> None:
    """That it can upload, whatever else the account has; not end it, and make no other."""
    tag, put = fake.add_worker("edge"), {"headers": {"content-type": "application/javascript"}, "body": "export default {}"}
    scripts = path(fake, "/accounts/{account}/workers/scripts")
    editor, admin = fake.token("Individual Workers Editor"), fake.token("Individual Workers Admin")
    fake.add_worker("other")
    assert fake.ask("PUT", f"{scripts}/edge", token=editor, **put).result["tag"] == tag  # type: ignore[arg-type]
    for name in ("other", "none"):
        assert fake.ask("PUT", f"{scripts}/{name}", token=editor, **put).status == 403  # type: ignore[arg-type]
    assert [fake.ask("DELETE", f"{scripts}/edge", token=token).status for token in (editor, admin)] == [403, 200]


def test_single_workers_are_named_by_their_tag_below_their_account(fake: FakeCloudflare) -> None:
    """And by tokens of accounts only."""
    tag, group = fake.add_worker("edge"), {"id": named("Individual Workers Editor", groups=WORKERS).id}
    account, worker = f"com.cloudflare.api.account.{fake.account_id}", "com.cloudflare.edge.worker.script"
    minter, users = fake.parent_token(), fake.parent_token(owner="user")

    def made(resources: Any, token: Held, base: str) -> list[int]:
        policy = {"effect": "allow", "permission_groups": [group], "resources": resources}
        return fake.ask("POST", base, token=token, body={"name": "edge", "policies": [policy]}).codes

    ours, theirs = path(fake, "/accounts/{account}/tokens"), "/user/tokens"
    assert made({account: {f"{worker}.{tag}": "*"}}, minter, ours) == []
    wrong = [{f"{worker}.{tag}": "*"}, {account: {f"{worker}.*": "*"}}, {account: {f"{worker}.edge": "*"}}, {account: "*"}]
    assert [made(resources, minter, ours) for resources in wrong] == [[1001]] * len(wrong)
    assert made({account: {f"{worker}.{tag}": "*"}}, users, theirs) == [1001]
