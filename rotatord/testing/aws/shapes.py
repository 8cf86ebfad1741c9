"""What may be asked: botocore's own models of the services, used to read requests and to refuse what AWS would refuse."""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rotatord.testing.aws.errors import COMMON, AwsError, Protocol, common

JsonMap = dict[str, Any]
SERVICES = ("iam", "sts", "secretsmanager", "ssm")


# What would have an effect at AWS and has none here. It is refused, so that nobody believes in it.
_LACKING: Mapping[str, frozenset[str]] = {
    "SimulatePrincipalPolicy": frozenset(
        {"PermissionsBoundaryPolicyInputList", "PolicyExclusionList", "ResourcePolicy", "ResourceOwner", "CallerArn"}
        | {"ResourceHandlingOption"}
    ),
    "AssumeRole": frozenset({"TransitiveTagKeys", "SerialNumber", "TokenCode", "ProvidedContexts", "MinimumSessionTokenSize"}),
    "AssumeRoleWithWebIdentity": frozenset({"ProviderId", "PolicyArns", "Policy", "MinimumSessionTokenSize"}),
    "PutParameter": frozenset({"Policies"}),
    "GetParametersByPath": frozenset({"ParameterFilters"}),
    "RotateSecret": frozenset({"ExternalSecretRotationMetadata", "ExternalSecretRotationRoleArn"}),
    "CreateSecret": frozenset({"Type", "CrossAccountPrimaryARN"}),
    "UpdateSecret": frozenset({"Type"}),
}


@dataclass(frozen=True)
class Service:
    """One service's model."""

    name: str
    protocol: Protocol
    namespace: str  # of XML answers
    version: str
    target: str  # prefix of X-Amz-Target
    model: Any

    def operation(self, name: str) -> Any:
        """The model of an operation; AWS's own refusal for an unknown one."""
        if name not in self.model.operation_names:
            raise common("no such operation", self.protocol, f"Could not find operation {name} for version {self.version}")
        return self.model.operation_model(name)

    def status(self, operation: str, code: str) -> int:
        """The status that goes with an error of an operation's own."""
        for shape in self.model.operation_model(operation).error_shapes:
            error = shape.metadata.get("error", {})
            if code in (error.get("code"), shape.name):
                return int(error.get("httpStatusCode", 400))
        codes = dict(words[self.protocol] for words in COMMON.values())
        assert code in codes, f"{self.name}:{operation} has no error {code}"
        return codes[code]


@functools.cache
def service(name: str) -> Service:
    """The model of a service that the strict AWS has."""
    from botocore.loaders import Loader  # noqa: PLC0415 - the SDK is loaded on first use
    from botocore.model import ServiceModel  # noqa: PLC0415

    model = ServiceModel(Loader().load_service_model(name, "service-2"), name)
    metadata = model.metadata
    protocol: Protocol = "json" if metadata["protocol"] == "json" else "query"
    return Service(
        name, protocol, metadata.get("xmlNamespace", ""), metadata["apiVersion"], metadata.get("targetPrefix", ""), model
    )


@dataclass(frozen=True)
class Asked:
    """A request that was understood: which operation, and its input, checked."""

    service: Service
    operation: str
    input: JsonMap


def operation_of(name: str, headers: Mapping[str, str], body: bytes) -> str:
    """Which operation is asked for, before anything else of the body is believed."""
    known = service(name)
    if known.protocol == "json":
        prefix, _, operation = headers.get("x-amz-target", "").partition(".")
        if prefix != known.target:
            raise common("no such operation", "json", "the X-Amz-Target header names another service")
        return operation
    form = dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    if form.get("Version") != known.version:
        raise common("no such operation", "query", f"Could not find version {form.get('Version')}")
    return form.get("Action", "")


def understand(name: str, operation: str, body: bytes) -> Asked:
    """The input of the operation, read from the body and checked against the model."""
    known = service(name)
    try:
        checked, problems = _understood(known, operation, body)
    except _Unreadable as unreadable:
        raise common("unreadable", known.protocol, str(unreadable)) from None
    if problems:
        count = len(problems)
        found = f"{count} validation error{'s' if count > 1 else ''} detected: {'; '.join(problems)}"
        raise common("invalid", known.protocol, found)
    if lacking := sorted(checked.keys() & _LACKING.get(operation, frozenset())):
        said = f"the strict AWS does not have {', '.join(lacking)} of {name}:{operation}"
        raise AwsError("NotImplemented", said, 501)
    return Asked(known, operation, checked)


