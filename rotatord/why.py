"""Why a credential stands where it stands: what makes it due, what the gate saw, what is owed, and the ways out of a halt.

Pure. The ways out are not described from memory: each is tried on the record by the very function that would carry it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from rotatord import policy, views
from rotatord.commands import Command, parse
from rotatord.dangers import UNTOUCHED
from rotatord.errors import Refused
from rotatord.lives import backoff_end
from rotatord.model import Debt, Event, JsonMap, Pause, Record, Rotation, Standing, Version
from rotatord.ports import Amendment
from rotatord.views import plain

WHY_SCHEMA = "rotatord.why/v1"
TRIAL = "to see what it would do"

# What each way out means, in the words of the manual.
MEANINGS: dict[str, str] = {
    "retry": "take the step that failed once more",
    "replan": "give this rotation up and plan a new one from the configuration in force",
    "remint": "leave what was minted to the ledger and mint again",
    "accept": "take the present state as good, on your word and with your reason recorded",
    "skip_consumer": "go on without this consumer, on your word and with your reason recorded",
    "rollback": "turn back to the version that this rotation replaces",
    "repair": "write our current version over what stands there now",
    "adopt": "take over the value that stands there now; without --ref it is never revoked",
    "rebuild": "restore what this journal does not know from the slots and labels",
    "release": "end the hold before its time",
    "rotate": "replace the current version now, whatever failed before",
    "retire": "revoke every version of it and clear its destinations, for good",
}
_DRIFTED = {
    "missing": "does not hold the current version",
    "ours_older": "holds an older version of ours",
    "foreign": "holds a value that somebody else wrote",
    "unreadable": "could not be read",
}

Attempt = Callable[[Record, Command], Amendment]


def why(record: Record, now: datetime, attempt: Attempt, history: Sequence[Event] = (), freeze: Pause | None = None) -> JsonMap:
    """``rotatord.why/v1``. ``attempt`` says what a command would make of the record, or raises Refused.
    ``freeze``: the pause in force over all."""
    due = policy.due(record, now, freeze=freeze)
    return {
        "schema": WHY_SCHEMA,
        "at": plain(now),
        "name": record.name,
        "summary": summary(record, due),
        "beside": beside(record, now),
        "status": views.status(record, now, freeze),
        "due": plain(due),
        "rotation": _rotation(record.rotation) if record.rotation else None,
        "ways_out": ways_out(record, attempt),
        "live": live(record),
        "ledger": [_debt(debt) for debt in record.ledger],
        "asked": plain(record.asked),
        "failures": record.failures,
        "backoff_until": plain(backoff_end(record)),
        "history": [plain(event) for event in history],
    }


def summary(record: Record, due: policy.Due) -> str:
    """The answer in a sentence."""
    rotation = record.rotation
    if rotation is not None and rotation.halt is not None:
        return f"halted since {plain(rotation.halt.at)}: {rotation.halt.message}"
    if rotation is not None:
        row = views.row_of(rotation)
        doing = f"rotating ({rotation.reason.value}): {rotation.state.value}, {rotation.way.value}"
        held_up = rotation.waiting or rotation.error
        return f"{doing}; next: {row.step.value if row else 'nothing'}" + (f"; waiting: {held_up}" if held_up else "")
    if record.standing not in {Standing.MANAGED, Standing.NEW}:
        return UNTOUCHED[record.standing]
    return due.why + (f"; but {due.blocked_by}" if due.blocked_by else "")


def beside(record: Record, now: datetime) -> list[str]:
    """What else a person should know before doing anything: leaks, holds, drift. Each a sentence."""
    found = []
    for mark in record.leaks:
        contained = f", contained at {plain(mark.contained_at)}" if mark.contained_at else ""
        found.append(
            f"version {mark.generation} leaked (marked by {mark.actor}){contained}: it is to be dead by {plain(mark.deadline)}"
        )
    found.extend(
        f"held by {hold.owner} until {plain(hold.until)}" + (f": {hold.reason}" if hold.reason else "")
        for hold in record.holds
        if hold.until > now
    )
    found.extend(
        f"{drift.destination} {_DRIFTED.get(drift.what, drift.what)}, seen at {plain(drift.seen_at)}" for drift in record.drift
    )
    return [*views.ours(record.spec), *found, *views.left_behind(record).values()]


def _rotation(rotation: Rotation) -> JsonMap:
    row = views.row_of(rotation)
    return {
        "id": rotation.id,
        "reason": rotation.reason.value,
        "actor": rotation.actor,
        "way": rotation.way.value,
        "state": rotation.state.value,
        "step": row.step.value if row else None,
        "since": plain(rotation.since),
        "deadline": plain(views.deadline_of(rotation)),
        "hard_deadline": plain(rotation.hard_deadline),
        "due_at": plain(rotation.due_at),
        "waiting": rotation.waiting,
        "error": rotation.error,
        "attempts": rotation.attempts,
        "rollback": rotation.rollback,
        "accepted_risk": rotation.accepted_risk,
        "leg": rotation.leg,
        "wave": rotation.wave,
        "base": _version(rotation.base),
        "base_healthy": rotation.base_healthy,
        "new": _version(rotation.new),
        "suspension": plain(rotation.suspension),
        "gate": plain(rotation.evidence),
        "written": plain(rotation.written),
        "reloaded": plain(rotation.reloaded),
        "halt": plain(rotation.halt),
    }


def _version(version: Version | None) -> JsonMap | None:
    """A version as it may be shown; its digests are for leak matching only."""
    if version is None:
        return None
    shown: JsonMap = plain(version)
    del shown["digests"]
    return shown | {"label": version.label}


def _debt(debt: Debt) -> JsonMap:
    return {
        "rotation": debt.rotation,
        "issuer": debt.issuer,
        "opened_at": plain(debt.opened_at),
        "due_at": plain(debt.due_at),
        "attempts": debt.attempts,
        "waiting": debt.waiting,
        "error": debt.error,
        "sweep_until": plain(debt.sweep_until),
        "home": debt.home.id if debt.home else None,
        "abandoned": list(debt.abandoned),
        "kept": debt.kept,
        "owed": [
            {
                "generation": item.version.generation,
                "version": item.version.label,
                "ref": item.version.ref,
                "reason": item.reason,
                "owing": item.owing.value,
                "revoked_at": plain(item.revoked_at),
                "proofs": item.proofs,
                "proof": item.proof,
                "forced": item.forced,
            }
            for item in debt.owed
        ],
    }


def live(record: Record) -> list[JsonMap]:
    """Every version that may still be accepted by its issuer, as far as this journal knows, and why it is there."""
    found: dict[tuple[str, int], JsonMap] = {}

    def add(version: Version | None, role: str) -> None:
        if version is not None:
            key = (version.ref, version.generation)
            entry = found.setdefault(key, {"version": version.label, "ref": version.ref, "roles": []})
            entry["roles"].append(role)

    add(record.current, "current")
    if record.rotation is not None:
        add(record.rotation.base, "base of the open rotation")
        add(record.rotation.new, "new in the open rotation")
    for debt in record.ledger:
        for item in debt.owed:
            add(item.version, f"owed ({item.reason}): {item.owing.value}")
    return list(found.values())


def ways_out(record: Record, attempt: Attempt) -> list[JsonMap]:
    """What a person may do about it, each tried on the record: possible, and what it leads to, or why not."""
    rotation = record.rotation
    commands = _plain_ways(record)
    if rotation is not None:
        commands = [("rollback", {"reason": TRIAL}, "rollback", "rotatord rollback {name}"), *commands]
    if rotation is not None and rotation.halt is not None:
        commands = [
            *(("resume", {"how": how}, how, f"rotatord resume {{name}} --{how}") for how in ("retry", "replan", "remint")),
            ("resume", {"how": "accept", "reason": TRIAL}, "accept", "rotatord resume {name} --accept --reason …"),
            *(
                (
                    "resume",
                    {"how": "skip_consumer", "consumer": consumer.name, "reason": TRIAL},
                    "skip_consumer",
                    f"rotatord resume {{name}} --skip-consumer {consumer.name} --reason …",
                )
                for consumer in rotation.plan.consumers
            ),
            *commands,
        ]
    return [
        {"command": line.format(name=record.name), "meaning": MEANINGS[how]}
        | _trial(record, attempt, parse(verb, record.name, "why", dict(arguments)))
        for verb, arguments, how, line in commands
    ]


def _plain_ways(record: Record) -> list[tuple[str, JsonMap, str, str]]:
    """Verb, arguments, meaning and command line of what is open to a person outside of a rotation's own ways."""
    why_not = {"reason": TRIAL}
    ways: list[tuple[str, JsonMap, str, str]] = []
    if any(drift.what != "unreadable" for drift in record.drift):
        ways.append(("repair", why_not, "repair", "rotatord repair {name}"))
    if record.standing is Standing.UNMANAGED or any(drift.what == "foreign" for drift in record.drift):
        ways.append(("adopt", {}, "adopt", "rotatord adopt {name} [--ref …]"))
    if record.standing is Standing.BEHIND:
        ways.append(("rebuild", why_not, "rebuild", "rotatord rebuild {name}"))
    if record.standing is Standing.FORGOTTEN:
        ways.append(("retire", why_not, "retire", "rotatord retire {name} --reason …"))
    if record.holds:
        ways.append(("release", why_not, "release", "rotatord release {name}"))
    if record.held_for_person or (record.backoff_until is not None and record.rotation is None):
        ways.append(("rotate", {}, "rotate", "rotatord rotate {name}"))
    return ways


def _trial(record: Record, attempt: Attempt, command: Command) -> JsonMap:
    try:
        after = attempt(record, command).record
    except Refused as refusal:
        return {"possible": False, "leads_to": str(refusal)}
    rotation = after.rotation
    if record.rotation is None:
        return {"possible": True, "leads_to": "done at once" if command.verb == "release" else "taken up next"}
    if rotation is None:
        return {"possible": True, "leads_to": "ends this rotation" + (" and starts another" if after.asked else "")}
    row = views.row_of(rotation)
    place = f"{rotation.state.value}, {rotation.way.value}"
    return {"possible": True, "leads_to": place + (f"; next: {row.step.value}" if row else "")}
