"""Bring the journal in line with a configuration: what is new, changed, renamed or gone. Nothing outside is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from rotatord import policy
from rotatord.clock import Ids
from rotatord.damage import page_of
from rotatord.errors import JournalDamaged, Problem
from rotatord.model import Asked, Event, Record, Spec, Standing
from rotatord.own import BACKENDS, ISSUERS
from rotatord.ports import Amendment, Journal
from rotatord.work import next_due

CHUNK = 500
BRAKE_SHARE = 0.10  # a change that makes more of an issuer's credentials due than this is held for a person
BRAKE_LEAST = 5
BRAKED = "one change of the configuration makes"


def apply(journal: Journal, specs: Mapping[str, Spec], renames: Mapping[str, str], now: datetime, ids: Ids) -> dict[str, int]:
    """Store every specification that differs from the journal's; how many were added, changed, renamed and forgotten.

    A rotation in flight goes on with the specification it was planned with. Idempotent.
    """
    counts: Counter[str] = Counter()
    counts["renamed"] = sum(_rename(journal, old, specs[new], now, ids) for new, old in renames.items() if new in specs)
    compared = _compare(journal, specs, now)
    fresh = [spec for name, spec in specs.items() if name not in compared.known]
    for start in range(0, len(fresh), CHUNK):
        chunk = fresh[start : start + CHUNK]
        journal.put([Amendment(record=Record(name=spec.name, spec=spec, due_at=now)) for spec in chunk])
    braked = _braked(specs, compared.made_due)
    for name in compared.changed:
        held = braked.get(specs[name].issuer, "") if name in compared.made_due else ""
        journal.amend(name, lambda record, spec=specs[name], held=held: _changed(record, spec, held, now, ids))  # type: ignore[misc]
    for name in compared.gone:
        journal.amend(name, lambda record: _forgotten(record, now, ids))
    counts.update(added=len(fresh), changed=len(compared.changed), forgotten=len(compared.gone))
    return dict(counts)


@dataclass(slots=True)
class _Compared:
    """Names only: there may be very many records."""

    known: set[str] = field(default_factory=set)
    changed: list[str] = field(default_factory=list)
    made_due: set[str] = field(default_factory=set)  # those of the changed ones that this will rotate
    gone: list[str] = field(default_factory=list)


def _compare(journal: Journal, specs: Mapping[str, Spec], now: datetime) -> _Compared:
    found, damaged = _Compared(), dict[str, str]()
    for record in _all(journal, damaged):
        found.known.add(record.name)
        spec = specs.get(record.name)
        if spec is None:
            if record.standing not in {Standing.FORGOTTEN, Standing.RETIRED}:
                found.gone.append(record.name)
        elif _differs(record, spec):
            found.changed.append(record.name)
            if _makes_due(record, spec, now):
                found.made_due.add(record.name)
    found.known |= damaged.keys()  # left as they are: nobody can tell what differs
    return found


def declared(journal: Journal, damaged: dict[str, str] | None = None) -> Iterator[Record]:
    """Every credential that the configuration in force declares, a page at a time. ``damaged``: see the journal's records."""
    return (record for record in _all(journal, damaged) if record.standing not in {Standing.FORGOTTEN, Standing.RETIRED})


def _backends(spec: Spec) -> set[str]:
    """Where a credential is written, and where it is read back: nothing is proven, and nothing dies, without either."""
    copies = (copy for consumer in spec.consumers for copy in consumer.copies)
    return {place.backend for place in (*spec.destinations, *copies)}


def _named(owners: Iterable[str], group: str) -> set[str]:
    """Of what a credential of our own is used for, as ``issuers.NAME``, the names of one group."""
    return {name for kind, _, name in (owner.partition(".") for owner in owners) if kind == group}


def _all(journal: Journal, damaged: dict[str, str] | None = None) -> Iterator[Record]:
    after: str | None = ""
    while after is not None:
        page, after = page_of(journal, after, CHUNK, damaged)
        yield from page


def _differs(record: Record, spec: Spec) -> bool:
    """Where it stands in the file is no difference: one line more at the top must not touch every credential below."""
    return record.spec != replace(spec, source=record.spec.source) or record.standing is Standing.FORGOTTEN


def _makes_due(record: Record, spec: Spec, now: datetime) -> bool:
    """Whether this change is what makes it due: another scope or issuer, or a policy by which it is too old already."""
    if record.current is None:
        return False

    return _due(record, spec, now) and not _due(record, record.spec, now)


