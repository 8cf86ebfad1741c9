"""Bring the journal in line with a configuration: what is new, changed, renamed or gone. Nothing outside is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from rotatord.clock import Ids
from rotatord.errors import Problem
from rotatord.model import Asked, Event, JsonMap, Record, Spec, Standing, digest_of
from rotatord.ports import Amendment, Journal
from rotatord.work import next_due

CHUNK = 500
BRAKE_SHARE = 0.10  # a change that makes more of an issuer's credentials due than this is held for a person
BRAKE_LEAST = 5


def apply(journal: Journal, specs: Mapping[str, Spec], renames: Mapping[str, str], now: datetime, ids: Ids) -> dict[str, int]:
    """Store every specification that differs from the journal's; how many were added, changed, renamed and forgotten.

    A rotation in flight goes on with the specification it was planned with. Idempotent.
    """
    known = {record.name: record for record in _all(journal)}
    counts: Counter[str] = Counter()
    for new, old in renames.items():
        if new not in known and old in known and new in specs and _rename(journal, known[old], specs[new], now, ids):
            record = journal.get(new)
            assert record is not None
            known[new] = record
            counts["renamed"] += 1
    fresh = [spec for name, spec in specs.items() if name not in known]
    for start in range(0, len(fresh), CHUNK):
        chunk = fresh[start : start + CHUNK]
        journal.put([Amendment(record=Record(name=spec.name, spec=spec, due_at=now)) for spec in chunk])
    counts["added"] = len(fresh)
    changed = [name for name, spec in specs.items() if name in known and _differs(known[name], spec)]
    braked = _braked(known, specs, changed)
    for name in changed:
        held = braked.get(specs[name].issuer, "") if _makes_due(known[name], specs[name]) else ""
        journal.amend(name, lambda record, spec=specs[name], held=held: _changed(record, spec, held, now, ids))  # type: ignore[misc]
    counts["changed"] = len(changed)
    gone = [r for name, r in known.items() if name not in specs and r.standing not in {Standing.FORGOTTEN, Standing.RETIRED}]
    for record in gone:
        journal.amend(record.name, lambda record: _forgotten(record, now, ids))
    counts["forgotten"] = len(gone)
    return dict(counts)


def _all(journal: Journal) -> Iterator[Record]:
    after = ""
    while page := journal.records(after=after):
        yield from page
        after = page[-1].name


def _differs(record: Record, spec: Spec) -> bool:
    return record.spec != spec or record.standing is Standing.FORGOTTEN


def _makes_due(record: Record, spec: Spec) -> bool:
    current = record.current
    if current is None:
        return False
    asked: tuple[str, JsonMap] = (spec.issuer, spec.scope)
    return digest_of(asked) != digest_of((current.issuer, current.scope))


def _braked(known: Mapping[str, Record], specs: Mapping[str, Spec], changed: Iterable[str]) -> dict[str, str]:
    """Issuers at which this change would rotate too many at once, with the words for it."""
    due = Counter(specs[name].issuer for name in changed if _makes_due(known[name], specs[name]))
    total = Counter(spec.issuer for spec in specs.values())
    return {
        issuer: f"one change of the configuration makes {count} of {total[issuer]} credentials of {issuer} due at once: "
        f"`resume` each, or `rotate --issuer {issuer}`"
        for issuer, count in due.items()
        if count > BRAKE_LEAST and count > BRAKE_SHARE * total[issuer]
    }


def _event(record: Record, outcome: str, now: datetime, ids: Ids, **facts: str) -> Event:
    return Event(
        id=ids.new("evt"),
        time=now,
        actor="configuration",
        action="configure",
        credential=record.name,
        outcome=outcome,
        evidence={"source": record.spec.source, **facts},
    )


def _changed(record: Record, spec: Spec, held: str, now: datetime, ids: Ids) -> Amendment:
    standing = record.standing
    if standing is Standing.FORGOTTEN:
        standing = Standing.MANAGED if record.current is not None else Standing.NEW
    moved = spec.destinations != record.spec.destinations or standing in {Standing.NEW, Standing.UNMANAGED}
    asked = record.asked
    if moved and asked is None:  # what is there decides whether, and where, anything is to be written
        asked = Asked(verb="inspect", actor="configuration", at=now)
    person = held or record.held_for_person
    record = replace(record, spec=spec, standing=standing, held_for_person=person, drift=(), asked=asked)
    record = replace(record, due_at=next_due(record, now))
    return Amendment(record=record, events=(_event(record, "changed", now, ids, held=held),))


def _forgotten(record: Record, now: datetime, ids: Ids) -> Amendment:
    record = replace(record, standing=Standing.FORGOTTEN)
    record = replace(record, due_at=next_due(record, now))
    return Amendment(record=record, events=(_event(record, "forgotten", now, ids),))


def _rename(journal: Journal, old: Record, spec: Spec, now: datetime, ids: Ids) -> bool:
    """Carry the history over; only while the credential is quiet, because labels at the issuer keep the old name."""
    if old.rotation is not None or old.ledger:
        return False
    record = replace(old, name=spec.name, seq=0, spec=spec, formerly=(*old.formerly, old.name))
    record = replace(record, due_at=next_due(record, now))
    journal.put([Amendment(record=record, events=(_event(record, "renamed", now, ids, renamed_from=old.name),))])
    journal.amend(
        old.name, lambda gone: Amendment(record=replace(gone, standing=Standing.FORGOTTEN, current=None, due_at=None))
    )
    return True


def still_needed(journal: Journal, issuers: Iterable[str], backends: Iterable[str]) -> list[Problem]:
    """Issuers and backends that a configuration no longer has although open work needs them."""
    have_issuers, have_backends = set(issuers), set(backends)
    problems: list[Problem] = []
    for record in _all(journal):
        wanted = {debt.issuer for debt in record.ledger}
        if record.rotation is not None:
            wanted |= {record.rotation.plan.issuer}
            places = {destination.backend for destination in record.rotation.plan.destinations}
        else:
            places = {destination.backend for destination in record.spec.destinations} if record.ledger else set()
        work = "an open rotation" if record.rotation is not None else "versions that must still be revoked"
        for kind, missing in (("issuer", wanted - have_issuers), ("backend", places - have_backends)):
            problems += [
                Problem(record.spec.source or record.name, f"{kind} {name!r} is gone, but {record.name} still has {work} there")
                for name in sorted(missing)
            ]
    return problems
