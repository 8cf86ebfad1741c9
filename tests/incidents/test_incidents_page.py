"""The pages of incidents and faults say what the tests do."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from docs.faults import FAULTS
from docs.incidents import INCIDENTS, Incident, table

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def replays() -> set[str]:
    """Every test beside this one, as ``file::name``."""
    found = set()
    for file in sorted(HERE.glob("test_*.py")):
        if file.name != Path(__file__).name:
            parsed = ast.parse(file.read_text()).body
            found |= {f"{file.name}::{each.name}" for each in parsed if isinstance(each, ast.FunctionDef)}
    return {name for name in found if "::test_" in name}


def test_the_page_is_drawn_from_the_table() -> None:
    """Who reads the page reads what the tests are compared with."""
    assert table() in (ROOT / "docs" / "incidents.md").read_text(), "run `make docs`"


def test_all_of_them_are_listed() -> None:
    """31 outages and breaches were collected; none is left out because it cannot be replayed yet."""
    assert len(INCIDENTS) == 31
    assert len({incident.name for incident in INCIDENTS}) == 31


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.name)
def test_each_is_replayed_or_says_what_it_needs(incident: Incident) -> None:
    """What is named exists, and what is not covered says why."""
    assert incident.test or incident.needs
    assert not incident.test or (incident.test in replays() and incident.safeguard)


def test_no_replay_is_left_out_of_the_page() -> None:
    """Every replay belongs to an incident of the page, or to the further parts of one."""
    named = tuple(incident.test for incident in INCIDENTS if incident.test)
    more = {"test_not_everywhere.py::test_sapcc_8835"}  # the second half of a row
    assert [name for name in sorted(replays() - more) if not name.startswith(named)] == []


def test_each_fault_has_a_test() -> None:
    """What is named exists; and no fault has two names."""
    wanted = {test for _, _, test in FAULTS}
    missing = [test for test in sorted(wanted) if f"def {test.partition('::')[2]}(" not in _text(test.partition("::")[0])]
    assert missing == []
    assert len({(where, what) for where, what, _ in FAULTS}) == len(FAULTS) >= 60


def _text(path: str) -> str:
    return (ROOT / path).read_text()
