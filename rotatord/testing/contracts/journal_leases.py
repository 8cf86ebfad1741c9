"""The journal contract: claiming, leasing, fencing, and what scheduling asks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from rotatord.errors import LeaseLost
from rotatord.model import (
    Debt,
    Halt,
    LeakMark,
    OwedVersion,
    Owing,
    Standing,
    State,
)
from rotatord.ports import Amendment, Journal
from rotatord.testing.clock import START, VirtualClock
from rotatord.testing.contracts.journal_setting import (
    HOUR,
    LATER,
    LEASE_SECONDS,
    JournalBase,
    a_notice,
    a_record,
    a_rotation,
    a_version,
    an_event,
    held,
    names_of,
    put,
    side_by_side,
)


class LeaseContract(JournalBase):
    """Claiming, leasing, fencing."""

    def test_claims_nearest_deadline_first(self, journal: Journal) -> None:
        """Of what is due, the nearest deadline comes first, then what has none, longest due first; not what is not due."""
        put(
            journal,
            a_record("late", expires_at=START + 9 * HOUR),
            a_record("never"),
            a_record("never-but-older", due_at=START - HOUR),
            a_record("soon", expires_at=START + 2 * HOUR),
            a_record("not-yet", due_at=START + timedelta(microseconds=1), expires_at=START),
            a_record("idle", due_at=None, expires_at=START),
        )
        assert names_of(journal.claim(START, 2)) == ["soon", "late"]
        assert names_of(journal.claim(START, 9)) == ["never-but-older", "never"]
        assert not journal.claim(START, 9)

    def test_a_hard_deadline_counts(self, journal: Journal) -> None:
        """The hard deadline of a rotation and of a leaked version that is still held go before a later expiry."""
        slow, leaked = a_record("slow", expires_at=START + 3 * HOUR), a_record("leaked", expires_at=LATER)
        turning = replace(a_rotation(slow.spec, slow.current), hard_deadline=START + HOUR)
        marked = replace(leaked, leaks=(LeakMark(ref="ref-1", generation=1, at=START, deadline=START + 2 * HOUR),))
        put(journal, slow, marked, replace(a_record("turning", expires_at=LATER), rotation=turning))
        assert names_of(journal.claim(START, 3)) == ["turning", "leaked", "slow"]

    def test_full_issuers_are_passed_over(self, journal: Journal) -> None:
        """Records of a full issuer neither are claimed nor use up the limit."""
        put(
            journal,
            *[a_record(f"busy-{number}", issuer="busy", expires_at=START) for number in range(5)],
            a_record("free", issuer="idle"),
        )
        assert names_of(journal.claim(START, 2, full=frozenset({"busy"}))) == ["free"]
        assert len(journal.claim(START, 9)) == 5

    def test_the_order_holds_in_a_herd(self, journal: Journal) -> None:
        """However many are due at once, claims go on by deadline, over all issuers, each record once."""
        count = 900
        put(
            journal,
            *[
                a_record(f"c{number:04}", issuer=f"issuer-{number % 3}", expires_at=LATER + timedelta(seconds=-number))
                for number in range(count)
            ],
            a_record("later", due_at=LATER, expires_at=START),
        )
        busy = frozenset({"issuer-1"})
        seen: list[str] = []
        while batch := journal.claim(START, 100, full=busy):
            seen += names_of(batch)
            for lease in batch:
                journal.commit(lease, replace(lease.record, due_at=None))
                journal.release(lease)
        rest = names_of(journal.claim(START, count))
        assert seen == [f"c{number:04}" for number in reversed(range(count)) if number % 3 != 1]
        assert rest == [f"c{number:04}" for number in reversed(range(count)) if number % 3 == 1]

    def test_a_lease_keeps_others_out_until_it_is_released(self, journal: Journal) -> None:
        """A leased record is neither claimed nor leased again; after release it is."""
        put(journal, a_record("a"))
        (lease,) = journal.claim(START, 1)
        assert journal.lease("a") is None
        assert not journal.claim(START, 1)
        journal.release(lease)
        again = held(journal, "a")
        journal.release(lease)  # lost already: harmless
        assert journal.lease("a") is None
        assert again.record == lease.record

    def test_a_lease_runs_out(self, journal: Journal, clock: VirtualClock) -> None:
        """Past its expiry on the monotonic clock a lease can be neither renewed nor committed under, taken over or not."""
        put(journal, a_record("a"))
        lease = held(journal, "a")
        assert lease.expires == clock.monotonic() + LEASE_SECONDS
        clock.jump_wall(-3600)
        clock.advance(LEASE_SECONDS)
        with pytest.raises(LeaseLost):
            journal.renew(lease)
        with pytest.raises(LeaseLost):
            journal.commit(lease, lease.record, [an_event("e1")], [a_notice("n1")])
        (taken,) = journal.claim(START, 1)
        with pytest.raises(LeaseLost):
            journal.commit(lease, lease.record)
        assert not journal.replay()
        assert not journal.notices(START, 1)
        assert journal.commit(taken, taken.record).seq == lease.record.seq + 1

    def test_a_renewed_lease_lasts(self, journal: Journal, clock: VirtualClock) -> None:
        """Renewing prolongs under the same fence."""
        put(journal, a_record("a"))
        lease = held(journal, "a")
        clock.advance(LEASE_SECONDS - 1)
        renewed = journal.renew(lease)
        assert renewed.fence == lease.fence
        assert renewed.expires == clock.monotonic() + LEASE_SECONDS
        clock.advance(LEASE_SECONDS - 1)
        assert journal.lease("a") is None
        journal.commit(renewed, renewed.record)

    def test_a_released_lease_is_lost(self, journal: Journal) -> None:
        """After release nothing can be committed or prolonged under it."""
        put(journal, a_record("a"))
        lease = held(journal, "a")
        journal.release(lease)
        with pytest.raises(LeaseLost):
            journal.commit(lease, lease.record)
        with pytest.raises(LeaseLost):
            journal.renew(lease)

    def test_fences_only_rise(self, journal: Journal, clock: VirtualClock) -> None:
        """Every new lease of a record has a higher fence, however it is taken."""
        put(journal, a_record("a"))
        fences = []
        for number in range(6):
            lease = held(journal, "a") if number % 2 else journal.claim(START, 1)[0]
            fences.append(lease.fence)
            if number % 3:
                journal.release(lease)
            else:
                clock.advance(LEASE_SECONDS)
        assert fences == sorted(set(fences))

    def test_no_record_is_claimed_twice(self, journal: Journal) -> None:
        """Threads that claim at once share the records out, each to one of them."""
        put(journal, *[a_record(f"c{number:03}") for number in range(200)])
        claimed: list[str] = []

        def work(_: int) -> None:
            while leases := journal.claim(START, 7):
                claimed.extend(names_of(leases))

        side_by_side(8, work)
        assert sorted(claimed) == list(journal.names())

    def test_a_claim_sees_what_the_last_holder_left(self, journal: Journal) -> None:
        """Threads that take turns on one record each read the other's last commit, and none is lost."""
        put(journal, a_record("a"))

        def work(_: int) -> None:
            done = 0
            while done < 20:
                for lease in journal.claim(START, 1):
                    journal.commit(lease, replace(lease.record, failures=lease.record.failures + 1))
                    journal.release(lease)
                    done += 1

        side_by_side(4, work)
        record = journal.get("a")
        assert record is not None
        assert record.failures == 80

    def test_next_due(self, journal: Journal) -> None:
        """The earliest due time of what nobody holds; None where nothing is due ever."""
        assert journal.next_due() is None
        put(journal, a_record("a", due_at=START + HOUR), a_record("b", due_at=None), a_record("c", due_at=LATER))
        assert journal.next_due() == START + HOUR
        lease = held(journal, "a")
        assert journal.next_due() == LATER
        assert journal.next_due(LATER) is None
        journal.release(lease)
        assert journal.next_due() == START + HOUR

    def test_inspection(self, journal: Journal) -> None:
        """Quiet managed records, never inspected ones first, then the oldest; none that was inspected since."""
        base = a_record("x")
        quiet = {"old": START - 2 * HOUR, "older": START - 3 * HOUR, "fresh": START, "never": None}
        debt = Debt(rotation="rot_0", issuer="vault", opened_at=START, due_at=START)
        put(
            journal,
            *[replace(base, name=name, inspected_at=at) for name, at in quiet.items()],
            replace(base, name="turning", rotation=a_rotation(base.spec, base.current)),
            replace(base, name="owing", ledger=(debt,)),
            replace(base, name="foreign", standing=Standing.UNMANAGED),
        )
        assert list(journal.least_recently_inspected(START - HOUR, 9)) == ["never", "older", "old"]
        assert list(journal.least_recently_inspected(START - HOUR, 2)) == ["never", "older"]

    def test_late_rotations(self, journal: Journal) -> None:
        """Those of which people have to be told by now, the first first, whether leased or not; none that was told."""
        base = a_record("x", due_at=None)
        first, second = a_version(expires_at=START + 4 * HOUR), a_version(expires_at=START + 8 * HOUR)
        turning = a_rotation(base.spec, second)
        put(
            journal,
            replace(base, name="second", current=second),
            replace(base, name="first", current=first),
            replace(base, name="told", current=first, late_told=10, late_generation=first.generation),
            replace(base, name="proven", current=first, rotation=replace(turning, state=State.VERIFIED)),
            replace(base, name="gone", current=first, standing=Standing.FORGOTTEN),
        )
        assert list(journal.late(START, 9)) == []
        held(journal, "first")
        assert list(journal.late(START + 9 * HOUR, 9)) == ["first", "second"]
        assert list(journal.late(START + 9 * HOUR, 1)) == ["first"]
        told = replace(base, name="first", current=first, late_told=10, late_generation=first.generation)
        journal.amend("first", lambda record: Amendment(record=replace(told, seq=record.seq)))
        assert list(journal.late(START + 9 * HOUR, 9)) == ["second"]

    def test_counts(self, journal: Journal) -> None:
        """The figures for metrics follow every change."""
        base = a_record("x", due_at=None)
        halted = replace(a_rotation(base.spec, base.current), halt=Halt(code="c", message="m", at=START))
        owed = tuple(
            OwedVersion(version=a_version(n), reason="replaced", owing=o) for n, o in ((1, Owing.OWED), (2, Owing.DEAD))
        )
        put(
            journal,
            replace(base, name="due", due_at=START),
            replace(base, name="later", due_at=LATER),
            replace(base, name="open", rotation=a_rotation(base.spec, base.current)),
            replace(base, name="halted", rotation=halted),
            replace(base, name="owing", ledger=(Debt(rotation="r", issuer="v", owed=owed, opened_at=START, due_at=START),)),
            replace(base, name="overdue", current=a_version(expires_at=START)),
            replace(base, name="gone", standing=Standing.FORGOTTEN, current=a_version(expires_at=START)),
        )
        assert journal.counts(START) == {"credentials": 7, "due": 1, "open": 2, "halted": 1, "owed": 1, "overdue": 1}
        journal.amend("halted", lambda record: Amendment(record=replace(record, rotation=None)))
        journal.amend("due", lambda record: Amendment(record=replace(record, due_at=None)))
        assert journal.counts(LATER) == {"credentials": 7, "due": 1, "open": 1, "halted": 0, "owed": 1, "overdue": 1}
