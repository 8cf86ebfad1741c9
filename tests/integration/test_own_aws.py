"""rotatord replaces the access key that it signs with itself, on a strict AWS that spreads every change late: two keys at most,
nothing that it does is ever refused, and it goes on with whichever works wherever it is stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from issuers import aws_iam_user
from rotatord import references
from rotatord.config import load
from rotatord.live import LivePlugins
from rotatord.model import JsonMap, Record, State
from rotatord.ops import Context
from rotatord.ourselves import Ourselves
from rotatord.own import NAMES, names_of
from rotatord.own_life import OwnLives
from rotatord.ports import Journal, Surroundings
from rotatord.registry import Registry
from rotatord.replicas import Replicas
from rotatord.testing.aws import LIKE_AWS, REGION, FakeAws
from rotatord.testing.aws.quotas import RATES, Rate
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.servers.aws_rights import policy_of

OURS, OTHER, ACCOUNT = "rotatord", "reports", "123456789012"
ROTATIONS = 10
CONFIG = """
state_dir: state
issuers:
  aws:
    type: aws_iam_user
    region: {region}
    account: "{account}"
    endpoint_url: {url}
    access_key: {{id: {{file: own.json, key: id}}, secret: {{file: own.json, key: secret}}}}
backends:
  files: {{type: file}}
policies:
  default: {{max_age: 30d, overlap: 1m, settle: 30s, unproven: {{overlap: 1m}}}}
credentials:
  - name: rotatord
    issuer: aws
    parameters: {{user: rotatord}}
    destinations: [{{backend: files, path: own.json, keys: {{id: access_key_id, secret: secret_access_key}}}}]
  - name: reports
    issuer: aws
    parameters: {{user: reports}}
    destinations: [{{backend: files, path: reports.json, keys: {{id: access_key_id, secret: secret_access_key}}}}]
"""


@dataclass
class Stage:
    """One account; what we are in it lies in a file that we write ourselves."""

    aws: FakeAws
    world: World
    sim: Simulator
    registry: Registry
    first: str

    def settle(self, name: str) -> Record:
        for _ in range(1000):
            record = self.sim.record(name)
            if self.sim.quiet(record):
                return record
            assert not (record.rotation and record.rotation.halt), record.rotation
            self.sim.step(20.0)
        raise AssertionError(self.sim.tail())

    def rotate(self, name: str) -> Record:
        assert self.sim.request("rotate", name) == ""
        return self.settle(name)

    def denied(self) -> set[str]:
        return set(self.aws.denied(f"arn:aws:iam::{ACCOUNT}:user/rotatord"))


@pytest.fixture
def stage(make_aws: Callable[..., FakeAws], tmp_path: Path) -> Iterator[Stage]:
    """Everything adopted, by exactly the rights that the plugin names."""
    world = World(7, start=datetime(2026, 7, 1, tzinfo=UTC))
    aws = make_aws(clock=world.clock, lags=LIKE_AWS)
    aws.quotas.rates.update(dict.fromkeys(RATES, Rate(100_000)))
    aws.user(OTHER)
    bare: JsonMap = {"region": REGION, "account": ACCOUNT}
    secret = partial(references.resolve, base_dir=str(tmp_path))
    around = Surroundings(
        installation="simulated", state_dir=str(tmp_path / "state"), now=world.clock.now, secret=secret, base_dir=str(tmp_path)
    )
    plugin = aws_iam_user.create(bare, around)
    rights = [right for user in (OURS, OTHER) for right in plugin.rights({}, {"user": user})]
    own = aws.identity(OURS, policy_of(rights))
    (tmp_path / "own.json").write_text(json.dumps({"id": own.id, "secret": own.secret}))
    (tmp_path / "own.json").chmod(0o600)
    config = tmp_path / "rotatord.yaml"
    config.write_text(CONFIG.format(region=REGION, account=ACCOUNT, url=aws.url))
    configuration = load(config)
    registry = Registry(configuration, around)
    plugins: Any = LivePlugins(registry)
    world.plugins = plugins

    def restarted(ctx: Context, journal: Journal) -> Context:
        ourselves = Ourselves(journal, plugins, Replicas(journal), lambda *_, **__: None)
        registry.ourselves = ourselves
        ctx = replace(ctx, trials=ourselves.trials)
        ourselves.bind(ctx)
        return ctx

    world.restarted = restarted
    sim = Simulator(world)
    sim.declare(*configuration.specs.values())
    sim.journal.set_fact(NAMES, names_of(configuration.specs))
    made = Stage(aws, world, sim, registry, own.id)
    world.clock.advance(600)  # what AWS was told of the first key has spread
    made.settle(OURS)
    assert sim.request("adopt", OURS, ref=own.id) == ""
    made.settle(OURS)
    made.settle(OTHER)
    yield made
    registry.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_our_own_key_ten_times(stage: Stage) -> None:
    """While another key is replaced in turn: never more than two, nothing refused, the first one gone."""
    for _ in range(ROTATIONS):
        for name in (OURS, OTHER):
            stage.world.clock.advance(3600)
            record = stage.rotate(name)
            assert record.last is not None
            assert record.last.state is State.COMPLETED, record.last
    assert stage.sim.problems() == []
    assert stage.aws.most_keys(OURS) <= 2
    (key,) = stage.aws.keys(OURS)
    assert key.id != stage.first
    assert stage.denied() == set()
    lives = OwnLives(stage.sim.journal, stage.world.clock, stage.world.ids, LivePlugins(stage.registry)).found()
    assert [(own.of, own.replaced_by, own.life.ends_at) for own in lives] == [("issuers.aws", OURS, None)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_stopped_anywhere(stage: Stage) -> None:
    """A daemon that dies after each step of it, and begins again remembering nothing."""
    for _ in range(3):
        assert stage.sim.request("rotate", OURS) == ""
        for _ in range(400):
            stage.sim.step(20.0)
            stage.sim.restart()
            if stage.sim.quiet(stage.sim.record(OURS)):
                break
        stage.rotate(OTHER)
    assert stage.sim.problems() == []
    assert len(list(stage.aws.keys(OURS))) == 1
    assert stage.aws.most_keys(OURS) <= 2
    assert stage.denied() == set()


def test_a_key_of_somebody_else_is_never_published(stage: Stage, tmp_path: Path) -> None:
    """It works, and what it may do is another's: whether we could go on with it cannot be told."""
    stranger = stage.aws.key(OTHER)
    stage.world.clock.advance(600)
    issuer: Any = stage.registry.issuer("aws")
    values = {f"file:{tmp_path}/own.json#id": stranger.id, f"file:{tmp_path}/own.json#secret": stranger.secret}
    said = issuer.works_with(stage.registry.ownership.with_values(values, stage.registry.secret), [])
    assert "user/reports" in said[0]
    assert issuer.works_with(stage.registry.secret, []) == []
