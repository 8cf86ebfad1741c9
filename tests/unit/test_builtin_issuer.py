"""The built-in issuer: the look of its tokens, what lies on disk, allow-lists, suspension, and its introspection."""

from __future__ import annotations

import base64
import json
import re
import secrets
import socket
import sqlite3
import stat
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from issuers.builtin import BuiltinIssuer, create
from issuers.builtin_server import Callers, IntrospectionServer, Limits
from issuers.builtin_token import ALPHABET, check_digits, is_well_formed, main, make, scanner_regex
from rotatord.clock import SystemClock
from rotatord.errors import Invalid, NotFound, Retryable
from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    Inventory,
    LastUsed,
    Minted,
    MintRequest,
    Query,
    RefusedVerdict,
    Serves,
    Surroundings,
    Suspend,
)
from rotatord.secret import Secret

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CALLER = "the-callers-own-secret"


class Bench:
    """An issuer, a time that the test moves, and a caller's secret that it may change."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.time = START
        self.caller = CALLER

    def issuer(self, **settings: Any) -> BuiltinIssuer:
        return create(settings, self.surroundings())

    def surroundings(self) -> Surroundings:
        return Surroundings(
            installation="inst",
            state_dir=str(self.directory),
            now=lambda: self.time,
            secret=lambda _: self.caller,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "state")


@pytest.fixture
def issuer(bench: Bench) -> Iterator[BuiltinIssuer]:
    made = bench.issuer(introspection={"listen": "127.0.0.1:0", "secret": {"file": "caller"}})
    yield made
    made.close()


def mint(issuer: BuiltinIssuer, **changes: Any) -> Minted:
    wanted: dict[str, Any] = {
        "installation": "inst",
        "credential": "web",
        "rotation": "rot_1",
        "generation": 1,
        "scope": {"permissions": ["read", "write"], "resources": ["zone/a"]},
        "parameters": {},
        **changes,
    }
    return issuer.mint(MintRequest(**wanted), None)


class Caller:
    """A service that introspects."""

    def __init__(self, address: str) -> None:
        self.connection = HTTPConnection(address.removeprefix("http://"), timeout=5)

    def ask(self, token: str, ip: str | None = None, secret: str | None = CALLER) -> tuple[int, JsonMap]:
        form = {"token": token} | ({"ip": ip} if ip else {})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        return self.send("POST", "/introspect", urllib.parse.urlencode(form), headers)

    def send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> tuple[int, JsonMap]:
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.fixture
def caller(issuer: BuiltinIssuer) -> Iterator[Caller]:
    made = Caller(issuer.start())
    yield made
    made.connection.close()


# --- the look of a token -------------------------------------------------------------------------------------------


@given(st.text(ALPHABET, min_size=30, max_size=30))
def test_every_token_is_well_formed_and_found_by_the_scanner(body: str) -> None:
    """Whatever the randomness gives, the token verifies, has 40 characters and matches the published expression."""
    token = make("rtd_", lambda *_: body)
    assert is_well_formed(token, "rtd_")
    assert len(token) == 40
    assert re.findall(scanner_regex("rtd_"), f'{{"key": "{token}"}}') == [token]


@given(st.text(ALPHABET, min_size=30, max_size=30), st.integers(0, 35), st.sampled_from(ALPHABET))
def test_one_changed_character_breaks_the_check_digits(body: str, place: int, other: str) -> None:
    """CRC32 finds every single changed character."""
    token = make("x_", lambda *_: body)
    changed = token[: 2 + place] + other + token[3 + place :]
    assert is_well_formed(changed, "x_") == (changed == token)


def test_check_digits_are_those_of_the_published_format() -> None:
    """CRC32 of the random part, in base62 with digits before capitals, padded with zeros to six."""
    assert check_digits("0" * 30) == "2C8GjS"  # 0x77e5db82
    assert check_digits("") == "000000"


def test_the_expression_is_printed_without_a_daemon(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One command prints the expression, and judges tokens without repeating them."""
    assert main(["--prefix", "acme_"]) == 0
    assert capsys.readouterr().out == r"\bacme_[0-9A-Za-z]{36}\b" + "\n"
    token = make("acme_", lambda alphabet, length: "".join(secrets.choice(alphabet) for _ in range(length)))
    monkeypatch.setattr("sys.stdin", StringIO(f"{token}\n{token[:-1]}~\n"))
    assert main(["--prefix", "acme_", "--check"]) == 1
    assert capsys.readouterr().out == "1: well-formed\n2: malformed\n"


