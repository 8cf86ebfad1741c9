"""An application that forgives nothing: one token in memory, loaded only when told to, and never a second try.

It asks Vault for one document, over and over, and counts what it is refused. A process of its own, started by tests.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rotatord.client import Running, serve
from rotatord.formats import parse

SLOWEST_TO_CATCH_UP_SECONDS = 1.0


@dataclass
class Counts:
    """What became of the requests; ``seconds``: from the first one to the last."""

    asked: int = 0
    refused: int = 0  # any answer but 200
    broken: int = 0  # no answer at all
    loads: int = 0
    failed_loads: int = 0
    seconds: float = 0.0
    worst_second: int = 0  # requests in the full second with the fewest
    by_second: dict[int, int] = field(default_factory=dict)


class Application:
    """The token in use, and where a new one is read when somebody says so."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        vault = urlsplit(options.vault)
        self.connection = http.client.HTTPConnection(vault.hostname or "", vault.port, timeout=10)
        self.running = Running()  # replaced as a whole: the attesting thread never sees half of it
        self.counts = Counts()

    def load(self) -> None:
        """Read the token anew; the old one stays in use when that does not work. Never tried again by itself."""
        try:
            document = self._from_vault() if self.options.document else self._from_file()
            token, version = document["TOKEN"], document.get("VERSION")  # a value made by hand has none
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            self.counts.failed_loads += 1
            complain(f"not loaded: {type(error).__name__}")
            return
        self.running = Running(version=version, instance=self.options.name, fields={"token": token})
        self.counts.loads += 1

    def _from_file(self) -> dict[str, str]:
        return parse("dotenv", Path(self.options.file).read_bytes()) or {}

    def _from_vault(self) -> dict[str, str]:
        token = Path(self.options.reader_token).read_text()
        answer = self._get(self.options.document, token)
        document: dict[str, str] = json.loads(answer[1])["data"]["data"]
        return document

    def _get(self, path: str, token: str) -> tuple[int, bytes]:
        self.connection.request("GET", f"/v1/{path}", headers={"X-Vault-Token": token})
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def ask(self) -> None:
        """One request with the token in use."""
        token = (self.running.fields or {})["token"]
        self.counts.asked += 1
        try:
            status, _ = self._get(self.options.asks_for, token)
        except (OSError, http.client.HTTPException) as error:
            self.counts.broken += 1
            self.connection.close()
            complain(f"no answer: {type(error).__name__}")
            return
        if status != 200:
            self.counts.refused += 1
            complain(f"refused: {status} on {self.running.version}")

    def run(self, told: threading.Event, stopping: threading.Event) -> None:
        """Ask at an even pace until stopped. ``told``: load before the next request."""
        first = due = 0.0
        while not stopping.is_set():
            if told.is_set():
                told.clear()
                self.load()
            if self.running.fields is None:
                told.wait(0.05)
                continue
            now = time.monotonic()
            first = first or now
            due = max(due, now - SLOWEST_TO_CATCH_UP_SECONDS)
            if due > now:
                stopping.wait(due - now)
            due += 1.0 / self.options.rate
            self.ask()
            second = int(time.monotonic() - first)
            self.counts.by_second[second] = self.counts.by_second.get(second, 0) + 1
            self.counts.seconds = time.monotonic() - first
        full = range(int(self.counts.seconds))
        self.counts.worst_second = min((self.counts.by_second.get(second, 0) for second in full), default=0)


def complain(what: str) -> None:
    """For whoever reads a failing test."""
    print(what, file=sys.stderr, flush=True)


def main() -> int:
    """Runs until SIGTERM; the counts then stand in ``--counts``. ``--pid-file`` is written once everything answers."""
    parser = argparse.ArgumentParser()
    for name in ("name", "credential", "vault", "asks-for", "pid-file", "port-file", "counts"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("file", "document", "reader-token"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--rate", type=float, default=200.0)
    options = parser.parse_args()
    told, stopping = threading.Event(), threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: told.set())
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    application = Application(options)
    server = serve({options.credential: lambda: application.running})
    Path(options.port_file).write_text(str(server.server_address[1]))
    Path(options.pid_file).write_text(f"{os.getpid()}\n")
    application.run(told, stopping)
    server.shutdown()
    server.server_close()
    Path(options.counts).write_text(json.dumps(asdict(application.counts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
