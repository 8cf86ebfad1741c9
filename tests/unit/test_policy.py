"""Due or not, and why: each check alone, what holds a rotation up, and what is forecast."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rotatord import policy, retry, windows
from rotatord.model import (
    Asked,
    Halt,
    Hold,
    LeakMark,
    Pause,
    Policy,
    Reason,
    Record,
    Rotation,
    Spec,
    Standing,
    State,
    Summary,
    Version,
    Way,
)

MINTED = datetime(2026, 7, 1, 12, tzinfo=UTC)  # a Wednesday
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def record(rules: Policy | None = None, *, life: timedelta | None = None, **changes: Any) -> Record:
    """A managed credential whose version was minted at MINTED; no jitter unless the policy asks for it."""
    rules = rules if rules is not None else Policy(jitter_percent=0)
    spec = Spec(name="dns", issuer="cf", policy=rules, scope={"permissions": ["b", "a"]}, parameters={"role": "x"})
    version = Version(
        generation=3,
        rotation="rot_1",
        issuer="cf",
        ref="ref-3",
        fingerprint="f" * 32,
        scope={"permissions": ["a", "b"]},
        parameters={"role": "x"},
        minted_at=MINTED,
        expires_at=MINTED + life if life is not None else None,
    )
    known: dict[str, Any] = {"name": "dns", "spec": spec, "standing": Standing.MANAGED, "generation": 3, "current": version}
    return Record(**(known | changes))


def rules(**changes: Any) -> Policy:
    return Policy(**({"jitter_percent": 0.0} | changes))


def leak(generation: int = 3, ref: str = "ref-3") -> LeakMark:
    return LeakMark(ref=ref, generation=generation, at=MINTED, deadline=MINTED + HOUR)


def asked(reason: Reason = Reason.MANUAL) -> Asked:
    return Asked(verb="rotate", actor="ana", at=MINTED, reason=reason)


FROZEN = Pause(owner="ana", until=MINTED + 40 * DAY, actor="ana", at=MINTED)
NIGHTS = (windows.parse("Sat 22:00-23:00", kind="allow", time_zone="UTC"),)
CLOSED = (windows.parse("0 0 1 1 *", kind="allow", time_zone="UTC", duration=HOUR),)


def test_nothing_is_ever_due_without_a_rule() -> None:
    """A version without an end and a policy without an age: never, and it says so."""
    answer = policy.due(record(), MINTED + 1000 * DAY)
    assert (answer.now, answer.check, answer.at, answer.starts_at) == (False, "never", None, None)
    assert "nothing ever makes it due" in answer.why


@pytest.mark.parametrize(
    ("rule", "life", "days"),
    [
        (rules(renew_before=7 * DAY), 30 * DAY, 23),
        (rules(renew_before_percent=50.0), 30 * DAY, 15),
        (rules(), 30 * DAY, 20),  # a third is left
        (rules(max_age=30 * DAY), None, 30),
        (rules(max_age=30 * DAY, renew_before=7 * DAY), None, 23),
        (rules(max_age=10 * DAY, renew_before=1 * DAY), 30 * DAY, 9),
        (rules(max_age=30 * DAY, renew_before=1 * DAY), 10 * DAY, 9),
        (rules(renew_before=60 * DAY), 30 * DAY, 20),  # longer than the life: never due at birth
    ],
)
def test_age_and_expiry_make_it_due(rule: Policy, life: timedelta | None, days: int) -> None:
    """It is due exactly when the lead before the end of its life begins, not a second earlier."""
    due_at = MINTED + days * DAY
    before = policy.due(record(rule, life=life), due_at - timedelta(seconds=1))
    at = policy.due(record(rule, life=life), due_at)
    assert (before.now, before.starts_at) == (False, due_at)
    assert (at.now, at.reason, at.blocked_by) == (True, Reason.DUE, None)


def test_the_last_stretch_of_a_life_is_expiring() -> None:
    """When almost nothing is left the reason says so: three days or a tenth of the life."""
    month = record(rules(renew_before=7 * DAY), life=30 * DAY)
    assert policy.due(month, MINTED + 26 * DAY).reason is Reason.DUE
    assert policy.due(month, MINTED + 27 * DAY).reason is Reason.EXPIRING
    hour = record(rules(), life=HOUR)
    assert policy.due(hour, MINTED + timedelta(minutes=53)).reason is Reason.DUE
    assert policy.due(hour, MINTED + timedelta(minutes=54)).reason is Reason.EXPIRING


def test_the_last_stretch_is_never_longer_than_half_of_renew_before() -> None:
    """A short renew_before is kept even for a long life."""
    year = record(rules(renew_before=2 * HOUR), life=365 * DAY)
    assert policy.due(year, MINTED + 365 * DAY - 3 * HOUR).at == MINTED + 365 * DAY - 2 * HOUR


def test_periodic_versions_are_renewed_not_replaced() -> None:
    """A version with a renewal date is due only when it was not renewed for half of the time that this leaves."""
    base = record(rules())
    assert base.current is not None
    periodic = replace(base, current=replace(base.current, renew_at=MINTED + 2 * HOUR, expires_at=MINTED + 4 * HOUR))
    assert policy.due(periodic, MINTED + 2 * HOUR).check == "never"
    late = policy.due(replace(periodic, renew_error="sealed"), MINTED + 3 * HOUR)
    assert (late.now, late.reason) == (True, Reason.EXPIRING)
    assert "unless it can be renewed: sealed" in late.warnings[0]


def test_a_changed_scope_makes_it_due_and_a_new_order_does_not() -> None:
    """What it was minted with is compared as a set: the order of permissions says nothing."""
    same = record()
    assert policy.due(same, MINTED).check == "never"
    wider = replace(same, spec=replace(same.spec, scope={"permissions": ["a", "b", "c"]}))
    assert (policy.due(wider, MINTED).now, policy.due(wider, MINTED).reason) == (True, Reason.SCOPE_CHANGED)
    moved = replace(same, spec=replace(same.spec, issuer="other"))
    assert "from cf to other" in policy.due(moved, MINTED).why
    other = replace(same, spec=replace(same.spec, parameters={"role": "y"}))
    assert policy.due(other, MINTED).check == "scope_changed"


def test_what_is_not_known_is_not_compared() -> None:
    """An adopted version without a scope, and versions without recorded parameters, are not due for that."""
    base = record()
    assert base.current is not None
    adopted = replace(base, current=replace(base.current, rotation="adopted", scope={}, parameters=None))
    assert policy.due(adopted, MINTED).check == "never"
    wider = replace(base, current=replace(base.current, rotation="adopted", scope={"permissions": ["everything"]}))
    assert "what was adopted may do something else" in policy.due(wider, MINTED).why


def test_the_first_version_is_due_at_once_even_outside_windows() -> None:
    """Nothing runs on it yet that a window could protect."""
    new = record(rules(windows=CLOSED), current=None, standing=Standing.NEW)
    answer = policy.due(new, MINTED)
    assert (answer.now, answer.reason, answer.check) == (True, Reason.DUE, "first")


def test_a_leak_of_the_current_version_goes_before_everything() -> None:
    """Only the current version's mark counts; windows, freezes, backoff and the wait for a person do not hold it up."""
    closed = record(
        rules(windows=CLOSED),
        leaks=(leak(),),
        asked=asked(),
        backoff_until=MINTED + DAY,
        held_for_person="four failures",
        failures=4,
    )
    answer = policy.due(closed, MINTED, freeze=FROZEN)
    assert (answer.now, answer.reason) == (True, Reason.COMPROMISED)
    assert policy.due(record(leaks=(leak(2, "ref-2"),)), MINTED).check == "never"


