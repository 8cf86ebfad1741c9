"""IAM of the strict AWS, asked by boto3: users, keys and policies with the limits and refusals of the real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rotatord.testing.aws import FakeAws, allow, granted

ACCOUNT = "123456789012"


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[str, int, str]:
    """Code, status and message of the refusal of a call."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


@pytest.fixture
def iam(aws: FakeAws) -> Any:
    """IAM, as the administrator, with a user ``app``."""
    aws.user("app", path="/rotated/")
    return aws.client("iam")


def test_a_user_is_what_it_was_created_as(aws: FakeAws) -> None:
    """Path, ARN, tags and boundary come back."""
    iam = aws.client("iam")
    arn = aws.policy("limit", allow("s3:*")).arn
    tags = [{"Key": "team", "Value": "edge"}]
    made = iam.create_user(UserName="App", Path="/rotated/", Tags=tags, PermissionsBoundary=arn)["User"]
    found = iam.get_user(UserName="App")["User"]
    assert found == made
    assert found["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/rotated/App"
    assert found["Tags"] == tags
    assert found["PermissionsBoundary"] == {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn}
    assert refusal(iam.create_user, UserName="app")[:2] == ("EntityAlreadyExists", 409)  # names differ by more than case
    assert refusal(iam.create_user, UserName="x" * 65)[:2] == ("ValidationError", 400)
    assert refusal(iam.get_user, UserName="b") == ("NoSuchEntity", 404, "The user with name b cannot be found.")
    assert refusal(iam.create_user, UserName="b", PermissionsBoundary=arn + "x")[:2] == ("NoSuchEntity", 404)


def test_a_call_without_a_user_means_the_caller(aws: FakeAws, iam: Any) -> None:
    """That is why the user is always to be named: a role has none."""
    assert iam.get_user()["User"]["UserName"] == "admin"
    session = aws.session(aws.role("deployer", TRUST, allow("*")))
    said = "Must specify userName when calling with non-User credentials"
    assert refusal(aws.client("iam", session).create_access_key) == ("ValidationError", 400, said)


TRUST = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
)


def test_tags_are_merged_without_regard_to_case(iam: Any) -> None:
    """As IAM's keys are."""
    iam.tag_user(UserName="app", Tags=[{"Key": "Team", "Value": "a"}, {"Key": "other", "Value": "x"}])
    iam.tag_user(UserName="app", Tags=[{"Key": "team", "Value": "b"}])
    iam.untag_user(UserName="app", TagKeys=["OTHER"])
    assert iam.list_user_tags(UserName="app")["Tags"] == [{"Key": "team", "Value": "b"}]
    many = [{"Key": f"k{number}", "Value": ""} for number in range(50)]
    assert refusal(iam.tag_user, UserName="app", Tags=many)[:2] == ("LimitExceeded", 409)
    assert refusal(iam.tag_user, UserName="app", Tags=[many[0], {"Key": "K0", "Value": ""}])[0] == "InvalidInput"


def test_a_user_has_two_keys_and_inactive_ones_count(aws: FakeAws, iam: Any) -> None:
    """The cap that every rotation of keys runs into."""
    first = iam.create_access_key(UserName="app")["AccessKey"]
    iam.update_access_key(UserName="app", AccessKeyId=first["AccessKeyId"], Status="Inactive")
    second = iam.create_access_key(UserName="app")["AccessKey"]
    limit = ("LimitExceeded", 409, "Cannot exceed quota for AccessKeysPerUser: 2")
    assert refusal(iam.create_access_key, UserName="app") == limit
    assert [one["Status"] for one in iam.list_access_keys(UserName="app")["AccessKeyMetadata"]] == ["Inactive", "Active"]
    iam.delete_access_key(UserName="app", AccessKeyId=first["AccessKeyId"])
    assert [one.id for one in aws.keys("app")] == [second["AccessKeyId"]]
    assert aws.most_keys("app") == 2
    assert refusal(iam.delete_access_key, UserName="app", AccessKeyId=first["AccessKeyId"])[:2] == ("NoSuchEntity", 404)
    assert (
        refusal(iam.update_access_key, UserName="app", AccessKeyId=first["AccessKeyId"], Status="Active")[0] == "NoSuchEntity"
    )


