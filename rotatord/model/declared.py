"""What is declared: a credential's specification, its policy already resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from rotatord.model.words import JsonMap


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
    mounted_at: str = ""  # where we ourselves find its keys, each a file, brought there by somebody else

    @property
    def id(self) -> str:
        """Names the document: backend and address."""
        parts = ",".join([f"{key}={self.address[key]}" for key in sorted(self.address)])
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
    copies: tuple[Destination, ...] = ()  # what it reads in place of the destination, filled by somebody else


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
    own_of: tuple[str, ...] = ()  # what we ourselves do with it: "issuers.NAME", "backends.NAME"

    @property
    def home(self) -> Destination:
        return self.destinations[0]

    @property
    def waves(self) -> tuple[int, ...]:
        """The distinct wave numbers, in order; never empty."""
        numbers = {d.wave for d in self.destinations} | {c.wave for c in self.consumers}
        return tuple(sorted(numbers)) or (0,)