def test_an_emergency_keeps_the_backoff_that_emergencies_earned() -> None:
    """After a compromised rotation rolled back, the next one waits for its own short pause."""
    last = Summary(
        id="rot_9",
        reason=Reason.COMPROMISED,
        way=Way.BACK,
        state=State.ROLLED_BACK,
        started_at=MINTED,
        finished_at=MINTED,
    )
    answer = policy.due(record(leaks=(leak(),), last=last, backoff_until=MINTED + HOUR, failures=1), MINTED)
    assert (answer.now, answer.starts_at) == (False, MINTED + HOUR)
    assert "backing off" in str(answer.blocked_by)


def test_a_person_bypasses_windows_and_backoff_but_not_a_hold() -> None:
    """`rotate` starts now; somebody's hold still stands."""
    closed = record(rules(windows=CLOSED), asked=asked(), backoff_until=MINTED + DAY, held_for_person="failed 4 times")
    assert policy.due(closed, MINTED).now
    assert policy.due(closed, MINTED).reason is Reason.MANUAL
    held = replace(closed, holds=(Hold(owner="bo", until=MINTED + HOUR, reason="launch"),))
    answer = policy.due(held, MINTED)
    assert (answer.now, answer.starts_at) == (False, MINTED + HOUR)
    assert answer.blocked_by == "held by bo until 2026-07-01 13:00Z: launch"
    assert policy.due(held, MINTED + HOUR).now


