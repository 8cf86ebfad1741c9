"""How the demo tells what happens: one sentence per event of the event log, a bar on a terminal, a table at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
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
    ("mint", "intended"): "about to ask the issuer for a new version; the journal knows of it before the issuer does",
    ("mint", "done"): "the issuer made version {v}; it lies in the pending slot, where no consumer looks",
    ("prove", "done"): "tried version {v} at the issuer: it works, and may do exactly what was asked for",
    ("write", "done"): "wrote version {v} to the consumer's file in one step, and read it back",
    ("publish", "done"): "version {v} is everywhere it must be; the old one still works, so nobody is hurt",
    ("reload", "intended"): "tells the consumer to read its file anew; whether it did is another question",
    ("verify", "done"): "the consumer proves that it holds version {v}, and stayed healthy: now the overlap begins",
    ("verify", "failed"): "no way forward with version {v}: {why}",
    ("suspend", "done"): "switched version {v} off, reversibly: if anything misses it, it is switched on again",
    ("resume", "done"): "switched version {v} on again",
    ("authorise", "done"): "read everything once more: nothing uses version {v}, so it may die; only now there is no way back",
    ("rotation.completed", "done"): "the rotation is complete: version {v} is the one",
    ("rotation.rolled_back", "done"): "rolled back: all is as it was before, and version {v} must die",
    ("rotation.halted", "done"): "halted for a person: {why}",
    ("revoke", "done"): "revoked version {v}",
    ("prove_dead", "done"): "the issuer refuses version {v} now: proven dead",
    ("ledger", "settled"): "nothing is owed any more",
}
# The same on the way back, where the version is the one that was there before.
BACK: dict[tuple[str, str], str] = {
    ("prove", "done"): "tried version {v}, the one before: it still works, so there is a way back",
    ("write", "done"): "wrote version {v} back to the consumer's file, and read it back",
    ("publish", "done"): "version {v} is back everywhere",
    ("verify", "done"): "the consumer proves that it holds version {v}, and stayed healthy",
}
# And for the very first version, which replaces none.
FIRST: dict[tuple[str, str], str] = {
    ("publish", "done"): "version {v} is everywhere it must be",
    ("verify", "done"): "the consumer proves that it holds version {v}, and stayed healthy",
    ("authorise", "done"): "",
}
BAD = frozenset({("verify", "failed"), ("rotation.rolled_back", "done"), ("rotation.halted", "done")})


class Story:
    """Remembers just enough of what was told to choose the next words."""

    def __init__(self) -> None:
        self._first = True
        self._back = False

    def sentence(self, event: Event) -> str:
        """What an event means; "" for one that needs no telling."""
        known = (event.action, event.outcome)
        if known == ("rotation.planned", "done"):
            self._first, self._back = not event.version, False
        elif event.outcome == "failed":
            self._back = True
        special = BACK if self._back else FIRST if self._first else {}
        why = str(event.evidence.get("why", ""))
        return special.get(known, SENTENCES.get(known, "")).format(v=event.version, why=why)


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

    def __init__(self, now: Callable[[], datetime], console: Console | None = None) -> None:
        self._now = now
        self._began = now()
        self._story = Story()
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
        told = self._story.sentence(event)
        if told:
            bad = (event.action, event.outcome) in BAD
            self.say("rotatord", told, "yellow" if bad else "green", event.time)
            if self._bar is not None:
                self._progress.advance(self._bar)

    def say(self, who: str, text: str, style: str = "", at: datetime | None = None) -> None:
        """A line of somebody else's. ``at``: when it happened, if not now."""
        seconds = ((at or self._now()) - self._began).total_seconds()
        with self._lock:
            self._print(Text.assemble((f"{seconds:6.1f} s  ", "dim"), (f"{who:<9} ", "cyan"), (text, style)))

    def traffic(self, requests: int, refused: int) -> None:
        """Shown beside the bar."""
        if self._bar is not None:
            self._progress.update(self._bar, traffic=f"{requests} requests, {refused} refused")

    def table(self, rows: Sequence[Told]) -> None:
        """Everything once more."""
        box = ROUNDED if self._console.is_terminal else ASCII
        table = Table(box=box, pad_edge=False)
        for heading in ("rotation", "ending", "from", "to", "took", "requests", "refused"):
            table.add_column(heading, no_wrap=True)
        for row in rows:
            counted = (f"{row.seconds:.1f} s", str(row.requests), str(row.refused))
            table.add_row(row.title, row.ending, row.old or "-", row.new, *counted)
        self._console.print()
        self._console.print(table)

    def last(self, line: str, *, good: bool) -> None:
        self._console.print()
        self._print(Text(line, style="bold green" if good else "bold red"))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)
