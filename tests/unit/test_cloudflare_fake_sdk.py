"""Cloudflare's own SDK takes every answer of the strict Cloudflare, with its validation on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from cloudflare import APIStatusError, Cloudflare

from rotatord.testing.cloudflare import SAID, FakeCloudflare, Habits, Held, Refuse, named
from rotatord.testing.cloudflare.gateway import OPERATIONS

EVERYTHING = (
    "account:Account Settings Write",
    "Zone Read",
    "DNS Write",
    "Cache Purge",
    "Page Rules Read",
    "Analytics Read",
    "Workers Scripts Write",
    "Workers R2 Storage Write",
)


@dataclass
class Stage:
    """The fake, and clients of it."""

    fake: FakeCloudflare
    open: Callable[..., Cloudflare]

    @functools.cached_property
    def account(self) -> Cloudflare:
        """By a token of the account's."""
        return self.open(self.fake.parent_token(*EVERYTHING))

    @functools.cached_property
    def user(self) -> Cloudflare:
        """By a token of a person."""
        return self.open(self.fake.parent_token(*EVERYTHING, "User Details Read", "Memberships Read", owner="user"))

    @property
    def id(self) -> str:
        return self.fake.account_id

    @property
    def zone(self) -> str:
        return self.fake.zones["example.com"]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    for name in ("API_TOKEN", "API_KEY", "EMAIL", "API_USER_SERVICE_KEY", "BASE_URL"):
        monkeypatch.delenv(f"CLOUDFLARE_{name}", raising=False)
    clients: list[Cloudflare] = []

    def client(token: Held | str | None = None, **options: Any) -> Cloudflare:
        value = token.value if isinstance(token, Held) else token
        made = Cloudflare(
            api_token=value, base_url=fake.url, max_retries=0, timeout=10.0, _strict_response_validation=True, **options
        )
        clients.append(made)
        return made

    with FakeCloudflare(seed=4, habits=Habits(enterprise=True)) as fake:
        fake.add_bucket("assets")
        yield Stage(fake, client)
        for one in clients:
            one.close()


def dns(stage: Stage) -> list[Any]:
    """A policy as one writes it: records of one zone."""
    groups = [{"id": named("DNS Write").id}]
    return [
        {"effect": "allow", "permission_groups": groups, "resources": {f"com.cloudflare.api.account.zone.{stage.zone}": "*"}}
    ]


def every_zone(stage: Stage) -> list[Any]:
    """The same on all zones of the account, nested."""
    resources = {f"com.cloudflare.api.account.{stage.id}": {"com.cloudflare.api.account.zone.*": "*"}}
    return [{"effect": "allow", "permission_groups": [{"id": named("DNS Write").id}], "resources": resources}]


def token_of_an_account(stage: Stage) -> None:
    """Made, seen, changed, rolled, verified, deleted."""
    tokens = stage.account.accounts.tokens
    made = tokens.create(
        account_id=stage.id,
        name="dns",
        policies=dns(stage),
        condition={"request_ip": {"in": ["203.0.113.0/24"], "not_in": ["203.0.113.7/32"]}},
        not_before="2026-01-01T00:00:00Z",
        expires_on="2099-01-01T00:00:00Z",
    )
    assert made is not None
    assert made.value is not None
    assert made.id is not None
    seen = tokens.get(made.id, account_id=stage.id)
    assert seen is not None
    assert (seen.status, seen.name, "value" in (seen.model_extra or {})) == ("active", "dns", False)
    assert seen.condition is not None
    assert seen.condition.request_ip is not None
    assert (seen.condition.request_ip.in_, seen.condition.request_ip.not_in) == (["203.0.113.0/24"], ["203.0.113.7/32"])
    assert [one.name for one in tokens.list(account_id=stage.id, direction="asc", per_page=5)] == ["parent", "dns"]
    changed = tokens.update(made.id, account_id=stage.id, name="dns", policies=every_zone(stage), status="disabled")
    assert changed is not None
    assert (changed.status, changed.condition, changed.expires_on) == ("disabled", None, None)
    rolled = tokens.value.update(made.id, account_id=stage.id)
    assert rolled != made.value
    own = tokens.verify(account_id=stage.id)
    assert own is not None
    assert own.status == "active"
    (group,) = tokens.permission_groups.list(account_id=stage.id, name="DNS Write")
    assert group.scopes == ["com.cloudflare.api.account.zone"]
    all_at_once = tokens.permission_groups.get(account_id=stage.id)
    assert all_at_once is not None
    assert len(all_at_once) > 60
    deleted = tokens.delete(made.id, account_id=stage.id)
    assert deleted is not None
    assert deleted.id == made.id


