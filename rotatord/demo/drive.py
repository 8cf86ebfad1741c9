"""Has rotatord rotate three times while people send requests, and tells what happens as the event log grows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from rotatord import commands
from rotatord.clock import Clock
from rotatord.demo.consumer import CREDENTIAL
from rotatord.demo.engine import Engine
from rotatord.demo.story import Teller, Told
from rotatord.demo.world import DemoError, World
from rotatord.model import Event, Record, State

LOOK_SECONDS = 0.05
LIMIT_SECONDS = 25.0  # for each part; the whole takes about as long
STEPS = 13  # events that are told of one rotation, about
AFTERWARDS_SECONDS = 1.0  # requests go on after the last revocation, which would show one that came too early
ENDINGS = {State.COMPLETED: "completed", State.ROLLED_BACK: "rolled back"}


@dataclass(frozen=True, slots=True)
class Part:
    """One of the three rotations."""

    title: str
    before: str  # said before it
    buggy: bool = False


PARTS = (
    Part("Rotation 1: as it should be", "somebody asks for a new token while requests come in all the time"),
    Part(
        "Rotation 2: the consumer cannot use the new version",
        "the consumer gets a bug that the next token brings out",
        buggy=True,
    ),
    Part("Rotation 3: the bug is gone", "somebody asks again"),
)


class Follower:
    """Reads the event log from where it left off, and tells it together with what the consumer said, in order of time."""

    def __init__(self, engine: Engine, world: World, clock: Clock, teller: Teller) -> None:
        self._engine = engine
        self._world = world
        self._clock = clock
        self._teller = teller
        self._seen = 0
        self._never = threading.Event()
        self.minted = ""  # the label of the version that was made last

    def until(self, reached: Callable[[Record], bool], what: str) -> Record:
        """Tell events until the record is as wanted. Raises DemoError when that takes too long."""
        deadline = self._clock.monotonic() + LIMIT_SECONDS
        while self._clock.monotonic() < deadline:
            record = self._engine.record()  # before the events, so that none that led to it is left untold
            self._tell()
            if reached(record):
                return record
            if record.rotation is not None and record.rotation.halt is not None:
                raise DemoError(f"{what}: halted: {record.rotation.halt.message}")
            self._clock.wait(self._never, LOOK_SECONDS)
        rotation = self._engine.record().rotation
        waiting = (rotation.waiting or rotation.error) if rotation is not None else "the ledger is not settled"
        raise DemoError(f"{what}: not done within {LIMIT_SECONDS:.0f} s: {waiting}")

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self._clock.wait(self._never, seconds)
        self._tell()

    def _tell(self) -> None:
        lines: list[tuple[datetime, Event | str]] = [(at, words) for at, words in self._world.heard()]
        for event in self._engine.events(self._seen):
            self._seen = event.seq
            if (event.action, event.outcome) == ("mint", "done"):
                self.minted = event.version
            lines.append((event.time, event))
        for at, line in sorted(lines, key=lambda item: item[0]):
            if isinstance(line, str):
                self._teller.say("consumer", line, "magenta", at)
            else:
                self._teller.event(line)
        people = self._world.people
        self._teller.traffic(people.requests, people.refused)


def drive(engine: Engine, world: World, clock: Clock, teller: Teller) -> list[Told]:
    """The three rotations, each until nothing is owed any more. Raises DemoError."""
    follower = Follower(engine, world, clock, teller)
    teller.say("demo", "the web service has no token yet, so rotatord makes its first one")
    follower.until(lambda record: record.current is not None and _is_quiet(record), "the first version")
    world.people.begin()
    teller.say("demo", "requests come in from now on, many a second; each one needs the token, nobody tries twice")
    told = []
    for part in PARTS:
        teller.chapter(part.title, STEPS)
        teller.say("demo", part.before)
        told.append(_rotate(part, engine, world, clock, follower))
    follower.pause(AFTERWARDS_SECONDS)
    return told


def _rotate(part: Part, engine: Engine, world: World, clock: Clock, follower: Follower) -> Told:
    people, before, began = world.people, engine.record(), clock.monotonic()
    requests, refused = people.requests, people.refused
    last = before.last.id if before.last else ""
    if part.buggy:
        world.plant_bug()
    engine.request(commands.parse("rotate", CREDENTIAL, "demo", {}))
    record = follower.until(lambda record: record.last is not None and record.last.id != last and _is_quiet(record), part.title)
    assert record.last is not None
    return Told(
        title=part.title.partition(":")[0].removeprefix("Rotation "),
        ending=ENDINGS.get(record.last.state, record.last.state.value),
        old=before.current.label if before.current else "",
        new=follower.minted,
        seconds=clock.monotonic() - began,
        requests=people.requests - requests,
        refused=people.refused - refused,
    )


def _is_quiet(record: Record) -> bool:
    return record.rotation is None and not record.ledger and record.asked is None
