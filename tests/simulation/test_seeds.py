"""Thousands of random worlds with several replicas: one seed decides everything, and a seed that fails is shrunk and shown.

ROTATORD_SEEDS, ROTATORD_FIRST_SEED and ROTATORD_SEED_SECONDS say which seeds, and for how long at most.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.simulation.many import KEPT, Found, Kept, keep, kept, run_many
from tests.simulation.seeds import play
from tests.simulation.shrink import shrunk

SEEDS = int(os.environ.get("ROTATORD_SEEDS", "10000"))
FIRST = int(os.environ.get("ROTATORD_FIRST_SEED", "0"))
# A slow or busy machine runs as many as it can in this time, and never fewer than so many.
MOST_SECONDS = float(os.environ.get("ROTATORD_SEED_SECONDS", "300" if SEEDS <= 10_000 else "86400"))
FEWEST = 1000
TWICE = 300  # so many of the first are run a second time, in another process
SHOWN = 5


@pytest.mark.timeout(0)
def test_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    """No seed loses, doubles, refuses or strands a credential, and the same seed is the same run."""
    found = run_many(FIRST, SEEDS, most_seconds=MOST_SECONDS, fewest=FEWEST, twice=TWICE)
    with capsys.disabled():
        print(f"\n{found}")
    assert found.seeds >= min(SEEDS, FEWEST)
    assert not found.differing, f"seeds that were another run the second time: {found.differing}"
    assert not found.failures, _told(found)


def _told(found: Found) -> str:
    failures = sorted(found.failures.items())
    lines = [f"{len(failures)} seeds failed: {', '.join(str(seed) for seed, _ in failures[:100])}"]
    for seed, problems in failures[:SHOWN]:
        left_out, remaining = shrunk(seed, problems)
        without = "".join(f" --without '{each}'" for each in sorted(left_out))
        lines += [f"seed {seed}: {remaining[0][:800]}", f"  alone: python -m tests.simulation.replay {seed}{without}"]
        if keep(Kept(seed, tuple(sorted(left_out)), remaining[0][:200])):
            lines.append(f"  it is kept in {KEPT.name}: say there what it found, and commit it with what mends it")
    return "\n".join(lines)


@pytest.mark.parametrize("regression", kept(), ids=str)
def test_what_a_seed_once_found(regression: Kept) -> None:
    """Seeds that found something are always run, with what was left out of them."""
    assert play(regression.seed, frozenset(regression.without)).problems == []


def test_what_was_found_is_kept(tmp_path: Path) -> None:
    """A failing seed is written down beside the others, once, and nothing else of that file changes."""
    path = tmp_path / "regressions.json"
    path.write_text(KEPT.read_text())
    entry = Kept(123456789, ("cred-1", "cred-0#7"), 'cred-2: "two" live versions')
    assert keep(entry, path)
    assert not keep(entry, path)
    assert path.read_text().startswith(KEPT.read_text().rstrip("]\n"))
    assert json.loads(path.read_text())[-1] == {"seed": entry.seed, "without": list(entry.without), "found": entry.found}


def test_what_is_left_out_does_not_happen() -> None:
    """A seed can be run without one of its credentials, faults or deeds, and the others stay as they were drawn."""
    whole = play(11)
    fault = next(each for each in whole.fleet.fates.happened if "#" in each)
    less = play(11, frozenset({"cred-2", fault}))
    assert fault in whole.fleet.fates.happened
    assert fault not in less.fleet.fates.happened
    assert {spec.name for spec in less.specs} == {"cred-0", "cred-1"}
    assert less.problems == []
