"""The strict Cloudflare as tests hold it: what to make, what to break, what to ask afterwards."""

from __future__ import annotations

import hashlib
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self

from rotatord.testing.cloudflare import catalogue, products
from rotatord.testing.cloudflare.asking import ROOT
from rotatord.testing.cloudflare.book import Book
from rotatord.testing.cloudflare.catalogue import ACCOUNT, BUCKET, USER, WORKER, ZONE, Group
from rotatord.testing.cloudflare.estate import Account, Estate, Grant, Member, Owner, Token, Zone
from rotatord.testing.cloudflare.faults import Fault, Faults, Weather
from rotatord.testing.cloudflare.gateway import Gateway
from rotatord.testing.cloudflare.habits import AT_ONCE, Habits, Lags, Spread
from rotatord.testing.cloudflare.limits import Limits, Rates
from rotatord.testing.cloudflare.policies import Condition, Policy, Resources
from rotatord.testing.running import Clock, RunningClock
from rotatord.testing.served import Server
from rotatord.testing.wires import CutOff, Dropped, Garbled, Reply, Wire


@dataclass(frozen=True)
class Held:
    """A token as its owner has it."""

    id: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class GlobalKey:
    """The user's Global API key."""

    email: str
    key: str = field(repr=False)

    @property
    def headers(self) -> Mapping[str, str]:
        return {"x-auth-email": self.email, "x-auth-key": self.key}


