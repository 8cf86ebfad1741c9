"""A rotatord daemon as a process of its own, as a person would start it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

READY_SECONDS = 30.0
ROTATORD = str(Path(sys.executable).with_name("rotatord"))


@dataclass
class Installation:
    """One state directory with its configuration, and at most one daemon over it. Ends what it started, by its id."""

    directory: Path
    config: str
    environment: dict[str, str] = field(default_factory=dict)
    config_name: str = "rotatord.yaml"
    daemon: subprocess.Popen[bytes] | None = None

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def config_file(self) -> Path:
        return self.directory / self.config_name

    @property
    def output(self) -> Path:
        """Everything that the daemon has printed."""
        return self.directory / "rotatord.log"

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        self.config_file.write_text(self.config)
        with self.output.open("ab") as log:
            self.daemon = subprocess.Popen(
                [ROTATORD, "run", "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                cwd=self.directory,
            )
        self.until(lambda: self.ask("status", "-o", "json").returncode in {0, 1}, "answer")

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """End the daemon; its exit code."""
        assert self.daemon is not None
        daemon, self.daemon = self.daemon, None
        daemon.send_signal(sign)
        try:
            return daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            return daemon.wait(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.daemon is not None:
            self.stop()

    def ask(self, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """One command against this daemon."""
        command = [ROTATORD, "--state-dir", str(self.state), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env=self._environment(), cwd=self.directory, check=False
        )

    def read(self, *arguments: str) -> Any:
        """The JSON answer of a reading command."""
        answer = self.ask(*arguments, "-o", "json")
        assert answer.returncode in {0, 1}, answer.stderr
        return json.loads(answer.stdout)

    def rotate(self, *names: str, seconds: float = 60.0) -> str:
        """Rotate and wait until it has ended well; what the command printed."""
        answer = self.ask("rotate", *names, "--wait", "--timeout", f"{seconds:.0f}s", timeout=seconds + 30)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout + answer.stderr

    def until(self, reached: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
        """Poll until it holds; fails with the daemon's output when it does not in time, or the daemon is gone."""
        deadline, pause = time.monotonic() + seconds, threading.Event()
        while time.monotonic() < deadline:
            if reached():
                return
            if self.daemon is None or self.daemon.poll() is not None:
                break
            pause.wait(0.1)
        raise AssertionError(f"the daemon did not {what} within {seconds} s:\n{self.output.read_text()[-4000:]}")

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "PYTHONWARNINGS": "default", **self.environment}
