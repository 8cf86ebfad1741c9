"""The model is right in every state that it can reach, its planted mistakes are found, and its table is what it says itself.

A small size in each run; with ROTATORD_MODEL=1 (``make crash``) all sizes, all mistakes, and a report in tests/model/results.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks.__main__ import commit, machine
from tests.model.mistakes import MISTAKES, Mistake
from tests.model.search import EVERYTHING, OFTEN, SMALL, WHOLE, Found, Size, Teller, search
from tests.model.table import draw
from tests.model.traces import known
from tests.servers.fixtures import need
from tests.servers.system_program import SPIN

RESULTS = Path(__file__).with_name("results")
LONG = pytest.mark.skipif(os.environ.get("ROTATORD_MODEL") != "1", reason="takes many minutes; `make crash` runs it")
QUICK = {"NO_SEQUENCE", "NO_REWRITE", "NO_LOOK_BEFORE_DEATH"}  # the others in `make crash`
MOST_SECONDS = 3600.0


@pytest.fixture(scope="module")
def spin() -> Path:
    return need(SPIN)


@pytest.fixture(scope="module")
def report() -> Iterator[list[Found]]:
    """What the searches of this run came to, in one file."""
    found: list[Found] = []
    yield found
    if not found:
        return
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    told = {"schema": "rotatord.model/v1", "at": now.isoformat(timespec="seconds"), "commit": commit(), "machine": machine()}
    text = json.dumps({**told, "searches": [each.plain() for each in found]}, indent=2)
    (RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json").write_text(text + "\n")


def right(found: Found) -> None:
    assert found.errors == 0, str(found)
    assert found.complete, str(found)


def test_a_small_model_is_right_in_every_state(spin: Path, tmp_path: Path) -> None:
    """One credential and one crash; and each of its commits is in the table that traces are compared with."""
    teller = Teller()
    right(search(spin, tmp_path, SMALL, hear=teller))
    lines = teller.lines()
    assert len(lines) > 50
    assert lines <= known()


@pytest.mark.parametrize("mistake", [each for each in MISTAKES if set(each.switches) & QUICK], ids=lambda each: each.what)
def test_a_planted_mistake_is_found(spin: Path, tmp_path: Path, mistake: Mistake) -> None:
    """The search ends at a state that breaks an invariant."""
    assert search(spin, tmp_path, mistake.sizes()).errors == 1


@LONG
@pytest.mark.timeout(0)
@pytest.mark.parametrize("mistake", [each for each in MISTAKES if not set(each.switches) & QUICK], ids=lambda each: each.what)
def test_every_planted_mistake_is_found(spin: Path, tmp_path: Path, mistake: Mistake) -> None:
    """The same, of all the others."""
    assert search(spin, tmp_path, mistake.sizes(), most_seconds=MOST_SECONDS).errors == 1


@LONG
@pytest.mark.timeout(0)
@pytest.mark.parametrize("size", [WHOLE, OFTEN], ids=["two credentials", "one, and what people do"])
def test_the_model_is_right_in_every_state(spin: Path, tmp_path: Path, report: list[Found], size: Size) -> None:
    """Two replicas, two credentials, two crashes; and one credential with more that goes wrong."""
    report.append(search(spin, tmp_path, size, long=True, most_seconds=MOST_SECONDS))
    print(report[-1])
    right(report[-1])


@LONG
@pytest.mark.timeout(0)
@pytest.mark.parametrize("size", [EVERYTHING, OFTEN], ids=["everything", "more crashes"])
def test_nothing_goes_on_for_ever(spin: Path, tmp_path: Path, report: list[Found], size: Size) -> None:
    """No order of steps is endless: with every last state quiet, everything settles (invariant 8)."""
    report.append(search(spin, tmp_path, size, cycles=True, long=True, most_seconds=MOST_SECONDS))
    print(report[-1])
    right(report[-1])


@LONG
@pytest.mark.timeout(0)
def test_the_table_is_what_the_model_says(spin: Path, tmp_path: Path, report: list[Found]) -> None:
    """transitions.txt is drawn by the model's own searches, each of which is complete and right."""
    lines, found = draw(spin, tmp_path)
    report.extend(found)
    for each in found:
        print(each)
        right(each)
    assert lines == known(), "draw it anew: python -m tests.model.table"
