"""The independent observer: what happened, told by the servers alone. It imports nothing of rotatord (a test holds it to
that) and knows nothing of how it rotates, but for the promises that it makes:

* nobody who uses what is published is refused; that a server was away is not that
* over what is quiet one version lives, it is the published one everywhere, and slots are empty
* nothing is done twice: each mint, write and death has one intent in rotatord's own log, and no label is given twice
* nothing of others is touched
* in a calm phase everything is settled, or halted for a person

Cheap checks read on in the servers' records; full ones also look at how everything stands.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import urllib3

from tests.crash.seen import Seen, Watched, short

# A session cannot be ended: it is owed until its end, and nothing else is open.
SETTLED = {"aws_sts": {"quiet", "revoking"}}


@dataclass
class Told:
    """What a user is told of one credential, by ``rotatord status`` and ``rotatord log``."""

    state: str = ""
    halt: str = ""
    minted: set[int] = field(default_factory=set)  # generations that a mint was intended for
    publishes: set[tuple[str, str]] = field(default_factory=set)  # rotation and version, as often as the way changed
    deaths: set[str] = field(default_factory=set)  # versions whose death was intended
    completed: int = 0
    turned_back: int = 0


@dataclass
class Observer:
    """See the module. ``violations`` only grows."""

    watched: Sequence[Watched]
    eyes: Sequence[Seen]
    violations: list[str] = field(default_factory=list)
    halts: list[str] = field(default_factory=list)  # each a rotation that waits for a person: allowed, and told
    counts: Counter[str] = field(default_factory=Counter)
    _said: set[str] = field(default_factory=set)

    # --- cheap ---

    def look(self) -> list[str]:
        """Read on everywhere; what is wrong and was not said before."""
        before = len(self.violations)
        for eye in self.eyes:
            try:
                eye.read()
            except (OSError, urllib3.exceptions.HTTPError):
                self.counts["unreadable"] += 1  # it is being restarted: the next look reads it
                continue
            for name, refusals in eye.refused.items():
                self._wrong("refused", [f"{name}: {each}" for each in refusals])
            self._wrong("foreign", eye.foreign)
            for name, labels in eye.labelled.items():
                doubled = [label for label, times in Counter(labels).items() if times > 1]
                self._wrong("doubles", [f"{name}: minted twice for {label}" for label in doubled])
            for name, ended in eye.ended.items():
                twice = [ref for ref, times in Counter(ended).items() if times > 1]
                self._wrong("doubles", [f"{name}: {ref} was ended twice" for ref in twice])
        return self.violations[before:]

    # --- full ---

    def settled(self, told: Mapping[str, Told], excused: Collection[str] = ()) -> list[str]:
        """In a calm phase: everything that should be true then and is not. ``excused`` are those that wait for a moment that
        they tell, longer than the phase lasts."""
        before = len(self.violations)
        self.look()
        for each in self.watched:
            if each.name in excused:
                self.counts["excused"] += 1
                continue
            said = told.get(each.name, Told())
            if said.state == "halted":
                self.halts.append(f"{each.name}: {said.halt}")
                continue
            if said.state not in SETTLED.get(each.issuer, {"quiet"}):
                self._wrong("unsettled", [f"{each.name}: is {said.state or 'unknown'} in a calm phase"])
                continue
            self._one_lives(each)
            self._once(each, said)
        for eye in self.eyes:
            self._wrong("foreign", eye.bystanders())
        return self.violations[before:]

    def _one_lives(self, each: Watched) -> None:
        for eye in self.eyes:
            self._wrong("orphans", eye.settled(each))

    def _once(self, each: Watched, said: Told) -> None:
        """No effect without an intent of its own."""
        wrong = []
        mints = sum(len(eye.mints.get(each.name, [])) for eye in self.eyes)
        if mints > len(said.minted):
            wrong.append(f"{each.name}: {mints} mints, and the log intended {len(said.minted)}")
        ends = sum(len(eye.ended.get(each.name, [])) for eye in self.eyes)
        if ends > len(said.deaths):
            wrong.append(f"{each.name}: {ends} ended, and the log intended {len(said.deaths)}")
        for place in each.places:
            writes = sum(eye.writes[each.name, place] for eye in self.eyes)
            if writes > len(said.publishes):
                wrong.append(f"{each.name}: {writes} writes of {place}, and the log intended {len(said.publishes)}")
        self._wrong("doubles", wrong)

    def _wrong(self, kind: str, found: Sequence[str]) -> None:
        for what in found:
            if what not in self._said:
                self._said.add(what)
                self.counts[kind] += 1
                now = datetime.now(UTC).isoformat(timespec="milliseconds")
                self.violations.append(f"{now} {kind}: {what}")

    # --- for the report ---

    @property
    def requests(self) -> int:
        """Uses by applications, as the servers recorded them."""
        return sum(sum(eye.uses.values()) for eye in self.eyes)

    @property
    def unused(self) -> list[str]:
        """Credentials that nobody used: over these the observer proved nothing."""
        return [each.name for each in self.watched if not sum(eye.uses[each.name] for eye in self.eyes)]

    @property
    def published(self) -> list[float]:
        """When homes got new values, in order: seconds of the epoch."""
        return sorted(when for eye in self.eyes for when in eye.published)

    def pace(self, since: float, until: float | None = None) -> float:
        """Publications a minute between two moments."""
        end = time.time() if until is None else until
        return 60.0 * sum(since <= when < end for when in self.published) / max(end - since, 1e-9)

    def summary(self) -> str:
        """In one line."""
        kinds = ("refused", "orphans", "doubles", "foreign", "unsettled")
        told = ", ".join(f"{self.counts[kind]} {kind}" for kind in kinds) + f", {len(self.halts)} halted"
        return told + (f"; first: {short(self.violations, 3)}" if self.violations else "")
