"""The seeds notice broken engines too: replicas, journals, hands, gates and steps that each lack one safeguard."""

from __future__ import annotations

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.seeds import play

MOST_SEEDS = 300


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found_by_a_seed(name: str) -> None:
    """A fleet without this safeguard breaks an invariant, or does not come to rest, within a few hundred seeds; the true one
    does neither in ten thousand (test_seeds.py)."""
    broken, likely = BUGS[name]
    assert any(play(seed, **broken).problems for seed in (likely, *range(MOST_SEEDS)))


def test_at_least_twenty_are_planted() -> None:
    """What the suites are known to find."""
    from tests.simulation import test_planted_bugs

    assert len(BUGS) + len(test_planted_bugs.BUGS) >= 20
