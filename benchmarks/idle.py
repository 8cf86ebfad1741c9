"""What a daemon costs that has nothing to do: memory and processor time, beside an interpreter that only waits."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from benchmarks.figures import Figure
from tests.integration.running import Installation

WATCHED_SECONDS = 20.0
CONFIG = """
state_dir: state
issuers: {authority: {type: builtin, permissions: [read]}}
backends: {files: {type: file}}
policies: {monthly: {max_age: 30d, unproven: {overlap: 1s}}}
credentials:
  - name: only
    issuer: authority
    policy: monthly
    scope: {permissions: [read]}
    destinations: [{backend: files, path: only.env, format: dotenv, keys: {TOKEN: token}}]
"""


def memory_mib(pid: int) -> float:
    """Resident memory of a running program."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu_seconds(pid: int) -> float:
    """Processor time that a running program has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def bare_mib() -> float:
    """The same of an interpreter that waits for its input to end."""
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as waiting:
        assert waiting.stdout is not None
        waiting.stdout.readline()
        return memory_mib(waiting.pid)


def measure(seed: int) -> Iterable[Figure]:
    del seed
    with tempfile.TemporaryDirectory() as directory, Installation(Path(directory), CONFIG) as installation:
        installation.until_quiet("only")
        installation.stop()  # the first start makes the journal; every later one is what a daemon costs
        installation.start()
        installation.until_quiet("only")
        assert installation.daemon is not None
        pid = installation.daemon.pid
        before = cpu_seconds(pid)
        threading.Event().wait(WATCHED_SECONDS)
        used = cpu_seconds(pid) - before
        yield Figure(name="memory, one credential", value=memory_mib(pid), unit="MiB", goal=80, bare=bare_mib())
        yield Figure(
            name="processor, one credential",
            value=100 * used / WATCHED_SECONDS,
            unit="% of a core",
            goal=0.5,
            note=f"over {WATCHED_SECONDS:.0f} s",
        )
