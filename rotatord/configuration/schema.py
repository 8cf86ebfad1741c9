"""The shape of the configuration: pydantic models, whose descriptions and examples make the manual page. No decisions.

Defaults of a policy stand in :class:`rotatord.model.Policy` alone; a key that is not given is None here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, model_validator

from rotatord import windows
from rotatord.api.settings import ApiSettings
from rotatord.configuration.values import (
    Length,
    Name,
    Percent,
    Positive,
    Reference,
    Section,
    StillUsed,
    database_url,
    if_still_used,
    length_or_percent,
    local_reference,
    signal_url,
    tokens,
)
from rotatord.http import OutgoingSettings
from rotatord.model import Window

CREDENTIALS = "credentials"
OWN_CONSUMER_KEYS = frozenset({"type", "name", "health", "refresh_within", "wave", "copies"})
OWN_DESTINATION_KEYS = frozenset({"backend", "keys", "version_key", "wave", "mounted_at"})
NOTICE_KINDS = ("halted", "rolled_back", "expiring", "overdue", "strays", "drift", "leaked", "read_only", "paused")


class WindowSection(Section):
    """A time in which rotations may, or may not, start."""

    allow: str | None = Field(
        default=None, description="weekday range or cron start in which rotations may start", examples=["Mon-Thu 09:00-16:00"]
    )
    deny: str | None = Field(
        default=None, description="weekday range or cron start in which they may not; beats allow", examples=["0 0 24 12 *"]
    )
    time_zone: str = Field(
        default="UTC", description="IANA name of the zone whose wall clock is meant", examples=["Europe/Lisbon"]
    )
    duration: Length | None = Field(
        default=None, description="how long a cron start stays open; a weekday range says so itself", examples=["48h"]
    )

    @model_validator(mode="after")
    def _readable(self) -> WindowSection:
        if (self.allow is None) == (self.deny is None):
            raise ValueError("a window has either allow or deny")
        self.window()
        return self

    def window(self) -> Window:
        """The window meant. Raises ValueError."""
        kind, text = (windows.ALLOW, self.allow) if self.allow is not None else (windows.DENY, self.deny)
        try:
            return windows.parse(text or "", kind=kind, time_zone=self.time_zone, duration=self.duration)
        except ValueError as error:
            raise ValueError(f"window {text!r}: {error}") from None


class UnprovenSection(Section):
    """Accept consumers without evidence."""

    overlap: Positive = Field(description="how long both versions stay valid in place of proof", examples=["10m"])


class RequireSection(Section):
    """What every credential of this policy must have."""

    ip_allow: bool = Field(default=False, description="its scope restricts the addresses it may be used from")
    owner: bool = Field(default=False, description="it names an owner")
    purpose: bool = Field(default=False, description="it says what it is for")
    labels: list[str] = Field(default=[], description="it has these labels", examples=[["team"]])


class PolicySection(Section):
    """How credentials are rotated."""

    max_age: Positive | None = Field(default=None, description="no version gets older than this", examples=["30d"])
    renew_before: Annotated[timedelta | Percent, PlainValidator(length_or_percent)] | None = Field(
        default=None,
        description="how long before its expiry or greatest age a version is replaced, or a share of its life; enough to start",
        examples=["7d", "33%"],
    )
    ttl: Positive | None = Field(
        default=None, description="life asked of issuers that can end versions by themselves", examples=["45d"]
    )
    overlap: Length | None = Field(
        default=None, description="how long both versions stay valid after the new one is proven in use", examples=["1h"]
    )
    settle: Length | None = Field(
        default=None, description="how long the base stays disabled, reversibly, before it is revoked", examples=["5m"]
    )
    windows: list[WindowSection] | None = Field(
        default=None, description="when rotations may start; not for compromised or manual ones"
    )
    expiry_beats_window: bool | None = Field(
        default=None, description="start outside the windows rather than let a version expire"
    )
    jitter_percent: float | None = Field(
        default=None, ge=0, le=100, description="share of the lead by which rotations are spread, each credential always alike"
    )
    dwell: Length | None = Field(
        default=None, description="how long consumers must stay healthy before the new version counts as proven"
    )
    mint_within: Positive | None = Field(
        default=None, description="deadline of minting, waits for a free slot at the issuer included"
    )
    prove_within: Positive | None = Field(default=None, description="deadline of proving the new version at the issuer")
    publish_within: Positive | None = Field(default=None, description="deadline of writing all destinations")
    reload_within: Positive | None = Field(default=None, description="deadline of asking all consumers to reload")
    verify_within: Positive | None = Field(
        default=None, description="deadline of the proof that consumers use the new version and are healthy"
    )
    unhealthy_after: int | None = Field(
        default=None, ge=1, le=1000, description="unhealthy answers in a row that fail it before the deadline"
    )
    poll: Positive | None = Field(default=None, description="time between two looks at a gate that is not open yet")
    idle: Literal["pass", "hold"] | None = Field(default=None, description="what a consumer with no instance running means")
    unproven: UnprovenSection | None = Field(
        default=None, description="accept consumers that give no evidence, or none at all, after this overlap"
    )
    still_used: Annotated[StillUsed, PlainValidator(if_still_used)] | None = Field(
        default=None,
        description="a base that is still used: ignore, hold, or {revoke_after: …}",
        examples=["hold", {"revoke_after": "7d"}],
    )
    idle_for: Length | None = Field(
        default=None, description="how long the base must be unused, beyond the issuer's delay in telling"
    )
    on_unknown: Literal["hold", "replace"] | None = Field(default=None, description="a value that is there at first contact")
    on_drift: Literal["hold", "repair"] | None = Field(default=None, description="a foreign value in a destination of ours")
    allow_downtime: bool | None = Field(default=None, description="permit issuers whose minting kills the old value")
    suspend: bool | None = Field(default=None, description="disable the base reversibly before its death, where the issuer can")
    end_sessions: bool | None = Field(default=None, description="end what was opened with a version when it dies")
    compromised_deadline: Positive | None = Field(default=None, description="when a leaked version dies at the latest")
    alarm_before: Length | None = Field(default=None, description="how long before an expiry people are told")
    require: RequireSection | None = Field(default=None, description="what every credential of this policy must have")


class PluginSection(BaseModel):
    """An issuer or a backend. All other keys belong to its plugin: see its own page."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="the plugin's name", examples=["vault"])


