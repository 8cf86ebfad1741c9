"""The unit of the journal, with its ledger, what people asked, and what is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rotatord.clock import Instant
from rotatord.model.declared import Destination, Spec
from rotatord.model.known import Drift, Grant, MintIntent, Rotation, Summary, Version
from rotatord.model.words import JsonMap, Owing, Reason, Standing


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
    parameters: JsonMap | None = None  # what it minted with: where to search, whatever is declared since
    attempts: int = 0
    opened_at: datetime
    due_at: datetime
    waiting: str = ""
    error: str = ""
    home: Destination | None = None  # of the rotation's plan: what lies in its slots is cleared there, too
    stands_since: datetime | None = None  # what it waits for ends by nobody's doing but a person's
    stands_told: datetime | None = None  # when that was told last

    @property
    def key(self) -> str:
        """Names the entry within its record."""
        return f"{self.rotation}@{self.issuer}"

    @property
    def all_dead(self) -> bool:
        """Whether everything it owes was proven dead, so that only slots are left to clear."""
        return bool(self.owed) and all(item.owing is Owing.DEAD for item in self.owed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A person's stop: no new rotation, nothing authorised to die, until it ends."""

    owner: str
    until: datetime
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A person's stop of the whole installation. No end: an earlier version wrote it, and only `unpause` ends it."""

    owner: str  # whom to ask about it
    until: datetime | None
    reason: str = ""
    actor: str = ""  # who asked for it
    at: datetime | None = None

    @property
    def words(self) -> str:
        """Until when, by whom and why."""
        if self.until is None:
            return f"{self.reason} (without an end)"
        by = self.owner if self.owner == self.actor else f"{self.owner} (asked by {self.actor})"
        return f"until {self.until:%Y-%m-%d %H:%MZ} by {by}" + (f": {self.reason}" if self.reason else "")

    @property
    def why(self) -> str:
        """What it means to a credential."""
        return f"the installation is paused {self.words}"


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
    told: bool = False  # that its deadline passed while it lived was announced


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A person's wish that the next unit of work carries out."""

    verb: str  # rotate | repair | adopt | inspect | rebuild
    actor: str
    at: datetime
    reason: Reason = Reason.MANUAL
    ref: str = ""
    overwrites: bool = False  # what somebody else wrote


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
    grants: tuple[Grant, ...] = ()  # of principals, where scopes sit on them
    holds: tuple[Hold, ...] = ()
    leaks: tuple[LeakMark, ...] = ()
    asked: Asked | None = None
    failures: int = 0  # rotations rolled back in a row
    backoff_until: datetime | None = None
    held_for_person: str = ""  # automatic rotation stopped after repeated failures, or by a brake
    drift: tuple[Drift, ...] = ()
    inspected_at: datetime | None = None
    troubles: tuple[Trouble, ...] = ()  # one of each unit at most
    renew_error: str = ""
    alarmed: int = -1  # the generation whose coming expiry was announced
    late_told: int = 100  # of the time to its end so many per cent were left when people were last told that it is late
    late_generation: int = -1  # the generation of which that was told
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
    kind: str  # halted | rolled_back | expiring | overdue | strays | drift | leaked | read_only | paused
    credential: str
    text: str
    at: datetime
    facts: JsonMap = field(default_factory=dict)
    attempts: int = 0
