"""The manual lists every code that a halt can have."""

from __future__ import annotations

import re
from pathlib import Path

from rotatord.machine import HALTED, TABLE

ROOT = Path(__file__).parents[2]


def codes() -> set[str]:
    """Those of the table's failure edges, and those that the code names."""
    table = {f"{place.way.value}_{row.step.value}_failed" for place, row in TABLE.items() if row.failed == HALTED}
    texts = [path.read_text() for path in (ROOT / "rotatord").rglob("*.py")]
    named = re.compile(r'(?:Stop\(\w+, |halt\(record, |return Stop\(again, )"([a-z_]+)"')
    return table | {code for text in texts for code in named.findall(text)}


def test_every_code_is_in_the_manual() -> None:
    """Whoever reads a code finds what is live and what each way out does."""
    page = (ROOT / "docs" / "halts.md").read_text()
    listed = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", page))
    assert codes() <= listed, codes() - listed
    assert len(codes()) > 12
