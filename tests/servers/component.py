"""One program of a server that consists of several: started with a log file of its own, ended by its own id."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_LAST_LINES = 15


@dataclass
class Component:
    """A program with its arguments; everything it says goes to ``NAME.log``."""

    name: str
    binary: Path
    arguments: list[str]
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        """What it has said so far, over all its starts."""
        return self.directory / f"{self.name}.log"

    @property
    def alive(self) -> bool:
        """Started, and not ended since."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it; whether it then serves is for the caller to find out."""
        home = self.directory / "home"
        home.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binary), *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=home,
                env={"HOME": str(home), "PATH": os.environ.get("PATH", ""), "TMPDIR": str(home)},  # no settings of this machine
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  (a short and plain system call)
            )

    def stop(self, *, kill: bool = False) -> None:
        """End it: asked, then forced. ``kill`` forces at once, also where it is paused."""
        if self.process is not None:
            end(self.process, kill=kill)
            self.process = None

    def pause(self) -> None:
        """It hangs: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was paused."""
        self._signal(signal.SIGCONT)

    def last_words(self) -> str:
        """The end of its log, for the message of a failed start."""
        if not self.log_file.exists():
            return "(it said nothing)"
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-_LAST_LINES:])

    def memory(self) -> int:
        """Its resident memory in bytes; 0 where it does not run."""
        if not self.alive or self.process is None:
            return 0
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None:
            raise AssertionError(f"{self.name} does not run")
        self.process.send_signal(number)


def end(process: subprocess.Popen[bytes], *, kill: bool = False) -> None:
    """End a server by its own id: asked, then forced; ``kill`` forces at once."""
    process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def free_port() -> int:
    """A loopback port that nobody holds at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def die_with_parent() -> None:
    """A killed test run leaves no server behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