class DestinationSection(BaseModel):
    """One place that readers read. All other keys are the address, which the backend understands."""

    model_config = ConfigDict(extra="allow")

    backend: str = Field(description="which of the configured backends", examples=["vault"])
    keys: dict[str, str] = Field(
        default={},
        description="key in the document: field of the secret, or a template with {field}",
        examples=[{"TOKEN": "token"}],
    )
    version_key: str | None = Field(
        default=None, description="a further key that holds the version's label", examples=["TOKEN_VERSION"]
    )
    wave: int = Field(default=0, ge=0, le=100, description="waves are published, reloaded and verified one after the other")
    mounted_at: str | None = Field(
        default=None,
        description="the directory in which rotatord itself finds it, each key a file: a Secret that is mounted in its own pod",
        examples=["/run/secrets/rotatord"],
    )


class CopySection(BaseModel):
    """One place that somebody else keeps equal to a destination; only ever read. All other keys are its address."""

    model_config = ConfigDict(extra="allow")

    backend: str = Field(description="the backend through which it is read", examples=["cluster"])
    keys: dict[str, str] = Field(
        default={}, description="key in the document: field of the secret", examples=[{"TOKEN": "token"}]
    )


class ConsumerSection(BaseModel):
    """Who reads a destination. All other keys belong to the consumer's plugin."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="the plugin's name", examples=["process"])
    name: str | None = Field(
        default=None, description="what it is called in status and logs; its type where not given", examples=["web"]
    )
    health: list[Any] = Field(
        default=[], description="checks, each {type: settings}", examples=[[{"http": {"url": "https://dns.internal/healthz"}}]]
    )
    refresh_within: Positive | None = Field(
        default=None, description="it reads anew by itself within this time", examples=["1m"]
    )
    wave: int = Field(default=0, ge=0, le=100, description="the wave in which it is reloaded")
    copies: list[CopySection] = Field(
        default=[],
        description="places that something else (External Secrets Operator, Vault Secrets Operator, a CSI driver) fills from a "
        "destination and that it reads; read back before anything restarts or counts as proof",
        examples=[[{"backend": "cluster", "namespace": "dns", "name": "dns-token", "keys": {"TOKEN": "token"}}]],
    )


class CredentialSection(Section):
    """One managed credential."""

    name: Name = Field(description="unique; letters, digits, dot, dash and underscore", examples=["dns-writer"])
    issuer: str = Field(description="which of the configured issuers", examples=["cloudflare"])
    owner: str = Field(default="", description="who answers for it", examples=["team-edge"])
    purpose: str = Field(default="", description="what it is for")
    labels: dict[str, str] = Field(default={}, description="for selectors", examples=[{"team": "edge"}])
    policy: Any = Field(default="default", description="the name of a policy, or a policy in place", examples=["production"])
    scope: dict[str, Any] = Field(default={}, description="what a version may do, in the issuer's terms")
    parameters: dict[str, Any] = Field(default={}, description="what else the issuer needs to mint, such as a role")
    destinations: list[DestinationSection] = Field(
        min_length=1, description="where versions are published; the first one is the home"
    )
    consumers: list[ConsumerSection] = Field(default=[], description="who reads them")
    renamed_from: Name | None = Field(default=None, description="its former name: keeps its history", examples=["dns-old"])


class WebhookSection(OutgoingSettings):
    """A receiver of notices, signed as Standard Webhooks says."""

    name: Name = Field(default="webhook", description="what it is called in logs; unique")
    url: str = Field(
        pattern=r"^https?://", description="where notices are posted", examples=["https://alerts.example.com/rotatord"]
    )
    secret: Reference = Field(
        description="reference to the signing secret; several, separated by white space, all sign",
        examples=[{"file": "/run/secrets/webhook"}],
    )
    kinds: list[Literal["halted", "rolled_back", "expiring", "overdue", "strays", "drift", "leaked", "read_only", "paused"]] = (
        Field(default=[], description="which notices; all where not given", examples=[["halted", "expiring"]])
    )


class DeadmanSection(OutgoingSettings):
    """A signal that is sent for as long as work gets on, to whoever raises an alarm when it stops."""

    url: Annotated[dict[str, str], BeforeValidator(signal_url)] = Field(
        description="where it is sent: an address, or a reference to one, as an address that is all it takes is a secret",
        examples=[{"file": "/run/secrets/deadman-url"}],
    )
    every: Positive = Field(default=timedelta(minutes=1), description="how often; 10s to 1h")
    method: Literal["get", "head", "post", "put"] = Field(
        default="get", description="how; post and put send the metric of the last progress as their body"
    )
    failure: str | None = Field(
        default=None,
        pattern=r"^/[\w./-]*$",
        description="put behind the path of the address to say that nothing gets on; nothing is sent then where not given",
        examples=["/fail"],
    )

    @model_validator(mode="after")
    def _often_enough(self) -> DeadmanSection:
        if not timedelta(seconds=10) <= self.every <= timedelta(hours=1):
            raise ValueError("every should lie between 10s and 1h")
        return self


class IssuerLimitSection(Section):
    """The budget of one issuer."""

    concurrency: int = Field(default=8, ge=1, le=1000, description="calls to it at one time")
    per_minute: float | None = Field(
        default=None, gt=0, description="calls started in a minute, evenly spread; no bound where not given"
    )


class LimitsSection(Section):
    """What the daemon may use."""

    threads: int = Field(default=16, ge=1, le=1000, description="credentials worked on at one time")
    issuer: IssuerLimitSection = Field(default=IssuerLimitSection(), description="the budget of each issuer not named below")
    issuers: dict[str, IssuerLimitSection] = Field(
        default={}, description="budgets by issuer", examples=[{"cloudflare": {"per_minute": 200}}]
    )


class LogSection(Section):
    """What the daemon writes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="the least weight that is written")
    format: Literal["auto", "json", "text"] = Field(default="auto", description="auto: text on a terminal, JSON elsewhere")


