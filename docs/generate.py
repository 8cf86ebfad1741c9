"""Draws the parts of README and manual that come from the code. ``--check`` only says whether they are current."""

from __future__ import annotations

import sys
from pathlib import Path

from rotatord.machine import diagram

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "lifecycle.md")
START, END = "<!-- lifecycle: drawn by make docs -->\n", "<!-- end of lifecycle -->"


def current(text: str) -> str:
    """A page with its diagram drawn anew; ValueError where it has no place for one."""
    before, _, rest = text.partition(START)
    drawn, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"no {START.strip()} ... {END} in the page")
    del drawn
    return f"{before}{START}\n```mermaid\n{diagram()}\n```\n\n{end}{after}"


def main() -> int:
    stale = [page for page in PAGES if page.read_text() != current(page.read_text())]
    if "--check" in sys.argv:
        return 1 if stale else 0
    for page in stale:
        page.write_text(current(page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