def test_a_person_may_give_another_reason() -> None:
    """`rotate --reason compromised` is compromised."""
    assert policy.due(record(asked=asked(Reason.COMPROMISED)), MINTED).reason is Reason.COMPROMISED


@pytest.mark.parametrize(
    ("changes", "freeze", "words"),
    [
        (
            {"backoff_until": MINTED + 40 * DAY, "failures": 2},
            None,
            "backing off until 2026-08-10 12:00Z after 2 rotations were",
        ),
        ({"backoff_until": MINTED + 40 * DAY, "failures": 1}, None, "after a rotation was rolled back"),
        ({"held_for_person": "rolled back 4 times"}, None, "rolled back 4 times"),
        ({}, FROZEN, "is paused until 2026-08-10 12:00Z by ana"),
        ({"holds": (Hold(owner="bo", until=MINTED + 40 * DAY),)}, None, "held by bo until 2026-08-10 12:00Z"),
        ({"standing": Standing.UNMANAGED}, None, "adopt it"),
        ({"standing": Standing.BEHIND}, None, "rebuild"),
        ({"standing": Standing.RETIRED}, None, "retired"),
    ],
)
def test_what_holds_a_due_rotation_up_is_told(changes: dict[str, Any], freeze: Pause | None, words: str) -> None:
    """Due, not now, and in words why."""
    answer = policy.due(record(rules(max_age=30 * DAY), **changes), MINTED + 35 * DAY, freeze=freeze)
    assert not answer.now
    assert words in str(answer.blocked_by)
    assert answer.at == MINTED + 30 * DAY


def test_a_window_delays_a_due_rotation() -> None:
    """Due on Friday, it starts on Saturday night; what is not due yet is not blocked."""
    weekly = record(rules(max_age=30 * DAY, windows=NIGHTS))
    answer = policy.due(weekly, MINTED + 30 * DAY)
    assert (answer.now, answer.starts_at) == (False, datetime(2026, 8, 1, 22, tzinfo=UTC))
    assert answer.blocked_by == "outside its windows until 2026-08-01 22:00Z"
    assert policy.due(weekly, datetime(2026, 8, 1, 22, 30, tzinfo=UTC)).now
    early = policy.due(weekly, MINTED)
    assert (early.blocked_by, early.starts_at) == (None, datetime(2026, 8, 1, 22, tzinfo=UTC))


def test_expiry_beats_the_window_and_is_forecast() -> None:
    """Where no window opens in time it starts in the last stretch all the same, and the forecast says so weeks ahead."""
    shut = record(rules(renew_before=7 * DAY, windows=CLOSED), life=30 * DAY)
    latest = MINTED + 27 * DAY
    answer = policy.due(shut, MINTED)
    assert answer.starts_at == latest
    assert answer.warnings == (
        "would expire 2026-07-31 12:00Z before the next window opens 2027-01-01 00:00Z: starts 2026-07-28 12:00Z, outside it",
    )
    assert not policy.due(shut, latest - HOUR).now
    assert "all the same" in str(policy.due(shut, latest - HOUR).blocked_by)
    assert policy.due(shut, latest).now
    assert policy.due(shut, latest).reason is Reason.EXPIRING


def test_without_expiry_beats_window_it_waits_and_warns() -> None:
    """The policy's rule decides, never silence."""
    shut = record(rules(renew_before=7 * DAY, windows=CLOSED, expiry_beats_window=False), life=30 * DAY)
    answer = policy.due(shut, MINTED + 29 * DAY)
    assert (answer.now, answer.starts_at) == (False, datetime(2027, 1, 1, tzinfo=UTC))
    assert policy.forecast(shut, MINTED) == ("will expire 2026-07-31 12:00Z before the next window opens 2027-01-01 00:00Z",)


def test_a_window_that_opens_in_time_is_no_cause_for_a_warning() -> None:
    """An ordinary Saturday night needs no forecast."""
    assert policy.forecast(record(rules(renew_before=14 * DAY, windows=NIGHTS), life=30 * DAY), MINTED) == ()


@pytest.mark.parametrize(
    ("changes", "when", "words"),
    [
        ({"holds": (Hold(owner="bo", until=MINTED + 40 * DAY),)}, 0, "before a rotation starts (held by bo"),
        (
            {"held_for_person": "rolled back 4 times"},
            24,
            "would expire 2026-07-31 12:00Z: rolled back 4 times; tried at 2026-07-28",
        ),
        ({}, 31, "expired at 2026-07-31 12:00Z"),
    ],
)
def test_other_ways_to_expire_are_forecast_too(changes: dict[str, Any], when: int, words: str) -> None:
    """Holds, waits for a person, and what has happened already."""
    assert words in policy.forecast(record(rules(renew_before=7 * DAY), life=30 * DAY, **changes), MINTED + when * DAY)[0]


