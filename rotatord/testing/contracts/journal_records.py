"""The journal contract: records are put, read, committed and amended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rotatord.errors import Conflict, JournalUnavailable, Refused, StaleSequence
from rotatord.model import (
    Debt,
    Halt,
    Hold,
    LeakMark,
    OwedVersion,
    Owing,
    Record,
)
from rotatord.ports import Amendment, Journal
from rotatord.secret import Secret
from rotatord.testing.clock import START
from rotatord.testing.contracts.journal_setting import (
    LATER,
    JournalBase,
    a_notice,
    a_record,
    a_rotation,
    a_version,
    an_event,
    held,
    put,
)


class RecordContract(JournalBase):
    """Putting, reading, committing, amending."""

    def test_what_is_put_is_read_back_unchanged(self, journal: Journal) -> None:
        """Every part of a record survives the way into the journal and back."""
        record = a_record("a", expires_at=LATER)
        full = replace(
            record,
            rotation=replace(
                a_rotation(record.spec, record.current), halt=Halt(code="base_dead", message="why", at=START), timer=None
            ),
            ledger=(
                Debt(
                    rotation="rot_0",
                    issuer="vault",
                    owed=(OwedVersion(version=a_version(0), reason="replaced", owing=Owing.REVOKING),),
                    opened_at=START,
                    due_at=START,
                ),
            ),
            holds=(Hold(owner="ann", until=LATER),),
            leaks=(LeakMark(ref="ref-1", generation=1, at=START, deadline=LATER),),
        )
        put(journal, full)
        assert journal.get("a") == full

    def test_unknown_names(self, journal: Journal) -> None:
        """A name that was never put is None to get, and a KeyError to lease and amend."""
        assert journal.get("nobody") is None
        with pytest.raises(KeyError):
            journal.lease("nobody")
        with pytest.raises(KeyError):
            journal.amend("nobody", lambda _: None)

    def test_put_is_all_or_none(self, journal: Journal) -> None:
        """One name that exists already, or stands there twice, keeps the others and all events out."""
        put(journal, a_record("b"))
        for others in (["a", "b"], ["a", "a"]):
            with pytest.raises(Conflict):
                journal.put([Amendment(record=a_record(name), events=(an_event(f"e-{name}"),)) for name in others])
        assert list(journal.names()) == ["b"]
        assert not journal.replay()

    def test_put_stores_events_and_notices(self, journal: Journal) -> None:
        """What comes with a new record is stored with it."""
        journal.put([Amendment(record=a_record("a"), events=(an_event("e1"),), notices=(a_notice("n1"),))])
        assert [event.id for event in journal.replay()] == ["e1"]
        assert [notice.id for notice in journal.notices(START, 10)] == ["n1"]

    def test_commit_raises_the_sequence(self, journal: Journal) -> None:
        """A commit stores the record, and returns it with the next sequence number, ready for the next commit."""
        put(journal, a_record("a"))
        lease = held(journal, "a")
        first = journal.commit(lease, replace(lease.record, failures=1), [an_event("e1")], [a_notice("n1")])
        second = journal.commit(lease, replace(first, failures=2))
        assert (first.seq, second.seq) == (lease.record.seq + 1, lease.record.seq + 2)
        assert journal.get("a") == second
        assert [event.id for event in journal.replay()] == ["e1"]
        assert [notice.id for notice in journal.notices(START, 10)] == ["n1"]

    def test_a_stale_commit_stores_nothing(self, journal: Journal) -> None:
        """A commit under an old sequence number changes neither record nor events nor notices."""
        put(journal, a_record("a"))
        lease = held(journal, "a")
        stored = journal.commit(lease, replace(lease.record, failures=1))
        with pytest.raises(StaleSequence):
            journal.commit(lease, replace(lease.record, failures=9), [an_event("e9")], [a_notice("n9")])
        assert journal.get("a") == stored
        assert not journal.replay()
        assert not journal.notices(START, 10)

    def test_a_commit_may_be_conditional_on_facts(self, journal: Journal) -> None:
        """A fact that is another one by now, or gone, or new, makes it stale, and nothing is stored; one that is the same
        does not."""
        put(journal, a_record("a"))
        journal.set_fact("paused", "by me")
        lease = held(journal, "a")
        for given in ({"paused": None}, {"paused": "by you"}, {"paused": "by me", "other": "set"}):
            with pytest.raises(StaleSequence):
                journal.commit(lease, lease.record, [an_event("e9")], [a_notice("n9")], given)
        assert journal.get("a") == lease.record
        assert not journal.replay()
        stored = journal.commit(lease, lease.record, [an_event("e1")], [], {"paused": "by me", "other": None})
        assert journal.get("a") == stored

    def test_amend_while_leased_makes_the_holders_commit_stale(self, journal: Journal) -> None:
        """A request beats whoever works on the record, without waiting for the lease."""
        put(journal, a_record("a"))
        lease = held(journal, "a")
        hold = Hold(owner="ann", until=LATER)
        amended = journal.amend(
            "a",
            lambda record: Amendment(
                record=replace(record, holds=(hold,)), events=(an_event("e1"),), notices=(a_notice("n1"),)
            ),
        )
        assert amended.holds == (hold,)
        assert amended.seq == lease.record.seq + 1
        with pytest.raises(StaleSequence):
            journal.commit(lease, replace(lease.record, failures=1))
        assert journal.get("a") == amended
        assert [event.id for event in journal.replay()] == ["e1"]
        assert [notice.id for notice in journal.notices(START, 10)] == ["n1"]
        assert journal.commit(lease, amended).seq == amended.seq + 1  # read again, decided anew

    def test_amend_may_decline(self, journal: Journal) -> None:
        """None leaves the record and its sequence; Refused comes through and stores nothing."""
        put(journal, a_record("a"))
        before = journal.get("a")

        def refuse(_: Record) -> Amendment | None:
            raise Refused("past the pivot")

        assert journal.amend("a", lambda _: None) == before
        with pytest.raises(Refused, match="past the pivot"):
            journal.amend("a", refuse)
        assert journal.get("a") == before

    def test_a_record_is_committed_under_its_own_lease(self, journal: Journal) -> None:
        """A lease of one record is no right to another."""
        put(journal, a_record("a"), a_record("b"))
        with pytest.raises(ValueError, match="b"):
            journal.commit(held(journal, "a"), a_record("b"))
        with pytest.raises(ValueError, match="b"):
            journal.amend("a", lambda _: Amendment(record=a_record("b")))

    def test_pages(self, journal: Journal) -> None:
        """Pages by name cover every record once, in order."""
        put(journal, *[a_record(f"c{number:02}") for number in reversed(range(7))])
        seen: list[str] = []
        while page := journal.records(after=seen[-1] if seen else "", limit=3):
            assert len(page) <= 3
            seen += [record.name for record in page]
        assert seen == list(journal.names()) == [f"c{number:02}" for number in range(7)]

    def test_a_secret_cannot_be_stored(self, journal: Journal) -> None:
        """A secret that strays into a record or an event is refused, and neither stored nor named."""
        stray = Secret({"token": "hush-hush"})
        put(journal, a_record("a"))
        lease = held(journal, "a")
        bad = replace(lease.record, spec=replace(lease.record.spec, parameters={"token": stray}))
        with pytest.raises(TypeError) as in_record:
            journal.commit(lease, bad, [an_event("e1")])
        with pytest.raises(TypeError) as in_event:
            journal.commit(lease, lease.record, [an_event("e1"), replace(an_event("e2"), evidence={"token": stray})])
        with pytest.raises(TypeError):
            journal.amend("a", lambda _: Amendment(record=bad, events=(an_event("e1"),)))
        with pytest.raises(TypeError):
            journal.put([Amendment(record=a_record("b")), Amendment(record=replace(bad, name="c"))])
        assert "hush-hush" not in str(in_record.value) + str(in_event.value)
        assert journal.get("a") == lease.record
        assert journal.get("b") is None
        assert not journal.replay()

    def test_a_closed_journal_refuses(self, journal: Journal) -> None:
        """After close nothing is read, written or leased any more, and closing again is harmless."""
        put(journal, a_record("a"))
        journal.close()
        journal.close()
        for use in (
            lambda: journal.get("a"),
            lambda: journal.claim(START, 1),
            lambda: journal.record_events([an_event("e1")]),
        ):
            with pytest.raises(JournalUnavailable):
                use()
