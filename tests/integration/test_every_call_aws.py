"""Crash, lost answer and late effect at every request of the AWS plugins, on the strict fake, under the real engine."""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backends import aws_secrets_manager
from issuers import aws_iam_user
from rotatord.aws_client import Aws
from rotatord.model import Destination, JsonMap
from rotatord.ports import Amendment, LiveRef, Surroundings
from rotatord.secret import Secret
from rotatord.testing.aws import REGION, FakeAws
from rotatord.testing.book import Book
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.integration.every_call import RealStore, Strikes, breaks_on_next, rotated, strike_all
from tests.simulation.scenarios import NAME, policy, traits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SECOND = timedelta(seconds=1)
USER = "reports"
_NUMBERS = itertools.count(1)
_CURRENT: dict[str, Any] = {}  # the world and the strikes that are being played


def struck(plugin: Any) -> Any:
    """The plugin, every request of which passes the strikes."""
    aws: Aws = plugin._aws
    plain = aws.call

    def call(service: str, operation: str, **more: Any) -> JsonMap:
        effect = not operation.startswith(("get", "list", "describe", "simulate"))
        strikes: Strikes = _CURRENT["strikes"]
        sent: JsonMap = strikes.send(f"{service} {operation}", lambda: plain(service, operation, **more), effect=effect)
        return sent

    aws.call = call  # type: ignore[method-assign]
    return plugin


class Users:
    """What the fakes of a world ask of an issuer, answered by the truth of a strict AWS account."""

    def __init__(self, aws: FakeAws, book: Book) -> None:
        self.aws = aws
        self.book = book
        self.name = "iam"
        self.versions: dict[str, Any] = {}
        self.down = False

    def calm(self) -> None:
        """Nothing here is ever out of order by itself."""

    def use(self, secret: Secret) -> bool:
        rows = {row.id: row for row in self.aws.keys(USER)}
        key = secret.reveal("access_key_id")
        return key in rows and rows[key].status == "Active"

    def live(self, credential: str | None = None) -> list[LiveRef]:
        return [LiveRef(ref=row.id) for row in self.aws.keys(USER)]

    def ref_of(self, secret: Secret) -> str:
        return secret.reveal("access_key_id")


def _scope(*actions: str) -> JsonMap:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    return {"inline": {"scope": {"Version": "2012-10-17", "Statement": [statement]}}}


def _settings(aws: FakeAws) -> JsonMap:
    key = {"id": f"env:{aws.admin.id}", "secret": f"env:{aws.admin.secret}"}
    return {"region": REGION, "account": "123456789012", "endpoint_url": aws.url, "access_key": key}


def _around(world: World) -> Surroundings:
    return Surroundings(installation="simulated", state_dir="", now=world.clock.now, secret=lambda text: str(text)[4:])


def _fresh(aws_clock_start: datetime = datetime(2026, 7, 1, tzinfo=UTC)) -> World:
    world = World(next(_NUMBERS), start=aws_clock_start)
    _CURRENT.update(world=world, strikes=Strikes())
    return world


