"""Crash, lost answer and late effect at every request of the token issuer, against the real API server."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from issuers.kubernetes_token import ServiceAccountTokens, _bound, create
from rotatord.jwt_life import claims_of
from rotatord.model import JsonMap
from rotatord.ports import LiveRef, Surroundings
from rotatord.secret import Secret
from rotatord.testing.book import Book
from rotatord.testing.simulator import INSTALLATION, Simulator
from rotatord.testing.world import World
from tests.integration.every_call import Strikes, breaks_on_next, rotated, strike_all
from tests.servers.kubernetes import ControlPlane
from tests.simulation.scenarios import NAME, policy

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(1800)]
_NUMBERS = itertools.count(1)
_SCOPE: JsonMap = {"audiences": ["https://app.example"]}


class Requests:
    """In place of a cluster's transport: every request passes the strikes."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.strikes = Strikes()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def exchange(self, request: Any, deadline: float) -> Any:
        effect = request.method != "GET" and "reviews" not in request.path
        if request.path.endswith("/tokenreviews"):
            # API servers remember for 10 s what they answered to the same question, and this clock here is a virtual one.
            spec = request.body["spec"]
            request = replace(
                request, body={**request.body, "spec": {**spec, "audiences": [*spec["audiences"], secrets.token_hex(8)]}}
            )
        name = f"{request.method} {request.path.rpartition('namespaces')[2]}"
        return self.strikes.send(name, lambda: self._transport.exchange(request, deadline), effect=effect)


class Accounts:
    """What the fakes of a world ask of an issuer, answered by the markers that an administrator sees."""

    def __init__(self, plane: ControlPlane, namespace: str, prefix: str, book: Book) -> None:
        self._plane, self._namespace, self._prefix = plane, namespace, prefix
        self._seen: list[str] | None = None
        self.book = book
        self.name = "tokens"
        self.versions: dict[str, Any] = {}
        self.down = False

    def calm(self) -> None:
        """Nothing here is ever out of order by itself."""

    def forget(self) -> None:
        """Something was changed."""
        self._seen = None

    def refs(self) -> list[str]:
        if self._seen is None:
            items = self._plane.admin.must("GET", f"/api/v1/namespaces/{self._namespace}/secrets")["items"]
            known = [item["metadata"] for item in items if item["metadata"]["name"].startswith(f"{self._prefix}-rotatord")]
            self._seen = [f"{self._namespace}/{each['name']}@{each['uid']}" for each in known]
        return self._seen

    def use(self, secret: Secret) -> bool:
        return self.ref_of(secret) in self.refs()

    def live(self, credential: str | None = None) -> list[LiveRef]:
        return [LiveRef(ref=ref) for ref in self.refs()]

    def ref_of(self, secret: Secret) -> str:
        return str(_bound(claims_of(secret.reveal("token"))))


@pytest.fixture
def make(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Callable[[World], ServiceAccountTokens]]:
    """Makes the issuer of one world, with an administrator's rights."""
    control_plane.admin.must("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "app"}})
    kubeconfig = control_plane.kubeconfig(tmp_path / "kubeconfig")
    made = []

    def issuer(world: World) -> ServiceAccountTokens:
        around = Surroundings(installation=INSTALLATION, state_dir="", now=world.clock.now, secret=str)
        made.append(create({"kubeconfig": str(kubeconfig), "namespace": namespace}, around))
        made[-1]._cluster._transport = Requests(made[-1]._cluster._transport)  # type: ignore[assignment]
        return made[-1]

    yield issuer
    for each in made:
        each.close()


def _story(
    plane: ControlPlane, namespace: str, make: Callable[[World], ServiceAccountTokens], *, turn_back: bool
) -> Callable[[Strikes], list[str]]:
    """A first token in peace, then a rotation that is struck; forward, or turned back."""

    def play(strikes: Strikes) -> list[str]:
        number = next(_NUMBERS)
        world = World(number)
        issuer = make(world)
        requests: Any = issuer._cluster._transport
        accounts = Accounts(plane, namespace, f"app-{number}", world.book)
        world.issuers["issuer"], world.plugins.issuers["issuer"] = accounts, issuer  # type: ignore[assignment]
        world.add_backend()
        app = world.add_consumer("app", accounts, world.destination(NAME))  # type: ignore[arg-type]
        parameters = {"service_account": "app", "marker": f"app-{number}"}
        spec = world.spec(NAME, policy=policy(ttl=timedelta(days=300)), scope=_SCOPE, parameters=parameters)
        sim = Simulator(world)
        requests.strikes.touched = accounts.forget
        sim.declare(spec)
        sim.settle(NAME)
        requests.strikes = strikes
        if turn_back:
            breaks_on_next(sim)
        rotated(sim, strikes, touched=accounts.forget)
        assert app.refused_uses == 0
        problems = sim.problems() + world.unquiet(spec)
        if len(accounts.refs()) != 1:
            problems.append(f"markers that live: {accounts.refs()}")
        return problems

    return play


@pytest.mark.parametrize("turn_back", [False, True], ids=["forward", "turned back"])
def test_every_request_of_the_token_issuer(
    control_plane: ControlPlane,
    namespace: str,
    make: Callable[[World], ServiceAccountTokens],
    capsys: pytest.CaptureFixture[str],
    *,
    turn_back: bool,
) -> None:
    """Whatever is struck: one token lives, its marker is the only one, and the application was never refused."""
    play = _story(control_plane, namespace, make, turn_back=turn_back)
    played, failures = strike_all(play, every=5)  # all of them: make crash
    with capsys.disabled():
        print(f"\nkubernetes_token: {played} faults at requests of a rotation ({'back' if turn_back else 'forward'})")
    assert failures == []
