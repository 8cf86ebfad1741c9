"""The nouns of rotatord, all frozen. No I/O, no clocks, no decisions: a change returns a new value.

``Record`` is the unit of the journal: everything known about one credential, its open rotation and its ledger.
None of these ever holds a secret value; see :mod:`rotatord.secret`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from rotatord.clock import Instant

JsonMap = dict[str, Any]


class Reason(StrEnum):
    """Why a rotation happens."""

    DUE = "due"
    EXPIRING = "expiring"
    COMPROMISED = "compromised"
    SCOPE_CHANGED = "scope_changed"
    MANUAL = "manual"


class State(StrEnum):
    """A durable fact about a rotation."""

    PLANNED = "planned"
    STAGED = "staged"
    PROVEN = "proven"
    PUBLISHED = "published"
    RELOADED = "reloaded"
    VERIFIED = "verified"
    COMPLETED = "completed"
    DISCARDING = "discarding"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"


class Way(StrEnum):
    """The direction of a rotation: over the new version, the base it replaces, or the current one."""

    FORWARD = "forward"
    BACK = "back"
    REPAIR = "repair"


class Slot(StrEnum):
    """A place of a destination. Only the home has pending and previous."""

    PENDING = "pending"
    CURRENT = "current"
    PREVIOUS = "previous"


class Standing(StrEnum):
    """What the journal knows of a credential as a whole."""

    NEW = "new"  # declared, never looked at
    UNMANAGED = "unmanaged"  # its destination holds a value that we did not make; waits for ``adopt``
    MANAGED = "managed"
    BEHIND = "behind"  # its destination knows more than this journal: read only until ``rebuild``
    FORGOTTEN = "forgotten"  # no longer declared; remembered, never touched without ``retire``
    RETIRED = "retired"


# --- what is declared ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Times in which rotations may (``allow``) or may not start: weekday range or cron start, with a duration."""

    kind: str  # "allow" | "deny"
    time_zone: str
    cron: str  # the start of each opening; weekday ranges are translated into it
    duration: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a credential is rotated; every value has a safe default."""

    name: str = "default"
    max_age: timedelta | None = None
    renew_before: timedelta | None = None
    renew_before_percent: float | None = None  # of the version's life, when no duration is given
    ttl: timedelta | None = None  # asked of issuers that can expire versions
    overlap: timedelta = timedelta(0)
    settle: timedelta = timedelta(seconds=30)  # between suspending the base and authorising its death
    windows: tuple[Window, ...] = ()
    expiry_beats_window: bool = True
    jitter_percent: float = 10.0  # of the renewal lead; spread deterministically per credential
    dwell: timedelta = timedelta(seconds=0)  # how long a consumer must stay healthy
    verify_within: timedelta = timedelta(minutes=10)
    prove_within: timedelta = timedelta(minutes=10)
    publish_within: timedelta = timedelta(hours=1)
    reload_within: timedelta = timedelta(minutes=10)
    mint_within: timedelta = timedelta(hours=24)
    unhealthy_after: int = 3  # consecutive unhealthy answers that fail a verify before its deadline
    poll: timedelta = timedelta(seconds=2)  # between two looks at a gate that is not open yet
    idle: str = "hold"  # zero instances: "pass" | "hold"
    unproven_overlap: timedelta | None = None  # set: consumers without evidence are accepted after this overlap
    still_used: str = "ignore"  # "ignore" | "hold" | "revoke_after"
    still_used_limit: timedelta = timedelta(days=7)
    idle_for: timedelta = timedelta(0)  # how long the base must be unused, beyond the issuer's evidence delay
    on_unknown: str = "hold"  # first contact with a foreign value: "hold" | "replace"
    on_drift: str = "hold"  # a foreign value in our destination: "hold" | "repair"; our own older value is always repaired
    allow_downtime: bool = False
    suspend: bool = True  # disable the base reversibly before its death, where the issuer can
    end_sessions: bool = False
    compromised_deadline: timedelta = timedelta(minutes=15)
    alarm_before: timedelta = timedelta(days=3)
    require: JsonMap = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One place in a backend, mapping its keys to fields; ``{field}`` inside a key's value makes it a template."""

    backend: str
    address: JsonMap
    keys: dict[str, str]
    version_key: str | None = None
    wave: int = 0

    @property
    def id(self) -> str:
        """Names the document: backend and address."""
        parts = ",".join(f"{key}={self.address[key]}" for key in sorted(self.address))
        return f"{self.backend}:{parts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSpec:
    """One health check of a consumer."""

    type: str
    settings: JsonMap = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSpec:
    """One consumer as declared."""

    type: str
    name: str
    settings: JsonMap = field(default_factory=dict)
    health: tuple[HealthSpec, ...] = ()
    refresh_within: timedelta | None = None
    wave: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A credential as the configuration declares it, its policy already resolved."""

    name: str
    issuer: str
    owner: str = ""
    purpose: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    scope: JsonMap = field(default_factory=dict)
    parameters: JsonMap = field(default_factory=dict)
    destinations: tuple[Destination, ...] = ()
    consumers: tuple[ConsumerSpec, ...] = ()
    source: str = ""  # file:line

    @property
    def home(self) -> Destination:
        return self.destinations[0]

    @property
    def waves(self) -> tuple[int, ...]:
        """The distinct wave numbers, in order; never empty."""
        numbers = {d.wave for d in self.destinations} | {c.wave for c in self.consumers}
        return tuple(sorted(numbers)) or (0,)


def digest_of(value: Any) -> str:
    """A short hash of a JSON-like value, for "has it changed"; not secret, not keyed."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- what is known -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One minted instance of a credential, without its secret."""

    generation: int
    rotation: str  # the rotation that minted it, or "adopted"
    issuer: str
    ref: str  # issuer-side id; "" when adopted without one, and then never revoked
    fingerprint: str
    scope: JsonMap = field(default_factory=dict)
    minted_at: datetime
    expires_at: datetime | None = None
    renew_at: datetime | None = None  # for periodic versions: when to renew
    digests: dict[str, str] = field(default_factory=dict)
    accepted: bool = False  # a probe from our vantage has accepted it once: a refusal then proves death
    parameters: JsonMap | None = None  # what it was minted with beside the scope; None: unknown, and never compared

    @property
    def label(self) -> str:
        """What consumers attest: generation and the start of the keyed fingerprint. Not secret."""
        return f"{self.generation}-{self.fingerprint[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What lies beside a value in a slot and says whose it is."""

    installation: str
    credential: str
    rotation: str
    generation: int
    ref: str
    fingerprint: str
    write: str  # the idempotence token of the write that put it there

    @property
    def label(self) -> str:
        return f"{self.generation}-{self.fingerprint[:8]}"