def token_of_a_user(stage: Stage) -> None:
    """The same for tokens of a person."""
    tokens = stage.user.user.tokens
    made = tokens.create(name="dns", policies=every_zone(stage))
    assert made is not None
    assert made.id is not None
    assert made.value is not None
    seen = tokens.get(made.id)
    assert seen is not None
    assert seen.name == "dns"
    assert [one.name for one in tokens.list(direction="desc")] == ["dns", "parent"]
    assert tokens.update(made.id, name="dns2", policies=dns(stage)) is not None
    assert tokens.value.update(made.id) != made.value
    own = tokens.verify()
    assert own is not None
    assert own.status == "active"
    assert len(list(tokens.permission_groups.list(scope="com.cloudflare.api.user"))) == 6
    deleted = tokens.delete(made.id)
    assert deleted is not None


def who_and_where(stage: Stage) -> None:
    """Whose token it is, and where it may be used."""
    user = stage.user
    mine = user.user.get()
    assert mine is not None
    (membership,) = user.memberships.list()
    assert membership.id is not None
    assert user.memberships.get(membership.id) is not None
    (account,) = user.accounts.list()
    seen = user.accounts.get(account_id=account.id)
    assert seen is not None
    assert seen.type == "enterprise"
    renamed = user.accounts.update(account_id=account.id, id=account.id, name="Renamed", type="enterprise")
    assert renamed is not None
    assert renamed.name == "Renamed"
    (zone,) = stage.account.zones.list(name="example.com")
    assert stage.account.zones.get(zone_id=zone.id) == zone


def members_and_applications(stage: Stage) -> None:
    """Who else gets in."""
    members, clients = stage.account.accounts.members, stage.account.iam.oauth_clients
    (member,) = members.list(account_id=stage.id)
    assert member.id is not None
    assert members.get(member.id, account_id=stage.id) is not None
    changed = members.update(member.id, account_id=stage.id, roles=[], extra_body={"api_access_enabled": True})
    assert changed is not None
    assert (changed.model_extra or {})["api_access_enabled"] is True
    client = stage.fake.add_oauth_client("deploys", ["workers.write"])
    (listed,) = clients.list(account_id=stage.id)
    assert listed.client_name == "deploys"
    assert clients.get(client, account_id=stage.id) is not None
    assert clients.delete(client, account_id=stage.id) is not None


def records_and_caches(stage: Stage) -> None:
    """What is done to zones."""
    client, zone = stage.account, stage.zone
    made = client.dns.records.create(zone_id=zone, type="A", name="www", content="192.0.2.1", ttl=60)
    assert made is not None
    assert made.name == "www.example.com"
    text = client.dns.records.create(zone_id=zone, type="TXT", name="example.com", content='"hello"', ttl=1)
    assert text is not None
    mail = client.dns.records.create(zone_id=zone, type="MX", name="example.com", content="mx.example.net", priority=5, ttl=1)
    assert mail is not None
    assert [one.id for one in client.dns.records.list(zone_id=zone, type="A")] == [made.id]
    assert client.dns.records.get(made.id, zone_id=zone) == made
    assert client.dns.records.delete(made.id, zone_id=zone) is not None
    assert client.cache.purge(zone_id=zone, purge_everything=True) is not None
    assert stage.user.page_rules.list(zone_id=zone) == []
    query = "{viewer{zones(filter:{zoneTag:$tag}){httpRequests1dGroups(limit:1){sum{requests}}}}}"
    assert client.post("/graphql", cast_to=object, body={"query": query, "variables": {"zoneTag": zone}})


