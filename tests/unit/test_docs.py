"""The manual and the code say the same."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rotatord.machine import TABLE, diagram

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
KINDS = {
    "rotatord.issuers": "issuer",
    "rotatord.backends": "backend",
    "rotatord.consumers": "consumer",
    "rotatord.health": "health",
}
FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)


def entry_points() -> list[tuple[str, str]]:
    """Kind and name of every plugin that the project registers."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    return [(KINDS[group], name) for group, names in groups.items() for name in names]


@pytest.mark.parametrize("page", ["README.md", "docs/lifecycle.md"])
def test_the_picture_of_the_lifecycle_is_the_table(page: str) -> None:
    """Who reads the page sees every state, step and failure edge that the engine knows, and no other."""
    assert f"```mermaid\n{diagram()}\n```" in (ROOT / page).read_text(), "run `make docs`"


def test_the_picture_is_drawn_by_make_docs() -> None:
    """The pages are current by the generator's own word, so `make docs` is all that a change needs."""
    answer = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], timeout=60, check=False)
    assert answer.returncode == 0


def test_the_picture_shows_every_place() -> None:
    """No place of the table is missing from the drawing."""
    drawn = diagram()
    assert all(f"{place.state.value}_{place.way.value}" in drawn for place in TABLE)


@pytest.mark.parametrize(("kind", "name"), entry_points())
def test_every_plugin_has_a_row_that_says_what_it_is_tested_against(kind: str, name: str) -> None:
    """The table of README tells for each plugin what it does and how far to trust it."""
    rows = [
        line.split("|") for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(f"| {kind} | `{name}` |")
    ]
    assert len(rows) == 1
    assert all(cell.strip() for cell in rows[0][1:-1])


def test_no_row_is_about_a_plugin_that_is_gone() -> None:
    """README promises nothing that is not registered."""
    rows = re.findall(r"^\| (\w+) \| `([\w-]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(entry_points())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of ours has that file at its end."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", FENCE.sub("", page.read_text()))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_command_that_contributors_are_told_of_exists() -> None:
    """The table of commands names targets of the Makefile."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make (\w+)", page.read_text())}
    assert named - targets == set()


def test_every_page_of_the_manual_is_reached_from_its_index() -> None:
    """A page that nobody finds is not written."""
    reached, left = set[str](), {"index.md"}
    while left:
        page = left.pop()
        reached.add(page)
        named = re.findall(r"\]\(([\w-]+\.md)[)#]", (ROOT / "docs" / page).read_text())
        left |= {name for name in named if (ROOT / "docs" / name).exists()} - reached
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - reached == set()