def _understood(known: Service, operation: str, body: bytes) -> tuple[JsonMap, list[str]]:
    shape = known.operation(operation).input_shape
    if known.protocol == "json":
        value = _read_json(body)
    else:
        form = dict(urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        del form["Action"], form["Version"]
        value = _structure(shape, form, "") if shape is not None else {}
        known_names = {inner.serialization.get("name", name) for name, inner in shape.members.items()} if shape else set()
        value |= {name: form[name] for name in form if name.partition(".")[0] not in known_names}
    problems: list[str] = []
    checked = _checked(shape, value, "", problems) if shape is not None else {}
    if shape is None and value:
        problems.append(f"Unknown members {sorted(value)}")
    return checked, problems


def _read_json(body: bytes) -> Any:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _Unreadable("the request is not a JSON object")
    return value


class _Unreadable(Exception):
    """A body that is not of the form that its operation has."""


# -- the query protocol's flat form becomes a tree --


def _structure(shape: Any, form: Mapping[str, str], prefix: str) -> JsonMap:
    found: JsonMap = {}
    for member, inner in shape.members.items():
        name = prefix + inner.serialization.get("name", member)
        if any(key == name or key.startswith(name + ".") for key in form):
            found[member] = _branch(inner, form, name)
    return found


def _branch(shape: Any, form: Mapping[str, str], name: str) -> Any:
    if shape.type_name == "structure":
        return _structure(shape, form, name + ".")
    if shape.type_name == "list":
        return _items(shape, form, f"{name}.{shape.member.serialization.get('name', 'member')}")
    return form.get(name, "")


def _items(shape: Any, form: Mapping[str, str], name: str) -> list[Any]:
    found: list[Any] = []
    for number in range(1, len(form) + 1):
        here = f"{name}.{number}"
        if not any(key == here or key.startswith(here + ".") for key in form):
            break
        found.append(_branch(shape.member, form, here))
    return found


# -- checking: types, then the model's constraints; every problem is told, as AWS does --


def _checked(shape: Any, value: Any, path: str, problems: list[str]) -> Any:
    return _READERS.get(shape.type_name, _scalar)(shape, value, path, problems)


def _checked_structure(shape: Any, value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, dict):
        raise _Unreadable(f"{path or 'the request'} is not a structure")
    problems.extend(
        f"Value null at '{_at(path, name)}' failed to satisfy constraint: Member must not be null"
        for name in shape.required_members
        if value.get(name) is None
    )
    # Unknown members are refused although AWS ignores some: who tests against this wants to know of a mistyped one.
    problems.extend(f"Unknown member '{_at(path, name)}'" for name in sorted(value.keys() - shape.members.keys()))
    return {
        name: _checked(inner, value[name], _at(path, name), problems)
        for name, inner in shape.members.items()
        if value.get(name) is not None
    }


def _checked_list(shape: Any, value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, list):
        raise _Unreadable(f"{path} is not a list")
    _limits(shape, len(value), "length", f"Value at '{path}'", problems)
    return [_checked(shape.member, item, f"{path}.{number}.member", problems) for number, item in enumerate(value, 1)]


def _checked_map(shape: Any, value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, dict):
        raise _Unreadable(f"{path} is not a map")
    return {key: _checked(shape.value, item, f"{path}.{key}", problems) for key, item in value.items()}


def _scalar(shape: Any, value: Any, path: str, problems: list[str]) -> Any:
    convert = _SCALARS[shape.type_name]
    try:
        read = convert(value)
    except (ValueError, TypeError, binascii.Error):
        raise _Unreadable(f"{path} is not of type {shape.type_name}") from None
    shown = "" if shape.metadata.get("sensitive") else f" '{read}'"
    where = f"Value{shown} at '{path}'"
    if shape.type_name in ("integer", "long"):
        _limits(shape, read, "value", where, problems)
    elif shape.type_name in ("string", "blob"):
        _limits(shape, len(read), "length", where, problems)
    _one_of(shape, read, where, problems)
    return read


def _one_of(shape: Any, read: Any, where: str, problems: list[str]) -> None:
    allowed = shape.metadata.get("enum")
    if allowed and read not in allowed:
        problems.append(f"{where} failed to satisfy constraint: Member must satisfy enum value set: [{', '.join(allowed)}]")
    pattern = shape.metadata.get("pattern")
    if pattern and not _pattern(pattern).fullmatch(read):
        problems.append(f"{where} failed to satisfy constraint: Member must satisfy regular expression pattern: {pattern}")


@functools.cache
def _pattern(java: str) -> re.Pattern[str]:
    """The model's patterns are Java's: code points beyond four digits and classes of letters are written otherwise there."""
    python = re.sub(r"\\u(10[0-9A-F]{4}|10000)", lambda found: f"\\U{int(found[1], 16):08x}", java)
    classes = {r"\p{L}": r"\w", r"\p{N}": r"\d", r"\p{Z}": r"\s", r"\p{S}": r"$+<=>^`|~", r"\p{P}": r"!-/:-@\[-`{-~"}
    for java_class, python_class in classes.items():
        python = python.replace(java_class, python_class)
    return re.compile(python, 0 if r"\p{" in java else re.ASCII)


def _limits(shape: Any, size: int, what: str, where: str, problems: list[str]) -> None:
    for limit, relation, broken in (("min", "greater", int.__lt__), ("max", "less", int.__gt__)):
        bound = shape.metadata.get(limit)
        if bound is not None and broken(size, int(bound)):
            said = f"Member must have {what} {relation} than or equal to {bound}"
            problems.append(f"{where} failed to satisfy constraint: {said}")


def _at(path: str, name: str) -> str:
    """Where a problem lies, as AWS writes it: ``policyArns.1.member.arn``."""
    lower = name[:1].lower() + name[1:]
    return f"{path}.{lower}" if path else lower


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}[value] if value in ("true", "false") else _wrong()


def _wrong() -> bool:
    raise ValueError


_READERS: Mapping[str, Callable[[Any, Any, str, list[str]], Any]] = {
    "structure": _checked_structure,
    "list": _checked_list,
    "map": _checked_map,
}
_SCALARS: Mapping[str, Callable[[Any], Any]] = {
    "string": _text,
    "boolean": _truth,
    "integer": int,
    "long": int,
    "double": float,
    "float": float,
    "timestamp": lambda value: value,
    "blob": lambda value: base64.b64decode(value, validate=True),
}
