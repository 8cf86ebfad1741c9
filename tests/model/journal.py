"""What a journal says of one credential, reduced to what the model has too, and what a commit makes of it, as one line.

The engine's records and the model's prints come to the same lines, so that one can be looked up in the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rotatord.model import Outcome, Reason, Record, Rotation

MODEL = Path(__file__).with_name("rotation.pml")
STAGES = ("owed", "revoking", "revoked", "dead")
SUSPENSIONS = ("", "suspending", "suspended", "resuming")
WAYS = {"F": "forward", "B": "back", "R": "repair"}
PLACE = re.compile(r"^#define ([A-Z]+)_([FBR]) (\d+)$", re.MULTILINE)
PLACES = {int(number): f"{state.lower()}/{WAYS[way]}" for state, way, number in PLACE.findall(MODEL.read_text())}


@dataclass(frozen=True, slots=True)
class Journal:
    """One credential's record. Versions have names that mean nothing but themselves."""

    place: str = ""  # state/way; "": no rotation is open
    facts: frozenset[str] = frozenset()
    current: str = ""
    new: str = ""
    owing: Mapping[str, str] = field(default_factory=dict)  # the stage of each version in the ledger
    searches: frozenset[str] = frozenset()  # rotations for which the ledger searches for what an unanswered mint made
    rotation: str = ""

    @property
    def way(self) -> str:
        return self.place.partition("/")[2] or "none"

    def stands(self) -> str:
        """Where the rotation stands, in words."""
        known = {"base" if self.place else "current"} if self.current else set()
        return " ".join([self.place or "quiet", *sorted(self.facts | known | ({"new"} if self.new else set()))])


def of_record(record: Record) -> Journal:
    """The engine's."""
    rotation = record.rotation
    return Journal(
        place=f"{rotation.state.value}/{rotation.way.value}" if rotation else "",
        facts=frozenset(_facts(rotation)) if rotation else frozenset(),
        current=record.current.ref if record.current else "",
        new=rotation.new.ref if rotation and rotation.new else "",
        owing={owed.version.ref: owed.owing.value for debt in record.ledger for owed in debt.owed},
        searches=frozenset(debt.rotation for debt in record.ledger if debt.sweep_until is not None),
        rotation=rotation.id if rotation else "",
    )


def _facts(rotation: Rotation) -> Iterator[str]:
    wave = rotation.plan.waves[rotation.wave]
    places = {destination.id for destination in rotation.plan.destinations if destination.wave == wave}
    answers = [intent.outcome for intent in rotation.intents]
    told = {
        "halted": rotation.halt is not None,
        "intended": Outcome.OPEN in answers,
        "lost": Outcome.ABANDONED in answers or any(intent.repeated for intent in rotation.intents),
        "touched": rotation.touched,
        "wrote": places <= {fact.destination for fact in rotation.written if fact.leg == rotation.leg},
    }
    yield from (word for word, holds in told.items() if holds)
    suspension = rotation.suspension
    if suspension is not None:
        yield "resuming" if suspension.resuming_at else "suspended" if suspension.done_at else "suspending"


def beyond(record: Record) -> bool:
    """Whether the record tells of something that the model leaves out: versions that leaked, and what is done about them."""
    rotation = record.rotation
    return bool(record.leaks) or (rotation is not None and rotation.reason is Reason.COMPROMISED)


def of_line(line: str) -> Journal:
    """The model's, as it prints it around each commit."""
    numbers = list(map(int, line.split()))
    phase, halted, intended, lost, touched, wrote, suspension, current, new, *stages, sweep = numbers
    flags = {"halted": halted, "intended": intended, "lost": lost, "touched": touched, "wrote": wrote}
    facts = {word for word, holds in flags.items() if holds} | ({SUSPENSIONS[suspension]} if suspension else set())
    owing = {str(bit): stage for stage, bits in zip(STAGES, stages, strict=True) for bit in _bits(bits)}
    return Journal(
        place=PLACES.get(phase, ""),
        facts=frozenset(facts),
        current=str(current or ""),
        new=str(new or ""),
        owing=owing,
        searches=frozenset({"some"} if sweep else ()),
        rotation="some",
    )


def _bits(number: int) -> Iterator[int]:
    while number:
        lowest = number & -number
        yield lowest
        number -= lowest


def transition(before: Journal, after: Journal) -> str:
    """What a commit did, as one line; "" where it did nothing that the model knows. A commit that leaves the rotation where it
    is tells of it only which way it goes: work on the ledger is the same beside every step of it."""
    changes = " ".join(sorted(set(_changes(before, after))))
    if before.stands() == after.stands() and before.current == after.current:
        return f"{before.way}: {changes}" if changes else ""
    if (before.rotation or after.rotation) in after.searches:
        changes = f"{changes} searching".strip()
    return f"{before.stands()} -> {after.stands()}" + (f": {changes}" if changes else "")


def _changes(before: Journal, after: Journal) -> Iterator[str]:
    if before.current != after.current:
        yield "new=current" if after.current == before.new else "other=current"
    for version in before.owing.keys() | after.owing.keys():
        was, now = before.owing.get(version, "free"), after.owing.get(version, "free")
        if was != now:
            yield f"{_role(before, version)}:{was}>{now}"
    if before.searches - after.searches:
        yield "search ends"


def _role(journal: Journal, version: str) -> str:
    return {journal.current: "current", journal.new: "new"}.get(version, "other")
