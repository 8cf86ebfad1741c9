"""What is known of versions and rotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from rotatord.clock import Instant
from rotatord.model.declared import Spec
from rotatord.model.words import JsonMap, Outcome, Reason, State, Verdict, Way


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
    restart: str = ""  # the mark of its last restart at that moment, of those that are restarted


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """The reversible disabling of the base; intent first."""

    intended_at: Instant  # of the last attempt
    attempts: int = 1
    done_at: Instant | None = None
    resuming_at: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a principal was told to cover, where scopes sit on principals; intent first."""

    issuer: str
    parameters: JsonMap
    scopes: tuple[JsonMap, ...]  # of all versions that it had to serve
    asked: Instant  # when the last call was about to be made
    open: bool = True  # it is not answered
    loose: Instant | None = None  # an earlier call with the same scopes that was never answered and may still land
    due_at: datetime | None = None  # when to try again


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
    stretched: bool = False  # that the overlap goes on longer than it should was announced
    rollback: str = ""  # why it turned back
    overwrites: bool = False  # a person said that what somebody else wrote at its destinations is to go

    @property
    def subject(self) -> Version | None:
        """The version that the steps of the present way publish and verify."""
        return self.new if self.way is Way.FORWARD else self.base


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
