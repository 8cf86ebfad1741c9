"""``rotatord demo`` from the first line to the last: begin the world, have it rotated three times, and account for it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from rotatord.clock import Clock, SystemClock
from rotatord.demo.account import Account, account
from rotatord.demo.drive import drive
from rotatord.demo.engine import Engine
from rotatord.demo.story import Teller, Told
from rotatord.demo.world import World
from rotatord.errors import RotatordError


def play(clock: Clock | None = None) -> int:
    """The demo. 0: everything was as promised; 1: something was not, and the last lines say what."""
    clock = clock or SystemClock()
    teller = Teller(clock.now)
    with tempfile.TemporaryDirectory(prefix="rotatord-demo-") as directory, teller:
        world = World(Path(directory), clock)
        try:
            result, told = _play(world, clock, teller)
        except RotatordError as error:
            teller.last(f"demo: failed: {error}", good=False)
            return 1
        except KeyboardInterrupt:
            teller.last("demo: interrupted", good=False)
            return 1
        finally:
            world.end()
    teller.table(told)
    for what in result.wrong:
        teller.last(f"demo: does not add up: {what}", good=False)
    teller.last(result.line(), good=result.good)
    return 0 if result.good else 1


def _play(world: World, clock: Clock, teller: Teller) -> tuple[Account, Sequence[Told]]:
    teller.chapter("A web service, the weather service that its token opens, and a token authority", 10)
    world.begin()
    teller.say("demo", f"the web service (its own process) reads its token from {world.file.name}, and only when told to")
    with Engine(world, clock) as engine:
        told = drive(engine, world, clock, teller)
        world.people.end()
        return account(world, engine, told), told
