"""The ports: what the core asks of issuers, backends, consumers, checks and the journal.

Every method blocks, has connect and read timeouts of its own that together stay below :attr:`timeout`, never retries
by itself (only the saga does) and raises nothing but :mod:`rotatord.errors`. Optional powers are protocols of their own,
found by ``isinstance``. The contract suites in ``rotatord.testing.contracts`` enforce what the docstrings say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from rotatord.model import ConsumerSpec, Destination, Event, JsonMap, Marker, Notice, Record, Slot
from rotatord.secret import Secret

# --- issuers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What the engine must know of an issuer to rotate safely."""

    fields: tuple[str, ...]  # names of the secret's fields, e.g. ("token",)
    strategy: str = "overlapping"  # overlapping | alternating | in_place | leased
    max_live: int | None = None  # how many versions may live at once per principal; None: no cap
    value_origin: str = "issuer"  # issuer | caller
    scope_on: str = "version"  # version | principal
    scope_proof: str = "none"  # exact | sampled | none: what a probe can see of the scope
    expiry: bool = False  # versions can be given an end
    labels: bool = True  # installation, credential, rotation and generation can be read back by find()
    propagation: timedelta = timedelta(0)  # a fresh, resumed, suspended or revoked version is believed only after this
    call_settles_within: timedelta = timedelta(seconds=30)  # a timed-out call may still land until then
    listing_delay: timedelta = timedelta(0)  # a minted version appears in find() within this
    last_used_delay: timedelta = timedelta(0)
    exclusive: bool = False  # nobody else mints for this principal (needed where labels is False)
    high_entropy: tuple[str, ...] = ()  # fields whose plain digests may be kept for leak matching


@dataclass(frozen=True, slots=True, kw_only=True)
class MintRequest:
    """What to mint, and the labels by which it is found again."""

    installation: str
    credential: str
    rotation: str
    generation: int
    scope: JsonMap
    parameters: JsonMap
    ttl: timedelta | None = None
    owner: str = ""
    purpose: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """A fresh version: its issuer-side id and its fields, seen here for the only time."""

    ref: str
    fields: Secret
    expires_at: datetime | None = None
    renew_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for: one ref, or everything labelled with this installation and credential (and rotation)."""

    installation: str
    credential: str
    rotation: str | None = None
    ref: str | None = None
    parameters: JsonMap = field(default_factory=dict)  # the credential's, where they name the principal
    scope: JsonMap = field(default_factory=dict)
    since: datetime | None = None  # label-less issuers: created after our own intent
    known: tuple[str, ...] = ()  # label-less issuers: refs that were there before it


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRef:
    """A version that the issuer says exists (suspended ones included)."""

    ref: str
    installation: str = ""
    credential: str = ""
    rotation: str = ""
    generation: int = 0
    created_at: datetime | None = None
    expires_at: datetime | None = None
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    """The issuer accepts the value. ``scope``: what it may do, as far as visible; None when nothing is visible.
    ``ref``: the issuer-side id that the value belongs to, where visible."""

    scope: JsonMap | None = None
    ref: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefusedVerdict:
    """The issuer refuses the value (revoked, suspended, expired or never valid)."""

    why: str = ""


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """The issuer's answer proves nothing (unreachable, outside the allowed addresses, overloaded)."""

    why: str = ""


ProbeAnswer = Accepted | RefusedVerdict | Inconclusive


