"""Crash, lost answer and late effect at every request that the workload consumers send, under the engine in virtual time."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import cast

import pytest

from consumers import workload
from rotatord.kubernetes_client import Cluster
from rotatord.ports import Surroundings
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.integration.every_call import Strikes, rotated, strike_all
from tests.simulation.pretended import Pretended
from tests.simulation.scenarios import NAME, policy, traits

KINDS = {"deployments": workload.DEPLOYMENT, "statefulsets": workload.STATEFULSET}
_NUMBERS = itertools.count(1)


def _around(world: World) -> Surroundings:
    return Surroundings(installation="i", state_dir="/", now=world.clock.now, secret=lambda _: "")


def _story(resource: str, turn_back: bool) -> Callable[[Strikes], list[str]]:
    """A first version in peace, then a rotation that is struck, forward or turned back because no pod can work with it."""

    def play(strikes: Strikes) -> list[str]:
        world = World(next(_NUMBERS))
        source = world.add_issuer(traits=traits())
        world.add_backend()
        home = world.destination(NAME)
        app = world.add_consumer(
            "app", source, home, kind=Pretended, health=False, resource=resource, drains=timedelta(seconds=2)
        )
        assert isinstance(app, Pretended)
        settings = workload.Settings(namespace="ns", name="web", gather=1, stuck_after=5, steady_for=2, progress_within=10)
        plugin = workload.WorkloadConsumer(KINDS[resource], settings, _around(world), cluster=cast("Cluster", app.cluster))
        world.plugins.consumers["app"] = plugin
        world.plugins.checks["app"] = [("workload", plugin)]
        spec = world.spec(NAME, policy=policy(verify_within=timedelta(minutes=3)), destinations=(home,))
        sim = Simulator(world)
        sim.declare(spec)
        sim.settle(NAME)
        app.cluster.strikes = strikes
        first = sim.record(NAME).generation
        if turn_back:
            app.refuses = lambda label: int(label.split("-")[0]) == first + 1
        rotated(sim, strikes)
        return [*sim.problems(), *world.unquiet(spec), *_wrong(app, sim, first, turn_back)]

    return play


def _wrong(app: Pretended, sim: Simulator, first: int, turn_back: bool) -> list[str]:
    """What is not as it should be at the end."""
    found = [] if app.refused_uses == 0 else [f"{app.refused_uses} uses were refused"]
    record = sim.record(NAME)
    wanted = first if turn_back else first + 1
    if record.current is None or record.current.generation != wanted:
        found.append(f"generation {record.current and record.current.generation} is current, not {wanted}")
    running = [copy for copy in app.copies if copy.ends_at is None]
    if [copy.label for copy in running] != [record.current and record.current.label] * 3:
        found.append(f"pods run on {[copy.label for copy in running]}")
    return found


@pytest.mark.parametrize("turn_back", [False, True], ids=["forward", "turned back"])
@pytest.mark.parametrize("resource", KINDS)
def test_every_request_of_a_workload_consumer(resource: str, turn_back: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is struck: one live version, all pods on it, nobody ever refused; what cannot work is undone."""
    played, failures = strike_all(_story(resource, turn_back), every=11 if turn_back else 7)  # all of them: make crash
    with capsys.disabled():
        print(f"\n{resource}: {played} faults at requests of a rotation ({'back' if turn_back else 'forward'})")
    assert failures == []
