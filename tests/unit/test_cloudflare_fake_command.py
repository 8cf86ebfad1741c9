"""The strict Cloudflare as its page shows it: the command, the request, the test."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import urllib3

from rotatord.testing.cloudflare import GROUPS, FakeCloudflare

PAGE = Path(__file__).parents[2] / "docs" / "testing-cloudflare.md"
SHOWN = re.compile(r"```\n\$ (?P<command>python -m rotatord\.testing\.cloudflare.*)\n(?P<lines>(?:export .*\n)+)```")
ASKED = re.compile(r"```\n\$ curl -s \"(?P<url>.*?)\" -H \"(?P<header>.*?)\"\n```")
BLOCK = re.compile(r"<!-- file: (?P<name>\S+) -->\n```\w+\n(?P<text>.*?)```", re.DOTALL)


def filled(text: str, told: dict[str, str]) -> str:
    """As a shell would put the variables in."""
    return re.sub(r"\$(\w+)", lambda found: told[found[1]], text)


def test_the_command_of_the_page_serves_an_account_until_it_is_ended() -> None:
    """It prints what its page says, the page's request is answered, and it ends when asked."""
    shown, asked = SHOWN.search(PAGE.read_text()), ASKED.search(PAGE.read_text())
    assert shown
    assert asked
    argv = [sys.executable, *shlex.split(shown["command"])[1:]]
    named = re.findall(r"^export (\w+)=", shown["lines"], re.MULTILINE)
    server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        told = dict(
            line.removeprefix("export ").rstrip("\n").split("=", 1) for line in (server.stdout.readline() for _ in named)
        )
        assert list(told) == named
        name, _, value = filled(asked["header"], told).partition(": ")
        with urllib3.PoolManager(retries=False, timeout=10.0) as pool:
            answer = pool.request("GET", filled(asked["url"], told), headers={name: value})
        assert (answer.status, answer.json()["result"]["status"]) == (200, "active")
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait(10)
        assert server.stdout is not None
        server.stdout.close()


def test_the_test_of_the_page_passes(tmp_path: Path) -> None:
    """A stranger who copies it has one."""
    (block,) = BLOCK.finditer(PAGE.read_text())
    (tmp_path / block["name"]).write_text(block["text"])
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    run = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passed" in run.stdout


def test_the_fake_is_imported_without_any_sdk() -> None:
    """It needs nothing that it is tested with."""
    code = "import rotatord.testing.cloudflare, sys; sys.exit(any(name in sys.modules for name in ('cloudflare', 'httpx')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_the_page_counts_the_catalogue() -> None:
    """Its number of groups is the fake's."""
    assert f"({len(GROUPS)} of about 400)" in PAGE.read_text()


def test_the_page_names_everything_that_the_fake_has() -> None:
    """No public name of it is missing from the table."""
    page = PAGE.read_text()
    public = {name for name in dir(FakeCloudflare) if not name.startswith("_")} - {"find", "now"}
    assert [name for name in sorted(public) if f"`{name}" not in page] == []
