"""What goes wrong at the strict Cloudflare: late news, lost and late calls, limits, and bodies that are none."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from rotatord.testing.clock import VirtualClock
from rotatord.testing.cloudflare import (
    SAID,
    Answered,
    CutOff,
    Doubled,
    Dropped,
    Fails,
    FakeCloudflare,
    Garbled,
    HalfPage,
    Hangs,
    Held,
    Lags,
    Late,
    NoAnswer,
    Rates,
    Refuse,
    Repeats,
    Said,
    Slow,
    Weather,
    Wire,
    named,
    throttled,
)
from rotatord.testing.cloudflare.gateway import OPERATIONS

MINT = "accounts.tokens.create"


class Desk:
    """The fake, and one who makes tokens at it."""

    def __init__(self, **options: Any) -> None:
        self.fake = FakeCloudflare(seed=5, **{"clock": VirtualClock(), **options})
        self.parent = self.fake.parent_token()
        self.base = f"/accounts/{self.fake.account_id}/tokens"
        resources = {f"com.cloudflare.api.account.zone.{self.fake.zones['example.com']}": "*"}
        policy = {"effect": "allow", "permission_groups": [{"id": named("DNS Write").id}], "resources": resources}
        self.body = {"name": "dns", "policies": [policy]}

    def ask(self, method: str, path: str = "", body: Any = None, **query: object) -> Answered:
        return self.fake.ask(method, self.base + path, token=self.parent, body=body, query=query)

    def made(self, name: str = "dns") -> Held:
        result = self.ask("POST", body={**self.body, "name": name}).result
        return Held(result["id"], result["value"])

    def records(self, token: Held | str) -> int:
        return self.fake.ask("GET", f"/zones/{self.fake.zones['example.com']}/dns_records", token=token).status


def seen(look: Callable[[], int], times: int = 30) -> set[int]:
    """What a number of looks show: each asks some edge."""
    return {look() for _ in range(times)}


# -- late news --


def test_a_fresh_token_is_refused_for_a_while() -> None:
    """By some edges and not by others, and by none once the bound has passed."""
    desk = Desk(lags=Lags(fresh=8.0))
    token = desk.made()
    assert seen(lambda: desk.records(token)) == {403}
    desk.fake.advance(7.0)
    assert seen(lambda: desk.records(token)) == {200, 403}
    desk.fake.advance(1.0)
    assert seen(lambda: desk.records(token)) == {200}
    assert {one.why for one in desk.fake.book.refused(working=True)} == {"not yet known here"}


@pytest.mark.parametrize("act", ["delete", "disable", "roll"])
def test_what_has_ended_is_accepted_for_a_while(act: str) -> None:
    """Deleted, disabled and rolled values alike."""
    desk = Desk(lags=Lags(ended=10.0))
    token = desk.made()
    match act:
        case "delete":
            desk.ask("DELETE", f"/{token.id}")
        case "disable":
            desk.ask("PUT", f"/{token.id}", {**desk.body, "status": "disabled"})
        case _:
            desk.ask("PUT", f"/{token.id}/value", {})
    desk.fake.advance(5.0)
    assert seen(lambda: desk.records(token)) == {200, 403}
    desk.fake.settle()
    assert seen(lambda: desk.records(token)) == {403}
    why = {"delete": "deleted", "disable": "disabled", "roll": "rolled"}[act]
    assert {one.why for one in desk.fake.book.refused(token.id)} == {why}


def test_an_enabled_token_is_refused_for_a_while() -> None:
    """Its being switched on again is news like any other."""
    desk = Desk(lags=Lags(fresh=8.0))
    token = desk.made()
    desk.fake.settle()
    desk.ask("PUT", f"/{token.id}", {**desk.body, "status": "disabled"})
    desk.ask("PUT", f"/{token.id}", {**desk.body, "status": "active"})
    desk.fake.advance(4.0)
    assert seen(lambda: desk.records(token)) == {200, 403}
    assert {one.why for one in desk.fake.book.refused(token.id)} == {"not yet active again here"}
    desk.fake.settle()
    assert seen(lambda: desk.records(token)) == {200}


def test_changed_rights_spread() -> None:
    """Until then some edges go by the policies of before."""
    desk = Desk(lags=Lags(rights=30.0))
    token = desk.made()
    policies = [{**desk.body["policies"][0], "permission_groups": [{"id": named("Zone Read").id}]}]
    desk.ask("PUT", f"/{token.id}", {**desk.body, "policies": policies})
    desk.fake.advance(15.0)
    assert seen(lambda: desk.records(token)) == {200, 403}
    desk.fake.settle()
    assert seen(lambda: desk.records(token)) == {403}


def test_lists_lag() -> None:
    """A new token is missing from some, a deleted one is in some."""
    desk = Desk(lags=Lags(listing=5.0))
    token = desk.made()
    desk.fake.advance(2.5)
    assert seen(lambda: len(desk.ask("GET").result)) == {1, 2}
    assert seen(lambda: desk.ask("GET", f"/{token.id}").status) == {200, 404}
    desk.fake.settle()
    desk.ask("DELETE", f"/{token.id}")
    desk.fake.advance(2.5)
    assert seen(lambda: len(desk.ask("GET").result)) == {1, 2}
    assert desk.ask("DELETE", f"/{token.id}").status == 404


def test_a_last_use_is_told_late_and_coarsely() -> None:
    """As fields of that kind are."""
    desk = Desk(lags=Lags(last_used=120.0, last_used_grain=60.0))
    token = desk.made()
    desk.fake.advance(90)
    desk.records(token)
    assert "last_used_on" not in desk.ask("GET", f"/{token.id}").result
    desk.fake.advance(120)
    assert desk.ask("GET", f"/{token.id}").result["last_used_on"] == "2026-01-05T12:01:00Z"


def test_news_spreads_the_same_way_again() -> None:
    """One seed is one run."""
    runs = []
    for _ in range(2):
        desk = Desk(lags=Lags(fresh=8.0))
        token = desk.made()
        runs.append([(desk.fake.advance(0.5), desk.records(token))[1] for _ in range(16)])
    assert runs[0] == runs[1]


# -- planned faults --


def test_a_lost_answer_is_done() -> None:
    """Nobody is told the value, and the token is there."""
    desk = Desk()
    desk.fake.faults.plan(MINT, Dropped())
    with pytest.raises(NoAnswer):
        desk.made()
    assert [token.name for token in desk.fake.book.minted()] == ["dns"]


def test_a_late_call_lands_when_its_time_has_come() -> None:
    """By the rights that its caller has then."""
    desk = Desk()
    desk.fake.faults.plan(MINT, Late(20.0), times=2)
    for _ in range(2):
        with pytest.raises(NoAnswer):
            desk.made()
    assert desk.fake.book.live("dns") == []
    desk.fake.advance(19)
    assert desk.fake.book.live("dns") == []
    desk.fake.advance(1)
    assert len(desk.fake.book.live("dns")) == 2
    assert desk.fake.book.twice() == {"dns": 2}
    assert [call.landed for call in desk.fake.book.calls] == [False, False, True, True]
    desk.fake.faults.plan(MINT, Late(20.0))
    with pytest.raises(NoAnswer):
        desk.made()
    desk.fake.delete(desk.parent.id)
    desk.fake.advance(20)
    assert len(desk.fake.book.live("dns")) == 2


def test_a_late_call_lands_at_its_own_moment() -> None:
    """However long nobody looked: what it did has spread for as long as it had time to."""
    desk = Desk(lags=Lags(fresh=8.0, listing=5.0))
    desk.fake.faults.plan(MINT, Late(20.0))
    with pytest.raises(NoAnswer):
        desk.made()
    desk.fake.advance(60)
    (landed,) = desk.fake.book.live("dns")
    assert desk.ask("GET", f"/{landed.id}").result["issued_on"] == "2026-01-05T12:00:20Z"
    assert seen(lambda: len(desk.ask("GET").result)) == {2}


def test_a_failure_may_have_been_done_or_not() -> None:
    """One status for both; a repeated request is done twice."""
    desk = Desk()
    desk.fake.faults.plan(MINT, Refuse("internal"))
    desk.fake.faults.plan(MINT, Fails("internal"), nth=2)
    desk.fake.faults.plan(MINT, Doubled(), nth=3)
    statuses = [desk.ask("POST", body=desk.body).status for _ in range(2)]
    assert (statuses, len(desk.fake.book.minted())) == ([500, 500], 1)
    assert desk.ask("POST", body=desk.body).status == 200
    assert len(desk.fake.book.minted()) == 3
    assert [type(fault).__name__ for _, fault in desk.fake.faults.struck] == ["Refuse", "Fails", "Doubled"]


def test_refusals_may_be_in_words_of_a_tests_own() -> None:
    """With any status, code and header."""
    desk = Desk()
    desk.fake.faults.plan("*", Refuse(Said(418, 4181, "I am a teapot"), (("Retry-After", "7"),)))
    answer = desk.ask("GET")
    assert (answer.status, answer.codes, answer.headers["Retry-After"]) == (418, [4181], "7")
    desk.fake.faults.plan("*.tokens.list", throttled(30))
    answer = desk.ask("GET")
    assert (answer.status, answer.codes, answer.headers["Retry-After"]) == (429, [971], "30")


def test_pages_may_lack_rows_or_repeat_them() -> None:
    """And nothing says so."""
    desk = Desk()
    for number in range(11):
        desk.made(f"token {number}")
    desk.fake.faults.plan("accounts.tokens.list", HalfPage())
    short = desk.ask("GET", per_page=6)
    assert (len(short.result), short.body["result_info"]["total_count"]) == (3, 12)
    desk.fake.faults.plan("accounts.tokens.list", Repeats(), times=2)
    pages = [desk.ask("GET", per_page=6, page=page).result for page in (1, 2)]
    assert pages[0][-1] == pages[1][0]


def test_without_a_socket_garbage_arrives_and_halves_do_not() -> None:
    """What is not JSON is the caller's trouble."""
    desk = Desk()
    desk.fake.faults.plan("*", Garbled(b'{"success": true, "result": null}', 200, "application/json"))
    assert desk.ask("GET").result is None
    for fault in (CutOff(), Hangs()):
        desk.fake.faults.plan("*", fault)
        with pytest.raises(NoAnswer):
            desk.ask("GET")


