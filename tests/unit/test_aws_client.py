"""Clients for AWS: their identity, their time, and what becomes of errors."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pydantic
import pytest

from rotatord import telemetry
from rotatord.aws_client import Aws, AwsSettings, partition_of
from rotatord.aws_errors import code_of, without_values
from rotatord.errors import Conflict, Denied, Invalid, NotFound, OutsideError, Retryable
from rotatord.model import JsonMap
from rotatord.ports import Surroundings
from rotatord.secret import Secret
from rotatord.testing.aws import CutOff, Dropped, FakeAws, Garbled, Refuse, RunningClock, Slow, allow
from rotatord.testing.silent import closed_port, full_port, silent_server

PLANTED = "planted-value-that-nobody-may-see-0123456789"
QUICK = {"connect_timeout": 0.5, "read_timeout": 0.5, "timeout": 1.5}
KEY = {"id": {"env": "id"}, "secret": {"env": "secret"}}


@pytest.fixture
def known() -> dict[str, str]:
    """Where references lead; tests change it."""
    return {"id": "AKIAAAAAAAAAAAAAAAAA", "secret": "nobody"}


@pytest.fixture
def make(known: dict[str, str]) -> Iterator[Callable[..., Aws]]:
    """Our identity, with references that lead to ``known``."""
    made: list[Aws] = []

    def secret(reference: JsonMap | str) -> str:
        assert isinstance(reference, dict)
        return known[reference["env"]]

    def build(
        now: Callable[[], datetime] = lambda: datetime.now(UTC), monotonic: Callable[[], float] | None = None, **settings: Any
    ) -> Aws:
        surroundings = Surroundings(installation="t", state_dir="", now=now, secret=secret)
        made.append(
            Aws(AwsSettings.model_validate({"region": "eu-west-1", "access_key": KEY, **settings}), surroundings, monotonic)
        )
        return made[-1]

    yield build
    for each in made:
        each.close()


@pytest.fixture
def ours(aws: FakeAws, known: dict[str, str], make: Callable[..., Aws]) -> Aws:
    """The administrator of a strict AWS."""
    known.update(id=aws.admin.id, secret=aws.admin.secret)
    return make(endpoint_url=aws.url)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ThrottlingException", 400, Retryable),
        ("TooManyUpdates", 400, Retryable),
        ("InternalServiceError", 500, Retryable),
        ("NeverHeardOf", 503, Retryable),
        ("NeverHeardOf", 429, Retryable),
        ("ExpiredTokenException", 400, Retryable),
        ("UnrecognizedClientException", 400, Retryable),
        ("InvalidSignatureException", 400, Retryable),
        ("AccessDeniedException", 400, Denied),
        ("NeverHeardOf", 403, Denied),
        ("ResourceNotFoundException", 400, NotFound),
        ("ParameterVersionNotFound", 400, NotFound),
        ("ResourceExistsException", 400, Conflict),
        ("LimitExceededException", 400, Conflict),
        ("ValidationException", 400, Invalid),
        ("InvalidRequestException", 400, Invalid),
        ("NeverHeardOf", 400, Invalid),
    ],
)
def test_every_refusal_is_an_error_of_ours(aws: FakeAws, ours: Aws, code: str, status: int, kind: type[OutsideError]) -> None:
    """By its code where we know it, else by its status; the code stays with it, and it was asked once."""
    aws.faults.plan("secretsmanager:*", Refuse(code, "in AWS's own words", status), times=None)
    before = len(aws.calls)
    with pytest.raises(kind) as caught:
        ours.call("secretsmanager", "describe_secret", SecretId="x")
    assert type(caught.value) is kind
    assert code_of(caught.value) == code
    assert "DescribeSecret" in str(caught.value)
    assert "in AWS's own words" in str(caught.value)
    assert len(aws.calls) == before + 1


@pytest.mark.parametrize(("header", "wait"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
def test_how_long_to_wait_is_passed_on(aws: FakeAws, ours: Aws, header: str, wait: float | None) -> None:
    """Seconds, where AWS says so."""
    aws.faults.plan("*", Refuse("ThrottlingException", headers={"Retry-After": header}))
    with pytest.raises(Retryable) as caught:
        ours.call("secretsmanager", "describe_secret", SecretId="x")
    assert caught.value.retry_after == wait


@pytest.mark.parametrize("fault", [Dropped(), Garbled(), CutOff(), Garbled(status=502), Garbled(b"", 200)])
def test_no_answer_or_nonsense_is_retryable(aws: FakeAws, ours: Aws, fault: Any) -> None:
    """Whatever came back, it tells nothing about what was done."""
    aws.faults.plan("*", fault)
    with pytest.raises(Retryable) as caught:
        ours.call("sts", "get_caller_identity")
    assert PLANTED not in str(caught.value)


def test_what_we_may_not_do_is_named(aws: FakeAws, known: dict[str, str], make: Callable[..., Aws]) -> None:
    """Denied tells who asked for what on which resource: what to put into a policy."""
    nobody = aws.identity("nobody", allow("s3:ListAllMyBuckets"))
    known.update(id=nobody.id, secret=nobody.secret)
    with pytest.raises(Denied, match=r"user/nobody is not authorized to perform: secretsmanager:GetSecretValue on resource"):
        make(endpoint_url=aws.url).call("secretsmanager", "get_secret_value", SecretId="apps/x")


@pytest.mark.parametrize(
    "parameters",
    [
        {"SecretId": "x", "SecretString": {PLANTED: PLANTED}},  # refused by the SDK
        {"SecretId": "x", "SecretString": PLANTED, "ClientRequestToken": PLANTED[:5]},
        {"SecretId": PLANTED * 60, "SecretString": PLANTED},  # refused by AWS, which quotes it
        {"SecretId": "x", PLANTED: PLANTED},
    ],
)
def test_no_error_shows_what_was_asked(aws: FakeAws, ours: Aws, parameters: JsonMap) -> None:
    """Neither AWS's nor the SDK's own checks may quote a value; nor does the traceback lead to what does."""
    with pytest.raises(OutsideError) as caught:
        ours.call("secretsmanager", "put_secret_value", **parameters)
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert PLANTED[:5] not in text.replace("PLANTED", "")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "1 validation error detected: Value 'hunter2' at 'secretString' failed to satisfy constraint",
            "1 validation error detected: Value *** at 'secretString' failed to satisfy constraint",
        ),
        ("Value '[hunter2, 'x' at y]' at 'a' failed; Value 'b' at 'c' failed", "Value *** at 'c' failed"),
        ("Value \"hunter2\" at 'a' failed", "Value *** at 'a' failed"),
        ("Secrets Manager can't find the specified secret.", "Secrets Manager can't find the specified secret."),
    ],
)
def test_quoted_values_are_struck_out(said: str, shown: str) -> None:
    """Greedily: of two quoted values and what is between them nothing remains."""
    assert without_values(said) == shown


def test_debug_logs_hold_no_bodies(aws: FakeAws, ours: Aws) -> None:
    """The SDK writes whole requests and answers at DEBUG: none of it reaches our log, nor anybody else's handler."""
    root = logging.getLogger()
    kept = (root.level, list(root.handlers))
    out, elsewhere = io.StringIO(), io.StringIO()
    other = logging.StreamHandler(elsewhere)
    try:
        telemetry.configure_logging("DEBUG", out)
        root.addHandler(other)
        ours.call("secretsmanager", "create_secret", Name="apps/x", SecretString=PLANTED)
        ours.call("secretsmanager", "get_secret_value", SecretId="apps/x")
        logging.getLogger("rotatord.test").debug("logging works")
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:] = kept[1]
        root.setLevel(kept[0])
    for log in (out.getvalue(), elsewhere.getvalue()):
        assert "logging works" in log
        assert PLANTED not in log
        assert "botocore" not in log


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [silent_server, closed_port, full_port])
def test_nobody_who_answers_is_retryable_in_time(server: Any, make: Callable[..., Aws]) -> None:
    """One call to a server that is silent, closed or overrun ends within the method's time."""
    with server() as port, pytest.raises(Retryable, match=r"127\.0\.0\.1"):
        make(endpoint_url=f"http://127.0.0.1:{port}", **QUICK).call("sts", "get_caller_identity")


