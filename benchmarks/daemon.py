"""What a whole daemon costs at a thousand and at a hundred thousand credentials, and how soon it goes on after a kill.

It is a real one, in a process of its own. Its issuer, store and consumer are plugins of this folder, found through an entry
point as a third party's would be, so that so many credentials need no outside world.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.engine import CLOCK, IDS, engine_over, sqlite_journal
from benchmarks.figures import Figure
from benchmarks.idle import bare_mib, cpu_seconds, memory_mib
from benchmarks.outside import MONTH, Outside, managed
from benchmarks.scheduling import fill
from rotatord import config, identity
from rotatord.journal import open_journal
from rotatord.ports import Amendment
from tests.integration.running import Installation

HERE = Path(__file__).resolve().parent.parent
SIZES = (1_000, 100_000)
WATCHED_SECONDS = 30.0
START_SECONDS = 240.0
IN_FLIGHT = 20
PATIENCE_SECONDS = 120.0
BUILTIN = """
state_dir: state
issuers: {authority: {type: builtin, permissions: [read]}}
backends: {files: {type: file}}
policies: {monthly: {max_age: 30d, unproven: {overlap: 1s}}}
limits: {issuer: {concurrency: 8}}
credentials:
"""
BUILTIN_CREDENTIAL = """  - name: {name}
    issuer: authority
    policy: monthly
    scope: {{permissions: [read]}}
    destinations: [{{backend: files, path: {name}.env, format: dotenv, keys: {{TOKEN: token}}}}]
"""
HEAD = """state_dir: state
log: {level: warning}
issuers: {issuer: {type: bench}}
backends: {store: {type: bench}}
policies: {monthly: {max_age: 30d}}
credentials:
"""
CREDENTIAL = """  - name: {name}
    issuer: issuer
    policy: monthly
    scope: {{read: all}}
    destinations: [{{backend: store, path: {name}, keys: {{TOKEN: token}}}}]
    consumers: [{{type: bench, name: reader}}]
"""
ENTRY_POINTS = """[rotatord.issuers]
bench = benchmarks.outside:create_issuer
[rotatord.backends]
bench = benchmarks.outside:create_backend
[rotatord.consumers]
bench = benchmarks.outside:create_consumer
"""
SDKS = """
import sys, threading
from pathlib import Path
from rotatord import config
from rotatord.daemon import Daemon
from rotatord.footprint import give_back
give_back()
daemon = Daemon(config.load(Path(sys.argv[1])), Path(sys.argv[1]))
daemon.start()
from benchmarks.outside import speak_to_nobody
hold = speak_to_nobody(Path(sys.argv[1]).parent)
threading.Event().wait(2.0)
print(Path("/proc/self/status").read_text(), flush=True)
daemon.stop()
"""


def installed(directory: Path, size: int) -> Installation:
    """An installation whose journal knows so many quiet credentials."""
    package = directory / "plugins" / "rotatord_bench-0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: rotatord-bench\nVersion: 0\n")
    (package / "entry_points.txt").write_text(ENTRY_POINTS)
    names = [f"c{number:07}" for number in range(size)]
    text = HEAD + "".join(CREDENTIAL.format(name=name) for name in names)
    environment = {"PYTHONPATH": f"{package.parent}{os.pathsep}{HERE}"}
    installation = Installation(directory, text, environment)
    installation.config_file.write_text(text)
    script = "import sys; from benchmarks.daemon import prepare; prepare(sys.argv[1])"
    subprocess.run(  # in a process that sees the plugins, and that takes its memory with it
        [sys.executable, "-c", script, str(installation.config_file)],
        env={**os.environ, **environment},
        cwd=directory,
        check=True,
        timeout=600,
    )
    return installation


def prepare(path: str) -> None:
    """Fill the journal as a daemon would that has had its credentials for a while."""
    declared = config.load(path)
    state = config.journal_of(declared).parent
    identity.prepare(state)
    fingerprinter = identity.fingerprinter(state)
    journal = open_journal(f"sqlite:///{state / 'journal.db'}", CLOCK, IDS, lease_seconds=600.0)
    later = datetime.now(UTC) + timedelta(days=5)  # beyond what jitter pulls forward: nothing is due while we look
    specs = list(declared.specs.values())
    for first in range(0, len(specs), 5000):
        rows = [
            managed(spec, later + number * MONTH / len(specs) / 2, fingerprinter)
            for number, spec in enumerate(specs[first : first + 5000], first)
        ]
        journal.put([Amendment(record=row) for row in rows])
    journal.close()


def started(installation: Installation) -> float:
    """Seconds that it took until it answered."""
    begin = time.monotonic()
    environment = {**{k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ}, **installation.environment}
    with installation.output.open("ab") as log:
        command = [sys.executable, "-m", "rotatord.cli", "run", "--config", str(installation.config_file)]
        installation.daemon = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, cwd=installation.directory
        )
    installation.until(installation.answers, "answer", START_SECONDS)
    return time.monotonic() - begin


def idle(size: int) -> tuple[float, float, float, float]:
    """Memory in MiB, processor in percent, and the seconds of the first and of the next start."""
    with tempfile.TemporaryDirectory() as directory:
        installation = installed(Path(directory), size)
        try:
            first = started(installation)
            installation.stop()
            again = started(installation)
            assert installation.daemon is not None
            pid = installation.daemon.pid
            threading.Event().wait(10.0)  # the survey ends
            before = cpu_seconds(pid)
            threading.Event().wait(WATCHED_SECONDS)
            used = cpu_seconds(pid) - before
            return memory_mib(pid), 100 * used / WATCHED_SECONDS, first, again
        finally:
            if installation.daemon is not None:
                installation.stop()


def memory() -> Iterable[Figure]:
    small, _, _, _ = idle(SIZES[0])
    large, percent, first, again = idle(SIZES[1])
    at = f"{SIZES[1]:,} credentials"
    bare = bare_mib()
    yield Figure(name=f"memory of an idle daemon, {SIZES[0]:,} credentials", value=small, unit="MiB", goal=80, bare=bare)
    yield Figure(name=f"memory of an idle daemon, {at}", value=large, unit="MiB", bare=bare)
    yield Figure(name=f"memory more, from {SIZES[0]:,} to {at}", value=large - small, unit="MiB", goal=10)
    yield Figure(
        name=f"processor of an idle daemon, {at}",
        value=percent,
        unit="% of a core",
        goal=0.5,
        note=f"over {WATCHED_SECONDS:.0f} s, drift check included",
    )
    note = f"{first:.0f} s when it has to compare them all"
    yield Figure(name=f"start until it answers, unchanged configuration of {at}", value=again, unit="s", note=note)


def with_sdks() -> Iterable[Figure]:
    """A daemon whose plugins for Vault, Kubernetes and AWS (keys, sessions, both stores) have each made a call."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "rotatord.yaml"
        path.write_text("state_dir: state\nissuers: {authority: {type: builtin, permissions: [read]}}\n")
        for _ in range(2):  # the first start makes the journal
            answer = subprocess.run(
                [sys.executable, "-c", SDKS, str(path)],
                check=True,
                capture_output=True,
                text=True,
                timeout=120,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(HERE)},
            )
    rss = next(int(line.split()[1]) for line in answer.stdout.splitlines() if line.startswith("VmRSS")) / 1024
    yield Figure(
        name="memory with every SDK in use",
        value=rss,
        unit="MiB",
        goal=130,
        bare=bare_mib(),
        note="Vault, Kubernetes and four AWS plugins have made calls",
    )


