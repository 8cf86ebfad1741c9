"""Scopes that sit on a principal, at the edges: a scope that goes away, and what is left to narrow then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from rotatord.errors import Denied
from rotatord.model import JsonMap, Spec, State
from rotatord.ports import Accepted, Amendment, MintRequest, ProbeAnswer
from rotatord.secret import Secret
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import PrincipalIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, policy, traits
from tests.simulation.stage import until

SECOND = timedelta(seconds=1)


class _Silent(PrincipalIssuer):
    """Where nothing is asked it shows nothing, as it is with IAM users."""

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        answer = super().probe(fields, target)
        return replace(answer, scope={}) if isinstance(answer, Accepted) and not target["scope"] else answer


def _on_principal(world: World, kind: type[FakeIssuer]) -> Spec:
    settings = {"scope_on": "principal", "labels": False, "exclusive": True, "max_live": 2, "call_settles_within": 10 * SECOND}
    source = world.add_issuer(kind=kind, traits=traits(**settings))
    world.add_backend()
    home = world.destination(NAME)
    world.add_consumer("app", source, home)
    return world.spec(NAME, policy=policy(), destinations=(home,), scope={"may": ["read", "write"]})


def _declared(sim: Simulator, spec: Spec) -> None:
    sim.journal.amend(NAME, lambda record: Amendment(record=replace(record, spec=spec)))


def test_a_scope_that_is_no_longer_declared_leaves_nothing_to_do() -> None:
    """An empty scope touches nothing. The credential goes on being rotated, and nothing turns in circles meanwhile."""
    world = World(5)
    spec = _on_principal(world, _Silent)
    sim = Simulator(world)
    sim.declare(spec)
    sim.settle(NAME)
    _declared(sim, replace(spec, scope={}))
    generation = sim.record(NAME).generation
    assert sim.request("rotate", NAME) == ""
    until(sim, lambda record: record.generation > generation and record.rotation is None and not record.ledger)
    sim.run(30.0)
    record = sim.record(NAME)
    assert record.last is not None
    assert record.last.state is State.COMPLETED
    generation = record.generation
    assert record.due_at is None or record.due_at > world.clock.now() + timedelta(hours=1), "it is claimed again and again"
    assert sim.request("rotate", NAME) == ""
    record = until(sim, lambda record: record.generation == generation + 1 and record.rotation is None and not record.ledger)
    assert record.last is not None
    assert record.last.state is State.COMPLETED


class _OtherForm(PrincipalIssuer):
    """Shows what a principal may do in a form of its own, as IAM users are shown."""

    def widen(self, scopes: Sequence[JsonMap]) -> JsonMap:
        return super().widen([{key: str(words).split() for key, words in scope.items()} for scope in scopes])

    def covers(self, held: JsonMap, needed: JsonMap) -> bool:
        return super().covers(held, self.widen([needed]))


def test_what_is_adopted_with_the_scope_asked_for_is_not_due_for_a_change() -> None:
    """The issuer shows the same in other words. And it lives where it was found, whatever is declared later."""
    world = World(5)
    spec = replace(_on_principal(world, _OtherForm), scope={"may": "write read"}, parameters={"principal": "app"})
    issuer = world.issuers["issuer"]
    assert isinstance(issuer, _OtherForm)
    issuer.set_scope(issuer.widen([spec.scope]), spec.parameters)
    request = MintRequest(
        installation="", credential=NAME, rotation="by-hand", generation=0, scope=spec.scope, parameters=spec.parameters
    )
    made = issuer.issue(request, labelled=False)
    world.backends["store"].tamper(spec.home, {"TOKEN": made.fields.reveal("token")})
    world.tick()
    sim = Simulator(world)
    sim.declare(spec)
    sim.settle(NAME)
    assert sim.request("adopt", NAME, ref=made.ref) == ""
    sim.settle(NAME)
    sim.run(60.0)
    current = sim.record(NAME).current
    assert current is not None
    assert (current.ref, current.scope, current.parameters) == (made.ref, spec.scope, spec.parameters)
    assert world.book.count("mint") == 0


class _Stubborn(PrincipalIssuer):
    """Takes what widens; at times it does not let go of anything."""

    denies = False

    def set_scope(self, scope: JsonMap, parameters: JsonMap) -> None:
        if self.denies:
            raise Denied("we may not take that away")
        super().set_scope(scope, parameters)


def test_a_principal_that_cannot_be_narrowed_is_announced() -> None:
    """It may do more than anybody asked for: a person hears of that, and it is tried on; the log tells of what has changed,
    not of every try."""
    world = World(5)
    spec = _on_principal(world, _Stubborn)
    sim = Simulator(world)
    sim.declare(spec)
    sim.settle(NAME)
    issuer = world.issuers["issuer"]
    assert isinstance(issuer, _Stubborn)
    _declared(sim, replace(spec, scope={"may": ["read"]}))
    generation = sim.record(NAME).generation
    assert sim.request("rotate", NAME) == ""
    until(
        sim, lambda record: record.generation > generation and record.rotation is not None and record.rotation.new is not None
    )
    issuer.denies = True
    before = len(sim.journal.replay(NAME))
    until(sim, lambda record: record.rotation is None and not record.ledger)
    sim.run(900.0)
    (notice,) = sim.journal.notices(world.clock.now(), 10)
    assert "may do more than its versions need: we may not take that away" in notice.text
    told = [(event.action, event.outcome) for event in sim.journal.replay(NAME)][before:]
    assert [one for one in told if one[0] in {"set_scope", "rescope"}] == [("set_scope", "intended"), ("rescope", "failed")]
    issuer.denies = False
    until(sim, lambda record: not record.troubles)
    assert issuer.held({}) == {"may": ["read"]}
