"""The strict AWS decides as policies say: every kind of policy must allow, a Deny anywhere wins, silence is a no."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rotatord.testing.aws import Credentials, FakeAws, allow
from rotatord.testing.aws.conditions import holds, like
from rotatord.testing.aws.policies import Question, decide, parsed

USER = "arn:aws:iam::123456789012:user"
ANYBODY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def verdict(text: str, action: str, resource: str = "*", **context: Any) -> str:
    return decide([parsed("p", text)], Question(action, resource, context))[0]


def message(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Message"])


@pytest.mark.parametrize(
    ("action", "resource", "asked", "on", "allowed"),
    [
        ("iam:*AccessKey", "*", "iam:CreateAccessKey", "x", True),
        ("iam:*accesskey", "*", "iam:CreateAccessKey", "x", True),  # actions know no case
        ("iam:*AccessKey", "*", "iam:CreateAccessKeys", "x", False),
        ("iam:Get?ser", "*", "iam:GetUser", "x", True),
        ("*", "*", "s3:GetObject", "x", True),
        ("iam:*", f"{USER}/rotated/*", "iam:GetUser", f"{USER}/rotated/app", True),
        ("iam:*", f"{USER}/rotated/*", "iam:GetUser", f"{USER}/Rotated/app", False),  # resources do
        ("iam:*", f"{USER}/rotated/*", "iam:GetUser", f"{USER}/app", False),
        ("iam:*", f"{USER}/rotated/ap?", "iam:GetUser", f"{USER}/rotated/app", True),
        ("iam:*", f"{USER}/app", "iam:GetUser", f"{USER}/app2", False),
        (["s3:Get*", "iam:Get*"], ["arn:aws:s3:::b/*", f"{USER}/*"], "iam:GetUser", f"{USER}/app", True),
    ],
)
def test_actions_and_resources_are_matched(action: Any, resource: Any, asked: str, on: str, allowed: bool) -> None:
    """Wildcards as AWS has them, and nothing else is special."""
    assert verdict(allow(action, resource), asked, on) == ("allowed" if allowed else "implicitDeny")


def test_nothing_of_a_regular_expression_is_special() -> None:
    """Dots, brackets and plus signs mean themselves."""
    assert like("a.b[c]+*", "a.b[c]+d")
    assert not like("a.b", "axb")


def test_deny_beats_allow_wherever_it_stands() -> None:
    """Order does not matter."""
    deny = {"Effect": "Deny", "Action": "iam:CreateAccessKey", "Resource": "*"}
    free = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    for text in (document(deny, free), document(free, deny)):
        assert verdict(text, "iam:CreateAccessKey") == "explicitDeny"
        assert verdict(text, "iam:GetUser") == "allowed"


def test_what_is_not_named_may_be_meant() -> None:
    """NotAction and NotResource speak of all the others."""
    text = document(
        {"Effect": "Deny", "NotAction": ["sts:*", "iam:Get*"], "Resource": "*"},
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
    )
    assert verdict(text, "iam:CreateUser") == "explicitDeny"
    assert verdict(text, "iam:GetUser") == "allowed"
    text = document({"Effect": "Allow", "Action": "s3:*", "NotResource": "arn:aws:s3:::secret/*"})
    assert verdict(text, "s3:GetObject", "arn:aws:s3:::secret/x") == "implicitDeny"
    assert verdict(text, "s3:GetObject", "arn:aws:s3:::open/x") == "allowed"


@pytest.mark.parametrize(
    ("condition", "context", "held"),
    [
        ({"StringEquals": {"aws:username": "app"}}, {"aws:username": "app"}, True),
        ({"StringEquals": {"AWS:UserName": ["x", "app"]}}, {"aws:username": "app"}, True),  # keys know no case
        ({"StringEquals": {"aws:username": "App"}}, {"aws:username": "app"}, False),
        ({"StringEqualsIgnoreCase": {"aws:username": "App"}}, {"aws:username": "app"}, True),
        ({"StringLike": {"aws:username": "a*"}}, {"aws:username": "app"}, True),
        ({"StringNotEquals": {"aws:username": ["x", "app"]}}, {"aws:username": "app"}, False),
        ({"StringNotEquals": {"aws:username": "x"}}, {}, True),  # a missing key is not equal
        ({"StringEquals": {"aws:username": "x"}}, {}, False),
        ({"StringEqualsIfExists": {"aws:username": "x"}}, {}, True),
        ({"StringNotLike": {"aws:username": "a*"}}, {"aws:username": "app"}, False),
        ({"Null": {"aws:username": "true"}}, {}, True),
        ({"Null": {"aws:username": "false"}}, {}, False),
        ({"Bool": {"aws:SecureTransport": True}}, {"aws:SecureTransport": "true"}, True),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, {"s3:max-keys": "9"}, True),
        (
            {"DateLessThan": {"aws:TokenIssueTime": "2026-01-01T00:00:00Z"}},
            {"aws:TokenIssueTime": "2025-06-01T00:00:00+00:00"},
            True,
        ),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8"]}}, {"aws:SourceIp": "10.1.2.3"}, True),
        ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, {"aws:SourceIp": "10.1.2.3"}, False),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/ci-*"}}, {"aws:PrincipalArn": "arn:aws:iam::1:role/ci-1"}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:TagKeys": ("a",)}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:TagKeys": ("a", "c")}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a", "b"]}}, {"aws:TagKeys": ("c", "b")}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["a"]}}, {}, False),
        ({"StringEquals": {"a": "1", "b": "2"}}, {"a": "1"}, False),  # all must hold
    ],
)
def test_conditions_hold_or_not(condition: Any, context: Any, held: bool) -> None:
    """The operators that policies for credentials are written with."""
    assert holds(condition, context) is held


def test_variables_are_filled_in() -> None:
    """Users may be allowed to turn their own keys, and no one else's."""
    text = allow("iam:*AccessKey*", f"{USER}/${{aws:username}}")
    assert verdict(text, "iam:CreateAccessKey", f"{USER}/app", **{"aws:username": "app"}) == "allowed"
    assert verdict(text, "iam:CreateAccessKey", f"{USER}/other", **{"aws:username": "app"}) == "implicitDeny"
    assert verdict(text, "iam:CreateAccessKey", f"{USER}/") == "implicitDeny"  # a role has no user name