class Outcome(StrEnum):
    """What became of a mint intent."""

    OPEN = "open"
    ANSWERED = "answered"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True, kw_only=True)
class MintIntent:
    """The journaled authorisation of one mint call."""

    generation: int
    at: datetime
    instant: Instant | None = None  # of the last call with it, on both clocks
    outcome: Outcome = Outcome.OPEN
    known: tuple[str, ...] = ()  # live refs seen before, at issuers without labels
    repeated: bool = False  # the call was made again with our own value: an earlier one may still land


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A destination write of one leg, read back."""

    destination: str
    leg: int
    at: datetime
    instant: Instant | None = None  # the same moment on both clocks: waits count from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """A consumer's reload in one leg; ``done_at`` None means intended only."""

    consumer: str
    leg: int
    intended_at: datetime
    done_at: datetime | None = None
    skipped: str = ""  # the person's reason, where one said to skip it


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The instances of a consumer that ran right after the destinations were read back: each may hold what was there
    before. Any other started later, whatever anybody's clock says."""

    consumer: str
    leg: int
    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """The reversible disabling of the base; intent first."""

    intended_at: Instant  # of the last attempt
    attempts: int = 1
    done_at: Instant | None = None
    resuming_at: Instant | None = None


class Verdict(StrEnum):
    """The answer of one check of the gate."""

    PASS = "pass"
    WAIT = "wait"  # not yet, or unknown: unknown is not healthy
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one check saw, in words and facts that may be shown."""

    check: str
    subject: str
    verdict: Verdict
    detail: str
    at: datetime
    facts: JsonMap = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """Stopped for a person, everything left working."""

    code: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """One durable replacement (or repair) of the current version."""

    id: str
    reason: Reason
    way: Way
    state: State
    plan: Spec
    base: Version | None
    base_healthy: bool | None = None
    new: Version | None = None
    intents: tuple[MintIntent, ...] = ()
    minted: Instant | None = None  # when the new version was staged: its propagation counts from here
    leg: int = 0
    wave: int = 0  # index into plan.waves
    drifts: int = 0  # how often it published again because a destination had lost the version
    reached: int = 0  # the highest wave published forward: the way back covers as many
    touched: bool = False  # the publish intent: from here on a destination may hold the new version
    written: tuple[Written, ...] = ()
    reloaded: tuple[Reloaded, ...] = ()
    seen: tuple[Seen, ...] = ()
    base_used: str = ""  # the last use of the base that the issuer told of
    base_quiet: Instant | None = None  # since when that has not changed
    since: datetime  # when the state was entered; deadlines count from here
    timer: Instant | None = None  # the overlap's start
    healthy_since: Instant | None = None
    unhealthy: int = 0
    suspension: Suspension | None = None
    accepted_risk: str = ""  # a person's recorded reason to pass the gate
    attempts: int = 0
    due_at: datetime
    waiting: str = ""  # why nothing happens before due_at
    error: str = ""
    halt: Halt | None = None
    evidence: tuple[Evidence, ...] = ()
    started_at: datetime
    actor: str
    hard_deadline: datetime | None = None
    rollback: str = ""  # why it turned back

    @property
    def subject(self) -> Version | None:
        """The version that the steps of the present way publish and verify."""
        return self.new if self.way is Way.FORWARD else self.base


class Owing(StrEnum):
    """How far one owed version is on its way to being proven dead."""

    OWED = "owed"
    REVOKING = "revoking"  # intent journaled
    REVOKED = "revoked"  # the issuer answered; not proven yet
    DEAD = "dead"  # proven; slots are cleared next


@dataclass(frozen=True, slots=True, kw_only=True)
class OwedVersion:
    """One version that must still die."""

    version: Version
    reason: str  # replaced | discarded | orphaned | leaked | retired
    owing: Owing = Owing.OWED
    revoked_at: datetime | None = None
    revoked: Instant | None = None  # the same moment on both clocks
    proofs: int = 0
    proof: str = ""  # the grade: "refused" or "gone"
    forced: str = ""  # who forced it and why, where invariants 1 and 2 are excepted


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """One entry of the revocation ledger: everything that one rotation owes."""

    rotation: str
    issuer: str
    owed: tuple[OwedVersion, ...] = ()
    sweep_until: datetime | None = None  # lost mint answers: search the issuer until then, as far as clocks agree
    sweep_from: Instant | None = None
    sweep_for: timedelta = timedelta(0)
    abandoned: tuple[int, ...] = ()  # generations whose mint answer was lost
    intents: tuple[MintIntent, ...] = ()
    kept: str = ""  # the ref that this rotation kept
    attempts: int = 0
    opened_at: datetime
    due_at: datetime
    waiting: str = ""
    error: str = ""

    @property
    def key(self) -> str:
        """Names the entry within its record."""
        return f"{self.rotation}@{self.issuer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A person's stop: no new rotation, nothing authorised to die, until it ends."""

    owner: str
    until: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakMark:
    """A version known to be compromised."""

    ref: str
    generation: int
    at: datetime
    deadline: datetime
    contain: bool = False
    contained_at: datetime | None = None
    actor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A person's wish that the next unit of work carries out."""

    verb: str  # rotate | repair | adopt | inspect | rebuild
    actor: str
    at: datetime
    reason: Reason = Reason.MANUAL
    ref: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The last rotation that ended."""

    id: str
    reason: Reason
    way: Way
    state: State
    started_at: datetime
    finished_at: datetime
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A destination that does not hold the current version."""

    destination: str
    what: str  # missing | ours_older | foreign | unreadable
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a piece of work outside a rotation (inspect, adopt, renew, contain) did not get done, and when it is tried again."""

    unit: str
    attempts: int
    due_at: datetime
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything that the journal knows of one credential."""

    name: str
    seq: int = 0
    spec: Spec
    standing: Standing = Standing.NEW
    generation: int = 0  # the highest ever intended
    current: Version | None = None
    rotation: Rotation | None = None
    last: Summary | None = None
    ledger: tuple[Debt, ...] = ()
    holds: tuple[Hold, ...] = ()
    leaks: tuple[LeakMark, ...] = ()
    asked: Asked | None = None
    failures: int = 0  # rotations rolled back in a row
    backoff_until: datetime | None = None
    held_for_person: str = ""  # automatic rotation stopped after repeated failures, or by a brake
    drift: tuple[Drift, ...] = ()
    inspected_at: datetime | None = None
    trouble: Trouble | None = None
    renew_error: str = ""
    alarmed: int = -1  # the generation whose coming expiry was announced
    formerly: tuple[str, ...] = ()  # earlier names: labels and markers keep them
    ledger_turn: bool = True  # ledger and step take turns
    due_at: datetime | None = None  # None: nothing to do until something changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the event log. ``evidence`` holds facts that may be shown to anybody who may read status."""

    id: str
    time: datetime
    actor: str
    action: str
    credential: str
    outcome: str  # intended | done | failed | refused | waiting
    version: str = ""
    rotation: str = ""
    reason: str = ""
    evidence: JsonMap = field(default_factory=dict)
    seq: int = 0  # given by the journal, rising by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A message for people, delivered at least once."""

    id: str
    kind: str  # halted | rolled_back | expiring | overdue | strays | drift | leaked | read_only
    credential: str
    text: str
    at: datetime
    facts: JsonMap = field(default_factory=dict)
    attempts: int = 0
