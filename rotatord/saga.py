"""claim, run a unit, classify, commit, repeat. Recovery after a crash is the same loop.

This is the only place that retries, and the only one that decides what an error means for a rotation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from rotatord import moves, retry
from rotatord.breakers import Breakers, begin
from rotatord.bugs import described
from rotatord.durations import spell
from rotatord.errors import (
    JournalError,
    LeaseLost,
    OutsideError,
    Permanent,
    Retryable,
    StaleSequence,
)
from rotatord.ledger import entry, settle
from rotatord.machine import Step
from rotatord.model import Event, Notice, Record, Standing, Trouble
from rotatord.ops import Call, Commit, Context, Done, Failed, Result, Stop, Unit, Wait, open_rotation
from rotatord.ops import with_rotation as changed
from rotatord.ports import NOTHING, Journal, Lease
from rotatord.replacing import replace
from rotatord.steps.adopt import adopt, rebuild
from rotatord.steps.authorise import authorise
from rotatord.steps.discard import discard
from rotatord.steps.inspect import inspect
from rotatord.steps.mint import mint
from rotatord.steps.plan import alarm, end_repair, overdue, plan_repair
from rotatord.steps.prove import prove
from rotatord.steps.publish import publish
from rotatord.steps.reload import reload
from rotatord.steps.renew import contain, renew
from rotatord.steps.rescope import rescope
from rotatord.steps.verify import verify
from rotatord.work import LOOK_AGAIN, Kind, Work, choose, next_due, trouble_of, without_trouble

STEPS: dict[Step, Callable[[Context, Record], Unit]] = {
    Step.MINT: mint,
    Step.PROVE: prove,
    Step.PUBLISH: publish,
    Step.RELOAD: reload,
    Step.VERIFY: verify,
    Step.AUTHORISE: authorise,
    Step.DISCARD: discard,
}
UNITS_PER_CLAIM = 50
RESTLESS = "worked on without rest"  # logged; either is a fault of ours, and a simulation that hears of it fails
LEFT_ALONE = "due, and left alone"
LOUD_ATTEMPTS = 5  # a ledger entry, a narrowing, or a step without deadline, that failed so often in a row is announced


class Hands(Protocol):
    """Who carries out what units yield; the simulator's hands let things go wrong."""

    def call(self, lease: Lease, call: Call) -> Any:
        """Make an outside call under this lease. Raises LeaseLost rather than start one that could outlive it."""
        ...

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: tuple[Event, ...],
        notices: tuple[Notice, ...],
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        """Store, unless a fact of ``given`` is another one by now. Raises StaleSequence then."""
        ...