# --- what is stored ------------------------------------------------------------------------------------------------


def test_no_token_is_on_disk(bench: Bench, issuer: BuiltinIssuer) -> None:
    """The store and its side files hold no token, raw or encoded, and nobody else can read them."""
    tokens = [mint(issuer).fields.reveal("token") for _ in range(20)]
    files = list(bench.directory.iterdir())
    stored = b"".join(file.read_bytes() for file in files)
    assert len(files) >= 2
    for token in tokens:
        for form in (token.encode(), base64.b64encode(token.encode()), token.encode().hex().encode(), token[4:34].encode()):
            assert form not in stored
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_restart_changes_nothing(bench: Bench, issuer: BuiltinIssuer) -> None:
    """Live, suspended and revoked tokens and the last use are the same after the daemon starts anew."""
    live, suspended, revoked = mint(issuer), mint(issuer), mint(issuer)
    issuer.introspect(live.fields.reveal("token"), None)
    issuer.suspend(suspended.ref, {})
    issuer.revoke(revoked.ref, None, {})
    issuer.close()
    again = bench.issuer()
    assert isinstance(again.probe(live.fields, {}), Accepted)
    assert again.probe(suspended.fields, {}) == RefusedVerdict("suspended")
    assert again.probe(revoked.fields, {}) == RefusedVerdict("revoked")
    assert again.last_used(live.ref, {}) == START
    assert {found.ref: found.suspended for found in again.inventory()} == {live.ref: False, suspended.ref: True}
    again.close()


def test_making_an_issuer_touches_nothing(bench: Bench) -> None:
    """The factory does no I/O."""
    bench.issuer(introspection={"listen": "127.0.0.1:0", "secret": {"file": "caller"}})
    assert not bench.directory.exists()


def test_stores_in_one_file_are_apart(bench: Bench, issuer: BuiltinIssuer) -> None:
    """Two issuers with different ``store`` settings do not see each other's tokens; with the same one they do."""
    minted = mint(issuer)
    other, same = bench.issuer(store="other"), bench.issuer(prefix="new_")
    assert other.inventory() == []
    assert other.find(Query(installation="inst", credential="web", ref=minted.ref)) == []
    other.revoke(minted.ref, None, {})
    assert other.probe(minted.fields, {}) == RefusedVerdict("never issued")
    assert isinstance(same.probe(minted.fields, {}), Accepted)
    other.close()
    same.close()


# --- the life of a token -------------------------------------------------------------------------------------------


def test_it_has_the_powers_that_the_design_asks_for(issuer: BuiltinIssuer) -> None:
    """Suspension, last use, inventory and serving are found by isinstance."""
    assert isinstance(issuer, Suspend)
    assert isinstance(issuer, LastUsed)
    assert isinstance(issuer, Inventory)
    assert isinstance(issuer, Serves)


def test_found_by_labels_and_by_ref(issuer: BuiltinIssuer) -> None:
    """find() gives what carries the labels, all of a credential's or one rotation's, with labels and dates."""
    one, two = mint(issuer, ttl=timedelta(hours=1)), mint(issuer, rotation="rot_2", generation=2)
    mint(issuer, credential="other")
    mint(issuer, installation="elsewhere")
    both = issuer.find(Query(installation="inst", credential="web"))
    assert {found.ref for found in both} == {one.ref, two.ref}
    (found,) = issuer.find(Query(installation="inst", credential="web", rotation="rot_1"))
    assert (found.ref, found.rotation, found.generation, found.created_at) == (one.ref, "rot_1", 1, START)
    assert found.expires_at == one.expires_at == START + timedelta(hours=1)
    assert [f.ref for f in issuer.find(Query(installation="inst", credential="web", ref=two.ref))] == [two.ref]


def test_expiry_is_the_moment_it_says(bench: Bench, issuer: BuiltinIssuer) -> None:
    """A token works until just before its end, and is neither accepted nor listed from then on."""
    minted = mint(issuer, ttl=timedelta(minutes=5))
    bench.time = START + timedelta(minutes=5) - timedelta(microseconds=1)
    assert isinstance(issuer.probe(minted.fields, {}), Accepted)
    bench.time = START + timedelta(minutes=5)
    assert issuer.probe(minted.fields, {}) == RefusedVerdict("expired")
    assert issuer.introspect(minted.fields.reveal("token"), None) == {"active": False}
    assert issuer.inventory() == []