def test_the_caller_s_address_can_be_asked_for(aws: FakeAws) -> None:
    """So that a key with an allowed address is tested from outside of it."""
    key = aws.identity("app", allow("iam:GetUser", IpAddress={"aws:SourceIp": "203.0.113.0/24"}))
    assert "no identity-based policy allows" in message(aws.client("iam", key).get_user, UserName="app")
    aws.gateway.source_ip = "203.0.113.7"
    assert aws.client("iam", key).get_user(UserName="app")


def test_a_boundary_and_a_session_policy_only_narrow(aws: FakeAws) -> None:
    """Each that is there must allow, and the message names the one that does not."""
    key, admin = aws.identity("app", allow("iam:*")), aws.client("iam")
    admin.put_user_permissions_boundary(
        UserName="app", PermissionsBoundary=aws.policy("limit", allow(["iam:Get*", "sts:*"])).arn
    )
    iam = aws.client("iam", key)
    assert iam.get_user(UserName="app")
    said = message(iam.create_access_key, UserName="app")
    assert said.endswith("because no permissions boundary allows the iam:CreateAccessKey action")
    aws.role("deployer", json.dumps(ANYBODY), allow("iam:*"))
    found = aws.client("sts").assume_role(
        RoleArn="arn:aws:iam::123456789012:role/deployer", RoleSessionName="narrow", Policy=allow("iam:Get*")
    )["Credentials"]
    session = Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
    narrow = aws.client("iam", session)
    assert narrow.get_user(UserName="app")
    said = message(narrow.list_access_keys, UserName="app")
    assert said.startswith("User: arn:aws:sts::123456789012:assumed-role/deployer/narrow is not authorized")
    assert said.endswith("because no session policy allows the iam:ListAccessKeys action")


def test_nobody_can_be_denied_to_know_who_they_are(aws: FakeAws) -> None:
    """GetCallerIdentity is the probe that no policy takes away."""
    key = aws.identity("app", document({"Effect": "Deny", "Action": "*", "Resource": "*"}))
    assert aws.client("sts", key).get_caller_identity()["Arn"].endswith("user/app")
    assert message(aws.client("iam", key).get_user, UserName="app").endswith(
        "with an explicit deny in an identity-based policy"
    )


def test_sessions_of_before_a_moment_can_be_ended(aws: FakeAws) -> None:
    """A Deny on aws:TokenIssueTime is the only way to end sessions of a role."""
    role = aws.role("deployer", json.dumps(ANYBODY), allow("iam:*"))
    old = aws.client("iam", aws.session(role))
    aws.advance(60)
    moment = aws.clock.now().isoformat()
    aws.advance(60)
    new = aws.client("iam", aws.session(role))
    ended = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"DateLessThan": {"aws:TokenIssueTime": moment}}}
    aws.set_policy(role, document(ended), name="AWSRevokeOlderSessions")
    assert "explicit deny" in message(old.get_user, UserName="admin")
    assert new.get_user(UserName="admin")


def test_tags_of_users_and_of_requests_decide(aws: FakeAws) -> None:
    """A daemon can be held to users that carry its tag."""
    key = aws.identity("rotatord", allow("iam:CreateAccessKey", StringEquals={"aws:ResourceTag/rotate": "yes"}))
    for name, tags in (("ours", [{"Key": "rotate", "Value": "yes"}]), ("theirs", [])):
        aws.client("iam").create_user(UserName=name, Tags=tags)
    assert aws.client("iam", key).create_access_key(UserName="ours")
    assert "no identity-based policy" in message(aws.client("iam", key).create_access_key, UserName="theirs")


def test_attaching_can_be_held_to_named_policies(aws: FakeAws) -> None:
    """iam:PolicyARN names what may be attached, iam:PermissionsBoundary under which boundary users are made."""
    good, bad = aws.policy("good", allow("s3:*")).arn, aws.policy("bad", allow("*")).arn
    rules = document(
        {
            "Effect": "Allow",
            "Action": "iam:AttachUserPolicy",
            "Resource": "*",
            "Condition": {"ArnEquals": {"iam:PolicyARN": good}},
        },
        {
            "Effect": "Allow",
            "Action": "iam:CreateUser",
            "Resource": "*",
            "Condition": {"StringEquals": {"iam:PermissionsBoundary": good}},
        },
    )
    iam = aws.client("iam", aws.identity("rotatord", rules))
    iam.create_user(UserName="app", PermissionsBoundary=good)
    assert "no identity-based" in message(iam.create_user, UserName="free")
    iam.attach_user_policy(UserName="app", PolicyArn=good)
    assert "no identity-based" in message(iam.attach_user_policy, UserName="app", PolicyArn=bad)