def test_the_calls_of_one_method_share_its_time(aws: FakeAws, known: dict[str, str], make: Callable[..., Aws]) -> None:
    """No call is begun that could end after the method's time; the next method has its own."""
    known.update(id=aws.admin.id, secret=aws.admin.secret)
    now = [0.0]
    ours = make(endpoint_url=aws.url, timeout=20, monotonic=lambda: now[0])
    with ours.calling():
        ours.call("sts", "get_caller_identity")
        now[0] = 11.0
        ours.call("sts", "get_caller_identity")
        now[0] = 12.5
        before = len(aws.calls)
        with pytest.raises(Retryable, match="within 20 s"):
            ours.call("sts", "get_caller_identity")
        assert len(aws.calls) == before
    ours.call("sts", "get_caller_identity")


def test_slow_answers_are_waited_for_no_longer_than_said(aws: FakeAws, known: dict[str, str], make: Callable[..., Aws]) -> None:
    """An answer that does not begin in time is given up."""
    known.update(id=aws.admin.id, secret=aws.admin.secret)
    aws.faults.plan("*", Slow(30.0))
    with pytest.raises(Retryable):
        make(endpoint_url=aws.url, **QUICK).call("sts", "get_caller_identity")


# --- identity --------------------------------------------------------------------------------------------------------


