"""The built-in issuer: a small token authority inside the daemon, for services that have none and for the demo.

Tokens are opaque, scannable and random (see :mod:`issuers.builtin_token`); only their digests are stored, beside scope,
labels and dates. Services that are given such a token ask ``POST /introspect`` (RFC 7662) whether it is active, naming
the address of who presented it as ``ip`` (our one extension). A version with an ``ip_allow`` list is inactive for
everybody whose address is not on it or was not given: a list that is not checked is not a list.
"""

from __future__ import annotations

import difflib
import ipaddress
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from issuers.builtin_server import Callers, IntrospectionServer
from issuers.builtin_store import BUSY_SECONDS, Row, Store
from issuers.builtin_token import ALPHABET, DEFAULT_PREFIX, PREFIX_PATTERN, Random, make, scanner_regex
from rotatord.clock import random_text
from rotatord.errors import Invalid, NotFound
from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    LiveRef,
    Minted,
    MintRequest,
    ProbeAnswer,
    Query,
    RefusedVerdict,
    Surroundings,
    Traits,
)
from rotatord.rights import no_rights
from rotatord.secret import Secret

FIELD = "token"
FILE = "builtin.db"
INACTIVE: JsonMap = {"active": False}
REF_LENGTH = 20

TIMEOUT_SECONDS = BUSY_SECONDS + 2

TRAITS = Traits(
    fields=(FIELD,),
    strategy="overlapping",
    scope_proof="exact",
    expiry=True,
    labels=True,
    call_settles_within=timedelta(seconds=TIMEOUT_SECONDS),
    high_entropy=(FIELD,),
)

Word = Annotated[str, Field(pattern=r'^[^\s"\\]+$', max_length=256)]  # RFC 6749: what a scope may consist of


class Scope(BaseModel):
    """What a token may do. The issuer only stores and shows it: enforcing it is the introspecting service's part."""

    model_config = ConfigDict(extra="forbid", strict=True)
    permissions: list[Word] = []
    resources: list[Word] = []
    ip_allow: list[str] = []

    @field_validator("ip_allow")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        for network in value:
            ipaddress.ip_network(network)
        return value


class Introspection(BaseModel):
    """Where introspection listens, and the secret that callers must know."""

    model_config = ConfigDict(extra="forbid")
    listen: str
    secret: dict[str, Any] | str
    allow_remote: bool = False  # plain HTTP: beyond loopback, put TLS in front of it

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @field_validator("secret")
    @classmethod
    def _by_reference(cls, value: dict[str, Any] | str) -> dict[str, Any] | str:
        if isinstance(value, str) or len(value) != 1:
            raise ValueError("must be a reference such as {file: /run/secrets/introspection}")
        return value

    @model_validator(mode="after")
    def _reachable(self) -> Introspection:
        try:
            address, port = ipaddress.ip_address(self.host), self.port
        except ValueError:
            raise ValueError("listen must be ADDRESS:PORT, such as 127.0.0.1:8411") from None
        if not 0 <= port <= 65535:
            raise ValueError("listen: no such port")
        if not address.is_loopback and not self.allow_remote:
            raise ValueError("listen is not a loopback address; set allow_remote: true if that is meant")
        return self


