"""The error tree. Plugins translate every SDK error into it; only the saga decides what to do about one.

RotatordError
├── OutsideError            something outside did not do what was asked
│   ├── Retryable           may go away by itself (timeout, 429, 5xx, sealed); carries ``retry_after`` seconds or None
│   └── Permanent           will not
│       ├── Denied          401/403 for *our* identity
│       ├── NotFound        the object is not there
│       ├── Conflict        compare-and-set lost, or somebody else's document
│       └── Invalid         the request itself is refused (unknown scope, malformed, quota that never frees)
├── JournalError
│   ├── StaleSequence       the record moved on (a request, a hold, another commit)
│   ├── LeaseLost           the lease expired or was fenced off
│   ├── JournalUnavailable  it cannot be written: no side effect may start
│   │   └── JournalDamaged  one thing in it cannot be read, and the others can
│   └── JournalTooNew       made by a newer version, or belongs to another installation
├── ConfigError             every mistake of a configuration, each with its place
└── Refused                 a request that a person made and that is not possible now, with the reason

A refusal of the credential *under probe* is a verdict, not an error. Messages never hold secret values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class RotatordError(Exception):
    """Base of all errors that are ours; anything else that escapes a plugin is a bug and halts that rotation loudly."""


class OutsideError(RotatordError):
    """An issuer, backend, consumer or check did not do what was asked."""


class Retryable(OutsideError):
    """May succeed later. ``retry_after``: seconds the other side asked us to wait, or None."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Permanent(OutsideError):
    """Will not succeed by trying again. ``made_nothing``: the other side itself says that this mint was refused before it
    did anything, so that nobody need look for what it may have made; only where that is certain."""

    def __init__(self, message: str, *, made_nothing: bool = False) -> None:
        super().__init__(message)
        self.made_nothing = made_nothing


class Denied(Permanent):
    """Our own identity may not do this."""


class NotFound(Permanent):
    """The object does not exist."""


class Conflict(Permanent):
    """A compare-and-set was lost, or the object belongs to somebody else."""


class Invalid(Permanent):
    """The other side refuses the request itself."""


class JournalError(RotatordError):
    """The journal refused or failed."""


class StaleSequence(JournalError):
    """The record was changed since it was read; read it again and decide anew."""


class LeaseLost(JournalError):
    """The lease expired or another owner holds a higher fencing token; stop at once."""


class JournalUnavailable(JournalError):
    """The journal cannot be read or written (disk full, database gone); no side effect may start."""


class JournalDamaged(JournalUnavailable):
    """One thing stored in it cannot be read. Whoever looks at many leaves it out and says so; nothing is done about it."""


class JournalTooNew(JournalError):
    """The journal was made by a newer version, or by another installation."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration: where, what, and what was perhaps meant."""

    place: str
    what: str
    suggestion: str | None = None

    def __str__(self) -> str:
        hint = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{self.place}: {self.what}{hint}"


class ConfigError(RotatordError):
    """All the mistakes found in a configuration, at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Refused(RotatordError):
    """A person's request cannot be done now; the message says why and what would work."""
