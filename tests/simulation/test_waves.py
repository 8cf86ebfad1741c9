"""Waves: nobody of a later one sees anything before the earlier one is proven; and in each, what is written is read back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from rotatord.machine import Step
from rotatord.model import Destination, Marker, Record, Slot, Spec, State
from rotatord.ops import Context, Unit, open_rotation
from rotatord.ops import with_rotation as changed
from rotatord.replacing import replace
from rotatord.saga import STEPS
from rotatord.secret import Secret
from rotatord.steps.publish import publish
from rotatord.testing.simulator import Simulator
from tests.simulation.scenarios import NAME
from tests.simulation.stage import at, staged, well


def shown(sim: Simulator, place: Destination) -> str | None:
    """Which version readers of a destination see."""
    return sim.world.backends[place.backend].shown(place).label


def _all_at_once(ctx: Context, record: Record) -> Unit:
    """A publish to which all destinations are of the wave that it is at."""
    rotation = open_rotation(record)
    wave = rotation.plan.waves[rotation.wave]
    places = tuple(replace(place, wave=wave) for place in rotation.plan.destinations)
    consumers = tuple(replace(consumer, wave=wave) for consumer in rotation.plan.consumers)
    return (yield from publish(ctx, changed(record, plan=replace(rotation.plan, destinations=places, consumers=consumers))))


def too_early(**left_out: Any) -> list[str]:
    """What the rest saw before the canary was proven and healthy. The canary takes its time."""
    sim, spec = staged(waves=True, consumer={"applies_after": timedelta(seconds=20)}, **left_out)
    rest = spec.destinations[1]
    early: list[str] = []

    def look(simulator: Simulator) -> None:
        running = simulator.world.consumers["app"].labels()
        if str(shown(simulator, rest)).startswith("2-") and not all(str(label).startswith("2-") for label in running):
            early.append(f"the rest can read {shown(simulator, rest)}, and the canary runs on {running}")

    sim.checks.append(look)
    sim.request("rotate", NAME)
    sim.run(600.0)
    assert str(shown(sim, rest)).startswith("2-")
    return early


def test_the_rest_sees_nothing_before_the_canary_is_proven() -> None:
    """Not only its reload waits: the value itself is not at its destination before, as it may read that at any time."""
    assert too_early() == []
    assert too_early(parts={"steps": {**STEPS, Step.PUBLISH: _all_at_once}})


def test_a_canary_that_breaks_ends_it() -> None:
    """When the first wave is unhealthy the second one's destination has never shown the new version."""
    sim, spec = staged(waves=True)
    sim.world.checks["app-health"].breaks = lambda label: label.startswith("2-")
    seen: set[str | None] = set()
    sim.checks.append(lambda simulator: seen.add(shown(simulator, spec.destinations[1])))
    sim.request("rotate", NAME)
    sim.run(1800.0)
    assert seen
    assert {label for label in seen if label is not None and label.startswith("2-")} == set()
    well(sim, spec)


class Forgetful:
    """A store that says yes to one write of a current slot, and keeps what it had. ``spoil``: what it keeps instead."""

    def __init__(self, backend: Any, spoil: Callable[[Any, Destination], None]) -> None:
        self._backend = backend
        self._spoil = spoil
        self.forgot = 0

    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        if slot is Slot.CURRENT and marker.generation == 2 and not self.forgot:
            self.forgot += 1
            self._spoil(self._backend, destination)
            return "what-it-says-it-wrote"
        token: str = self._backend.write(destination, slot, fields, marker, expect)
        return token

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


def _cut_off(backend: Any, destination: Destination) -> None:
    document = backend.document(destination)
    backend.tamper(destination, {key: text[: len(text) // 2] for key, text in document.items()})


def _forgetful(spoil: Callable[[Any, Destination], None]) -> tuple[Simulator, Spec, set[tuple[str, ...]]]:
    """Two minutes of a rotation over such a store, and what its destinations showed when they counted as published."""
    sim, spec = staged()
    sim.world.plugins.backends["store"] = Forgetful(sim.world.plugins.backends["store"], spoil)  # type: ignore[assignment]
    published: set[tuple[str, ...]] = set()

    def look(simulator: Simulator) -> None:
        if at(State.PUBLISHED)(simulator.record(NAME)):
            published.add(tuple(str(shown(simulator, place))[:2] for place in spec.destinations))

    sim.checks.append(look)
    sim.request("rotate", NAME)
    sim.run(120.0)
    return sim, spec, published


def test_a_write_that_was_forgotten_is_found_by_reading_back() -> None:
    """A store that says that it wrote, and did not: it is written again before it counts as published."""
    sim, spec, published = _forgetful(lambda _backend, _destination: None)
    assert published == {("2-", "2-")}
    assert sim.record(NAME).generation == 2
    well(sim, spec)


def test_a_write_that_was_cut_off_is_found_by_reading_back() -> None:
    """A store that kept half of it: no consumer is told to read that, and the old version lives on."""
    sim, _, published = _forgetful(_cut_off)
    rotation = sim.record(NAME).rotation
    assert rotation is not None
    assert (rotation.state, published) == (State.PROVEN, set())
    waits = [event.evidence["why"] for event in sim.journal.replay(NAME) if event.outcome == "waiting"]
    assert any("was changed by somebody else" in why for why in waits)
    assert sim.world.book.count("reload") == 2  # of the first version, at both places
    assert sim.world.issuers["issuer"].accepts("issuer-ref-1")
