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

from rotatord.cli.client import Client, NoDaemonError, Place, credential_path
from tests.servers.component import die_with_parent

READY_SECONDS = 30.0
ROTATORD = str(Path(sys.executable).with_name("rotatord"))


@dataclass
class Installation:
    """One state directory with its configuration, and at most one daemon over it. Ends what it started, by its id."""

    directory: Path
    config: str
    environment: dict[str, str] = field(default_factory=dict)
    config_name: str = "rotatord.yaml"
    dies_with_us: bool = False  # with the very thread that launches it, too
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
        self.launch()
        self.until(self.answers, "answer")

    def launch(self) -> None:
        """Start the daemon, and do not wait for it."""
        self.config_file.write_text(self.config)
        with self.output.open("ab") as log:
            self.daemon = subprocess.Popen(
                [ROTATORD, "run", "--config", str(self.config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                cwd=self.directory,
                preexec_fn=die_with_parent if self.dies_with_us else None,  # noqa: PLW1509  (a short and plain system call)
            )

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
        assert answer.returncode in {0, 1, 3}, answer.stderr
        return json.loads(answer.stdout)

    def rotate(self, *names: str, seconds: float = 60.0) -> str:
        """Rotate and wait until it has ended well; what the command printed."""
        answer = self.ask("rotate", *names, "--wait", "--timeout", f"{seconds:.0f}s", timeout=seconds + 30)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout + answer.stderr

    # --- the same over the socket, without a process for each question -------------------------------------------

    @property
    def client(self) -> Client:
        """The API of this daemon."""
        return Client(Place(state_dir=str(self.state)), timeout=30.0)

    def answers(self) -> bool:
        """Whether the daemon is there to talk to."""
        try:
            self.client.get("/v1/status", limit=1)
        except NoDaemonError:
            return False
        return True

    def row(self, name: str) -> dict[str, Any]:
        """How one credential stands."""
        row: dict[str, Any] = self.client.get(credential_path(name))["credentials"][0]
        return row

    def command(self, verb: str, name: str, **arguments: Any) -> None:
        """Ask for something; an Ending says why not."""
        self.client.post(f"{credential_path(name)}/commands/{verb}", arguments)

    def events(self, name: str, action: str = "", outcome: str = "") -> list[dict[str, Any]]:
        """The credential's events so far, of one action and outcome where asked."""
        found: list[dict[str, Any]] = []
        after = 0
        while page := self.client.get("/v1/events", credential=name, after=after, limit=1000)["events"]:
            found += [event for event in page if action in {"", event["action"]} and outcome in {"", event["outcome"]}]
            after = page[-1]["seq"]
        return found

    def until_row(
        self, name: str, reached: Callable[[dict[str, Any]], bool], what: str, seconds: float = 60.0
    ) -> dict[str, Any]:
        """Poll one credential until its row is as wanted; returns that row."""
        rows: list[dict[str, Any]] = [{}]

        def there() -> bool:
            rows[0] = self.row(name)
            return reached(rows[0])

        self.until(there, f"{what} ({name})", seconds)
        return rows[0]

    def until_quiet(self, name: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until nothing is open and nothing owed, with a version there."""
        return self.until_row(name, lambda row: row["state"] == "quiet", "become quiet", seconds)

    def rotated(self, name: str, seconds: float = 60.0) -> dict[str, Any]:
        """One more rotation, to its very end; the row then. Fails unless it completed."""
        before = self.row(name)["last_rotation"]
        self.command("rotate", name)

        def over(row: dict[str, Any]) -> bool:
            assert not row["halt"], row["halt"]
            last = row["last_rotation"]
            return row["state"] == "quiet" and last is not None and (before is None or last["id"] != before["id"])

        row = self.until_row(name, over, "rotate", seconds)
        assert row["last_rotation"]["state"] == "completed", row["last_rotation"]
        return row

    def hang_up(self, config: str) -> None:
        """Put another configuration in place and tell the daemon; it may refuse it."""
        assert self.daemon is not None
        self.config = config
        self.config_file.write_text(config)
        self.daemon.send_signal(signal.SIGHUP)

    def until(self, reached: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
        """Poll until it holds; fails with the daemon's output when it does not in time, or the daemon is gone."""
        deadline, pause = time.monotonic() + seconds, threading.Event()
        while time.monotonic() < deadline:
            if reached():
                return
            if self.daemon is None or self.daemon.poll() is not None:
                break
            pause.wait(0.05)
        raise AssertionError(f"the daemon did not {what} within {seconds} s:\n{self.output.read_text()[-4000:]}")

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**kept, "PYTHONWARNINGS": "default", **self.environment}