def test_a_rotated_key_is_used_at_once(aws: FakeAws, known: dict[str, str], ours: Aws) -> None:
    """References are read for every request, by the client that exists."""
    client = ours.client("sts")
    first = known["id"]
    client.get_caller_identity()
    other = aws.identity("other", allow("sts:*"))
    known.update(id=other.id, secret=other.secret)
    assert client.get_caller_identity()["Arn"].endswith("user/other")
    assert [len(aws.used(key)) for key in (first, other.id)] == [1, 1]


def test_a_key_that_is_gone_is_said_to_be_ours(aws: FakeAws, known: dict[str, str], ours: Aws) -> None:
    """Retryable, as a new key may not be known yet; the sentence leads to our own credentials."""
    known["id"] = "AKIAAAAAAAAAAAAAAAAA"
    with pytest.raises(Retryable, match="check our own credentials") as caught:
        ours.call("secretsmanager", "describe_secret", SecretId="x")
    assert code_of(caught.value) == "UnrecognizedClientException"
    known["id"], known["secret"] = aws.admin.id, "wrong"
    with pytest.raises(Retryable, match="does not belong to the key's id"):
        ours.call("secretsmanager", "describe_secret", SecretId="x")


def test_a_probe_signs_with_the_version_and_not_as_us(aws: FakeAws, ours: Aws) -> None:
    """``credentials`` are the fields of a version; temporary ones have a token."""
    key = aws.identity("app", allow("sts:GetSessionToken"))
    fields = Secret({"access_key_id": key.id, "secret_access_key": key.secret})
    client = ours.client("sts", credentials=fields)
    assert client.get_caller_identity()["Arn"].endswith("user/app")
    client.close()
    assert ours.call("sts", "get_caller_identity")["Arn"].endswith("user/admin")


TRUST = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",'
    ' "Principal": {"AWS": "arn:aws:iam::123456789012:root"}}]}'
)


def test_an_assumed_role_is_assumed_again_in_time(
    make_aws: Callable[..., FakeAws], known: dict[str, str], make: Callable[..., Aws]
) -> None:
    """One session for all clients, renewed by the daemon's clock before it ends."""
    clock = RunningClock()
    aws = make_aws(clock=clock)
    aws.role("rotator", TRUST, allow("sts:*"))
    known.update(id=aws.admin.id, secret=aws.admin.secret)
    role = {"arn": "arn:aws:iam::123456789012:role/rotator", "session_name": "daemon"}
    ours = make(now=clock.now, endpoint_url=aws.url, assume_role=role)

    def assumed() -> int:
        return sum(call.operation == "sts:AssumeRole" for call in aws.calls)

    for _ in range(3):
        assert ours.call("sts", "get_caller_identity")["Arn"].endswith(":assumed-role/rotator/daemon")
    assert assumed() == 1
    clock.advance(3500)
    ours.call("sts", "get_caller_identity")
    assert assumed() == 2
    assert not aws.refusals