def test_a_probe_sees_the_exact_scope(issuer: BuiltinIssuer) -> None:
    """What was asked for is what is shown, ref included."""
    scope = {"permissions": ["a"], "ip_allow": ["192.0.2.0/24"]}
    minted = mint(issuer, scope=scope)
    assert issuer.probe(minted.fields, {}) == Accepted(scope=scope, ref=minted.ref)


def test_revoking_is_immediate_final_and_idempotent(issuer: BuiltinIssuer) -> None:
    """Revoking twice, or what never was, succeeds; nothing brings a revoked token back."""
    minted = mint(issuer)
    for _ in range(2):
        issuer.revoke(minted.ref, None, {})
    issuer.revoke("tok-never", None, {})
    assert issuer.probe(minted.fields, {}) == RefusedVerdict("revoked")
    assert issuer.find(Query(installation="inst", credential="web", ref=minted.ref)) == []
    with pytest.raises(NotFound):
        issuer.resume(minted.ref, {})


def test_suspension_is_reversible_and_idempotent(issuer: BuiltinIssuer) -> None:
    """A suspended token is refused but listed as suspended; resumed, it works as before."""
    minted = mint(issuer)
    for _ in range(2):
        issuer.suspend(minted.ref, {})
    assert issuer.probe(minted.fields, {}) == RefusedVerdict("suspended")
    assert [found.suspended for found in issuer.inventory()] == [True]
    for _ in range(2):
        issuer.resume(minted.ref, {})
    assert isinstance(issuer.probe(minted.fields, {}), Accepted)


def test_the_dead_are_forgotten_in_the_end(bench: Bench, issuer: BuiltinIssuer) -> None:
    """A revoked token's row goes after a while, so the file does not grow for ever."""
    old = mint(issuer)
    issuer.revoke(old.ref, None, {})
    bench.time = START + timedelta(days=100)
    issuer.revoke(mint(issuer).ref, None, {})
    assert issuer.probe(old.fields, {}) == RefusedVerdict("never issued")


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "parameters", "expected"),
    [
        ({"permision": ["read"]}, {}, "did you mean 'permissions'"),
        ({"permissions": ["raed"]}, {}, "did you mean 'read'"),
        ({"permissions": ["read write"]}, {}, "scope.permissions.0"),
        ({"permissions": "read"}, {}, "scope.permissions"),
        ({"ip_allow": ["192.0.2.1/24"]}, {}, "scope.ip_allow"),
        ({}, {"user": "x"}, "takes no parameter 'user'"),
    ],
)
def test_bad_scopes_are_named(bench: Bench, scope: JsonMap, parameters: JsonMap, expected: str) -> None:
    """Each mistake is a sentence that names its place, and minting it is Invalid."""
    issuer = bench.issuer(permissions=["read", "write"])
    problems = issuer.check(scope, parameters)
    assert len(problems) == 1
    assert expected in problems[0]
    with pytest.raises(Invalid):
        mint(issuer, scope=scope, parameters=parameters)
    issuer.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"prefx": "a_"},
        {"prefix": "no-underscore"},
        {"introspection": {"listen": "0.0.0.0:80", "secret": {"file": "x"}}},
        {"introspection": {"listen": "127.0.0.1", "secret": {"file": "x"}}},
        {"introspection": {"listen": "127.0.0.1:99999", "secret": {"file": "x"}}},
        {"introspection": {"listen": "127.0.0.1:80", "secret": "clear"}},
        {"introspection": {"listen": "127.0.0.1:80"}},
    ],
)
def test_bad_settings_are_refused(bench: Bench, settings: JsonMap) -> None:
    """An unknown key, a prefix that cannot be scanned for, an open address, a secret that is a value."""
    with pytest.raises(ValidationError):
        create(settings, bench.surroundings())


def test_a_value_cannot_be_proposed(issuer: BuiltinIssuer) -> None:
    """This issuer chooses its values."""
    request = MintRequest(installation="i", credential="c", rotation="r", generation=1, scope={}, parameters={})
    with pytest.raises(Invalid):
        issuer.propose(request)
    with pytest.raises(Invalid):
        issuer.mint(request, Secret({"token": "mine"}))


# --- introspection -------------------------------------------------------------------------------------------------


