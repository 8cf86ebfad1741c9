"""Parameter Store's operations on several parameters at once: those below a path, and lists of names to delete."""

from __future__ import annotations

from collections.abc import Mapping

from rotatord.testing.aws.asking import Ask, Operation, Target
from rotatord.testing.aws.errors import AwsError
from rotatord.testing.aws.parameter_things import Parameter
from rotatord.testing.aws.parameters import GONE_FOR, arn_of, held, paged, value
from rotatord.testing.aws.shapes import JsonMap

_PAGE = 10


def _about_path(ask: Ask) -> Target:
    """Asked for the path alone, and not for the parameters below it."""
    return _target(ask, ask.input["Path"])


def _target(ask: Ask, name: str) -> Target:
    return Target(arn_of(ask, name))


def _by_path(ask: Ask) -> JsonMap:
    path = ask.input["Path"]
    if not path.startswith("/"):
        raise AwsError("ValidationException", "The parameter doesn't meet the parameter name requirements.")
    start, deep = path.rstrip("/") + "/", ask.get("Recursive", False)
    found = sorted(name for name in held(ask) if name.startswith(start) and (deep or "/" not in name[len(start) :]))
    parameters = [held(ask)[name] for name in found if isinstance(held(ask)[name], Parameter)]
    rows, following = paged(ask, parameters, _PAGE)
    return {"Parameters": [_shown(ask, each) for each in rows], "NextToken": following}


def _shown(ask: Ask, parameter: Parameter) -> JsonMap:
    version = parameter.newest
    return {
        "Name": parameter.name,
        "Type": version.type,
        "Value": value(ask, parameter, version),
        "Version": version.number,
        "LastModifiedDate": version.created,
        "ARN": parameter.arn,
        "DataType": "text",
    }


def _delete_several(ask: Ask) -> JsonMap:
    names = ask.input["Names"]
    for name in names:
        ask.require("ssm:DeleteParameters", _target(ask, name))
    there = [name for name in names if isinstance(held(ask).get(name), Parameter)]
    for name in there:
        held(ask)[name] = ask.now + GONE_FOR
    return {"DeletedParameters": there, "InvalidParameters": [name for name in names if name not in there]}


OPERATIONS: Mapping[str, Operation] = {
    "GetParametersByPath": Operation(_by_path, _about_path),
    "DeleteParameters": Operation(_delete_several, None),
}
