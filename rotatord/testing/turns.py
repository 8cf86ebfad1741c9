"""Threads of which exactly one runs at a time. Who is next is decided by virtual time and, among equals, by the seed.

Whoever goes to sleep looks for the next thing to happen and, where that is somebody else's, hands over. Threads are kept
and used again: a simulation of ten thousand seeds starts a handful.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from rotatord.testing.clock import VirtualClock

Happening = Callable[[], None]
MOST_HAPPENINGS = 60_000  # of one run: more means that something runs hot


class Death(BaseException):
    """The process is gone: kill -9. Nothing in the engine may catch it."""


class RunsHot(AssertionError):
    """More happened than anything should need."""


class _Worker(threading.Thread):
    """One thread that waits for the next job."""

    def __init__(self) -> None:
        super().__init__(name="simulated", daemon=True)
        self.go = threading.Lock()
        self.go.acquire()
        self.job: Callable[[], None] = lambda: None
        self.start()

    def run(self) -> None:
        while True:
            self.go.acquire()
            self.job()


_IDLE: list[_Worker] = []


@dataclass(eq=False, slots=True)
class Task:
    """Something that runs for a while and sleeps in between. ``frozen_until``: it does not run before."""

    name: str
    body: Callable[[Task], None] | None = None
    frozen_until: float = 0.0
    doomed: bool = False
    ended: bool = False
    entry: int = 0  # the number of its place in the queue; an older one is void
    worker: _Worker | None = None
    go: threading.Lock | None = None


@dataclass(slots=True)
class Turns:
    """The queue of everything that will happen. ``draw``: a fraction that orders what happens at the same moment.
    ``look``: asked before each happening; it may queue more. ``tell``: time has passed."""

    clock: VirtualClock
    draw: Callable[[], float]
    look: Callable[[], None] = lambda: None
    tell: Callable[[], None] = lambda: None
    happened: int = 0
    wanted: Callable[[], bool] | None = None  # the main thread goes on as soon as this holds
    failure: BaseException | None = None
    _queue: list[tuple[float, float, int, Task | Happening]] = field(default_factory=list)
    _numbers: int = 0
    _main: Task = field(default_factory=lambda: Task("main", go=_closed()))
    _tasks: list[Task] = field(default_factory=list)

    @property
    def now(self) -> float:
        return self.clock.monotonic()

    # --- for the main thread -------------------------------------------------------------------------------------

    def run(self, seconds: float, wanted: Callable[[], bool] | None = None) -> None:
        """Let everything happen for so long, or until ``wanted``."""
        self.wanted = wanted
        self._push(self.now + seconds, self._main)
        self._hand_over(self._main)
        self._main.entry = 0
        self.wanted = None
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def close(self) -> None:
        """Kill every task that is left, so that its thread can be used again."""
        self.look = self.tell = lambda: None
        self._queue = [item for item in self._queue if isinstance(item[3], Task)]
        for task in list(self._tasks):
            self.doom(task)
        for _ in range(100):
            if not self._tasks:
                return
            self.failure = None
            self.run(0.0)
            self.clock.advance(1.0)

    # --- for everybody -------------------------------------------------------------------------------------------

    def after(self, seconds: float, happening: Happening) -> None:
        """Let something happen later, in whoever's thread."""
        self._push(self.now + seconds, happening)

    def start(self, name: str, body: Callable[[Task], None], seconds: float = 0.0) -> Task:
        """A new task, that begins later."""
        task = Task(name, body)
        self._tasks.append(task)
        self._push(self.now + seconds, task)
        return task

    def sleep(self, task: Task, seconds: float) -> None:
        """Called by the task itself. Raises Death when it was doomed meanwhile."""
        self._push(self.now + seconds, task)
        self._hand_over(task)
        if task.doomed:
            raise Death

    def doom(self, task: Task) -> None:
        """Let a sleeping task die at once."""
        task.doomed = True
        task.frozen_until = 0.0
        if not task.ended:
            self._push(self.now, task)

    def next_at(self) -> float | None:
        """When the next thing in the queue happens."""
        return self._queue[0][0] if self._queue else None

    # --- inside --------------------------------------------------------------------------------------------------

    def _push(self, at: float, what: Task | Happening) -> None:
        self._numbers += 1
        if isinstance(what, Task):
            what.entry = self._numbers
        heapq.heappush(self._queue, (at, self.draw(), self._numbers, what))

    def _hand_over(self, me: Task) -> None:
        """Let things happen until it is this task's turn again."""
        if self._next(me):
            return
        assert me.go is not None
        me.go.acquire()

    def _next(self, me: Task | None) -> bool:
        """Run what happens next, up to a task's turn; True when that is mine, else it has been handed over."""
        try:
            task = self._next_task()
        except BaseException as failure:  # noqa: BLE001  told to the main thread, whose test it is
            self.failure, task = failure, self._main
        if task is me:
            return True
        if task.go is None:
            self._give_thread(task)
        assert task.go is not None
        task.go.release()
        return False

    def _next_task(self) -> Task:
        while True:
            if self.wanted is not None and self.wanted():
                self._main.entry = -1
                return self._main
            self.look()
            at, _, number, what = heapq.heappop(self._queue)
            passes = at - self.now
            if passes > 0:
                self.clock.advance(passes)
                self.tell()
            self.happened += 1
            if self.happened > MOST_HAPPENINGS:
                raise RunsHot(f"more than {MOST_HAPPENINGS} things happened")
            if not isinstance(what, Task):
                what()
            elif what.entry == number and not what.ended:
                if what.frozen_until > self.now:
                    self._push(what.frozen_until, what)
                else:
                    return what

    def _give_thread(self, task: Task) -> None:
        task.worker = _IDLE.pop() if _IDLE else _Worker()
        task.go = task.worker.go
        task.worker.job = lambda: self._work(task)

    def _work(self, task: Task) -> None:
        """In a worker's thread, from the task's first turn to its end."""
        assert task.body is not None
        assert task.worker is not None
        try:
            if not task.doomed:
                task.body(task)
        except Death:
            pass
        except BaseException as failure:  # noqa: BLE001  told to the main thread, whose test it is
            self.failure = failure
            self.wanted = lambda: True
        task.ended = True
        self._tasks.remove(task)
        _IDLE.append(task.worker)
        self._next(None)


def _closed() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock
