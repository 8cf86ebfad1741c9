"""A whole outside world on one clock and one book, for simulations: issuers, stores, consumers, checks, and the truth."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from rotatord.model import ConsumerSpec, Destination, Policy, Slot, Spec
from rotatord.ops import Context
from rotatord.ports import Journal
from rotatord.testing.backend import FakeBackend
from rotatord.testing.book import Book, Fake, Violation
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.consumer import FakeConsumer, FakeHealth
from rotatord.testing.copier import FakeCopier
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.plugins import FakePlugins
from rotatord.testing.powers import ScopesOnPrincipal


class World:
    """Makes fakes that know each other, moves time, and judges what is done to versions that are still needed."""

    def __init__(self, seed: int | str = 0, start: datetime = START) -> None:
        self.clock = VirtualClock(start)
        self.ids = SeededIds(seed)
        self.book = Book(self.clock)
        self.plugins = FakePlugins()
        self.issuers: dict[str, FakeIssuer] = {}
        self.backends: dict[str, FakeBackend] = {}
        self.consumers: dict[str, FakeConsumer] = {}
        self.checks: dict[str, FakeHealth] = {}
        self.copiers: list[FakeCopier] = []
        self.strays: dict[str, FakeIssuer] = {}  # versions of others, by ref: they outlive everything that we do
        # What a daemon's start changes in what its units are given, with the journal that it opens.
        self.restarted: Callable[[Context, Journal], Context] = lambda ctx, _journal: ctx
        self.excuse: Callable[[str, str], bool] = lambda _act, _ref: False  # forced deaths, by act and ref

    @property
    def violations(self) -> list[Violation]:
        return self.book.violations

    @property
    def fakes(self) -> list[Fake]:
        groups: tuple[dict[str, Any], ...] = (self.issuers, self.backends, self.consumers, self.checks)
        return [fake for group in groups for fake in group.values()]

    # --- making --------------------------------------------------------------------------------------------------

    def add_issuer(self, name: str = "issuer", kind: type[FakeIssuer] = FakeIssuer, **settings: Any) -> FakeIssuer:
        """An issuer under this name; ``settings`` go to its constructor."""
        issuer = kind(self.clock, name=name, book=self.book, **settings)
        issuer.judge = self.judge
        issuer.forgiven = lambda ref: self.excuse("use", ref)
        self.issuers[name] = self.plugins.issuers[name] = issuer
        return issuer

    def add_backend(self, name: str = "store", **settings: Any) -> FakeBackend:
        """A store under this name."""
        backend = FakeBackend(self.clock, name=name, book=self.book, **settings)
        self.backends[name] = self.plugins.backends[name] = backend
        return backend

    def add_consumer(
        self,
        name: str,
        issuer: FakeIssuer,
        destination: Destination,
        *,
        health: bool = True,
        kind: type[FakeConsumer] = FakeConsumer,
        **settings: Any,
    ) -> FakeConsumer:
        """A consumer of a destination (its backend must exist), with a health check ``<name>-health`` that follows it."""
        backend = self.backends[destination.backend]
        consumer = kind(self.clock, issuer, backend, destination, name=name, book=self.book, **settings)
        self.consumers[name] = self.plugins.consumers[name] = consumer
        if health:
            check = FakeHealth(self.clock, consumer, name=f"{name}-health", book=self.book)
            self.checks[check.name] = check
            self.plugins.checks[name] = [(check.name, check)]
        return consumer

    def add_copier(self, source: Destination, copy: Destination, lag: Callable[[], timedelta]) -> FakeCopier:
        """Something that keeps ``copy`` equal to ``source``, late."""
        ends = [(self.backends[place.backend], place) for place in (source, copy)]
        self.copiers.append(FakeCopier(self.clock, ends[0], ends[1], lag))
        return self.copiers[-1]

    def destination(self, path: str = "app", backend: str = "store", **settings: Any) -> Destination:
        """A place whose key TOKEN is the field ``token``, unless told."""
        return Destination(**{"backend": backend, "address": {"path": path}, "keys": {"TOKEN": "token"}, **settings})

    def spec(self, name: str = "cred", *, issuer: str = "issuer", policy: Policy | None = None, **settings: Any) -> Spec:
        """A credential at ``destination(name)``, consumed by every consumer of its destinations, unless told."""
        destinations = settings.pop("destinations", (self.destination(name),))
        ids = {destination.id for destination in destinations}
        copied = {each.copy[1].id: each.copy[1] for each in self.copiers if each.source[1].id in ids}
        reading = [consumer for consumer in self.consumers.values() if consumer.destination.id in ids | copied.keys()]
        consumers = tuple(
            ConsumerSpec(
                type="fake",
                name=each.name,
                refresh_within=each.poll,
                wave=each.destination.wave,
                copies=tuple(copy for name, copy in copied.items() if name == each.destination.id),
            )
            for each in reading
        )
        return Spec(
            **{
                "name": name,
                "issuer": issuer,
                "policy": policy or Policy(),
                "scope": {"read": "all"},
                "destinations": destinations,
                "consumers": consumers,
                **settings,
            }
        )

    # --- moving --------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Every copier and consumer does what is due; consumers use what they have. No time passes."""
        for copier in self.copiers:
            copier.tick()
        for consumer in self.consumers.values():
            consumer.tick()

    def next_moment(self) -> datetime | None:
        """When a copier or consumer does something next; polls that would find nothing new are none."""
        moments = [at for copier in self.copiers for at in copier.moments]
        for consumer in self.consumers.values():
            moments += consumer.moments()
        return min(moments, default=None)

    def keep_up(self) -> None:
        """Time has passed: polls that found nothing new were made meanwhile."""
        for consumer in self.consumers.values():
            if consumer.poll is not None:
                consumer.keep_up()

    def run(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, ticking every ``step`` seconds."""
        left = seconds
        while left > 0:
            self.clock.advance(min(step, left))
            left -= step
            self.tick()

    def calm(self) -> None:
        """No fake refuses, fails or hangs any more."""
        for fake in self.fakes:
            fake.calm()
        for consumer in self.consumers.values():
            consumer.hangs = False

    # --- judging -------------------------------------------------------------------------------------------------

    def needs(self, issuer: FakeIssuer, ref: str) -> str | None:
        """Who needs this version now: a current slot that shows it, or an honest instance that has it in memory."""
        secret = issuer.secret_of(ref)
        for backend in self.backends.values():
            if places := backend.holds(secret):
                return f"{places[0]} shows it"
        for consumer in self.consumers.values():
            if not (consumer.lies or consumer.excused) and (users := consumer.using(secret)):
                return f"{users[0]} uses it"
        return None

    def judge(self, act: str, ref: str) -> str | None:
        """What issuers ask at the call. ``excuse(act, ref)`` grants the recorded exceptions."""
        if self.excuse(act, ref):
            return None
        issuer = next(issuer for issuer in self.issuers.values() if ref in issuer.versions)
        return self.needs(issuer, ref)

    def unquiet(self, spec: Spec) -> list[str]:
        """What still differs from quiet (invariant 3): exactly one live version, shown at every destination, and empty
        pending and previous slots. Sentences; empty is fine."""
        issuer = self.issuers[spec.issuer]
        live = [each for each in issuer.live(spec.name) if each.ref not in self.strays]
        problems = [] if len(live) == 1 else [f"{len(live)} live versions: {', '.join(each.ref for each in live)}"]
        if isinstance(issuer, ScopesOnPrincipal):
            needed = issuer.widen([issuer.versions[each.ref].request.scope for each in live])
            if issuer.held(spec.parameters) != needed:
                problems.append(f"the principal may do {issuer.held(spec.parameters)}, and needs {needed}")
        for destination in spec.destinations:
            backend = self.backends[destination.backend]
            fields = backend.shown(destination).fields
            if fields is None or issuer.ref_of(fields) not in {each.ref for each in live}:
                problems.append(f"{destination.id} does not show a live version")
            problems += [
                f"{destination.id} {slot.value} is not empty"
                for slot in (Slot.PENDING, Slot.PREVIOUS)
                if backend.document(destination, slot) is not None
            ]
        return problems