class Settings(BaseModel):
    """The settings of an issuer of type ``builtin``."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["builtin"] = "builtin"
    prefix: str = Field(default=DEFAULT_PREFIX, pattern=PREFIX_PATTERN)
    store: str = Field(default="default", min_length=1, max_length=64)  # issuers that name one store share its tokens
    permissions: list[Word] | None = None  # the ones that exist; None: any
    introspection: Introspection | None = None


class BuiltinIssuer:
    """See the module. Implements Issuer, Suspend, LastUsed, Inventory and Serves; thread-safe."""

    rights = staticmethod(no_rights)

    traits: Traits = TRAITS
    timeout: float = TIMEOUT_SECONDS
    only_here = "the built-in issuer keeps its digests in this daemon's state directory, so one daemon only can use it"

    def __init__(self, settings: Settings, surroundings: Surroundings, random: Random = random_text) -> None:
        self._settings = settings
        self._secret = surroundings.secret
        self._now = surroundings.now
        self._random = random
        self._store = Store(Path(surroundings.state_dir) / FILE, settings.store)
        self._server: IntrospectionServer | None = None
        self._server_lock = threading.Lock()

    # --- Issuer --------------------------------------------------------------------------------------------------

    def check(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        problems = [f"the built-in issuer takes no parameter {name!r}" for name in sorted(parameters)]
        try:
            asked = Scope.model_validate(scope)
        except ValidationError as error:
            return [*problems, *(_sentence(mistake) for mistake in error.errors(include_url=False, include_input=False))]
        known = self._settings.permissions
        for permission in asked.permissions if known is not None else ():
            if permission not in (known or ()):
                near = difflib.get_close_matches(permission, known or (), n=1)
                problems.append(f"scope.permissions: unknown permission {permission!r}" + _hint(near))
        return problems

    def propose(self, request: MintRequest) -> Secret:
        raise Invalid("the built-in issuer chooses its values itself")

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        if proposed is not None:
            raise Invalid("the built-in issuer chooses its values itself")
        problems = self.check(request.scope, request.parameters)
        if problems:
            raise Invalid("; ".join(problems))
        now = self._now()
        token = make(self._settings.prefix, self._random)
        row = Row(
            ref=f"tok-{self._random(ALPHABET, REF_LENGTH)}",
            installation=request.installation,
            credential=request.credential,
            rotation=request.rotation,
            generation=request.generation,
            scope=request.scope,
            created=now,
            expires=now + request.ttl if request.ttl is not None else None,
        )
        self._store.add(token, row)
        return Minted(ref=row.ref, fields=Secret({FIELD: token}), expires_at=row.expires)

    def find(self, query: Query) -> Sequence[LiveRef]:
        if query.ref is not None:
            row = self._store.by_ref(query.ref)
            return self._live([row] if row is not None else [])
        rows = self._store.labelled(query.installation, query.credential)
        return self._live([row for row in rows if query.rotation in (None, row.rotation)])

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        """Asks the store itself, so it is right from every address; it is no use in the sense of ``last_used``."""
        row = self._store.lookup(fields.reveal(FIELD)) if FIELD in fields.names else None
        if row is None:
            return RefusedVerdict("never issued")
        why = row.refusal(self._now())
        if why:
            return RefusedVerdict(why)
        return Accepted(scope=row.scope, ref=row.ref, expires_at=row.expires)

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        self._store.revoke(ref, self._now())

    # --- Suspend, LastUsed, Inventory ------------------------------------------------------------------------------

    def suspend(self, ref: str, parameters: JsonMap) -> None:
        if not self._store.suspend(ref, self._now()):
            raise NotFound(f"no live token {ref}")

    def resume(self, ref: str, parameters: JsonMap) -> None:
        if not self._store.resume(ref):
            raise NotFound(f"no live token {ref}")

    def last_used(self, ref: str, parameters: JsonMap) -> datetime | None:
        return self._store.last_used(ref)

    def inventory(self) -> Sequence[LiveRef]:
        return self._live(self._store.all())

    # --- Serves ----------------------------------------------------------------------------------------------------

    def start(self) -> str:
        wanted = self._settings.introspection
        if wanted is None:
            return ""
        with self._server_lock:
            if self._server is None:
                callers = Callers(lambda: self._secret(wanted.secret), self._now)
                self._server = IntrospectionServer(wanted.host, wanted.port, self.introspect, callers)
            return self._server.address

    def stop(self) -> None:
        with self._server_lock:
            server, self._server = self._server, None
        if server is not None:
            server.stop()

    def close(self) -> None:
        self.stop()
        self._store.close()

    # --- the authority ---------------------------------------------------------------------------------------------

    def introspect(self, token: str, ip: str | None) -> JsonMap:
        """The answer of RFC 7662 to an authenticated caller; an active one counts as a use. ValueError: ``ip`` is none."""
        address = ipaddress.ip_address(ip) if ip is not None else None
        row, now = self._store.lookup(token), self._now()
        if row is None or row.refusal(now) or not _admits(row.scope.get("ip_allow"), address):
            return INACTIVE
        self._store.use(row, now)
        answer: JsonMap = {
            "active": True,
            "token_type": "Bearer",
            "scope": " ".join(row.scope.get("permissions", ())),
            "resources": row.scope.get("resources", []),
            "client_id": row.credential,
            "sub": row.credential,
            "jti": row.ref,
            "iat": int(row.created.timestamp()),
        }
        if row.expires is not None:
            answer["exp"] = int(row.expires.timestamp())
        return answer

    def scanner_regex(self) -> str:
        """What a secret scanner must search for to find this issuer's tokens."""
        return scanner_regex(self._settings.prefix)

    def _live(self, rows: Sequence[Row]) -> Sequence[LiveRef]:
        now = self._now()
        return [
            LiveRef(
                ref=row.ref,
                installation=row.installation,
                credential=row.credential,
                rotation=row.rotation,
                generation=row.generation,
                created_at=row.created,
                expires_at=row.expires,
                suspended=row.suspended is not None,
            )
            for row in rows
            if row.refusal(now) in ("", "suspended")
        ]


def _admits(networks: Sequence[str] | None, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if not networks:
        return True
    if address is None:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(network) for network in networks)


def _sentence(mistake: Any) -> str:
    place = ".".join(str(part) for part in ("scope", *mistake["loc"]))
    if mistake["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(mistake["loc"][-1]), Scope.model_fields, n=1)
        return f"{place}: the built-in issuer knows no such part of a scope" + _hint(near)
    return f"{place}: {mistake['msg']}"


def _hint(near: Sequence[str]) -> str:
    return f"; did you mean {near[0]!r}?" if near else ""


def create(settings: JsonMap, surroundings: Surroundings) -> BuiltinIssuer:
    """The factory named by the entry point. No I/O. Raises pydantic.ValidationError."""
    return BuiltinIssuer(Settings.model_validate(settings), surroundings)