class Issuer(Protocol):
    """Where versions come from and end."""

    traits: Traits
    timeout: float  # seconds; an upper bound of every single method call

    def check(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        """Static problems of a scope and parameters, as sentences; no I/O. Empty when fine."""
        ...

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        """Make one version. Not idempotent unless the caller chose the value (then repeating it is harmless).
        ``proposed`` is given exactly when ``traits.value_origin == "caller"``. Never retried below this call.
        Raises Denied, Invalid, Conflict (cap reached) or Retryable; after Retryable a version may exist or appear."""
        ...

    def propose(self, request: MintRequest) -> Secret:
        """A fresh value to mint, for issuers whose value the caller chooses; others raise Invalid."""
        ...

    def find(self, query: Query) -> Sequence[LiveRef]:
        """The live versions that match: complete or an error, never a part. By ref: empty means gone. Read-only."""
        ...

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        """Use the value as its consumer would. ``target`` holds the credential's ``scope`` and ``parameters``.
        A refusal is an answer. Trouble on the way is Inconclusive or Retryable, never a refusal."""
        ...

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        """End one version for ever. Idempotent: ending what is gone succeeds."""
        ...


@runtime_checkable
class Suspend(Protocol):
    """Disable a version reversibly. Both idempotent."""

    def suspend(self, ref: str, parameters: JsonMap) -> None: ...
    def resume(self, ref: str, parameters: JsonMap) -> None: ...


@runtime_checkable
class LastUsed(Protocol):
    """When a version was last used by anybody but us; None when never."""

    def last_used(self, ref: str, parameters: JsonMap) -> datetime | None: ...


@runtime_checkable
class Inventory(Protocol):
    """Everything live at the issuer that this plugin could have made, labelled or not; complete or an error."""

    def inventory(self) -> Sequence[LiveRef]: ...


@runtime_checkable
class Renew(Protocol):
    """Prolong a periodic version. Returns the new expiry and when to renew next. Idempotent."""

    def renew(self, ref: str, parameters: JsonMap) -> tuple[datetime | None, datetime | None]: ...


@runtime_checkable
class Sessions(Protocol):
    """End what was opened or minted with a version (login tokens, connections). Idempotent; returns how many."""

    def end_sessions(self, ref: str, parameters: JsonMap) -> int: ...


@runtime_checkable
class Serves(Protocol):
    """A plugin that answers others while the daemon runs (the built-in issuer's introspection)."""

    def start(self) -> str:
        """Begin to listen; the address, or "" when the configuration asks for none. Idempotent. Raises OutsideError."""
        ...

    def stop(self) -> None:
        """Answer what was asked already and stop listening. Idempotent."""
        ...


@runtime_checkable
class Preflight(Protocol):
    """Read-only look at the live system: can we do what ``scope`` and ``parameters`` will need? Sentences; empty is fine."""

    def preflight(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]: ...


# --- backends ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a slot holds. ``token`` is the compare token of exactly this state, also of an empty slot.

    ``fields`` are the secret's fields as far as they can be read back (None: empty, or a form that only a person or a
    template can read). ``marker`` is ours or None. ``intact`` says that the stored content is byte for byte what the
    marker's write put there (the fingerprint is the core's to compare where ``fields`` is given).
    """

    token: str
    empty: bool
    fields: Secret | None = None
    marker: Marker | None = None
    intact: bool = True


class Backend(Protocol):
    """A secret store. A destination's current slot is what readers see; pending and previous hold all fields verbatim."""

    timeout: float

    def check(self, destination: Destination) -> Sequence[str]:
        """Static problems of an address, as sentences; no I/O."""
        ...

    def read(self, destination: Destination, slot: Slot) -> Held:
        """Never a cached or replicated copy that may be older than our own last write. A missing document is empty."""
        ...

    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        """Replace the slot in one atomic write if its token is still ``expect`` (else Conflict) and return the new token.
        Every write changes the token, also when the content is the same. Durable when it returns."""
        ...

    def clear(self, destination: Destination, slot: Slot, expect: str) -> str:
        """Make the slot empty, its old values unrecoverable, if its token is still ``expect`` (else Conflict).
        Changes the token, also of a slot that is empty already. Current slots are cleared only by ``retire``."""
        ...


@runtime_checkable
class BackendPreflight(Protocol):
    """Read-only look at the live store: reachable, readable, writable? Sentences; empty is fine."""

    def preflight(self, destination: Destination) -> Sequence[str]: ...


