"""The rotation function at a strict AWS, called as Secrets Manager calls it: crashes, lost and late answers at every call."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rotatord.aws_client import Aws, AwsSettings
from rotatord.config import load, surroundings
from rotatord.document import MARKER_KEY, write_stamp
from rotatord.errors import Conflict, Denied, Invalid, OutsideError, Retryable
from rotatord.function.serve import Function, serve
from rotatord.function.staged import Staged, rights
from rotatord.function.steps import Event, Rotation
from rotatord.model import Marker, Spec
from rotatord.registry import Registry
from rotatord.testing.aws import LIKE_AWS, REGION, Credentials, Dropped, Fails, FakeAws, Late, allow, throttled
from rotatord.testing.clock import VirtualClock
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.loopback import Answer, Asked, Loopback, answer_json
from rotatord.testing.world import World
from tests.integration.running import ROTATORD

USER, SECRET, LAMBDA = "reports", "apps/reports", "arn:aws:lambda:eu-west-1:123456789012:function:rotatord"
STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")
TRIES = 8
EVERY = 1 if os.environ.get("ROTATORD_KILLS") else 4  # which calls are struck: all of them in make crash
CONFIG = """
state_dir: state
issuers:
  keys: {{type: aws_iam_user, {own}}}
backends:
  store: {{type: aws_secrets_manager, {own}}}
policies:
  default: {{overlap: 1h, unproven: {{overlap: 1h}}}}
credentials:
  - name: reports
    issuer: keys
    {more}
    parameters: {{user: reports}}
    scope: {{policy: {{Statement: [{{Effect: Allow, Action: "iam:GetUser", Resource: "*"}}]}}}}
    destinations:
      - {{backend: store, name: apps/reports, keys: {{key: access_key_id, secret: secret_access_key}}}}
"""


@dataclass
class Stage:
    """One account whose Secrets Manager calls the function, and a program that uses what AWSCURRENT shows."""

    aws: FakeAws
    clock: VirtualClock
    directory: Path
    own: Credentials
    more: str = ""
    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def config(self) -> str:
        key = "access_key: {id: {env: OWN_ID}, secret: {env: OWN_SECRET}}"
        own = f'region: {REGION}, account: "123456789012", endpoint_url: "{self.aws.url}", {key}'
        return CONFIG.format(own=own, more=self.more)

    def function(self) -> Function:
        file = self.directory / "rotatord.yaml"
        file.write_text(self.config())
        return Function(load(file), self.clock)

    @property
    def arn(self) -> str:
        return self.aws.secret(SECRET).arn

    def document(self, label: str = "AWSCURRENT") -> dict[str, str]:
        secret = self.aws.secret(SECRET)
        found: dict[str, str] = json.loads(secret.versions[secret.stages[label]].text or "{}")
        return found

    @property
    def keys(self) -> dict[str, str]:
        return {row.id: row.status for row in self.aws.keys(USER)}

    def begin(self, seconds: float = 2.0) -> str:
        """What a schedule does; the function hears of it so much later."""
        token = str(uuid.uuid4())
        admin = self.aws.client("secretsmanager")
        admin.rotate_secret(SecretId=SECRET, ClientRequestToken=token, RotationLambdaARN=LAMBDA)
        self.clock.advance(seconds)
        return token

    def call(self, token: str, step: str, seconds: float = 300.0) -> str:
        """One event, handled by a process of its own."""
        function = self.function()
        try:
            event = {"SecretId": self.arn, "ClientRequestToken": token, "Step": step}
            return function.handle(event, lambda: seconds)
        finally:
            function.close()
            self.sound()

    def staged(self, spec: Spec, kind: type[Staged]) -> Staged:
        """The secret as this configuration's function sees it."""
        around = surroundings(str(self.directory), str(self.directory))
        settings = {"region": REGION, "endpoint_url": self.aws.url}
        own = {"access_key": {"id": {"env": "OWN_ID"}, "secret": {"env": "OWN_SECRET"}}}
        return kind(Aws(AwsSettings.model_validate({**settings, **own}), around), self.arn, spec.home)

    @contextmanager
    def rotation(self, token: str, kind: type[Staged] = Staged) -> Iterator[Rotation]:
        """The rotation under a token, its parts in the test's hands."""
        file = self.directory / "rotatord.yaml"
        file.write_text(self.config())
        configuration = load(file)
        registry = Registry(configuration, surroundings(str(self.directory), str(self.directory)))
        spec = configuration.specs["reports"]
        yield Rotation(
            spec=spec,
            issuer=registry.issuer(spec.issuer),
            staged=self.staged(spec, kind),
            token=token,
            installation="here",
            clock=self.clock,
            seconds_left=lambda: 300.0,
        )
        registry.close()

    def go_on(self, token: str) -> bool:
        """All steps in order, from the first, as Secrets Manager tries again; whether all succeeded."""
        for step in STEPS:
            try:
                self.done.append(self.call(token, step))
            except OutsideError as error:
                self.failed.append(f"{step}: {type(error).__name__}: {error}")
                return False
        secret = self.aws.secret(SECRET)
        secret.rotation = {**(secret.rotation or {}), "LastRotatedDate": self.clock.now()}
        return True

    def rotate(self, tries: int = TRIES) -> str:
        """A rotation to its end, tried again every ten minutes."""
        token = self.begin()
        for _ in range(tries):
            if self.go_on(token):
                return token
            self.clock.advance(600)
            self.aws.advance(0)
        raise AssertionError("\n".join(self.failed))

    def sound(self) -> None:
        """At every moment: at most two keys, and the key that readers see is active."""
        assert len(self.keys) <= 2
        shown = self.document().get("key")
        assert shown is None or self.keys.get(shown) == "Active", (shown, self.keys, self.done, self.failed)

    def well(self) -> None:
        """What readers see works, what they saw before does too, and there is no other key."""
        self.clock.advance(60)
        now, before = self.document(), self.document("AWSPREVIOUS")
        assert set(self.keys) == {found["key"] for found in (now, before) if "key" in found}
        own = Credentials(now["key"], now["secret"])
        assert self.aws.client("iam", own).get_user()["User"]["UserName"] == USER


