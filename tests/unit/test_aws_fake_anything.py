"""Whatever is asked of the strict AWS, it answers in AWS's own words, and does nothing for who has no rights."""

from __future__ import annotations

import base64
import json
import random
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SigningKey

from rotatord.testing.aws import Credentials, FakeAws
from rotatord.testing.aws.gateway import OPERATIONS
from rotatord.testing.aws.quotas import RATES, Rate
from rotatord.testing.aws.shapes import service
from rotatord.testing.wires import Wire

ALL = [(name, operation) for name, operations in OPERATIONS.items() for operation in sorted(operations)]
GUARDED = [(name, operation) for name, operation in ALL if operation not in {"GetCallerIdentity", "AssumeRoleWithWebIdentity"}]
# Values that mean something in the account of these tests, and values that mean nothing.
KNOWN = ["admin", "s", "/p", "00000000000000000000000000000001", "arn:aws:iam::123456789012:policy/scope", "AWSCURRENT", "x"]
TEXTS = [
    *KNOWN,
    "",
    " ",
    "*",
    "arn:aws:iam::123456789012:user/admin",
    "arn:",
    "a" * 2100,
    "äöü",
    "\x00",
    "{",
    "{}",
    "[]",
    "${aws:x}",
]
NOTHING = '{"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}'
SEEDS = range(25)


@pytest.fixture(scope="module")
def account() -> Iterator[FakeAws]:
    """An account with one of everything, and no quota in the way."""
    made = FakeAws(seed=1)
    made.quotas.rates = dict.fromkeys(RATES, Rate(1e9))
    made.policy("scope", '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}')
    with made:
        made.client("secretsmanager").create_secret(Name="s", SecretString="1", ClientRequestToken=KNOWN[3])
        made.client("ssm").put_parameter(Name="/p", Value="1", Type="SecureString")
        yield made


def wire(key: Credentials, name: str, operation: str, members: Any) -> Wire:
    """A signed request with these members."""
    known = service(name)
    if known.protocol == "json":
        body = json.dumps(members)
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"{known.target}.{operation}"}
    else:
        body = urllib.parse.urlencode({"Action": operation, "Version": known.version, **dict(flat("", members))})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
    request = AWSRequest("POST", "http://127.0.0.1/", headers=headers, data=body)
    SigV4Auth(SigningKey(key.id, key.secret), name, "eu-west-1").add_auth(request)
    lower = {key.lower(): str(value) for key, value in request.headers.items()}
    return Wire("POST", "/", lower | {"host": "127.0.0.1"}, body.encode())


def flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """A tree in the query protocol's form."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(f"{path}.{key}" if path else key, inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from flat(f"{path}.member.{number}", inner)
    else:
        yield path, str(value)


def some(shape: Any, draw: random.Random, depth: int = 0) -> Any:
    """A value of a shape: mostly possible, often senseless."""
    if shape.type_name == "structure":
        wanted = [name for name in shape.members if name in shape.required_members or draw.random() < 0.4]
        return {name: some(shape.members[name], draw, depth + 1) for name in wanted if depth < 4}
    if shape.type_name == "list":
        return [some(shape.member, draw, depth + 1) for _ in range(draw.randrange(3))]
    if shape.type_name == "map":
        return {draw.choice(TEXTS): some(shape.value, draw, depth + 1)}
    if shape.type_name in ("integer", "long"):
        return draw.choice([-1, 0, 1, 7, 900, 10**9])
    if shape.type_name == "boolean":
        return draw.random() < 0.5
    if shape.type_name == "blob":
        return base64.b64encode(draw.randbytes(4)).decode()
    return draw.choice(shape.metadata.get("enum") or TEXTS)


def spoiled(value: Any, draw: random.Random) -> Any:
    """The same with something in it that is of another kind."""
    if isinstance(value, dict) and value and draw.random() < 0.8:
        name = draw.choice(list(value))
        return {**value, name: spoiled(value[name], draw)}
    return draw.choice([None, 1, "x", [], {}, ["x"], {"x": 1}, [[1]], 1.5, True])


@pytest.mark.parametrize(("name", "operation"), ALL, ids=[f"{name}-{operation}" for name, operation in ALL])
def test_every_request_gets_an_answer_of_aws_s(account: FakeAws, name: str, operation: str) -> None:
    """Possible, senseless and malformed ones."""
    shape = service(name).operation(operation).input_shape
    for seed in SEEDS:
        draw = random.Random(f"{name}:{operation}:{seed}")
        members = some(shape, draw) if shape is not None else {}
        odd = spoiled(members, draw)
        for asked in (members, odd if isinstance(odd, dict) or service(name).protocol == "json" else {"x": 1}):
            reply, fault = account.gateway.answer(wire(account.admin, name, operation, asked))
            assert fault is None
            assert reply is not None
            assert reply.status in {200, 400, 403, 404, 409, 501}, reply.body
    ended = [call.outcome for call in account.calls]
    assert "InvalidSignatureException" not in ended
    assert "SignatureDoesNotMatch" not in ended


@pytest.mark.parametrize(("name", "operation"), GUARDED, ids=[f"{name}-{operation}" for name, operation in GUARDED])
def test_who_may_nothing_can_do_nothing(account: FakeAws, name: str, operation: str) -> None:
    """Every operation asks for rights, but the one that nobody can be denied."""
    user = account.user(f"nobody-{name}-{operation}", NOTHING)
    key = account.key(user.name)
    draw = random.Random(f"{name}:{operation}")
    shape = service(name).operation(operation).input_shape
    for _ in SEEDS:
        reply, _ = account.gateway.answer(wire(key, name, operation, some(shape, draw) if shape is not None else {}))
        assert reply is not None
        assert reply.status != 200, reply.body
    assert account.allowed(user.arn) == set()
