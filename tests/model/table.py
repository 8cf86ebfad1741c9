"""``python -m tests.model.table``: the model's transitions, printed by its own exhaustive searches, into transitions.txt.

Nobody writes that file by hand: what the engine may commit is what the model commits, and ``make crash`` draws it anew.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.model.search import EVERYTHING, Found, Size, Teller, search
from tests.model.traces import TABLE
from tests.servers.binaries import find
from tests.servers.system_program import SPIN

# One credential: journals of two have nothing in common. Everything once, and then more that goes wrong with less beside it.
DRAWN: tuple[Size, ...] = (
    EVERYTHING,
    {"CREDENTIALS": 1, "CRASHES": 2, "FIRST": 1, "CHOOSES": 1, "SUSPENDS": 1},
    {"CREDENTIALS": 1, "CRASHES": 2, "LOSSES": 1, "SUSPENDS": 1},
    {"CREDENTIALS": 1, "CRASHES": 1, "FIRST": 1, "FAILURES": 2},
    {"CREDENTIALS": 1, "CRASHES": 0, "FAILURES": 2, "LOSSES": 2, "SUSPENDS": 1},
)
HEAD = """\
# Every transition of the journal in the model, as its exhaustive searches print them; `python -m tests.model.table`
# draws this file. Before and after: state/way and what else is on record; then what became of versions and of the ledger.
"""


def draw(spin: Path, directory: Path, sizes: tuple[Size, ...] = DRAWN) -> tuple[set[str], list[Found]]:
    """The transitions of all these sizes, and what the searches came to."""
    lines: set[str] = set()
    found = []
    for number, size in enumerate(sizes):
        teller = Teller()
        found.append(search(spin, directory / str(number), size, hear=teller, most_seconds=3600))
        lines |= teller.lines()
    return lines, found


def main() -> int:
    spin = find(SPIN)
    if spin is None:
        sys.stderr.write(f"no spin: {SPIN.remedy}\n")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        lines, found = draw(spin, Path(directory))
    for each in found:
        sys.stdout.write(f"{each}\n")
    if any(each.errors or not each.complete for each in found):
        return 1
    TABLE.write_text(HEAD + "".join(f"{line}\n" for line in sorted(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
