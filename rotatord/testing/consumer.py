"""Consumers in memory. Each instance holds the value that it loaded and uses it; a refusal is an outage on record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rotatord.errors import Retryable
from rotatord.model import Destination
from rotatord.ports import Instance, Published
from rotatord.secret import Secret
from rotatord.testing.backend import FakeBackend
from rotatord.testing.book import Book, Fake
from rotatord.testing.clock import VirtualClock
from rotatord.testing.issuer import FakeIssuer


@dataclass(slots=True)
class FakeInstance:
    """One running copy and the value in its memory."""

    id: str
    created_at: datetime
    secret: Secret | None = None
    label: str | None = None
    refused_label: str | None = None
    stuck: bool = False  # never loads again
    loads_at: datetime | None = None  # a reload was accepted and takes effect then
    polls_at: datetime | None = None
    ends_at: datetime | None = None  # terminating until then, still using what it has
    working: bool = True  # its last use was accepted
    uses: int = 0
    refusals: int = 0


class FakeConsumer(Fake):
    """A consumer of one destination, ``copies`` instances of it.

    ``evidence``: what its proof is (see :class:`rotatord.ports.Consumer`); with "rollout" a reload starts new instances
    and the old ones drain, otherwise they load in place. ``poll``: reads by itself this often. ``applies_after``: an
    accepted reload takes effect so much later; None: never. ``comes_up``: only so many instances follow a reload.
    ``refuses(label)``: will not load that version and says so. ``hangs``: never answers. ``lies``: attests without
    loading. ``drains``: how long old instances of a rollout go on. ``copy_delay``: reads a copy of the destination that
    is so much older. ``excused``: its refused uses are counted but are nobody's violation.
    """

    def __init__(
        self,
        clock: VirtualClock,
        issuer: FakeIssuer,
        backend: FakeBackend,
        destination: Destination,
        *,
        name: str = "app",
        copies: int = 1,
        evidence: str = "attestation",
        poll: timedelta | None = None,
        applies_after: timedelta | None = timedelta(0),
        comes_up: int | None = None,
        refuses: Callable[[str], bool] | None = None,
        drains: timedelta = timedelta(0),
        copy_delay: timedelta = timedelta(0),
        hangs: bool = False,
        lies: bool = False,
        excused: bool = False,
        book: Book | None = None,
        timeout: float = 5.0,
        call_seconds: float = 0.0,
    ) -> None:
        super().__init__(clock, name, book or issuer.book, call_seconds)
        self.issuer = issuer
        self.backend = backend
        self.read_from(destination)
        self.evidence = evidence
        self.poll = poll
        self.applies_after = applies_after
        self.comes_up = comes_up
        self.refuses = refuses or (lambda _label: False)
        self.drains = drains
        self.copy_delay = copy_delay
        self.hangs = hangs
        self.lies = lies
        self.excused = excused
        self.timeout = timeout
        self.copies: list[FakeInstance] = []
        self.tokens: list[str] = []  # of the reloads accepted, each once
        self.refused_uses = 0
        self._claims: dict[str, str] = {}  # what a liar says it has loaded
        self._born = 0
        self.scale(copies)

    # --- the port ------------------------------------------------------------------------------------------------

    def reload(self, published: Published) -> None:
        self._enter("reload", token=published.token, label=published.label)
        if self.hangs:
            raise Retryable(f"{self.name} does not answer")
        with self._lock:
            if published.token in self.tokens:
                return
            self.tokens.append(published.token)
            self._claims[published.credential] = published.label
            if self.applies_after is None or self.lies:
                return
            running = [copy for copy in self.copies if copy.ends_at is None]
            following = running if self.comes_up is None else running[: self.comes_up]
            for copy in following:
                copy.loads_at = self.clock.outside() + self.applies_after
            self._work()

    def instances(self, published: Published) -> Sequence[Instance]:
        self._enter("instances", label=published.label)
        if self.hangs:
            raise Retryable(f"{self.name} does not answer")
        with self._lock:
            self._work()
            return [self._answer(copy, published) for copy in self.copies]

    # --- what happens behind the port ------------------------------------------------------------------------------

    def tick(self) -> None:
        """Load what is due, then use every value in memory once."""
        with self._lock:
            self._work()
            for copy in self.copies:
                self._use(copy)

    def moments(self) -> list[datetime]:
        """When an instance will load, end, or poll something that it has not got."""
        found = []
        shown = None
        for copy in self.copies:
            if copy.loads_at is not None:
                found.append(copy.loads_at)
            if copy.ends_at is not None:
                found.append(copy.ends_at)
            elif copy.polls_at is not None:
                shown = shown or self.backend.shows(self._place)
                if self.copy_delay or shown.fields is not copy.secret:
                    found.append(copy.polls_at)
        return found

    def keep_up(self) -> None:
        """Polls are over at which there was nothing new to read."""
        now, shown = self.clock.outside(), self.backend.shows(self._place)
        for copy in self.copies:
            if self.poll and copy.polls_at is not None and copy.polls_at < now and shown.fields is copy.secret:
                copy.polls_at += self.poll * -((copy.polls_at - now) // self.poll)

    def read_from(self, destination: Destination) -> None:
        """Follow this destination from now on."""
        self.destination = destination
        self._place = destination.id

    def scale(self, count: int) -> None:
        """Run this many instances: the oldest end at once, new ones start with what they can read."""
        with self._lock:
            running = [copy for copy in self.copies if copy.ends_at is None]
            for copy in running[: max(len(running) - count, 0)]:
                self.copies.remove(copy)
            for _ in range(count - len(running)):
                self._start()

    def restart(self) -> None:
        """Every instance crashes and starts anew, with what can be read now."""
        with self._lock:
            count = len([copy for copy in self.copies if copy.ends_at is None])
            self.copies.clear()
            self.scale(count)

    def using(self, secret: Secret) -> list[str]:
        """The instances that have this very secret in memory."""
        with self._lock:
            return [copy.id for copy in self.copies if copy.secret == secret]

    def labels(self) -> set[str | None]:
        """What the running instances really use."""
        with self._lock:
            return {copy.label for copy in self.copies}

    def _start(self) -> FakeInstance:
        self._born += 1
        copy = FakeInstance(f"{self.name}-{self._born}", self.clock.outside())
        copy.polls_at = copy.created_at + self.poll if self.poll else None
        self._load(copy)
        self.copies.append(copy)
        return copy

    def _work(self) -> None:
        now = self.clock.outside()
        for copy in list(self.copies):
            if copy.ends_at is not None:
                if now >= copy.ends_at:
                    self.copies.remove(copy)
                continue
            if copy.loads_at is not None and now >= copy.loads_at:
                copy.loads_at = None
                self._follow(copy)
            elif copy.secret is None or (copy.polls_at is not None and now >= copy.polls_at):
                self._load(copy)
                copy.polls_at = now + self.poll if self.poll else None

    def _follow(self, copy: FakeInstance) -> None:
        """Carry out an accepted reload: load in place, or hand over to a new instance and drain."""
        if self.evidence != "rollout":
            self._load(copy)
            return
        fresh = self._start()
        if fresh.refused_label is not None:  # a new one that cannot start takes over from nobody
            copy.refused_label = fresh.refused_label
            self.copies.remove(fresh)
        else:
            copy.ends_at = self.clock.outside() + self.drains
            if not self.drains:
                self.copies.remove(copy)

    def _load(self, copy: FakeInstance) -> None:
        if copy.stuck:
            return
        now = self.clock.outside()
        late = self.copy_delay
        shown = self.backend.shown(self.destination, now - late) if late else self.backend.shows(self._place)
        if shown.fields is None:
            return  # nothing to read: whoever runs goes on with what it has
        if shown.label is not None and self.refuses(shown.label):
            copy.refused_label = shown.label
            return
        copy.secret, copy.label, copy.refused_label = shown.fields, shown.label, None

    def _use(self, copy: FakeInstance) -> None:
        if copy.secret is None:
            return
        copy.uses += 1
        copy.working = self.issuer.use(copy.secret)
        if copy.working:
            return
        copy.refusals += 1
        self.refused_uses += 1
        ref = self.issuer.ref_of(copy.secret)
        if not (self.excused or self.lies or (ref is not None and self.issuer.forgiven(ref))):
            self.book.violation("outage", copy.id, f"{self.issuer.name} refuses version {copy.label}")

    def _answer(self, copy: FakeInstance, published: Published) -> Instance:
        told = copy.label if self.evidence == "attestation" else None
        if self.lies:
            told = self._claims.get(published.credential, told)
        return Instance(
            id=copy.id,
            version=told,
            created_at=copy.created_at,
            refused=copy.refused_label if self.evidence == "attestation" else None,
            terminating=copy.ends_at is not None,
        )


class FakeHealth(Fake):
    """A health check. It says what ``says`` holds; else it follows its consumer: unhealthy while a use is refused, while
    nothing is loaded, or while a version runs that ``breaks(label)``."""

    def __init__(
        self,
        clock: VirtualClock,
        consumer: FakeConsumer | None = None,
        *,
        name: str = "health",
        says: tuple[str, str] | None = None,
        breaks: Callable[[str], bool] | None = None,
        book: Book | None = None,
        timeout: float = 5.0,
        call_seconds: float = 0.0,
    ) -> None:
        super().__init__(clock, name, book or (consumer.book if consumer else None), call_seconds)
        self.consumer = consumer
        self.says = says
        self.breaks = breaks or (lambda _label: False)
        self.timeout = timeout

    def check(self, published: Published) -> tuple[str, str]:
        try:
            self._enter("check", label=published.label)
        except Retryable as error:
            return ("unknown", str(error))
        if self.says is not None:
            return self.says
        if self.consumer is None:
            return ("healthy", "as told")
        if self.consumer.hangs or self.consumer.down:
            return ("unknown", f"{self.consumer.name} does not answer")
        return self._verdict(self.consumer)

    def _verdict(self, consumer: FakeConsumer) -> tuple[str, str]:
        running = [copy for copy in consumer.copies if copy.ends_at is None]
        if not running:
            return ("unknown", "no instance runs")
        for copy in running:
            if copy.secret is None:
                return ("unhealthy", f"{copy.id} has nothing loaded")
            if not copy.working:
                return ("unhealthy", f"{copy.id} is refused")
            if copy.label is not None and self.breaks(copy.label):
                return ("unhealthy", f"{copy.id} breaks on {copy.label}")
        return ("healthy", f"{len(running)} instances work")