@pytest.fixture
def make_stage(make_aws: Callable[..., FakeAws], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    """Sets the stage, with a secret that holds something of everybody's; exactly the rights that are documented."""

    def make(**options: Any) -> Stage:
        clock = VirtualClock(datetime.now(UTC))
        aws = make_aws(clock=clock, **{"lags": LIKE_AWS, **options})
        aws.user(USER)
        aws.client("secretsmanager").create_secret(Name=SECRET, SecretString=json.dumps({"region": REGION}))
        own = aws.identity("function", allow("*"))
        monkeypatch.setenv("OWN_ID", own.id)
        monkeypatch.setenv("OWN_SECRET", own.secret)
        return Stage(aws, clock, tmp_path, own)

    return make


def test_a_schedule_is_kept(make_stage: Callable[..., Stage]) -> None:
    """Rotation by rotation: one key more at first, then two for ever; other keys of the document stay; nothing is denied."""
    stage = make_stage()
    exact = json.loads(allow(["iam:*AccessKey*", "iam:GetUser", "iam:*UserPolicy", "iam:*UserPolicies", "iam:ListAttached*"]))
    right = rights(stage.arn)
    exact["Statement"].append({"Effect": "Allow", "Action": list(right.actions), "Resource": list(right.resources)})
    stage.aws.set_policy(stage.aws.account.user("function"), json.dumps(exact))
    seen = []
    for _ in range(4):
        stage.rotate(tries=1)
        stage.well()
        seen.append(stage.document()["key"])
        assert stage.document()["region"] == REGION
        stage.clock.advance(7200)
    assert len(set(seen)) == 4
    assert stage.aws.most_keys(USER) == 2
    assert stage.aws.denied("arn:aws:iam::123456789012:user/function") == set()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", [Dropped(), Fails(), Late(20.0), throttled()], ids=["lost", "failed", "late", "throttled"])
def test_whatever_call_fails_the_next_try_finishes(
    make_stage: Callable[..., Stage], fault: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Struck at each call of a rotation in turn: it finishes, with two keys at most at every moment, and none left over."""
    stage = make_stage(lags=replace(LIKE_AWS, fresh_key=5.0, ended_key=5.0, rights=5.0, listing=5.0))
    stage.rotate()
    struck = 0
    for nth in range(1, 200, EVERY):
        stage.clock.advance(7200)
        stage.aws.advance(0)
        stage.done, stage.failed = [], []
        token = stage.begin()
        before = len(stage.aws.faults.struck)
        stage.aws.faults.plan("*", fault, nth=nth)
        for _ in range(TRIES):
            if stage.go_on(token):
                break
            stage.clock.advance(600)
            stage.aws.advance(0)
        else:
            raise AssertionError(f"call {nth}: " + "\n".join(stage.failed))
        hit = stage.aws.faults.struck[before:]
        stage.aws.faults.clear()
        stage.aws.advance(60)
        stage.well()
        if not hit:
            break
        struck += 1
    assert struck > 30 // EVERY
    assert stage.aws.most_keys(USER) == 2
    with capsys.disabled():
        print(f"\nrotation function: {type(fault).__name__} at each of {struck} calls of a rotation")


def test_every_step_may_be_repeated(make_stage: Callable[..., Stage]) -> None:
    """Each step twice, and all of them again after the end: no further key, no label moved."""
    stage = make_stage()
    token = stage.begin()
    for step in STEPS:
        for _ in range(2):
            stage.call(token, step)
    keys, labels = stage.keys, dict(stage.aws.secret(SECRET).stages)
    for step in STEPS:
        assert "current already" in stage.call(token, step)
    assert (stage.keys, dict(stage.aws.secret(SECRET).stages)) == (keys, labels)
    assert len(keys) == 1


def test_the_version_before_lives_through_its_overlap(make_stage: Callable[..., Stage]) -> None:
    """A second rotation right after the first ends nothing before the overlap is over, and says when that is."""
    stage = make_stage()
    stage.rotate()
    stage.clock.advance(7200)
    stage.rotate()
    first, second = stage.document("AWSPREVIOUS")["key"], stage.document()["key"]
    token = stage.begin()
    with pytest.raises(Retryable, match="overlap of 1h is not over"):
        stage.call(token, "createSecret")
    assert stage.keys == {first: "Active", second: "Active"}
    stage.clock.advance(3700)
    assert stage.go_on(token), stage.failed
    assert first not in stage.keys
    stage.well()


def test_somebody_elses_key_is_never_touched(make_stage: Callable[..., Stage]) -> None:
    """A key from before the rotation that no version holds leaves no room: it is named, and lives."""
    stage = make_stage()
    stage.rotate()
    stage.clock.advance(7200)
    theirs = stage.aws.key(USER).id
    stage.clock.advance(60)
    token = stage.begin()
    with pytest.raises(Conflict, match=theirs):
        stage.call(token, "createSecret")
    assert stage.keys[theirs] == "Active"
    assert len(stage.keys) == 2


def test_what_a_lost_answer_made_at_once_is_ended_too(make_stage: Callable[..., Stage]) -> None:
    """The function is called in the very second in which the rotation began, and its mint's answer is lost. IAM tells the
    second of a key and no more: that orphan is ended by the next run all the same."""
    stage = make_stage()
    stage.rotate()
    stage.clock.advance(7200 + 1 - stage.clock.now().microsecond / 1_000_000 + 0.4)
    token = stage.begin(seconds=0.1)
    stage.aws.faults.plan("iam:CreateAccessKey", Dropped())
    with pytest.raises(Retryable):
        stage.call(token, "createSecret")
    orphan = set(stage.keys) - {stage.document()["key"]}
    assert len(orphan) == 1
    stage.clock.advance(600)
    stage.aws.advance(0)
    assert stage.go_on(token), stage.failed
    assert not orphan & set(stage.keys)
    stage.well()


def test_a_secret_that_a_daemon_keeps_is_refused(make_stage: Callable[..., Stage]) -> None:
    """Its stamp says whose it is; only a credential that says so takes it over, and the stamp goes."""
    stage = make_stage()
    marker = Marker(
        installation="inst_1", credential="reports", rotation="rot_1", generation=1, ref="r", fingerprint="f" * 32, write="w"
    )
    kept = {"region": REGION}
    text = json.dumps({**kept, MARKER_KEY: write_stamp(marker, ("key",), kept)})
    stage.aws.client("secretsmanager").put_secret_value(SecretId=SECRET, SecretString=text)
    token = stage.begin()
    with pytest.raises(Denied, match="inst_1"):
        stage.call(token, "createSecret")
    assert stage.keys == {}
    stage.more = "labels: {rotation-function: take-over}"
    assert stage.go_on(token), stage.failed
    assert MARKER_KEY not in stage.document()


def test_a_fresh_key_is_waited_for_or_left_to_the_next_run(make_stage: Callable[..., Stage]) -> None:
    """testSecret waits until an answer counts; a run that Lambda would cut off before that says so and ends."""
    stage = make_stage()
    token = stage.begin()
    stage.call(token, "createSecret")
    stage.call(token, "setSecret")
    with pytest.raises(Retryable, match="answers do not count"):
        stage.call(token, "testSecret", seconds=10.0)
    before = stage.clock.now()
    assert stage.call(token, "testSecret") == "reports: the new version works"
    assert stage.clock.now() - before >= timedelta(seconds=20)


def test_a_label_that_somebody_moved_is_not_taken(make_stage: Callable[..., Stage]) -> None:
    """AWSCURRENT moved by a person between looking and moving: a Conflict, and theirs stays."""
    stage = make_stage()
    token = stage.begin()
    for step in STEPS[:3]:
        stage.call(token, step)
    admin = stage.aws.client("secretsmanager")

    class Raced(Staged):
        """A person is faster than we are."""

        def make_current(self, version: str, holder: str | None) -> None:
            admin.put_secret_value(SecretId=SECRET, SecretString='{"by": "hand"}')
            super().make_current(version, holder)

    with stage.rotation(token, Raced) as rotation, pytest.raises(Conflict, match="moved AWSCURRENT"):
        rotation.run("finishsecret")
    assert stage.document() == {"by": "hand"}


@pytest.mark.parametrize(
    ("event", "word"),
    [
        ([], "JSON object"),
        ({"Step": "createSecret"}, "SecretId"),
        ({"Step": "drop", "SecretId": SECRET, "ClientRequestToken": "a" * 32}, "no step"),
        ({"Step": "createSecret", "SecretId": SECRET, "ClientRequestToken": "a\n" * 16}, "ClientRequestToken"),
    ],
)
def test_other_events_are_refused(event: object, word: str) -> None:
    """What Secrets Manager does not send is Invalid, with a sentence; both spellings of a step are known."""
    with pytest.raises(Invalid, match=word):
        Event.of(event)
    assert Event.of({"Step": "create_secret", "SecretId": "x", "ClientRequestToken": "a" * 32}).step == "createsecret"


def test_what_is_not_ours_to_rotate_is_refused(make_stage: Callable[..., Stage]) -> None:
    """Another secret, one whose rotation is off, and a version that is not pending."""
    stage = make_stage()
    function = stage.function()
    token = str(uuid.uuid4())
    try:
        for secret, word in (("other", "no credential"), (SECRET, "not switched on")):
            with pytest.raises(Invalid, match=word):
                function.handle({"SecretId": secret, "ClientRequestToken": token, "Step": "createSecret"}, lambda: 300.0)
        stage.begin()
        with pytest.raises(Invalid, match="not AWSPENDING"):
            function.handle({"SecretId": stage.arn, "ClientRequestToken": token, "Step": "createSecret"}, lambda: 300.0)
    finally:
        function.close()
    assert stage.keys == {}


# --- issuers with labels -------------------------------------------------------------------------------------------------


def test_lost_versions_of_labelled_issuers_are_found_by_their_rotation(make_stage: Callable[..., Stage]) -> None:
    """What a run minted and could not store is ended by the next, and nothing of other rotations."""
    stage = make_stage(lags=LIKE_AWS)
    world = World(1, start=stage.clock.now())
    issuer: FakeIssuer = world.add_issuer()
    stage.begin()
    token = stage.aws.secret(SECRET).stages["AWSPENDING"]
    with stage.rotation(token) as usual:
        home = replace(usual.spec.home, keys={"TOKEN": "token"})
        spec = replace(usual.spec, destinations=(home,), scope={}, parameters={})
        rotation = replace(usual, spec=spec, issuer=issuer, clock=world.clock, staged=stage.staged(spec, Staged))
        theirs = issuer.issue(replace(rotation._request(), rotation="rot_of_others"))
        stage.aws.faults.plan("secretsmanager:PutSecretValue", throttled("secretsmanager"))
        with pytest.raises(Retryable):
            rotation.run("createsecret")
        (lost,) = [live.ref for live in issuer.live() if live.ref != theirs.ref]
        rotation.run("createsecret")
        living = {live.ref for live in issuer.live()}
        assert theirs.ref in living
        assert lost not in living
        assert issuer.ref_of(stage.document("AWSPENDING")["TOKEN"]) in living


# --- as a program --------------------------------------------------------------------------------------------------------


def test_lambda_hands_over_events_and_hears_of_the_outcome(make_stage: Callable[..., Stage]) -> None:
    """Next, response, next, error, and the end when the runtime API is gone; errors tell type and sentence."""
    stage = make_stage(lags=LIKE_AWS)
    token = stage.begin()
    events = [
        {"SecretId": stage.arn, "ClientRequestToken": token, "Step": "createSecret"},
        {"SecretId": stage.arn, "ClientRequestToken": token, "Step": "nonsense"},
    ]
    handed = iter(enumerate(events))

    def answer(asked: Asked) -> Answer:
        if not asked.path.endswith("/invocation/next"):
            return answer_json({}, 202)
        number, event = next(handed, (0, None))
        if event is None:
            return Answer(410)
        deadline = str(int(stage.clock.now().timestamp() + 300) * 1000)
        headers = {"Lambda-Runtime-Aws-Request-Id": f"request-{number}", "Lambda-Runtime-Deadline-Ms": deadline}
        return Answer(200, json.dumps(event).encode(), headers)

    with Loopback(answer) as runtime:
        assert serve(f"127.0.0.1:{runtime.port}", stage.function, stage.clock) == 0
        posted = {asked.path.rpartition("/runtime/")[2]: asked for asked in runtime.asked if asked.method == "POST"}
    assert json.loads(posted["invocation/request-0/response"].body)["done"].startswith("reports: minted AKIA")
    failure = posted["invocation/request-1/error"]
    assert "no step of a rotation" in json.loads(failure.body)["errorMessage"]
    assert failure.headers["lambda-runtime-function-error-type"] == "Invalid"
    (key,) = stage.keys
    assert stage.aws.find_key(key).secret not in "".join(asked.body.decode() for asked in posted.values())


def test_a_configuration_that_cannot_be_used_is_an_init_error(tmp_path: Path) -> None:
    """Lambda hears why the function does not start."""
    with Loopback(lambda _: answer_json({}, 202)) as runtime:
        assert (
            serve(f"127.0.0.1:{runtime.port}", lambda: Function(load(tmp_path / "no.yaml"), VirtualClock()), VirtualClock())
            == 1
        )
        (asked,) = runtime.asked
    assert asked.path.endswith("/runtime/init/error")
    assert "no.yaml" in json.loads(asked.body)["errorMessage"]


@pytest.fixture
def lambda_(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        command = [ROTATORD, "lambda", *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment, check=False
        )

    return run


def test_one_event_from_the_command_line(
    make_stage: Callable[..., Stage], lambda_: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """--event carries out one step and says what it did; a failed one exits 1 with a sentence; without Lambda it is usage."""
    stage = make_stage()
    token = stage.begin()
    stage.function().close()
    event = json.dumps({"SecretId": stage.arn, "ClientRequestToken": token, "Step": "createSecret"})
    own = {"OWN_ID": stage.own.id, "OWN_SECRET": stage.own.secret}
    answer = lambda_("--config", "rotatord.yaml", "--event", "-", stdin=event, **own)
    assert answer.returncode == 0, answer.stderr
    assert "minted AKIA" in answer.stdout
    assert stage.aws.find_key(next(iter(stage.keys))).secret not in answer.stdout + answer.stderr
    answer = lambda_("--config", "rotatord.yaml", "--event", "-", stdin=event.replace("createSecret", "x"), **own)
    assert (answer.returncode, "no step" in answer.stderr) == (1, True)
    assert lambda_("--config", "rotatord.yaml", **own).returncode == 2
