"""Journals that are not in force: the one that was moved away, and the one that a move has not finished.

The mark stands where the version of the schema stands, so that every version of rotatord refuses such a journal.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from rotatord.errors import JournalUnavailable

AWAY = "moved"
ARRIVING = "arriving"
FACT = "move"  # in both journals: which move it was
MOVE = f"SELECT value FROM facts WHERE key = '{FACT}'"  # noqa: S608 - nobody's text but ours
NO_NUMBER = -1  # the number of the last event in a journal that nobody may write to: lower than any that a daemon has seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One journal's way from one place to another."""

    id: str
    origin: str
    to: str
    at: str
    event_seq: int  # the last event's number
    schema: str  # of the version that moved it

    def text(self) -> str:
        return json.dumps(asdict(self))


def read_move(text: str | None) -> Move | None:
    """None where there is none, or none that can be read."""
    try:
        return Move(**json.loads(text or ""))
    except (ValueError, TypeError):
        return None


class NotInForce(JournalUnavailable):
    """A move has put this journal out of force, or not in force yet."""

    def __init__(self, message: str, revision: str, move: Move | None) -> None:
        super().__init__(message)
        self.revision = revision
        self.move = move


def refuse(place: str, revision: str | None, told: str | None) -> None:
    """Raises NotInForce."""
    move = read_move(told)
    if revision == AWAY:
        where = f" to {move.to} at {move.at}" if move else ""
        raise NotInForce(
            f"the journal {place} was moved{where} and is in force there: nothing is done with this one. "
            "Name that one in the configuration (`database`), or move it back with `rotatord move-journal`",
            revision,
            move,
        )
    if revision == ARRIVING:
        where = f" from {move.origin}" if move else ""
        raise NotInForce(
            f"the journal {place} is not in force: a move{where} to it has begun and not ended. "
            "Run `rotatord move-journal` again as before, or go on with the journal that it comes from",
            revision,
            move,
        )
