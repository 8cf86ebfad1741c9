"""``rotatord demo`` as a person runs it: one command, loopback only, under a minute, nothing left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

LAST_LINE = re.compile(r"demo: 3 rotations, 2 completed, 1 rolled back, (\d+) requests, 0 refused, 0 live tokens left over")
TOKEN = re.compile(r"demo_[0-9A-Za-z]{36}")
LIMIT_SECONDS = 60


@pytest.mark.slow
def test_the_demo_keeps_its_promise(tmp_path: Path) -> None:
    """Three rotations, one rolled back because the consumer said no, no request refused, no token left over."""
    program = "import sys; from rotatord.cli.main import main; sys.argv = ['rotatord', 'demo']; sys.exit(main())"
    environment = {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.strip().splitlines()
    last = LAST_LINE.fullmatch(lines[-1])
    assert last is not None, lines[-1]
    assert int(last[1]) >= 500
    assert any("cannot load version 3-" in line for line in lines)
    assert any("rolled back" in line for line in lines)
    assert run.stderr == ""
    assert "\x1b" not in run.stdout
    assert TOKEN.search(run.stdout) is None
    assert list(tmp_path.iterdir()) == [], "the demo leaves nothing behind"
