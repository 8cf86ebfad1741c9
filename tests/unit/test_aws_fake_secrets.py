"""Secrets Manager of the strict AWS, asked by boto3: versions, labels and windows as the real one keeps them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rotatord.testing.aws import FakeAws, Lags, RunningClock, allow
from rotatord.testing.aws.quotas import Rate

DAY = 86_400
KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"


def token(number: int) -> str:
    """A version id of ours."""
    return f"{number:032d}"


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


@pytest.fixture
def account(make_aws: Callable[..., FakeAws]) -> FakeAws:
    """An account whose clock stands still."""
    return make_aws(clock=RunningClock(scale=0))


@pytest.fixture
def sm(account: FakeAws) -> Any:
    """Secrets Manager as the administrator, with a secret ``apps/dns`` of version 1."""
    client = account.client("secretsmanager")
    client.create_secret(Name="apps/dns", SecretString="one", ClientRequestToken=token(1))
    return client


def test_a_secret_is_found_by_name_and_by_arn(sm: Any) -> None:
    """The ARN has six random characters at its end, that may be left out."""
    found = sm.describe_secret(SecretId="apps/dns")
    assert found["VersionIdsToStages"] == {token(1): ["AWSCURRENT"]}
    for named in (found["ARN"], found["ARN"][:-7]):
        assert sm.get_secret_value(SecretId=named)["SecretString"] == "one"
    missing = ("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
    assert refusal(sm.get_secret_value, SecretId="apps/nix") == missing
    assert refusal(sm.get_secret_value, SecretId=found["ARN"][:-1]) == missing


def test_create_is_idempotent_under_its_token(sm: Any) -> None:
    """The same again is the same; anything else is there already."""
    again = sm.create_secret(Name="apps/dns", SecretString="one", ClientRequestToken=token(1))
    assert again["VersionId"] == token(1)
    for value, number in (("two", 1), ("one", 2)):
        code, said = refusal(sm.create_secret, Name="apps/dns", SecretString=value, ClientRequestToken=token(number))
        assert (code, said) == ("ResourceExistsException", "The operation failed because the secret apps/dns already exists.")
    assert "VersionId" not in sm.create_secret(Name="empty")
    assert refusal(sm.get_secret_value, SecretId="empty")[0] == "ResourceNotFoundException"
    assert refusal(sm.create_secret, Name="no blanks")[0] == "ValidationException"


def test_put_moves_current_and_previous(sm: Any) -> None:
    """Without labels the new version is current at once."""
    sm.put_secret_value(SecretId="apps/dns", SecretString="two", ClientRequestToken=token(2))
    sm.put_secret_value(SecretId="apps/dns", SecretString="three", ClientRequestToken=token(3))
    assert sm.describe_secret(SecretId="apps/dns")["VersionIdsToStages"] == {
        token(2): ["AWSPREVIOUS"],
        token(3): ["AWSCURRENT"],
    }
    assert sm.get_secret_value(SecretId="apps/dns", VersionStage="AWSPREVIOUS")["SecretString"] == "two"
    assert (
        sm.get_secret_value(SecretId="apps/dns", VersionId=token(1))["SecretString"] == "one"
    )  # unlabelled, not yet collected


def test_a_pending_version_changes_nothing_for_readers(account: FakeAws, sm: Any) -> None:
    """Then current moves, and the old holder becomes previous by itself."""
    sm.put_secret_value(SecretId="apps/dns", SecretString="two", ClientRequestToken=token(2), VersionStages=["AWSPENDING"])
    assert sm.get_secret_value(SecretId="apps/dns")["SecretString"] == "one"
    move = {"SecretId": "apps/dns", "VersionStage": "AWSCURRENT", "MoveToVersionId": token(2), "RemoveFromVersionId": token(1)}
    sm.update_secret_version_stage(**move)
    sm.update_secret_version_stage(SecretId="apps/dns", VersionStage="AWSPENDING", RemoveFromVersionId=token(2))
    assert account.secret("apps/dns").stages == {"AWSCURRENT": token(2), "AWSPREVIOUS": token(1)}
    back = {**move, "MoveToVersionId": token(1), "RemoveFromVersionId": token(2)}
    sm.update_secret_version_stage(**back)
    assert account.secret("apps/dns").stages == {"AWSCURRENT": token(1), "AWSPREVIOUS": token(2)}


def test_the_same_value_under_the_same_token_is_no_second_write(account: FakeAws, sm: Any) -> None:
    """Another value is refused: a version never changes."""
    put = {"SecretId": "apps/dns", "ClientRequestToken": token(2), "VersionStages": ["AWSPENDING"]}
    sm.put_secret_value(**put, SecretString="two")
    sm.update_secret_version_stage(SecretId="apps/dns", VersionStage="AWSPENDING", RemoveFromVersionId=token(2))
    assert sm.put_secret_value(**put, SecretString="two")["VersionId"] == token(2)
    assert "AWSPENDING" not in account.secret("apps/dns").stages  # ignored, labels and all
    code, said = refusal(sm.put_secret_value, **put, SecretString="other")
    assert (code, f"You can't use ClientRequestToken {token(2)}" in said) == ("ResourceExistsException", True)
    assert refusal(sm.put_secret_value, **put, SecretBinary=b"two")[0] == "ResourceExistsException"
    assert (
        refusal(sm.update_secret, SecretId="apps/dns", SecretString="two", ClientRequestToken=token(2))[0]
        == "ResourceExistsException"
    )


def test_a_label_moves_only_from_where_it_is(sm: Any) -> None:
    """RemoveFromVersionId is a compare-and-swap."""
    sm.put_secret_value(SecretId="apps/dns", SecretString="two", ClientRequestToken=token(2), VersionStages=["AWSPENDING"])
    move = {"SecretId": "apps/dns", "VersionStage": "AWSCURRENT"}
    code, said = refusal(sm.update_secret_version_stage, **move, MoveToVersionId=token(2))
    assert code == "InvalidParameterException"
    assert f"Staging label AWSCURRENT is currently attached to version {token(1)}" in said
    assert said.endswith("so you must explicitly reference that version in RemoveFromVersionId.")
    wrong = {**move, "MoveToVersionId": token(2), "RemoveFromVersionId": token(2)}
    assert refusal(sm.update_secret_version_stage, **wrong)[0] == "InvalidParameterException"
    unknown = {**move, "MoveToVersionId": token(9), "RemoveFromVersionId": token(1)}
    assert refusal(sm.update_secret_version_stage, **unknown)[0] == "ResourceNotFoundException"
    code, said = refusal(sm.update_secret_version_stage, **move, RemoveFromVersionId=token(1))
    assert (code, said.startswith("You can only move staging label AWSCURRENT")) == ("InvalidParameterException", True)
    assert refusal(sm.update_secret_version_stage, **move)[0] == "InvalidParameterException"
    sm.update_secret_version_stage(SecretId="apps/dns", VersionStage="mine", MoveToVersionId=token(2))  # on none yet
    assert sm.get_secret_value(SecretId="apps/dns", VersionStage="mine")["VersionStages"] == ["AWSPENDING", "mine"]


def test_labels_are_limited(account: FakeAws, sm: Any) -> None:
    """Twenty on all versions of a secret; what does not fit changes nothing."""
    for number in range(19):
        sm.update_secret_version_stage(SecretId="apps/dns", VersionStage=f"label-{number}", MoveToVersionId=token(1))
    one_more = {"SecretId": "apps/dns", "VersionStages": ["one-more"], "SecretString": "two"}
    assert refusal(sm.put_secret_value, **one_more)[0] == "LimitExceededException"
    assert list(account.secret("apps/dns").versions) == [token(1)]


def test_version_and_label_must_agree(sm: Any) -> None:
    """Both may be asked for at once."""
    sm.put_secret_value(SecretId="apps/dns", SecretString="two", ClientRequestToken=token(2), VersionStages=["AWSPENDING"])
    both = sm.get_secret_value(SecretId="apps/dns", VersionId=token(2), VersionStage="AWSPENDING")
    assert both["SecretString"] == "two"
    code, said = refusal(sm.get_secret_value, SecretId="apps/dns", VersionId=token(1), VersionStage="AWSPENDING")
    assert (code, "not associated" in said) == ("InvalidRequestException", True)
    missing = "Secrets Manager can't find the specified secret value for staging label: AWSNEXT"
    assert refusal(sm.get_secret_value, SecretId="apps/dns", VersionStage="AWSNEXT") == ("ResourceNotFoundException", missing)
    assert refusal(sm.get_secret_value, SecretId="apps/dns", VersionId=token(7))[0] == "ResourceNotFoundException"


def test_values_are_text_or_bytes_of_64_kib_at_most(sm: Any) -> None:
    """Characters and bytes are both counted."""
    sm.put_secret_value(SecretId="apps/dns", SecretBinary=b"\x00" * 65_536)
    assert sm.get_secret_value(SecretId="apps/dns")["SecretBinary"] == b"\x00" * 65_536
    assert refusal(sm.put_secret_value, SecretId="apps/dns", SecretString="x" * 65_537)[0] == "ValidationException"
    assert refusal(sm.put_secret_value, SecretId="apps/dns", SecretString="ä" * 40_000)[0] == "InvalidParameterException"
    assert (
        refusal(sm.put_secret_value, SecretId="apps/dns", SecretString="x", SecretBinary=b"x")[0] == "InvalidParameterException"
    )
    assert refusal(sm.put_secret_value, SecretId="apps/dns")[0] == "InvalidRequestException"
    assert (
        refusal(sm.put_secret_value, SecretId="apps/dns", SecretString="x", ClientRequestToken="y" * 65)[0]
        == "ValidationException"
    )


def test_update_changes_what_it_names(sm: Any) -> None:
    """A value makes a version; a description does not."""
    sm.update_secret(SecretId="apps/dns", Description="edits records")
    found = sm.describe_secret(SecretId="apps/dns")
    assert (found["Description"], list(found["VersionIdsToStages"])) == ("edits records", [token(1)])
    assert sm.update_secret(SecretId="apps/dns", SecretString="two", ClientRequestToken=token(2))["VersionId"] == token(2)
    assert sm.get_secret_value(SecretId="apps/dns")["SecretString"] == "two"


def test_a_deleted_secret_can_be_restored_within_its_window(account: FakeAws, sm: Any) -> None:
    """And its name is taken until the window ends."""
    sm.delete_secret(SecretId="apps/dns", RecoveryWindowInDays=7)
    marked = ("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
    for call, more in (
        (sm.get_secret_value, {}),
        (sm.put_secret_value, {"SecretString": "two"}),
        (sm.tag_resource, {"Tags": [{"Key": "a", "Value": "b"}]}),
        (sm.update_secret_version_stage, {"VersionStage": "a", "MoveToVersionId": token(1)}),
    ):
        assert refusal(call, SecretId="apps/dns", **more) == marked
    assert "DeletedDate" in sm.describe_secret(SecretId="apps/dns")
    assert refusal(sm.create_secret, Name="apps/dns", SecretString="new")[0] == "InvalidRequestException"
    assert refusal(sm.delete_secret, SecretId="apps/dns")[0] == "InvalidRequestException"
    sm.restore_secret(SecretId="apps/dns")
    assert sm.get_secret_value(SecretId="apps/dns")["SecretString"] == "one"
    sm.delete_secret(SecretId="apps/dns")
    account.advance(30 * DAY + 1)
    assert refusal(sm.restore_secret, SecretId="apps/dns")[0] == "ResourceNotFoundException"


@pytest.mark.parametrize(
    "more",
    [
        {"RecoveryWindowInDays": 6},
        {"RecoveryWindowInDays": 31},
        {"RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": True},
    ],
)
def test_a_window_is_of_7_to_30_days(sm: Any, more: dict[str, Any]) -> None:
    """Or none, by force."""
    assert refusal(sm.delete_secret, SecretId="apps/dns", **more)[0] == "InvalidParameterException"


def test_a_forced_deletion_takes_a_moment(account: FakeAws, sm: Any) -> None:
    """The name is free a little later, and what is not there counts as deleted."""
    sm.delete_secret(SecretId="apps/dns", ForceDeleteWithoutRecovery=True)
    assert refusal(sm.create_secret, Name="apps/dns", SecretString="new")[0] == "InvalidRequestException"
    account.advance(10)
    assert sm.delete_secret(SecretId="apps/dns", ForceDeleteWithoutRecovery=True)["Name"] == "apps/dns"
    assert refusal(sm.delete_secret, SecretId="apps/dns")[0] == "ResourceNotFoundException"
    assert sm.create_secret(Name="apps/dns", SecretString="new")["ARN"]


def test_tags_are_put_and_taken(sm: Any) -> None:
    """Fifty at most."""
    sm.tag_resource(SecretId="apps/dns", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    sm.untag_resource(SecretId="apps/dns", TagKeys=["a", "c"])
    assert sm.describe_secret(SecretId="apps/dns")["Tags"] == [{"Key": "b", "Value": "2"}]
    many = [{"Key": f"k{number}", "Value": ""} for number in range(50)]
    assert refusal(sm.tag_resource, SecretId="apps/dns", Tags=many)[0] == "InvalidParameterException"


def test_old_versions_without_a_label_are_collected(account: FakeAws, sm: Any) -> None:
    """Beyond a hundred, and never in their first day; labelled ones stay."""
    account.quotas.rates["secretsmanager writes"] = account.quotas.rates["secretsmanager reads"]
    sm.update_secret_version_stage(SecretId="apps/dns", VersionStage="keep", MoveToVersionId=token(1))
    for number in range(2, 101):
        sm.put_secret_value(SecretId="apps/dns", SecretString=str(number), ClientRequestToken=token(number))
    said = "You can't create a new version: none of the 100 versions of this secret can be removed."
    assert refusal(sm.put_secret_value, SecretId="apps/dns", SecretString="x") == ("LimitExceededException", said)
    account.advance(DAY + 1)
    for number in range(101, 104):
        sm.put_secret_value(SecretId="apps/dns", SecretString=str(number), ClientRequestToken=token(number))
    secret = account.secret("apps/dns")
    assert secret.collected == [token(2), token(3), token(4)]
    assert len(secret.versions) == 100
    assert refusal(sm.get_secret_value, SecretId="apps/dns", VersionId=token(2))[0] == "ResourceNotFoundException"
    assert sm.get_secret_value(SecretId="apps/dns", VersionStage="keep")["SecretString"] == "one"


def test_a_sustained_rate_of_writes_is_pointed_out(account: FakeAws, sm: Any) -> None:
    """More than one version in ten minutes, hour after hour, ends at the quota of versions."""
    for number in range(2, 9):
        account.advance(300)
        sm.put_secret_value(SecretId="apps/dns", SecretString=str(number))
    assert account.warnings == []
    for number in range(9, 30):
        account.advance(300)
        sm.put_secret_value(SecretId="apps/dns", SecretString=str(number))
    assert len(account.warnings) == 1
    assert "apps/dns" in account.warnings[0]


def test_writes_have_a_quota(account: FakeAws, sm: Any) -> None:
    """Fifty a second for all secrets together; reads are not held up by it."""
    assert account.quotas.rates["secretsmanager writes"] == Rate(50)
    account.quotas.rates["secretsmanager writes"] = Rate(0.01, at_once=3)
    tag = {"SecretId": "apps/dns", "Tags": [{"Key": "a", "Value": "b"}]}
    for _ in range(3):
        sm.tag_resource(**tag)
    assert refusal(sm.tag_resource, **tag) == ("ThrottlingException", "Rate exceeded")
    sm.get_secret_value(SecretId="apps/dns")
    account.advance(100)
    sm.tag_resource(**tag)


def test_versions_are_listed_in_pages(sm: Any) -> None:
    """With the unlabelled ones on request."""
    for number in range(2, 6):
        sm.put_secret_value(SecretId="apps/dns", SecretString=str(number), ClientRequestToken=token(number))
    labelled = sm.list_secret_version_ids(SecretId="apps/dns")["Versions"]
    assert [one["VersionId"] for one in labelled] == [token(4), token(5)]
    found, more = [], {}
    for _ in range(3):
        page = sm.list_secret_version_ids(SecretId="apps/dns", IncludeDeprecated=True, MaxResults=2, **more)
        found += [one["VersionId"] for one in page["Versions"]]
        more = {"NextToken": page.get("NextToken", "")}
    assert found == [token(number) for number in range(1, 6)]
    assert refusal(sm.list_secret_version_ids, SecretId="apps/dns", NextToken="x")[0] == "InvalidNextTokenException"


def test_last_access_is_told_by_the_day(sm: Any) -> None:
    """It says nothing about the last hours."""
    assert "LastAccessedDate" not in sm.describe_secret(SecretId="apps/dns")
    sm.get_secret_value(SecretId="apps/dns")
    found = sm.describe_secret(SecretId="apps/dns")["LastAccessedDate"]
    assert (found.timestamp() % DAY) == 0


def test_a_customer_s_key_needs_rights_of_the_caller(account: FakeAws, sm: Any) -> None:
    """The rights on the secret alone do not read or write it."""
    rules = json.loads(allow("secretsmanager:*"))
    key = account.identity("app", json.dumps(rules))
    mine = account.client("secretsmanager", key)
    sm.create_secret(Name="sealed", SecretString="one", KmsKeyId=KEY)
    denied = ("AccessDeniedException", "Access to KMS is not allowed")
    assert refusal(mine.get_secret_value, SecretId="sealed") == denied
    assert refusal(mine.put_secret_value, SecretId="sealed", SecretString="two") == denied
    assert account.secret("sealed").stages.keys() == {"AWSCURRENT"}
    via = {"kms:ViaService": "secretsmanager.eu-west-1.amazonaws.com"}
    rules["Statement"].append({"Effect": "Allow", "Action": "kms:Decrypt", "Resource": KEY, "Condition": {"StringEquals": via}})
    account.set_policy(account.account.user("app"), json.dumps(rules))
    assert mine.get_secret_value(SecretId="sealed")["SecretString"] == "one"
    assert refusal(mine.put_secret_value, SecretId="sealed", SecretString="two") == denied
    rules["Statement"][1]["Action"] = ["kms:Decrypt", "kms:GenerateDataKey"]
    account.set_policy(account.account.user("app"), json.dumps(rules))
    mine.put_secret_value(SecretId="sealed", SecretString="two")
    assert sm.describe_secret(SecretId="sealed")["KmsKeyId"] == KEY
    assert {"kms:Decrypt", "kms:GenerateDataKey"} <= account.allowed(account.account.user("app").arn)


def test_rights_are_asked_for_by_arn_and_by_label(account: FakeAws, sm: Any) -> None:
    """A reader can be held to one label, a writer to one prefix."""
    sm.put_secret_value(SecretId="apps/dns", SecretString="two", VersionStages=["AWSPENDING"])
    arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:apps/dns-??????"
    reader = account.identity(
        "reader", allow("secretsmanager:GetSecretValue", arn, StringEquals={"secretsmanager:VersionStage": "AWSCURRENT"})
    )
    mine = account.client("secretsmanager", reader)
    assert mine.get_secret_value(SecretId="apps/dns")["SecretString"] == "one"
    code, said = refusal(mine.get_secret_value, SecretId="apps/dns", VersionStage="AWSPENDING")
    assert code == "AccessDeniedException"
    assert "is not authorized to perform: secretsmanager:GetSecretValue on resource: apps/dns because" in said
    assert refusal(mine.get_secret_value, SecretId="other")[0] == "AccessDeniedException"  # not even whether it exists


def test_tags_at_creation_need_their_own_right(account: FakeAws) -> None:
    """secretsmanager:TagResource beside CreateSecret."""
    maker = account.client("secretsmanager", account.identity("maker", allow("secretsmanager:CreateSecret")))
    maker.create_secret(Name="plain", SecretString="x")
    tagged = {"Name": "tagged", "SecretString": "x", "Tags": [{"Key": "a", "Value": "b"}]}
    code, said = refusal(maker.create_secret, **tagged)
    assert (code, "secretsmanager:TagResource" in said) == ("AccessDeniedException", True)
    with pytest.raises(KeyError):
        account.secret("tagged")
    code, said = refusal(maker.create_secret, Name="far", SecretString="x", AddReplicaRegions=[{"Region": "us-east-1"}])
    assert (code, "secretsmanager:ReplicateSecretToRegions" in said) == ("AccessDeniedException", True)
    made = account.client("secretsmanager").create_secret(
        Name="far", SecretString="x", AddReplicaRegions=[{"Region": "us-east-1"}]
    )
    assert made["ReplicationStatus"][0]["Region"] == "us-east-1"


def test_rotation_by_others_shows(sm: Any) -> None:
    """Someone else's rotation of the same secret is visible, and can be ended."""
    function = "arn:aws:lambda:eu-west-1:123456789012:function:rotate"
    assert refusal(sm.rotate_secret, SecretId="apps/dns")[0] == "InvalidRequestException"
    sm.rotate_secret(SecretId="apps/dns", RotationLambdaARN=function, RotationRules={"AutomaticallyAfterDays": 30})
    found = sm.describe_secret(SecretId="apps/dns")
    assert (found["RotationEnabled"], found["RotationLambdaARN"]) == (True, function)
    sm.cancel_rotate_secret(SecretId="apps/dns")
    assert "RotationEnabled" not in sm.describe_secret(SecretId="apps/dns")