def test_a_secret_is_shown_once_and_has_the_known_form(iam: Any) -> None:
    """No list or get gives it again."""
    made = iam.create_access_key(UserName="app")["AccessKey"]
    assert len(made["SecretAccessKey"]) == 40
    assert made["AccessKeyId"].startswith("AKIA")
    assert set(made["AccessKeyId"][4:]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")
    assert len(made["AccessKeyId"]) == 20
    assert made["CreateDate"].microsecond == 0  # coarser than any clock of ours
    listed = iam.list_access_keys(UserName="app")["AccessKeyMetadata"]
    assert [sorted(one) for one in listed] == [["AccessKeyId", "CreateDate", "Status", "UserName"]]


def test_a_list_of_keys_is_paged(iam: Any) -> None:
    """Who reads one page only misses a key."""
    made = [iam.create_access_key(UserName="app")["AccessKey"]["AccessKeyId"] for _ in range(2)]
    first = iam.list_access_keys(UserName="app", MaxItems=1)
    assert first["IsTruncated"]
    second = iam.list_access_keys(UserName="app", MaxItems=1, Marker=first["Marker"])
    assert not second["IsTruncated"]
    assert [one["AccessKeyId"] for page in (first, second) for one in page["AccessKeyMetadata"]] == made
    assert refusal(iam.list_access_keys, UserName="app", Marker="made up")[0] == "ValidationError"


def test_last_use_is_late_coarse_and_absent_at_first(make_aws: Callable[..., FakeAws]) -> None:
    """It is evidence of use, and never of the lack of it."""
    from rotatord.testing.aws import Lags, RunningClock

    aws = make_aws(clock=RunningClock(scale=0), lags=Lags(last_used=600.0, last_used_grain=60.0))
    key, iam = aws.identity("app", allow("*")), aws.client("iam")
    unused = iam.get_access_key_last_used(AccessKeyId=key.id)
    assert (unused["UserName"], unused["AccessKeyLastUsed"]) == ("app", {"ServiceName": "N/A", "Region": "N/A"})
    aws.client("sts", key, region="eu-north-1").get_caller_identity()
    used_at = aws.clock.now()
    assert "LastUsedDate" not in iam.get_access_key_last_used(AccessKeyId=key.id)["AccessKeyLastUsed"]
    aws.advance(601)
    told = iam.get_access_key_last_used(AccessKeyId=key.id)["AccessKeyLastUsed"]
    assert (told["ServiceName"], told["Region"]) == ("sts", "eu-north-1")
    assert told["LastUsedDate"].second == 0
    assert 0 <= (used_at - told["LastUsedDate"]).total_seconds() < 60
    assert [(use.service, use.region) for use in aws.used(key.id)] == [("sts", "eu-north-1")]


def test_the_last_use_of_a_key_that_is_nobody_s_is_denied(aws: FakeAws, iam: Any) -> None:
    """AWS does not tell a missing key from one of another account, so a deleted one is a matter of rights."""
    key = aws.key("app")
    iam.delete_access_key(UserName="app", AccessKeyId=key.id)
    for named in (key.id, "AKIAQQQQQQQQQQQQQQQQ"):
        code, status, said = refusal(iam.get_access_key_last_used, AccessKeyId=named)
        assert (code, status) == ("AccessDenied", 403)
        assert said.endswith(f"is not authorized to perform: iam:GetAccessKeyLastUsed on resource: access key {named}")


def test_what_the_fake_does_not_have_is_not_passed_over(iam: Any) -> None:
    """A member of a request that would have an effect at AWS and has none here is told."""
    asked = {"PolicySourceArn": iam.get_user(UserName="app")["User"]["Arn"], "ActionNames": ["s3:GetObject"]}
    code, status, said = refusal(iam.simulate_principal_policy, **asked, ResourcePolicy=allow("s3:*"))
    assert (code, status) == ("NotImplemented", 501)
    assert said == "the strict AWS does not have ResourcePolicy of iam:SimulatePrincipalPolicy"


def test_tags_at_creation_need_their_own_right(aws: FakeAws) -> None:
    """iam:TagUser and iam:TagPolicy beside the creation."""
    maker = aws.client("iam", aws.identity("maker", allow(["iam:CreateUser", "iam:CreatePolicy"])))
    tags = [{"Key": "a", "Value": "b"}]
    assert "iam:TagUser" in refusal(maker.create_user, UserName="new", Tags=tags)[2]
    asked = {"PolicyName": "new", "PolicyDocument": allow("s3:*"), "Tags": tags}
    assert "iam:TagPolicy" in refusal(maker.create_policy, **asked)[2]
    made = aws.client("iam").create_policy(**asked, Description="d")["Policy"]
    assert (made["Tags"], made["Description"]) == (tags, "d")


def test_refused_attempts_are_no_use(aws: FakeAws) -> None:
    """A deactivated key that is still tried does not count as used; a denied call does, for its key was accepted."""
    key, iam = aws.identity("app", allow("s3:*")), aws.client("iam")
    refusal(aws.client("iam", key).list_access_keys, UserName="app")
    assert len(aws.used(key.id)) == 1
    iam.update_access_key(UserName="app", AccessKeyId=key.id, Status="Inactive")
    refusal(aws.client("sts", key).get_caller_identity)
    assert len(aws.used(key.id)) == 1


def test_inline_policies_come_back_as_they_were(iam: Any) -> None:
    """Put, listed, read, deleted."""
    document = allow("s3:GetObject", "arn:aws:s3:::bucket/*")
    iam.put_user_policy(UserName="app", PolicyName="read", PolicyDocument=document)
    assert iam.get_user_policy(UserName="app", PolicyName="read")["PolicyDocument"] == json.loads(document)
    assert iam.list_user_policies(UserName="app")["PolicyNames"] == ["read"]
    iam.delete_user_policy(UserName="app", PolicyName="read")
    gone = ("NoSuchEntity", 404, "The user policy with name read cannot be found.")
    assert refusal(iam.get_user_policy, UserName="app", PolicyName="read") == gone
    assert refusal(iam.delete_user_policy, UserName="app", PolicyName="read") == gone


def test_inline_policies_share_2048_characters_without_white_space(iam: Any) -> None:
    """Several small ones count together; blanks do not count."""
    room = json.dumps(json.loads(allow("s3:GetObject", [f"arn:aws:s3:::bucket/{number:04}" for number in range(30)])), indent=8)
    iam.put_user_policy(UserName="app", PolicyName="one", PolicyDocument=room)
    said = "Maximum policy size of 2048 bytes exceeded for user app"
    assert refusal(
        iam.put_user_policy, UserName="app", PolicyName="two", PolicyDocument=allow("s3:*", "arn:aws:s3:::" + "b" * 1200)
    ) == (
        "LimitExceeded",
        409,
        said,
    )
    assert iam.list_user_policies(UserName="app")["PolicyNames"] == ["one"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "not in the valid JSON format"),
        ('{"Version": "2020-01-01", "Statement": []}', "valid version"),
        ('{"Version": "2012-10-17", "Statement": []}', "Syntax errors"),
        (json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*"}]}), "must contain resources"),
        (allow("getobject"), "prefaced by a vendor"),
        (allow("s3:*", "bucket/*"), "must be in ARN format"),
        (allow("s3:*", StringSort={"aws:username": "x"}), "Invalid Condition type : StringSort"),
        (allow("s3:*").replace('"Resource"', '"Principal": "*", "Resource"'), "should not specify a principal"),
        (allow("s3:*").replace('"Resource"', '"Ressource"'), "Syntax errors"),
    ],
)
def test_a_malformed_document_is_refused(iam: Any, document: str, said: str) -> None:
    """What AWS would not take does not become a policy."""
    code, status, message = refusal(iam.put_user_policy, UserName="app", PolicyName="p", PolicyDocument=document)
    assert (code, status) == ("MalformedPolicyDocument", 400)
    assert said in message