# -- over a socket --


def http_get(url: str, path: str, token: Held, **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    try:
        connection.request("GET", parts.path + path, headers={"Authorization": f"Bearer {token.value}", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_the_socket_suffers_what_is_planned() -> None:
    """Answers in pieces, in halves, of another kind, and none."""
    desk = Desk()
    with desk.fake as fake:
        assert fake.url.endswith("/client/v4")
        status, body, headers = http_get(fake.url, desk.base, desk.parent)
        assert (status, len(json.loads(body)["result"])) == (200, 1)
        assert headers["Date"] == "Mon, 05 Jan 2026 12:00:00 GMT"
        fake.faults.plan("*", Slow(0.01))
        assert json.loads(http_get(fake.url, desk.base, desk.parent)[1])["success"] is True
        fake.faults.plan("*", Garbled())
        assert b"502 Bad Gateway" in http_get(fake.url, desk.base, desk.parent)[1]
        fake.faults.plan("*", CutOff())
        with pytest.raises(http.client.IncompleteRead):
            http_get(fake.url, desk.base, desk.parent)
        for fault in (Dropped(), Hangs(0.01), Late(1.0)):
            fake.faults.plan("*", fault)
            with pytest.raises(http.client.RemoteDisconnected):
                http_get(fake.url, desk.base, desk.parent)


def test_the_socket_believes_where_a_client_says_that_it_is() -> None:
    """By X-Forwarded-For, or where the test says that everybody is."""
    desk = Desk()
    pinned = desk.fake.token("DNS Read", addresses=["203.0.113.0/24"])
    path = f"/zones/{desk.fake.zones['example.com']}/dns_records"
    with desk.fake as fake:
        assert http_get(fake.url, path, pinned)[0] == 403
        assert http_get(fake.url, path, pinned, **{"X-Forwarded-For": "203.0.113.7, 10.0.0.1"})[0] == 200
        assert http_get(fake.url, path, pinned, **{"X-Forwarded-For": "nonsense"})[0] == 403
        fake.address = "203.0.113.8"
        assert http_get(fake.url, path, pinned)[0] == 200
        assert http_get(fake.url, "/../elsewhere", pinned)[0] == 404


# -- limits --


def test_who_asks_too_much_is_shut_out() -> None:
    """All of a user's credentials together, each of an account's tokens alone; and told when to come back."""
    desk = Desk(rates=Rates(most=10, seconds=300))
    user, other = desk.fake.parent_token(owner="user"), desk.fake.token("Account API Tokens Read")
    key = desk.fake.global_key.headers
    for _ in range(5):
        desk.fake.ask("GET", "/user/tokens", token=user)
        answer = desk.fake.ask("GET", "/user/tokens", headers=key)
    assert answer.headers["Ratelimit"] == '"default";r=0;t=300'
    assert answer.headers["Ratelimit-Policy"] == '"default";q=10;w=300'
    desk.fake.advance(200)
    blocked = desk.fake.ask("GET", "/user/tokens", token=user)
    assert (blocked.status, blocked.codes, blocked.headers["Retry-After"]) == (429, [971], "300")
    assert "More than 10 requests per 300 seconds" in blocked.body["errors"][0]["message"]
    desk.fake.advance(299)
    assert desk.fake.ask("GET", "/user/tokens", headers=key).headers["Retry-After"] == "1"
    assert [desk.ask("GET").status, desk.fake.ask("GET", desk.base, token=other).status] == [200, 200]
    desk.fake.advance(1)
    assert desk.fake.ask("GET", "/user/tokens", token=user).status == 200
    assert [budget for _, budget in desk.fake.limits.blocks] == ["user"]


def test_the_limits_are_the_real_ones() -> None:
    """1200 in five minutes; 200 a second by address, on a clock that runs."""
    desk = Desk(rates=None)
    assert [desk.ask("GET").status for _ in range(1201)][-2:] == [200, 429]
    desk.fake.advance(300)
    assert desk.ask("GET").status == 200
    assert FakeCloudflare().limits.rates == Rates(1200, 300, per_second=200)


def test_an_address_may_ask_so_often_a_second() -> None:
    """Whoever asks from there."""
    desk = Desk(rates=Rates(per_second=3))
    assert [desk.ask("GET").status for _ in range(4)] == [200, 200, 200, 429]
    assert desk.fake.ask("GET", desk.base, token=desk.parent, address="203.0.113.1").status == 200
    desk.fake.advance(1)
    assert desk.ask("GET").status == 200


def test_too_many_wrong_credentials_close_an_address() -> None:
    """Where a test asks for that: good ones are refused there, too, for a while."""
    desk = Desk(rates=Rates(failures=3))
    for _ in range(3):
        assert desk.records("x" * 40) == 403
    assert desk.ask("GET").codes == [10502]
    assert desk.fake.ask("GET", desk.base, token=desk.parent, address="203.0.113.1").status == 200
    desk.fake.advance(300)
    assert desk.ask("GET").status == 200


# -- chance --


def test_weather_is_of_its_seed() -> None:
    """The same calls meet the same faults, about as many as were asked for."""
    kinds = []
    for seed in (1, 1, 2):
        weather = Weather(seed=seed, share=0.2)
        kinds.append([type(weather.strike(change=bool(number % 2))).__name__ for number in range(1000)])
    assert kinds[0] == kinds[1] != kinds[2]
    counted = Counter(kinds[0])
    assert 700 < counted["NoneType"] < 900
    assert {"Refuse", "Fails", "Dropped", "Late", "Garbled", "CutOff"} <= set(counted)


def test_in_bad_weather_everything_is_still_judged() -> None:
    """Whoever asks until it works has made more tokens than it heard of, and the book has them all."""
    desk = Desk(rates=Rates(most=1 << 20))
    desk.fake.weather = Weather(seed=7, share=0.5)
    heard = 0
    for _ in range(200):
        try:
            answer = desk.ask("POST", body=desk.body)
            heard += answer.status == 200
        except (NoAnswer, ValueError):
            pass
        desk.fake.advance(1.0)
        for token in desk.fake.book.live("dns"):
            desk.fake.delete(token.id)
    desk.fake.weather = Weather()
    desk.fake.advance(60)
    assert 0 < heard < len(desk.fake.book.minted("dns"))
    assert not any(desk.fake.book.twice().values()) or len(desk.fake.book.live("dns")) > 1


ANY_JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=5),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(
            some.sampled_from(["name", "policies", "condition", "request_ip", "in", "id", "resources", "effect", "settings"]),
            inner,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    operation=some.sampled_from(OPERATIONS),
    body=ANY_JSON,
    query=some.dictionaries(some.text(max_size=8), some.text(max_size=4)),
)
def test_whatever_is_asked_is_answered_in_an_envelope(operation: Any, body: Any, query: dict[str, str]) -> None:
    """No body, no query, no id makes the fake itself fail."""
    fake = FakeCloudflare(seed=6, clock=VirtualClock())
    path = operation.path
    known = {"account": fake.account_id, "zone": fake.zones["example.com"], "token": fake.parent_token().id}
    for name in ("account", "zone", "token", "member", "membership", "record", "client", "script", "bucket", "object"):
        path = path.replace(f"{{{name}}}", known.get(name, "0" * 32))
    for headers in (fake.global_key.headers, {"authorization": f"Bearer {fake.parent_token('DNS Write').value}"}):
        answer = fake.ask(operation.method, path, body=body, query=query, headers=headers)
        assert answer.status < 500
        assert operation.name == "graphql" or answer.body["success"] is (answer.status == 200)


@settings(max_examples=100, deadline=None)
@given(path=some.text(max_size=30), header=some.text(max_size=60), body=some.binary(max_size=30))
def test_whatever_comes_is_answered(path: str, header: str, body: bytes) -> None:
    """Paths, headers and bodies that nobody would send."""
    fake = FakeCloudflare(seed=6, clock=VirtualClock())
    reply, _ = fake.answer(Wire("PUT", f"/client/v4/{path}", {"authorization": header}, body))
    assert reply is not None
    assert 400 <= reply.status < 500
    wire = Wire("POST", f"/client/v4/accounts/{fake.account_id}/tokens", fake.global_key.headers, body)
    reply, _ = fake.answer(wire)
    assert reply is not None
    assert reply.status == 400


def test_guesses_are_marked() -> None:
    """Where nobody has written down what the real one says, the table says so; the well-known ones are no guesses."""
    guessed = {name for name, said in SAID.items() if said.guessed}
    assert {"quota", "no such token", "bad input", "api access off"} <= guessed
    assert not guessed & {"invalid token", "invalid token, verify", "wrong address", "not in common", "too many requests"}
