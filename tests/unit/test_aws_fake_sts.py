"""STS of the strict AWS: identities and sessions of roles, as boto3 sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import urllib3
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from rotatord.testing.aws import Credentials, FakeAws, allow

ROLE = "arn:aws:iam::123456789012:role/deployer"


def trust(principal: str, action: Any = "sts:AssumeRole", **condition: Any) -> str:
    statement: dict[str, Any] = {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": action}
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Code"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


def assume(aws: FakeAws, caller: Credentials | None = None, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = aws.client("sts", caller).assume_role(RoleArn=ROLE, RoleSessionName="test", **more)
    return found


def credentials(answer: dict[str, Any]) -> Credentials:
    found = answer["Credentials"]
    return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])


def test_a_session_is_what_it_says(aws: FakeAws) -> None:
    """Its ARN and id name the role and the session, its end is told."""
    role = aws.role("deployer", trust("123456789012"), allow("iam:GetUser"), max_session=7200)
    before = aws.clock.now()
    answer = assume(aws, DurationSeconds=7200)
    found = aws.client("sts", credentials(answer)).get_caller_identity()
    assert found["Arn"] == answer["AssumedRoleUser"]["Arn"] == "arn:aws:sts::123456789012:assumed-role/deployer/test"
    assert found["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"] == f"{role.id}:test"
    assert answer["Credentials"]["AccessKeyId"].startswith("ASIA")
    assert abs(answer["Credentials"]["Expiration"] - before - timedelta(hours=2)) < timedelta(seconds=5)
    assert "PackedPolicySize" not in answer
    assert aws.client("iam", credentials(answer)).get_user(UserName="admin")


def test_a_role_is_taken_by_whom_it_trusts(aws: FakeAws) -> None:
    """Trust in the account leaves it to the caller's own policies; trust in a user is enough by itself."""
    able, other = aws.identity("able", allow("sts:AssumeRole", ROLE)), aws.identity("other", allow("s3:*"))
    aws.role("deployer", trust("arn:aws:iam::123456789012:root"))
    assert assume(aws, able)
    assert refusal(lambda: assume(aws, other)) == ("AccessDenied", 403)
    aws.role("deployer", trust("arn:aws:iam::123456789012:user/other"))
    assert assume(aws, other)
    assert refusal(lambda: assume(aws, able)) == ("AccessDenied", 403)
    assert refusal(aws.client("sts").assume_role, RoleArn=ROLE + "x", RoleSessionName="test") == ("AccessDenied", 403)
    assert (
        refusal(aws.client("sts").assume_role, RoleArn="arn:aws:iam::1:user/x", RoleSessionName="test")[0] == "ValidationError"
    )


def test_a_deny_on_the_caller_s_side_wins_over_trust(aws: FakeAws) -> None:
    """Named in the trust or not."""
    deny = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "sts:*", "Resource": "*"}]})
    key = aws.identity("app", deny)
    aws.role("deployer", trust("arn:aws:iam::123456789012:user/app"))
    assert refusal(lambda: assume(aws, key)) == ("AccessDenied", 403)


def test_an_external_id_is_asked_for(aws: FakeAws) -> None:
    """Against deputies that are confused."""
    aws.role("deployer", trust("*", StringEquals={"sts:ExternalId": "tenant-7"}))
    assert assume(aws, ExternalId="tenant-7")
    assert refusal(lambda: assume(aws, ExternalId="tenant-8")) == ("AccessDenied", 403)
    assert refusal(lambda: assume(aws)) == ("AccessDenied", 403)


def test_tags_need_trust_of_their_own_and_count_in_policies(aws: FakeAws) -> None:
    """sts:TagSession beside sts:AssumeRole."""
    aws.role("deployer", trust("*"), allow("iam:GetUser", StringEquals={"aws:PrincipalTag/team": "edge"}))
    tags = [{"Key": "team", "Value": "edge"}]
    assert refusal(lambda: assume(aws, Tags=tags)) == ("AccessDenied", 403)
    aws.role(
        "deployer",
        trust("*", ["sts:AssumeRole", "sts:TagSession"]),
        allow("iam:GetUser", StringEquals={"aws:PrincipalTag/team": "edge"}),
    )
    tagged, plain = assume(aws, Tags=tags), assume(aws)
    assert tagged["PackedPolicySize"] > 0
    assert aws.client("iam", credentials(tagged)).get_user(UserName="admin")
    assert refusal(aws.client("iam", credentials(plain)).get_user, UserName="admin")[0] == "AccessDenied"


