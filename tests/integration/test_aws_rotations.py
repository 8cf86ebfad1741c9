"""Access keys in Secrets Manager, through the real engine on a strict AWS that spreads every change late: 50 rotations, lost
answers, somebody else's key, and a scope that changes; with a consumer that polls the secret and must never be refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backends import aws_secrets_manager
from issuers import aws_iam_user
from rotatord.model import ConsumerSpec, Destination, JsonMap, Policy, Record, Spec, State, Way
from rotatord.ports import Amendment, Instance, Published, Surroundings
from rotatord.rights import AwsRight
from rotatord.testing.aws import LIKE_AWS, REGION, Credentials, Dropped, Fails, FakeAws, Late
from rotatord.testing.aws.quotas import RATES, Rate
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.servers.aws_rights import policy_of

NAME, USER, SECRET, ACCOUNT = "reports", "reports", "apps/reports", "123456789012"
POLLS_EVERY = timedelta(seconds=40)
STEP_SECONDS = 20.0
ROTATIONS = 50


def scope(*actions: str) -> JsonMap:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    return {"policy": {"Version": "2012-10-17", "Statement": [statement]}}


@dataclass
class Poller:
    """A program that reads the secret by its own rights now and then, and uses the key in it all the time."""

    aws: FakeAws
    needs: str = "get_user"  # what it does with its key
    timeout: float = 5.0
    evidence: str = "polling"
    uses: int = 0
    refused: list[str] = field(default_factory=list)
    _reader: Any = None
    _client: Any = None
    _key: str = ""
    _reads_at: datetime | None = None

    def reload(self, published: Published) -> None:
        """It reads by itself."""

    def instances(self, published: Published) -> Sequence[Instance]:
        return [Instance(id="poller-1")]

    def tick(self) -> None:
        now = self.aws.clock.now()
        if self._reads_at is None or now >= self._reads_at:
            self._reads_at = now + POLLS_EVERY
            self._read()
        if self._client is None:
            return
        self.uses += 1
        try:
            getattr(self._client, self.needs)()
        except ClientError as error:
            self.refused.append(f"{now.isoformat()} {self._key}: {error}")

    def _read(self) -> None:
        self._reader = self._reader or self.aws.client("secretsmanager")
        try:
            text = self._reader.get_secret_value(SecretId=SECRET)["SecretString"]
        except ClientError:
            return  # there is none yet
        held = json.loads(text)
        if held["AWS_ACCESS_KEY_ID"] != self._key:
            self._key = held["AWS_ACCESS_KEY_ID"]
            self._client = self.aws.client("iam", Credentials(self._key, held["AWS_SECRET_ACCESS_KEY"]))


@dataclass
class Stage:
    """One account, one credential, one engine with exactly the rights that its plugins name."""

    aws: FakeAws
    world: World
    sim: Simulator
    spec: Spec
    poller: Poller
    issuer: aws_iam_user.IamUserKeys

    @property
    def record(self) -> Record:
        return self.sim.record(NAME)

    @property
    def keys(self) -> set[str]:
        return {row.id for row in self.aws.keys(USER)}

    def step(self) -> None:
        self.sim.step(STEP_SECONDS)
        self.poller.tick()

    def until(self, reached: Callable[[Record], bool], seconds: float = 6 * 3600.0) -> Record:
        """Step by step until the record is as wanted."""
        end = self.world.clock.now() + timedelta(seconds=seconds)
        while not reached(self.record):
            assert self.world.clock.now() < end, f"{self.record}\n{self.sim.tail()}"
            self.step()
        return self.record

    def settle(self) -> Record:
        return self.until(lambda record: self.sim.quiet(record) or halted(record))

    def rotate(self) -> Record:
        assert self.sim.request("rotate", NAME) == ""
        return self.settle()

    def declare(self, **changes: Any) -> None:
        changed = replace(self.record.spec, **changes)
        self.sim.journal.amend(NAME, lambda record: Amendment(record=replace(record, spec=changed)))

    def may(self) -> set[str]:
        """What the user may do in truth, by inline policies."""
        documents = [json.loads(text) for text in self.aws.account.user(USER).holding.inline.values()]
        actions = [statement["Action"] for document in documents for statement in document["Statement"]]
        return {action for item in actions for action in ([item] if isinstance(item, str) else item)}

    def labels_are_wrong(self, _sim: Simulator | None = None) -> str | None:
        """What must hold after every event: at most two keys, and the one that AWSCURRENT shows is there and active."""
        rows = {row.id: row.status for row in self.aws.keys(USER)}
        if len(rows) > 2:
            return f"{len(rows)} keys"
        try:
            secret = self.aws.secret(SECRET)
        except KeyError:
            return None  # there is none yet
        shown = secret.versions[secret.stages["AWSCURRENT"]].text
        key = json.loads(shown or "{}")["AWS_ACCESS_KEY_ID"]
        return None if rows.get(key) == "Active" else f"AWSCURRENT names {key}, of {rows}"

    def well(self) -> None:
        """Quiet, one key, everything proven, nobody refused."""
        record = self.settle()
        assert not halted(record), record.rotation
        assert record.current is not None
        assert self.keys == {record.current.ref}
        assert self.sim.problems() == []
        assert self.poller.refused == []
        assert self.aws.most_keys(USER) <= 2


def halted(record: Record) -> bool:
    return record.rotation is not None and record.rotation.halt is not None


@pytest.fixture
def make_stage(make_aws: Callable[..., FakeAws]) -> Iterator[Callable[..., Stage]]:
    """Sets the stage, and brings the first version out unless told not to."""
    made: list[Any] = []

    def make(*, begin: bool = True, **rules: Any) -> Stage:
        world = World(7, start=datetime(2026, 7, 1, tzinfo=UTC))
        aws = make_aws(clock=world.clock, lags=LIKE_AWS)
        aws.quotas.rates.update(dict.fromkeys(RATES, Rate(100_000)))
        aws.user(USER)
        home = Destination(
            backend="store",
            address={"name": SECRET},
            keys={"AWS_ACCESS_KEY_ID": "access_key_id", "AWS_SECRET_ACCESS_KEY": "secret_access_key"},
        )
        spec = world.spec(
            NAME,
            policy=Policy(**{"overlap": timedelta(minutes=2), "settle": timedelta(seconds=30), **rules}),
            destinations=(home,),
            consumers=(ConsumerSpec(type="fake", name="poller", refresh_within=POLLS_EVERY + timedelta(seconds=20)),),
            scope=scope("iam:GetUser", "s3:GetObject"),
            parameters={"user": USER},
        )
        issuer, backend = _plugins(aws, world, spec)
        made.extend((issuer, backend))
        poller = Poller(aws)
        world.plugins.issuers["issuer"], world.plugins.backends["store"] = issuer, backend
        world.plugins.consumers["poller"] = poller
        sim = Simulator(world)
        stage = Stage(aws, world, sim, spec, poller, issuer)
        sim.checks.append(stage.labels_are_wrong)
        sim.declare(spec)
        if begin:
            stage.settle()
            poller.tick()
        return stage

    yield make
    for plugin in made:
        plugin.close()


def _plugins(aws: FakeAws, world: World, spec: Spec) -> tuple[Any, Any]:
    """Issuer and backend under one identity with exactly the rights that they name."""
    around = Surroundings(installation="simulated", state_dir="", now=world.clock.now, secret=lambda text: str(text)[4:])
    bare: JsonMap = {"region": REGION, "account": ACCOUNT}
    rights: list[AwsRight] = [
        *aws_iam_user.create(bare, around).rights(spec.scope, spec.parameters),
        *aws_secrets_manager.create(bare, around).rights(spec.home, home=True),
    ]
    own = aws.identity("rotatord", policy_of(rights))
    key = {"id": f"env:{own.id}", "secret": f"env:{own.secret}"}
    settings = {**bare, "endpoint_url": aws.url, "access_key": key}
    return aws_iam_user.create(settings, around), aws_secrets_manager.create(settings, around)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fifty_rotations(make_stage: Callable[..., Stage], capsys: pytest.CaptureFixture[str]) -> None:
    """Fifty times: never more than two keys, the labels always right, nobody refused, nothing denied, one key at the end."""
    stage = make_stage()
    seen = set(stage.keys)
    for _ in range(ROTATIONS):
        stage.world.clock.advance(3600)  # AWS keeps a hundred versions of a secret for a day
        record = stage.rotate()
        assert record.last is not None
        assert record.last.state is State.COMPLETED, record.last
        assert not stage.keys <= seen
        seen |= stage.keys
    stage.well()
    assert len(seen) == ROTATIONS + 1
    assert stage.aws.denied("arn:aws:iam::123456789012:user/rotatord") == set()
    with capsys.disabled():
        used = f"{stage.poller.uses} uses, {len(stage.poller.refused)} refused"
        print(f"\n{ROTATIONS} rotations of an access key: {used}, at most {stage.aws.most_keys(USER)} keys")


@pytest.mark.parametrize("fault", [Dropped(), Fails(), Late(45.0)], ids=["lost", "failed", "late"])
def test_an_orphan_of_a_lost_answer_is_found_and_removed(make_stage: Callable[..., Stage], fault: Any) -> None:
    """A key whose value nobody knows occupies a slot; it is found, ended, and the rotation completes with another."""
    stage = make_stage()
    before = set(stage.keys)
    stage.aws.faults.plan("iam:CreateAccessKey", fault)
    record = stage.rotate()
    assert record.last is not None
    assert record.last.state is State.COMPLETED
    stage.well()
    made = {key.id for key in stage.aws.account.keys.values() if key.user == USER}
    assert len(made - before) == 2
    assert stage.keys < made - before


def test_somebody_elses_key_is_never_touched(make_stage: Callable[..., Stage]) -> None:
    """A second key that we did not make: no third is made, the rotation ends with a sentence that names both, and both live."""
    stage = make_stage()
    (ours,) = stage.keys
    theirs = stage.aws.key(USER).id
    record = stage.rotate()
    assert record.last is not None
    assert record.last.state is State.ROLLED_BACK
    assert all(word in record.last.error for word in (ours, theirs, "access keys"))
    assert {row.id: row.status for row in stage.aws.keys(USER)} == {ours: "Active", theirs: "Active"}
    stage.aws.client("iam").delete_access_key(UserName=USER, AccessKeyId=theirs)
    stage.world.clock.advance(3600)
    assert stage.rotate().last.state is State.COMPLETED  # type: ignore[union-attr]
    stage.well()


def test_a_foreign_key_before_the_first_mint_stops_us(make_stage: Callable[..., Stage]) -> None:
    """Over a user that somebody else holds a key of, nothing is minted or ended until a person has decided."""
    stage = make_stage(begin=False)
    theirs = stage.aws.key(USER).id
    stage.until(lambda record: record.last is not None)
    assert stage.record.last is not None
    assert theirs in stage.record.last.error
    assert stage.keys == {theirs}


def test_the_answer_of_a_first_mint_is_lost(make_stage: Callable[..., Stage]) -> None:
    """There was no key at all before: what it made is found and ended, and another is current."""
    stage = make_stage(begin=False)
    stage.aws.faults.plan("iam:CreateAccessKey", Dropped())
    stage.until(lambda record: len(stage.keys) == 1)
    (orphan,) = stage.keys
    stage.well()
    assert orphan not in stage.keys


def test_a_scope_narrows_only_after_the_pivot(make_stage: Callable[..., Stage]) -> None:
    """Widened before the mint, both sets of rights while both keys live, narrowed once the old key is dead."""
    stage = make_stage()
    (old,) = stage.keys
    stage.declare(scope=scope("iam:GetUser", "s3:PutObject"))
    assert stage.sim.request("rotate", NAME) == ""
    both = {"iam:GetUser", "s3:GetObject", "s3:PutObject"}
    wide = 0
    while not stage.sim.quiet(stage.record):
        stage.step()
        if old in stage.keys and len(stage.keys) == 2:
            assert stage.may() == both
            wide += 1
    assert wide > 0
    assert stage.may() == {"iam:GetUser", "s3:PutObject"}
    stage.well()


def test_a_scope_change_is_undone_by_a_rollback(make_stage: Callable[..., Stage]) -> None:
    """Turned back after it was published: the old key has the old rights, and nothing of the new ones stays."""
    stage = make_stage(overlap=timedelta(minutes=20))
    (old,) = stage.keys
    stage.declare(scope=scope("iam:GetUser", "s3:PutObject"))
    assert stage.sim.request("rotate", NAME) == ""
    stage.until(lambda record: record.rotation is not None and record.rotation.state is State.VERIFIED)
    assert stage.may() == {"iam:GetUser", "s3:GetObject", "s3:PutObject"}
    stage.declare(scope=scope("iam:GetUser", "s3:GetObject"))
    assert stage.sim.request("rollback", NAME) == ""
    record = stage.settle()
    assert record.last is not None
    assert (record.last.state, record.last.way) == (State.ROLLED_BACK, Way.BACK)
    assert stage.keys == {old}
    assert stage.may() == {"iam:GetUser", "s3:GetObject"}
    stage.well()


def test_under_quarantine_nothing_is_minted_or_ended(make_stage: Callable[..., Stage]) -> None:
    """AWS found the key in public: the rotation ends with what to do, and the key that is in use lives on."""
    stage = make_stage()
    before = set(stage.keys)
    stage.aws.quarantine(USER)
    record = stage.rotate()
    assert record.last is not None
    assert "quarantine" in record.last.error
    assert stage.keys == before