def test_managed_policies_have_versions_with_one_in_force(aws: FakeAws, iam: Any) -> None:
    """Five at most, numbers never given twice, the one in force not to be deleted."""
    arn = iam.create_policy(PolicyName="scope", PolicyDocument=allow("s3:GetObject"), Path="/rotated/")["Policy"]["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/rotated/scope"
    for number in range(2, 6):
        made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=allow(f"s3:Put{number}*"), SetAsDefault=number == 2)
        assert made["PolicyVersion"]["VersionId"] == f"v{number}"
    assert refusal(iam.create_policy_version, PolicyArn=arn, PolicyDocument=allow("s3:*"))[:2] == ("LimitExceeded", 409)
    assert refusal(iam.delete_policy_version, PolicyArn=arn, VersionId="v2")[:2] == ("DeleteConflict", 409)
    iam.set_default_policy_version(PolicyArn=arn, VersionId="v4")
    iam.delete_policy_version(PolicyArn=arn, VersionId="v5")
    assert iam.create_policy_version(PolicyArn=arn, PolicyDocument=allow("s3:*"))["PolicyVersion"]["VersionId"] == "v6"
    found = iam.get_policy_version(PolicyArn=arn, VersionId="v4")["PolicyVersion"]
    assert (found["Document"], found["IsDefaultVersion"]) == (json.loads(allow("s3:Put4*")), True)
    assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v4"
    listed = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    assert [one["VersionId"] for one in listed] == ["v6", "v4", "v3", "v2", "v1"]
    assert refusal(iam.create_policy, PolicyName="Scope", PolicyDocument=allow("*"))[:2] == ("EntityAlreadyExists", 409)
    assert refusal(iam.get_policy, PolicyArn=arn + "x")[:2] == ("NoSuchEntity", 404)
    assert refusal(iam.get_policy_version, PolicyArn=arn, VersionId="v9")[:2] == ("NoSuchEntity", 404)
    assert refusal(iam.delete_policy_version, PolicyArn=arn, VersionId="v9")[:2] == ("NoSuchEntity", 404)
    big = allow([f"s3:Get{number:05}*" for number in range(500)])
    said = "Cannot exceed quota for PolicySize: 6144"
    assert refusal(iam.create_policy, PolicyName="big", PolicyDocument=big) == ("LimitExceeded", 409, said)


