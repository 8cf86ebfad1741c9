"""What there is: one user, accounts with their zones, buckets and scripts, and tokens. All under the fake's lock."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from rotatord.testing.clock import SeededIds
from rotatord.testing.cloudflare import catalogue, formats
from rotatord.testing.cloudflare.answers import Json
from rotatord.testing.cloudflare.catalogue import Group
from rotatord.testing.cloudflare.formats import Kind
from rotatord.testing.cloudflare.habits import Habits, Register, Spread
from rotatord.testing.cloudflare.policies import Condition, Policy


@dataclass(frozen=True, slots=True)
class Grant:
    """Everything about a token that can be changed. Frozen: what an edge has heard of is one of these, whole."""

    name: str
    policies: tuple[Policy, ...]
    condition: Condition | None
    not_before: datetime | None
    expires_on: datetime | None
    modified_on: datetime
    status: Literal["active", "disabled", "revoked"] = "active"  # revoked: by Cloudflare itself, which saw it in public

    def shown_status(self, now: datetime) -> str:
        if self.status == "revoked":
            return "revoked"
        return "expired" if self.expires_on is not None and now >= self.expires_on else self.status


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose token it is."""

    kind: Literal["user", "account"]
    id: str


@dataclass
class Value:
    """One value of a token. Rolling a token makes another."""

    text: str = field(repr=False)
    believed: Register[Grant | None] = field(default_factory=lambda: Register(None))


@dataclass(frozen=True, slots=True)
class Use:
    """One call that a token was let in for."""

    at: datetime
    operation: str
    address: str
    agent: str
    showing: datetime  # when last_used_on tells of it


@dataclass
class Token:
    """A token, gone or not. ``shown`` is None where it is not listed."""

    id: str
    owner: Owner
    issued_on: datetime
    creator: str | None
    values: list[Value] = field(default_factory=list)
    shown: Register[Grant | None] = field(default_factory=lambda: Register(None))
    uses: list[Use] = field(default_factory=list)
    last: Grant | None = None  # what it was when it was deleted

    @property
    def grant(self) -> Grant | None:
        """What is true, whoever has heard of it."""
        return self.shown.newest

    @property
    def name(self) -> str:
        known = self.grant or self.last
        assert known is not None
        return known.name

    @property
    def value(self) -> str:
        """The value that counts."""
        return self.values[-1].text

    def alive(self, now: datetime) -> bool:
        """Neither deleted, nor expired or revoked; disabled tokens live."""
        return self.grant is not None and self.grant.shown_status(now) in ("active", "disabled")

    def works(self, now: datetime) -> bool:
        """Whether it should be let in, from somewhere."""
        grant = self.grant
        started = grant is not None and (grant.not_before is None or now >= grant.not_before)
        return grant is not None and started and grant.shown_status(now) == "active"


@dataclass(frozen=True, slots=True)
class _Listing:
    """What an edge shows, and from when until when that is so."""

    rows: Sequence[tuple[Token, Grant]]
    built: datetime
    until: datetime


@dataclass
class Member:
    """Someone's membership of an account. ``api_access``: None follows the account."""

    id: str
    email: str
    user_id: str
    role: str
    membership_id: str
    role_id: str
    api_access: bool | None = None


@dataclass
class Account:
    """An account and what its own products hold."""

    id: str
    name: str
    created_on: datetime
    type: str = "standard"
    settings: Json = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    buckets: dict[tuple[str, str], datetime] = field(default_factory=dict)  # jurisdiction and name
    scripts: dict[str, Json] = field(default_factory=dict)
    oauth_clients: dict[str, Json] = field(default_factory=dict)
    stores: bool = True  # whether R2 was ever switched on


@dataclass
class Zone:
    """A zone and its records."""

    id: str
    name: str
    account: Account
    created_on: datetime
    records: dict[str, Json] = field(default_factory=dict)
    purges: list[Json] = field(default_factory=list)


@dataclass
class User:
    """The person whose tokens and key there are."""

    id: str
    email: str
    key: str = field(repr=False)
    key_uses: list[Use] = field(default_factory=list)