class DatabaseSection(Section):
    """Where the journal lies, for several daemons that share the work."""

    url: Annotated[dict[str, str] | None, BeforeValidator(database_url)] = Field(
        default=None,
        description="a PostgreSQL database: a reference to its URL, or the URL itself where it holds no password; "
        "a file in the state directory where not given",
        examples=["postgresql://rotatord@db/rotatord", {"file": "/run/secrets/database-url"}],
    )
    lease: Positive = Field(
        default=timedelta(seconds=15),
        description="how long a daemon that died keeps what it was working on from the others; at least 1s",
    )

    @model_validator(mode="after")
    def _long_enough(self) -> DatabaseSection:
        if not timedelta(seconds=1) <= self.lease <= timedelta(hours=1):
            raise ValueError("lease should lie between 1s and 1h")
        return self


class HeadSection(Section):
    """The top level of the configuration."""

    installation: Name | None = Field(
        default=None,
        description="this deployment's identity, part of every label; made and kept at first start where not given",
    )
    state_dir: str = Field(
        default="/var/lib/rotatord", min_length=1, description="journal, fingerprint key, socket and locks; one daemon each"
    )
    database: DatabaseSection = Field(default=DatabaseSection(), description="where the journal lies")
    fingerprint_key: Annotated[dict[str, str] | None, BeforeValidator(local_reference)] = Field(
        default=None,
        description="reference to the key of all fingerprints, 32 bytes or more, the same for every daemon of an installation; "
        "`fingerprint.key` in the state directory, made at first start, where not given",
        examples=[{"file": "/run/secrets/fingerprint-key"}],
    )
    issuers: dict[Name, PluginSection] = Field(default={}, description="where versions come from, by name")
    backends: dict[Name, PluginSection] = Field(default={}, description="secret stores, by name")
    policies: dict[Name, PolicySection] = Field(
        default={}, description="how to rotate, by name; the one named default is used where none is named"
    )
    api: Annotated[ApiSettings, BeforeValidator(tokens)] = Field(
        default=ApiSettings(), description="where the API listens and who may use it"
    )
    notices: list[WebhookSection] = Field(default=[], description="who is told of what needs a person")
    deadman: DeadmanSection | None = Field(default=None, description="who is told that all is well, and alarms when that stops")
    limits: LimitsSection = Field(default=LimitsSection(), description="what the daemon may use")
    log: LogSection = Field(default=LogSection(), description="what it writes")
    credentials: list[Any] = Field(default=[], description="what is managed")

    @model_validator(mode="after")
    def _receivers_differ(self) -> HeadSection:
        if len({receiver.name for receiver in self.notices}) < len(self.notices):
            raise ValueError("notices: two receivers have the same name")
        return self
