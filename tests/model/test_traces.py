"""What the engine commits in the simulation is what the model commits: each transition is in the model's own table."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.model.traces import compare, known
from tests.simulation.bugs import BUGS, Broken

SEEDS = int(os.environ.get("ROTATORD_TRACES", "300"))
TRIES = 12  # seeds in which a planted bug may show


@pytest.mark.timeout(0)
def test_every_commit_of_the_engine_is_one_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    """Seeds with crashes, lost and late calls, people and drift; versions that leaked are beyond the model, and counted."""
    table = known()
    found = compare(0, SEEDS, table)
    with capsys.disabled():
        print(
            f"\ntraces: {found.seeds} seeds, {found.commits} commits, {sum(found.reached.values())} transitions of "
            f"{len(found.reached)} kinds (the model has {len(table)}), {found.beyond} commits beyond the model, "
            f"{len(found.strange)} strange"
        )
    assert not found.strange, found.strange
    assert found.beyond < found.commits / 10


# Engines that commit what the model never does; the other planted bugs break something outside of the journal.
ILLEGAL = ("nothing restored", "the way back owes nothing", "mint again without find", "intended deaths count as deaths")


@pytest.mark.parametrize("bug", ILLEGAL)
def test_an_engine_that_commits_something_else_is_noticed(bug: str) -> None:
    """A planted bug of the engine makes a transition that the model does not have."""
    broken, seed = BUGS[bug]
    table = known()
    assert any(compare(each, 1, table, **_copy(broken)).strange for each in range(seed, seed + TRIES))


def _copy(broken: Broken) -> dict[str, Any]:
    return dict(broken)
