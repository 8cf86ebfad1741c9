"""What changes in the strict AWS is known late, to each replica of each service at its own moment, within a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rotatord.testing.aws import LIKE_AWS, Credentials, FakeAws, Lags, RunningClock, allow
from rotatord.testing.clock import START, VirtualClock

LAGS = Lags(fresh_key=10.0, ended_key=10.0, rights=10.0, listing=10.0)
SERVICES: dict[str, Callable[[Any], Any]] = {
    "sts": lambda client: client.get_caller_identity(),
    "iam": lambda client: client.get_user(UserName="app"),
    "secretsmanager": lambda client: client.describe_secret(SecretId="s"),
    "ssm": lambda client: client.get_parameter(Name="p"),
}
Make = Callable[..., FakeAws]


@pytest.fixture
def lagging(make_aws: Make) -> FakeAws:
    """An account on a clock that stands still, where everything takes up to 10 seconds."""
    made = make_aws(clock=RunningClock(scale=0), lags=LAGS, seed=7)
    made.user("app", allow("*"))
    made.client("secretsmanager").create_secret(Name="s", SecretString="x")
    made.client("ssm").put_parameter(Name="p", Value="x", Type="String")
    return made


def views(aws: FakeAws, service: str, key: Credentials, times: int = 8) -> set[bool]:
    """Whether a key is accepted, asked so often that every replica has likely answered."""
    client, found = aws.client(service, key), set()
    for _ in range(times):
        found.add(accepted(lambda: SERVICES[service](client), "InvalidClientTokenId", "UnrecognizedClientException"))
    return found


def accepted(call: Callable[[], Any], *codes: str) -> bool:
    """Whether a call is let in; refused with any other code is a failure."""
    try:
        call()
    except ClientError as error:
        if error.response["Error"]["Code"] in codes:
            return False
        raise
    return True


def fresh_key(aws: FakeAws) -> Credentials:
    made = aws.client("iam").create_access_key(UserName="app")["AccessKey"]
    return Credentials(made["AccessKeyId"], made["SecretAccessKey"])


def test_a_fresh_key_is_refused_at_first_and_accepted_in_the_end(lagging: FakeAws) -> None:
    """At every service; and the true reason of the refusals is told."""
    key = fresh_key(lagging)
    for service in SERVICES:
        assert views(lagging, service, key) == {False}
    lagging.advance(10.001)
    for service in SERVICES:
        assert views(lagging, service, key) == {True}
    assert {one.why for one in lagging.refusals} == {"not yet known here"}


def test_one_success_does_not_mean_that_it_spread(lagging: FakeAws) -> None:
    """Half way, replicas differ within a service, and services differ from one another."""
    key = fresh_key(lagging)
    mixed, whole = set(), set()
    for _ in range(6):
        lagging.advance(1.7)
        for service in SERVICES:
            found = views(lagging, service, key)
            (mixed if len(found) == 2 else whole).add((service, *found))
    assert {service for service, *_ in mixed}, "no service was ever of two minds"
    assert {(service, True) for service in SERVICES} <= whole


@pytest.mark.parametrize("end", ["delete", "deactivate"])
def test_an_ended_key_is_accepted_for_a_while(lagging: FakeAws, end: str) -> None:
    """Revoked is what is refused everywhere, not what a call promised."""
    key, iam = lagging.key("app"), lagging.client("iam")
    if end == "delete":
        iam.delete_access_key(UserName="app", AccessKeyId=key.id)
    else:
        iam.update_access_key(UserName="app", AccessKeyId=key.id, Status="Inactive")
    assert all(views(lagging, service, key) == {True} for service in SERVICES)
    lagging.advance(10.001)
    assert all(views(lagging, service, key) == {False} for service in SERVICES)


def test_news_do_not_overtake_one_another(make_aws: Make) -> None:
    """Off and on again: whatever the delays, the last word is the last everywhere."""
    for seed in range(5):
        aws = make_aws(clock=RunningClock(scale=0), lags=LAGS, seed=seed)
        aws.user("app", allow("*"))
        key, iam = aws.key("app"), aws.client("iam")
        for status in ("Inactive", "Active"):
            iam.update_access_key(UserName="app", AccessKeyId=key.id, Status=status)
            aws.advance(1)
        aws.settle()
        assert views(aws, "sts", key) == {True}


def test_rights_change_late_both_ways(lagging: FakeAws) -> None:
    """A widened policy is not at once enough, and a narrowed one not at once the end."""
    lagging.user("reader", allow("iam:GetUser"))
    key, admin = lagging.key("reader"), lagging.client("iam")
    mine = lagging.client("iam", key)

    def allowed() -> set[bool]:
        return {accepted(lambda: mine.list_access_keys(UserName="app"), "AccessDenied") for _ in range(12)}

    for wanted, document in ((True, allow("iam:*")), (False, allow("iam:GetUser"))):
        admin.put_user_policy(UserName="reader", PolicyName="policy", PolicyDocument=document)
        assert allowed() == {not wanted}
        lagging.advance(10.001)
        assert allowed() == {wanted}


def test_a_changed_managed_policy_is_news_too(lagging: FakeAws) -> None:
    """The version in force changes at its own time at each replica."""
    policy = lagging.policy("scope", allow("iam:GetUser"))
    lagging.user("reader", attached=[policy.arn])
    mine = lagging.client("iam", lagging.key("reader"))
    lagging.client("iam").create_policy_version(PolicyArn=policy.arn, PolicyDocument=allow("iam:*"), SetAsDefault=True)
    with pytest.raises(ClientError, match="AccessDenied"):
        mine.list_access_keys(UserName="app")
    lagging.settle()
    assert mine.list_access_keys(UserName="app")


def test_lists_are_late_but_the_cap_is_not(lagging: FakeAws) -> None:
    """A mint that seems to be missing from the list may have happened: it still counts."""
    iam = lagging.client("iam")
    made = [iam.create_access_key(UserName="app")["AccessKey"]["AccessKeyId"] for _ in range(2)]
    assert iam.list_access_keys(UserName="app")["AccessKeyMetadata"] == []
    with pytest.raises(ClientError, match="LimitExceeded"):
        iam.create_access_key(UserName="app")
    lagging.settle()
    assert [one["AccessKeyId"] for one in iam.list_access_keys(UserName="app")["AccessKeyMetadata"]] == made
    iam.delete_access_key(UserName="app", AccessKeyId=made[0])
    assert len(iam.list_access_keys(UserName="app")["AccessKeyMetadata"]) == 2  # still shown
    assert [one.id for one in lagging.keys("app")] == [made[1]]  # and yet gone


def test_what_a_policy_was_is_read_late(lagging: FakeAws) -> None:
    """A scope that is read back right after it was written may be the old one."""
    iam = lagging.client("iam")
    iam.put_user_policy(UserName="app", PolicyName="policy", PolicyDocument=allow("s3:*"))
    assert iam.get_user_policy(UserName="app", PolicyName="policy")["PolicyDocument"]["Statement"][0]["Action"] == "*"
    lagging.settle()
    assert iam.get_user_policy(UserName="app", PolicyName="policy")["PolicyDocument"]["Statement"][0]["Action"] == "s3:*"


def test_the_same_seed_spreads_in_the_same_way(make_aws: Make) -> None:
    """And another one differently: a failure is repeated by its seed."""

    def story(seed: int) -> list[bool]:
        aws = make_aws(clock=RunningClock(scale=0), lags=LAGS, seed=seed)
        aws.user("app", allow("*"))
        key, seen = fresh_key(aws), []
        sts = aws.client("sts", key)
        for _ in range(20):
            aws.advance(0.5)
            seen.append(accepted(sts.get_caller_identity, "InvalidClientTokenId"))
        return seen

    assert story(1) == story(1)
    assert len({tuple(story(seed)) for seed in range(4)}) > 1


def test_another_clock_may_be_injected(make_aws: Make) -> None:
    """The one that the engine of a test runs on."""
    clock = VirtualClock()
    aws = make_aws(clock=clock, lags=LAGS)
    aws.user("app", allow("*"))
    key = fresh_key(aws)
    assert views(aws, "sts", key) == {False}
    clock.advance(10.001)
    assert views(aws, "sts", key) == {True}
    listed = aws.client("iam").list_access_keys(UserName="app")["AccessKeyMetadata"]
    assert [one["CreateDate"] for one in listed] == [START]


def test_on_an_injected_clock_quotas_do_not_hang_on_the_machine(make_aws: Make) -> None:
    """Ten writes of parameters in one second of that clock, and not one more however long they take."""
    clock = VirtualClock()
    ssm = make_aws(clock=clock).client("ssm")
    for number in range(10):
        ssm.put_parameter(Name=f"/p{number}", Value="x", Type="String")
    assert not accepted(lambda: ssm.put_parameter(Name="/p", Value="x", Type="String"), "ThrottlingException")
    clock.advance(0.1)
    assert accepted(lambda: ssm.put_parameter(Name="/p", Value="x", Type="String"), "ThrottlingException")


def test_a_fresh_key_may_be_refused_in_the_wrong_words(make_aws: Make) -> None:
    """AWS was seen to blame the signature of a key that it has not heard of yet: that proves nothing about the secret."""
    aws = make_aws(clock=RunningClock(scale=0), lags=Lags(fresh_key=10.0, wrong_words=0.5))
    aws.user("app", allow("*"))
    sts, codes = aws.client("sts", fresh_key(aws)), set()
    for _ in range(30):
        with pytest.raises(ClientError) as caught:
            sts.get_caller_identity()
        codes.add(caught.value.response["Error"]["Code"])
    assert codes == {"InvalidClientTokenId", "SignatureDoesNotMatch"}
    assert {one.why for one in aws.refusals} == {"not yet known here"}
    aws.settle()
    assert sts.get_caller_identity()


def test_the_bound_is_told() -> None:
    """A test waits so long, and no longer."""
    assert Lags().longest == 0
    assert LIKE_AWS.longest == LIKE_AWS.rights
