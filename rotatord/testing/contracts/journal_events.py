"""The journal contract: events, notices, facts, pruning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rotatord.errors import StaleSequence
from rotatord.model import (
    Event,
    Record,
)
from rotatord.ports import Amendment, Journal
from rotatord.testing.clock import START
from rotatord.testing.contracts.journal_setting import (
    HOUR,
    LATER,
    JournalBase,
    a_notice,
    a_record,
    an_event,
    held,
    put,
    side_by_side,
)


class EventContract(JournalBase):
    """Events, notices, facts, pruning."""

    def test_events_are_numbered_without_gaps(self, journal: Journal) -> None:
        """Numbers rise by one from 1, over all ways to store an event; what was refused leaves no gap."""
        put(journal, a_record("a"))
        lease = held(journal, "a")
        stored = journal.commit(lease, lease.record, [an_event("e1"), an_event("e2", credential="b")])
        with pytest.raises(StaleSequence):
            journal.commit(lease, lease.record, [an_event("lost")])
        journal.record_events([an_event("e3")])
        journal.set_fact("read_only", "yes", [an_event("e4")])
        journal.amend("a", lambda record: Amendment(record=record, events=(an_event("e5"),)))
        assert stored.seq == 1
        assert [(event.seq, event.id) for event in journal.replay()] == [(n, f"e{n}") for n in range(1, 6)]
        assert [event.id for event in journal.replay(after=1, limit=2)] == ["e2", "e3"]
        assert [event.seq for event in journal.replay("a", after=1)] == [3, 4, 5]
        assert journal.replay()[0] == replace(an_event("e1"), seq=1)

    def test_an_event_is_stored_once(self, journal: Journal) -> None:
        """Storing an id again, as after an answer that was lost, changes nothing and leaves no gap."""
        journal.record_events([an_event("e1")], [a_notice("n1")])
        journal.record_events([an_event("e1"), an_event("e2")], [a_notice("n1")])
        assert [(event.seq, event.id) for event in journal.replay()] == [(1, "e1"), (2, "e2")]
        assert len(journal.notices(START, 10)) == 1

    def test_numbers_have_no_gaps_under_threads(self, journal: Journal) -> None:
        """Commits of many threads, stale ones among them, number their events without gaps and without doubles."""
        threads, each = 8, 25
        put(journal, *[a_record(f"c{number}") for number in range(threads)])

        def work(number: int) -> None:
            lease = held(journal, f"c{number}")
            record = lease.record
            for turn in range(each):
                events = [an_event(f"e-{number}-{turn}-{part}", credential=lease.name) for part in "ab"]
                stored = journal.commit(lease, record, events)
                with pytest.raises(StaleSequence):
                    journal.commit(lease, record, [an_event(f"stale-{number}-{turn}")])
                record = stored

        side_by_side(threads, work)
        events = journal.replay(limit=10_000)
        assert [event.seq for event in events] == list(range(1, threads * each * 2 + 1))
        for number in range(threads):
            own = [event.id for event in journal.replay(f"c{number}")]
            assert own == [f"e-{number}-{turn}-{part}" for turn in range(each) for part in "ab"]

    def test_amendments_of_many_threads_all_count(self, journal: Journal) -> None:
        """Nothing is lost between reading and storing, whoever amends at the same time."""
        put(journal, a_record("a"))

        def raised(record: Record) -> Amendment:
            return Amendment(record=replace(record, failures=record.failures + 1))

        def work(_: int) -> None:
            for _ in range(20):
                journal.amend("a", raised)

        side_by_side(6, work)
        record = journal.get("a")
        assert record is not None
        assert (record.failures, record.seq) == (120, 120)

    def test_a_notice_stays_until_it_is_done(self, journal: Journal) -> None:
        """Delivery is at least once: a notice comes again until its delivery is recorded, its attempts counted."""
        journal.record_events([], [a_notice("n1"), a_notice("n2", at=START - HOUR)])
        assert [notice.id for notice in journal.notices(START, 10)] == ["n1", "n2"]
        assert [notice.id for notice in journal.notices(START, 1)] == ["n1"]
        journal.notice_again("n1", START + HOUR)
        assert [notice.id for notice in journal.notices(START, 10)] == ["n2"]
        journal.notice_done("n2")
        assert not journal.notices(START, 10)
        (again,) = journal.notices(START + HOUR, 10)
        assert again == replace(a_notice("n1"), attempts=1)
        journal.notice_done("n1")
        journal.notice_done("n1")
        assert not journal.notices(LATER, 10)

    def test_facts(self, journal: Journal) -> None:
        """A fact is kept, replaced, and removed by None."""
        assert journal.fact("installation") is None
        journal.set_fact("installation", "inst_1")
        journal.set_fact("installation", "inst_2")
        assert journal.fact("installation") == "inst_2"
        journal.set_fact("installation", None)
        assert journal.fact("installation") is None

    def test_prune(self, journal: Journal) -> None:
        """Old events and delivered notices go, up to the limit; what is young or undelivered stays, and numbers go on."""
        old = [an_event(f"e{n}", time=START - n * HOUR) for n in range(1, 4)]
        journal.record_events([*old, an_event("young")], [a_notice(f"n{n}", at=START - HOUR) for n in (1, 2)])
        journal.notice_done("n1")
        assert journal.prune(START, 2) == 2
        assert journal.prune(START, 9) == 2
        assert journal.prune(START, 9) == 0
        assert _ids(journal.replay()) == ["young"]
        assert [notice.id for notice in journal.notices(START, 9)] == ["n2"]
        assert journal.prune(LATER, 9) == 1
        journal.record_events([an_event("next")])
        assert [event.seq for event in journal.replay()] == [5]


def _ids(events: Sequence[Event]) -> list[str]:
    return [event.id for event in events]