def test_introspection_tells_what_a_token_is(bench: Bench, issuer: BuiltinIssuer, caller: Caller) -> None:
    """An active token's answer has scope, credential, ref and dates, and no more; and it is a use."""
    minted = mint(issuer, ttl=timedelta(hours=1))
    assert issuer.last_used(minted.ref, {}) is None
    bench.time = START + timedelta(seconds=3)
    status, answer = caller.ask(minted.fields.reveal("token"))
    assert status == 200
    assert answer == {
        "active": True,
        "token_type": "Bearer",
        "scope": "read write",
        "resources": ["zone/a"],
        "client_id": "web",
        "sub": "web",
        "jti": minted.ref,
        "iat": int(START.timestamp()),
        "exp": int(START.timestamp()) + 3600,
    }
    assert issuer.last_used(minted.ref, {}) == bench.time


def test_introspection_of_anything_else_is_only_inactive(bench: Bench, issuer: BuiltinIssuer, caller: Caller) -> None:
    """Unknown, expired, suspended and revoked look the same, and none of it is a use."""
    expired, suspended, revoked = mint(issuer, ttl=timedelta(seconds=1)), mint(issuer), mint(issuer)
    bench.time = START + timedelta(seconds=2)
    issuer.suspend(suspended.ref, {})
    issuer.revoke(revoked.ref, None, {})
    for token in ("rtd_nonsense", *(m.fields.reveal("token") for m in (expired, suspended, revoked))):
        assert caller.ask(token) == (200, {"active": False})
    assert all(issuer.last_used(m.ref, {}) is None for m in (expired, suspended, revoked))


def test_our_own_probes_are_no_use(issuer: BuiltinIssuer) -> None:
    """last_used() knows only others."""
    minted = mint(issuer)
    issuer.probe(minted.fields, {})
    assert issuer.last_used(minted.ref, {}) is None


def test_last_use_is_exact_while_we_run_and_known_to_the_second_after(bench: Bench, issuer: BuiltinIssuer) -> None:
    """Uses within one second cost no write; a later one does, so a crash forgets at most a second."""
    minted = mint(issuer)
    for milliseconds in (0, 300, 900, 1500, 1600):
        bench.time = START + timedelta(milliseconds=milliseconds)
        issuer.introspect(minted.fields.reveal("token"), None)
    assert issuer.last_used(minted.ref, {}) == START + timedelta(milliseconds=1600)
    crashed = bench.issuer()
    assert crashed.last_used(minted.ref, {}) == START + timedelta(milliseconds=1500)
    crashed.close()


