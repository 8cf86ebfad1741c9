"""One AWS account: users with their keys, roles, policies and sessions, and what each replica has heard of them so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from rotatord.testing.aws import managed
from rotatord.testing.aws.errors import AwsError
from rotatord.testing.aws.policies import Document, parsed
from rotatord.testing.aws.spread import Lags, Register, Spread, View
from rotatord.testing.clock import SeededIds

_ID_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_SECRET_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"  # noqa: S105 - an alphabet


@dataclass(frozen=True)
class Use:
    """One call that a key signed and that was let in."""

    at: datetime
    service: str
    region: str


@dataclass
class Key:
    """A long-term access key. ``state`` is Active, Inactive, or None where nobody has heard of it (any more)."""

    id: str
    secret: str = field(repr=False)
    user: str
    created: datetime
    state: Register[str | None] = field(default_factory=lambda: Register(None))
    uses: list[Use] = field(default_factory=list)
    last_used_delay: float = 0.0  # how late GetAccessKeyLastUsed hears of a use, in seconds


@dataclass(frozen=True)
class KeyRow:
    """A key as a listing shows it."""

    id: str
    status: str
    created: datetime


@dataclass(frozen=True)
class Holding:
    """All that hangs on a principal. Frozen: what a replica has heard of is one of these, whole."""

    inline: Mapping[str, str] = field(default_factory=dict)
    attached: tuple[str, ...] = ()
    boundary: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[KeyRow, ...] = ()


@dataclass
class Principal:
    """A user or a role. Evaluation of rights and listings learn of changes each at their own time."""

    name: str
    path: str
    id: str
    arn: str
    created: datetime
    rights: Register[Holding] = field(default_factory=lambda: Register(Holding()))
    shown: Register[Holding] = field(default_factory=lambda: Register(Holding()))

    @property
    def holding(self) -> Holding:
        """What is true, whoever has heard of it."""
        return self.shown.newest


@dataclass
class User(Principal):
    """An IAM user."""


@dataclass
class Role(Principal):
    """An IAM role and who may take it."""

    trust: Register[str] = field(default_factory=lambda: Register(""))
    max_session: int = 3600


@dataclass(frozen=True)
class PolicyVersion:
    """One version of a managed policy."""

    id: str
    text: str
    created: datetime


@dataclass(frozen=True)
class Versions:
    """The versions of a managed policy, newest last, and the one in force."""

    all: tuple[PolicyVersion, ...]
    default: str
    ever: int  # numbers are never given twice

    def named(self, id: str) -> PolicyVersion | None:
        return next((version for version in self.all if version.id == id), None)

    @property
    def text(self) -> str:
        found = self.named(self.default)
        assert found is not None
        return found.text


@dataclass
class Policy:
    """A managed policy, ours or AWS's."""

    name: str
    path: str
    id: str
    arn: str
    created: datetime
    rights: Register[Versions]
    shown: Register[Versions]
    tags: Mapping[str, str] = field(default_factory=dict)
    description: str | None = None


@dataclass(frozen=True)
class Session:
    """Temporary credentials. They are known everywhere at once and end by themselves only."""

    key: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    principal: Principal
    arn: str
    id: str
    issued: datetime
    expires: datetime
    policies: tuple[Document, ...] | None
    tags: Mapping[str, str]


