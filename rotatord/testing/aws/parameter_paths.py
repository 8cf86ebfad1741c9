"""Parameter Store's operations on several parameters at once: those below a path, and lists of names to delete."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from rotatord.testing.aws.asking import Ask, Operation, Target
from rotatord.testing.aws.errors import AwsError
from rotatord.testing.aws.parameter_things import Parameter
from rotatord.testing.aws.shapes import JsonMap

_GONE_FOR = timedelta(seconds=30)  # a deleted name cannot be used for so long
_PAGE = 10


def _held(ask: Ask) -> dict[str, Any]:
    return ask.account.things("ssm", ask.region)


def _about_path(ask: Ask) -> Target:
    """Asked for the path alone, and not for the parameters below it."""
    return _target(ask, ask.input["Path"])


def _target(ask: Ask, name: str) -> Target:
    arn = f"arn:aws:ssm:{ask.region}:{ask.account.number}:parameter{'' if name.startswith('/') else '/'}{name}"
    return Target(arn, arn)


def _by_path(ask: Ask) -> JsonMap:
    path = ask.input["Path"]
    if not path.startswith("/"):
        raise AwsError("ValidationException", "The parameter doesn't meet the parameter name requirements.")
    start, deep = path.rstrip("/") + "/", ask.get("Recursive", False)
    found = sorted(name for name in _held(ask) if name.startswith(start) and (deep or "/" not in name[len(start) :]))
    parameters = [_held(ask)[name] for name in found if isinstance(_held(ask)[name], Parameter)]
    first = int(base64.b64decode(ask.get("NextToken", "")).decode() or 0)
    last = first + ask.get("MaxResults", _PAGE)
    answer: JsonMap = {"Parameters": [_shown(ask, each) for each in parameters[first:last]]}
    if last < len(parameters):
        answer["NextToken"] = base64.b64encode(str(last).encode()).decode()
    return answer


def _shown(ask: Ask, parameter: Parameter) -> JsonMap:
    version = parameter.newest
    value = version.value
    if version.type == "SecureString":
        if not ask.get("WithDecryption", False):
            value = base64.b64encode(b"the strict AWS's ciphertext").decode()
        elif version.key and not version.key.endswith("alias/aws/ssm"):
            key = version.key if version.key.startswith("arn:") else f"{'' if '/' in version.key else 'key/'}{version.key}"
            arn = key if key.startswith("arn:") else f"arn:aws:kms:{ask.region}:{ask.account.number}:{key}"
            ask.require("kms:Decrypt", Target(arn, arn, {"kms:ViaService": f"ssm.{ask.region}.amazonaws.com"}))
    return {
        "Name": parameter.name,
        "Type": version.type,
        "Value": value,
        "Version": version.number,
        "LastModifiedDate": version.created,
        "ARN": parameter.arn,
        "DataType": "text",
    }


def _delete_several(ask: Ask) -> JsonMap:
    names = ask.input["Names"]
    for name in names:
        ask.require("ssm:DeleteParameters", _target(ask, name))
    there = [name for name in names if isinstance(_held(ask).get(name), Parameter)]
    for name in there:
        _held(ask)[name] = ask.now + _GONE_FOR
    return {"DeletedParameters": there, "InvalidParameters": [name for name in names if name not in there]}


OPERATIONS: Mapping[str, Operation] = {
    "GetParametersByPath": Operation(_by_path, _about_path),
    "DeleteParameters": Operation(_delete_several, None),
}
