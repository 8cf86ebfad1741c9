"""The periodic chores, driven by ``schedule``. Due times of credentials are not among them: those live in the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import schedule

from rotatord.bugs import described
from rotatord.clock import Clock
from rotatord.errors import RotatordError

TICK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Chore:
    """Something done every so many seconds. It must not block for long and may raise: the next time it is tried again."""

    name: str
    every_seconds: int
    do: Callable[[], object]


class Aside:
    """A chore that may block for long, as one that asks issuers does: done in a thread of its own, never twice at once."""

    def __init__(self, name: str, do: Callable[[], object], log: Callable[..., None]) -> None:
        self._name = name
        self._do = do
        self._log = log
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def __call__(self, *_: object) -> None:
        with self._lock:  # not only the chores ask for it
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        attempt(self._name, self._do, self._log)


def attempt(name: str, do: Callable[[], object], log: Callable[..., None]) -> None:
    """Do a chore; what goes wrong is logged and harms no other."""
    try:
        do()
    except RotatordError as error:
        log("chore failed", chore=name, error=str(error))
    except Exception as error:  # noqa: BLE001  one chore's bug must not end the others
        log("chore failed", chore=name, error=f"bug: {described(error)}")


class Chores:
    """One thread for all of them; a chore that fails is logged and harms no other."""

    def __init__(self, clock: Clock, chores: list[Chore], log: Callable[..., None]) -> None:
        self._clock = clock
        self._log = log
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)
        self._scheduler = schedule.Scheduler()
        self.ticked_at = clock.monotonic()
        self._shortest = min((chore.every_seconds for chore in chores), default=0)
        for chore in chores:
            self._scheduler.every(chore.every_seconds).seconds.do(self._one, chore)

    def start(self) -> None:
        """Begin; each chore is done for the first time after its first period."""
        self._thread.start()

    def stop(self) -> None:
        """End after the chore in hand; harmless where it was never started."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._clock.wait(self._stopping, max(TICK_SECONDS, min(self._scheduler.idle_seconds or 0, 5.0))):
            self.ticked_at = self._clock.monotonic()
            if (self._scheduler.idle_seconds or 0) > self._shortest:
                # It goes by the local wall clock, which was set back (by a person, or at the end of summer time): nothing
                # would be done until that has caught up.
                self._scheduler.run_all()
            else:
                self._scheduler.run_pending()

    def _one(self, chore: Chore) -> None:
        attempt(chore.name, chore.do, self._log)
