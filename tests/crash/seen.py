"""What the observer gathers from one server's own records, in the same form for all of them. Imports nothing of rotatord."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Watched:
    """One credential as the observer knows it: not how it is rotated, but where it lives."""

    name: str
    issuer: str
    home: str  # kind and place of the home, such as "kv crash/app"
    places: tuple[str, ...]  # every destination in the same form, the home first


@dataclass
class Seen:
    """Records of one server, read on and on. Names are those of credentials."""

    uses: Counter[str] = field(default_factory=Counter)
    unavailable: Counter[str] = field(default_factory=Counter)
    refused: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    mints: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # what tells one from another
    labelled: dict[str, list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )  # by what they were labelled, where they are
    ended: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    writes: Counter[tuple[str, str]] = field(default_factory=Counter)  # by credential and place
    published: list[float] = field(default_factory=list)  # when a home got another value: seconds of the epoch
    foreign: list[str] = field(default_factory=list)  # what was done to things of others

    def read(self) -> None:
        """Read on. Raises OSError while the server cannot be asked."""

    def settled(self, each: Watched) -> list[str]:
        """What is wrong with a credential over which nothing is open."""
        return []

    def bystanders(self) -> list[str]:
        """What has become of things that are nobody of ours."""
        return []


@dataclass
class Tail:
    """Whole lines that came to a file since the last look."""

    file: Path
    _offset: int = 0

    def lines(self) -> list[bytes]:
        if not self.file.exists():
            return []
        with self.file.open("rb") as handle:
            handle.seek(self._offset)
            whole, _, _ = handle.read().rpartition(b"\n")  # the last line may still be being written
        if not whole:
            return []
        self._offset += len(whole) + 1
        return whole.split(b"\n")


def seconds(moment: str) -> float:
    """ISO 8601 with any number of decimals, as seconds of the epoch."""
    head, dot, rest = moment.partition(".")
    digits = rest.rstrip("Z").partition("+")[0]
    return datetime.fromisoformat(head.rstrip("Z") + ("" if head.endswith("+00:00") else "+00:00")).timestamp() + (
        float(f"0.{digits}") if dot and digits.isdigit() else 0.0
    )


def short(values: list[str], most: int = 5) -> str:
    """Some of them, for a sentence."""
    return ", ".join(values[:most]) + (f" and {len(values) - most} more" if len(values) > most else "")
