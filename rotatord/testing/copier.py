"""What stands between a destination and its readers: a controller that copies it elsewhere, late, or not any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from rotatord.document import to_document
from rotatord.model import Destination
from rotatord.secret import Secret
from rotatord.testing.backend import FakeBackend
from rotatord.testing.clock import VirtualClock


class FakeCopier:
    """Keeps ``copy`` equal to ``source``, each change ``lag()`` later, without our marker. ``stopped``: does nothing."""

    def __init__(
        self,
        clock: VirtualClock,
        source: tuple[FakeBackend, Destination],
        copy: tuple[FakeBackend, Destination],
        lag: Callable[[], timedelta] = lambda: timedelta(0),
    ) -> None:
        self.clock = clock
        self.source = source
        self.copy = copy
        self.lag = lag
        self.stopped = False
        self.pending: list[tuple[datetime, Secret]] = []
        self._seen: Secret | None = None

    @property
    def moments(self) -> list[datetime]:
        """When it will do something."""
        return [] if self.stopped else [at for at, _ in self.pending]

    def tick(self) -> None:
        """See what changed, and copy what is due; a later change that is due first is not undone by an earlier one."""
        backend, destination = self.source
        shown = backend.shown(destination).fields
        if shown is not None and shown != self._seen:
            self._seen = shown
            self.pending.append((self.clock.outside() + self.lag(), shown))
        if self.stopped:
            return
        due = [index for index, (at, _) in enumerate(self.pending) if at <= self.clock.outside()]
        if not due:
            return
        _, fields = self.pending[due[-1]]
        self.pending = self.pending[due[-1] + 1 :]
        backend, destination = self.copy
        backend.tamper(destination, to_document(destination, fields.reveal_all(), ""), keep_marker=False)
