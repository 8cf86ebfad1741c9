"""``rotate --wait``: watch rotations until each has ended, halted, or the patience is over."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from rotatord.cli.client import Client, NoDaemonError, credential_path
from rotatord.cli.output import line, printable
from rotatord.clock import Clock

JsonMap = dict[str, Any]
POLL_SECONDS = 0.5
AWAY_SECONDS = 60.0  # a daemon that restarts is back sooner, and its rotations go on
# The way of a rotation as far as a bar can show it.
STAGES = ("asked", "planned", "staged", "proven", "published", "reloaded", "verified", "completed")


class Shown(Protocol):
    """Where progress is shown."""

    def at(self, name: str, stage: str, note: str) -> None:
        """``name`` is at this stage; called when something changed."""
        ...


class Lines:
    """One line per change, for logs and pipes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def at(self, name: str, stage: str, note: str) -> None:
        line(printable(f"{name}: {stage}" + (f" ({note})" if note else "")))


class Bars:
    """One bar per credential, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only where it is looked at
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        self._progress = Progress(
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._progress.stop()

    def at(self, name: str, stage: str, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task("", total=len(STAGES) - 1, name=name)
        words = printable(stage + (f": {note}" if note else ""))
        done = STAGES.index(stage) if stage in STAGES else None
        self._progress.update(self._tasks[name], description=words, completed=done)


def display() -> AbstractContextManager[Shown]:
    """Bars on a terminal, lines elsewhere."""
    return Bars() if sys.stdout.isatty() else Lines()


@dataclass
class Watch:
    """One credential under way: the rotation that was the last before we asked, what was shown last, how it ended."""

    before: str | None
    shown: tuple[str, str] = ("", "")
    outcome: str = ""  # completed | rolled_back | halted; empty while it goes on
    detail: str = ""

    def see(self, row: JsonMap) -> tuple[str, str]:
        """Take in a status row; returns stage and note."""
        rotation, last = row["rotation"], row["last_rotation"]
        if row["halt"]:
            self.outcome, self.detail = "halted", row["halt"]["message"]
            return "halted", self.detail
        ended = last is not None and last["id"] != self.before
        if ended and last["state"] == "superseded":
            self.before = last["id"]  # another one follows it by itself
        elif ended:
            self.outcome, self.detail = last["state"], last["error"]
            return self.outcome, self.detail
        if rotation:
            way = "" if rotation["way"] == "forward" else rotation["way"]
            return rotation["state"], "; ".join(filter(None, (way, row["waiting"])))
        return "asked", row["waiting"]


@dataclass
class Following:
    """The watches of one command."""

    client: Client
    clock: Clock
    watches: Mapping[str, Watch]
    patience_seconds: float | None = None
    read: Callable[[str], JsonMap] = field(init=False)

    def __post_init__(self) -> None:
        self.read = lambda name: self.client.get(credential_path(name))["credentials"][0]

    def until_over(self, shown: Shown) -> bool:
        """Watch; False when the patience ran out first. Raises NoDaemonError when the daemon went away and stayed away."""
        started, never = self.clock.monotonic(), threading.Event()
        answered = started
        while True:
            try:
                self._look(shown)
                answered = self.clock.monotonic()
            except NoDaemonError:
                if self.clock.monotonic() - answered >= AWAY_SECONDS:
                    raise
            if all(watch.outcome for watch in self.watches.values()):
                return True
            if self.patience_seconds is not None and self.clock.monotonic() - started >= self.patience_seconds:
                return False
            self.clock.wait(never, POLL_SECONDS)

    def _look(self, shown: Shown) -> None:
        for name, watch in self.watches.items():
            if watch.outcome:
                continue
            seen = watch.see(self.read(name))
            if seen != watch.shown:
                watch.shown = seen
                shown.at(name, *seen)
