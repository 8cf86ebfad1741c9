"""What people see of a record, as JSON-like values. Pure; never a secret; says so where it cannot tell.

Times are ISO 8601 in UTC, durations seconds. :data:`STATUS_FIELDS` documents the schema ``rotatord.status/v1``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from rotatord import policy, principals
from rotatord.clock import Instant
from rotatord.dangers import UNTOUCHED
from rotatord.durations import spell
from rotatord.lives import latest_start
from rotatord.machine import TABLE, Place, Row
from rotatord.model import Debt, JsonMap, Owing, Pause, Record, Rotation, Spec, Standing, State, Version, Way
from rotatord.own_used import Told, troubles

NOTHING_TOLD: Told = {}
STATUS_SCHEMA = "rotatord.status/v1"
PLAN_SCHEMA = "rotatord.plan/v1"

# The schema of one credential in ``status``; within v1 fields may be added, never taken away or given another meaning.
STATUS_FIELDS: dict[str, str] = {
    "name": "the credential",
    "state": (
        "the state of the open rotation (`planned`, `staged`, `proven`, `published`, `reloaded`, `verified`, "
        "`discarding`), or `halted`; "
        "without one: `quiet`, `revoking` (old versions still have to die), "
        "`narrowing` (the principal still may do what an ended version needed), `expired`, `empty` (no version yet), "
        "or the standing where that is not `managed`"
    ),
    "standing": "`new`, `unmanaged`, `managed`, `behind`, `forgotten` or `retired`",
    "way": "of the open rotation: `forward`, `back` or `repair`; else null",
    "generation": "of the current version; null when there is none",
    "fingerprint": "keyed, of the current version; null when there is none",
    "version": "the label that consumers attest: generation and the start of the fingerprint; null when there is none",
    "minted_at": "of the current version",
    "expires_at": "of the current version; null when it does not expire",
    "next_rotation_at": "when the next rotation starts by itself; null while one is open, or when none will without a person",
    "reason": (
        "of the open rotation, else of the next: `due`, `expiring`, `compromised`, `scope_changed`, `manual`; "
        "null when none is due"
    ),
    "overlap_until": "when the overlap of the open rotation ends; null when none runs",
    "owed_revocations": "how many versions are not yet proven dead, as far as is known (see `cannot_tell`)",
    "last_rotation": "the one that ended last: `id`, `reason`, `way`, `state`, `started_at`, `finished_at`, `error`; or null",
    "rotation": (
        "the open one: `id`, `reason`, `way`, `state`, `step` (what comes next), `since`, `deadline`, `due_at`, `attempts`, "
        "`started_at`, `actor`; or null"
    ),
    "halt": "`code`, `message`, `at`; null when not halted. `why` shows the ways out",
    "holds": "each: `owner`, `until`, `reason`",
    "leaks": "versions known to be compromised; each: `generation`, `ref`, `at`, `deadline`, `contained_at`, `actor`",
    "drift": "destinations that do not hold the current version; each: `destination`, `what`, `seen_at`",
    "inspected_at": "when the destinations were last read; null: never",
    "asked": "what a person asked for and the next unit of work takes up: `verb`, `actor`, `at`, `reason`; or null",
    "waiting": "why nothing happens right now; empty when something does, or nothing has to",
    "forecast": "what will go wrong if nothing changes, days ahead; each a sentence",
    "endangered": (
        "why its current version will expire before a rotation can replace it, has expired, or leaked and is held, "
        "if nothing changes; empty when none of these. `status` exits 1 for it"
    ),
    "needs_person": "what waits for a person; each a sentence",
    "unreachable": "what did not answer when it was asked last; each a sentence. `status` exits 3 for it",
    "cannot_tell": "what is not known right now; each a sentence",
    "issuer": "its name in the configuration",
    "owner": "as declared",
    "policy": "its name",
    "own_of": "what rotatord itself speaks to with it, each `issuers.NAME` or `backends.NAME`; empty: it is not our own",
}


def plain(value: Any) -> Any:
    """Frozen nouns as JSON-like values."""
    match value:
        case Enum():
            return value.value
        case None | str() | bool() | int() | float():
            return value
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z").replace(".000Z", "Z")
        case timedelta():
            return value.total_seconds()
        case Instant():
            return plain(value.wall)
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    return str(value)


def state_of(record: Record, now: datetime) -> str:
    """The one word of the status table; see ``STATUS_FIELDS``."""
    if record.rotation is not None:
        return "halted" if record.rotation.halt else record.rotation.state.value
    if record.standing is not Standing.MANAGED:
        return record.standing.value
    if record.current is None:
        return "empty"
    if record.current.expires_at is not None and record.current.expires_at <= now:
        return "expired"
    if record.ledger:
        return "revoking"
    return "quiet" if principals.stale(record) is None else "narrowing"


def row_of(rotation: Rotation) -> Row | None:
    """The line of the lifecycle table that the rotation stands on; None once it has ended."""
    return TABLE.get(Place(rotation.state, rotation.way))


def deadline_of(rotation: Rotation) -> datetime | None:
    """When the present state fails by itself; None where it may last."""
    row = row_of(rotation)
    if row is None or row.limit is None:
        return rotation.hard_deadline
    limit: timedelta = getattr(rotation.plan.policy, row.limit)
    return rotation.since + limit


def overlap_until(record: Record) -> datetime | None:
    """When the overlap that runs now ends by the plan; evidence may stretch it."""
    rotation = record.rotation
    if rotation is None or rotation.timer is None or (rotation.state, rotation.way) != (State.VERIFIED, Way.FORWARD):
        return None
    overlap = rotation.plan.policy.overlap
    if rotation.plan.policy.unproven_overlap is not None:
        overlap = max(overlap, rotation.plan.policy.unproven_overlap)
    return min(filter(None, (rotation.timer.wall + overlap, rotation.hard_deadline)))


def owed(ledger: Iterable[Debt]) -> int:
    """How many versions are known that must still be proven dead."""
    return sum(item.owing is not Owing.DEAD for debt in ledger for item in debt.owed)


def status(record: Record, now: datetime, freeze: Pause | None = None) -> JsonMap:
    """One credential of ``rotatord.status/v1``. ``freeze``: the pause in force over all."""
    rotation, current = record.rotation, record.current
    due = policy.due(record, now, freeze=freeze)
    return {
        "name": record.name,
        "state": state_of(record, now),
        "standing": record.standing.value,
        "way": rotation.way.value if rotation else None,
        **_current(current),
        "next_rotation_at": None if rotation else plain(due.starts_at),
        "reason": reason_of(record, due),
        "overlap_until": plain(overlap_until(record)),
        "owed_revocations": owed(record.ledger),
        "last_rotation": plain(record.last),
        "rotation": _open(rotation) if rotation else None,
        "halt": plain(rotation.halt) if rotation else None,
        "holds": plain([hold for hold in record.holds if hold.until > now]),
        "leaks": plain(record.leaks),
        "drift": plain(record.drift),
        "inspected_at": plain(record.inspected_at),
        "asked": plain(record.asked),
        "waiting": waiting(record, due),
        "forecast": list(due.warnings),
        "endangered": due.endangered,
        "needs_person": needs_person(record, now),
        "unreachable": unreachable(record),
        "cannot_tell": cannot_tell(record),
        "issuer": record.spec.issuer,
        "owner": record.spec.owner,
        "policy": record.spec.policy.name,
        "own_of": list(record.spec.own_of),
    }


def _current(current: Version | None) -> JsonMap:
    return {
        "generation": current.generation if current else None,
        "fingerprint": current.fingerprint if current else None,
        "version": current.label if current else None,
        "minted_at": plain(current.minted_at) if current else None,
        "expires_at": plain(current.expires_at) if current else None,
    }


def _open(rotation: Rotation) -> JsonMap:
    row = row_of(rotation)
    return {
        "id": rotation.id,
        "reason": rotation.reason.value,
        "way": rotation.way.value,
        "state": rotation.state.value,
        "step": row.step.value if row else None,
        "since": plain(rotation.since),
        "deadline": plain(deadline_of(rotation)),
        "due_at": plain(rotation.due_at),
        "attempts": rotation.attempts,
        "started_at": plain(rotation.started_at),
        "actor": rotation.actor,
    }


def reason_of(record: Record, due: policy.Due) -> str | None:
    """Why the open rotation happens, else the next one; None when nothing makes it due or nothing may be done to it."""
    if record.rotation is not None:
        return record.rotation.reason.value
    if due.check == policy.NEVER or record.standing not in {Standing.NEW, Standing.MANAGED}:
        return None
    return due.reason.value


def waiting(record: Record, due: policy.Due) -> str:
    """Why nothing happens right now; empty when there is nothing to explain."""
    rotation = record.rotation
    if rotation is not None:
        return rotation.halt.message if rotation.halt else rotation.waiting or rotation.error
    if due.blocked_by:
        return due.blocked_by
    if record.troubles:
        return "; ".join(f"{item.unit}: {item.error}; again at {plain(item.due_at)}" for item in record.troubles)
    held_up = [f"revoking: {debt.error or debt.waiting}" for debt in record.ledger if debt.error or debt.waiting]
    return held_up[0] if held_up else ""


def needs_person(record: Record, now: datetime) -> list[str]:
    """What only a person can end, and what has run past its time."""
    found: list[str] = []
    if record.rotation is not None and record.rotation.halt is not None:
        found.append(f"halted ({record.rotation.halt.code}): {record.rotation.halt.message}")
    if record.held_for_person:
        found.append(record.held_for_person)
    if record.standing in {Standing.UNMANAGED, Standing.BEHIND}:
        found.append(UNTOUCHED[record.standing])
    expires_at = record.current.expires_at if record.current else None
    if expires_at is not None and record.standing is Standing.MANAGED:
        if expires_at <= now:
            found.append(f"its current version expired at {plain(expires_at)}")
        elif _stuck(record) and now >= (latest_start(record) or expires_at):
            found.append(f"its current version expires at {plain(expires_at)} and no rotation is under way to replace it")
    found.extend(f"{drift.destination} holds a foreign value" for drift in record.drift if drift.what == "foreign")
    if record.renew_error:
        found.append(f"its current version could not be renewed: {record.renew_error}")
    return found


def _stuck(record: Record) -> bool:
    return record.rotation is None or record.rotation.halt is not None or record.rotation.way is not Way.FORWARD


def unreachable(record: Record) -> list[str]:
    """What issuers, destinations and consumers did not say when they were asked last."""
    found = [
        f"{drift.destination} could not be read at {plain(drift.seen_at)}"
        for drift in record.drift
        if drift.what == "unreadable"
    ]
    found += [f"{item.unit} got no answer: {item.error}; again at {plain(item.due_at)}" for item in record.troubles]
    rotation = record.rotation
    if rotation is not None and rotation.halt is None and rotation.attempts and rotation.error:
        row = row_of(rotation)
        found.append(f"{row.step.value if row else 'its rotation'} does not get on: {rotation.error}")
    left = left_behind(record)
    found.extend(
        f"whether {_owed_labels(debt)} is dead: {debt.error}" for debt in record.ledger if debt.error and debt.key not in left
    )
    return [*found, *left.values()]


def left_behind(record: Record) -> dict[str, str]:
    """What is dead and still lies in the slots of a home that the credential no longer has, where that cannot be reached: by
    entry of the ledger, each a sentence with the way to let it go."""
    home = (record.rotation.plan if record.rotation else record.spec).home.id if record.ledger else ""
    return {
        debt.key: (
            f"its former home {debt.home.id} cannot be reached, so its slots previous and pending may still hold the dead "
            f"{', '.join(item.version.label for item in debt.owed)}: {debt.error}; it is tried for ever. To let it go: "
            f"`rotatord revoke {record.name}@{debt.owed[0].version.generation} --now --reason …`"
        )
        for debt in record.ledger
        if debt.error and debt.home is not None and debt.home.id != home and debt.all_dead
    }


def _owed_labels(debt: Debt) -> str:
    labels = [item.version.label for item in debt.owed if item.owing is not Owing.DEAD]
    return ", ".join(labels) or f"everything that rotation {debt.rotation} made"


def cannot_tell(record: Record) -> list[str]:
    """What is not known right now, so that nobody takes silence for health."""
    found: list[str] = []
    if record.standing in {Standing.MANAGED, Standing.BEHIND} and record.inspected_at is None and record.rotation is None:
        found.append("its destinations have not been read yet, so whether they hold the current version is unknown")
    found.extend(unreachable(record))
    found.extend(
        f"whether rotation {debt.rotation} minted a version that nobody was told of is known at {plain(debt.sweep_until)}"
        for debt in record.ledger
        if debt.sweep_until is not None
    )
    return found


def status_page(
    records: Sequence[Record], now: datetime, installation: JsonMap, freeze: Pause | None = None, used: Told = NOTHING_TOLD
) -> JsonMap:
    """``rotatord.status/v1`` over some records; ``installation`` holds id, version, read_only, paused, pause. ``used``: how
    daemons get on with what they speak to others with."""
    return {
        "schema": STATUS_SCHEMA,
        "at": plain(now),
        **installation,
        "credentials": [with_troubles(status(record, now, freeze), record, used) for record in records],
    }


def with_troubles(row: JsonMap, record: Record, used: Told) -> JsonMap:
    """The same, and what keeps us from going on with it where it is our own."""
    refused, unreached = troubles(record, used)
    more = {"needs_person": refused, "unreachable": unreached, "cannot_tell": unreached}
    return row | {key: [*found, *row[key]] for key, found in more.items() if found}


def plan(record: Record, now: datetime, freeze: Pause | None = None) -> JsonMap:
    """What happens next to one credential and when: one row of ``rotatord.plan/v1``."""
    due = policy.due(record, now, freeze=freeze)
    rotation = record.rotation
    spec = rotation.plan if rotation else record.spec
    return {
        "name": record.name,
        "state": state_of(record, now),
        "at": plain(now if rotation else due.starts_at),
        "reason": reason_of(record, due),
        "why": _next_words(rotation) if rotation else due.why,
        "blocked_by": None if rotation else due.blocked_by,
        "destinations": [destination.id for destination in spec.destinations],
        "consumers": [consumer.name for consumer in spec.consumers],
        "waves": len(spec.waves),
        "overlap_seconds": spec.policy.overlap.total_seconds(),
        "owed_revocations": owed(record.ledger),
        "forecast": list(due.warnings),
        "notes": _notes(record),
    }


def _next_words(rotation: Rotation) -> str:
    row = row_of(rotation)
    step = row.step.value if row else "nothing"
    return f"rotation {rotation.id} is {rotation.state.value}, {rotation.way.value}; next: {step}"


def ours(spec: Spec) -> list[str]:
    """That we ourselves use it, where we do."""
    if not spec.own_of:
        return []
    said = f"rotatord itself speaks to {' and '.join(spec.own_of)} with it"
    return [f"{said}: it comes before all others, and every daemon must show that it goes on with the new one"]


def _notes(record: Record) -> list[str]:
    spec = record.rotation.plan if record.rotation else record.spec
    notes = [
        f"{consumer.name} reads the new value by itself as soon as it is published; its wave orders nothing"
        for consumer in spec.consumers
        if consumer.refresh_within is not None and len(spec.waves) > 1
    ]
    notes += ours(spec)
    if spec.policy.unproven_overlap is not None:
        notes.append(f"consumers without proof are believed after {spell(spec.policy.unproven_overlap)}")
    if spec.policy.allow_downtime:
        notes.append("minting ends the old value at once: there is downtime")
    if record.standing is Standing.UNMANAGED:
        notes.append("nothing is written until it is adopted")
    if record.standing is Standing.BEHIND:
        notes.append("nothing is written until it is rebuilt")
    return notes


def plan_page(records: Sequence[Record], now: datetime, installation: JsonMap, freeze: Pause | None = None) -> JsonMap:
    """``rotatord.plan/v1``: what is next first; what nothing makes due comes last."""
    rows = [plan(record, now, freeze) for record in records]
    rows.sort(key=lambda row: (row["at"] is None, row["at"] or "", row["name"]))
    return {"schema": PLAN_SCHEMA, "at": plain(now), **installation, "credentials": rows}