def _braked(specs: Mapping[str, Spec], made_due: Iterable[str]) -> dict[str, str]:
    """Issuers at which this change would rotate too many at once, with the words for it."""
    due = Counter(specs[name].issuer for name in made_due)
    total = Counter(spec.issuer for spec in specs.values())
    return {
        issuer: f"{BRAKED} {count} of {total[issuer]} credentials of {issuer} due at once: "
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
    forgotten = record.standing is Standing.FORGOTTEN  # nobody knows what became of its destinations meanwhile
    moved = forgotten or spec.destinations != record.spec.destinations or standing in {Standing.NEW, Standing.UNMANAGED}
    asked = record.asked
    if moved and asked is None:  # what is there decides whether, and where, anything is to be written
        asked = Asked(verb="inspect", actor="configuration", at=now)
    taken_back = record.held_for_person.startswith(BRAKED) and not _due(record, spec, now)
    person = held or ("" if taken_back else record.held_for_person)
    ids_now = {destination.id for destination in spec.destinations}
    drift = tuple(item for item in record.drift if item.destination in ids_now)
    record = replace(record, spec=spec, standing=standing, held_for_person=person, drift=drift, asked=asked)
    record = replace(record, due_at=next_due(record, now))
    return Amendment(record=record, events=(_event(record, "changed", now, ids, held=held),))


def _due(record: Record, spec: Spec, now: datetime) -> bool:
    at = policy.due(replace(record, spec=spec), now).at
    return at is not None and at <= now


def _forgotten(record: Record, now: datetime, ids: Ids) -> Amendment:
    record = replace(record, standing=Standing.FORGOTTEN, asked=None)  # what was asked of it is not for when it comes back
    record = replace(record, due_at=next_due(record, now))
    return Amendment(record=record, events=(_event(record, "forgotten", now, ids),))


def _rename(journal: Journal, old: str, spec: Spec, now: datetime, ids: Ids) -> bool:
    """Carry the history over; only while the credential is quiet, because labels at the issuer keep the old name.

    The old record is put to rest before it is copied, so that no worker goes on with it, and emptied last: whatever a
    crash leaves between the two, the next start ends.
    """
    known, there = _both(journal, old, spec.name) or (None, None)
    if known is None or not (there is None or _empty(there)):
        if known is not None and there is not None and known.current is not None and known.current == there.current:
            _hand_over(journal, old)
        return False
    before: list[Record] = []

    def rest(record: Record) -> Amendment | None:
        before.append(record)
        quiet = record.rotation is None and not record.ledger
        return Amendment(record=replace(record, standing=Standing.FORGOTTEN, due_at=None)) if quiet else None

    journal.amend(old, rest)
    was = before[-1]
    if was.rotation is not None or was.ledger:
        return False
    names = tuple(name for name in dict.fromkeys((*was.formerly, old)) if name != spec.name)
    record = replace(was, name=spec.name, seq=0, spec=spec, formerly=names)
    record = replace(record, due_at=next_due(record, now))
    amendment = Amendment(record=record, events=(_event(record, "renamed", now, ids, renamed_from=old),))
    if there is None:
        journal.put([amendment])
    else:
        journal.amend(spec.name, lambda _: amendment)
    _hand_over(journal, old)
    return True


def _both(journal: Journal, old: str, new: str) -> tuple[Record | None, Record | None] | None:
    """The records of a name and of the one that it is to have; None where one of them is damaged."""
    try:
        return journal.get(old), journal.get(new)
    except JournalDamaged:
        return None


def _empty(record: Record) -> bool:
    """Only the name is left: its history was carried to another one, or there never was any."""
    gone = record.standing is Standing.FORGOTTEN and record.current is None
    return gone and record.rotation is None and not record.ledger


def _hand_over(journal: Journal, old: str) -> None:
    """What another record has by now must not be retired, renewed or repaired under the old name."""
    journal.amend(
        old,
        lambda gone: Amendment(
            record=replace(gone, standing=Standing.FORGOTTEN, current=None, asked=None, holds=(), leaks=(), due_at=None)
        ),
    )


def refusals(
    journal: Journal, issuers: Iterable[str], backends: Iterable[str], specs: Iterable[str], renames: Mapping[str, str]
) -> list[Problem]:
    """Why a configuration cannot come into force yet, although nothing in it is wrong."""
    return [*still_needed(journal, issuers, backends, {*specs, *renames.values()}), *too_early(journal, renames)]


def too_early(journal: Journal, renames: Mapping[str, str]) -> list[Problem]:
    """Renames of credentials that are not quiet: labels at the issuer and the open work carry the old name until then."""
    problems = []
    for new, old in renames.items():
        found = _both(journal, old, new)
        if found is None and new not in journal.names():
            words = f"{old} cannot be renamed to {new} yet: its record cannot be read; keep its name until it can"
            problems.append(Problem(old, words))
        record, there = found or (None, None)
        if record is None or not (there is None or _empty(there)) or not (record.rotation or record.ledger):
            continue
        work = "a rotation is open" if record.rotation else "versions must still be revoked"
        problems.append(
            Problem(record.spec.source or old, f"{old} cannot be renamed to {new} yet: {work}; keep its name until then")
        )
    return problems


def still_needed(journal: Journal, issuers: Iterable[str], backends: Iterable[str], specs: Iterable[str] = ()) -> list[Problem]:
    """Issuers and backends that a configuration no longer has although open work needs them. A declared credential needs
    the issuer of its current version, too: only there can that be proven, and revoked once it is replaced."""
    kept = frozenset(specs)
    have_issuers, have_backends = set(issuers), set(backends)
    problems: list[Problem] = []
    for record in _all(journal, damaged={}):
        wanted = {debt.issuer for debt in record.ledger}
        if record.rotation is not None:
            wanted |= {record.rotation.plan.issuer, *([record.rotation.base.issuer] if record.rotation.base else [])}
            places = _backends(record.rotation.plan)
            wanted |= _named(record.rotation.plan.own_of, ISSUERS)  # they show that they go on with the new version
            places |= _named(record.rotation.plan.own_of, BACKENDS)
        else:
            places = _backends(record.spec) if record.ledger else set()
        work = "an open rotation" if record.rotation is not None else "versions that must still be revoked"
        if record.name in kept and record.current is not None and record.current.ref and not wanted - have_issuers:
            wanted |= {record.current.issuer}
            work = "its current version" if not record.rotation and not record.ledger else work
        for kind, missing in (("issuer", wanted - have_issuers), ("backend", places - have_backends)):
            problems += [
                Problem(record.spec.source or record.name, f"{kind} {name!r} is gone, but {record.name} still has {work} there")
                for name in sorted(missing)
            ]
    return problems
