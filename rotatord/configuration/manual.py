"""The manual's reference of every key, made from the schema, so that it cannot say anything else than the code."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rotatord.api.access import Grant, TokenGrant
from rotatord.api.settings import Address, ApiSettings, Tls
from rotatord.configuration.schema import (
    ConsumerSection,
    CopySection,
    CredentialSection,
    DatabaseSection,
    DeadmanSection,
    DestinationSection,
    HeadSection,
    IssuerLimitSection,
    LimitsSection,
    LogSection,
    PluginSection,
    PolicySection,
    RequireSection,
    UnprovenSection,
    WebhookSection,
    WindowSection,
)
from rotatord.configuration.values import Percent, StillUsed
from rotatord.durations import spell
from rotatord.model import Policy
from rotatord.settings import PREFIX, Settings

# Where each model stands in the file, in the order of the manual.
SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The top level", HeadSection),
    ("`issuers` and `backends`", PluginSection),
    ("`policies`", PolicySection),
    ("`windows` of a policy", WindowSection),
    ("`unproven` of a policy", UnprovenSection),
    ("`require` of a policy", RequireSection),
    ("`credentials`", CredentialSection),
    ("`destinations` of a credential", DestinationSection),
    ("`consumers` of a credential", ConsumerSection),
    ("`copies` of a consumer", CopySection),
    ("`notices`", WebhookSection),
    ("`deadman`", DeadmanSection),
    ("`api`", ApiSettings),
    ("`listen` and `probes` of the API", Address),
    ("`tls` of the API", Tls),
    ("`grants` of the API", Grant),
    ("`tokens` of the API", TokenGrant),
    ("`limits`", LimitsSection),
    ("`issuer` and `issuers` of the limits", IssuerLimitSection),
    ("`database`", DatabaseSection),
    ("`log`", LogSection),
)
# Keys of models that other modules own and that carry no description of their own.
_ELSEWHERE = {
    "allow_private": "permit loopback and private addresses",
    "allow_networks": "permit these networks, whatever they are",
    "allow_http": "permit plain http to public addresses",
    "ca_file": "certificates to trust in place of the system's",
    "timeout": "seconds for the whole exchange",
    "socket": "path of the Unix socket; `rotatord.sock` in the state directory where not given",
    "socket_mode": "its mode, as an octal number",
    "socket_group": "the group it belongs to",
    "grants": "rights over the Unix socket; the daemon's own user and root have all",
    "listen": "a TCP address; off where not given, needs `tokens`, and `tls` on anything but loopback",
    "tls": "certificate and key of the TCP address",
    "tokens": "rights over TCP",
    "probes": "an address that serves `/healthz`, `/readyz` and `/metrics` and nothing else",
    "host": "name or address",
    "port": "port; 0 takes a free one",
    "certificate": "file of the chain",
    "key": "file of the key",
    "user": "a user of this machine; either this or `group`",
    "group": "a group of this machine",
    "rights": "any of `read`, `rotate`, `override`, `policy`; none includes another",
    "name": "who it is, in the journal",
    "token": "reference to the bearer token, read anew at each request",
}
_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    timedelta: "length of time",
    Any: "any",
}


def tables() -> str:
    """All sections as Markdown."""
    parts = []
    for title, model in SECTIONS:
        described = (model.__doc__ or "").strip().partition("\n")[0]
        parts.append(f"### {title}\n\n{described}\n\n| key | meaning | kind | default | example |\n|---|---|---|---|---|")
        parts.extend(_row(model, key, info) for key, info in model.model_fields.items())
        parts.append("")
    parts.append("### Environment\n\n| variable | meaning | default |\n|---|---|---|")
    for key, info in Settings.model_fields.items():
        default = f"`{info.default}`" if info.default is not None else "the file's"
        parts.append(f"| `{PREFIX}{key.upper()}` | {info.description} | {default} |")
    return "\n".join(parts) + "\n"


def every_key() -> Iterator[tuple[str, str]]:
    """Every section's title and key, for the test that none is left out."""
    for title, model in SECTIONS:
        for key in model.model_fields:
            yield title, key


def _row(model: type[BaseModel], key: str, info: FieldInfo) -> str:
    meaning = info.description or _ELSEWHERE[key]
    example = f"`{_shown(info.examples[0])}`" if info.examples else ""
    cells = (f"`{key}`", meaning, _kind(info.annotation), _default(model, key, info), example)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(model: type[BaseModel], key: str, info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True) if info.default is not PydanticUndefined else None
    if model is PolicySection:
        value = _of_the_policy(key)
    if value is None or value == "" or value in ([], {}, (), frozenset()) or isinstance(value, BaseModel):
        return ""
    return f"`{_shown(value)}`"


def _of_the_policy(key: str) -> Any:
    """Defaults of policies stand in the model, which the engine uses."""
    policy = Policy()
    return None if key in {"renew_before", "windows", "unproven", "require"} else getattr(policy, key)


def _shown(value: Any) -> str:
    if isinstance(value, timedelta):
        return spell(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_shown(item) for item in value) + "]"
    return json.dumps(value) if not isinstance(value, float) or not value.is_integer() else str(int(value))


def _kind(annotation: Any) -> str:  # a ladder over the forms that annotations have
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if origin is typing.Annotated:
        return _kind(inside[0])
    if origin is typing.Literal:
        return ", ".join(f"`{word}`" for word in inside)
    if origin in {typing.Union, types.UnionType}:
        kinds = [_kind(member) for member in inside if member is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin in {list, tuple, frozenset, set}:
        return f"list of {_kind(inside[0])}" if inside and inside[0] is not Any else "list"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    return {Percent: "share of the life", StillUsed: "`ignore`, `hold` or `{revoke_after: …}`"}.get(annotation, "mapping")