def test_a_role_that_we_may_not_assume_is_denied(aws: FakeAws, known: dict[str, str], make: Callable[..., Aws]) -> None:
    """The message names the role's call, not the one that was made for."""
    known.update(id=aws.admin.id, secret=aws.admin.secret)
    role = {"arn": "arn:aws:iam::123456789012:role/nothing"}
    with pytest.raises(Denied, match="AssumeRole"):
        make(endpoint_url=aws.url, assume_role=role).call("secretsmanager", "describe_secret", SecretId="x")


def test_no_credentials_anywhere_is_a_sentence(make: Callable[..., Aws], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where AWS's default chain finds nothing (now), it says where to look."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ROLE_ARN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    with closed_port() as port, pytest.raises(Retryable, match="no credentials"):
        make(access_key=None, endpoint_url=f"http://127.0.0.1:{port}").call("sts", "get_caller_identity")
    with pytest.raises(Invalid, match="profile"):
        make(access_key=None, profile="nobody").call("sts", "get_caller_identity")


def test_no_region_is_a_sentence(make: Callable[..., Aws], monkeypatch: pytest.MonkeyPatch) -> None:
    """Never guessed; the environment may say it."""
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(Invalid, match="no AWS region"):
        make(region=None).client("sts")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert make(region=None).client("sts").meta.region_name == "eu-north-1"


def test_another_account_is_noticed(aws: FakeAws, known: dict[str, str], make: Callable[..., Aws]) -> None:
    """Keys of the wrong account are told before anything is made there."""
    known.update(id=aws.admin.id, secret=aws.admin.secret)
    assert make(endpoint_url=aws.url, account="123456789012").wrong_account() == []
    assert make(endpoint_url=aws.url).wrong_account() == []
    assert "999999999999" in make(endpoint_url=aws.url, account="999999999999").wrong_account()[0]


# --- making ----------------------------------------------------------------------------------------------------------


def test_clients_are_made_once(ours: Aws) -> None:
    """However many threads ask at the same moment."""
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(ours.client("secretsmanager"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 8
    assert len({id(client) for client in found}) == 1


def test_nothing_is_imported_before_it_is_used() -> None:
    """Who has the plugins installed and does not use them pays nothing for the SDK."""
    code = (
        "import sys, backends.aws_secrets_manager, backends.aws_ssm_parameter\n"
        "from rotatord.aws_client import Aws, AwsSettings\n"
        "Aws(AwsSettings(region='eu-west-1'), None)\n"
        "sys.exit(any(name.startswith('boto') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_nothing_prints_a_key(ours: Aws, known: dict[str, str]) -> None:
    """Neither ours nor what botocore holds of ours."""
    client = ours.client("sts")
    held = client._request_signer._credentials
    for thing in (ours, client, held, held.get_frozen_credentials()):
        assert known["secret"] not in repr(thing)


@pytest.mark.parametrize(
    "settings",
    [
        {"region": "Frankfurt"},
        {"account": "12"},
        {"endpoint_url": "ftp://x"},
        {"endpoint_url": "http://aws.example"},
        {"endpoint_url": "https://user@aws.example"},
        {"profile": "a", "access_key": KEY},
        {"assume_role": {"arn": "role/x"}},
        {"access_key": {"id": {"env": "X"}}},
        {"connect_timeout": 15, "read_timeout": 6},
        {"retries": 3},
    ],
)
def test_mistakes_of_settings_are_refused(settings: JsonMap) -> None:
    """Before anything is asked."""
    with pytest.raises(pydantic.ValidationError):
        AwsSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), (None, "aws")]
)
def test_partitions_follow_regions(region: str | None, partition: str) -> None:
    """ARNs of China and of the government's regions begin otherwise."""
    assert partition_of(region) == partition