def test_a_halted_rotation_that_lets_it_expire_is_forecast() -> None:
    """The halt's code is named."""
    base = record(rules(renew_before=7 * DAY), life=30 * DAY)
    rotation = Rotation(
        id="rot_2",
        reason=Reason.DUE,
        way=Way.BACK,
        state=State.STAGED,
        plan=base.spec,
        base=base.current,
        since=MINTED,
        due_at=MINTED,
        started_at=MINTED,
        actor="schedule",
        halt=Halt(code="base_dead", message="the base is dead", at=MINTED),
    )
    assert policy.forecast(replace(base, rotation=rotation), MINTED) == (
        "will expire 2026-07-31 12:00Z while its rotation is halted (base_dead)",
    )


def test_a_thousand_made_together_do_not_come_due_together() -> None:
    """Jitter spreads them evenly over a tenth of the lead, always earlier, and always alike for one name."""
    base = record(Policy(renew_before=10 * DAY), life=40 * DAY)
    times = []
    for number in range(1000):
        at = policy.due(replace(base, name=f"cred-{number}"), MINTED).at
        assert at is not None
        times.append(at)
    latest = MINTED + 30 * DAY
    assert all(latest - DAY < at <= latest for at in times)
    per_hour = [
        sum(1 for at in times if latest - DAY + hour * HOUR < at <= latest - DAY + (hour + 1) * HOUR) for hour in range(24)
    ]
    assert max(per_hour) < 2 * 1000 / 24
    assert min(per_hour) > 0
    assert policy.due(base, MINTED).at == policy.due(base, MINTED + HOUR).at


def test_jitter_never_makes_it_due_at_birth() -> None:
    """However large the lead and the jitter, at least half of the time before the lead remains."""
    for number in range(100):
        eager = replace(record(Policy(renew_before=29 * DAY, jitter_percent=100), life=30 * DAY), name=f"c{number}")
        at = policy.due(eager, MINTED).at
        assert at is not None
        assert at >= MINTED + DAY / 2


def test_the_checks_are_asked_in_their_order() -> None:
    """Of several that are due the weightiest gives the reason."""
    names = [check.__name__ for check in policy.CHECKS]
    assert names == ["compromised", "manual", "first", "expiring", "scope_changed", "renew_before", "max_age"]


# --- no pause of ours outlives a version -----------------------------------------------------------------------------


def rolled_back(at: datetime, failures: int, **changes: Any) -> Record:
    """A month's version whose rotations were rolled back, the last one at this moment."""
    last = Summary(
        id="rot_9", reason=Reason.DUE, way=Way.BACK, state=State.ROLLED_BACK, started_at=at, finished_at=at, error="broke"
    )
    wait = retry.after_rolled_back(failures, Reason.DUE)
    held = "" if wait is not None else f"{failures} rotations in a row were rolled back"
    known = {"failures": failures, "last": last, "backoff_until": at + wait if wait else None, "held_for_person": held}
    return record(rules(renew_before=7 * DAY), life=30 * DAY, **(known | changes))


@pytest.mark.parametrize(
    ("left", "failures", "hours"),
    [
        (6 * DAY, 1, 1.0),  # the usual pauses, while there is time
        (6 * DAY, 2, 4.0),
        (6 * DAY, 3, 24.0),
        (2 * DAY, 3, 12.0),  # a quarter of what is left, where that comes first
        (2 * HOUR, 1, 0.5),
        (2 * HOUR, 3, 0.5),
        (timedelta(minutes=2), 3, 1 / 60),  # not more often than every minute
        (-DAY, 3, 1.0),  # and hourly when it is too late
    ],
)
def test_backing_off_ends_before_the_version_does(left: timedelta, failures: int, hours: float) -> None:
    """After a rotation was rolled back with so much of the life left, the next one starts after so many hours."""
    at = MINTED + 30 * DAY - left
    again = policy.due(rolled_back(at, failures), at).starts_at
    assert again is not None
    assert (again - at) / HOUR == pytest.approx(hours)


def test_a_wait_for_a_person_ends_before_the_version_does() -> None:
    """After the fourth a person is asked for, and forecast says when it is tried without one: in the last stretch, and then
    again and again."""
    at, end = MINTED + 24 * DAY, MINTED + 30 * DAY
    parked = rolled_back(at, 4)
    answer = policy.due(parked, at)
    assert (answer.now, answer.starts_at, answer.endangered) == (False, end - 3 * DAY, "")
    assert "tried at 2026-07-28 12:00Z all the same" in answer.warnings[0]
    assert policy.due(parked, end - 3 * DAY).now
    once_more = rolled_back(end - 3 * DAY, 5)
    assert policy.due(once_more, end - 3 * DAY).starts_at == end - 3 * DAY + 18 * HOUR
    forever = rolled_back(at, 4, current=replace(known_version(parked), expires_at=None))
    assert policy.due(replace(forever, spec=replace(forever.spec, policy=rules(max_age=DAY))), end).starts_at is None


