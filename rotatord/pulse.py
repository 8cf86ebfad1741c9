"""Whether work gets on, and the dead man's signal: an external watcher is told so for as long as it does, and hears silence
when it does not, whatever the reason.

The signal is sent by one daemon at a time, for the whole installation: if each sent its own to one address, the living
would cover up for the one that stands still. Whoever stands still says so in the journal, and then nobody sends it; what a
daemon that died had in hand is taken over by the others, which is no standstill. Nothing here is waited for by the engine.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from rotatord.clock import Clock
from rotatord.damage import DAMAGED, known
from rotatord.errors import JournalError, OutsideError
from rotatord.http import Outgoing, shown
from rotatord.model import JsonMap
from rotatord.ports import Journal
from rotatord.telemetry import Telemetry
from rotatord.watchdog import LOOKED

log = logging.getLogger(__name__)

PROGRESS = "progress_at"  # fact: the last proof that the journal can be written
STUCK = "stuck"  # fact: the daemons that stand still, and why
READ_ONLY = "read_only"
STALLED = timedelta(minutes=5)  # longer than any call but the longest, and than anything is left alone
USUAL_SECONDS = 60.0
MOST_NAMED = 5


class Worker(Protocol):
    """As much of the engine as is needed here. Seconds of the monotonic clock."""

    turned_at: float
    progressed_at: float  # something was claimed, or nothing was due, or work came to its end
    journal_away: str
    stands_back: str


class Others(Protocol):
    """As much of the replicas as is needed here."""

    @property
    def owner(self) -> str: ...
    def alive(self) -> Collection[str]: ...
    def turn(self, what: str, seconds: float) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Where the signal goes. ``url`` may be a token in itself: it is read anew at each use, and never shown."""

    url: Callable[[], str]
    outgoing: Outgoing
    every_seconds: float = USUAL_SECONDS
    method: str = "GET"
    failure: str | None = None  # put behind the path to say that nothing gets on


class Asked(Protocol):
    """The part of the configuration that is needed here."""

    @property
    def url(self) -> JsonMap: ...
    @property
    def every(self) -> timedelta: ...
    @property
    def method(self) -> str: ...
    @property
    def failure(self) -> str | None: ...
    def outgoing(self) -> Outgoing: ...


def signal_of(asked: Asked | None, secret: Callable[[JsonMap], str]) -> Signal | None:
    """As it is configured, if it is."""
    if asked is None:
        return None
    url = asked.url
    return Signal(
        url=lambda: str(url["url"]) if "url" in url else secret(url),
        outgoing=asked.outgoing(),
        every_seconds=asked.every.total_seconds(),
        method=asked.method.upper(),
        failure=asked.failure,
    )