class Saga:
    """Works on one leased credential at a time; any number of threads may share one saga."""

    def __init__(
        self,
        journal: Journal,
        ctx: Context,
        hands: Hands,
        *,
        read_only: Callable[[], bool],
        make_read_only: Callable[[str], None],
        rebuilt: Callable[[], None] = lambda: None,
        stopping: Callable[[], bool] = lambda: False,
        log: Callable[..., None] = lambda *_, **__: None,
        steps: Mapping[Step, Callable[[Context, Record], Unit]] = STEPS,
        settle: Callable[[Context, Record, str], Unit] = settle,
        breakers: Callable[[Journal], Breakers] = Breakers,
    ) -> None:
        self._steps = steps
        self._settle = settle
        self._breakers = breakers(journal)
        self._journal = journal
        self._ctx = ctx
        self._hands = hands
        self._read_only = read_only
        self._make_read_only = make_read_only
        self._rebuilt = rebuilt
        self._stopping = stopping
        self._log = log
        self._surveyed: set[str] = set()

    def work(self, lease: Lease) -> Record:
        """Do what is due for the leased credential, then give the lease back. Raises JournalUnavailable only."""
        record = lease.record
        try:
            work: Work | None = None
            for _ in range(UNITS_PER_CLAIM):
                now, read_only, freeze = self._ctx.now(), self._read_only(), self._ctx.paused()
                surveyed = record.name in self._surveyed
                work = choose(record, now, surveyed=surveyed, read_only=read_only, freeze=freeze)
                if work is None:
                    break
                if self._stopping():
                    return record  # it is due, and goes on at the next start
                before, record = record, self._one(lease, record, work)
                self._breakers.note(before, record)
            else:
                self._log(RESTLESS, credential=record.name, units=UNITS_PER_CLAIM, last=work.kind.value if work else "")
            record = self._settle_due(lease, record, now, idle=work is None, barred=read_only or freeze is not None)
        except LeaseLost:
            return record
        finally:
            self._journal.release(lease)
        return record

    def survey(self, lease: Lease) -> Record:
        """Only compare the destinations with the journal, whether due or not; then give the lease back."""
        record = lease.record
        try:
            if record.name not in self._surveyed and choose(record, self._ctx.now(), surveyed=False, read_only=True) == Work(
                Kind.INSPECT
            ):
                record = self._one(lease, record, Work(Kind.INSPECT))
        except LeaseLost:
            return record
        finally:
            self._journal.release(lease)
        return record

    def _settle_due(self, lease: Lease, record: Record, now: datetime, *, idle: bool, barred: bool) -> Record:
        """A record with nothing to do must say when to look again, or it would be claimed again at once. ``now``: when there
        was nothing to do. What has come due since then is not blocked, and is claimed again at once."""
        due_at = next_due(record, now)
        if idle and due_at is not None and due_at <= now:
            due_at = now + LOOK_AGAIN
            if not barred:
                self._log(LEFT_ALONE, credential=record.name, until=due_at.isoformat())
        if due_at == record.due_at:
            return record
        try:
            return self._hands.commit(lease, replace(record, due_at=due_at), (), ())
        except StaleSequence:
            return record

    def _one(self, lease: Lease, record: Record, work: Work) -> Record:
        """One unit, to its end; a record that moved on meanwhile is read again."""
        try:
            try:
                result = self._drive(lease, self._unit(record, work))
                return self._conclude(lease, record, work, result)
            except OutsideError as trouble:
                return self._troubled(lease, self._again(record), work, trouble)
            except JournalError:
                raise
            except Exception as error:  # noqa: BLE001  anything else is a bug: it halts that rotation loudly
                bug = described(error)
                self._log("bug", credential=record.name, work=work.kind.value, error=bug)
                again = self._again(record)
                if work.kind is Kind.STEP and again.rotation is not None and again.rotation.halt is None:
                    return self._stopped(lease, Stop(again, "bug", bug))
                return self._troubled(lease, again, work, Retryable(f"bug: {bug}"))
        except StaleSequence:
            return self._again(record)

    def _again(self, record: Record) -> Record:
        return self._journal.get(record.name) or record

    def _unit(self, record: Record, work: Work) -> Unit:
        ctx = self._ctx
        match work.kind:
            case Kind.STEP:
                return self._steps[moves.row(open_rotation(record)).step](ctx, record)
            case Kind.LEDGER:
                assert work.debt is not None
                return self._settle(ctx, record, work.debt.key)
            case Kind.RENEW:
                assert work.version is not None
                return renew(ctx, record, work.version)
            case Kind.CONTAIN:
                assert work.mark is not None
                return contain(ctx, record, work.mark)
            case Kind.ADOPT | Kind.REBUILD:
                assert record.asked is not None
                return (adopt if work.kind is Kind.ADOPT else rebuild)(ctx, record, record.asked)
            case Kind.INSPECT:
                return inspect(ctx, record)
            case Kind.PLAN:
                assert work.due is not None
                return begin(ctx, record, work.due, self._breakers)
            case Kind.RESCOPE:
                assert work.grant is not None
                return rescope(ctx, record, work.grant)
            case Kind.REPAIR:
                return plan_repair(ctx, record)
            case Kind.END_REPAIR:
                return end_repair(ctx, record)
            case Kind.ALARM:
                return alarm(ctx, record) if work.mark is None else overdue(ctx, record, work.mark)

    def _drive(self, lease: Lease, unit: Unit) -> Result:
        """Carry out what the unit yields. Errors of a call are thrown into it, so that it may react; most do not."""
        answer: Any = None
        error: OutsideError | None = None
        while True:
            try:
                op = unit.throw(error) if error is not None else unit.send(answer)
            except StopIteration as end:
                result: Result = end.value
                return result
            answer, error = None, None
            if isinstance(op, Commit):
                answer = self._store(lease, op.record, op.events, op.notices, op.given)
                continue
            try:
                answer = self._hands.call(lease, op)
            except OutsideError as failure:
                error = failure

    def _store(
        self,
        lease: Lease,
        record: Record,
        events: tuple[Event, ...] = (),
        notices: tuple[Notice, ...] = (),
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        record = replace(record, due_at=next_due(record, self._ctx.now()))
        return self._hands.commit(lease, record, events, notices, given)

    # --- what a result means -------------------------------------------------------------------------------------

    def _conclude(self, lease: Lease, before: Record, work: Work, result: Result) -> Record:
        if work.kind is Kind.INSPECT and isinstance(result, Done):
            self._surveyed.add(before.name)
        if work.kind is Kind.REBUILD and isinstance(result, Done) and result.record.standing is not Standing.BEHIND:
            self._surveyed.add(before.name)
            self._rebuilt()
        if isinstance(result, Stop):
            return self._stopped(lease, result)
        record = result.record
        if trouble_of(record, work.kind) is not None:
            renew_error = "" if work.kind is Kind.RENEW else record.renew_error
            record = self._store(lease, replace(record, troubles=without_trouble(record, work.kind), renew_error=renew_error))
        if work.kind is Kind.LEDGER:
            record = replace(record, ledger_turn=False)
            return self._ledger_waits(lease, record, work, result) if isinstance(result, Wait) else record
        if work.kind is not Kind.STEP:
            return record
        record = replace(record, ledger_turn=True)
        if isinstance(result, Failed):
            return self._failed(lease, record, result.why, verdict=True)
        if isinstance(result, Wait):
            return self._waits(lease, record, result)
        return record

    def _waits(self, lease: Lease, record: Record, wait: Wait) -> Record:
        now = self._ctx.now()
        limit = moves.deadline(open_rotation(record))
        if limit is not None and now >= limit:
            return self._failed(
                lease, record, f"not done within {spell(limit - open_rotation(record).since)}: {wait.why}", verdict=True
            )
        until = min(wait.until, limit) if limit is not None else wait.until
        events: tuple[Event, ...] = ()
        if open_rotation(record).waiting != wait.why:
            step = moves.row(open_rotation(record)).step.value
            events = (self._ctx.event(record, step, "waiting", open_rotation(record).subject, why=wait.why),)
        return self._store(lease, changed(record, due_at=max(until, now), waiting=wait.why, attempts=0, error=""), events)

    def _ledger_waits(self, lease: Lease, record: Record, work: Work, wait: Wait) -> Record:
        assert work.debt is not None
        debt = replace(entry(record, work.debt.key), due_at=wait.until, waiting=wait.why, attempts=0, error="")
        items = tuple(debt if item.key == debt.key else item for item in record.ledger)
        return self._store(lease, replace(record, ledger=items))

    def _failed(self, lease: Lease, record: Record, why: str, *, verdict: bool) -> Record:
        rotation = open_rotation(record)
        step = moves.row(rotation).step.value
        traits = self._ctx.plugins.issuer(rotation.plan.issuer).traits
        event = self._ctx.event(record, step, "failed", rotation.subject, why=why, way=rotation.way.value)
        self._log("step failed", credential=record.name, step=step, way=rotation.way.value, why=why)
        after = moves.fail(record, why, traits, self._ctx.now(), verdict=verdict)
        halt = open_rotation(after).halt
        stays = halt is None and moves.place(open_rotation(after)) == moves.place(rotation)
        if stays and rotation.error == why:
            return self._store(lease, after)  # said already
        notices: tuple[Notice, ...] = ()
        if stays:
            notices = (self._ctx.notice(after, "overdue", f"{record.name}: {step} cannot go on: {why}"),)
        events: tuple[Event, ...] = (event,)
        if halt is not None:
            events = (event, self._ctx.event(record, "rotation.halted", "done", rotation.subject, code=halt.code, why=why))
            notices = (self._ctx.notice(after, "halted", f"{record.name}: halted ({halt.code}): {why}", code=halt.code),)
        return self._store(lease, after, events, notices)

    def _stopped(self, lease: Lease, stop: Stop) -> Record:
        record = stop.record
        if stop.read_only:
            if self._again(record).seq != record.seq:  # not the journal is behind, we are: frozen, while another went on
                raise StaleSequence(f"{record.name} was changed since it was compared with its destinations")
            self._make_read_only(stop.why)
        notice = self._ctx.notice(record, "read_only" if stop.read_only else "halted", stop.why, code=stop.code)
        event = self._ctx.event(record, "rotation.halted", "done", None, code=stop.code, why=stop.why)
        if record.rotation is not None and record.rotation.halt is None:
            record = moves.halt(record, stop.code, stop.why, self._ctx.now())
        elif record.rotation is None and not stop.read_only:
            record = replace(record, asked=None, held_for_person=stop.why)
        return self._store(lease, record, (event,), (notice,))

    # --- what an error means -------------------------------------------------------------------------------------

    def _troubled(self, lease: Lease, record: Record, work: Work, error: OutsideError) -> Record:
        """Retry later, or take the failure edge. ``record`` is as stored last: nothing half done is kept."""
        if work.kind is Kind.STEP:  # a rotation that has ended meanwhile has nothing to try again
            return self._step_troubled(lease, record, error) if record.rotation is not None else record
        if work.kind is Kind.LEDGER and work.debt is not None:
            return self._ledger_troubled(lease, record, work, error)
        before = trouble_of(record, work.kind)
        attempts = before.attempts + 1 if before is not None else 1
        due_at = self._ctx.now() + self._after(retry.after_step, attempts, error)
        trouble = Trouble(unit=work.kind.value, attempts=attempts, due_at=due_at, error=str(error))
        record = replace(record, troubles=(*without_trouble(record, work.kind), trouble))
        if work.kind is Kind.RENEW:
            record = replace(record, renew_error=str(error))
        by_person = work.kind in {Kind.ADOPT, Kind.REBUILD}  # who asked is told that it failed, and may ask again
        if isinstance(error, Permanent) and by_person:
            record = replace(record, asked=None)
        notices: tuple[Notice, ...] = ()
        if work.kind is Kind.RESCOPE and attempts == LOUD_ATTEMPTS:
            text = f"{record.name}: its principal may do more than its versions need: {error}"
            notices = (self._ctx.notice(record, "overdue", text),)
        event = self._ctx.event(record, work.kind.value, "failed", None, why=str(error), attempt=attempts)
        return self._store(lease, record, (event,) if attempts == 1 else (), notices)

    def _step_troubled(self, lease: Lease, record: Record, error: OutsideError) -> Record:
        rotation = open_rotation(record)
        now = self._ctx.now()
        limit = moves.deadline(rotation)
        if not isinstance(error, Retryable):
            return self._failed(lease, record, str(error), verdict=False)
        if limit is not None and now >= limit:
            return self._failed(lease, record, f"not done within {spell(limit - rotation.since)}: {error}", verdict=False)
        attempts = rotation.attempts + 1
        due_at = now + self._after(retry.after_step, attempts, error)
        due_at = min(due_at, limit) if limit is not None else due_at
        step = moves.row(rotation).step.value
        record = changed(record, attempts=attempts, due_at=due_at, error=str(error), waiting="")
        event = self._ctx.event(record, step, "retrying", rotation.subject, why=str(error), attempt=attempts)
        self._log("retrying", credential=record.name, step=step, attempt=attempts, error=str(error))
        notices: tuple[Notice, ...] = ()
        if limit is None and attempts == LOUD_ATTEMPTS:  # no deadline will ever end it
            notices = (self._ctx.notice(record, "overdue", f"{record.name}: {step} does not get on: {error}"),)
        return self._store(lease, record, (event,) if attempts == 1 else (), notices)

    def _ledger_troubled(self, lease: Lease, record: Record, work: Work, error: OutsideError) -> Record:
        assert work.debt is not None
        debt = next((item for item in record.ledger if item.key == work.debt.key), None)
        if debt is None:
            return record  # somebody else has settled it meanwhile
        attempts = debt.attempts + 1
        due_at = self._ctx.now() + self._after(retry.after_ledger, attempts, error)
        debt = replace(debt, attempts=attempts, due_at=due_at, error=str(error), waiting="")
        items = tuple(debt if item.key == debt.key else item for item in record.ledger)
        record = replace(record, ledger=items, ledger_turn=False)
        notices: tuple[Notice, ...] = ()
        if attempts == LOUD_ATTEMPTS:
            text = f"{record.name}: {len(debt.owed)} versions cannot be ended: {error}"
            notices = (self._ctx.notice(record, "overdue", text, rotation=debt.rotation),)
        event = self._ctx.event(record, "ledger", "retrying", None, why=str(error), attempt=attempts)
        return self._store(lease, record, (event,) if attempts == 1 else (), notices)

    def _after(self, table: Callable[[int, float, float | None], Any], attempts: int, error: OutsideError) -> Any:
        return table(attempts, self._ctx.ids.fraction(), error.retry_after if isinstance(error, Retryable) else None)