def _keys_in_secrets_manager(turn_back: bool) -> Callable[[Strikes], list[str]]:
    """Access keys whose scope changes, in Secrets Manager."""

    def play(strikes: Strikes) -> list[str]:
        world = _fresh()
        with FakeAws(clock=world.clock, seed=1) as aws:
            aws.user(USER)
            settings = {**_settings(aws), "propagation": "2s", "listing_delay": "1s"}
            issuer = struck(aws_iam_user.create(settings, _around(world)))
            backend = struck(aws_secrets_manager.create(_settings(aws), _around(world)))
            home = Destination(
                backend="store",
                address={"name": "apps/reports"},
                keys={"id": "access_key_id", "key": "secret_access_key"},
            )
            users, store = Users(aws, world.book), RealStore(backend, world.clock, home)
            world.issuers["issuer"], world.plugins.issuers["issuer"] = users, issuer  # type: ignore[assignment]
            world.backends["store"], world.plugins.backends["store"] = store, backend  # type: ignore[assignment]
            app = world.add_consumer("app", users, home)  # type: ignore[arg-type]
            before, after = _scope("s3:ListBucket", "s3:GetObject"), _scope("s3:ListBucket", "s3:PutObject")
            spec = world.spec(
                NAME,
                policy=policy(mint_within=timedelta(days=2)),
                destinations=(home,),
                scope=before,
                parameters={"user": USER},
            )
            sim = Simulator(world)
            _CURRENT["strikes"].touched = store.forget
            sim.declare(spec)
            sim.settle(NAME)
            changed = replace(spec, scope=after)
            sim.journal.amend(NAME, lambda record: Amendment(record=replace(record, spec=changed)))
            if turn_back:
                breaks_on_next(sim)
            _CURRENT["strikes"] = strikes
            rotated(sim, strikes, touched=store.forget, days=40)
            record = sim.record(NAME)
            assert record.current is not None
            problems = sim.problems() + world.unquiet(spec)
            held = {name: json.loads(text) for name, text in aws.account.user(USER).holding.inline.items()}
            if held and issuer.widen([record.current.scope])["inline"] != issuer.widen([{"inline": _plain(held)}])["inline"]:
                problems.append(f"the user may do {held}, and its key needs {record.current.scope}")
            if aws.most_keys(USER) > 2:
                problems.append("more than two keys")
            assert app.refused_uses == 0
            issuer.close()
            backend.close()
            return problems

    return play


def _plain(held: JsonMap) -> JsonMap:
    """Inline policies under the names that a scope gives them."""
    return {name.removeprefix("rotatord-"): document for name, document in held.items()}


def _tokens_in(kind: str, address: JsonMap, turn_back: bool) -> Callable[[Strikes], list[str]]:
    """Plain tokens of an issuer in memory, in one of the AWS stores."""

    def play(strikes: Strikes) -> list[str]:
        world = _fresh()
        with FakeAws(clock=world.clock, seed=1) as aws:
            backend = struck(importlib.import_module(f"backends.{kind}").create(_settings(aws), _around(world)))
            home = Destination(backend="store", address=address, keys={"token": "token"})
            store = RealStore(backend, world.clock, home)
            source = world.add_issuer(traits=traits())
            world.backends["store"], world.plugins.backends["store"] = store, backend  # type: ignore[assignment]
            app = world.add_consumer("app", source, home)
            spec = world.spec(NAME, policy=policy(), destinations=(home,))
            sim = Simulator(world)
            _CURRENT["strikes"].touched = store.forget
            sim.declare(spec)
            sim.settle(NAME)
            if turn_back:
                breaks_on_next(sim)
            _CURRENT["strikes"] = strikes
            rotated(sim, strikes, touched=store.forget, days=40)
            assert app.refused_uses == 0
            problems = sim.problems() + world.unquiet(spec)
            backend.close()
            return problems

    return play


STORIES = {
    "keys in Secrets Manager": _keys_in_secrets_manager(False),
    "keys in Secrets Manager, turned back": _keys_in_secrets_manager(True),
    "Secrets Manager": _tokens_in("aws_secrets_manager", {"name": "apps/token"}, False),
    "Secrets Manager, turned back": _tokens_in("aws_secrets_manager", {"name": "apps/token"}, True),
    "Parameter Store": _tokens_in("aws_ssm_parameter", {"name": "/apps/token"}, False),
    "Parameter Store, turned back": _tokens_in("aws_ssm_parameter", {"name": "/apps/token"}, True),
}


@pytest.mark.parametrize("story", STORIES)
def test_every_request(story: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is struck: one live version, shown, pending and previous empty, what the user may do as its key needs."""
    played, failures = strike_all(STORIES[story], every=23)  # all of them: make crash
    with capsys.disabled():
        print(f"\n{story}: {played} faults at requests of a rotation")
    assert failures == []
