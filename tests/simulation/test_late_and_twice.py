"""Effects that land long after everything went on without them, and the same fault twice in a row at the same point."""

from __future__ import annotations

import pytest

from rotatord.testing.faults import Fault, Point
from rotatord.testing.simulator import LATE_SECONDS, Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import SCENARIOS, Scenario, judge
from tests.simulation.test_crash_matrix import points

STORIES = (
    "rotate",
    "rotate_caller_chooses",
    "rotate_in_place",
    "rotate_waves",
    "rolled_back_unhealthy",
    "rolled_back_by_a_person",
    "compromised",
    "repair",
)
LATEST = {"rolled_back_unhealthy": 9.0, "rolled_back_by_a_person": 9.0}  # calls of these issuers settle within 10 s
VERY_LATE = 29.0  # those of the others within 30 s: later than most rotations take
READS = ("read", "find", "probe", "check", "instances", "preflight", "last_used", "propose")
TWICE = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST, Fault.LATE)


def _effects(scenario: Scenario) -> list[tuple[Point, int]]:
    found = points(scenario).items()
    return [
        (point, count) for point, count in found if not point.op.startswith("commit.") and not any(r in point.op for r in READS)
    ]


def _played(scenario: Scenario, point: Point, fault: Fault, occurrences: tuple[int, ...], late: float) -> list[str]:
    def choose(at: Point, count: int) -> Fault | None:
        return fault if at == point and count in occurrences else None

    world = World(1)
    spec = scenario.build(world)
    sim = Simulator(world, choose=choose, late_seconds=late)
    try:
        scenario.play(sim, spec)
    except AssertionError as stuck:
        return [str(stuck)[:300]]
    return judge(sim, spec)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", STORIES)
def test_very_late(story: str) -> None:
    """An effect lands when the rotation that asked for it is long over: nothing is refused, doubled or left."""
    scenario = next(each for each in SCENARIOS if each.name == story)
    late = LATEST.get(story, VERY_LATE)
    cases = [(point, number) for point, count in _effects(scenario) for number in range(1, min(count, 3) + 1)]
    judged = {case: _played(scenario, case[0], Fault.LATE, (case[1],), late) for case in cases}
    assert {case: problems[:3] for case, problems in judged.items() if problems} == {}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", STORIES)
def test_twice_in_a_row(story: str) -> None:
    """The same fault strikes the first try and the one after it."""
    scenario = next(each for each in SCENARIOS if each.name == story)
    judged = {}
    for point, count in _effects(scenario):
        for fault in TWICE:
            tries = (max(count - 1, 1), max(count - 1, 1) + 1)
            judged[point, fault] = _played(scenario, point, fault, tries, LATE_SECONDS)
    assert {case: problems[:3] for case, problems in judged.items() if problems} == {}