@dataclass(frozen=True)
class Answered:
    """An answer that came."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def result(self) -> Any:
        return self.body["result"]

    @property
    def codes(self) -> list[int]:
        """The codes of its errors, none where it succeeded."""
        return [error["code"] for error in self.body["errors"]]


class NoAnswer(ConnectionError):
    """Nothing came back: the connection was lost, or the request hung."""


class FakeCloudflare:
    """One user with one account and one zone to begin with. Everything but the clock is repeatable from ``seed``."""

    def __init__(
        self,
        *,
        seed: int = 0,
        clock: Clock | None = None,
        lags: Lags = AT_ONCE,
        habits: Habits | None = None,
        rates: Rates | None = None,
        edges: int = 3,
        zones: Sequence[str] = ("example.com",),
        port: int = 0,
    ) -> None:
        self.clock: Clock = clock or RunningClock()
        running = isinstance(self.clock, RunningClock)
        self.estate = Estate(seed, Spread(seed, lags, edges), habits or Habits(), self.clock.now)
        self.book = Book(self.estate)
        self.faults = Faults()
        self.limits = Limits(rates or Rates(per_second=200 if running else None))
        self.gateway = Gateway(self.estate, self.book, self.faults, self.limits)
        self.account = self.estate.add_account("Example Ltd")
        for name in zones:
            self.estate.add_zone(name, self.account)
        self._server: Server | None = None
        self._port = port

    # -- running --

    def start(self) -> str:
        """Listen on loopback; returns the address of the API, ``…/client/v4``."""
        self._server = Server("the strict Cloudflare", self.gateway.answer, self._port)
        self._server.start()
        return self.url

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        assert self._server is not None, "the strict Cloudflare is not started"
        return f"{self._server.url}{ROOT}"

    def answer(self, wire: Wire) -> tuple[Reply | None, Fault | None]:
        """One request without a socket: the answer if one comes, and what its connection would suffer."""
        return self.gateway.answer(wire)

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: Held | str | None = None,
        body: Any = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        address: str | None = None,
    ) -> Answered:
        """One request without a socket, below ``/client/v4``. Raises :class:`NoAnswer` where none comes."""
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        if token is not None:
            sent["authorization"] = f"Bearer {token if isinstance(token, str) else token.value}"
        if address is not None:
            sent["x-forwarded-for"] = address
        asked = f"{ROOT}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        reply, fault = self.answer(Wire(method, asked, sent, b"" if body is None else json.dumps(body).encode()))
        heard = _heard(reply, fault)
        return Answered(heard.status, json.loads(heard.body), heard.headers)

    def s3(self, access_key_id: str, secret_access_key: str, bucket: str, *, write: bool = False) -> bool:
        """Whether R2's S3 interface lets this pair in: the id of a token, and the SHA-256 of its value."""
        token = self.estate.tokens.get(access_key_id)
        values = [] if token is None else [value.text for value in token.values]
        text = next((one for one in values if hashlib.sha256(one.encode()).hexdigest() == secret_access_key), None)
        if text is None:
            return False
        base = f"/accounts/{self.account_id}/r2/buckets/{bucket}/objects"
        asked = self.ask("PUT", f"{base}/probe", token=text) if write else self.ask("GET", base, token=text)
        return asked.status == 200

    # -- what there is --

    @property
    def account_id(self) -> str:
        return self.account.id

    @property
    def user_id(self) -> str:
        return self.estate.user.id

    @property
    def zones(self) -> Mapping[str, str]:
        """Names of zones with their ids."""
        return {zone.name: zone.id for zone in self.estate.zones.values()}

    @property
    def global_key(self) -> GlobalKey:
        return GlobalKey(self.estate.user.email, self.estate.user.key)

    @property
    def heard(self) -> list[Wire]:
        """Every request that made sense, as it came, but without credentials."""
        with self.gateway.lock:
            return list(self.gateway.heard)

    @property
    def address(self) -> str:
        """Where those call from who do not say so themselves, by ``X-Forwarded-For``."""
        return self.gateway.address

    @address.setter
    def address(self, address: str) -> None:
        self.gateway.address = address

    @property
    def weather(self) -> Weather:
        """Faults by chance; none unless one is put here."""
        return self.gateway.weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self.gateway.weather = weather

    # -- making, known everywhere at once --

    def add_account(self, name: str, *, member: bool = True) -> Account:
        """Another account; ``member``: of which the user is one."""
        with self.gateway.lock:
            return self.estate.add_account(name, member=member)

    def add_zone(self, name: str, account: Account | None = None) -> Zone:
        with self.gateway.lock:
            return self.estate.add_zone(name, account or self.account)

    def add_bucket(self, name: str, jurisdiction: str = "default") -> None:
        with self.gateway.lock:
            self.account.buckets[jurisdiction, name] = self.clock.now()

    def add_worker(self, name: str) -> str:
        """A Worker that somebody uploaded; returns its tag. From now on there are permission groups for single Workers."""
        with self.gateway.lock:
            self.estate.groups |= catalogue.WORKERS
            script = products.script(name, b"export default {}", self.clock.now(), {"tag": self.estate.new_id()})
            self.account.scripts[name] = script
            return str(script["tag"])

    def add_member(self, email: str) -> Member:
        with self.gateway.lock:
            return self.estate.add_member(self.account, email)

    def add_oauth_client(self, name: str, scopes: Sequence[str]) -> str:
        """An application that the account has registered; returns its id."""
        with self.gateway.lock:
            client = self.estate.new_id()
            self.account.oauth_clients[client] = {
                "client_id": client,
                "client_name": name,
                "visibility": "private",
                "scopes": list(scopes),
                "grant_types": ["authorization_code"],
            }
            return client

    def parent_token(
        self,
        *permissions: str,
        owner: Literal["account", "user"] = "account",
        addresses: Sequence[str] = (),
        lifetime: timedelta | None = None,
        old: bool = False,
        name: str = "parent",
    ) -> Held:
        """A token that may make others, and whatever else is named, on the account and on all of its zones."""
        usual = "Account API Tokens Write" if owner == "account" else "API Tokens Write"
        return self.token(usual, *permissions, owner=owner, addresses=addresses, lifetime=lifetime, old=old, name=name)

    def token(
        self,
        *permissions: str,
        zone: str | None = None,
        owner: Literal["account", "user"] = "account",
        addresses: Sequence[str] = (),
        lifetime: timedelta | None = None,
        old: bool = False,
        name: str = "token",
    ) -> Held:
        """A token as somebody made it in the dashboard. ``zone``: the only one; ``old``: its value is of before 2026."""
        with self.gateway.lock:
            now = self.clock.now()
            policies = [self._policy(self._group(one), zone) for one in permissions]
            condition = Condition(tuple(addresses)) if addresses else None
            ends = None if lifetime is None else now + lifetime
            grant = Grant(name, tuple(policies), condition, None, ends, now)
            whose = Owner("user", self.user_id) if owner == "user" else Owner("account", self.account_id)
            made = self.estate.add_token(whose, grant, creator=None, at_once=True, old=old)
            return Held(made.id, made.value)

    def _group(self, name: str) -> Group:
        """Of two groups of one name the zone's: accounts have to be said with ``account:``."""
        scope, _, rest = name.rpartition(":") if name.startswith(("account:", "zone:")) else ("", "", name)
        wanted = {"account": ACCOUNT, "zone": ZONE}.get(scope)
        try:
            return catalogue.named(rest, wanted, self.estate.groups)
        except KeyError:
            return catalogue.named(rest, wanted or ZONE, self.estate.groups)

    def _policy(self, group: Group, zone: str | None) -> Policy:
        account = f"{ACCOUNT}.{self.account_id}"
        buckets = {f"{BUCKET}.{self.account_id}_{where}_{name}": "*" for where, name in self.account.buckets}
        places: Mapping[str, Resources] = {
            USER: {f"{USER}.{self.user_id}": "*"},
            ACCOUNT: {account: "*"},
            WORKER: {account: {f"{WORKER}.{script['tag']}": "*" for script in self.account.scripts.values()}},
            BUCKET: buckets,
            ZONE: {account: {f"{ZONE}.*": "*"}} if zone is None else {f"{ZONE}.{self.zones[zone]}": "*"},
        }
        return Policy(self.estate.new_id(), "allow", (group.id,), places[group.scope])

    # -- what others do meanwhile --

    def find(self, id: str) -> Token:
        """A token, gone or not, with the values that it had."""
        return self.estate.tokens[id]

    def delete(self, id: str) -> None:
        """Somebody deletes a token in the dashboard. Known at once."""
        with self.gateway.lock:
            self.estate.delete(self.find(id), at_once=True)
            self.book.change("deleted", self.find(id), "somebody")

    def leak(self, id: str) -> None:
        """A scanner found the token in public, and Cloudflare has revoked it. Known at once."""
        self.change(id, status="revoked")

    def change(self, id: str, **changes: Any) -> None:
        """Somebody changes a token: its status, name, policies, condition or dates. Known at once."""
        with self.gateway.lock:
            token = self.find(id)
            assert token.grant is not None, "the token is deleted"
            self.estate.change(token, replace(token.grant, modified_on=self.clock.now(), **changes), at_once=True)
            self.book.change("changed", token, "somebody")

    def rename_group(self, id: str, name: str) -> None:
        """Cloudflare calls a permission group something else from now on."""
        with self.gateway.lock:
            self.estate.groups[id] = replace(self.estate.groups[id], name=name)

    def add_group(self, group: Group) -> None:
        """Cloudflare has another permission group."""
        with self.gateway.lock:
            self.estate.groups[group.id] = group

    def advance(self, seconds: float) -> None:
        """Let time pass: news spreads, tokens expire, late calls land."""
        with self.gateway.lock:
            self.clock.advance(seconds)
            self.gateway.land_due()

    def settle(self) -> None:
        """Let everything spread."""
        self.advance(self.estate.spread.lags.longest + 0.001)

    def now(self) -> datetime:
        return self.clock.now()


def _heard(reply: Reply | None, fault: Fault | None) -> Reply:
    """What of an answer arrives, without a socket."""
    if reply is None or isinstance(fault, Dropped | CutOff):
        raise NoAnswer(f"no answer: {type(fault).__name__}")
    return Reply(fault.status, fault.body, {"Content-Type": fault.content_type}) if isinstance(fault, Garbled) else reply
