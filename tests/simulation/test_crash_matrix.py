"""Crash at every point: each call and each commit of each story, before and after it, with its answer lost or late."""

from __future__ import annotations

import os

import pytest

from rotatord.testing.faults import CALL_FAULTS, COMMIT_FAULTS, Fault, Point
from tests.simulation.scenarios import SCENARIOS, Scenario, judge, simulate

OCCURRENCES = 2  # the same point is struck the first and the second time it is passed
_REPORT: dict[str, tuple[int, int]] = {}
_PAIRS: set[tuple[str, str, str, str]] = set()


def points(scenario: Scenario) -> dict[Point, int]:
    """Every point that the undisturbed story passes, with how often."""
    sim, spec = simulate(scenario)
    problems = judge(sim, spec)
    assert not problems, f"{scenario.name} is not even right undisturbed: {problems}\n{sim.tail()}"
    return sim.hands.seen


def plan(scenario: Scenario) -> list[tuple[Point, Fault, int]]:
    """Every fault that can strike this story."""
    return [
        (point, fault, occurrence)
        for point, count in points(scenario).items()
        for fault in (COMMIT_FAULTS if point.op.startswith("commit.") else CALL_FAULTS)
        for occurrence in range(1, min(count, OCCURRENCES) + 1)
        if not (fault is Fault.LATE and not _effect(point))
    ]


def _effect(point: Point) -> bool:
    reads = ("read", "find", "probe", "check", "instances", "preflight", "last_used", "propose")
    return not any(word in point.op for word in reads)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_point(scenario: Scenario) -> None:
    """Whatever is struck wherever, nothing is refused, lost, doubled or left over once things are calm."""
    only = os.environ.get("ROTATORD_MATRIX_ONLY", "")
    failures: list[str] = []
    cases = plan(scenario)
    for point, fault, occurrence in cases:
        name = f"{scenario.name}: {fault} at {point.unit}/{point.way} {point.op} #{occurrence}"
        if only and only not in name:
            continue
        try:
            sim, spec = simulate(
                scenario, lambda at, count, p=point, f=fault, n=occurrence: f if (at, count) == (p, n) else None
            )
        except AssertionError as stuck:
            failures.append(f"{name}: {str(stuck)[: 6000 if only else 400]}")
            continue
        if (point, fault) not in sim.hands.reached:
            failures.append(f"{name}: never reached")
        problems = judge(sim, spec)
        if problems:
            failures.append(f"{name}: {problems[:4]}" + (f"\n{sim.tail(400)}" if only else ""))
        _PAIRS.add((point.unit, point.way, point.op, fault.value))
    _REPORT[scenario.name] = (len(cases), len(failures))
    assert not failures, f"{len(failures)} of {len(cases)} cases failed:\n" + "\n".join(failures[:40])


def test_coverage_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    """Every step of the lifecycle is struck in every way by every fault that it can meet, and the count is printed."""
    if len(_REPORT) < len(SCENARIOS):
        pytest.skip("only after all scenarios of this module")
    from rotatord.machine import TABLE

    struck = {(unit, way) for unit, way, _, _ in _PAIRS}
    missing = [
        (row.step.value, place.way.value) for place, row in TABLE.items() if (row.step.value, place.way.value) not in struck
    ]
    with capsys.disabled():
        cases = sum(count for count, _ in _REPORT.values())
        print(f"\ncrash matrix: {len(SCENARIOS)} stories, {cases} runs, {len(_PAIRS)} (step x fault) pairs, missing: {missing}")
    assert not missing
