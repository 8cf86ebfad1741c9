"""Everything that can go wrong with a call happens in the strict AWS when a test plans it, and nothing else does."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import urllib3
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.parsers import ResponseParserError

from rotatord.testing.aws import (
    CutOff,
    Dropped,
    Fails,
    FakeAws,
    Garbled,
    Hangs,
    Lags,
    Late,
    Refuse,
    RunningClock,
    Slow,
    throttled,
    unavailable,
)

# What boto3 raises where no answer can be read: three of these are no BotoCoreError.
LOST = (BotoCoreError, ResponseParserError, urllib3.exceptions.HTTPError, KeyError)
MINT = "iam:CreateAccessKey"


@pytest.fixture
def account(make_aws: Callable[..., FakeAws]) -> FakeAws:
    """An account whose clock stands still, with a user ``app``."""
    made = make_aws(clock=RunningClock(scale=0))
    made.user("app")
    return made


def mint(aws: FakeAws, **config: Any) -> str:
    made = aws.client("iam", **config).create_access_key(UserName="app")
    return str(made["AccessKey"]["AccessKeyId"])


def test_a_refusal_does_nothing(account: FakeAws) -> None:
    """The call is told no, and that is all."""
    account.faults.plan(MINT, Refuse("ServiceFailure", "try again", 500))
    with pytest.raises(ClientError) as caught:
        mint(account)
    assert caught.value.response["Error"] == {"Type": "Receiver", "Code": "ServiceFailure", "Message": "try again"}
    assert account.keys("app") == []
    assert mint(account)


@pytest.mark.parametrize("fault", [Dropped(), CutOff(), Garbled()], ids=["dropped", "cut off", "garbled"])
def test_an_answer_may_be_lost_after_the_deed(account: FakeAws, fault: Any) -> None:
    """The key is there, and nobody has its secret: an orphan."""
    account.faults.plan(MINT, fault)
    with pytest.raises(LOST):
        mint(account)
    assert len(account.keys("app")) == 1
    assert [(one.outcome, one.fault) for one in account.calls if one.operation == MINT] == [("ok", fault)]


def test_an_error_may_hide_a_success(account: FakeAws) -> None:
    """500 says nothing about what was done."""
    account.faults.plan(MINT, Fails())
    with pytest.raises(ClientError) as caught:
        mint(account)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert len(account.keys("app")) == 1


def test_a_call_may_land_late(account: FakeAws) -> None:
    """Its client gave up, and a key appears minutes afterwards."""
    account.faults.plan(MINT, Late(seconds=120))
    with pytest.raises(ConnectionClosedError):
        mint(account)
    account.advance(119)
    assert account.keys("app") == []
    account.advance(1)
    assert len(account.keys("app")) == 1
    assert [(one.outcome, one.landed) for one in account.calls if one.operation == MINT] == [("ok", False), ("ok", True)]


def test_a_late_call_meets_the_world_as_it_is_then(account: FakeAws) -> None:
    """What it finds when it lands decides, and nobody hears of its failure."""
    account.faults.plan(MINT, Late(seconds=60))
    with pytest.raises(ConnectionClosedError):
        mint(account)
    mint(account)
    mint(account)
    account.advance(61)
    assert len(account.keys("app")) == 2
    assert [one.outcome for one in account.calls if one.operation == MINT][-1] == "LimitExceeded"


def test_late_calls_land_in_the_order_of_their_times(account: FakeAws) -> None:
    """A later call may land first."""
    sm = account.client("secretsmanager")
    sm.create_secret(Name="s", SecretString="first")
    put = "secretsmanager:PutSecretValue"
    account.faults.plan(put, Late(seconds=90))
    for value in ("slow", "quick"):
        if value == "slow":
            with pytest.raises(ConnectionClosedError):
                sm.put_secret_value(SecretId="s", SecretString=value)
        else:
            sm.put_secret_value(SecretId="s", SecretString=value)
    assert sm.get_secret_value(SecretId="s")["SecretString"] == "quick"
    account.advance(90)
    assert sm.get_secret_value(SecretId="s")["SecretString"] == "slow"


def test_late_calls_land_on_a_running_clock_too(make_aws: Callable[..., FakeAws]) -> None:
    """At the next call, or whenever the test looks."""
    aws = make_aws(clock=RunningClock(scale=1000))
    aws.user("app")
    aws.faults.plan(MINT, Late(seconds=20))
    with pytest.raises(ConnectionClosedError):
        mint(aws)
    until = time.monotonic() + 10
    while not aws.keys("app") and time.monotonic() < until:
        pass
    assert len(aws.keys("app")) == 1


def test_a_call_may_hang(account: FakeAws) -> None:
    """The client's own read timeout ends it; nothing was done."""
    account.faults.plan(MINT, Hangs())
    with pytest.raises(ReadTimeoutError):
        mint(account, read_timeout=0.2)
    assert account.keys("app") == []
    assert [(one.operation, one.key, one.outcome) for one in account.calls] == [(MINT, account.admin.id, "hung")]


