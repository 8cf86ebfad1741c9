"""A plugin against its real server, under the engine in virtual time, with a fault at any one of the calls it makes to it.

The crash matrix of the simulation strikes calls of the ports; here the calls *within* them are struck: each request that a
plugin sends is refused before it leaves, dies with the daemon before or after it, loses its answer, or lands late.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rotatord.errors import Retryable
from rotatord.model import Destination, Slot
from rotatord.ports import Backend, Held
from rotatord.secret import Secret
from rotatord.testing.backend import Shown
from rotatord.testing.clock import VirtualClock
from rotatord.testing.faults import Fault
from rotatord.testing.simulator import Simulator, _Late
from rotatord.testing.turns import Death
from tests.simulation.scenarios import NAME

FAULTS = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST, Fault.LATE, Fault.ERROR)


@dataclass
class Strikes:
    """Counts the requests of one or more plugins and strikes the one that is planned; ``twice`` the one after it too."""

    at: int = 0
    fault: Fault | None = None
    twice: bool = False
    simulator: Simulator | None = None
    names: list[str] = field(default_factory=list)
    effects: set[int] = field(default_factory=set)
    reached: bool = False
    armed: bool = False  # requests before that do not count: the first version is minted in peace
    touched: Callable[[], None] = lambda: None

    def send(self, name: str, run: Callable[[], Any], *, effect: bool) -> Any:
        """Carry out one request, or do to it what is planned."""
        if not self.armed:
            return self._carried_out(run, effect=effect)
        self.names.append(name)
        number = len(self.names)
        if effect:
            self.effects.add(number)
        fault = self.fault if number == self.at or (self.twice and number == self.at + 1) else None
        self.reached = self.reached or fault is not None
        if fault is Fault.CRASH_BEFORE:
            raise Death
        if fault is Fault.ERROR:
            raise Retryable(f"injected: {name} is refused")
        if fault is Fault.LATE and effect:
            assert self.simulator is not None
            at = self.simulator.world.clock.outside() + timedelta(seconds=self.simulator.late_seconds)
            self.simulator.late.append(_Late(at, lambda: self._carried_out(run, effect=True)))
            raise Retryable(f"injected: {name} timed out")
        answer = self._carried_out(run, effect=effect)
        if fault is Fault.CRASH_AFTER:
            raise Death
        if fault is Fault.LOST:
            raise Retryable(f"injected: the answer of {name} was lost")
        return answer

    def _carried_out(self, run: Callable[[], Any], *, effect: bool) -> Any:
        try:
            return run()
        finally:
            if effect:
                self.touched()


class Struck:
    """Something whose methods each send one request, with strikes in between. ``effects``: the methods that change things."""

    def __init__(self, inner: Any, strikes: Strikes, effects: frozenset[str], reads: frozenset[str]) -> None:
        self._inner = inner
        self._strikes = strikes
        self._effects = effects
        self._reads = reads

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._effects | self._reads:
            return found

        def struck(*arguments: Any, **named: Any) -> Any:
            shown = " ".join([name, *(item for item in arguments if isinstance(item, str))])[:80]
            return self._strikes.send(shown, lambda: found(*arguments, **named), effect=name in self._effects)

        return struck


class RealStore:
    """What the fakes of a world ask of a store, answered by reading a real one. Reads are remembered until a write.
    ``destinations``: those that somebody reads."""

    def __init__(self, backend: Backend, clock: VirtualClock, *destinations: Destination) -> None:
        self.name = "store"
        self._clock = clock
        self.down = False
        self._backend = backend
        self._known = {destination.id: destination for destination in destinations}
        self._seen: dict[str, Shown] = {}

    def forget(self) -> None:
        """Something was written."""
        self._seen.clear()

    def calm(self) -> None:
        """Nothing here is ever out of order by itself."""

    def shown(self, destination: Destination, at: datetime | None = None) -> Shown:
        assert at is None, "a real store does not remember what it showed"
        self._known[destination.id] = destination
        if destination.id not in self._seen:
            held = self._read(destination, Slot.CURRENT)
            self._seen[destination.id] = Shown(held.fields, held.marker.label if held.marker else None)
        return self._seen[destination.id]

    def shows(self, place: str) -> Shown:
        return self.shown(self._known[place])

    def document(self, destination: Destination, slot: Slot = Slot.CURRENT) -> object | None:
        held = self._read(destination, slot)
        return None if held.empty else held

    def _read(self, destination: Destination, slot: Slot) -> Held:
        for _ in range(30):
            try:
                return self._backend.read(destination, slot)
            except Retryable:  # a quota: it comes back with time
                self._clock.advance(1.0)
        raise AssertionError(f"{destination.id} cannot be read")

    def holds(self, secret: Secret) -> list[str]:
        return [name for name, destination in self._known.items() if self.shown(destination).fields == secret]


@dataclass(frozen=True)
class Case:
    """One fault at one request."""

    at: int
    fault: Fault
    name: str
    twice: bool = False

    def __str__(self) -> str:
        return f"{self.fault.value}{' twice' if self.twice else ''} at request {self.at} ({self.name})"


def cases(strikes: Strikes, *, twice: bool = False) -> Iterator[Case]:
    """Every fault at every request that an undisturbed run has made."""
    for number, name in enumerate(strikes.names, 1):
        for fault in FAULTS:
            if fault is not Fault.LATE or number in strikes.effects:
                yield Case(number, fault, name, twice)


def rotated(sim: Simulator, strikes: Strikes, *, touched: Callable[[], None] = lambda: None, days: float = 1.0) -> None:
    """A rotation while the strikes are armed, to its end; a person retries what halted."""
    strikes.simulator, strikes.touched = sim, touched
    strikes.armed = True
    sim.request("rotate", NAME)
    record = sim.settle(NAME, days * 24 * 3600.0)
    for _ in range(5):
        if record.rotation is None:
            break
        sim.request("resume", NAME, how="retry")
        record = sim.settle(NAME, days * 24 * 3600.0)
    strikes.armed = False


def breaks_on_next(sim: Simulator, check: str = "app-health") -> None:
    """The service breaks on the next version: what is struck is also a way back."""
    bad = sim.record(NAME).generation + 1
    sim.world.checks[check].breaks = lambda label: int(label.split("-")[0]) == bad


def strike_all(play: Callable[[Strikes], list[str]], *, twice: bool = False, every: int = 1) -> tuple[int, list[str]]:
    """Play the story undisturbed, then once for each case (or each ``every``-th, unless ``ROTATORD_EVERY_CALL`` asks for
    all): how many were played, and what went wrong."""
    every = 1 if os.environ.get("ROTATORD_EVERY_CALL") else every
    calm = Strikes()
    problems = play(calm)
    assert not problems, f"it is not even right undisturbed: {problems}"
    assert calm.names, "nothing was sent"
    failures: list[str] = []
    missed: list[str] = []
    planned = list(cases(calm, twice=twice))[::every]
    for case in planned:
        strikes = Strikes(at=case.at, fault=case.fault, twice=case.twice)
        try:
            problems = play(strikes)
        except AssertionError as stuck:
            problems = [str(stuck)[:600]]
        if not strikes.reached:
            missed.append(str(case))
        failures.extend(f"{case}: {problem}" for problem in problems[:3])
    # How often something is asked again may differ by a request or two between runs, so the very last may not come.
    assert len(missed) <= max(1, len(planned) // 20), f"never reached: {missed}"
    return len(planned) - len(missed), failures