def test_a_replica_is_read_in_its_region_and_written_in_none_but_the_first(account: FakeAws, sm: Any) -> None:
    """It has the ARN of its region and the versions of the first."""
    sm.replicate_secret_to_regions(SecretId="apps/dns", AddReplicaRegions=[{"Region": "us-east-1"}])
    there = account.client("secretsmanager", region="us-east-1")
    found = there.get_secret_value(SecretId="apps/dns")
    assert (found["SecretString"], ":us-east-1:" in found["ARN"]) == ("one", True)
    code, said = refusal(there.put_secret_value, SecretId="apps/dns", SecretString="two")
    assert (code, said.startswith("Operation not permitted on a replica")) == ("InvalidRequestException", True)
    assert [one["Region"] for one in sm.describe_secret(SecretId="apps/dns")["ReplicationStatus"]] == ["us-east-1"]
    assert refusal(sm.delete_secret, SecretId="apps/dns")[0] == "InvalidRequestException"
    sm.remove_regions_from_replication(SecretId="apps/dns", RemoveReplicaRegions=["us-east-1"])
    assert refusal(there.get_secret_value, SecretId="apps/dns")[0] == "ResourceNotFoundException"


def test_a_replica_is_late(make_aws: Callable[..., FakeAws]) -> None:
    """It appears and changes after a while, and until then the first region says so."""
    account = make_aws(clock=RunningClock(scale=0), lags=Lags(replication=10.0))
    here, there = (account.client("secretsmanager", region=region) for region in ("eu-west-1", "us-east-1"))
    here.create_secret(Name="s", SecretString="one", ClientRequestToken=token(1))
    here.replicate_secret_to_regions(SecretId="s", AddReplicaRegions=[{"Region": "us-east-1"}])
    assert refusal(there.get_secret_value, SecretId="s")[0] == "ResourceNotFoundException"
    account.settle()
    here.put_secret_value(SecretId="s", SecretString="two", ClientRequestToken=token(2))
    assert here.describe_secret(SecretId="s")["ReplicationStatus"][0]["Status"] == "InProgress"
    late = there.get_secret_value(SecretId="s")
    assert (late["SecretString"], late["VersionStages"]) == ("one", ["AWSCURRENT"])
    account.settle()
    assert here.describe_secret(SecretId="s")["ReplicationStatus"][0]["Status"] == "InSync"
    assert there.get_secret_value(SecretId="s")["SecretString"] == "two"
    assert there.get_secret_value(SecretId="s", VersionStage="AWSPREVIOUS")["SecretString"] == "one"