def test_a_locked_file_holds_up_no_answer(bench: Bench, issuer: BuiltinIssuer) -> None:
    """While somebody else has the file (a backup), tokens are answered for at once and their use is remembered."""
    minted = mint(issuer)
    other = sqlite3.connect(bench.directory / "builtin.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert issuer.introspect(minted.fields.reveal("token"), None)["active"]
    assert issuer.last_used(minted.ref, {}) == START
    other.execute("ROLLBACK")
    other.close()


@pytest.mark.parametrize(
    ("ip", "active"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("192.0.3.7", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        (None, False),
    ],
)
def test_the_allow_list_is_kept(issuer: BuiltinIssuer, caller: Caller, ip: str | None, active: bool) -> None:
    """Only a given address that is on the list makes the token active; a refused attempt is no use."""
    minted = mint(issuer, scope={"ip_allow": ["192.0.2.0/24", "2001:db8::/32"]})
    assert caller.ask(minted.fields.reveal("token"), ip)[1]["active"] is active
    assert (issuer.last_used(minted.ref, {}) is not None) is active


def test_callers_must_know_the_secret(bench: Bench, issuer: BuiltinIssuer, caller: Caller) -> None:
    """None or a wrong secret is 401; a replaced one is honoured at once, the old one not for long."""
    token = mint(issuer).fields.reveal("token")
    assert caller.ask(token, secret=None)[0] == 401
    assert caller.ask(token, secret="wrong")[0] == 401
    assert caller.ask(token)[0] == 200
    bench.caller = "replaced"
    bench.time = START + timedelta(seconds=2)
    assert caller.ask(token, secret="replaced")[0] == 200
    bench.time = START + timedelta(seconds=8)
    assert caller.ask(token)[0] == 401


def test_malformed_requests_are_refused(issuer: BuiltinIssuer) -> None:
    """A wrong path or method, no token, two tokens, a bad address, no length, too much: each its status, none a crash."""
    address = issuer.start()
    known = {"Authorization": f"Bearer {CALLER}"}
    for method, path, body, headers, expected in (
        ("GET", "/introspect", None, known, 405),
        ("GET", "/", None, known, 404),
        ("POST", "/other", "token=a", known, 404),
        ("POST", "/introspect", "tok=a", known, 400),
        ("POST", "/introspect", "token=a&token=b", known, 400),
        ("POST", "/introspect", "token=a&ip=here", known, 400),
        ("POST", "/introspect", "token=a", {**known, "Content-Length": "nine"}, 411),
        ("POST", "/introspect", "token=a", {**known, "Transfer-Encoding": "chunked"}, 411),
        ("POST", "/introspect", "token=" + "a" * 9000, known, 413),
    ):
        caller = Caller(address)
        assert caller.send(method, path, body, headers)[0] == expected, (method, path, expected)
        caller.connection.close()


def test_stopping_frees_the_address_and_can_be_repeated(issuer: BuiltinIssuer) -> None:
    """start() twice is one server; after stop() nothing listens there."""
    address = issuer.start()
    assert issuer.start() == address
    issuer.stop()
    issuer.stop()
    host, port = address.removeprefix("http://").split(":")
    with pytest.raises(ConnectionError), socket.create_connection((host, int(port)), timeout=2):
        pass


def test_without_introspection_nothing_listens(bench: Bench) -> None:
    """Serving is asked for, not given."""
    made = bench.issuer()
    assert made.start() == ""
    made.close()


def test_many_callers_at_once(issuer: BuiltinIssuer) -> None:
    """Threads that mint, ask and revoke side by side never see a live token refused or a dead one accepted."""
    address = issuer.start()
    wrong: list[str] = []

    def live() -> None:
        caller = Caller(address)
        for _ in range(20):
            minted = mint(issuer)
            token = minted.fields.reveal("token")
            if not caller.ask(token)[1]["active"]:
                wrong.append("a live one was refused")
            issuer.revoke(minted.ref, None, {})
            if caller.ask(token)[1]["active"]:
                wrong.append("a dead one was accepted")
        caller.connection.close()

    threads = [threading.Thread(target=live) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert wrong == []
    assert issuer.inventory() == []


@pytest.fixture
def strict(bench: Bench) -> Iterator[tuple[str, int]]:
    """A server with little patience and two connections at most: where it listens."""
    limits = Limits(request_seconds=0.3, idle_seconds=0.3, connections=2)
    callers = Callers(lambda: CALLER, bench.surroundings().now)
    server = IntrospectionServer("127.0.0.1", 0, lambda *_: {"active": False}, callers, limits)
    host, port = server.address.removeprefix("http://").split(":")
    yield host, int(port)
    server.stop()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /intro",
        b"POST /introspect HTTP/1.1\r\nContent-Le",
        b"POST /introspect HTTP/1.1\r\nContent-Length: 9\r\n\r\nto",
    ],
)
def test_a_slow_caller_is_hung_up_on(strict: tuple[str, int], sent: bytes) -> None:
    """Whoever stops in the middle of a request, or never begins one, does not keep its thread."""
    with socket.create_connection(strict, timeout=10) as connection:
        connection.sendall(sent)
        assert connection.recv(1000) == b""


def test_more_callers_than_are_served_are_turned_away(strict: tuple[str, int]) -> None:
    """The number of threads is bounded; who is there already is served."""
    body = b"POST /introspect HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection(strict, timeout=10) as one, socket.create_connection(strict, timeout=10) as two:
        for connection in (one, two):
            connection.sendall(body)
            assert connection.recv(1000).startswith(b"HTTP/1.1 401")
        with socket.create_connection(strict, timeout=10) as three:
            assert three.recv(1000) == b""
        one.sendall(body)
        assert one.recv(1000).startswith(b"HTTP/1.1 401")


def test_many_calls_wait_for_a_held_file_no_longer_than_one(bench: Bench) -> None:
    """Calls that queue behind each other while somebody holds the file all come back within the timeout promised."""
    issuer = bench.issuer()
    minted = mint(issuer)
    clock = SystemClock()
    took: list[float] = []

    def revoke() -> None:
        start = clock.monotonic()
        with pytest.raises(Retryable):
            issuer.revoke(minted.ref, None, {})
        took.append(clock.monotonic() - start)

    with closing(sqlite3.connect(bench.directory / "builtin.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        threads = [threading.Thread(target=revoke) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert len(took) == 4
    assert max(took) < issuer.timeout
    issuer.close()
