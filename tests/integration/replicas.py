"""Several daemons over one PostgreSQL: real processes, each with a state directory of its own."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.running import Installation

LEASE_SECONDS = 3


@dataclass
class Fleet:
    """Daemons of one installation. Ends what it started, by its id."""

    directory: Path
    config: str
    database_url: str
    lease_seconds: float = LEASE_SECONDS
    daemons: list[Installation] = field(default_factory=list)

    @property
    def key(self) -> Path:
        file = self.directory / "fingerprint-key"
        if not file.exists():
            file.write_text(secrets.token_hex(32) + "\n")
        return file

    def add(self, **environment: str) -> Installation:
        """One more, not started yet."""
        home = self.directory / f"replica-{len(self.daemons)}"
        home.mkdir(parents=True)
        settings = {
            "ROTATORD_DATABASE_URL": self.database_url,
            "ROTATORD_FINGERPRINT_KEY": f"file:{self.key}",
            "ROTATORD_LEASE_SECONDS": str(self.lease_seconds),
            **environment,
        }
        daemon = Installation(home, self.config, {name: value for name, value in settings.items() if value})
        self.daemons.append(daemon)
        return daemon

    def stop(self) -> None:
        for daemon in self.daemons:
            if daemon.daemon is not None:
                thaw(daemon)
                daemon.stop()


@contextmanager
def fleet(directory: Path, config: str, database_url: str, count: int = 2, **options: Any) -> Iterator[Fleet]:
    """So many daemons, started one after the other."""
    made = Fleet(directory, config, database_url, **options)
    with ExitStack() as stack:
        stack.callback(made.stop)
        for _ in range(count):
            made.add().start()
        yield made


def freeze(daemon: Installation) -> None:
    """It stands still, wherever it is."""
    assert daemon.daemon is not None
    os.kill(daemon.daemon.pid, signal.SIGSTOP)


def thaw(daemon: Installation) -> None:
    """It goes on, and does not know that it stood still."""
    assert daemon.daemon is not None
    os.kill(daemon.daemon.pid, signal.SIGCONT)


def said(daemon: Installation) -> list[dict[str, Any]]:
    """What a daemon has logged so far."""
    lines = daemon.output.read_text().splitlines() if daemon.output.exists() else ()
    return [json.loads(line) for line in lines if line.startswith("{")]


def worked_on(daemon: Installation) -> list[str]:
    """Credentials whose steps this daemon took."""
    return [line["credential"] for line in said(daemon) if line.get("credential") and "done" in line.get("event", "")]
