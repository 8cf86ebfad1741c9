"""The page on writing plugins: its example is taken from the page and must pass as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
BLOCK = re.compile(r"<!-- file: (?P<name>\S+) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A directory with the files of the page."""
    for block in BLOCK.finditer(PAGE.read_text()):
        (tmp_path / block["name"]).write_text(block["text"])
    return tmp_path


def test_the_example_passes_its_contract(example: Path) -> None:
    """A stranger who copies the page has a plugin that passes; nothing that it could be tested for fails."""
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-W",
        "error",
        "--rootdir",
        str(example),
        str(example),
    ]
    run = subprocess.run(argv, cwd=example, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "passed" in run.stdout


def test_the_entry_point_names_the_example(example: Path) -> None:
    """The line in the page leads to the factory in the page."""
    points = tomllib.loads((example / "pyproject.toml").read_text())["project"]["entry-points"]["rotatord.issuers"]
    module, factory = points["tokenfile"].split(":")
    assert f"def {factory}(" in (example / f"{module}.py").read_text()


def test_the_page_names_every_fixture_of_the_suites() -> None:
    """The table of fixtures is complete, and names none that does not exist."""
    page = PAGE.read_text()
    contracts = Path(__file__).parents[2] / "rotatord" / "testing" / "contracts"
    for port, files in {
        "issuer": ["issuer_setting.py"],
        "backend": ["backend_setting.py"],
        "consumer": ["consumer.py"],
        "health": ["health.py"],
    }.items():
        text = "".join((contracts / file).read_text() for file in files)
        known = set(re.findall(r"@pytest\.fixture\n    def (\w+)\(", text)) | ({"settle"} if port == "issuer" else set())
        (row,) = re.findall(rf"^\| {port} \|.*$", page, re.MULTILINE)
        named = set(re.findall(r"`(\w+)`", row))
        assert named - known == set(), port
        assert known - named <= {"garbage", "renewable_request", "destination", "published"}, port  # have a default
