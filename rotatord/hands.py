"""The hands of the saga: outside calls under a lease, counted and timed, and commits to the journal."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from rotatord.clock import Clock
from rotatord.errors import Invalid, LeaseLost, RotatordError
from rotatord.model import Event, Notice, Record, Rotation
from rotatord.ops import Call
from rotatord.ports import NOTHING, Journal, Lease
from rotatord.replacing import replace
from rotatord.telemetry import Telemetry

MARGIN_SECONDS = 1.0


class Leased:
    """Keeps leases long enough for what is about to start. Thread-safe: a lease is used by one thread at a time."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._renewed: dict[tuple[str, int], Lease] = {}
        self._usual = 0.0  # seconds that a lease lasts which nobody asked more of
        self._lock = threading.Lock()

    def lasts(self, lease: Lease, seconds: float) -> Lease:
        """The lease, good for ``seconds`` plus a margin. Raises LeaseLost when it is gone, or the journal answers so slowly
        that it is as good as gone; Invalid when the journal gives none that is long enough."""
        key, needed = (lease.name, lease.fence), seconds + MARGIN_SECONDS
        with self._lock:
            held = self._renewed.get(key, lease)
        given = 0.0
        for wanted in (0.0, seconds + 2 * MARGIN_SECONDS):  # as usual, and then for a call that lasts longer than that
            asked = self._clock.monotonic()
            if held.expires - asked > needed:
                return held
            held = self._journal.renew(held, wanted) if wanted else self._journal.renew(held)
            given = held.expires - asked
            with self._lock:
                self._renewed[key] = held
                self._usual = self._usual if wanted else held.expires - self._clock.monotonic()
        if given <= needed:
            raise Invalid(f"a call of up to {seconds:g} s does not fit into a lease: give it a shorter timeout")
        if held.expires - self._clock.monotonic() <= needed:  # a slow journal is not the call's fault
            raise LeaseLost(f"too little of the lease of {lease.name} was left when the journal had prolonged it")
        return held

    def shorten(self, lease: Lease) -> None:
        """The call is over: believe in the lease no longer than in any other. The next commit tells the journal, so that
        nobody waits for a call that has ended when we die."""
        key = (lease.name, lease.fence)
        with self._lock:
            held = self._renewed.get(key)
            if held is not None and self._usual:
                self._renewed[key] = replace(held, expires=min(held.expires, self._clock.monotonic() + self._usual))

    def forget(self, lease: Lease) -> None:
        """The lease is given back."""
        with self._lock:
            self._renewed.pop((lease.name, lease.fence), None)


class Hands:
    """Carries out calls and commits of units; see :class:`rotatord.saga.Hands`."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        telemetry: Telemetry,
        *,
        spend: Callable[[str, int], None] = lambda *_: None,
        sent: Callable[[str], int | None] = lambda _: None,
        heard: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._telemetry = telemetry
        self._spend = spend
        self._sent = sent
        self._heard = heard
        self.leased = Leased(journal, clock)
        self._places: dict[str, Rotation] = {}  # where each open rotation stood at its last commit

    def call(self, lease: Lease, call: Call) -> Any:
        """Start no call that could outlive the lease; time it, and count it against its issuer's budget."""
        self.leased.lasts(lease, call.timeout)
        if call.issuer:
            self._spend(call.issuer, 1)
        port, _, method = call.point.partition(".")
        started, outcome = self._clock.monotonic(), "ok"
        try:
            return call.run()
        except RotatordError as error:
            outcome = type(error).__name__
            raise
        except Exception:
            outcome = "bug"
            raise
        finally:
            self._pay(call.issuer)
            self.leased.shorten(lease)
            self._telemetry.call(port, call.issuer, method, self._clock.monotonic() - started, outcome)

    def _pay(self, issuer: str) -> None:
        """What the call really was, where that can be told: several requests, or none. No answer is lost over that."""
        count = None
        with contextlib.suppress(Exception):
            count = self._sent(issuer) if issuer else None
        if count is not None:
            self._spend(issuer, count - 1)

    def commit(
        self,
        lease: Lease,
        record: Record,
        events: tuple[Event, ...],
        notices: tuple[Notice, ...],
        given: Mapping[str, str | None] = NOTHING,
    ) -> Record:
        """Store, then tell whoever listens."""
        stored = self._journal.commit(self.leased.lasts(lease, 0.0), record, events, notices, given)
        for event in events:
            self._heard(event)
        self._time(stored)
        return stored

    def _time(self, record: Record) -> None:
        """How long the rotation stayed where it was, once it has moved on."""
        before, now = self._places.pop(record.name, None), record.rotation
        if before is not None and (now is None or (now.state, now.way) != (before.state, before.way)):
            self._telemetry.phase(before.state.value, before.way.value, (self._clock.now() - before.since).total_seconds())
        if now is not None:
            self._places[record.name] = now
