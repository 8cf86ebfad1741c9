"""Where versions come from and end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from rotatord.model import JsonMap
from rotatord.secret import Secret


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
    # False: versions can be neither listed nor ended, only their expiry ends them. Then mint always says when, ``find`` answers
    # by ref alone, ``revoke`` does nothing, and listing_delay is the longest life: until then a lost answer may have made one.
    revocable: bool = True
    shortest_life: timedelta = timedelta(0)  # of what can be given an end
    high_entropy: tuple[str, ...] = ()  # fields whose plain digests may be kept for leak matching
    forms: Mapping[str, str] = field(default_factory=dict)  # patterns that whole values of a field match, where it is known
    # So many requests in so many seconds are answered to one identity of ours: the budget, where none is configured.
    quota: tuple[int, float] | None = None
    names: tuple[str, ...] = ()  # fields that are no secrets, but say whose the others are: a ref may be one of them


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
class PrincipalScope(Protocol):
    """Where ``traits.scope_on`` is ``principal``: all versions share what the principal may do. The engine widens it before
    mint to what every living version needs, and narrows it when those it replaced are dead; ``probe`` shows the whole."""

    def widen(self, scopes: Sequence[JsonMap]) -> JsonMap:
        """The smallest scope that grants everything that each of these grants. Pure; of one scope it is that scope, in the
        form that ``probe`` shows. Raises Invalid where no scope can (two boundaries that cannot be joined)."""
        ...

    def set_scope(self, scope: JsonMap, parameters: JsonMap) -> None:
        """Give the principal exactly this scope, foreign grants left alone. Absolute and idempotent; what it has too little
        is added before what it has too much is removed. Raises Denied, NotFound, Invalid or Retryable."""
        ...


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
class Metered(Protocol):
    """Where one call is several requests, or none because the answer is remembered: what is counted against its budget."""

    def sent(self) -> int:
        """How many requests used the issuer's quota since this was asked last, whoever made them."""
        ...


@runtime_checkable
class Acts(Protocol):
    """Where its quota may be another issuer's too: who asks there."""

    def principal(self) -> str:
        """Whose quota is used, by any name that holds beyond this plugin: issuers that say the same have one between them,
        also where that is only not out of the question. Asked often and never waits: as far as it is known by now."""
        ...


@runtime_checkable
class Preview(Protocol):
    """Can show what a mint would send. Read-only; raises as mint does, but changes nothing."""

    def preview(self, request: MintRequest) -> JsonMap: ...


@runtime_checkable
class Preflight(Protocol):
    """Read-only look at the live system: can we do what ``scope`` and ``parameters`` will need? Sentences; empty is fine."""

    def preflight(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]: ...


@runtime_checkable
class Surveys(Protocol):
    """Can tell who else may act where its versions live, and what they used lately. Sentences; read-only; asked once for all
    credentials."""

    def survey(self) -> Sequence[str]: ...


@runtime_checkable
class Remarks(Protocol):
    """What keeps nothing from being done and should be known to whoever checks: that more is allowed than a scope says, for
    one. Sentences; read-only."""

    def remarks(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]: ...


@runtime_checkable
class Shortens(Protocol):
    """Where people see less of a version than its whole ref, which ``adopt`` takes."""

    def whole_ref(self, ref: str, parameters: JsonMap) -> str:
        """The ref of the one version that is meant by it, as :meth:`Issuer.probe` tells it; the same where it is whole already,
        or nothing live is meant. Read-only."""
        ...
