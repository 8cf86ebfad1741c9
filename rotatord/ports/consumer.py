"""Who reads a destination, and how it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a consumer is told, and what its proof is held against."""

    credential: str
    label: str  # Version.label, what attestations name
    rotation: str
    token: str  # unique per rotation and leg: reloading twice with one token is once
    at: datetime  # when the last destination was read back with it
    # What ``Restarts.last_restart`` said right after the destinations were read back; "" where nobody asked.
    restart_seen: str = ""
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
class ConsumerPreflight(Protocol):
    """Read-only look at the live consumer before anything is touched: could a reload succeed and be proven at all?
    Sentences; empty is fine. Minting waits until there is none."""

    def preflight(self) -> Sequence[str]: ...


@runtime_checkable
class Idles(Protocol):
    """A consumer that somebody may have told to run nothing at all, as a workload is scaled to zero. Where the policy says
    ``idle: hold``, minting waits until it is to run again, and a way back does not wait for it."""

    def idle(self) -> str:
        """Why nothing is to run, as a sentence; "" where something should. Read-only."""
        ...


@runtime_checkable
class Restarts(Protocol):
    """A consumer that reads anew by being restarted as a whole. Several credentials of one workload share a restart: each
    waits ``gather`` seconds after it was published, and a restart that began after its own read-back, whoever caused it, is
    not repeated: ``reload`` does nothing where :meth:`last_restart` is no longer ``published.restart_seen``."""

    gather: float

    def last_restart(self, published: Published) -> str:
        """An opaque word, never empty, that changes with every restart and with nothing else (scaling, status). A restart
        that is under way counts. Read-only."""
        ...


@runtime_checkable
class Possession(Protocol):
    """A consumer or check that may ask for proof that an instance holds the secret itself, not only its label."""

    possession: bool  # True: it needs ``published.possession``


@runtime_checkable
class Health(Protocol):
    """One health check of a consumer. A consumer that has this method too is its own first check (a rollout that is
    stuck is unhealthy, one that is under way is unknown)."""

    timeout: float

    def check(self, published: Published) -> tuple[str, str]:
        """``("healthy" | "unhealthy" | "unknown", detail)``. Never raises for a bad answer; unknown is not healthy."""
        ...
