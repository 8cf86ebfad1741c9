"""The strict AWS and moto answer the same calls of boto3 in the same form: nobody's idea of the wire is ours alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rotatord.testing.aws import Credentials, FakeAws, allow
from tests.servers.aws_fixtures import Moto

ROLE = "arn:aws:iam::123456789012:role/deployer"
TRUST = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
)
TOKEN = [f"{number:032d}" for number in range(4)]
POLICY = "arn:aws:iam::123456789012:policy/scope"
Step = tuple[str, str, dict[str, Any]]

IAM: list[Step] = [
    ("iam", "create_user", {"UserName": "app", "Path": "/rotated/", "Tags": [{"Key": "a", "Value": "b"}]}),
    ("iam", "get_user", {"UserName": "app"}),
    ("iam", "tag_user", {"UserName": "app", "Tags": [{"Key": "c", "Value": "d"}]}),
    ("iam", "list_user_tags", {"UserName": "app"}),
    ("iam", "create_access_key", {"UserName": "app"}),
    ("iam", "list_access_keys", {"UserName": "app"}),
    ("iam", "put_user_policy", {"UserName": "app", "PolicyName": "p", "PolicyDocument": allow("s3:*")}),
    ("iam", "get_user_policy", {"UserName": "app", "PolicyName": "p"}),
    ("iam", "list_user_policies", {"UserName": "app"}),
    ("iam", "delete_user_policy", {"UserName": "app", "PolicyName": "p"}),
    ("iam", "create_policy", {"PolicyName": "scope", "PolicyDocument": allow("s3:*")}),
    ("iam", "get_policy", {"PolicyArn": POLICY}),
    ("iam", "create_policy_version", {"PolicyArn": POLICY, "PolicyDocument": allow("s3:Get*"), "SetAsDefault": True}),
    ("iam", "get_policy_version", {"PolicyArn": POLICY, "VersionId": "v2"}),
    ("iam", "list_policy_versions", {"PolicyArn": POLICY}),
    ("iam", "set_default_policy_version", {"PolicyArn": POLICY, "VersionId": "v1"}),
    ("iam", "delete_policy_version", {"PolicyArn": POLICY, "VersionId": "v2"}),
    ("iam", "attach_user_policy", {"UserName": "app", "PolicyArn": POLICY}),
    ("iam", "list_attached_user_policies", {"UserName": "app"}),
    ("iam", "detach_user_policy", {"UserName": "app", "PolicyArn": POLICY}),
    ("sts", "get_caller_identity", {}),
]
SECRETS: list[Step] = [
    ("secretsmanager", "create_secret", {"Name": "s", "SecretString": "1", "ClientRequestToken": TOKEN[1], "Description": "d"}),
    ("secretsmanager", "describe_secret", {"SecretId": "s"}),
    (
        "secretsmanager",
        "put_secret_value",
        {"SecretId": "s", "SecretString": "2", "ClientRequestToken": TOKEN[2], "VersionStages": ["AWSPENDING"]},
    ),
    ("secretsmanager", "get_secret_value", {"SecretId": "s"}),
    ("secretsmanager", "get_secret_value", {"SecretId": "s", "VersionStage": "AWSPENDING"}),
    (
        "secretsmanager",
        "update_secret_version_stage",
        {"SecretId": "s", "VersionStage": "AWSCURRENT", "MoveToVersionId": TOKEN[2], "RemoveFromVersionId": TOKEN[1]},
    ),
    (
        "secretsmanager",
        "update_secret_version_stage",
        {"SecretId": "s", "VersionStage": "AWSPENDING", "RemoveFromVersionId": TOKEN[2]},
    ),
    ("secretsmanager", "get_secret_value", {"SecretId": "s", "VersionStage": "AWSPREVIOUS"}),
    ("secretsmanager", "tag_resource", {"SecretId": "s", "Tags": [{"Key": "a", "Value": "b"}]}),
    ("secretsmanager", "describe_secret", {"SecretId": "s"}),
    ("secretsmanager", "untag_resource", {"SecretId": "s", "TagKeys": ["a"]}),
    ("secretsmanager", "list_secret_version_ids", {"SecretId": "s"}),
    ("secretsmanager", "update_secret", {"SecretId": "s", "SecretString": "3", "ClientRequestToken": TOKEN[3]}),
    ("secretsmanager", "delete_secret", {"SecretId": "s", "RecoveryWindowInDays": 7}),
    ("secretsmanager", "restore_secret", {"SecretId": "s"}),
]
PARAMETERS: list[Step] = [
    ("ssm", "put_parameter", {"Name": "/p", "Value": "1", "Type": "SecureString", "Tags": [{"Key": "a", "Value": "b"}]}),
    ("ssm", "put_parameter", {"Name": "/p", "Value": "2", "Overwrite": True}),
    ("ssm", "get_parameter", {"Name": "/p", "WithDecryption": True}),
    ("ssm", "label_parameter_version", {"Name": "/p", "ParameterVersion": 1, "Labels": ["previous"]}),
    ("ssm", "get_parameter", {"Name": "/p:1", "WithDecryption": True}),
    ("ssm", "get_parameter", {"Name": "/p:previous", "WithDecryption": True}),
    ("ssm", "get_parameter_history", {"Name": "/p", "WithDecryption": True}),
    ("ssm", "unlabel_parameter_version", {"Name": "/p", "ParameterVersion": 1, "Labels": ["previous"]}),
    ("ssm", "add_tags_to_resource", {"ResourceType": "Parameter", "ResourceId": "/p", "Tags": [{"Key": "c", "Value": "d"}]}),
    ("ssm", "list_tags_for_resource", {"ResourceType": "Parameter", "ResourceId": "/p"}),
    ("ssm", "remove_tags_from_resource", {"ResourceType": "Parameter", "ResourceId": "/p", "TagKeys": ["c"]}),
    ("ssm", "delete_parameter", {"Name": "/p"}),
]
REFUSALS: list[Step] = [
    ("iam", "get_user", {"UserName": "nix"}),
    ("iam", "create_user", {"UserName": "admin"}),
    ("iam", "get_user_policy", {"UserName": "admin", "PolicyName": "nix"}),
    ("iam", "delete_access_key", {"UserName": "admin", "AccessKeyId": "AKIAQQQQQQQQQQQQQQQQ"}),
    ("iam", "attach_user_policy", {"UserName": "admin", "PolicyArn": POLICY}),
    ("iam", "get_policy", {"PolicyArn": POLICY}),
    ("iam", "put_user_policy", {"UserName": "admin", "PolicyName": "p", "PolicyDocument": "{"}),
    ("secretsmanager", "get_secret_value", {"SecretId": "nix"}),
    ("secretsmanager", "put_secret_value", {"SecretId": "nix", "SecretString": "x"}),
    ("secretsmanager", "delete_secret", {"SecretId": "nix"}),
    ("ssm", "get_parameter", {"Name": "/nix"}),
    ("ssm", "delete_parameter", {"Name": "/nix"}),
    ("ssm", "label_parameter_version", {"Name": "/nix", "Labels": ["x"]}),
]
# Members that moto leaves out, or shows where AWS's own documentation says that they are not.
LEFT_OUT: Mapping[str, set[str]] = {
    "list_access_keys": {"IsTruncated"},
    "list_policy_versions": {"IsTruncated", "Document"},
    "create_policy": {"PermissionsBoundaryUsageCount"},
    "get_policy": {"PermissionsBoundaryUsageCount"},
    "create_policy_version": {"Document"},
    "describe_secret": {"LastAccessedDate"},
    "list_secret_version_ids": {"KmsKeyIds"},
    "get_parameter": {"Selector"},
    "assume_role": {"PackedPolicySize"},
}


def form(value: Any, left_out: set[str]) -> Any:
    """What is left of an answer without its values; what is empty says nothing."""
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if key not in left_out and inner not in ([], "")}
        return {key: form(inner, left_out) for key, inner in kept.items()}
    if isinstance(value, list):
        return [form(inner, left_out) for inner in value]
    return "moment" if isinstance(value, datetime) else type(value).__name__


def answers(client_of: Callable[[str], Any], steps: list[Step]) -> list[Any]:
    clients: dict[str, Any] = {}
    found = []
    for service, method, arguments in steps:
        client = clients.setdefault(service, client_of(service))
        try:
            answer = getattr(client, method)(**arguments)
            found.append((method, form(answer, {"ResponseMetadata", *LEFT_OUT.get(method, ())})))
        except ClientError as error:
            found.append((method, error.response["Error"]["Code"]))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("steps", [IAM, SECRETS, PARAMETERS, REFUSALS], ids=["iam", "secrets", "parameters", "refusals"])
def test_answers_have_the_form_of_moto_s(aws: FakeAws, moto: Moto, steps: list[Step]) -> None:
    """Same members, same types, same codes, step by step."""
    assert answers(aws.client, steps) == answers(moto.client, steps)


@pytest.mark.slow
def test_a_role_is_taken_in_the_same_form(aws: FakeAws, moto: Moto) -> None:
    """The role is made apart: the strict AWS has no operations on roles."""
    aws.role("deployer", TRUST)
    moto.client("iam").create_role(RoleName="deployer", AssumeRolePolicyDocument=TRUST)
    steps: list[Step] = [("sts", "assume_role", {"RoleArn": ROLE, "RoleSessionName": "test"})]
    assert answers(aws.client, steps) == answers(moto.client, steps)


@pytest.mark.slow
def test_what_moto_lets_pass_is_refused_here(aws: FakeAws, moto: Moto) -> None:
    """A reason why there is a strict one: with moto a deactivated key still works. When it has learned that, strike this."""

    def still_works(client_of: Callable[..., Any]) -> bool:
        iam = client_of("iam")
        iam.create_user(UserName="app")
        iam.put_user_policy(UserName="app", PolicyName="p", PolicyDocument=allow("*"))
        made = iam.create_access_key(UserName="app")["AccessKey"]
        iam.update_access_key(UserName="app", AccessKeyId=made["AccessKeyId"], Status="Inactive")
        try:
            client_of("sts", Credentials(made["AccessKeyId"], made["SecretAccessKey"])).get_caller_identity()
        except ClientError:
            return False
        return True

    assert still_works(moto.client)
    assert not still_works(aws.client)
