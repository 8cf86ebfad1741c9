"""Traces of the simulation against the model: every commit of the engine must be one that the model makes too."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rotatord.testing.shared_journal import SharedJournal, Stored
from tests.model.journal import beyond, of_record, transition
from tests.simulation.seeds import play

TABLE = Path(__file__).with_name("transitions.txt")


def known() -> frozenset[str]:
    """The model's own transitions, as its exhaustive search printed them."""
    return frozenset(line for line in TABLE.read_text().splitlines() if not line.startswith("#"))


@dataclass(slots=True)
class Compared:
    """What some seeds came to."""

    seeds: int = 0
    commits: int = 0
    silent: int = 0  # that changed nothing which the model knows
    beyond: int = 0  # of credentials with a leak, which the model leaves out
    reached: Counter[str] = field(default_factory=Counter)
    strange: dict[str, int] = field(default_factory=dict)  # transitions that the model does not have, and a seed with each

    def add(self, other: Compared) -> None:
        for name in ("seeds", "commits", "silent", "beyond"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reached.update(other.reached)
        self.strange = other.strange | self.strange


def watched(
    seed: int, into: Compared, table: frozenset[str], inner: type[SharedJournal] = SharedJournal
) -> type[SharedJournal]:
    """A journal that compares each commit before it tells anybody of it."""

    class Watched(inner):  # type: ignore[misc, valid-type]
        @property
        def stored(self) -> Stored:
            return self._compared

        @stored.setter
        def stored(self, tell: Stored) -> None:
            self._tell = tell

        def _compared(self, lease: Any, before: Any, after: Any, events: Any) -> None:
            if before is not None:
                note(into, table, seed, before, after)
            self._tell(lease, before, after, events)

    return Watched


def note(into: Compared, table: frozenset[str], seed: int, before: Any, after: Any) -> None:
    """Compare one commit."""
    into.commits += 1
    if beyond(before) or beyond(after):
        into.beyond += 1
        return
    line = transition(of_record(before), of_record(after))
    if not line:
        into.silent += 1
        return
    into.reached[line] += 1
    if line not in table:
        into.strange.setdefault(line, seed)


def compare(first: int, count: int, table: frozenset[str] | None = None, **broken: Any) -> Compared:
    """Play seeds and compare their commits. ``broken``: as of :func:`tests.simulation.seeds.play`."""
    found = Compared()
    table = known() if table is None else table
    inner = broken.pop("journal", SharedJournal)
    for seed in range(first, first + count):
        play(seed, journal=watched(seed, found, table, inner), **broken)
        found.seeds += 1
    return found
