"""The suite notices broken engines: each here has one careless part built in, and the judges of the crash matrix find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from rotatord import moves
from rotatord.gates import GATE, Check, Gate
from rotatord.ledger import settle
from rotatord.machine import Step
from rotatord.model import Marker, Outcome, OwedVersion, Record, Slot, State, Verdict, Version, Way
from rotatord.ops import Context, Done, Unit, ask, commit, open_rotation
from rotatord.ops import with_rotation as changed
from rotatord.ports import Amendment, MintRequest, Query
from rotatord.saga import STEPS
from rotatord.steps.mint import mint
from rotatord.steps.prove import prove
from rotatord.steps.publish import publish
from rotatord.testing.faults import Fault, Point
from rotatord.testing.powers import SuspendingIssuer
from rotatord.testing.simulator import INSTALLATION, Simulator
from tests.simulation.scenarios import NAME, SECOND
from tests.simulation.stage import at, staged, strike

HOUR = timedelta(hours=1)


def _takes_strays(ctx: Context, record: Record, key: str) -> Unit:
    """A ledger that owes whatever lives under our label and is unknown to it."""
    issuer = ctx.plugins.issuer(record.spec.issuer)
    query = Query(installation=ctx.installation, credential=record.name)
    live = yield from ask(record.spec.issuer, issuer, "find", lambda: issuer.find(query))
    known = {owed.version.ref for debt in record.ledger for owed in debt.owed} | {record.current.ref if record.current else ""}
    strays = tuple(OwedVersion(version=_bare(ctx, record, item.ref), reason="stray") for item in live if item.ref not in known)
    ledger = tuple(replace(debt, owed=(*debt.owed, *strays)) if debt.key == key else debt for debt in record.ledger)
    return (yield from settle(ctx, replace(record, ledger=ledger), key))


def _bare(ctx: Context, record: Record, ref: str) -> Version:
    return Version(generation=0, rotation="", issuer=record.spec.issuer, ref=ref, fingerprint="", minted_at=ctx.now())


def _mints_again(ctx: Context, record: Record) -> Unit:
    """A mint that takes a lost answer for none, and mints once more without looking or owing."""
    intents = tuple(replace(intent, outcome=Outcome.ANSWERED) for intent in open_rotation(record).intents)
    return (yield from mint(ctx, changed(record, intents=intents)))


def _restores_home_only(ctx: Context, record: Record) -> Unit:
    """A publish that restores the home and forgets the other destinations."""
    rotation = open_rotation(record)
    if rotation.way is Way.BACK:
        home = replace(rotation.plan, destinations=rotation.plan.destinations[:1])
        record = changed(record, plan=home)
    return (yield from publish(ctx, record))


def _decides_alone(ctx: Context, record: Record) -> Unit:
    """An authorise that does not ask the gate once more."""
    traits = ctx.plugins.issuer(open_rotation(record).plan.issuer).traits
    return Done((yield from commit(moves.complete(record, traits, ctx.now()), ctx.event(record, "authorise", "done"))))


def _with_a_stray(sim: Simulator) -> None:
    """Somebody uses a version under our label that this journal knows nothing of."""
    issuer, store = sim.world.issuers["issuer"], sim.world.backends["store"]
    request = MintRequest(
        installation=INSTALLATION, credential=NAME, rotation="lost", generation=0, scope={"read": "all"}, parameters={}
    )
    made = issuer.issue(request)
    place = sim.world.destination("elsewhere")
    marker = Marker(installation="", credential="", rotation="", generation=0, ref=made.ref, fingerprint="", write="")
    store.write(place, Slot.CURRENT, made.fields, marker, store.read(place, Slot.CURRENT).token)
    sim.request("rotate", NAME)


def _rotates(sim: Simulator) -> None:
    sim.request("rotate", NAME)


def _turns_back(sim: Simulator) -> None:
    sim.world.checks["app-health"].breaks = lambda label: label.startswith("2-")
    sim.request("rotate", NAME)


def _relapses(sim: Simulator) -> None:
    """Between verify and the pivot a consumer comes back with the old version, out of a copy of its own."""

    def relapse() -> None:
        other = sim.world.consumers["other"]
        other.copies[0].secret, other.copies[0].label = sim.world.issuers["issuer"].secret_of("issuer-ref-1"), "1-old"

    strike(sim, lambda record: record.rotation is not None and record.rotation.state is State.VERIFIED, relapse)


def _loses_a_destination(sim: Simulator) -> None:
    """While the overlap runs somebody deletes what a destination holds."""
    store, second = sim.world.backends["store"], sim.record(NAME).spec.destinations[1]
    strike(sim, at(State.VERIFIED), lambda: store.lose(second, Slot.CURRENT))


def _turns_back_while_suspending(sim: Simulator) -> None:
    """A person rolls back just after the base was to be suspended, and nobody answered."""

    def intended(record: Record) -> bool:
        return record.rotation is not None and record.rotation.suspension is not None

    strike(sim, intended, lambda: None)
    sim.step(0.1)
    sim.request("rollback", NAME, reason="changed our mind")


def _nobody_is_declared(sim: Simulator) -> None:
    """The consumers are taken out of the configuration, and go on with what they have."""

    def forget(record: Record) -> Amendment:
        return Amendment(record=replace(record, spec=replace(record.spec, consumers=())))

    sim.journal.amend(NAME, forget)
    sim.request("rotate", NAME)


def _content_with_nobody(check: Check) -> Check:
    """A question about consumers that is content where there are none."""

    def look(ctx: Context, record: Record) -> Any:
        found = yield from check.ask(ctx, record)
        nobody = not open_rotation(record).plan.consumers
        return [replace(item, verdict=Verdict.PASS) for item in found] if nobody else found

    return Check(check.name, look)


NOBODY_IS_ENOUGH = Gate(tuple(map(_content_with_nobody, GATE.verify)), tuple(map(_content_with_nobody, GATE.authorise)))


def _resumes_at_once(ctx: Context, record: Record) -> Unit:
    """Goes back without waiting for a suspension that may still land."""
    suspension = open_rotation(record).suspension
    if suspension is not None:
        then = replace(suspension.intended_at, wall=suspension.intended_at.wall - HOUR, monotonic=-3600.0)
        record = changed(record, suspension=replace(suspension, intended_at=then))
    return (yield from prove(ctx, record))


@dataclass(frozen=True, slots=True)
class Planted:
    """A careless part and the story in which it does harm. ``fault``: at a point, when it is passed so often.
    ``ends``: with the true engine the story comes to rest; else only the invariants are judged. ``world``: what the stage is
    built of, where that matters."""

    name: str
    parts: dict[str, Any]
    story: Callable[[Simulator], None]
    fault: tuple[str, int, Fault] | None = None
    ends: bool = True
    gate: Gate = GATE
    world: dict[str, Any] = field(default_factory=dict)


BUGS = (
    Planted("the ledger takes strays", {"settle": _takes_strays}, _with_a_stray, ends=False),
    Planted(
        "mint again without find",
        {"steps": {**STEPS, Step.MINT: _mints_again}},
        _rotates,
        ("issuer.mint", 2, Fault.CRASH_AFTER),
    ),
    Planted("home only restored", {"steps": {**STEPS, Step.PUBLISH: _restores_home_only}}, _turns_back),
    Planted("the gate is not asked twice", {"steps": {**STEPS, Step.AUTHORISE: _decides_alone}}, _relapses, ends=False),
    Planted("destinations are not read again", {}, _loses_a_destination, gate=GATE.without("destinations_hold")),
    Planted("the gate passes with no consumers", {}, _nobody_is_declared, ends=False, gate=NOBODY_IS_ENOUGH),
    Planted(
        "no wait for a late suspension",
        {"steps": {**STEPS, Step.PROVE: _resumes_at_once}},
        _turns_back_while_suspending,
        ("issuer.suspend", 1, Fault.LATE),
        world={"kind": SuspendingIssuer, "issuer": {"call_settles_within": 15 * SECOND}},
    ),
)


def found(planted: Planted, parts: dict[str, Any], gate: Gate) -> list[str]:
    """What is wrong after the story with these parts."""

    def choose(point: Point, count: int) -> Fault | None:
        return planted.fault[2] if planted.fault is not None and (point.op, count) == planted.fault[:2] else None

    sim, spec = staged(parts=parts, choose=choose, gate=gate, **planted.world)
    planted.story(sim)
    sim.run(3600.0)
    return sim.problems() + (sim.world.unquiet(spec) if planted.ends else [])


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: planted.name)
def test_a_planted_bug_is_found(planted: Planted) -> None:
    """The careless engine breaks an invariant, and the judges say which."""
    assert found(planted, planted.parts, planted.gate)


@pytest.mark.parametrize("planted", BUGS, ids=lambda planted: planted.name)
def test_the_true_engine_passes_the_same_story(planted: Planted) -> None:
    """With nothing planted the same story has nothing to report, so it was the bug that was found."""
    assert found(planted, {}, GATE) == []
