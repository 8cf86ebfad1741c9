"""The one place where the demo touches the daemon: it starts a real one in this process, and asks it as anybody would."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rotatord.clock import Clock
from rotatord.commands import Command
from rotatord.config import load
from rotatord.daemon import Daemon
from rotatord.demo.consumer import CREDENTIAL
from rotatord.demo.world import DemoError, World
from rotatord.model import Event, Record, Slot
from rotatord.ports import Inventory
from rotatord.telemetry import configure_logging

EVENTS_AT_ONCE = 1000


class Engine:
    """A daemon over the world's configuration, while it is entered."""

    def __init__(self, world: World, clock: Clock) -> None:
        configure_logging("ERROR")  # the story is told instead
        self._daemon = Daemon(load(world.configuration), world.configuration, clock=clock)

    def __enter__(self) -> Self:
        try:
            self._daemon.start(api=False)
        except BaseException:
            self._daemon.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._daemon.stop()

    def record(self) -> Record:
        """What the journal knows."""
        return self._daemon.service.record(CREDENTIAL)

    def events(self, after: int) -> Sequence[Event]:
        """The event log, from the one after ``after`` on."""
        return self._daemon.service.events(CREDENTIAL, after=after, limit=EVENTS_AT_ONCE)

    def request(self, command: Command) -> None:
        """Ask for something. Raises Refused."""
        self._daemon.service.request(command)

    # --- books ---------------------------------------------------------------------------------------------------

    def current_label(self) -> str:
        current = self.record().current
        return current.label if current is not None else ""

    def live_tokens(self) -> int:
        """How many tokens the issuer's own store says are alive."""
        issuer = self._daemon.plugins.issuer(self.record().spec.issuer)
        if not isinstance(issuer, Inventory):
            raise DemoError("the issuer cannot tell what is alive")
        return len(issuer.inventory())

    def not_quiet(self) -> Sequence[str]:
        """What is unfinished, in words."""
        record = self.record()
        home = record.spec.home
        backend = self._daemon.plugins.backend(home.backend)
        found = [
            f"the {slot.value} slot is not empty"
            for slot in (Slot.PENDING, Slot.PREVIOUS)
            if not backend.read(home, slot).empty
        ]
        if record.rotation is not None or record.ledger:
            found.append("something is still open in the journal")
        return found
