"""Every answer of Cloudflare's that is known has its meaning: the table of the manual, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from docs.cloudflare_answers import ANSWERS, ASKED, LISTS, Row, table, verdict
from issuers.cloudflare import CloudflareTokens, create
from rotatord import errors
from rotatord.cloudflare_client import Cloudflare, CloudflareSettings, Family
from rotatord.cloudflare_errors import ERRORS, REFUSALS, Answer, error_of
from rotatord.errors import OutsideError, Retryable
from rotatord.ports import Accepted, Inconclusive, MintRequest, Query, RefusedVerdict, Surroundings
from rotatord.secret import Secret
from rotatord.testing.cloudflare import FakeCloudflare, Garbled, RunningClock
from rotatord.testing.contracts.common import assert_hides

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"{row.status} {row.shown[:50]}" for row in ANSWERS]
QUERY = Query(installation="here", credential="dns")


@pytest.fixture
def cloudflare() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(clock=RunningClock(0)) as started:
        yield started


@pytest.fixture
def issuer(cloudflare: FakeCloudflare) -> CloudflareTokens:
    parent = cloudflare.parent_token("Zone Read", owner="user")
    around = Surroundings(installation="here", state_dir="", now=cloudflare.clock.now, secret=str)
    return create({"token": parent.value, "endpoint": cloudflare.url, "allow_private": True}, around)


def test_there_are_forty_and_each_row_of_ours_is_met() -> None:
    """No row of the two tables is there for an answer that nobody knows."""
    assert len(ANSWERS) >= 40
    met = {next(row for row in ERRORS if row.fits(item.answer)).name for item in ANSWERS}
    assert {row.name for row in ERRORS} - met == set()
    assert all(any(row.fits(item.answer) for item in ANSWERS) for row in REFUSALS)


def test_the_page_is_drawn_from_the_table() -> None:
    """Who reads the manual reads what is tested."""
    assert table() in (ROOT / "docs" / "cloudflare.md").read_text(), "run `make docs`"


@pytest.mark.parametrize("row", ANSWERS, ids=NAMES)
def test_an_answer_to_us_is_an_error_of_ours(row: Row) -> None:
    """Its class decides what the engine does; its sentence names the status, what was asked, and what to do."""
    error = error_of(row.answer, ASKED)
    assert type(error) is getattr(errors, row.ours)
    assert str(row.status) in str(error)
    assert ASKED in str(error)
    assert len(str(error)) > len(f"Cloudflare answered {row.status} to {ASKED}: ") + 20


@pytest.mark.parametrize("row", ANSWERS, ids=NAMES)
def test_an_answer_to_a_probe_is_a_verdict(row: Row) -> None:
    """Only what Cloudflare says of this very token, at the place for its kind, refuses it."""
    assert verdict(row) == row.probed


@pytest.mark.parametrize("row", ANSWERS, ids=NAMES)
def test_over_the_wire_it_is_the_same(row: Row, cloudflare: FakeCloudflare, issuer: CloudflareTokens) -> None:
    """A list, a mint and a probe meet it as the table says; nothing shows a value."""
    value = cloudflare.token("DNS Read", owner="user").value
    content = "application/json" if row.raw is None else "text/html"
    cloudflare.faults.plan("user.tokens.list", Garbled(row.body.encode(), row.status, content))
    with pytest.raises(OutsideError) as raised:
        issuer.find(QUERY)
    assert type(raised.value).__name__ == row.ours
    cloudflare.advance(700)  # so long at most nothing is asked after a 429
    cloudflare.faults.clear()
    cloudflare.faults.plan("user.tokens.verify", Garbled(row.body.encode(), row.status, content), times=None)
    answer = issuer.probe(Secret({"token": value}), {"scope": {}})
    assert isinstance(answer, RefusedVerdict if row.probed == "refused" else Inconclusive)
    assert_hides(f"{raised.value} {answer}", [Secret({"token": value})])


@pytest.mark.parametrize(("name", "body"), LISTS, ids=[name for name, _ in LISTS])
def test_half_a_list_is_no_list(name: str, body: str, cloudflare: FakeCloudflare, issuer: CloudflareTokens) -> None:
    """Never "not found": what is not whole is asked again."""
    cloudflare.faults.plan("user.tokens.list", Garbled(body.encode(), 200, "application/json"))
    with pytest.raises(Retryable):
        issuer.find(QUERY)
    cloudflare.faults.clear()
    assert list(issuer.find(QUERY)) == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"success":true,"errors":[],"messages":[],"result":null}',
        b'{"success":true,"errors":[],"messages":[],"result":{"id":"00000000000000000000000000000000"}}',
        b'{"success":true,"errors":[],"messages":[],"result":{"value":"x"}}',
        b'{"success":true,"errors":[],"messages":[],"result":{"id":"0","value":""}}',
        b'{"success":true,"errors":[],"result":[',
    ],
)
def test_a_mint_whose_answer_lacks_something_may_have_made_a_token(
    body: bytes, cloudflare: FakeCloudflare, issuer: CloudflareTokens
) -> None:
    """It is Retryable, so that what it made is searched for by its name, and found."""
    scope = {"permissions": ["Zone.DNS:Edit"], "resources": ["zone/example.com"]}
    request = MintRequest(
        installation="here", credential="dns", rotation="rot_1", generation=1, scope=scope, parameters={}, ttl=timedelta(days=1)
    )
    cloudflare.faults.plan("user.tokens.create", Garbled(body, 200, "application/json"))
    with pytest.raises(Retryable):
        issuer.mint(request, None)
    assert [live.rotation for live in issuer.find(QUERY)] == ["rot_1"]


def test_a_value_in_an_answer_is_struck_out() -> None:
    """Whatever Cloudflare should come to quote."""
    value = "cfut_" + "Ab1" * 14
    for quoted in (value, "Ab1" * 14):
        answer = Answer(400, {"success": False, "errors": [{"code": 1001, "message": f"bad token {quoted}"}]})
        assert quoted not in str(error_of(answer, ASKED))


def test_after_a_429_nothing_is_sent_until_the_block_is_over(cloudflare: FakeCloudflare, issuer: CloudflareTokens) -> None:
    """The one who was told waits; what is asked meanwhile is answered here, with the seconds that are left."""
    cloudflare.faults.plan("user.tokens.list", Garbled(b"error code: 1015", 429, "text/plain"))
    with pytest.raises(Retryable) as raised:
        issuer.find(QUERY)
    assert raised.value.retry_after == 300
    cloudflare.advance(100)
    before = len(cloudflare.book.calls)
    with pytest.raises(Retryable, match="is not asked") as raised:
        issuer.find(QUERY)
    assert raised.value.retry_after == 200
    assert isinstance(issuer.probe(Secret({"token": "cfut_" + "a" * 48}), {"scope": {}}), Inconclusive)
    assert len(cloudflare.book.calls) == before
    cloudflare.advance(201)
    assert list(issuer.find(QUERY)) == []


def test_an_accounts_token_that_is_throttled_throttles_nobody_else(cloudflare: FakeCloudflare) -> None:
    """Each of them has a quota of its own; a user's tokens share one."""
    parent = cloudflare.parent_token("Zone Read")
    around = Surroundings(installation="here", state_dir="", now=cloudflare.clock.now, secret=str)
    settings = {"token": parent.value, "endpoint": cloudflare.url, "allow_private": True, "account_id": cloudflare.account_id}
    issuer = create(settings, around)
    value = cloudflare.token("DNS Read").value
    cloudflare.faults.plan("accounts.tokens.verify", Garbled(b"error code: 1015", 429, "text/plain"))
    assert isinstance(issuer.probe(Secret({"token": value}), {"scope": {}}), Inconclusive)
    assert list(issuer.find(QUERY)) == []
    assert isinstance(issuer.probe(Secret({"token": value}), {"scope": {}}), Accepted)


def test_a_clock_set_back_prolongs_no_block(cloudflare: FakeCloudflare) -> None:
    """What was known of another time is not believed."""
    now = [cloudflare.clock.now()]
    around = Surroundings(installation="here", state_dir="", now=lambda: now[0], secret=str)
    parent = cloudflare.parent_token("Zone Read", owner="user")
    settings = CloudflareSettings(token=parent.value, endpoint=cloudflare.url, allow_private=True)
    client = Cloudflare(settings, around)
    cloudflare.faults.plan("user.tokens.list", Garbled(b"error code: 1015", 429, "text/plain"))
    with pytest.raises(Retryable):
        client.calls().pages(Family().base)
    now[0] -= timedelta(days=1)
    assert client.calls().pages(Family().base)
