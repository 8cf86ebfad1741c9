"""Parameter Store's operations."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rotatord.testing.aws.asking import Ask, Operation, Target
from rotatord.testing.aws.errors import AwsError
from rotatord.testing.aws.paging import cut
from rotatord.testing.aws.parameter_things import SIZES, Parameter, ParameterVersion, check_name
from rotatord.testing.aws.secretsmanager import request_tags
from rotatord.testing.aws.shapes import JsonMap

_DEFAULT_KEY = "alias/aws/ssm"
GONE_FOR = timedelta(seconds=30)  # a deleted name cannot be used for so long
_TAGS = 50
_UNREADABLE = "the strict AWS's ciphertext of version {number}"


def held(ask: Ask) -> dict[str, Any]:
    return ask.account.things("ssm", ask.region)


def arn_of(ask: Ask, name: str) -> str:
    return f"arn:aws:ssm:{ask.region}:{ask.account.number}:parameter{'' if name.startswith('/') else '/'}{name}"


def _bare(ask: Ask) -> tuple[str, str | None]:
    """The name without ARN and selector, and the selector."""
    named: str = ask.input["Name"].strip()
    if re.match(r"arn:aws:ssm:[\w-]+:\d{12}:parameter/", named):
        rest = named.split(":", 5)[5].removeprefix("parameter")
        name, _, selector = rest.partition(":")
        name = name if name in held(ask) else name.removeprefix("/")
    else:
        name, _, selector = named.partition(":")
    return name, selector or None


def _parameter(ask: Ask) -> Parameter:
    found = held(ask).get(_bare(ask)[0])
    if not isinstance(found, Parameter):
        raise AwsError("ParameterNotFound", f"Parameter {_bare(ask)[0]} not found.")
    return found


def _plain_name(ask: Ask) -> Parameter:
    if ask.input["Name"].startswith("arn:") or ":" in ask.input["Name"]:
        raise AwsError("ValidationException", "This operation takes the name of a parameter, without ARN, version or label.")
    return _parameter(ask)


def _about(ask: Ask) -> Target:
    return _target(ask, _bare(ask)[0])


def _about_resource(ask: Ask) -> Target:
    return _target(ask, ask.input["ResourceId"])


def _target(ask: Ask, name: str) -> Target:
    found = held(ask).get(name)
    context: dict[str, Any] = request_tags(ask)
    if isinstance(found, Parameter):
        for key, value in found.tags.items():
            context[f"aws:ResourceTag/{key}"] = context[f"ssm:resourceTag/{key}"] = value
    if ask.operation == "PutParameter":
        context["ssm:Overwrite"] = "true" if ask.get("Overwrite") else "false"
    return Target(arn_of(ask, name), arn_of(ask, name), context)


def _kms(ask: Ask, action: str, key: str | None, parameter: str) -> None:
    """A customer's key needs rights of the caller's own."""
    if key is None or key == _DEFAULT_KEY:
        return
    arn = (
        key if key.startswith("arn:") else f"arn:aws:kms:{ask.region}:{ask.account.number}:{'' if '/' in key else 'key/'}{key}"
    )
    context = {"kms:ViaService": f"ssm.{ask.region}.amazonaws.com", "kms:EncryptionContext:PARAMETER_ARN": parameter}
    ask.require(action, Target(arn, arn, context))


# -- writing --


def _put(ask: Ask) -> JsonMap:
    name, there = ask.input["Name"].strip(), held(ask)
    if name.startswith("arn:") or ":" in name:
        raise AwsError("ValidationException", "Parameter name: can include only a-zA-Z0-9_.-/")
    check_name(name)
    before = there.get(name)
    if not isinstance(before, Parameter):
        if before is not None and before > ask.now:  # deleted a moment ago
            raise AwsError("TooManyUpdates", "There are concurrent updates for a resource that supports one update at a time.")
        before = None
    if before is not None and not ask.get("Overwrite", False):
        said = "The parameter already exists. To overwrite this value, set the overwrite option in the request to true."
        raise AwsError("ParameterAlreadyExists", said)
    version = _version(ask, before)
    parameter = before or Parameter(name, arn_of(ask, name))
    if "Tags" in ask.input:
        if before is not None:
            said = "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove"
            said = f"{said} overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or"
            raise AwsError("ValidationException", f"{said} RemoveTagsFromResource.")
        ask.require("ssm:AddTagsToResource", _target(ask, name))
        parameter.tags = {tag["Key"]: tag["Value"] for tag in ask.input["Tags"]}
    parameter.add(version)
    there[name] = parameter
    return {"Version": version.number, "Tier": version.tier}


def _version(ask: Ask, before: Parameter | None) -> ParameterVersion:
    text = ask.input["Value"]
    kind = ask.get("Type") or (before.newest.type if before else None)
    if kind is None:
        raise AwsError("ValidationException", "A parameter type is required when you create a parameter.")
    if not text:
        raise AwsError("ValidationException", "1 validation error detected: Value '' at 'value' failed to satisfy constraint")
    if "{{" in text:
        raise AwsError("ValidationException", 'Parameter value can\'t nest another parameter. Do not use "{{}}" in the value.')
    tier = _tier(ask, before, len(text.encode()))
    key = (ask.get("KeyId") or (before.newest.key if before else None) or _DEFAULT_KEY) if kind == "SecureString" else None
    if kind != "SecureString" and "KeyId" in ask.input:
        raise AwsError("ValidationException", "KeyId is not valid for parameters of this type.")
    name = ask.input["Name"].strip()
    _kms(ask, "kms:GenerateDataKey" if tier == "Advanced" else "kms:Encrypt", key, arn_of(ask, name))
    pattern = ask.get("AllowedPattern")
    if pattern and not _compiled(pattern).fullmatch(text):
        said = f"Parameter value, cannot be validated against allowedPattern: {pattern}"
        raise AwsError("ParameterPatternMismatchException", said)
    number = before.newest.number + 1 if before else 1
    return ParameterVersion(number, text, kind, key, tier, ask.now, ask.caller.arn, ask.get("Description"), pattern)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error:
        raise AwsError(
            "InvalidAllowedPatternException", "The request doesn't meet the regular expression requirement."
        ) from None


def _tier(ask: Ask, before: Parameter | None, size: int) -> str:
    asked = ask.get("Tier") or (before.newest.tier if before else "Standard")
    if asked == "Intelligent-Tiering":
        asked = "Advanced" if size > SIZES["Standard"] else "Standard"
    if before is not None and before.newest.tier == "Advanced" and asked == "Standard":
        said = "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter"
        raise AwsError("ValidationException", f"{said} tier to the standard-parameter tier.")
    if size > SIZES[asked]:
        if asked == "Standard":
            said = "Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter"
            raise AwsError("ValidationException", f"{said} value, upgrade the parameter to use the advanced-parameter tier.")
        raise AwsError("ValidationException", "Advanced tier parameters support a maximum parameter value of 8192 characters.")
    return str(asked)


def _label(ask: Ask) -> JsonMap:
    parameter = _plain_name(ask)
    version = _numbered(parameter, ask.get("ParameterVersion", parameter.newest.number))
    invalid = parameter.label(version, ask.input["Labels"])
    return {"InvalidLabels": invalid, "ParameterVersion": version.number}


def _numbered(parameter: Parameter, number: int) -> ParameterVersion:
    found = parameter.numbered(number)
    if found is None:
        said = f"Systems Manager could not find version {number} of {parameter.name}. Verify the version and try again."
        raise AwsError("ParameterVersionNotFound", said)
    return found


def _unlabel(ask: Ask) -> JsonMap:
    parameter = _plain_name(ask)
    version = _numbered(parameter, ask.input["ParameterVersion"])
    removed = [one for one in ask.input["Labels"] if one in version.labels]
    version.labels = [one for one in version.labels if one not in removed]
    return {"RemovedLabels": removed, "InvalidLabels": [one for one in ask.input["Labels"] if one not in removed]}


def _delete(ask: Ask) -> JsonMap:
    parameter = _plain_name(ask)
    held(ask)[parameter.name] = ask.now + GONE_FOR
    return {}


# -- reading --


def value(ask: Ask, parameter: Parameter, version: ParameterVersion) -> str:
    if version.type != "SecureString":
        return version.value
    if not ask.get("WithDecryption", False):
        return base64.b64encode(_UNREADABLE.format(number=version.number).encode()).decode()
    _kms(ask, "kms:Decrypt", version.key, parameter.arn)
    return version.value


def _get(ask: Ask) -> JsonMap:
    parameter, (_, selector) = _parameter(ask), _bare(ask)
    version = parameter.newest
    if selector is not None:
        found = parameter.numbered(int(selector)) if selector.isdigit() else parameter.labelled(selector)
        if found is None:
            what = "version" if selector.isdigit() else "label"
            said = f"Systems Manager could not find {what} {selector} of {parameter.name}. Verify the {what} and try again."
            raise AwsError("ParameterVersionNotFound", said)
        version = found
    found_parameter = {
        "Name": parameter.name,
        "Type": version.type,
        "Value": value(ask, parameter, version),
        "Version": version.number,
        "Selector": f":{selector}" if selector else None,
        "LastModifiedDate": version.created,
        "ARN": parameter.arn,
        "DataType": "text",
    }
    return {"Parameter": found_parameter}


def _history(ask: Ask) -> JsonMap:
    parameter = _parameter(ask)
    rows, following = paged(ask, parameter.versions, 50)
    return {"Parameters": [_past(ask, parameter, version) for version in rows], "NextToken": following}


def _past(ask: Ask, parameter: Parameter, version: ParameterVersion) -> JsonMap:
    return {
        "Name": parameter.name,
        "Type": version.type,
        "KeyId": version.key,
        "LastModifiedDate": version.created,
        "LastModifiedUser": version.user,
        "Description": version.description,
        "Value": value(ask, parameter, version),
        "AllowedPattern": version.pattern,
        "Version": version.number,
        "Labels": list(version.labels),
        "Tier": version.tier,
        "Policies": [],
        "DataType": "text",
    }


def paged(ask: Ask, items: Sequence[Any], most: int) -> tuple[list[Any], str | None]:
    """One page, and the token of the next."""
    made_up = AwsError("InvalidNextToken", "The specified token isn't valid.")
    return cut(items, ask.get("NextToken"), ask.get("MaxResults", most), made_up)


# -- tags --


def _resource(ask: Ask) -> Parameter:
    if ask.input["ResourceType"] != "Parameter":
        raise AwsError("InvalidResourceType", "the strict AWS has parameters only")
    found = held(ask).get(ask.input["ResourceId"])
    if not isinstance(found, Parameter):
        raise AwsError(
            "InvalidResourceId", "The resource ID isn't valid. Verify that you entered the correct ID and try again."
        )
    return found


def _add_tags(ask: Ask) -> JsonMap:
    parameter = _resource(ask)
    after = {**parameter.tags, **{tag["Key"]: tag["Value"] for tag in ask.input["Tags"]}}
    if len(after) > _TAGS:
        raise AwsError("TooManyTagsError", f"The Targets parameter includes too many tags: {_TAGS} at most.")
    parameter.tags = after
    return {}


def _remove_tags(ask: Ask) -> JsonMap:
    parameter = _resource(ask)
    parameter.tags = {key: value for key, value in parameter.tags.items() if key not in ask.input["TagKeys"]}
    return {}


def _list_tags(ask: Ask) -> JsonMap:
    return {"TagList": [{"Key": key, "Value": value} for key, value in _resource(ask).tags.items()]}


OPERATIONS: Mapping[str, Operation] = {
    "PutParameter": Operation(_put, _about),
    "GetParameter": Operation(_get, _about),
    "GetParameterHistory": Operation(_history, _about),
    "LabelParameterVersion": Operation(_label, _about),
    "UnlabelParameterVersion": Operation(_unlabel, _about),
    "DeleteParameter": Operation(_delete, _about),
    "AddTagsToResource": Operation(_add_tags, _about_resource),
    "RemoveTagsFromResource": Operation(_remove_tags, _about_resource),
    "ListTagsForResource": Operation(_list_tags, _about_resource),
}
