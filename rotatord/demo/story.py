"""How the demo tells what happens: one sentence per event of the event log, a bar on a terminal, a table at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.box import ASCII, ROUNDED
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from rotatord.model import Event

# (action, outcome) -> what it means to somebody who sees it for the first time. {v} is the version's label.
SENTENCES: dict[tuple[str, str], str] = {
    ("mint", "intended"): "about to ask the issuer for a new version; the intent is in the journal before the call",
    ("mint", "done"): "the issuer made version {v}; it lies in the pending slot, where no consumer looks",
    ("prove", "done"): "tried version {v} at the issuer: it works, and may do exactly what was asked for",
    ("write", "done"): "wrote version {v} to the consumer's file in one step, and read it back",
    ("publish", "done"): "version {v} is at every destination; the other version still works, so nobody is hurt",
    ("reload", "done"): "told the consumer to read its file anew",
    ("verify", "done"): "the consumer proves that it runs on version {v}, and is healthy",
    ("verify", "failed"): "the consumer does not run on version {v}: {why}",
    ("suspend", "done"): "switched version {v} off, reversibly: had anybody still used it, it would be switched on again",
    ("resume", "done"): "switched version {v} on again",
    ("authorise", "done"): "looked at everything once more: nothing uses version {v} now, so it may die",
    ("rotation", "completed"): "the rotation is complete: version {v} is the one",
    ("rotation", "rolled_back"): "rolled back: everything is as it was before",
    ("rotation", "halted"): "halted for a person: {why}",
    ("revoke", "done"): "revoked version {v}",
    ("prove_dead", "done"): "the issuer refuses version {v} now: proven dead",
    ("ledger", "settled"): "nothing is owed any more",
}


def sentence(event: Event) -> str:
    """What an event means; "" for one that needs no telling."""
    pattern = SENTENCES.get((event.action, event.outcome), "")
    why = str(event.evidence.get("why", "")) or "it said so"
    return pattern.format(v=event.version or "?", why=why)


@dataclass(frozen=True, slots=True)
class Told:
    """One rotation, as the table at the end shows it."""

    title: str
    ending: str
    old: str
    new: str
    seconds: float
    requests: int
    refused: int


class Teller:
    """Writes lines, each with the time since the beginning. Thread-safe. Plain text where there is no terminal."""

    def __init__(self, seconds: Callable[[], float], console: Console | None = None) -> None:
        self._seconds = seconds
        self._console = console if console is not None else Console(highlight=False)
        self._lock = threading.Lock()
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[traffic]}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._bar: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def chapter(self, title: str, steps: int) -> None:
        """A new part of the story, with a bar of so many steps."""
        with self._lock:
            if self._bar is not None:
                self._progress.remove_task(self._bar)
            self._bar = self._progress.add_task(title, total=steps, traffic="")
            self._console.print()
            self._print(Text(title, style="bold"))

    def event(self, event: Event) -> None:
        """One line of the event log, if it needs telling."""
        told = sentence(event)
        if not told:
            return
        good = event.outcome not in ("failed", "rolled_back", "halted")
        with self._lock:
            if self._bar is not None:
                self._progress.advance(self._bar)
            self._line("rotatord", told, "green" if good else "yellow")

    def say(self, who: str, text: str, style: str = "") -> None:
        with self._lock:
            self._line(who, text, style)

    def traffic(self, requests: int, refused: int) -> None:
        """Shown beside the bar."""
        if self._bar is not None:
            self._progress.update(self._bar, traffic=f"{requests} requests, {refused} refused")

    def table(self, rows: Sequence[Told]) -> None:
        """Everything once more."""
        box = ROUNDED if self._console.is_terminal else ASCII
        table = Table("rotation", "ending", "from", "to", "seconds", "requests meanwhile", "refused", box=box)
        for row in rows:
            counted = (f"{row.seconds:.1f}", str(row.requests), str(row.refused))
            table.add_row(row.title, row.ending, row.old or "-", row.new, *counted)
        self._console.print()
        self._console.print(table, soft_wrap=not self._console.is_terminal)

    def last(self, line: str, *, good: bool) -> None:
        self._console.print()
        self._print(Text(line, style="bold green" if good else "bold red"))

    def _line(self, who: str, text: str, style: str) -> None:
        self._print(Text.assemble((f"{self._seconds():6.1f} s  ", "dim"), (f"{who:<9} ", "cyan"), (text, style)))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)
