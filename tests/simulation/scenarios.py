"""The stories that the crash matrix interrupts at every point: each a world, what happens in it, and what it must come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from rotatord.model import Policy, Record, Slot, Spec, State
from rotatord.ports import Amendment, Traits
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.own import OwnIssuer, OwnWorld
from rotatord.testing.powers import FullIssuer, PrincipalIssuer
from rotatord.testing.simulator import Chooser, Simulator
from rotatord.testing.workload import FakeWorkload
from rotatord.testing.world import World

SECOND = timedelta(seconds=1)
NAME = "cred"


@dataclass(frozen=True, slots=True)
class Scenario:
    """``play`` runs the story to its end in a simulator; faults may strike anywhere in it."""

    name: str
    build: Callable[[World], Spec]
    play: Callable[[Simulator, Spec], None]


def policy(**settings: Any) -> Policy:
    """Short waits, so that stories end soon."""
    return Policy(
        **{
            "max_age": timedelta(days=30),
            "overlap": 5 * SECOND,
            "poll": SECOND,
            "settle": SECOND,
            "jitter_percent": 0.0,
            "reload_within": timedelta(minutes=5),
            "verify_within": 45 * SECOND,
            **settings,
        }
    )


def traits(**settings: Any) -> Traits:
    return Traits(**{"fields": ("token",), "scope_proof": "exact", "high_entropy": ("token",), **settings})


def _world(world: World, kind: type[FakeIssuer] = FakeIssuer, issuer: dict[str, Any] | None = None, **consumer: Any) -> Spec:
    source = world.add_issuer(kind=kind, **(issuer or {"traits": traits()}))
    world.add_backend()
    home, second = world.destination(NAME), world.destination(f"{NAME}-copy")
    world.add_consumer("app", source, home, **consumer)
    return world.spec(NAME, policy=policy(), destinations=(home, second))


def rotate(sim: Simulator, spec: Spec) -> None:
    """A first version, then one rotation."""
    begin(sim, spec)
    ask(sim, "rotate")
    end(sim)


def begin(sim: Simulator, spec: Spec) -> None:
    """Declare, and get the first version out; consumers start once there is something to read."""
    sim.declare(spec)
    end(sim)


def ask(sim: Simulator, verb: str, **arguments: Any) -> str:
    return sim.request(verb, NAME, **arguments)


def end(sim: Simulator) -> Record:
    """Run until quiet; a person retries what halted, as the sentence of the halt suggests."""
    for _ in range(8):
        record = sim.settle(NAME, 3 * 24 * 3600.0)
        if record.rotation is None and record.current is None and record.standing == "managed":
            sim.request("rotate", NAME)  # the first try was rolled back: a person asks again
            continue
        if record.rotation is None or record.rotation.halt is None:
            return record
        how = {"base_absent": "accept", "base_dead": "accept"}.get(record.rotation.halt.code, "retry")
        refused = sim.request("resume", NAME, how=how, reason="the matrix says so" if how == "accept" else "")
        assert not refused, refused
    raise AssertionError(f"halts again and again: {record.rotation}\n{sim.tail()}")


def _rolled_back(sim: Simulator, spec: Spec) -> None:
    """The second version is refused by its consumer, which says so."""
    begin(sim, spec)
    app = sim.world.consumers["app"]
    good = sim.record(NAME).generation
    app.refuses = lambda label: int(label.split("-")[0]) == good + 1
    ask(sim, "rotate")
    end(sim)
    app.refuses = lambda _label: False


def _unhealthy(sim: Simulator, spec: Spec) -> None:
    """The second version loads, and the service breaks on it."""
    begin(sim, spec)
    good = sim.record(NAME).generation
    check = sim.world.checks["app-health"]
    check.breaks = lambda label: int(label.split("-")[0]) == good + 1
    ask(sim, "rotate")
    end(sim)
    check.breaks = lambda _label: False


def _not_applied(sim: Simulator, spec: Spec) -> None:
    """The consumer accepts the second reload and does nothing, as reloaders do."""
    begin(sim, spec)
    app = sim.world.consumers["app"]
    app.applies_after = None
    ask(sim, "rotate")
    end(sim)
    app.applies_after = 0 * SECOND


def _drifted(sim: Simulator, spec: Spec) -> None:
    """A copy is wiped; the look that finds it starts a repair."""
    begin(sim, spec)
    sim.world.backends["store"].lose(spec.destinations[1], Slot.CURRENT)
    ask(sim, "inspect")
    end(sim)


def _compromised(sim: Simulator, spec: Spec) -> None:
    begin(sim, spec)
    ask(sim, "rotate", reason="compromised")
    end(sim)


def _contained(sim: Simulator, spec: Spec) -> None:
    begin(sim, spec)
    sim.world.consumers["app"].excused = True
    ask(sim, "contain", reason="seen in a public repository")
    end(sim)


def _asked_back(sim: Simulator, spec: Spec) -> None:
    """A person rolls back while the overlap runs."""
    begin(sim, spec)
    ask(sim, "rotate")
    for _ in range(200):
        rotation = sim.record(NAME).rotation
        if rotation is None or (rotation.state is State.VERIFIED and rotation.waiting) or rotation.halt:
            break
        sim.step(1.0)
    ask(sim, "rollback", reason="changed our mind")
    end(sim)


def _put_there(sim: Simulator, spec: Spec) -> str:
    """Somebody makes a version without us and writes it to the home; its ref."""
    from rotatord.ports import MintRequest

    issuer, store = sim.world.issuers["issuer"], sim.world.backends["store"]
    request = MintRequest(installation="", credential=NAME, rotation="by-hand", generation=0, scope=spec.scope, parameters={})
    made = issuer.issue(request, labelled=False)
    store.tamper(spec.home, {"TOKEN": made.fields.reveal("token")})
    return made.ref


def _adopted(sim: Simulator, spec: Spec) -> None:
    """A value is there already; a person adopts it by its ref, and it is rotated."""
    ref = _put_there(sim, spec)
    sim.world.tick()
    sim.declare(spec)
    sim.settle(NAME)
    for _ in range(5):
        if sim.record(NAME).standing != "unmanaged":
            break
        ask(sim, "adopt", ref=ref)
        sim.settle(NAME)
    ask(sim, "rotate")
    end(sim)


def _adopted_over_ours(sim: Simulator, spec: Spec) -> None:
    """A value of ours is replaced by hand while its consumer goes on with it; a person adopts the new one."""
    begin(sim, spec)
    ref = _put_there(sim, spec)
    for _ in range(5):
        current = sim.record(NAME).current
        if current is not None and current.ref == ref:
            break
        ask(sim, "adopt", ref=ref)
        sim.run(60.0)
    end(sim)
    ask(sim, "rotate")
    end(sim)


def _renewed(sim: Simulator, spec: Spec) -> None:
    """A periodic version is renewed for days, then replaced."""
    begin(sim, spec)
    sim.run(3 * 3600.0)
    ask(sim, "rotate")
    end(sim)


def _retired(sim: Simulator, spec: Spec) -> None:
    begin(sim, spec)
    sim.world.consumers["app"].excused = True
    ask(sim, "retire", reason="the service is gone")
    sim.settle(NAME)


def _scope_changed(sim: Simulator, spec: Spec) -> None:
    """What the principal may do changes with the next version: one word goes, one comes."""
    begin(sim, spec)
    _declare_scope(sim, spec)
    ask(sim, "rotate")
    end(sim)


def _scope_not_changed(sim: Simulator, spec: Spec) -> None:
    """The version with the new scope is refused by its consumer: what the principal may do goes back too."""
    begin(sim, spec)
    app = sim.world.consumers["app"]
    good = sim.record(NAME).generation
    app.refuses = lambda label: int(label.split("-")[0]) == good + 1
    _declare_scope(sim, spec)
    ask(sim, "rotate")
    end(sim)
    app.refuses = lambda _label: False


def _declare_scope(sim: Simulator, spec: Spec) -> None:
    changed = replace(spec, scope={"may": ["read", "delete"]})
    sim.journal.amend(NAME, lambda record: Amendment(record=replace(record, spec=changed)))


def _on_principal(world: World) -> Spec:
    settings = {"scope_on": "principal", "labels": False, "exclusive": True, "max_live": 2, "call_settles_within": 10 * SECOND}
    source = world.add_issuer(kind=PrincipalIssuer, traits=traits(**settings))
    world.add_backend()
    home = world.destination(NAME)
    world.add_consumer("app", source, home)
    return world.spec(NAME, policy=policy(), destinations=(home,), scope={"may": ["read", "write"]})


def _restarts(world: World) -> Spec:
    source = world.add_issuer(traits=traits())
    world.add_backend()
    home = world.destination(NAME)
    world.add_consumer("app", source, home, kind=FakeWorkload, gather=2.0, copies=2, drains=2 * SECOND)
    return world.spec(NAME, policy=policy(), destinations=(home,))


def _copied(world: World) -> Spec:
    source = world.add_issuer(traits=traits())
    world.add_backend()
    world.add_backend("cluster")
    home, copy = world.destination(NAME), world.destination(f"{NAME}-copied", "cluster")
    world.add_copier(home, copy, lambda: 4 * SECOND)
    world.add_consumer("app", source, copy, evidence="rollout", copies=2, drains=2 * SECOND)
    return world.spec(NAME, policy=policy(), destinations=(home,))


def _own(world: World) -> Spec:
    """What we ourselves speak to the issuer with, kept as a session is; nobody else reads it."""
    return OwnWorld(world, NAME, traits=traits(**SPREADING)).spec(NAME, policy=policy())


def _powerless(sim: Simulator, spec: Spec) -> None:
    """Whatever is minted next is accepted everywhere, and may not mint or revoke."""
    begin(sim, spec)
    source = sim.world.issuers["issuer"]
    assert isinstance(source, OwnIssuer)
    before = set(source.versions)
    source.powerless = lambda version: version.ref not in before
    ask(sim, "rotate")
    end(sim)
    source.powerless = lambda _version: False


def _full(**settings: Any) -> Callable[[World], Spec]:
    return lambda world: _world(world, FullIssuer, {"traits": traits(**settings)})


def _plain(consumer: dict[str, Any] | None = None, **settings: Any) -> Callable[[World], Spec]:
    return lambda world: _world(world, FakeIssuer, {"traits": traits(**settings)}, **(consumer or {}))


def _waves(world: World) -> Spec:
    source = world.add_issuer(traits=traits())
    world.add_backend()
    home, later = world.destination(NAME), world.destination(f"{NAME}-later", wave=1)
    world.add_consumer("canary", source, home)
    world.add_consumer("rest", source, later)
    return world.spec(NAME, policy=policy(), destinations=(home, later))


def _in_place(world: World) -> Spec:
    spec = _world(world, FakeIssuer, {"traits": traits(strategy="in_place", max_live=1)}, excused=True)
    return world.spec(NAME, policy=policy(allow_downtime=True), destinations=spec.destinations)


def _periodic(world: World) -> Spec:
    return _world(world, FullIssuer, {"traits": traits(), "period": timedelta(hours=1)})


SPREADING = {"propagation": 4 * SECOND, "listing_delay": 2 * SECOND, "call_settles_within": 10 * SECOND}

SCENARIOS = (
    Scenario("rotate", _plain(), rotate),
    Scenario("rotate_all_powers", _full(**SPREADING), rotate),
    Scenario("rotate_caller_chooses", _plain(value_origin="caller"), rotate),
    Scenario("rotate_capped", _plain(max_live=2), rotate),
    Scenario("rotate_alternating", _plain(strategy="alternating", max_live=2, value_origin="caller"), rotate),
    Scenario("rotate_unlabelled", _plain(labels=False, exclusive=True, max_live=2), rotate),
    Scenario("rotate_in_place", _in_place, rotate),
    Scenario("rotate_polling", _plain({"evidence": "polling", "poll": 3 * SECOND}), rotate),
    Scenario(
        "rotate_rollout", _plain({"evidence": "rollout", "drains": 3 * SECOND, "copies": 3, "applies_after": SECOND}), rotate
    ),
    Scenario("rotate_slow_reload", _plain({"applies_after": 4 * SECOND, "copies": 2}), rotate),
    Scenario("rotate_waves", _waves, rotate),
    Scenario("rotate_restarts", _restarts, rotate),
    Scenario("rotate_copied", _copied, rotate),
    Scenario("scope_changed", _on_principal, _scope_changed),
    Scenario("scope_not_changed", _on_principal, _scope_not_changed),
    Scenario("rolled_back", _plain(), _rolled_back),
    Scenario("rolled_back_unhealthy", _full(**SPREADING), _unhealthy),
    Scenario("rolled_back_by_a_person", _full(**SPREADING), _asked_back),
    Scenario("rolled_back_caller_chooses", _plain(value_origin="caller"), _unhealthy),
    Scenario("rolled_back_not_applied", _plain(), _not_applied),
    Scenario("rotate_refreshes_by_itself", _plain({"poll": 2 * SECOND, "applies_after": None}, **SPREADING), rotate),
    Scenario("repair", _plain(), _drifted),
    Scenario("compromised", _full(), _compromised),
    Scenario("contained", _full(), _contained),
    Scenario("adopted", _full(), _adopted),
    Scenario("adopted_over_ours", _full(), _adopted_over_ours),
    Scenario("renewed", _periodic, _renewed),
    Scenario("own_credential", _own, rotate),
    Scenario("own_credential_powerless", _own, _powerless),
    Scenario("retired", _full(), _retired),
)


def simulate(scenario: Scenario, choose: Chooser = lambda _point, _count: None, seed: int = 1) -> tuple[Simulator, Spec]:
    """A fresh world, the story played to its end."""
    world = World(seed)
    spec = scenario.build(world)
    sim = Simulator(world, choose=choose)
    scenario.play(sim, spec)
    return sim, spec


def judge(sim: Simulator, spec: Spec) -> list[str]:
    """Everything that is wrong at the end: broken invariants, and what is not quiet."""
    record = sim.record(spec.name)
    problems = sim.problems()
    if record.standing == "retired":
        live = sim.world.issuers["issuer"].live(spec.name)
        return problems + [f"live after retire: {item.ref}" for item in live]
    return problems + sim.world.unquiet(spec)
