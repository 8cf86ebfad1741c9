"""The journal is put back to what it was at any one of its commits, while the world went on: nothing that is in use dies."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from rotatord.journal.memory import MemoryJournal
from rotatord.model import Record, Spec, Standing
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, SCENARIOS, Scenario, ask, end

STORED = ("_rows", "_bodies", "_events", "_event_ids", "_event_seq", "_notices", "_facts")
STORIES = (
    "rotate",
    "rotate_all_powers",
    "rotate_caller_chooses",
    "rotate_capped",
    "rotate_unlabelled",
    "rotate_in_place",
    "rotate_waves",
    "rolled_back_unhealthy",
    "compromised",
    "adopted",
)
MOST_ROUNDS = 8


@dataclass
class Copies:
    """A backup of the journal after each of its commits."""

    journal: MemoryJournal
    kept: list[dict[str, Any]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def look(self, _sim: Simulator) -> None:
        """Keep a copy where something was stored since the last one."""
        now = {item: copy.deepcopy(getattr(self.journal, item)) for item in STORED}
        if not self.kept or now["_bodies"] != self.kept[-1]["_bodies"]:
            told = self.journal.replay(NAME, after=self.kept[-1]["_event_seq"] if self.kept else 0)
            self.kept.append(now)
            self.names.append(" ".join(f"{event.action}.{event.outcome}" for event in told) or "quietly")

    def put_back(self, number: int) -> None:
        """What a restore does."""
        for item, value in self.kept[number].items():
            setattr(self.journal, item, copy.deepcopy(value))


def played(scenario: Scenario, later: int, *, copying: bool = False) -> tuple[Simulator, Spec, Copies]:
    """The story to its end and so many rotations more, with a copy of the journal from each commit of the story."""
    world = World(1)
    spec = scenario.build(world)
    sim = Simulator(world)
    copies = Copies(sim.journal)
    if copying:
        sim.checks.append(copies.look)
    scenario.play(sim, spec)
    sim.checks.clear()
    for _ in range(later):
        refused = ask(sim, "rotate")
        assert not refused, refused
        end(sim)
    return sim, spec, copies


def recovered(sim: Simulator) -> Record:
    """A person does what status asks for: rebuilds where the journal is behind, goes on where something halted."""
    lease = sim.journal.lease(NAME)
    assert lease is not None
    sim.saga.survey(lease)  # as an engine does at its start
    sim.run(60.0)
    for _ in range(MOST_ROUNDS):
        record = sim.record(NAME)
        if record.standing is not Standing.BEHIND:  # what is behind waits for a person and never gets quiet
            record = sim.settle(NAME, 3 * 24 * 3600.0)
        if record.standing is Standing.BEHIND:
            refused = sim.request("rebuild", NAME)
        elif record.rotation is not None and record.rotation.halt is not None:
            how = {"base_absent": "accept", "base_dead": "accept"}.get(record.rotation.halt.code, "retry")
            refused = sim.request("resume", NAME, how=how, reason="the test says so" if how == "accept" else "")
        else:
            return record
        assert not refused, refused
        sim.run(60.0)  # settling would stop at once where something has halted
    raise AssertionError(f"asks again and again: {record.standing}, {record.rotation and record.rotation.halt}")


@pytest.mark.parametrize("later", [0, 1])
@pytest.mark.parametrize("story", STORIES)
def test_a_journal_restored_from_any_moment(story: str, later: int) -> None:
    """Whatever commit the copy is from, nothing in use dies, and a person who follows status comes back to quiet."""
    scenario = next(each for each in SCENARIOS if each.name == story)
    failures: list[str] = []
    copies = played(scenario, later, copying=True)[2]  # a world is the same each time it is played
    count = len(copies.kept)
    assert count > 15
    for number in range(count):
        sim, spec, _ = played(scenario, later)
        assert not sim.problems(), sim.problems()
        replace(copies, journal=sim.journal).put_back(number)
        sim.restart()
        name = f"{story}, {later} later, as of commit {number} ({copies.names[number]})"
        try:
            recovered(sim)
            problems = sim.problems() + sim.world.unquiet(spec)
            if not problems:
                refused = ask(sim, "rotate")
                assert not refused, refused
                end(sim)
                problems = sim.problems() + sim.world.unquiet(spec)
        except AssertionError as stuck:
            problems = [str(stuck)[:600]]
        if problems:
            failures.append(f"{name}: {problems[:3]}")
    assert not failures, f"{len(failures)} of {count}:\n" + "\n".join(failures)
