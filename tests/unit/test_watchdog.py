"""The watchdog goes by the journal alone, says things once, and says them again when they come back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rotatord import windows
from rotatord.journal.memory import MemoryJournal
from rotatord.lateness import Span, span
from rotatord.model import Hold, Pause, Policy, Reason, Record, Rotation, Spec, Standing, State, Version, Way
from rotatord.pauses import PAUSED, text_of
from rotatord.ports import Amendment
from rotatord.replacing import replace
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.watchdog import Watchdog

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Stage:
    """A journal with one credential of ten days, which nobody works on."""

    def __init__(self) -> None:
        self.clock, ids = VirtualClock(), SeededIds(1)
        self.journal = MemoryJournal(self.clock, ids)
        self.dog = Watchdog(self.journal, self.clock, ids)
        spec = Spec(name="cred", issuer="issuer", policy=Policy(max_age=10 * DAY))
        self.journal.put([Amendment(record=Record(name="cred", spec=spec, standing=Standing.MANAGED, current=self.version(1)))])

    def version(self, generation: int) -> Version:
        return Version(
            generation=generation, rotation="r", issuer="issuer", ref="ref", fingerprint="f", minted_at=self.clock.now()
        )

    @property
    def record(self) -> Record:
        record = self.journal.get("cred")
        assert record is not None
        return record

    def runs(self, rules: Policy, *, life: timedelta | None, generation: int = 1, **changes: Any) -> None:
        """From now on under these rules and on this version."""
        version, state = self.version(generation), changes.pop("rotation", None)
        expires_at = self.clock.now() + life if life is not None else None
        version = replace(version, expires_at=expires_at, renew_at=changes.pop("renew_at", None))
        spec = replace(self.record.spec, policy=rules)
        if state is not None:
            times = dict.fromkeys(("since", "due_at", "started_at"), self.clock.now())
            known = {"id": "rot", "reason": Reason.DUE, "way": Way.FORWARD, "actor": "rotatord", "plan": spec, "base": version}
            changes["rotation"] = Rotation(state=state, **known, **times)
        self.journal.amend("cred", lambda record: Amendment(record=replace(record, spec=spec, current=version, **changes)))

    def after(self, time: timedelta) -> list[str]:
        """What has been told by then."""
        self.clock.advance(time.total_seconds())
        self.dog.look()
        return [notice.text for notice in self.journal.notices(self.clock.now(), 100)]


def overdue(told: list[str]) -> int:
    return sum("past the time by which" in text for text in told)


def test_too_old_is_told_once() -> None:
    """A tenth past its greatest age, not before; and not again with every look."""
    stage = Stage()
    assert overdue(stage.after(10.5 * DAY)) == 0
    assert overdue(stage.after(DAY)) == 1
    assert overdue(stage.after(DAY)) == 1


def test_it_is_told_again_when_it_comes_again() -> None:
    """Replaced, and too old once more."""
    stage = Stage()
    stage.after(12 * DAY)
    stage.journal.amend("cred", lambda record: Amendment(record=replace(record, current=stage.version(2))))
    assert overdue(stage.after(DAY)) == 1
    assert overdue(stage.after(12 * DAY)) == 2


def test_a_late_rotation_is_told_of_at_50_25_and_10_per_cent() -> None:
    """A month's version, due a week before its end, with an engine that does nothing: three times, each once, with why; and
    once more for the next version."""
    stage = Stage()
    stage.runs(Policy(renew_before=8 * DAY, jitter_percent=0.0), life=30 * DAY)
    assert stage.after(22 * DAY) == []
    assert stage.after(4 * DAY - HOUR) == []
    told = stage.after(HOUR)
    words = "cred: should have been rotated at 2026-01-27 12:00Z and expires at 2026-02-04 12:00Z"
    assert told == [f"{words}; less than 50 % of that time is left: nothing holds it up: does anybody work on it?"]
    assert stage.after(HOUR) == told
    assert len(stage.after(2 * DAY)) == 2
    assert len(stage.after(HOUR)) == 2
    assert "less than 10 %" in stage.after(1.2 * DAY)[-1]
    assert [text for text in stage.after(DAY) if "should have been" in text][3:] == []
    assert [event.evidence["left_percent"] for event in stage.journal.replay("cred")] == [50, 25, 10]
    stage.runs(Policy(renew_before=8 * DAY, jitter_percent=0.0), life=30 * DAY, generation=2)
    assert "less than 50 %" in stage.after(26 * DAY)[-1]


def test_what_was_slept_through_is_told_once() -> None:
    """A watchdog that was down says how late it is, not how late it was."""
    stage = Stage()
    stage.runs(Policy(renew_before=8 * DAY, jitter_percent=0.0), life=30 * DAY)
    told = stage.after(29 * DAY)
    assert len(told) == 1
    assert "less than 25 %" in told[0]


def test_an_age_is_late_too() -> None:
    """Where nothing expires: a tenth past its greatest age is the end."""
    stage = Stage()
    stage.runs(Policy(max_age=100 * DAY, jitter_percent=0.0), life=None)
    assert stage.after(104 * DAY) == []
    assert "gets too old at" in stage.after(DAY)[0]
    assert [notice.kind for notice in stage.journal.notices(stage.clock.now(), 9)] == ["overdue"]


def test_several_daemons_tell_it_once() -> None:
    """The look of each finds what the others have noted; so does one after a restart."""
    stage = Stage()
    stage.runs(Policy(renew_before=8 * DAY, jitter_percent=0.0), life=30 * DAY)
    stage.clock.advance((26 * DAY).total_seconds())
    for number in range(5):
        Watchdog(stage.journal, stage.clock, SeededIds(number)).look()
    assert len(stage.journal.notices(stage.clock.now(), 9)) == 1


@pytest.mark.parametrize(
    ("changes", "late"),
    [
        ({}, True),
        ({"holds": (Hold(owner="bo", until=START + 40 * DAY),)}, True),  # whatever makes it late
        ({"held_for_person": "four times"}, True),
        ({"standing": Standing.FORGOTTEN}, False),
        ({"rotation": State.PLANNED}, True),
        ({"rotation": State.RELOADED}, True),
        ({"rotation": State.VERIFIED}, False),  # everybody runs on the new one; its end does no harm
    ],
)
def test_what_counts_as_late(changes: dict[str, Any], late: bool) -> None:
    """Until its replacement is proven in use, whatever holds that up."""
    stage = Stage()
    stage.runs(Policy(renew_before=8 * DAY, jitter_percent=0.0), life=30 * DAY, **changes)
    assert bool(stage.after(27 * DAY)) == late


def test_a_window_that_has_not_opened_is_not_late() -> None:
    """The time counts from the first window after it became due; where none opens before, from the latest start that the
    policy allows."""
    stage = Stage()
    yearly = (windows.parse("0 0 1 6 *", kind="allow", time_zone="UTC", duration=DAY),)
    saturdays = (windows.parse("Sat 12:00-13:00", kind="allow", time_zone="UTC"),)
    month = {"renew_before": 8 * DAY, "jitter_percent": 0.0}
    stage.runs(Policy(windows=saturdays, **month), life=30 * DAY)
    spans = span(stage.record)
    assert spans is not None
    assert spans.should == START + 26 * DAY  # due on Tuesday 27 January; Saturday is the 31st
    stage.runs(Policy(windows=yearly, **month), life=30 * DAY, generation=2)
    assert span(stage.record).should == START + 27 * DAY  # type: ignore[union-attr]
    stage.runs(Policy(windows=yearly, expiry_beats_window=False, **month), life=30 * DAY, generation=3)
    assert span(stage.record) is None  # it never had a chance: `endangered` tells of that
    stage.runs(Policy(renew_before=8 * DAY), life=4 * HOUR, generation=4, renew_at=START + 2 * HOUR)
    assert span(stage.record) == Span(START + 2 * HOUR, START + 4 * HOUR, expires=True)


def test_a_journal_of_before_is_looked_through_once() -> None:
    """After an upgrade each record is looked at, and leaves the list without a word."""
    stage = Stage()
    stage.journal._rows["cred"] = stage.journal._rows["cred"]._replace(late_at=0)
    assert list(stage.journal.late(stage.clock.now(), 9)) == ["cred"]
    assert stage.after(HOUR) == []
    assert list(stage.journal.late(stage.clock.now(), 9)) == []


def test_what_is_not_ours_any_more_is_not_overdue() -> None:
    """A credential that is only remembered has no greatest age."""
    stage = Stage()
    stage.journal.amend("cred", lambda record: Amendment(record=replace(record, standing=Standing.FORGOTTEN)))
    assert stage.after(100 * DAY) == []


def test_a_pause_is_told_of_before_and_after_it_ends() -> None:
    """Daily while it goes on, an hour before its end, and once when it is over, whoever looks how often; with its owner."""
    stage = Stage()
    now = stage.clock.now()
    pause = Pause(owner="ana", until=now + 2.5 * DAY, reason="moving", actor="uid:0(root)", at=now)
    stage.journal.set_fact(PAUSED, text_of(pause))
    assert stage.after(timedelta(hours=23)) == []
    assert "ana (asked by uid:0(root)): moving" in stage.after(timedelta(hours=2))[0]
    assert len(stage.after(DAY)) == 2
    assert "begin again soon" in stage.after(timedelta(hours=10, minutes=30))[-1]
    told = stage.after(timedelta(hours=1))
    assert "has ended by itself" in told[-1]
    assert stage.after(30 * timedelta(minutes=1)) == told
    assert Watchdog(stage.journal, stage.clock, SeededIds(2)).look()  # after a restart
    assert stage.after(DAY / 2) == told
    assert [(event.action, event.actor) for event in stage.journal.replay()] == [("unpause", "rotatord")]


def test_a_pause_without_an_end_is_told_of_daily() -> None:
    """An earlier version wrote no end; the one who paused is named, and a new one counts anew."""
    stage = Stage()
    stage.journal.set_fact(PAUSED, "by me at noon")
    assert stage.after(timedelta(0)) == []
    assert len(told := stage.after(DAY)) == 1
    assert "by me" in told[0]
    assert len(stage.after(DAY / 2)) == 1
    assert len(stage.after(DAY / 2)) == 2
    stage.journal.set_fact(PAUSED, None)
    stage.after(DAY)
    stage.journal.set_fact(PAUSED, "again")
    assert len(stage.after(timedelta(hours=1))) == 2