class Pulse:
    """Looks every so often. For one thread; may block as long as the timeout of the signal lets it."""

    def __init__(self, journal: Journal, clock: Clock, worker: Worker, others: Others, telemetry: Telemetry) -> None:
        self._journal = journal
        self._clock = clock
        self._worker = worker
        self._others = others
        self._telemetry = telemetry
        self.signal: Signal | None = None  # may be exchanged when the configuration is loaded anew
        self._next = self._send_at = self._started = clock.monotonic()
        self._said = ""

    def look(self) -> None:
        """One look, when its time has come; as often as the metric wants it, where the signal is sent more seldom."""
        now, signal = self._clock.monotonic(), self.signal
        if now < self._next:
            return
        troubles = self.troubles()
        if not troubles:
            self._telemetry.progressed(self._clock.now())
        if signal is not None and now >= self._send_at and not self._begins() and self._ours(signal):
            self._send_at = now + signal.every_seconds
            self._send(signal, troubles)
        again = now + (min(USUAL_SECONDS, signal.every_seconds) if signal else USUAL_SECONDS)
        self._next = min(again, self._send_at) if self._send_at > now else again

    def troubles(self) -> list[str]:
        """Why nothing gets on; empty while it does. Each a sentence without a secret."""
        try:
            self._journal.set_fact(PROGRESS, self._clock.now().isoformat())
            own = self._own()
            return own + self._elsewhere(own) + self._all()
        except JournalError as error:
            return [f"the journal cannot be written: {error}"]

    def _own(self) -> list[str]:
        worker, now = self._worker, self._clock.monotonic()
        if worker.stands_back:
            return []  # the others are at work, with another configuration
        if worker.journal_away:
            return [f"the engine waits for the journal: {worker.journal_away}"]
        for at, what in (
            (worker.turned_at, "the engine has not turned"),
            (worker.progressed_at, "nothing was claimed or ended"),
        ):
            if now - at > STALLED.total_seconds():
                return [f"{what} for {now - at:.0f} seconds"]
        return []

    def _elsewhere(self, own: list[str]) -> list[str]:
        """Say to the others whether we stand still, and hear which of them do."""
        known: dict[str, str] = json.loads(self._journal.fact(STUCK) or "{}")
        alive, ours = self._others.alive(), self._others.owner
        stuck = {owner: why for owner, why in known.items() if owner in alive and owner != ours}
        told = stuck | ({ours: own[0]} if own else {})
        if told != known:
            self._journal.set_fact(STUCK, json.dumps(told) if told else None)
        return [f"another daemon stands still: {why}" for why in stuck.values()]

    def _all(self) -> list[str]:
        found = []
        if self._unwatched():
            found.append(f"the watchdog has not looked since {self._journal.fact(LOOKED) or 'the start'}")
        if why := self._journal.fact(READ_ONLY):
            found.append(f"read only: {why}")
        if damaged := known(self._journal.fact(DAMAGED)):
            found.append(f"nobody can tell how {', '.join(sorted(damaged)[:MOST_NAMED])} stands: {min(damaged.items())[1]}")
        return found

    def _unwatched(self) -> bool:
        looked = self._journal.fact(LOOKED)
        return looked is None or self._clock.now() - datetime.fromisoformat(looked) > STALLED

    def _begins(self) -> bool:
        """Whether the watchdog cannot have looked since this start, nor did shortly before: neither that work gets on nor
        that it does not is known, and nobody is woken for that."""
        if self._clock.monotonic() - self._started > STALLED.total_seconds():
            return False
        try:
            return self._unwatched()
        except JournalError:
            return False

    def _ours(self, signal: Signal) -> bool:
        try:
            return not self._worker.stands_back and self._others.turn("deadman", max(45.0, 2 * signal.every_seconds))
        except JournalError:
            return True  # nobody can tell whose turn it is; that nothing gets on may be said twice

    def _send(self, signal: Signal, troubles: list[str]) -> None:
        """Said in the log when it changes, not every minute."""
        if troubles and signal.failure is None:
            self._say(f"dead man's signal withheld: {'; '.join(troubles)}")
            return
        try:
            said = _post(signal, troubles, self._clock.now())
        except OutsideError as error:
            said = f"dead man's signal not delivered: {error}"
        self._telemetry.signalled("failed" if said else "withheld" if troubles else "ok")
        self._say(said or (f"dead man's signal says that nothing gets on: {'; '.join(troubles)}" if troubles else ""))

    def _say(self, what: str) -> None:
        if what != self._said:
            log.log(logging.WARNING if what else logging.INFO, "%s", what or "dead man's signal delivered")
        self._said = what


def _post(signal: Signal, troubles: list[str], now: datetime) -> str:
    """What went wrong with it; "" when it was taken. Raises OutsideError that shows no more of the address than its host."""
    url = signal.url().strip()
    host = shown(url).split("://")[-1].partition("/")[0]
    if troubles:
        path, mark, query = url.partition("?")
        url = path.rstrip("/") + (signal.failure or "") + mark + query
    text = "; ".join(troubles) or f"rotatord_last_progress_timestamp_seconds {now.timestamp():.0f}"
    body = f"{text}\n".encode() if signal.method in {"POST", "PUT"} else None
    headers = {"content-type": "text/plain; version=0.0.4"} if body is not None else {}
    try:
        answer = signal.outgoing.request(signal.method, url, body=body, headers=headers)
    except OutsideError as error:
        words = str(error).replace(shown(url), host)
        return f"dead man's signal not delivered: {words}"
    return "" if 200 <= answer.status < 300 else f"dead man's signal not delivered: {host} answered {answer.status}"
