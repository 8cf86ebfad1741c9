"""What goes wrong: planned by the name of an operation, or drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rotatord.testing.clock import SeededIds
from rotatord.testing.cloudflare.refusals import SAID, Refused, Said, refused
from rotatord.testing.plans import Plan
from rotatord.testing.wires import CutOff, Dropped, Garbled, Hangs, Late, Slow


@dataclass(frozen=True)
class Refuse:
    """Answer with an error and do nothing. ``what``: a name of :data:`SAID`, or an answer of one's own."""

    what: str | Said = "internal"
    headers: tuple[tuple[str, str], ...] = ()

    def error(self) -> Refused:
        return _error(self.what, self.headers)


@dataclass(frozen=True)
class Fails:
    """Do it, then answer with an error all the same."""

    what: str | Said = "internal"
    headers: tuple[tuple[str, str], ...] = ()

    def error(self) -> Refused:
        return _error(self.what, self.headers)


@dataclass(frozen=True)
class Doubled:
    """Do it twice, as where somebody on the way repeats a request; the second answer goes back."""


@dataclass(frozen=True)
class HalfPage:
    """A list without the second half of what its page should have, and nothing says so."""


@dataclass(frozen=True)
class Repeats:
    """A list whose later pages begin with what the page before ended with."""


Fault = Refuse | Fails | Dropped | Late | Hangs | Slow | Garbled | CutOff | Doubled | HalfPage | Repeats


def throttled(retry_after: int | None = 300) -> Refuse:
    """429, as for too many calls."""
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    return Refuse(_worded("too many requests", most=1200, seconds=300), headers)


def _worded(what: str, **words: object) -> Said:
    return refused(what, "", **words).said


def _error(what: str | Said, headers: Sequence[tuple[str, str]]) -> Refused:
    return Refused(SAID[what] if isinstance(what, str) else what, "planned", dict(headers))


class Faults(Plan[Fault]):
    """The plan. Operations are called as in Cloudflare's SDK: ``accounts.tokens.create``, ``*.tokens.*``, ``*``."""


# For calls that change something, and for those that do not.
_STORM: tuple[Fault, ...] = (
    Refuse("internal"),
    Refuse("unavailable"),
    Fails("timed out"),
    Dropped(),
    Late(20.0),
    Garbled(),
    CutOff(),
    throttled(30),
)
_DRIZZLE: tuple[Fault, ...] = (
    Refuse("internal"),
    Refuse("unavailable"),
    Dropped(),
    Garbled(),
    CutOff(),
    HalfPage(),
    Repeats(),
    throttled(30),
)


@dataclass
class Weather:
    """Faults by chance: of ``share`` of all calls, repeatable from ``seed``. ``late``: the most that one lands late."""

    seed: int = 0
    share: float = 0.0
    late: float = 20.0
    changes: Sequence[Fault] = _STORM
    looks: Sequence[Fault] = _DRIZZLE
    _chance: SeededIds = field(init=False)

    def __post_init__(self) -> None:
        self._chance = SeededIds(f"weather {self.seed}")

    def strike(self, *, change: bool) -> Fault | None:
        """The fault of this call. Each call draws as often, so that one more or less moves no other."""
        drawn, which, much = self._chance.fraction(), self._chance.fraction(), self._chance.fraction()
        if drawn >= self.share:
            return None
        kinds = self.changes if change else self.looks
        fault = kinds[int(which * len(kinds))]
        return Late(self.late * much) if isinstance(fault, Late) else fault
