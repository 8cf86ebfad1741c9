"""The pause of an installation: one fact of the journal, which ends by itself. Nothing has to run for it to be over."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from rotatord.model import Pause

PAUSED = "paused"  # the fact; it stays when the pause is over, until somebody ends it or pauses anew
USUAL = timedelta(hours=24)  # where nobody says how long
LONGEST = timedelta(days=31)


def text_of(pause: Pause) -> str:
    """As it is stored."""
    assert pause.until is not None, "a pause ends"
    assert pause.at is not None
    known = {"owner": pause.owner, "reason": pause.reason, "actor": pause.actor}
    return json.dumps(known | {"until": pause.until.isoformat(), "at": pause.at.isoformat()})


def pause_of(text: str | None) -> Pause | None:
    """What is stored, over or not. Words instead of JSON are of an earlier version, which knew no end."""
    if not text:
        return None
    if not text.startswith("{"):
        return Pause(owner="", until=None, reason=text)
    known = json.loads(text)
    until, at = (datetime.fromisoformat(known[key]).astimezone(UTC) for key in ("until", "at"))
    return Pause(owner=known["owner"], until=until, reason=known["reason"], actor=known["actor"], at=at)


def in_force(text: str | None, now: datetime) -> Pause | None:
    """The pause, while it lasts."""
    pause = pause_of(text)
    return None if pause is None or (pause.until is not None and pause.until <= now) else pause


class Facts(Protocol):
    """As much of the journal as is needed here."""

    def fact(self, key: str) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pause in force, read anew whenever it is asked."""

    read: Callable[[], str | None]
    now: Callable[[], datetime]

    def __call__(self) -> Pause | None:
        return in_force(self.read(), self.now())

    def given(self) -> dict[str, str | None]:
        """What a commit is conditional on that nobody may have paused before: read it first, then ask whether it is paused."""
        return {PAUSED: self.read()}


def live(facts: Facts, now: Callable[[], datetime]) -> Pauses:
    """Those of a journal."""
    return Pauses(lambda: facts.fact(PAUSED), now)
