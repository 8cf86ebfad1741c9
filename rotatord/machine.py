"""The lifecycle: one table, pure. No state changes outside it; the diagram in the docs is drawn from it.

A rotation goes a *way* over a *subject*. Undoing is not a special case: it is the same steps and gates over the base.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rotatord.model import State, Way


class Step(StrEnum):
    """A verb that leads from one fact to the next."""

    MINT = "mint"
    PROVE = "prove"
    PUBLISH = "publish"
    RELOAD = "reload"
    VERIFY = "verify"
    AUTHORISE = "authorise"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rotation stands."""

    state: State
    way: Way


HALTED = "halted"
STAYS = "stays"


@dataclass(frozen=True, slots=True)
class Row:
    """From a place: the step to take, where success leads, and where permanent failure or a passed deadline leads."""

    step: Step
    ok: Place
    failed: Place | str  # a place, HALTED, or STAYS
    limit: str | None  # the policy field that bounds the time in this place
    next_wave: Place | None = None  # where success leads while waves remain
    drifted: Place | None = None  # where it leads when a destination lost what was published: publish again


def _place(state: State, way: Way) -> Place:
    return Place(state, way)


_F, _B, _R = Way.FORWARD, Way.BACK, Way.REPAIR
_BACK_FROM_HERE = _place(State.STAGED, _B)
_DISCARD = _place(State.DISCARDING, _B)

TABLE: dict[Place, Row] = {
    _place(State.PLANNED, _F): Row(Step.MINT, _place(State.STAGED, _F), _DISCARD, "mint_within"),
    _place(State.STAGED, _F): Row(Step.PROVE, _place(State.PROVEN, _F), _DISCARD, "prove_within"),
    _place(State.PROVEN, _F): Row(Step.PUBLISH, _place(State.PUBLISHED, _F), _BACK_FROM_HERE, "publish_within"),
    _place(State.PUBLISHED, _F): Row(Step.RELOAD, _place(State.RELOADED, _F), _BACK_FROM_HERE, "reload_within"),
    _place(State.RELOADED, _F): Row(
        Step.VERIFY,
        _place(State.VERIFIED, _F),
        _BACK_FROM_HERE,
        "verify_within",
        _place(State.PROVEN, _F),
        _place(State.PROVEN, _F),
    ),
    _place(State.VERIFIED, _F): Row(Step.AUTHORISE, _place(State.COMPLETED, _F), STAYS, None, drifted=_place(State.PROVEN, _F)),
    _place(State.STAGED, _B): Row(Step.PROVE, _place(State.PROVEN, _B), HALTED, "prove_within"),
    _place(State.PROVEN, _B): Row(Step.PUBLISH, _place(State.PUBLISHED, _B), HALTED, "publish_within"),
    _place(State.PUBLISHED, _B): Row(Step.RELOAD, _place(State.RELOADED, _B), HALTED, "reload_within"),
    _place(State.RELOADED, _B): Row(
        Step.VERIFY, _DISCARD, HALTED, "verify_within", _place(State.PROVEN, _B), _place(State.PROVEN, _B)
    ),
    _place(State.DISCARDING, _B): Row(Step.DISCARD, _place(State.ROLLED_BACK, _B), HALTED, None),
    _place(State.PROVEN, _R): Row(Step.PUBLISH, _place(State.PUBLISHED, _R), HALTED, "publish_within"),
    _place(State.PUBLISHED, _R): Row(Step.RELOAD, _place(State.RELOADED, _R), HALTED, "reload_within"),
    _place(State.RELOADED, _R): Row(
        Step.VERIFY,
        _place(State.COMPLETED, _R),
        HALTED,
        "verify_within",
        _place(State.PROVEN, _R),
        _place(State.PROVEN, _R),
    ),
}

FINAL: frozenset[State] = frozenset({State.COMPLETED, State.ROLLED_BACK, State.SUPERSEDED})


def diagram() -> str:
    """The lifecycle as a Mermaid state diagram, for the README and the manual."""

    def name(place: Place | str) -> str:
        if isinstance(place, str):
            return place
        return place.state.value if place.state in FINAL else f"{place.state.value}_{place.way.value}"

    lines = ["stateDiagram-v2", "    [*] --> planned_forward", "    [*] --> proven_repair"]
    for place, row in TABLE.items():
        lines.append(f"    {name(place)} --> {name(row.ok)}: {row.step.value}")
        if row.next_wave:
            lines.append(f"    {name(place)} --> {name(row.next_wave)}: next wave")
        if row.drifted:
            lines.append(f"    {name(place)} --> {name(row.drifted)}: drifted")
        if row.failed != STAYS:
            lines.append(f"    {name(place)} --> {name(row.failed)}: fails")
    lines.append("    verified_forward --> staged_back: unhealthy or rollback")
    lines.extend(f"    {state.value} --> [*]" for state in (State.COMPLETED, State.ROLLED_BACK))
    return "\n".join(lines)
