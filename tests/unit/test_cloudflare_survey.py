"""Who else may act in an account of Cloudflare's: told once by ``check``, where that is switched on, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from issuers.cloudflare import CloudflareTokens, create
from rotatord.errors import Retryable
from rotatord.livecheck import check
from rotatord.ports import Surroundings, Surveys
from rotatord.rights import CloudflareRight
from rotatord.testing.cloudflare import FakeCloudflare, Garbled, Habits, RunningClock
from rotatord.testing.world import World

A_DAY = 86_400.0


@pytest.fixture
def cloudflare() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(clock=RunningClock(0), habits=Habits(enterprise=True)) as started:
        yield started


def issuer_of(cloudflare: FakeCloudflare, *looks: str, **more: Any) -> CloudflareTokens:
    around = Surroundings(installation="here", state_dir="", now=cloudflare.clock.now, secret=str)
    parent = cloudflare.parent_token("Zone Read", *(looks or ("Account Settings Read",)))
    settings = {"token": parent.value, "endpoint": cloudflare.url, "allow_private": True, "account_id": cloudflare.account_id}
    return create({**settings, "survey": True, **more}, around)


def edited(cloudflare: FakeCloudflare, **by: Any) -> None:
    """Somebody makes a DNS record."""
    zone = cloudflare.zones["example.com"]
    record = {"type": "TXT", "name": f"n{len(cloudflare.book.calls)}.example.com", "content": "x"}
    assert cloudflare.ask("POST", f"/zones/{zone}/dns_records", body=record, **by).status == 200


def test_a_global_key_that_is_in_use_is_told(cloudflare: FakeCloudflare) -> None:
    """By whose it is, how often, and when last; not what tokens did, nor what was long ago."""
    issuer = issuer_of(cloudflare)
    edited(cloudflare, headers=cloudflare.global_key.headers)
    cloudflare.advance(8 * A_DAY)
    assert not any("Global API key" in sentence for sentence in issuer.survey())
    for _ in range(3):
        edited(cloudflare, headers=cloudflare.global_key.headers)
    edited(cloudflare, token=cloudflare.token("DNS Write"))
    (sentence,) = [sentence for sentence in issuer.survey() if "Global API key" in sentence]
    assert "admin@example.com made 3 changes in the last 7 days" in sentence


def test_applications_and_members_are_told(cloudflare: FakeCloudflare) -> None:
    """What an application may be granted; and for whom API access is on, or on although it is off for the account."""
    cloudflare.add_oauth_client("Deployer", ["workers.write", "zone.read"])
    bob = cloudflare.add_member("bob@example.com")
    issuer = issuer_of(cloudflare)
    found = "\n".join(issuer.survey())
    assert "Deployer is registered, and may be granted workers.write, zone.read" in found
    assert "API access is on: 2 members may make keys and tokens of their own (admin@example.com, bob@example.com)" in found
    bob.api_access = True
    cloudflare.account.settings["api_access_enabled"] = False
    assert "API access is off for the account, and on for bob@example.com" in "\n".join(issuer.survey())
    bob.api_access = None
    assert not any("API access" in sentence for sentence in issuer.survey())
    del cloudflare.account.settings["api_access_enabled"]
    assert any("API access cannot be told" in sentence for sentence in issuer.survey())
    cloudflare.account.type = "standard"
    assert any("API access is on: 2 members" in sentence for sentence in issuer.survey())


def test_what_is_not_shown_of_members_is_no_all_clear(cloudflare: FakeCloudflare) -> None:
    """Cloudflare documents no such thing: where it is left out, some may have access although the account has not."""
    issuer = issuer_of(cloudflare)
    account = f"/accounts/{cloudflare.account_id}"
    shown = cloudflare.ask("GET", f"{account}/members", headers=cloudflare.global_key.headers).body
    cloudflare.account.settings["api_access_enabled"] = False
    rows = [{key: value for key, value in row.items() if key != "api_access_enabled"} for row in shown["result"]]
    body = json.dumps({**shown, "result": rows}).encode()
    cloudflare.faults.plan("accounts.members.list", Garbled(body, 200, "application/json"))
    (sentence,) = [sentence for sentence in issuer.survey() if "API access is off" in sentence]
    assert "which members have it all the same is not shown" in sentence


def test_whether_members_may_let_applications_in_is_told(cloudflare: FakeCloudflare) -> None:
    """Of an account where that is on; one that does not say so says nothing."""
    issuer = issuer_of(cloudflare)
    assert any("public OAuth applications" in sentence for sentence in issuer.survey())
    cloudflare.account.settings["oauth_app_access_enabled"] = False
    assert not any("public OAuth applications" in sentence for sentence in issuer.survey())
    del cloudflare.account.settings["oauth_app_access_enabled"]
    assert not any("public OAuth applications" in sentence for sentence in issuer.survey())


def test_what_may_not_be_looked_at_is_told_as_such(cloudflare: FakeCloudflare) -> None:
    """A missing permission is no silence; a passing fault is none either."""
    found = list(issuer_of(cloudflare, "DNS Read").survey())
    assert len(found) == 3
    assert all("cannot be looked at" in sentence for sentence in found)
    issuer = issuer_of(cloudflare)
    cloudflare.faults.plan("accounts.logs.audit.list", Garbled(b"no", 200))
    with pytest.raises(Retryable):
        issuer.survey()


def test_check_tells_it_once_for_each_issuer(cloudflare: FakeCloudflare) -> None:
    """Not for each credential; and not at all where nobody asked for it."""
    cloudflare.account.settings["oauth_app_access_enabled"] = False
    world = World()
    world.add_backend()
    scope = {"template": "dns-edit", "zone": "example.com"}
    specs = [world.spec(name, scope=scope) for name in ("a", "b")]
    for on, times in ((True, 1), (False, 0)):
        issuer = issuer_of(cloudflare, survey=on)
        assert isinstance(issuer, Surveys)
        world.plugins.issuers["issuer"] = issuer
        found = [finding for finding in check(specs, world.plugins) if finding.subject == "others at issuer issuer"]
        assert [finding.ok for finding in found] == [True] * times
    cloudflare.faults.plan("accounts.logs.audit.list", Garbled(b"no", 200))
    world.plugins.issuers["issuer"] = issuer_of(cloudflare)
    (finding,) = [finding for finding in check(specs, world.plugins) if finding.subject == "others at issuer issuer"]
    assert finding.ok is None


def test_it_needs_one_permission_more(cloudflare: FakeCloudflare) -> None:
    """And only where it is switched on."""
    more = CloudflareRight("Account.Account Settings:Read", f"account/{cloudflare.account_id}")
    scope = {"template": "dns-edit", "zone": "example.com"}
    assert more in issuer_of(cloudflare).rights(scope, {})
    assert more not in issuer_of(cloudflare, survey=False).rights(scope, {})