def resumed() -> Iterable[Figure]:
    """Killed amid rotations of built-in tokens into files: from the new start to the first step that goes on."""
    names = [f"c{number:03}" for number in range(IN_FLIGHT)]
    text = BUILTIN + "".join(BUILTIN_CREDENTIAL.format(name=name) for name in names)
    with tempfile.TemporaryDirectory() as directory, Installation(Path(directory), text) as installation:
        for name in names:
            installation.until_quiet(name, PATIENCE_SECONDS)
        for name in names:
            installation.command("rotate", name)
        installation.stop(signal.SIGKILL)
        wall = datetime.now(UTC)
        installation.start()
        answered = (datetime.now(UTC) - wall).total_seconds()
        seconds = (_first_step(installation, wall) - wall).total_seconds()
    note = f"{IN_FLIGHT} rotations asked for, then kill -9; it answers after {answered:.1f} s"
    yield Figure(name="in-flight work resumed after a restart", value=seconds, unit="s", goal=3.0, note=note)


def _first_step(installation: Installation, since: datetime) -> datetime:
    """The first event of a rotation after that moment; waits for it."""
    found: list[datetime] = []

    def there() -> bool:
        times = [datetime.fromisoformat(event["time"]) for event in _events(installation) if event["rotation"]]
        found[:] = sorted(at for at in times if at > since)
        return bool(found)

    installation.until(there, "go on")
    return found[0]


def _events(installation: Installation) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    after = 0
    while page := installation.client.get("/v1/events", after=after, limit=1000)["events"]:
        found += page
        after = page[-1]["seq"]
    return found


class Counted:
    """A journal whose calls are counted."""

    def __init__(self, journal: object) -> None:
        self._journal = journal
        self.calls = 0

    def __getattr__(self, name: str) -> object:
        self.calls += 1
        return getattr(self._journal, name)


def queries() -> Iterable[Figure]:
    """What an idle engine asks its journal, at each size."""
    asked = []
    for size in SIZES:
        with sqlite_journal() as journal:
            fill(journal, size)
            counted = Counted(journal)
            engine = engine_over(counted, Outside())  # type: ignore[arg-type]
            engine.start()
            threading.Event().wait(8.0)  # the survey ends
            before = counted.calls
            threading.Event().wait(WATCHED_SECONDS)
            asked.append((counted.calls - before) * 60 / WATCHED_SECONDS)
            engine.stop()
    yield Figure(
        name=f"queries a minute of an idle engine, {SIZES[1]:,} credentials",
        value=asked[1],
        unit="",
        goal=asked[0] * 1.1 + 1,
        bare=asked[0],
        note=f"bare: the same at {SIZES[0]:,}",
    )


def measure(seed: int) -> Iterable[Figure]:
    del seed
    yield from with_sdks()
    yield from resumed()
    yield from queries()
    yield from memory()
