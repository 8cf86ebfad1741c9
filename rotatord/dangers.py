"""What will go wrong with a credential if nothing changes, said days ahead. Pure."""

from __future__ import annotations

from datetime import datetime

from rotatord import windows
from rotatord.lives import latest_start, when
from rotatord.model import Pause, Reason, Record, Rotation, Standing, State, Way

OUTSIDE = "outside its windows"
UNTOUCHED = {
    Standing.UNMANAGED: "its destination holds a value that rotatord did not make: adopt it, or set on_unknown: replace",
    Standing.BEHIND: "its destination knows more than this journal: read only until rebuild",
    Standing.FORGOTTEN: "it is no longer declared: nothing is done to it without retire",
    Standing.RETIRED: "it is retired",
}


def doom(
    record: Record,
    now: datetime,
    at: datetime | None,
    starts_at: datetime | None,
    words: str = "",
    freeze: Pause | None = None,
) -> tuple[list[str], list[str]]:
    """What endangers the current version, and what else there is to know of its end."""
    found = list(filter(None, (kept_though_leaked(record, now),)))
    current, policy = record.current, record.spec.policy
    if current is None or current.expires_at is None or record.standing in UNTOUCHED:
        return found, []
    expires_at = current.expires_at
    if expires_at <= now:
        return [*found, f"expired at {when(expires_at)}"], []
    if record.rotation is not None:
        return [*found, *_under_way(record, record.rotation, now, expires_at, freeze)], []
    notes = []
    if current.renew_at is not None and record.renew_error:
        notes.append(f"will expire {when(expires_at)} unless it can be renewed: {record.renew_error}")
    elif current.renew_at is not None:
        return found, []
    elif policy.renew_before is not None and policy.renew_before >= expires_at - current.minted_at:
        notes.append("its issuer gave it a shorter life than renew_before: it is replaced when a third of that life is left")
    if starts_at is None and (at is None or at <= now + policy.alarm_before):
        found.append(f"will expire {when(expires_at)}: {words or 'nothing starts a rotation before'}")
    elif starts_at is not None and starts_at >= expires_at:
        outside = words.startswith(OUTSIDE)
        before = f"before the next window opens {when(starts_at)}" if outside else f"before a rotation starts ({words})"
        found.append(f"will expire {when(expires_at)} {before}")
    elif starts_at is not None and record.held_for_person and starts_at > now:
        notes.append(f"would expire {when(expires_at)}: {words}")
    elif policy.expiry_beats_window and starts_at is not None and starts_at == latest_start(record):
        opens = windows.next_open(policy.windows, max(starts_at, now))
        if opens != max(starts_at, now):
            opening = f"opens {when(opens)}" if opens else "ever opens"
            notes.append(
                f"would expire {when(expires_at)} before the next window {opening}: starts {when(starts_at)}, outside it"
            )
    return found, notes


def _under_way(record: Record, rotation: Rotation, now: datetime, expires_at: datetime, freeze: Pause | None) -> list[str]:
    """What endangers a version whose replacement is open, but not in use everywhere."""
    if rotation.halt is not None:
        return [f"will expire {when(expires_at)} while its rotation is halted ({rotation.halt.code})"]
    if rotation.state is State.VERIFIED and rotation.way is Way.FORWARD:
        return []
    waits = rotation.state is State.PLANNED and rotation.reason is not Reason.COMPROMISED
    if freeze is not None and waits and (freeze.until is None or freeze.until >= expires_at):
        return [f"will expire {when(expires_at)}: {freeze.why}"]
    why = rotation.waiting or rotation.error
    late = now >= (latest_start(record) or expires_at)
    return [f"will expire {when(expires_at)} while its rotation is {rotation.state.value}: {why}"] if late and why else []


def kept_though_leaked(record: Record, now: datetime) -> str:
    """A hold stands for what leaked, too: somebody put it there, and nobody may overlook what it does."""
    hold = max((hold for hold in record.holds if hold.until > now), key=lambda hold: hold.until, default=None)
    if hold is None or not record.leaks or record.standing in UNTOUCHED:
        return ""
    leaked = ", ".join(str(mark.generation) for mark in record.leaks)
    return (
        f"compromised and held: version {leaked} leaked and lives while {hold.owner} holds it, until {when(hold.until)}; "
        f"`rotatord release {record.name}` ends the hold"
    )
