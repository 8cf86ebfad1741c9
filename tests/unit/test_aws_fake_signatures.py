"""The strict AWS knows who signed: signatures are verified, and every credential that is not fit is refused as AWS does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import urllib3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SigningKey
from botocore.exceptions import ClientError

from rotatord.testing.aws import Credentials, FakeAws, allow

IDENTITY = ("sts", "get_caller_identity", {})
SECRET = ("secretsmanager", "describe_secret", {"SecretId": "x"})
UNKNOWN = {"sts": ("InvalidClientTokenId", 403), "secretsmanager": ("UnrecognizedClientException", 400)}
ALL = allow("*")


def refused(call: Callable[..., Any], **arguments: Any) -> tuple[str, int]:
    """Code and status of the refusal of a call."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def refusal_of(aws: FakeAws, credentials: Credentials, asked: tuple[str, str, dict[str, Any]]) -> tuple[str, int]:
    service, method, arguments = asked
    return refused(getattr(aws.client(service, credentials), method), **arguments)


def test_a_signature_is_accepted(aws: FakeAws) -> None:
    """The caller is who owns the key, and says so."""
    key = aws.identity("app", ALL)
    found = aws.client("sts", key).get_caller_identity()
    assert found["Arn"] == "arn:aws:iam::123456789012:user/app"
    assert found["Account"] == "123456789012"
    assert found["UserId"].startswith("AIDA")


@pytest.mark.parametrize("asked", [IDENTITY, SECRET], ids=["query", "json"])
def test_a_wrong_secret_is_a_wrong_signature(aws: FakeAws, asked: tuple[str, str, dict[str, Any]]) -> None:
    """Each protocol has its own word for it."""
    key = aws.identity("app", ALL)
    expected = {"sts": ("SignatureDoesNotMatch", 403), "secretsmanager": ("InvalidSignatureException", 400)}
    assert refusal_of(aws, Credentials(key.id, "x" * 40), asked) == expected[asked[0]]
    assert [(one.key, one.why) for one in aws.refusals] == [(key.id, "signature")]


@pytest.mark.parametrize("asked", [IDENTITY, SECRET], ids=["query", "json"])
def test_an_unknown_key_is_refused(aws: FakeAws, asked: tuple[str, str, dict[str, Any]]) -> None:
    """It was never ours, so it is no consumer's trouble either."""
    assert refusal_of(aws, Credentials("AKIAQQQQQQQQQQQQQQQQ", "x" * 40), asked) == UNKNOWN[asked[0]]
    assert aws.refusals == []


@pytest.mark.parametrize("asked", [IDENTITY, SECRET], ids=["query", "json"])
@pytest.mark.parametrize("end", ["Inactive", "deleted"])
def test_an_ended_key_is_refused(aws: FakeAws, end: str, asked: tuple[str, str, dict[str, Any]]) -> None:
    """AWS does not tell inactive from deleted; the fake does, to the test."""
    key, iam = aws.identity("app", ALL), aws.client("iam")
    if end == "deleted":
        iam.delete_access_key(UserName="app", AccessKeyId=key.id)
    else:
        iam.update_access_key(UserName="app", AccessKeyId=key.id, Status="Inactive")
    assert refusal_of(aws, key, asked) == UNKNOWN[asked[0]]
    assert [(one.key, one.why) for one in aws.refusals] == [(key.id, end.lower())]


def test_an_inactive_key_works_again_when_it_is_active(aws: FakeAws) -> None:
    """Inactive is the reversible end."""
    key, iam = aws.identity("app", ALL), aws.client("iam")
    for status in ("Inactive", "Active"):
        iam.update_access_key(UserName="app", AccessKeyId=key.id, Status=status)
    assert aws.client("sts", key).get_caller_identity()["Arn"].endswith("user/app")


@pytest.mark.parametrize(
    ("skew", "said"), [(timedelta(minutes=20), "Signature expired"), (timedelta(minutes=-10), "Signature not yet current")]
)
def test_a_skewed_clock_is_refused(aws: FakeAws, skew: timedelta, said: str) -> None:
    """A signature is good for 15 minutes, and for 5 minutes before it was made."""
    aws.gateway.skew = skew
    with pytest.raises(ClientError, match=f"SignatureDoesNotMatch.*{said}"):
        aws.client("sts").get_caller_identity()
    assert refused(aws.client("ssm").get_parameter, Name="x")[0] == "InvalidSignatureException"


def test_the_account_s_own_time_does_not_matter_to_signatures(aws: FakeAws) -> None:
    """Tests may let days pass while boto3 signs by the machine's clock."""
    aws.advance(timedelta(days=40).total_seconds())
    assert aws.client("sts").get_caller_identity()


def test_an_expired_session_is_refused_by_name(aws: FakeAws) -> None:
    """The one refusal that tells a client to get new credentials."""
    session = aws.session(aws.role("deployer", TRUST, ALL))
    assert aws.client("sts", session).get_caller_identity()["Arn"].endswith("assumed-role/deployer/test")
    aws.advance(3601)
    assert refusal_of(aws, session, IDENTITY) == ("ExpiredToken", 403)
    assert refusal_of(aws, session, SECRET) == ("ExpiredTokenException", 400)
    assert {one.why for one in aws.refusals} == {"expired"}