def test_ten_policies_may_be_attached(aws: FakeAws, iam: Any) -> None:
    """Attaching twice is done already; what is not attached cannot be detached."""
    arns = [aws.policy(f"p{number}", allow("s3:*")).arn for number in range(11)]
    for arn in [*arns[:10], arns[0]]:
        iam.attach_user_policy(UserName="app", PolicyArn=arn)
    said = "Cannot exceed quota for PoliciesPerUser: 10"
    assert refusal(iam.attach_user_policy, UserName="app", PolicyArn=arns[10]) == ("LimitExceeded", 409, said)
    first = iam.list_attached_user_policies(UserName="app", MaxItems=7)
    second = iam.list_attached_user_policies(UserName="app", MaxItems=7, Marker=first["Marker"])
    assert [one["PolicyArn"] for page in (first, second) for one in page["AttachedPolicies"]] == arns[:10]
    assert iam.get_policy(PolicyArn=arns[0])["Policy"]["AttachmentCount"] == 1
    iam.detach_user_policy(UserName="app", PolicyArn=arns[0])
    assert refusal(iam.detach_user_policy, UserName="app", PolicyArn=arns[0])[:2] == ("NoSuchEntity", 404)
    assert refusal(iam.attach_user_policy, UserName="app", PolicyArn=arns[0] + "x")[:2] == ("NoSuchEntity", 404)