def known_version(item: Record) -> Version:
    assert item.current is not None
    return item.current


@pytest.mark.parametrize("held", ["stopped at a failure rate: …", "one change makes 20 of 30 due"])
def test_no_brake_lets_a_version_expire(held: str) -> None:
    """Whatever left it to a person: the last stretch of a life does not wait for one."""
    parked = record(rules(renew_before=7 * DAY), life=30 * DAY, held_for_person=held)
    assert not policy.due(parked, MINTED + 26 * DAY).now
    assert policy.due(parked, MINTED + 27 * DAY).now
    assert policy.due(parked, MINTED + 27 * DAY).reason is Reason.EXPIRING


# --- what endangers a version ----------------------------------------------------------------------------------------

ENDLESS = Pause(owner="", until=None, reason="by ana at noon")
PLANNED: dict[str, Any] = {"id": "rot_2", "reason": Reason.DUE, "way": Way.FORWARD, "state": State.PLANNED, "actor": "rotatord"}


def planned(**changes: Any) -> Record:
    base = record(rules(renew_before=7 * DAY), life=30 * DAY)
    times = dict.fromkeys(("since", "due_at", "started_at"), MINTED)
    return replace(base, rotation=Rotation(plan=base.spec, base=base.current, **(PLANNED | times | changes)))


MONTH = record(rules(renew_before=7 * DAY), life=30 * DAY)
STRICT = record(rules(renew_before=7 * DAY, windows=CLOSED, expiry_beats_window=False), life=30 * DAY)
HELD = Hold(owner="bo", until=MINTED + 2 * DAY)


@pytest.mark.parametrize(
    ("item", "day", "freeze", "words"),
    [
        (STRICT, 0, None, "before the next window opens 2027-01-01"),
        (replace(MONTH, holds=(Hold(owner="bo", until=MINTED + 31 * DAY),)), 0, None, "before a rotation starts (held by bo"),
        (MONTH, 20, ENDLESS, "will expire 2026-07-31 12:00Z: the installation is paused by ana at noon"),
        (MONTH, 10, FROZEN, "before a rotation starts (the installation is paused until 2026-08-10"),
        (planned(), 24, FROZEN, "will expire 2026-07-31 12:00Z: the installation is paused until 2026-08-10"),
        (planned(waiting="max_live is reached"), 28, None, "while its rotation is planned: max_live is reached"),
        (planned(halt=Halt(code="no", message="no", at=MINTED)), 1, None, "while its rotation is halted"),
        (replace(MONTH, leaks=(leak(),), holds=(HELD,)), 1, None, "compromised and held: version 3"),
        (MONTH, 31, None, "expired at"),
    ],
)
def test_what_lets_a_version_expire_is_told(item: Record, day: int, freeze: Pause | None, words: str) -> None:
    """Window, hold, pause, cap, halt: in words, and days ahead."""
    assert words in policy.due(item, MINTED + day * DAY, freeze=freeze).endangered


@pytest.mark.parametrize(
    ("item", "day", "freeze"),
    [
        (MONTH, 22, None),
        (MONTH, 24, None),
        (record(rules(renew_before=7 * DAY, windows=CLOSED), life=30 * DAY), 0, None),  # resolved by the policy's rule
        (replace(MONTH, holds=(Hold(owner="bo", until=MINTED + 29 * DAY),)), 0, None),
        (MONTH, 24, replace(FROZEN, until=MINTED + 26 * DAY)),
        (MONTH, 10, ENDLESS),  # weeks ahead
        (planned(), 24, replace(FROZEN, until=MINTED + 26 * DAY)),
        (planned(waiting="max_live is reached"), 24, None),
        (planned(state=State.VERIFIED, waiting="the overlap"), 29, None),
        (rolled_back(MINTED + 24 * DAY, 4), 24, None),
        (replace(MONTH, holds=(HELD,)), 1, None),
        (record(rules(max_age=DAY)), 31, None),
    ],
)
def test_what_ends_in_time_endangers_nothing(item: Record, day: int, freeze: Pause | None) -> None:
    """No alarm where a rule, or the end of a hold or pause, comes in time."""
    assert policy.due(item, MINTED + day * DAY, freeze=freeze).endangered == ""
