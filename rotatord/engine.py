"""The engine: claims what is due, works on it in a bounded pool, and sleeps until the next due time. No configuration."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait

from rotatord.budget import Budgets
from rotatord.bugs import described
from rotatord.errors import JournalDamaged, JournalUnavailable
from rotatord.hands import Hands
from rotatord.model import Record, Standing
from rotatord.ops import Context
from rotatord.ports import Journal, Lease
from rotatord.saga import Saga
from rotatord.telemetry import Telemetry

LONGEST_SLEEP = 5.0  # the wall clock may be set while we sleep
SHORTEST_SLEEP = 0.01
JOURNAL_AWAY_SLEEP = 1.0
DRAIN_SECONDS = 20.0
READ_ONLY = "read_only"
SURVEY_LIMIT = 1000
SURVEY_PAGE = 50
SURVEY_SECONDS = 1.5  # rotations in flight go on within three seconds of a start


class Engine:
    """Runs sagas. ``start`` and ``stop`` once each; ``wake`` from any thread, whenever something may be due."""

    def __init__(
        self,
        journal: Journal,
        ctx: Context,
        telemetry: Telemetry,
        budgets: Budgets,
        *,
        workers: int = 16,
        pool: Executor | None = None,
        hands: Hands | None = None,
        drain_seconds: float = DRAIN_SECONDS,
        standing_back: Callable[[], str] = lambda: "",
        first: Callable[[], Sequence[str]] = tuple,
        log: Callable[..., None] = lambda *_, **__: None,
    ) -> None:
        self._journal = journal
        self._ctx = ctx
        self._telemetry = telemetry
        self._budgets = budgets
        self._workers = workers
        self._drain_seconds = drain_seconds
        self._standing_back = standing_back
        self._first = first  # credentials that come before all others: our own
        self.stands_back = ""
        self._log = log
        self.hands = hands or Hands(journal, ctx.clock, telemetry, spend=budgets.spend, heard=telemetry.event)
        self._stopping = threading.Event()
        self.saga = Saga(
            journal,
            ctx,
            self.hands,
            read_only=lambda: bool(journal.fact(READ_ONLY)),
            make_read_only=self._make_read_only,
            rebuilt=self.review,
            stopping=self._stopping.is_set,
            log=log,
        )
        self._wake = threading.Event()
        self._pool = pool or ThreadPoolExecutor(workers, thread_name_prefix="worker")
        self._at_work: set[Future[None]] = set()
        self._lock = threading.Lock()
        self._loop: threading.Thread | None = None
        self.turned_at = self.progressed_at = ctx.clock.monotonic()
        self._claimed_at = ctx.now()
        self.journal_away = ""
        self._rest_until = ctx.clock.monotonic()

    # --- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Survey the destinations, then begin to work."""
        self._loop = threading.Thread(target=self._run, name="engine", daemon=True)
        self._loop.start()

    def wake(self) -> None:
        """Look for due work now."""
        self._wake.set()

    def heard(self, replicas: int) -> None:
        """Something was done elsewhere; so many daemons share the work."""
        self._budgets.share(replicas)
        self._wake.set()

    def stop(self) -> bool:
        """Claim nothing more and let what is in flight end within its time; False when something was left behind, which is
        as safe as a crash."""
        self._stopping.set()
        self._wake.set()
        if self._loop is not None:
            self._loop.join(self._drain_seconds)
        drained = self.drained(self._drain_seconds)
        self._pool.shutdown(wait=False, cancel_futures=True)
        return drained

    def in_flight(self) -> frozenset[Future[None]]:
        """What is at work now."""
        with self._lock:
            return frozenset(self._at_work)

    def drained(self, seconds: float) -> bool:
        """Wait until nothing is in flight, at most so long."""
        _, undone = wait(self.in_flight(), timeout=seconds)
        return not undone

    def run_once(self) -> None:
        """Work until nothing is due any more, in this thread's time; for ``rotatord run --once`` and tests. A quota that is
        used up is waited for. Raises JournalUnavailable."""
        self._survey()
        while not self._stopping.is_set():
            claimed = self.claim()
            if self.journal_away:
                raise JournalUnavailable(self.journal_away)
            if claimed or not self.drained(self._drain_seconds) or self.claim():
                continue
            due, quota = self._journal.next_due(), self._budgets.wait()
            if quota is None or due is None or due > self._ctx.now():
                return
            self._ctx.clock.wait(self._stopping, max(quota, SHORTEST_SLEEP))

    def _run(self) -> None:
        self._guarded_survey()
        while not self._stopping.is_set():
            self.turned_at = self._ctx.clock.monotonic()
            self._wake.clear()
            try:
                claimed = self.claim()
                seconds = 0.0 if claimed else self._sleep_seconds()
                if not claimed and not self._at_work:
                    self.journal_away = ""
            except JournalUnavailable as error:
                self._journal_lost(error)
                seconds = JOURNAL_AWAY_SLEEP
            except Exception as error:  # noqa: BLE001  the loop itself must outlive everything, and say so
                self._log("engine loop", error=f"bug: {described(error)}")
                seconds = JOURNAL_AWAY_SLEEP
            if seconds > 0:
                self._ctx.clock.wait(self._wake, seconds)
            rest = self._rest_until - self._ctx.clock.monotonic()
            if rest > 0:  # whatever wakes us: what failed so is due again at once
                self._ctx.clock.wait(self._stopping, rest)

    def _guarded_survey(self) -> None:
        try:
            self._survey()
        except Exception as error:  # noqa: BLE001  what was not looked at is looked at before its own first side effect
            self._log("survey", error=f"{type(error).__name__}: {error}")

    def _journal_lost(self, error: JournalUnavailable) -> None:
        if not self.journal_away:
            self._log("journal unavailable: no side effect is started", error=str(error))
        self.journal_away = str(error)
        self._rest_until = self._ctx.clock.monotonic() + JOURNAL_AWAY_SLEEP

    def _sleep_seconds(self) -> float:
        if len(self._at_work) >= self._workers or self.stands_back:
            return LONGEST_SLEEP  # a worker that ends wakes us, or the configuration that comes into force
        due, seconds = self._journal.next_due(), LONGEST_SLEEP
        if (
            due is not None and due <= self._claimed_at
        ):  # its issuer is full: the end of a unit wakes us, or its quota comes back
            seconds = min(seconds, self._budgets.wait() or 0.5)
            due = self._journal.next_due(self._claimed_at)  # of the others, who need not wait for that
        if due is not None:
            seconds = min(seconds, (due - self._ctx.now()).total_seconds())
        return seconds

    # --- work ------------------------------------------------------------------------------------------------------

    def claim(self) -> int:
        """Begin to work on what is due, as far as there are threads; on how much."""
        with self._lock:
            free = self._workers - len(self._at_work)
        if free <= 0:
            return 0
        self._claimed_at = self._ctx.now()
        if self._stand_back():
            return 0
        begun = [self._submit(lease) for lease in self._own(free)]
        if len(begun) < free:
            leases = self._journal.claim(
                self._claimed_at, free - len(begun), full=self._budgets.full(), most=self._budgets.most
            )
            begun += [self._submit(lease) for lease in leases]
        self.progressed_at = self._ctx.clock.monotonic()
        return sum(begun)

    def _own(self, most: int) -> Iterator[Lease]:
        """Those of our own credentials that are due: without them nobody else's can be rotated. Each is to be begun before the
        next is looked for: a journal that fails meanwhile would leave its lease to run out unused."""
        taken = 0
        for name in self._first() if most else ():
            try:
                record = self._journal.get(name)
                if record is None or record.due_at is None or record.due_at > self._claimed_at:
                    continue
                lease = self._journal.lease(name)
            except JournalDamaged:  # the watchdog tells of it; the others are not to wait for that
                continue
            if lease is not None:
                yield lease
                taken += 1
            if taken == most:
                return

    def _stand_back(self) -> bool:
        why = self._standing_back()
        if why and not self.stands_back:
            self._log("standing back", why=why)
        self.stands_back = why
        return bool(why)

    def _submit(self, lease: Lease) -> bool:
        """Begin, unless others of the same claim have taken what its issuer may take of the threads."""
        issuer = issuer_of(lease.record)
        if issuer in self._budgets.full():
            self._journal.release(lease)
            return False
        self._budgets.begin(issuer)
        if lease.record.due_at is not None:
            self._telemetry.late(max(0.0, (self._ctx.now() - lease.record.due_at).total_seconds()))
        future = self._pool.submit(self._work, lease)
        with self._lock:
            self._at_work.add(future)
        future.add_done_callback(lambda done: self._ended(done, issuer))
        return True

    def _work(self, lease: Lease) -> None:
        try:
            self.saga.work(lease)
            self.journal_away = ""
        except JournalUnavailable as error:
            self._journal_lost(error)
        finally:
            self.hands.leased.forget(lease)

    def _ended(self, future: Future[None], issuer: str) -> None:
        self.progressed_at = self._ctx.clock.monotonic()
        self._budgets.end(issuer)
        with self._lock:
            self._at_work.discard(future)
        error = future.exception() if not future.cancelled() else None
        if error is not None:
            self._log("worker", error=f"{type(error).__name__}: {error}")
            self._rest_until = self._ctx.clock.monotonic() + JOURNAL_AWAY_SLEEP
        self._wake.set()

    # --- the whole installation ------------------------------------------------------------------------------------

    def _survey(self) -> None:
        """Before anything is written, compare the destinations with the journal: a lost or older one starts read only.
        Bounded in number and time; what was not looked at here is looked at before its own first side effect."""
        try:
            self.review()
            names = self._to_survey()
        except JournalUnavailable as error:
            self._journal_lost(error)
            return
        # Threads of its own: a destination that hangs holds none that work on others.
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="survey")
        wait([pool.submit(self._survey_one, name) for name in names], timeout=SURVEY_SECONDS)
        pool.shutdown(wait=False, cancel_futures=True)

    def _to_survey(self) -> list[str]:
        """A page at a time: a thousand records at once are memory that is never given back."""
        names: list[str] = []
        after = ""
        while len(names) < SURVEY_LIMIT and (page := self._journal.records(after=after, limit=SURVEY_PAGE, damaged={})):
            names += [
                record.name
                for record in page
                if record.standing in {Standing.MANAGED, Standing.NEW, Standing.UNMANAGED} and record.rotation is None
            ]
            after = page[-1].name
        return names

    def _survey_one(self, name: str) -> None:
        lease = self._journal.lease(name) if not self._stopping.is_set() else None
        if lease is None:
            return
        try:
            self.saga.survey(lease)
        except JournalUnavailable as error:
            self._journal_lost(error)
        finally:
            self.hands.leased.forget(lease)

    def _make_read_only(self, why: str) -> None:
        if not self._journal.fact(READ_ONLY):
            self._journal.set_fact(READ_ONLY, why)
        self._log("read only", why=why)

    def review(self) -> None:
        """Work may begin again when no record is behind any more: the last one was rebuilt, or is no longer declared. One
        that was not is found again before its own first side effect."""
        if not self._journal.fact(READ_ONLY):
            return
        after = ""
        while page := self._journal.records(after=after):
            if any(record.standing is Standing.BEHIND for record in page):
                return
            after = page[-1].name
        self._journal.set_fact(READ_ONLY, None)
        self._wake.set()


def issuer_of(record: Record) -> str:
    """Whose budget work on this record uses."""
    return record.rotation.plan.issuer if record.rotation is not None else record.spec.issuer