def workers_and_storage(stage: Stage) -> None:
    """What is done to accounts."""
    client = stage.account
    code = ("worker.js", b"export default {}", "application/javascript+module")
    client.workers.scripts.update("edge", account_id=stage.id, metadata={"main_module": "worker.js"}, files=[code])
    (script,) = client.workers.scripts.list(account_id=stage.id)
    assert script.id == "edge"
    client.workers.scripts.delete("edge", account_id=stage.id)
    assert client.r2.buckets.create(account_id=stage.id, name="logs").name == "logs"
    listed = client.r2.buckets.list(account_id=stage.id).buckets
    assert listed is not None
    assert sorted(one.name or "" for one in listed) == ["assets", "logs"]
    assert client.r2.buckets.get("logs", account_id=stage.id).jurisdiction == "default"
    assert client.r2.buckets.list(account_id=stage.id, cf_r2_jurisdiction="eu").buckets == []
    assert client.get(f"/accounts/{stage.id}/r2/buckets/assets/objects", cast_to=object)
    assert client.put(f"/accounts/{stage.id}/r2/buckets/assets/objects/key", cast_to=object)


def audit_log(stage: Stage) -> None:
    """Who changed what, and by which credential."""
    key = stage.fake.global_key
    with_key = stage.open(api_email=key.email, api_key=key.key)
    by_key = with_key.accounts.tokens.create(account_id=stage.id, name="by hand", policies=dns(stage))
    stage.account.accounts.tokens.create(account_id=stage.id, name="by token", policies=dns(stage))
    found = list(stage.account.accounts.logs.audit.list(account_id=stage.id, since="2020-01-01", before="2099-01-01", limit=1))
    assert by_key is not None
    contexts = [(one.actor.context, one.actor.token_name) for one in found if one.actor is not None]
    assert contexts == [("api_token", "parent"), ("api_key", None)]


def operations(base: str, names: str) -> set[str]:
    return {f"{base}.{name}" for name in names.split()}


TOKENS = "create list get update delete roll verify permission_groups"
PARTS: dict[Callable[[Stage], None], set[str]] = {
    token_of_an_account: operations("accounts.tokens", TOKENS),
    token_of_a_user: operations("user.tokens", TOKENS),
    who_and_where: operations("accounts", "list get update")
    | operations("memberships", "list get")
    | operations("zones", "list get")
    | {"user.get"},
    members_and_applications: operations("accounts.members", "list get update")
    | operations("iam.oauth_clients", "list get delete"),
    records_and_caches: operations("dns.records", "list create get delete") | {"cache.purge", "page_rules.list", "graphql"},
    workers_and_storage: operations("workers.scripts", "list update delete")
    | operations("r2.buckets", "list create get")
    | operations("r2.objects", "list update"),
    audit_log: {"accounts.logs.audit.list"},
}


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_the_sdk_takes_every_answer(stage: Stage, part: Callable[[Stage], None]) -> None:
    """With its strict validation on; and all that the part asks succeeds."""
    part(stage)
    calls = {call.operation: call.status for call in stage.fake.book.calls}
    assert {name: calls.get(name) for name in PARTS[part]} == dict.fromkeys(PARTS[part], 200)


def test_every_operation_is_asked_by_the_sdk() -> None:
    """None is there untried."""
    assert set().union(*PARTS.values()) == {one.name for one in OPERATIONS}


def test_every_refusal_is_one_that_the_sdk_understands(stage: Stage) -> None:
    """Its status decides what the SDK raises, its codes can be read from that."""
    for name, said in SAID.items():
        stage.fake.faults.plan("accounts.tokens.list", Refuse(name))
        with pytest.raises(APIStatusError) as caught:
            stage.account.accounts.tokens.list(account_id=stage.id)
        codes = [error.code for error in caught.value.errors]
        assert (caught.value.status_code, codes[0]) == (said.status, said.code)


def test_the_pages_of_the_sdk_end(stage: Stage) -> None:
    """It asks for another until one is empty, and finds each token once."""
    for number in range(7):
        stage.account.accounts.tokens.create(account_id=stage.id, name=f"token {number}", policies=dns(stage))
    names = [one.name for one in stage.account.accounts.tokens.list(account_id=stage.id, per_page=5)]
    assert (len(names), len(set(names))) == (8, 8)