class Estate:
    """All of it."""

    def __init__(self, seed: int, spread: Spread, habits: Habits, now: Callable[[], datetime]) -> None:
        self._clock = now
        self._past: datetime | None = None
        self.spread = spread
        self.habits = habits
        self._chance = SeededIds(f"estate {seed}")  # a fake's values, repeatable on purpose
        self.groups: dict[str, Group] = dict(catalogue.GROUPS)
        self.user = User(self.new_id(), "admin@example.com", formats.scannable(Kind.GLOBAL_KEY, self.fraction))
        self.accounts: dict[str, Account] = {}
        self.zones: dict[str, Zone] = {}
        self.tokens: dict[str, Token] = {}  # deleted ones too
        self.values: dict[str, tuple[Token, Value]] = {}  # those that no longer count, too
        self.caps = {"user": 50, "account": 500}
        self.most: dict[Owner, int] = {}  # the most tokens that there ever were at one time
        self._alive: dict[Owner, set[str]] = {}  # those that were alive when last looked at
        self._listings: dict[tuple[Owner, int], _Listing] = {}
        self._ends: list[tuple[datetime, str]] = []  # a heap of the moments when one of them may have expired

    def now(self) -> datetime:
        return self._past or self._clock()

    @contextmanager
    def at(self, moment: datetime) -> Iterator[None]:
        """What happens meanwhile happened then: nobody has looked since."""
        self._past = moment
        try:
            yield
        finally:
            self._past = None

    def fraction(self) -> float:
        return self._chance.fraction()

    def new_id(self) -> str:
        return formats.hexadecimal(self.fraction)

    # -- making things --

    def add_account(self, name: str, *, member: bool = True) -> Account:
        settings: Json = {
            "enforce_twofactor": False,
            "api_access_enabled": None,
            "access_approval_expiry": None,
            "abuse_contact_email": None,
            "oauth_app_access_enabled": True,
        }
        plan = "enterprise" if self.habits.enterprise else "standard"
        account = Account(self.new_id(), name, self.now(), plan, settings)
        self.accounts[account.id] = account
        if member:
            self.add_member(account, self.user.email, self.user.id, "Super Administrator - All Privileges")
        return account

    def add_member(self, account: Account, email: str, user_id: str | None = None, role: str = "Administrator") -> Member:
        member = Member(self.new_id(), email, user_id or self.new_id(), role, self.new_id(), self.new_id())
        account.members[member.id] = member
        return member

    def add_zone(self, name: str, account: Account) -> Zone:
        zone = Zone(self.new_id(), name, account, self.now())
        self.zones[zone.id] = zone
        return zone

    def add_token(self, owner: Owner, grant: Grant, *, creator: str | None, at_once: bool = False, old: bool = False) -> Token:
        token = Token(self.new_id(), owner, self.now(), creator)
        self.tokens[token.id] = token
        self._show(token, grant, at_once)
        self.add_value(token, grant, at_once=at_once, old=old)
        self.most[owner] = max(self.most.get(owner, 0), self.count(owner))
        return token

    def add_value(self, token: Token, grant: Grant, *, at_once: bool = False, old: bool = False) -> Value:
        kind = Kind.USER_TOKEN if token.owner.kind == "user" else Kind.ACCOUNT_TOKEN
        value = Value((formats.legacy if old else formats.scannable)(kind, self.fraction))
        token.values.append(value)
        self.values[value.text] = (token, value)
        value.believed.write(grant, self.arrivals(0.0 if at_once else self.spread.lags.fresh))
        return value

    # -- changing things --

    def change(self, token: Token, grant: Grant, *, at_once: bool = False) -> None:
        """A token is something else now; edges hear of it in their own time."""
        lags, before = self.spread.lags, token.grant
        if before is not None and before.status != grant.status:
            bound = lags.fresh if grant.status == "active" else lags.ended
        else:
            bound = lags.rights
        self._show(token, grant, at_once)
        token.values[-1].believed.write(grant, self.arrivals(0.0 if at_once else bound))

    def roll(self, token: Token) -> Value:
        """Another value; the one before is refused from now on, as fast as that becomes known."""
        assert token.grant is not None
        token.values[-1].believed.write(None, self.arrivals(self.spread.lags.ended))
        return self.add_value(token, token.grant)

    def delete(self, token: Token, *, at_once: bool = False) -> None:
        token.last = token.grant
        self._show(token, None, at_once)
        token.values[-1].believed.write(None, self.arrivals(0.0 if at_once else self.spread.lags.ended))

    def _show(self, token: Token, grant: Grant | None, at_once: bool) -> None:
        token.shown.write(grant, self.arrivals(0.0 if at_once else self.spread.lags.listing))
        self._listings.clear()
        alive = self._alive.setdefault(token.owner, set())
        (alive.add if token.alive(self.now()) else alive.discard)(token.id)
        if grant is not None and grant.expires_on is not None:
            heapq.heappush(self._ends, (grant.expires_on, token.id))

    def listed(self, owner: Owner, edge: int) -> Sequence[tuple[Token, Grant]]:
        """The tokens of an owner as this edge shows them, oldest first, expired ones among them. Kept until there is news."""
        now = self.now()
        kept = self._listings.get((owner, edge))
        if kept is None or not kept.built <= now < kept.until:
            mine = [token for token in self.tokens.values() if token.owner == owner]
            rows = [(token, grant) for token in mine if (grant := token.shown.seen(edge, now)) is not None]
            news = (token.shown.next_news(edge, now) for token in mine)
            until = min((moment for moment in news if moment is not None), default=datetime.max.replace(tzinfo=UTC))
            kept = self._listings[owner, edge] = _Listing(rows, now, until)
        return kept.rows

    def count(self, owner: Owner) -> int:
        """The live tokens of an owner."""
        while self._ends and self._ends[0][0] <= self.now():
            token = self.tokens[heapq.heappop(self._ends)[1]]
            if not token.alive(self.now()):
                self._alive[token.owner].discard(token.id)
        return len(self._alive.get(owner, ()))

    def arrivals(self, at_most: float) -> dict[int, datetime]:
        return dict(self.spread.arrivals(self.now(), at_most))

    def note_use(self, uses: list[Use], operation: str, address: str, agent: str) -> None:
        """A call was let in; last_used_on tells of it in its own time."""
        now, lag = self.now(), self.spread.lags.last_used
        showing = now + timedelta(seconds=lag * (0.2 + 0.8 * self.fraction()) if lag else 0.0)
        uses.append(Use(now, operation, address, agent, showing))
