"""What becomes of each outside call and each commit: drawn from the seed, the credential and the number of the operation,
so that leaving one fault out moves no other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rotatord.ops import Call
from rotatord.testing.faults import Fault

_MASK = (1 << 64) - 1
_PARTS = 10_000


def mixed(*numbers: int, state: int = 0) -> int:
    """64 bits that depend on all of these numbers (splitmix64). ``state``: what the numbers before these came to."""
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


class Draws:
    """A cheap stream of fractions."""

    def __init__(self, seed: int) -> None:
        self._state = mixed(seed, 7)

    def fraction(self) -> float:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = ((self._state ^ (self._state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        return (z ^ (z >> 31)) / (_MASK + 1)


@dataclass(frozen=True, slots=True)
class Fate:
    """``lands``: seconds until it takes effect, None: never. ``answers``: seconds until its caller hears. ``freezes``: how
    long its replica is stopped."""

    fault: Fault | None = None
    lands: float | None = 0.0
    answers: float = 0.0
    freezes: float = 0.0
    id: str = ""


CALM = Fate()

# Of ten thousand calls. Effects: those that change something outside.
SHARES: tuple[tuple[Fault, int, bool], ...] = (
    (Fault.ERROR, 500, False),
    (Fault.LOST, 200, True),
    (Fault.LATE, 200, True),
    (Fault.SLOW, 150, False),
    (Fault.HUNG, 60, False),
    (Fault.DENIED, 25, False),
)
COMMIT_SHARES: tuple[tuple[Fault, int, bool], ...] = ((Fault.AWAY, 60, False), (Fault.UNHEARD, 60, False))


@dataclass(slots=True)
class Fates:
    """``left_out``: ids of faults that do not happen. ``planned``: crashes and freezes by credential and
    number; ``at_points``: by credential, point, and how often it was passed."""

    seed: int
    names: tuple[str, ...]
    left_out: frozenset[str] = frozenset()
    planned: dict[tuple[str, int], Fault] = field(default_factory=dict)
    at_points: dict[tuple[str, str, int], Fault] = field(default_factory=dict)
    wild: bool = True
    happened: list[str] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)
    _states: dict[str, int] = field(default_factory=dict)
    _passed: dict[tuple[str, str], int] = field(default_factory=dict)

    def of_call(self, name: str, call: Call, settles: float) -> Fate:
        """``settles``: a call that timed out lands within this time of its start."""
        number, bits = self._draw(name)
        if not self.wild:
            return CALM
        fault = self._planned(name, number, call.point) or _pick(bits % _PARTS, SHARES, call.effect)
        bits >>= 16
        part, other = (bits & 0xFFFF) / 0x10000, ((bits >> 16) & 0xFFFF) / 0x10000
        answers = 0.0 if (bits >> 32) & 1 else 0.02 + 0.4 * part
        fate = _usual(call, answers, other)
        if fault is None or (named := f"{name}#{number}") in self.left_out:
            return fate
        self.happened.append(named)
        return _troubled(fault, named, fate, (part, other), call, settles)

    def of_commit(self, name: str) -> Fate:
        number, bits = self._draw(name)
        if not self.wild:
            return CALM
        fault = self._planned(name, number, "commit") or _pick(bits % _PARTS, COMMIT_SHARES, True)
        if fault is None or (named := f"{name}#{number}") in self.left_out:
            return CALM
        self.happened.append(named)
        freezes = 3.0 + 60.0 * ((bits >> 20) & 0xFF) / 256 if fault in {Fault.FROZEN, Fault.FROZEN_STARTED} else 0.0
        return Fate(fault, freezes=freezes, id=named)

    def _planned(self, name: str, number: int, point: str) -> Fault | None:
        passed = self._passed[name, point] = self._passed.get((name, point), 0) + 1
        return self.planned.get((name, number)) or self.at_points.get((name, point, passed))

    def _draw(self, name: str) -> tuple[int, int]:
        number = self._counts[name] = self._counts.get(name, 0) + 1
        state = self._states.get(name)
        if state is None:
            state = self._states[name] = mixed(self.seed, self.names.index(name))
        return number, mixed(number, state=state)


def _troubled(fault: Fault, name: str, usual: Fate, parts: tuple[float, float], call: Call, settles: float) -> Fate:
    """A call that fails, is late, slow or hung, or whose replica stops."""
    (part, other), limit = parts, call.timeout
    match fault:
        case Fault.ERROR | Fault.DENIED:
            return Fate(fault, None, usual.answers, id=name)
        case Fault.LOST:
            return Fate(fault, usual.lands, usual.answers if other < 0.5 else limit, id=name)
        case Fault.LATE:
            return Fate(fault, limit + part * max(settles - limit, 0.0), limit, id=name)
        case Fault.SLOW:
            return Fate(fault, limit * other * min(part, 0.98), limit * other * 0.99, id=name)  # done before it is heard of
        case Fault.HUNG:
            return Fate(fault, None, limit, id=name)
        case Fault.FROZEN_STARTED if call.issuer and call.effect:  # as late as any call of its may be, and no later
            return Fate(fault, usual.lands, usual.answers, (settles - limit) * other, name)
        case Fault.FROZEN | Fault.FROZEN_STARTED:
            return Fate(fault, usual.lands, usual.answers, 3.0 + 60.0 * other, name)
        case _:
            return Fate(fault, usual.lands, usual.answers, id=name)


def _usual(call: Call, answers: float, other: float) -> Fate:
    """Half of the calls take no time, the others a moment; what they do is done at its start, or later in it."""
    if not answers:
        return CALM
    return Fate(None, answers * other if call.effect and other < 0.7 else 0.0, answers)


def _pick(part: int, shares: Iterable[tuple[Fault, int, bool]], effect: bool) -> Fault | None:
    for fault, share, effects_only in shares:
        if part < share:
            return fault if effect or not effects_only else None
        part -= share
    return None