def test_a_hung_call_holds_nobody_up(account: FakeAws) -> None:
    """Nor does it keep the fake from stopping."""
    account.faults.plan(MINT, Hangs())
    with ThreadPoolExecutor(1) as others:
        hung = others.submit(mint, account, read_timeout=30)
        until = time.monotonic() + 10
        while not account.faults.struck and time.monotonic() < until:
            pass
        started = time.monotonic()
        account.client("sts").get_caller_identity()
        account.stop()
        assert time.monotonic() - started < 5
        with pytest.raises(BotoCoreError):
            hung.result(10)


def test_an_answer_may_be_slow(account: FakeAws) -> None:
    """It arrives in pieces; each is sooner than the read timeout, all together are not."""
    account.faults.plan(MINT, Slow(0.5))
    started = time.monotonic()
    assert mint(account, read_timeout=0.4)
    assert time.monotonic() - started >= 0.4


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [("iam", "iam:GetUser", "Throttling"), ("ssm", "ssm:GetParameter", "ThrottlingException")],
)
def test_throttling_has_each_service_s_word(account: FakeAws, service: str, operation: str, code: str) -> None:
    """With a time to wait, where a test wants one."""
    account.faults.plan(operation, throttled(service, retry_after=7))
    client = account.client(service)
    with pytest.raises(ClientError) as caught:
        client.get_user(UserName="app") if service == "iam" else client.get_parameter(Name="x")
    response = caught.value.response
    assert response["Error"]["Code"] == code
    assert response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "7"


@pytest.mark.parametrize("service", ["iam", "ssm"])
def test_a_service_may_be_away(account: FakeAws, service: str) -> None:
    """503 in the form of its protocol."""
    account.faults.plan(f"{service}:*", unavailable(service))
    client = account.client(service)
    with pytest.raises(ClientError) as caught:
        client.get_user(UserName="app") if service == "iam" else client.get_parameter(Name="x")
    assert caught.value.response["Error"]["Code"].startswith("ServiceUnavailable")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_a_plan_counts_calls(account: FakeAws) -> None:
    """From the n-th on, so often, of this operation, of this service or of all."""
    account.faults.plan("iam:GetUser", Refuse("Throttling"), nth=2, times=2)
    iam, seen = account.client("iam"), []
    for _ in range(5):
        account.client("sts").get_caller_identity()
        try:
            iam.get_user(UserName="app")
            seen.append("ok")
        except ClientError as error:
            seen.append(error.response["Error"]["Code"])
    assert seen == ["ok", "Throttling", "Throttling", "ok", "ok"]
    account.faults.plan("*", Refuse("Throttling"), times=None)
    for call in (iam.get_user, account.client("sts").get_caller_identity):
        with pytest.raises(ClientError):
            call()
    account.faults.clear()
    assert iam.get_user()
    assert [operation for operation, _ in account.faults.struck] == ["iam:GetUser"] * 3 + ["sts:GetCallerIdentity"]


def test_it_listens_on_loopback_only(account: FakeAws) -> None:
    """And the port is free again when it has stopped."""
    port = int(account.url.rsplit(":", 1)[1])
    assert account.url.startswith("http://127.0.0.1:")
    account.client("sts").get_caller_identity()  # a connection that stays open
    account.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))


def test_many_callers_at_once_are_served_one_at_a_time(account: FakeAws) -> None:
    """The cap of two holds against any number of mints at one time."""
    client = account.client("iam")

    def attempt(_: int) -> bool:
        try:
            client.create_access_key(UserName="app")
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(8) as callers:
        assert sum(callers.map(attempt, range(24))) == 2
    assert account.most_keys("app") == 2


def test_the_quota_of_keys_may_be_late_as_aws_s_is(make_aws: Callable[..., FakeAws]) -> None:
    """AWS was seen to give a user eight keys at once: its cap is checked on a view that lags."""
    account = make_aws(clock=RunningClock(scale=0), lags=Lags(listing=10.0))
    account.user("app")
    account.account.loose_key_quota = True
    assert len({mint(account) for _ in range(4)}) == 4
    assert account.most_keys("app") == 4
    account.settle()
    with pytest.raises(ClientError, match="LimitExceeded"):
        mint(account)