@pytest.mark.parametrize(("seconds", "code"), [(3601, "ValidationError"), (899, None), (43201, "ValidationError")])
def test_a_duration_stays_within_the_role_s(aws: FakeAws, seconds: int, code: str | None) -> None:
    """15 minutes at least; what the role allows at most, which is an hour unless changed."""
    from botocore.exceptions import ParamValidationError

    aws.role("deployer", trust("*"))
    if code is None:  # boto3 itself refuses what is too short
        with pytest.raises(ParamValidationError):
            assume(aws, DurationSeconds=seconds)
    else:
        assert refusal(lambda: assume(aws, DurationSeconds=seconds)) == (code, 400)


def test_a_chained_role_lasts_an_hour_at_most(aws: FakeAws) -> None:
    """Whatever the second role would allow."""
    first = aws.session(aws.role("first", trust("*"), allow("sts:AssumeRole")))
    aws.role("deployer", trust("*"), max_session=43200)
    assert assume(aws, first, DurationSeconds=3600)
    assert refusal(lambda: assume(aws, first, DurationSeconds=3601)) == ("ValidationError", 400)
    assert assume(aws, DurationSeconds=43200)


def test_session_policies_narrow_and_are_limited(aws: FakeAws) -> None:
    """Ten ARNs, 2048 characters, and a packed size that nobody can compute."""
    aws.role("deployer", trust("*"), allow("iam:*"))
    arns = [{"arn": aws.policy(f"p{number}", allow("iam:Get*")).arn} for number in range(11)]
    narrow = aws.client("iam", credentials(assume(aws, PolicyArns=arns[:10])))
    assert narrow.get_user(UserName="admin")
    assert refusal(narrow.list_access_keys, UserName="admin")[0] == "AccessDenied"
    assert refusal(lambda: assume(aws, PolicyArns=arns))[0] == "ValidationError"
    assert refusal(lambda: assume(aws, PolicyArns=[{"arn": arns[0]["arn"] + "x"}])) == ("MalformedPolicyDocument", 400)
    assert refusal(lambda: assume(aws, Policy="{}")) == ("MalformedPolicyDocument", 400)
    long = allow("s3:*", [f"arn:aws:s3:::{'b' * 40}/{number:04}" for number in range(50)])
    assert refusal(lambda: assume(aws, Policy=long)) == ("PackedPolicyTooLarge", 400)


FEDERATED = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Federated": "arn:aws:iam::123456789012:oidc-provider/cluster.example/id"},
                "Action": "sts:AssumeRoleWithWebIdentity",
                "Condition": {"StringEquals": {"cluster.example/id:sub": "system:serviceaccount:apps:dns"}},
            }
        ],
    }
)


def test_a_pod_takes_a_role_by_its_token(aws: FakeAws) -> None:
    """Unsigned: the token of the cluster is all that it has."""
    aws.role("deployer", FEDERATED, allow("iam:GetUser"))
    later = aws.clock.now().timestamp() + 600
    claims = {
        "iss": "https://cluster.example/id",
        "sub": "system:serviceaccount:apps:dns",
        "aud": "sts.amazonaws.com",
        "exp": later,
    }
    known = {"good": claims, "other": {**claims, "sub": "system:serviceaccount:apps:other"}}
    aws.believe(known.get)
    unsigned = aws.client("sts", signature_version=UNSIGNED)
    asked = {"RoleArn": ROLE, "RoleSessionName": "pod"}
    answer = unsigned.assume_role_with_web_identity(**asked, WebIdentityToken="good")
    assert answer["SubjectFromWebIdentityToken"] == "system:serviceaccount:apps:dns"
    assert aws.client("iam", credentials(answer)).get_user(UserName="admin")
    refused = (("other", ("AccessDenied", 403)), ("made up", ("InvalidIdentityToken", 400)))
    for token, code in refused:
        assert refusal(unsigned.assume_role_with_web_identity, **asked, WebIdentityToken=token) == code
    aws.advance(601)
    assert refusal(unsigned.assume_role_with_web_identity, **asked, WebIdentityToken="good") == ("ExpiredTokenException", 400)


def test_nothing_else_is_done_unsigned(aws: FakeAws) -> None:
    """A token of someone else's opens no other door."""
    unsigned = aws.client("sts", signature_version=UNSIGNED)
    assert refusal(unsigned.get_caller_identity) == ("MissingAuthenticationToken", 403)
    with urllib3.PoolManager(retries=False, timeout=10.0) as pool:
        body = "Action=GetCallerIdentity&Version=2011-06-15&WebIdentityToken=good"
        answer = pool.request("POST", aws.url + "/", body=body)
    assert (answer.status, b"MissingAuthenticationToken" in answer.data) == (403, True)


def test_a_key_tells_its_account(aws: FakeAws) -> None:
    """And no more."""
    assert aws.client("sts").get_access_key_info(AccessKeyId=aws.admin.id)["Account"] == "123456789012"
    assert refusal(aws.client("sts").get_access_key_info, AccessKeyId="AKIAQQQQQQQQQQQQQQQQ")[0] == "InvalidClientTokenId"
