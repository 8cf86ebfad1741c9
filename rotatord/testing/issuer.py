"""An issuer in memory, as hostile as real ones: late to believe, late to forget, capped, and counting every use."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rotatord.errors import Conflict, Invalid, NotFound
from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    Inconclusive,
    LiveRef,
    Minted,
    MintRequest,
    ProbeAnswer,
    Query,
    RefusedVerdict,
    Traits,
)
from rotatord.secret import Secret
from rotatord.testing.book import Book, Fake
from rotatord.testing.clock import VirtualClock

PREFIX = "fake-secret-"
# Asked before a version that still works stops working: what is done ("revoke", "suspend") and to which ref.
# The answer says why the version is still needed, or None.
Judge = Callable[[str, str], str | None]

DEFAULT_TRAITS = Traits(fields=("token",), scope_proof="exact", expiry=True, high_entropy=("token",))


@dataclass(slots=True)
class FakeVersion:
    """One version as the issuer knows it, its secret included."""

    ref: str
    seat: str
    secret: Secret
    request: MintRequest
    scope: JsonMap
    created_at: datetime
    expires_at: datetime | None = None
    labelled: bool = True
    suspended: bool = False
    ended_at: datetime | None = None
    works: list[tuple[datetime, bool]] = field(default_factory=list)  # what was decided when, oldest first
    uses: list[datetime] = field(default_factory=list)  # accepted ones, by others than us
    refused: int = 0

    def alive(self, now: datetime) -> bool:
        """Neither ended nor expired; suspended versions live."""
        return self.ended_at is None and not self.expired(now)

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def believed(self, now: datetime, delay: timedelta) -> bool:
        """Whether a use is accepted, when decisions take ``delay`` to spread. Expiry is known everywhere at once."""
        spread = [works for at, works in self.works if at + delay <= now]
        return bool(spread) and spread[-1] and not self.expired(now)


class FakeIssuer(Fake):
    """An issuer without optional powers; see :mod:`rotatord.testing.powers` for those.

    ``spreads_in``: how long decisions really take to spread (``traits.propagation`` unless told).
    ``removal_delay``: how long an ended version is still listed. ``lifetime``: the expiry of versions when none is asked
    for. ``period``: versions are periodic and live that long from each renewal. ``grants``: turns the scope asked for
    into the scope granted, for issuers that grant another. ``foreign_vantage``: probes prove nothing from here.
    """

    def __init__(
        self,
        clock: VirtualClock,
        *,
        name: str = "issuer",
        traits: Traits = DEFAULT_TRAITS,
        book: Book | None = None,
        timeout: float = 5.0,
        spreads_in: timedelta | None = None,
        removal_delay: timedelta = timedelta(0),
        lifetime: timedelta | None = None,
        period: timedelta | None = None,
        known_scope: Sequence[str] | None = None,
        call_seconds: float = 0.0,
    ) -> None:
        super().__init__(clock, name, book, call_seconds)
        self.traits = traits
        self.timeout = timeout
        self.spreads_in = traits.propagation if spreads_in is None else spreads_in
        self.removal_delay = removal_delay
        self.lifetime = lifetime
        self.period = period
        self.known_scope = frozenset(known_scope) if known_scope is not None else None
        self.grants: Callable[[JsonMap], JsonMap] = dict
        self.foreign_vantage = False
        self.lists_twice = False  # as where something changes between two pages
        self.flickers: Callable[[], bool] = lambda: False  # whether a page has, or lacks, what is new or just gone
        self.judge: Judge = lambda _act, _ref: None
        self.forgiven: Callable[[str], bool] = lambda _ref: False  # a refused use of this version is nobody's violation
        self.versions: dict[str, FakeVersion] = {}
        self.open_sessions: dict[str, int] = {}
        self._by_value: dict[bytes, FakeVersion] = {}
        self._made = 0

    # --- the port ------------------------------------------------------------------------------------------------

    def check(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        if self.known_scope is None:
            return []
        return [f"{self.name} does not know the scope {key!r}" for key in sorted(scope) if key not in self.known_scope]

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        self._enter("mint", credential=request.credential, rotation=request.rotation, generation=request.generation)
        return self.issue(request, proposed)

    def propose(self, request: MintRequest) -> Secret:
        self._enter("propose", credential=request.credential)
        if self.traits.value_origin != "caller":
            raise Invalid(f"{self.name} chooses its values itself")
        with self._lock:
            return self._fresh_value()

    def find(self, query: Query) -> Sequence[LiveRef]:
        self._enter("find", credential=query.credential, rotation=query.rotation, ref=query.ref)
        now = self.clock.outside()
        with self._lock:
            found = [self._live_ref(version) for version in self.versions.values() if self._matches(version, query, now)]
            return found * 2 if self.lists_twice else found

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        self._enter("probe", fields=sorted(fields.names))
        if self.foreign_vantage:
            return Inconclusive("the version is bound to other addresses")
        now = self.clock.outside()
        with self._lock:
            version = self._holder(fields)
            if version is None:
                return RefusedVerdict("never valid")
            if not version.believed(now, self.spreads_in):
                return RefusedVerdict("not accepted")
            return Accepted(self._visible_scope(version), version.ref, version.expires_at)

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        self._enter("revoke", ref=ref)
        with self._lock:
            version = self.versions.get(ref)
            if version is not None and version.ended_at is None:
                self._judge("revoke", version)
                self._end(version)

    # --- what happens behind the port ------------------------------------------------------------------------------

    def issue(self, request: MintRequest, proposed: Secret | None = None, *, labelled: bool = True) -> Minted:
        """Make a version without recording a call or consulting the knobs: by hand, or as another installation."""
        if problems := self.check(request.scope, request.parameters):
            raise Invalid("; ".join(problems))
        with self._lock:
            secret = self._value(proposed)
            known = self._holder(secret)
            if known is not None and known.alive(self.clock.outside()):
                if known.request.rotation == request.rotation:
                    return self._minted(known)  # the caller's own value again: nothing new comes of it
                raise Conflict(f"{self.name} knows this value already")
            seat = self._free_seat(request)
            version = self._add(request, secret, seat, labelled)
            return self._minted(version)

    def end(self, ref: str) -> None:
        """End a version behind everybody's back, as an administrator or an attacker does."""
        with self._lock:
            self._end(self._get(ref))

    def use(self, value: Secret | str) -> bool:
        """Use a credential as a consumer does; whether it was accepted. Recorded, refusals too."""
        now = self.clock.outside()
        with self._lock:
            version = self._holder(value)
            if version is None:
                return False
            if version.believed(now, self.spreads_in):
                version.uses.append(now)
                return True
            version.refused += 1
            return False

    def live(self, credential: str | None = None) -> list[LiveRef]:
        """The truth: every version neither ended nor expired, at once and without delay."""
        now = self.clock.outside()
        with self._lock:
            alive = [version for version in self.versions.values() if version.alive(now)]
            return [self._live_ref(v) for v in alive if credential in (None, v.request.credential)]

    def accepts(self, ref: str) -> bool:
        """The truth: whether a use of this version would be accepted now. Not recorded."""
        with self._lock:
            version = self.versions.get(ref)
            return version is not None and version.believed(self.clock.outside(), self.spreads_in)

    def ref_of(self, value: Secret | str) -> str | None:
        """Whose value this is, ended versions included."""
        with self._lock:
            version = self._holder(value)
            return version.ref if version else None

    def secret_of(self, ref: str) -> Secret:
        """The value of a version; only a test may ask."""
        with self._lock:
            return self._get(ref).secret

    def values(self) -> list[str]:
        """Every value ever made, to look for leaks."""
        with self._lock:
            return [value for version in self.versions.values() for value in version.secret.reveal_all().values()]

    def _get(self, ref: str) -> FakeVersion:
        version = self.versions.get(ref)
        if version is None:
            raise NotFound(f"{self.name} has no {ref}")
        return version

    def _holder(self, value: Secret | str) -> FakeVersion | None:
        return self._by_value.get(value.encode() if isinstance(value, str) else value.canonical())

    def _value(self, proposed: Secret | None) -> Secret:
        if self.traits.value_origin == "issuer":
            if proposed is not None:
                raise Invalid(f"{self.name} chooses its values itself")
            return self._fresh_value()
        if proposed is None:
            raise Invalid(f"{self.name} needs a value to mint")
        return proposed

    def _fresh_value(self) -> Secret:
        self._made += 1
        stem = f"{self.name}-{self._made}"
        return Secret({field: f"{PREFIX}{field}-{_digest(f'{stem}-{field}')}" for field in self.traits.fields})

    def _free_seat(self, request: MintRequest) -> str:
        """Where the version sits: principals hold ``max_live`` at once, alternating ones have named seats."""
        principal = str(request.parameters.get("principal", request.credential))
        alive = [v for v in self.versions.values() if v.alive(self.clock.outside()) and v.seat.split("/")[0] == principal]
        if self.traits.strategy == "in_place":
            for version in alive:
                self._end(version)
            return principal
        if self.traits.max_live is not None and len(alive) >= self.traits.max_live:
            raise Conflict(f"{self.name}: {principal} has {len(alive)} versions already")
        if self.traits.strategy != "alternating":
            return principal
        taken = {version.seat for version in alive}
        seats = [f"{principal}/{letter}" for letter in "ab" if f"{principal}/{letter}" not in taken]
        if not seats:
            raise Conflict(f"{self.name}: both users of {principal} are in use")
        return seats[0]

    def _add(self, request: MintRequest, secret: Secret, seat: str, labelled: bool) -> FakeVersion:
        now = self.clock.outside()
        life = self.period or (request.ttl if self.traits.expiry else None) or self.lifetime
        version = FakeVersion(
            ref=f"{self.name}-ref-{len(self.versions) + 1}",
            seat=seat,
            secret=secret,
            request=request,
            scope=self.grants(request.scope),
            created_at=now,
            expires_at=now + life if life else None,
            labelled=labelled and self.traits.labels,
            works=[(now, True)],
        )
        self.versions[version.ref] = version
        self._by_value[secret.canonical()] = version
        self._by_value.update({value.encode(): version for value in secret.reveal_all().values()})
        return version

    def _minted(self, version: FakeVersion) -> Minted:
        return Minted(ref=version.ref, fields=version.secret, expires_at=version.expires_at, renew_at=self._renew_at(version))

    def _renew_at(self, version: FakeVersion) -> datetime | None:
        return version.expires_at - self.period / 2 if self.period and version.expires_at else None

    def _end(self, version: FakeVersion) -> None:
        now = self.clock.outside()
        version.ended_at = now
        version.works.append((now, False))

    def _judge(self, act: str, version: FakeVersion) -> None:
        if version.alive(self.clock.outside()) and (why := self.judge(act, version.ref)):
            kind = {"revoke": "killed_in_use", "suspend": "suspended_in_use"}[act]
            self.book.violation(kind, self.name, f"{act} of {version.ref}: {why}")

    def _visible_scope(self, version: FakeVersion) -> JsonMap | None:
        if self.traits.scope_proof == "none":
            return None
        seen = sorted(version.scope) if self.traits.scope_proof == "exact" else sorted(version.scope)[:1]
        return {key: version.scope[key] for key in seen}

    def _listed(self, version: FakeVersion, now: datetime) -> bool:
        if version.expired(now):
            return False
        if now < version.created_at + self.traits.listing_delay:
            return self.flickers()
        return version.ended_at is None or (now < version.ended_at + self.removal_delay and not self.flickers())

    def _matches(self, version: FakeVersion, query: Query, now: datetime) -> bool:
        if not self._listed(version, now):
            return False
        if query.ref is not None:
            return version.ref == query.ref
        if version.labelled:
            asked = version.request
            return (
                asked.installation == query.installation
                and asked.credential == query.credential
                and query.rotation in (None, asked.rotation)
            )
        if self.traits.labels or version.ref in query.known:
            return False
        principal = str(query.parameters.get("principal", query.credential))
        return version.seat.split("/")[0] == principal and (query.since is None or version.created_at >= query.since)

    def _live_ref(self, version: FakeVersion) -> LiveRef:
        asked = version.request
        bare = LiveRef(
            ref=version.ref, created_at=version.created_at, expires_at=version.expires_at, suspended=version.suspended
        )
        if not version.labelled:
            return bare
        return LiveRef(
            ref=version.ref,
            installation=asked.installation,
            credential=asked.credential,
            rotation=asked.rotation,
            generation=asked.generation,
            created_at=version.created_at,
            expires_at=version.expires_at,
            suspended=version.suspended,
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