def test_a_session_needs_its_own_token(aws: FakeAws) -> None:
    """Without it, or with another one's, the key is nobody's."""
    role = aws.role("deployer", TRUST, ALL)
    one, other = aws.session(role), aws.session(role)
    assert refusal_of(aws, Credentials(one.id, one.secret), IDENTITY) == UNKNOWN["sts"]
    assert refusal_of(aws, Credentials(one.id, one.secret, other.session_token), SECRET) == UNKNOWN["secretsmanager"]
    assert refusal_of(aws, Credentials(aws.admin.id, aws.admin.secret, one.session_token), IDENTITY) == UNKNOWN["sts"]


TRUST = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
)


def signed(aws: FakeAws, body: str, *, target: str | None = None) -> dict[str, str]:
    """Headers of a request that boto3 would not make, signed by the administrator."""
    kind = "application/x-amz-json-1.1" if target else "application/x-www-form-urlencoded; charset=utf-8"
    headers = {"Content-Type": kind} | ({"X-Amz-Target": target} if target else {})
    request = AWSRequest("POST", aws.url + "/", headers=headers, data=body)
    service = "secretsmanager" if target else "iam"
    SigV4Auth(SigningKey(aws.admin.id, aws.admin.secret), service, "us-east-1").add_auth(request)
    return dict(request.headers)


def raw(aws: FakeAws, body: str, headers: dict[str, str]) -> tuple[int, bytes]:
    with urllib3.PoolManager(retries=False, timeout=10.0) as pool:
        answer = pool.request("POST", aws.url + "/", body=body, headers=headers)
        return answer.status, answer.data


def test_a_changed_body_breaks_the_signature(aws: FakeAws) -> None:
    """What was signed is what is done."""
    body = "Action=GetUser&Version=2010-05-08&UserName=admin"
    headers = signed(aws, body)
    assert raw(aws, body, headers)[0] == 200
    status, answer = raw(aws, body.replace("GetUser", "TagUser"), headers)
    assert (status, b"SignatureDoesNotMatch" in answer) == (403, True)


@pytest.mark.parametrize(
    ("change", "code", "status"),
    [
        ({"Authorization": None}, b"MissingAuthenticationToken", 403),
        ({"Authorization": "Bearer x"}, b"IncompleteSignature", 400),
        ({"X-Amz-Date": None}, b"IncompleteSignature", 400),
        ({"X-Amz-Date": "20250101T000000Z"}, b"Signature expired", 403),
    ],
)
def test_half_a_signature_is_refused(aws: FakeAws, change: dict[str, str | None], code: bytes, status: int) -> None:
    """Nothing unsigned gets in."""
    body = "Action=GetUser&Version=2010-05-08&UserName=admin"
    headers = {name: value for name, value in {**signed(aws, body), **change}.items() if value is not None}
    found, answer = raw(aws, body, headers)
    assert (found, code in answer) == (status, True), answer


@pytest.mark.parametrize(
    ("body", "target", "code"),
    [
        ("Action=GetUsers&Version=2010-05-08", None, b"InvalidAction"),
        ("Action=GetUser&Version=1999-01-01", None, b"InvalidAction"),
        ("Action=ListRoles&Version=2010-05-08", None, b"the strict AWS does not have iam:ListRoles"),
        ("Action=GetUser&Version=2010-05-08&Usrname=x", None, b"ValidationError"),
        ("Action=ListAccessKeys&Version=2010-05-08&MaxItems=none", None, b"MalformedInput"),
        ("{}", "secretsmanager.Fly", b"UnknownOperationException"),
        ("{}", "AmazonSSM.GetParameter", b"UnknownOperationException"),
        ("[", "secretsmanager.GetSecretValue", b"SerializationException"),
        ("{}", "secretsmanager.GetSecretValue", b"Value null at 'secretId'"),
        ('{"SecretId": 1}', "secretsmanager.GetSecretValue", b"SerializationException"),
        ('{"SecretId": "x", "Secret": "y"}', "secretsmanager.GetSecretValue", b"Unknown member 'secret'"),
    ],
)
def test_what_no_operation_takes_is_refused(aws: FakeAws, body: str, target: str | None, code: bytes) -> None:
    """Mistyped members, unknown operations and unreadable bodies do not pass for something else."""
    status, answer = raw(aws, body, signed(aws, body, target=target))
    assert (status // 100, code in answer) == (4, True), answer


def test_a_policy_of_more_than_the_allowed_values_is_quoted_back_without_the_secret(aws: FakeAws) -> None:
    """Where a message of AWS's would quote the value, it does not quote what the model calls sensitive."""
    value = "v" * 70_000
    with pytest.raises(ClientError) as caught:
        aws.client("secretsmanager").create_secret(Name="x", SecretString=value)
    assert "length less than or equal to 65536" in str(caught.value)
    assert "vvv" not in str(caught.value)
