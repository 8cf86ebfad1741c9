"""The words of the lifecycle: enumerations, and the digest of a JSON-like value."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any

JsonMap = dict[str, Any]
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str).encode


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


def digest_of(value: Any) -> str:
    """A short hash of a JSON-like value, for "has it changed"; not secret, not keyed."""
    return hashlib.sha256(_CANONICAL(value).encode()).hexdigest()[:16]


class Outcome(StrEnum):
    """What became of a mint intent."""

    OPEN = "open"
    ANSWERED = "answered"
    ABANDONED = "abandoned"


class Verdict(StrEnum):
    """The answer of one check of the gate."""

    PASS = "pass"  # noqa: S105 - a verdict
    WAIT = "wait"  # not yet, or unknown: unknown is not healthy
    FAIL = "fail"


class Owing(StrEnum):
    """How far one owed version is on its way to being proven dead."""

    OWED = "owed"
    REVOKING = "revoking"  # intent journaled
    REVOKED = "revoked"  # the issuer answered; not proven yet
    DEAD = "dead"  # proven; slots are cleared next
