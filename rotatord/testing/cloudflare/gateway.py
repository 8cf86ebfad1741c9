"""The way of a request: what it asks, who asks, whether that is allowed, whether something is to go wrong.

Everything is written down on the way: the fake is its own judge.
"""

from __future__ import annotations

import ipaddress
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from rotatord.testing.cloudflare import audits, formats, places, products, tokens
from rotatord.testing.cloudflare.answers import failure, success
from rotatord.testing.cloudflare.asking import ROOT, Ask, Operation, find
from rotatord.testing.cloudflare.book import Book, Call
from rotatord.testing.cloudflare.estate import Estate, Grant, Token
from rotatord.testing.cloudflare.faults import Doubled, Fails, Fault, Faults, HalfPage, Refuse, Repeats, Weather
from rotatord.testing.cloudflare.limits import Limits
from rotatord.testing.cloudflare.refusals import Refused, refused
from rotatord.testing.cloudflare.rights import Caller, why_not
from rotatord.testing.wires import Hangs, Late, Reply, Wire

OPERATIONS = (*tokens.OPERATIONS, *places.OPERATIONS, *audits.OPERATIONS, *products.OPERATIONS)
_CREDENTIALS = {"authorization", "x-auth-email", "x-auth-key"}
_SUFFERED = {401, 403, 429}  # statuses that a consumer of a token suffers from
_TANGLED: Mapping[type, str] = {HalfPage: "half", Repeats: "repeats"}
_INVALID = {"classic": "invalid token", "platform": "invalid token, platform", "verify": "invalid token, verify"}


@dataclass
class _Waiting:
    """A late call: what is left to do, and when."""

    due: datetime
    land: Callable[[], None]


@dataclass
class _Request:
    """What is known of a request so far."""

    wire: Wire
    operation: Operation
    params: Mapping[str, str]
    query: Mapping[str, str]
    address: str
    agent: str
    caller: Caller | None = None


