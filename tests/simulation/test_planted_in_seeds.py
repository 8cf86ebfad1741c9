"""The seeds notice broken engines too: replicas, journals, hands, gates and steps that each lack one safeguard."""

from __future__ import annotations

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.seeds import CREDENTIALS, play
from tests.simulation.shrink import shrunk

MOST_SEEDS = 300


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found_by_a_seed(name: str) -> None:
    """A fleet without this safeguard breaks an invariant, or does not come to rest, within a few hundred seeds; the true one
    does neither in ten thousand (test_seeds.py)."""
    broken, likely = BUGS[name]
    assert any(play(seed, **broken).problems for seed in (likely, *range(MOST_SEEDS)))


def test_a_failing_seed_is_shrunk() -> None:
    """What has nothing to do with a bug is left out of its story: other credentials, and most faults."""
    broken, _ = BUGS["nothing is proven before it is published"]
    seed, whole = next((seed, run) for seed in range(MOST_SEEDS) if (run := play(seed, **broken)).problems)
    left_out, problems = shrunk(seed, whole.problems, broken)
    assert problems
    assert len(left_out & set(CREDENTIALS)) == 2
    assert play(seed, left_out, **broken).problems == problems
    assert play(seed, left_out).problems == []


def test_at_least_twenty_are_planted() -> None:
    """What the suites are known to find."""
    from tests.simulation import test_planted_bugs

    assert len(BUGS) + len(test_planted_bugs.BUGS) >= 20