# --- consumers and checks ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a consumer is told, and what its proof is held against."""

    credential: str
    label: str  # Version.label, what attestations name
    rotation: str
    token: str  # unique per rotation and leg: reloading twice with one token is once
    at: datetime  # when the last destination was read back with it
    # Hex HMAC-SHA256(Secret.canonical(), nonce) of the published secret; given to consumers whose ``possession`` is true.
    possession: Callable[[bytes], str] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running copy of a consumer. ``id`` names this very start of it (a pod's uid, a pid with its start time) and is
    never used again. ``version``: the label it attests; None when it cannot tell.
    ``created_at``: for rollouts, when it started. ``refused``: the label that it says it could not load."""

    id: str
    version: str | None = None
    created_at: datetime | None = None
    refused: str | None = None
    terminating: bool = False


class Consumer(Protocol):
    """One way to make a consumer read anew and to see what it runs on."""

    timeout: float
    evidence: str  # attestation | rollout | polling | none: the kind of proof instances() can give

    def reload(self, published: Published) -> None:
        """Ask the consumer to read anew. Idempotent per ``published.token`` as far as the mechanism allows.
        Returning means "accepted", never "applied"."""
        ...

    def instances(self, published: Published) -> Sequence[Instance]:
        """All running copies, terminating ones included; complete or Retryable. Empty means none run."""
        ...


@runtime_checkable
class Possession(Protocol):
    """A consumer or check that may ask for proof that an instance holds the secret itself, not only its label."""

    possession: bool  # True: it needs ``published.possession``


class Health(Protocol):
    """One health check of a consumer."""

    timeout: float

    def check(self, published: Published) -> tuple[str, str]:
        """``("healthy" | "unhealthy" | "unknown", detail)``. Never raises for a bad answer; unknown is not healthy."""
        ...


# --- the journal ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to work on one credential until ``expires`` (seconds of the monotonic clock)."""

    name: str
    owner: str
    fence: int  # only rises
    expires: float
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """A record as a request wants it, with the events and notices that are committed with it."""

    record: Record
    events: tuple[Event, ...] = ()
    notices: tuple[Notice, ...] = ()


class Journal(Protocol):
    """The durable memory: records, events, notices, and a few named facts. Thread-safe. One transaction per call."""

    def claim(self, now: datetime, limit: int, *, full: frozenset[str] = frozenset()) -> Sequence[Lease]:
        """Lease up to ``limit`` records that are due and not leased, nearest deadline first, none whose issuer is in
        ``full``. A new lease has a higher fence than any before for that record."""
        ...

    def lease(self, name: str) -> Lease | None:
        """Lease this record now whether due or not; None while somebody else holds it. KeyError if unknown."""
        ...

    def renew(self, lease: Lease) -> Lease:
        """Prolong. Raises LeaseLost."""
        ...

    def release(self, lease: Lease) -> None:
        """Give the lease back; harmless when it is lost already."""
        ...

    def commit(self, lease: Lease, record: Record, events: Sequence[Event] = (), notices: Sequence[Notice] = ()) -> Record:
        """Store ``record`` if the stored sequence is still ``record.seq`` and the lease is held; returns it with
        ``seq + 1``. Raises StaleSequence or LeaseLost, and then nothing at all is stored."""
        ...

    def amend(self, name: str, change: Callable[[Record], Amendment | None]) -> Record:
        """Read, change and store in one transaction, whoever holds the lease; raises the sequence, so that a worker's
        next commit fails. ``change`` may run more than once, must be pure, may raise Refused, and returns None to leave
        the record as it is. KeyError if the name is unknown."""
        ...

    def put(self, records: Sequence[Amendment]) -> None:
        """Insert records that do not exist yet, all or none. Conflict if one exists."""
        ...

    def get(self, name: str) -> Record | None: ...

    def names(self) -> Sequence[str]: ...

    def records(self, *, after: str = "", limit: int = 500) -> Sequence[Record]:
        """A page of all records by name, the names greater than ``after``."""
        ...

    def least_recently_inspected(self, before: datetime, limit: int) -> Sequence[str]:
        """Names of quiet managed records whose last inspection is oldest and earlier than ``before``."""
        ...

    def next_due(self) -> datetime | None: ...

    def counts(self, now: datetime) -> dict[str, int]:
        """``credentials, due, open, halted, owed, overdue``: for metrics, in constant time or by index."""
        ...

    def record_events(self, events: Sequence[Event], notices: Sequence[Notice] = ()) -> None:
        """Events that belong to no change of a record."""
        ...

    def replay(self, credential: str | None = None, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """Events in order of ``seq``, after the given one."""
        ...

    def notices(self, now: datetime, limit: int) -> Sequence[Notice]:
        """Undelivered notices that are due for a try, oldest first."""
        ...

    def notice_done(self, id: str) -> None: ...

    def notice_again(self, id: str, at: datetime) -> None:
        """The try failed; the next one is due ``at``."""
        ...

    def fact(self, key: str) -> str | None:
        """A named fact of the installation (its id, ``read_only``, brakes)."""
        ...

    def set_fact(self, key: str, value: str | None, events: Sequence[Event] = ()) -> None: ...

    def prune(self, before: datetime, limit: int) -> int:
        """Delete up to ``limit`` events and delivered notices older than ``before``; how many went."""
        ...

    def close(self) -> None: ...


# --- plugins -------------------------------------------------------------------------------------------------------


class Plugins(Protocol):
    """What a configuration has made of its plugins; built by :mod:`rotatord.registry`, faked in tests."""

    def issuer(self, name: str) -> Issuer: ...
    def backend(self, name: str) -> Backend: ...
    def consumer(self, spec: ConsumerSpec) -> Consumer: ...
    def health(self, consumer: ConsumerSpec) -> Sequence[tuple[str, Health]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a plugin's factory is given beside its own settings: nothing that opens the daemon to it."""

    installation: str
    state_dir: str
    now: Callable[[], datetime]
    secret: Callable[[JsonMap | str], str]  # resolves {vault: …} | {env: NAME} | {file: path}; reads anew at each call
    base_dir: str = "."  # relative paths in the configuration count from here


Factory = Callable[[JsonMap, Surroundings], object]