class Gateway:
    """Answers requests, one at a time."""

    def __init__(self, estate: Estate, book: Book, faults: Faults, limits: Limits) -> None:
        self.estate = estate
        self.book = book
        self.faults = faults
        self.limits = limits
        self.weather = Weather()
        self.address = "198.51.100.1"  # where callers are who do not say
        self.lock = threading.RLock()
        self.heard: list[Wire] = []  # as they came, but without credentials
        self._waiting: list[_Waiting] = []
        self._number = 0

    def answer(self, wire: Wire) -> tuple[Reply | None, Fault | None]:
        """The answer, and the fault that the connection has to suffer. No answer: hang up."""
        try:
            request = self._understood(wire)
        except Refused as error:
            return failure(error), None
        change = wire.method != "GET"
        shown = {name: value for name, value in wire.headers.items() if name not in _CREDENTIALS}
        with self.lock:
            self.heard.append(Wire(wire.method, wire.path, shown, wire.body))
            fault = self.faults.strike(request.operation.name) or self.weather.strike(change=change)
            self.land_due()
            if isinstance(fault, Hangs):
                self._note(request, 0, 0, fault)
                return None, fault
            if isinstance(fault, Late):
                self._note(request, 0, 0, fault, landed=False)
                due = self.estate.now() + timedelta(seconds=fault.seconds)
                self._waiting.append(_Waiting(due, lambda: self._land(request)))
                return None, fault
            return self._reply(request, fault), fault

    def _understood(self, wire: Wire) -> _Request:
        parts = urllib.parse.urlsplit(wire.path)
        if not parts.path.startswith(f"{ROOT}/"):
            raise refused("no such URI")
        operation, params = find(OPERATIONS, wire.method, parts.path.removeprefix(ROOT))
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        said = wire.headers.get("x-forwarded-for", "").partition(",")[0].strip()
        try:
            address = str(ipaddress.ip_address(said)) if said else self.address
        except ValueError:
            address = self.address
        return _Request(wire, operation, params, query, address, wire.headers.get("user-agent", ""))

    # -- one request --

    def _reply(self, request: _Request, fault: Fault | None) -> Reply:
        try:
            if isinstance(fault, Refuse):
                raise fault.error()
            reply = self._done(request, fault)
            if isinstance(fault, Doubled):
                reply = self._done(request, fault)
            if isinstance(fault, Fails):
                raise fault.error()
            self._note(request, reply.status, 0, fault)
        except Refused as error:
            self._note(request, error.said.status, error.said.code, fault)
            reply = failure(error)
        headers = {"CF-Ray": self._ray(), "Date": format_datetime(self.estate.now(), usegmt=True)}
        if request.caller is not None:
            headers |= self.limits.headers(request.caller.budget, self.estate.now())
        return replace(reply, headers={**reply.headers, **headers})

    def _done(self, request: _Request, fault: Fault | None) -> Reply:
        estate = self.estate
        edge = estate.spread.edge()
        try:
            caller = request.caller = self._known(request, edge)
            self.limits.draw(caller.budget, request.address, estate.now())
            result = self._run(request, caller, edge, fault)
        except Refused as error:
            self._suffered(request, error)
            raise
        if caller.grant is None or self._begun(caller.grant):
            estate.note_use(caller.uses(), request.operation.name, request.address, request.agent)
        return success(result)

    def _run(self, request: _Request, caller: Caller, edge: int, fault: Fault | None) -> Any:
        operation, wire, status = request.operation, request.wire, 200
        tangled = _TANGLED.get(type(fault), "")
        ask = Ask(
            self.estate,
            self.book,
            caller,
            edge,
            operation.name,
            operation.family,
            request.params,
            request.query,
            wire,
            tangled,
        )
        try:
            return operation.run(ask)
        except Refused as error:
            status = error.said.status
            raise
        finally:
            if wire.method != "GET":
                self.book.audit.append(audits.entry(ask, status, self._ray()))

    def _land(self, request: _Request) -> None:
        try:
            reply = self._done(request, None)
            self._note(request, reply.status, 0, None)
        except Refused as error:  # nobody is left to be told
            self._note(request, error.said.status, error.said.code, None)

    # -- who asks --

    def _known(self, request: _Request, edge: int) -> Caller:
        now = self.estate.now()
        self.limits.check_failures(request.address, now)
        try:
            return self._caller(request, edge)
        except Refused:
            self.limits.fail(request.address, now)
            raise

    def _caller(self, request: _Request, edge: int) -> Caller:
        headers, family = request.wire.headers, request.operation.family
        bearer = headers.get("authorization")
        if bearer is not None:
            scheme, _, text = bearer.partition(" ")
            if scheme.lower() != "bearer" or not formats.BEARER.fullmatch(text):
                raise refused("malformed token")
            return self._token_caller(request, text, edge)
        if family == "verify":
            raise refused("no credentials, verify")
        email, key = headers.get("x-auth-email"), headers.get("x-auth-key")
        if email is None or key is None:
            raise refused("no credentials")
        wrong = [not formats.EMAIL.fullmatch(email), not formats.KEY.fullmatch(key)]
        if any(wrong):
            raise refused("malformed email and key" if all(wrong) else "malformed email" if wrong[0] else "malformed key")
        mine = self.estate.user
        if (email, key) != (mine.email, mine.key):
            raise refused("unknown key")
        return Caller(self.estate, request.address, request.agent)

    def _token_caller(self, request: _Request, text: str, edge: int) -> Caller:
        estate, family = self.estate, request.operation.family
        known = estate.values.get(text)
        if known is None:
            raise refused(_INVALID[family], "unknown")
        token, value = known
        believed = value.believed.seen(edge, estate.now())
        caller = Caller(estate, request.address, request.agent, token, believed)
        tells = family == "verify" and estate.habits.verify == "tells" and (not believed or believed.status != "revoked")
        if believed is None or not (tells or self._begun(believed)):
            request.caller = caller
            raise refused(_INVALID[family], why_not(token, believed, text, estate.now()))
        condition = believed.condition
        if condition is not None and not tells and not condition.lets_in(request.address):
            request.caller = caller
            if family == "verify":
                raise refused("invalid token, verify", "wrong address")
            raise refused("wrong address", address=request.address)
        return caller

    def _begun(self, grant: Grant) -> bool:
        now = self.estate.now()
        return grant.shown_status(now) == "active" and (grant.not_before is None or now >= grant.not_before)

    # -- writing it down --

    def _suffered(self, request: _Request, error: Refused) -> None:
        token: Token | None = request.caller.token if request.caller else None
        if token is not None and error.said.status in _SUFFERED:
            self.book.refuse(request.operation.name, token, error.why, error.said.code, request.address)

    def _note(self, request: _Request, status: int, code: int, fault: Fault | None, *, landed: bool = True) -> None:
        name = request.caller.name if request.caller else ""
        operation, now = request.operation.name, self.estate.now()
        self.book.calls.append(Call(now, operation, name, request.address, request.agent, status, code, fault, landed))

    def land_due(self) -> None:
        """Let the late calls land whose time has come, in order."""
        now = self.estate.now()
        due = sorted((one for one in self._waiting if one.due <= now), key=lambda one: one.due)
        self._waiting = [one for one in self._waiting if one.due > now]
        for one in due:
            with self.estate.at(one.due):
                one.land()

    def _ray(self) -> str:
        self._number += 1
        return f"{self._number:016x}-LIS"
