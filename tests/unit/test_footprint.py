"""The process gives memory back."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
from pathlib import Path
from rotatord.footprint import give_back
assert give_back()
size = lambda: int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmRSS")).split()[1])
before = size()
things = [bytes(1000) for _ in range(50_000)]
grown = size()
del things
print(before, grown, size())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="another C library")
def test_what_was_needed_for_a_moment_goes_back() -> None:
    """Fifty megabytes of small things, and afterwards nearly as little as before."""
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    before, grown, after = map(int, answer.stdout.split())
    assert grown > before + 40_000
    assert after < before + 5_000


def test_a_daemon_loads_nothing_for_tracebacks_that_it_never_writes() -> None:
    """Four MiB of colours: its logger would take them where it finds them, and the command line needs them later at most."""
    script = "import sys, rotatord.life; print('rich' in sys.modules, 'pygments' in sys.modules); import rich.console"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.split() == ["False", "False"]
