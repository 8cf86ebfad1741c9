"""Crash, lost answer and late effect at every request of the Kubernetes plugins, against the real API server."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backends.kubernetes import KubernetesBackend, create
from rotatord.model import Destination
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.integration.every_call import RealStore, Strikes, breaks_on_next, rotated, strike_all
from tests.servers.kubernetes import ControlPlane
from tests.simulation.scenarios import NAME, policy, traits

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(1800)]
SECOND = timedelta(seconds=1)
_NUMBERS = itertools.count(1)


@pytest.fixture
def backend(control_plane: ControlPlane, namespace: str, tmp_path: Path, surroundings: Callable[..., Any]) -> KubernetesBackend:
    """A backend with an administrator's rights."""
    kubeconfig = control_plane.kubeconfig(tmp_path / "kubeconfig")
    return create({"kubeconfig": str(kubeconfig), "namespace": namespace}, surroundings())


class _Requests:
    """In place of a cluster's transport: every request passes the strikes."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.strikes = Strikes()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def exchange(self, request: Any, deadline: float) -> Any:
        effect = request.method != "GET" and "accessreviews" not in request.path
        name = f"{request.method} {request.path.partition('?')[0]}"
        return self.strikes.send(name, lambda: self._transport.exchange(request, deadline), effect=effect)


def _story(backend: KubernetesBackend, turn_back: bool) -> Callable[[Strikes], list[str]]:
    """A first version in peace, then a rotation that is struck: to a home and a second Secret; forward, or turned back."""
    requests = _Requests(backend._cluster._transport)
    backend._cluster._transport = requests  # type: ignore[assignment]

    def play(strikes: Strikes) -> list[str]:
        requests.strikes = Strikes()
        number = next(_NUMBERS)
        world = World(number)
        source = world.add_issuer(traits=traits())
        home, second = (
            Destination(backend="store", address={"name": f"{name}-{number}"}, keys={"TOKEN": "token"}, version_key="VERSION")
            for name in ("home", "second")
        )
        quiet = RealStore(backend, world.clock, home, second)
        world.backends["store"] = quiet  # type: ignore[assignment]
        world.plugins.backends["store"] = backend
        app = world.add_consumer("app", source, home)
        spec = world.spec(NAME, policy=policy(), destinations=(home, second))
        sim = Simulator(world)
        requests.strikes.touched = quiet.forget
        sim.declare(spec)
        sim.settle(NAME)
        requests.strikes = strikes
        if turn_back:
            breaks_on_next(sim)
        rotated(sim, strikes, touched=quiet.forget)
        assert app.refused_uses == 0
        return sim.problems() + world.unquiet(spec)

    return play


@pytest.mark.parametrize("turn_back", [False, True], ids=["forward", "turned back"])
def test_every_request_of_the_secret_backend(
    backend: KubernetesBackend, turn_back: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is struck: one live version, shown at both Secrets, pending and previous empty, nobody ever refused."""
    played, failures = strike_all(_story(backend, turn_back), every=7 if turn_back else 5)  # all of them: make crash
    with capsys.disabled():
        print(f"\nkubernetes: {played} faults at requests of a rotation ({'back' if turn_back else 'forward'})")
    assert failures == []