def test_a_boundary_is_put_shown_and_deleted(aws: FakeAws, iam: Any) -> None:
    """And is not there twice to be deleted."""
    arn = aws.policy("limit", allow("s3:*")).arn
    iam.put_user_permissions_boundary(UserName="app", PermissionsBoundary=arn)
    assert iam.get_user(UserName="app")["User"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == arn
    iam.delete_user_permissions_boundary(UserName="app")
    assert "PermissionsBoundary" not in iam.get_user(UserName="app")["User"]
    assert refusal(iam.delete_user_permissions_boundary, UserName="app")[:2] == ("NoSuchEntity", 404)


def test_aws_own_policies_are_not_ours_to_change(aws: FakeAws, iam: Any) -> None:
    """They can be attached and read."""
    arn = "arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantineV3"
    assert iam.get_policy(PolicyArn=arn)["Policy"]["PolicyName"] == "AWSCompromisedKeyQuarantineV3"
    assert refusal(iam.create_policy_version, PolicyArn=arn, PolicyDocument=allow("*"))[:2] == ("AccessDenied", 403)


def test_a_quarantined_user_can_mint_no_key(aws: FakeAws) -> None:
    """What AWS does when it finds a key in public: in the middle of a rotation, rights are gone."""
    key = aws.identity("app", allow("iam:*"))
    iam = aws.client("iam", key)
    iam.list_access_keys(UserName="app")
    aws.quarantine("app")
    code, _, message = refusal(iam.create_access_key, UserName="app")
    assert code == "AccessDenied"
    assert message.endswith("with an explicit deny in an identity-based policy")
    assert refusal(iam.update_access_key, UserName="app", AccessKeyId=key.id, Status="Inactive")[0] == "AccessDenied"
    iam.delete_access_key(UserName="app", AccessKeyId=key.id)  # the quarantine leaves that


def test_a_simulation_says_what_a_call_would_be_told(aws: FakeAws) -> None:
    """For users and for what is not attached yet."""
    arn = aws.user("app", allow("s3:Get*", "arn:aws:s3:::bucket/*"), attached=["AWSCompromisedKeyQuarantineV2"]).arn
    asked = {"PolicySourceArn": arn, "ActionNames": ["s3:GetObject", "s3:PutObject", "iam:CreateAccessKey"]}
    found = aws.client("iam").simulate_principal_policy(**asked, ResourceArns=["arn:aws:s3:::bucket/x"])["EvaluationResults"]
    assert [one["EvalDecision"] for one in found] == ["allowed", "implicitDeny", "explicitDeny"]
    wider = aws.client("iam").simulate_principal_policy(**asked, PolicyInputList=[allow("s3:*")])["EvaluationResults"]
    assert [one["EvalDecision"] for one in wider] == ["allowed", "allowed", "explicitDeny"]
    assert refusal(aws.client("iam").simulate_principal_policy, **asked | {"PolicySourceArn": arn + "x"})[0] == "NoSuchEntity"


def test_a_run_tells_which_rights_it_used_and_which_it_lacked(aws: FakeAws) -> None:
    """What a documented policy grants is held against what was asked for."""
    document = allow(["iam:CreateAccessKey", "iam:ListAccessKeys"], f"arn:aws:iam::{ACCOUNT}:user/rotated/*")
    key = aws.identity("rotatord", document)
    aws.user("app", path="/rotated/")
    aws.user("other")
    iam = aws.client("iam", key)
    iam.create_access_key(UserName="app")
    code, status, message = refusal(iam.create_access_key, UserName="other")
    assert (code, status) == ("AccessDenied", 403)
    said = (
        f"User: arn:aws:iam::{ACCOUNT}:user/rotatord is not authorized to perform: iam:CreateAccessKey on resource: user other"
    )
    assert message == f"{said} because no identity-based policy allows the iam:CreateAccessKey action"
    refusal(iam.tag_user, UserName="app", Tags=[{"Key": "a", "Value": "b"}])
    caller = f"arn:aws:iam::{ACCOUNT}:user/rotatord"
    assert set(granted(document)) - aws.allowed(caller) == {"iam:ListAccessKeys"}
    assert aws.denied(caller) == {"iam:CreateAccessKey", "iam:TagUser"}
    ended = [(one.operation, one.allowed, one.outcome, one.resource) for one in aws.calls if one.caller == caller]
    assert ended == [
        ("iam:CreateAccessKey", True, "ok", f"arn:aws:iam::{ACCOUNT}:user/rotated/app"),
        ("iam:CreateAccessKey", False, "AccessDenied", f"arn:aws:iam::{ACCOUNT}:user/other"),
        ("iam:TagUser", False, "AccessDenied", f"arn:aws:iam::{ACCOUNT}:user/rotated/app"),
    ]