class Account:
    """The state of one account. Every method is called under the server's lock."""

    def __init__(self, number: str, seed: int, lags: Lags, replicas: int, now: Callable[[], datetime]) -> None:
        self.number = number
        self.now = now
        self.spread = Spread(seed, lags, replicas)
        self._chance = SeededIds(f"ids {seed}")  # a fake's values, repeatable on purpose
        self.users: dict[str, User] = {}
        self.roles: dict[str, Role] = {}
        self.policies: dict[str, Policy] = {}
        self.keys: dict[str, Key] = {}  # deleted ones too
        self.sessions: dict[str, Session] = {}
        self.most_keys: dict[str, int] = {}
        self.regions: dict[tuple[str, str], dict[str, Any]] = {}  # (service, region) -> its things by name
        self.loose_key_quota = False  # check the cap of keys on a view that lags, as AWS was seen to do
        # Who a token of another issuer is about, as its claims; None for one that is not believed.
        self.web_identity: Callable[[str], Mapping[str, Any] | None] = lambda _: None
        self.warnings: list[str] = []
        self._parsed: dict[tuple[str, str], Document] = {}
        for name, text in managed.POLICIES.items():
            self.add_policy(name, text, owner="aws")

    # -- making things --

    def new_id(self, prefix: str) -> str:
        return prefix + self.letters(16, _ID_LETTERS)

    def letters(self, count: int, alphabet: str = _SECRET_LETTERS) -> str:
        return "".join(alphabet[int(self.fraction() * len(alphabet))] for _ in range(count))

    def fraction(self) -> float:
        return self._chance.fraction()

    def add_user(self, name: str, path: str = "/") -> User:
        arn = f"arn:aws:iam::{self.number}:user{path}{name}"
        self.users[name] = User(name, path, self.new_id("AIDA"), arn, self.now())
        return self.users[name]

    def add_role(self, name: str, trust: str, path: str = "/", max_session: int = 3600) -> Role:
        arn = f"arn:aws:iam::{self.number}:role{path}{name}"
        role = Role(name, path, self.new_id("AROA"), arn, self.now(), trust=Register(trust), max_session=max_session)
        self.roles[name] = role
        return role

    def add_policy(self, name: str, text: str, path: str = "/", owner: str | None = None) -> Policy:
        arn = f"arn:aws:iam::{owner or self.number}:policy{path}{name}"
        versions = Versions((PolicyVersion("v1", text, self.now()),), "v1", 1)
        policy = Policy(name, path, self.new_id("ANPA"), arn, self.now(), Register(versions), Register(versions))
        self.policies[arn] = policy
        return policy

    def add_key(self, user: User, *, at_once: bool = False) -> Key:
        delay = self.spread.lags.last_used * (0.2 + 0.8 * self.fraction())
        key = Key(self.new_id("AKIA"), self.letters(40), user.name, self.now(), last_used_delay=delay)
        self.keys[key.id] = key
        rows = (*user.holding.keys, KeyRow(key.id, "Active", key.created))
        self.change(user, at_once=at_once, keys=rows)
        self.key_state(key, "Active", at_once=at_once)
        self.most_keys[user.name] = max(self.most_keys.get(user.name, 0), len(rows))
        return key

    # -- changing things --

    def change(self, principal: Principal, *, at_once: bool = False, **changes: Any) -> None:
        """Write a change of a principal; who evaluates rights and who lists hear of it each at their own time."""
        fresh = replace(principal.holding, **changes)
        lags = self.spread.lags
        principal.shown.write(fresh, self.arrivals(0.0 if at_once else lags.listing))
        if changes.keys() & {"inline", "attached", "boundary", "tags"}:
            principal.rights.write(fresh, self.arrivals(0.0 if at_once else lags.rights))

    def key_state(self, key: Key, state: str | None, *, at_once: bool = False) -> None:
        lags = self.spread.lags
        bound = lags.fresh_key if state == "Active" else lags.ended_key
        key.state.write(state, self.arrivals(0.0 if at_once else bound))

    def change_versions(self, policy: Policy, versions: Versions) -> None:
        policy.shown.write(versions, self.arrivals(self.spread.lags.listing))
        policy.rights.write(versions, self.arrivals(self.spread.lags.rights))

    def arrivals(self, at_most: float) -> Mapping[View, datetime]:
        return self.spread.arrivals(self.now(), at_most)

    # -- looking --

    def user(self, name: str) -> User:
        if name not in self.users:
            raise AwsError("NoSuchEntity", f"The user with name {name} cannot be found.")
        return self.users[name]

    def documents(self, principal: Principal, view: View) -> tuple[list[Document], Document | None]:
        """The identity policies and the boundary of a principal, as this replica knows them."""
        now = self.now()
        holding = principal.rights.seen(view, now)
        found = [self._document(name, text) for name, text in holding.inline.items()]
        found += [self._managed(arn, view, now) for arn in holding.attached if arn in self.policies]
        boundary = holding.boundary
        if boundary is None:
            return found, None
        if boundary not in self.policies:  # deleted: nothing is within it
            return found, Document(boundary, "", ())
        return found, self._managed(boundary, view, now)

    def _managed(self, arn: str, view: View, now: datetime) -> Document:
        return self._document(arn, self.policies[arn].rights.seen(view, now).text)

    def _document(self, name: str, text: str) -> Document:
        if (name, text) not in self._parsed:
            self._parsed[name, text] = parsed(name, text)
        return self._parsed[name, text]

    def things(self, service: str, region: str) -> dict[str, Any]:
        """What a service holds in a region, by name."""
        return self.regions.setdefault((service, region), {})

    def warn(self, said: str) -> None:
        """What AWS advises against, once."""
        if said not in self.warnings:
            self.warnings.append(said)

    def last_use(self, key: Key) -> Use | None:
        """The last use that IAM has heard of by now, its moment made coarse."""
        heard = self.now() - timedelta(seconds=key.last_used_delay)
        known = [use for use in key.uses if use.at <= heard]
        if not known:
            return None
        grain = self.spread.lags.last_used_grain
        last = known[-1]
        seconds = last.at.timestamp()
        return replace(last, at=last.at - timedelta(seconds=seconds % grain if grain else 0))
