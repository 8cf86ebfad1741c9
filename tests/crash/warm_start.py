"""Daemons forked from a process that has imported everything already: a start costs a tenth, so that many more can be killed.

What runs is what ``rotatord run`` runs, in a process, an environment and a directory of its own; only the imports are shared.
The scenario starts some in the ordinary way all the same.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.servers.component import die_with_parent

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "boto3.session",
    "botocore.signers",
    "hvac",
    "kubernetes.config",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "alembic.command",
    "uvicorn",
    "rotatord.api.server",
    "rotatord.cli.main",
    "rotatord.cli.running",
    "rotatord.daemon",
    "rotatord.journal.postgresql_journal",
    "rotatord.journal.sqlite_journal",
)


class Forked:
    """One daemon, as a test holds it: what it needs of ``subprocess.Popen``."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.over = threading.Event()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self.over.wait(timeout):
            raise subprocess.TimeoutExpired("rotatord", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Warm:
    """The process that forks. Ends, and what it forked with it, when told to or when we end."""

    def __init__(self) -> None:
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.warm_start"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            preexec_fn=die_with_parent,  # noqa: PLW1509  (a short and plain system call)
        )
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._forked: dict[int, Forked] = {}
        self._newest: Forked | None = None
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def start(self, arguments: list[str], environment: dict[str, str], directory: Path, log: Path) -> Forked:
        """Fork one."""
        asked = {"arguments": arguments, "environment": environment, "directory": str(directory), "log": str(log)}
        with self._lock:
            self._answered.clear()
            assert self._program.stdin is not None
            self._program.stdin.write(json.dumps(asked).encode() + b"\n")
            self._program.stdin.flush()
            assert self._answered.wait(60), "the process that forks does not answer"
            assert self._newest is not None
            return self._newest

    def stop(self) -> None:
        """End the one that forks; what it forked has been ended before."""
        assert self._program.stdin is not None
        self._program.stdin.close()
        try:
            self._program.wait(20)
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.wait(10)
        self._thread.join(10)
        assert self._program.stdout is not None
        self._program.stdout.close()

    def _listen(self) -> None:
        assert self._program.stdout is not None
        for line in self._program.stdout:
            told = json.loads(line)
            if "started" in told:
                self._newest = self._forked[told["started"]] = Forked(told["started"])
                self._answered.set()
            else:
                ended = self._forked.pop(told["ended"])
                ended.returncode = told["code"]
                ended.over.set()


# --- the process that forks ---


def _become(asked: dict[str, Any]) -> None:
    """In the child: what a shell would have given it, and nothing of ours."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    die_with_parent()
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(number, target)
    os.closerange(3, 64)
    os.chdir(asked["directory"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["rotatord", *asked["arguments"]]


def _run() -> int:
    from rotatord.cli.main import main

    try:
        ended: Any = main()
    except SystemExit as ending:
        ended = ending.code
    return ended if isinstance(ended, int) else 0


def _tell(**what: int) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def serve() -> None:
    """Fork for every line on standard input; tell of each that has ended."""
    for module in MODULES:
        importlib.import_module(module)
    for group in ("rotatord.issuers", "rotatord.backends", "rotatord.consumers", "rotatord.health"):
        for point in importlib.metadata.entry_points(group=group):
            point.load()
    gc.freeze()

    def bury(*_: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                _tell(ended=found[0], code=os.waitstatus_to_exitcode(found[1]))

    signal.signal(signal.SIGCHLD, bury)
    with os.fdopen(0, "rb", buffering=0, closefd=False) as asked:
        while line := asked.readline():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
            pid = os.fork()
            if not pid:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
                code = 1
                try:
                    _become(json.loads(line))
                    code = _run()
                finally:
                    sys.stdout.flush()
                    os._exit(code)
            _tell(started=pid)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


if __name__ == "__main__":
    serve()
