"""What the replays share: a story is told twice, once to the engine as it is and once with one safeguard left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rotatord import moves
from rotatord.machine import Step
from rotatord.model import Destination, Record, Way
from rotatord.ops import Context, Done, Unit, commit, open_rotation
from rotatord.saga import STEPS
from rotatord.steps.prove import prove
from rotatord.testing.simulator import Simulator
from tests.simulation.scenarios import NAME

Story = Callable[..., list[str]]  # takes what is left out, and says what harm was done


def replayed(story: Story, **left_out: Any) -> None:
    """The engine does no harm; with just this left out it does, so it was this that stopped it."""
    assert story() == []
    assert story(**left_out), "the safeguard was left out and nothing came of it: the story shows nothing"


def steps(changes: dict[Step, Any]) -> dict[str, Any]:
    """Parts for a simulator: the steps, some of them replaced."""
    return {"steps": {**STEPS, **changes}}


def believes_the_issuer(ctx: Context, record: Record) -> Unit:
    """A prove that takes what was minted for good, without asking with the value itself."""
    if open_rotation(record).way is not Way.FORWARD:
        return (yield from prove(ctx, record))
    return (yield from _proven(ctx, record))


def believes_in_the_base(ctx: Context, record: Record) -> Unit:
    """A prove that takes the old version for good, because it was before."""
    if open_rotation(record).way is Way.FORWARD:
        return (yield from prove(ctx, record))
    return (yield from _proven(ctx, record))


def _proven(ctx: Context, record: Record) -> Unit:
    return Done((yield from commit(moves.succeed(record, ctx.now()), ctx.event(record, "prove", "done"))))


def rotated(sim: Simulator) -> bool:
    """Whether the base was given up for another version."""
    current = sim.record(NAME).current
    return current is not None and current.generation > 1


def value(sim: Simulator, ref: str = "issuer-ref-1") -> dict[str, str]:
    """The stored keys of a version, as a person would copy them."""
    return {"TOKEN": sim.world.issuers["issuer"].secret_of(ref).reveal("token")}


def stale(sim: Simulator, place: Destination) -> list[str]:
    """Says so when the rotation counts as complete while this place still shows the first version."""
    shown = sim.world.backends[place.backend].shown(place).fields
    old = shown is not None and sim.world.issuers["issuer"].ref_of(shown) == "issuer-ref-1"
    return [f"complete, and {place.id} shows the old one"] if rotated(sim) and old else []
