"""The service over a journal: requests become amendments, and the daemon is woken to carry them out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from rotatord.api.service import Facts, Finding, Stray
from rotatord.clock import Clock, Ids
from rotatord.commands import Command
from rotatord.damage import page_of
from rotatord.errors import JournalError, Refused
from rotatord.model import Event, JsonMap, Pause, Record
from rotatord.own_life import SEEN as OWN_LIFE
from rotatord.own_used import USED, told
from rotatord.pauses import LONGEST, PAUSED, USUAL, live, text_of
from rotatord.ports import Amendment, Journal

Accept = Callable[[Record, Command, datetime, Ids], Amendment]

READ_ONLY = "read_only"  # fact: why nothing is written outside
INSTALLATION = "installation"  # fact: this deployment's identity
PROBED = "probed_at"  # fact: when readiness last proved that the journal can be written
# A readiness probe may come every second; the disk is asked no more often than this.
PROBE_EVERY = timedelta(seconds=10)


def _nothing_to_report(*_: object) -> Sequence[Finding]:
    return ()


def _no_strays() -> Sequence[Stray]:
    return ()


def _all_listed() -> Sequence[str]:
    return ()


def _no_preview(_: str) -> JsonMap:
    return {"cannot_show": "only a running daemon can tell what would be sent"}


def _no_reload() -> Sequence[str]:
    raise Refused("this daemon cannot load its configuration anew")


class JournalService:
    """Implements :class:`rotatord.api.service.Service`. What the journal cannot know, the daemon lends as callables."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        ids: Ids,
        accept: Accept,
        wake: Callable[[], None],
        *,
        version: str = "",
        check: Callable[[Sequence[str]], Sequence[Finding]] = _nothing_to_report,
        strays: Callable[[], Sequence[Stray]] = _no_strays,
        unlisted: Callable[[], Sequence[str]] = _all_listed,
        unreached: Callable[[], Mapping[str, str]] = dict,
        preview: Callable[[str], JsonMap] = _no_preview,
        reload: Callable[[], Sequence[str]] = _no_reload,
        alive: Callable[[], Sequence[Finding]] = _nothing_to_report,
        metrics: Callable[[], bytes] = bytes,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._accept = accept
        self._wake = wake
        self._version = version
        self.check = check
        self.strays = strays
        self.unlisted = unlisted
        self.unreached = unreached
        self.preview = preview
        self.reload = reload
        self.alive = alive
        self.metrics = metrics
        self._probe = threading.Lock()
        self._probed: datetime | None = None
        self._pauses = live(journal, clock.now)

    def now(self) -> datetime:
        return self._clock.now()

    def facts(self) -> Facts:
        pause = self._pauses()
        return Facts(
            installation=self._journal.fact(INSTALLATION) or "",
            version=self._version,
            read_only=self._journal.fact(READ_ONLY) or "",
            paused=pause.words if pause else "",
            pause=pause,
            own=tuple(json.loads(self._journal.fact(OWN_LIFE) or "[]")),
            own_used=told(self._journal.fact(USED)),
        )

    def names(self) -> Sequence[str]:
        return self._journal.names()

    def record(self, name: str) -> Record:
        record = self._journal.get(name)
        if record is None:
            raise KeyError(name)
        return record

    def records(self, *, after: str = "", limit: int = 500) -> Sequence[Record]:
        return self._journal.records(after=after, limit=limit)

    def page(self, after: str, limit: int, damaged: dict[str, str]) -> tuple[Sequence[Record], str | None]:
        return page_of(self._journal, after, limit, damaged)

    def request(self, command: Command) -> Record | None:
        if command.credential:
            now = self._clock.now()
            record = self._journal.amend(command.credential, lambda record: self._accept(record, command, now, self._ids))
        else:
            record = None
            {"pause": self._pause, "unpause": self._unpause}[command.verb](command)
        self._wake()
        return record

    def attempt(self, record: Record, command: Command) -> Amendment:
        return self._accept(record, command, self._clock.now(), self._ids)

    def events(self, credential: str | None, *, after: int, limit: int) -> Sequence[Event]:
        return self._journal.replay(credential, after=after, limit=limit)

    def counts(self) -> dict[str, int]:
        return self._journal.counts(self._clock.now())

    def ready(self) -> Sequence[Finding]:
        try:
            self._prove_writable()
            read_only = self._journal.fact(READ_ONLY)
        except JournalError as error:
            return (Finding(subject="journal", ok=False, detail=f"cannot be written: {error}"),)
        return (
            Finding(subject="journal", ok=True, detail="can be written"),
            Finding(subject="read_only", ok=not read_only, detail=read_only or "no"),
            *self.alive(),
        )

    def _prove_writable(self) -> None:
        now = self._clock.now()
        with self._probe:
            if self._probed is not None and timedelta(0) <= now - self._probed < PROBE_EVERY:
                return
            self._journal.set_fact(PROBED, now.isoformat())
            self._probed = now

    def _pause(self, command: Command) -> None:
        now, wish = self._clock.now(), command.arguments
        until = wish["until"] or now + USUAL
        if until <= now:
            raise Refused(f"the pause would have ended already, at {until.isoformat()}")
        if until > now + LONGEST:
            raise Refused(f"a pause lasts {LONGEST.days} days at most: nothing is rotated while it does; pause anew by then")
        pause = Pause(owner=wish["owner"] or command.actor, until=until, reason=wish["reason"], actor=command.actor, at=now)
        self._journal.set_fact(PAUSED, text_of(pause), [self._told(command, until=until.isoformat(), owner=pause.owner)])

    def _unpause(self, command: Command) -> None:
        if self._pauses() is None:
            raise Refused("the installation is not paused")
        self._journal.set_fact(PAUSED, None, [self._told(command)])

    def _told(self, command: Command, **facts: str) -> Event:
        return Event(
            id=self._ids.new("evt"),
            time=self._clock.now(),
            actor=command.actor,
            action=command.verb,
            credential="",
            outcome="done",
            reason=command.arguments["reason"],
            evidence=facts,
        )
