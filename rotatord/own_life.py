"""How long our own credentials at issuers and backends still work, whoever replaces them: looked at, told of, and shown.

Without one of them nothing that depends on it can be rotated or revoked; a parent that ends takes with it whatever could
have renewed its children. What cannot be seen is said to be unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from rotatord import apply
from rotatord.clock import Clock, Ids
from rotatord.durations import spell
from rotatord.errors import JournalDamaged, OutsideError
from rotatord.live import LivePlugins
from rotatord.model import JsonMap, Notice, Record, Spec
from rotatord.own import BACKENDS, ISSUERS, NAMES, plugin_of, spelled
from rotatord.ports import Journal, Life, TellsOwnLife

SEEN = "own_life"  # fact: what was seen last, as it is shown
TOLD = "own_life_told"  # fact: of which credential and which end was told at which share of its life
SHARES = (0.5, 0.25, 0.1, 0.0)  # of a life that are left when people are told
REPLACED_SHARES = (0.25, 0.1, 0.0)  # where somebody was to prolong or replace it before
MOST_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """One credential of ours at one issuer or backend."""

    of: str  # "issuers.tokens"
    life: Life
    name: str  # of what the reference leads to; else of the place itself
    environment: str = ""
    replaced_by: str = ""  # the credential of this configuration that replaces it
    failed: bool = False  # it could not be looked at now
    ended: bool = False

    def left(self, now: datetime, since: datetime) -> float | None:
        """The share of its life that is left; None where there is no end to be seen. ``since``: when it was seen first."""
        if self.life.ends_at is None:
            return None
        lasts = self.life.lasts or self.life.ends_at - since
        return max(0.0, (self.life.ends_at - now) / lasts) if lasts > timedelta(0) else 0.0

    @property
    def words(self) -> str:
        """All that is known of it, as a sentence."""
        life = self.life
        if life.unknown:
            known = f"how long it lasts is unknown: {life.unknown}"
        elif life.ends_at is None:
            known = "it has no end of its own"
        else:
            known = f"it ends at {life.ends_at.astimezone(UTC):%Y-%m-%d %H:%MZ}" + (
                " unless it is prolonged" if life.renewed else ""
            )
        told = [known, life.danger]
        if self.environment:
            told.append(
                f"it comes from the variable {self.environment}, which nobody can replace while we run: give it in a file"
            )
        elif self.replaced_by:
            told.append(f"{self.replaced_by} replaces it")
        return "; ".join(filter(None, told))


@dataclass(slots=True)
class OwnLives:
    """Looks, notes and tells. By one daemon at a time."""

    journal: Journal
    clock: Clock
    ids: Ids
    plugins: LivePlugins

    def found(self) -> list[Own]:
        """Every credential of ours as it can be seen now; asks the other sides."""
        names = json.loads(self.journal.fact(NAMES) or "[]")
        records = [record for name in names if (record := self._record(name)) is not None]
        replaced = {owner: record.name for record in records for owner in record.spec.own_of}
        return [own for owner in self.plugins.registry.owners for own in self._of(owner, replaced.get(owner, ""))]

    def _record(self, name: str) -> Record | None:
        """None too where it is damaged, which the watchdog tells of: how long the others last is to be seen all the same."""
        try:
            return self.journal.get(name)
        except JournalDamaged:
            return None

    def look(self) -> None:
        """One look at all: what was seen is noted, and people are told of what nears its end."""
        found = self.found()
        now, told = self.clock.now(), json.loads(self.journal.fact(TOLD) or "{}")
        kept: dict[str, JsonMap] = {}
        notices: list[Notice] = []
        for own in found:
            if own.failed and own.name in told:
                kept[own.name] = told[own.name]  # nobody could look: nothing is news
            if own.life.ends_at is None:
                continue
            before = told.get(own.name, {})
            ends = own.life.ends_at.isoformat()
            if abs(datetime.fromisoformat(before.get("ends", ends)) - own.life.ends_at) > timedelta(minutes=1):
                before = {}  # another one, or prolonged
            since = datetime.fromisoformat(before.get("since", now.isoformat()))
            reached = _reached(own, now, since)
            if reached < before.get("told", 1.0) and own.name not in kept:
                notices.append(self._notice(own, reached, found))
            kept.setdefault(own.name, {"ends": ends, "since": since.isoformat(), "told": min(reached, before.get("told", 1.0))})
        if notices:
            self.journal.record_events((), notices)
        self._note(TOLD, kept)
        self._note(SEEN, [shown(own) for own in found])

    def _note(self, key: str, value: object) -> None:
        """Nothing is written where nothing changed."""
        text = json.dumps(value, sort_keys=True)
        if self.journal.fact(key) != text:
            self.journal.set_fact(key, text)

    def _of(self, owner: str, replaced_by: str) -> Iterator[Own]:
        plugin, references = (
            plugin_of(self.plugins.registry, owner),
            {each.place: each for each in self.plugins.registry.ownership.of(owner)},
        )
        lives: Sequence[Life] = [Life(place=place, unknown="its plugin does not say") for place in references]
        failed = False
        if isinstance(plugin, TellsOwnLife):
            try:
                lives = plugin.own_life()
            except OutsideError as error:
                lives, failed = [replace(life, unknown=str(error)) for life in lives], True
        for life in lives:
            reference = references.get(life.place)
            yield Own(
                of=owner,
                life=life,
                name=reference.name if reference else f"{owner} {life.place}",
                environment=reference.environment if reference else "",
                replaced_by=replaced_by,
                failed=failed,
                ended=life.ends_at is not None and life.ends_at <= self.clock.now(),
            )

    def _notice(self, own: Own, reached: float, found: Sequence[Own]) -> Notice:
        owners = sorted({each.of for each in found if each.name == own.name})
        names = self._dependents(owners)
        many = f"{len(names)} credentials depend on it: {', '.join(names[:MOST_NAMED])}" + (
            " …" if len(names) > MOST_NAMED else ""
        )
        left = f"less than {reached:.0%} of its life is left" if reached else "it has ended"
        where = " and ".join(spelled(owner) for owner in owners)
        text = f"our own credential at {where} ({own.life.place}): {left}; {own.words}. {many}"
        facts: JsonMap = {
            "own_of": owners,
            "place": own.life.place,
            "left": reached,
            "dependents": names[:MOST_NAMED],
            "count": len(names),
        }
        return Notice(
            id=self.ids.new("ntc"), kind="expiring", credential=own.replaced_by, text=text, at=self.clock.now(), facts=facts
        )

    def _dependents(self, owners: Sequence[str]) -> list[str]:
        """The credentials that could not be rotated without it."""
        names = []
        for record in apply.declared(self.journal, damaged={}):
            spec = record.spec
            if used_by(spec) & set(owners):
                names.append(record.name)
        return names


def used_by(spec: Spec) -> set[str]:
    """The issuer and the backends without which a credential cannot be rotated."""
    return {f"{ISSUERS}.{spec.issuer}", *(f"{BACKENDS}.{place.backend}" for place in spec.destinations)}


def shown(own: Own) -> JsonMap:
    """As ``status`` has it."""
    life = own.life
    return {
        "of": own.of,
        "place": life.place,
        "ends_at": life.ends_at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if life.ends_at else None,
        "lasts": spell(life.lasts) if life.lasts else None,
        "unknown": life.unknown,
        "replaced_by": own.replaced_by,
        "detail": own.words,
    }


def _reached(own: Own, now: datetime, since: datetime) -> float:
    """The least share of which people are to be told by now; 1.0 while there is none."""
    left = own.left(now, since)
    shares = REPLACED_SHARES if own.life.renewed or own.replaced_by else SHARES
    return min((share for share in shares if left is not None and left <= share), default=1.0)
