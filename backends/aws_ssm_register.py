"""A register with compare-and-set, made of parameters that are created and deleted but never overwritten.

Parameter Store cannot compare before it overwrites; but of several that create one name only one succeeds. So each state of a
register is a parameter of its own, ``PATH/1``, ``PATH/2`` and so on: who creates the next number has moved the register on,
and the highest number is its state. Numbers are never used again, so that a creation which lands late either finds its number
taken or lies below the present one, where it means nothing and is deleted with the next move. Deleting a parameter destroys
it with its whole history.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rotatord.aws_client import Aws
from rotatord.clock import random_bytes
from rotatord.errors import Retryable
from rotatord.model import JsonMap

SERVICE = "ssm"
_PAGE = 10
_MOST_PAGES = 20
_MOST_NAMES = 10  # that one call deletes
_UNTOLD = datetime.min.replace(tzinfo=UTC)  # AWS does not answer when it wrote


@dataclass(frozen=True, slots=True)
class Entry:
    """One state. ``id`` tells it from one of the same number in a register that was deleted and begun anew."""

    number: int
    id: str
    at: datetime
    content: JsonMap = field(repr=False)


@dataclass(frozen=True, slots=True)
class Register:
    """A register as it was read: its states, the present one first, what is left of earlier ones behind it."""

    path: str
    entries: tuple[Entry, ...]

    @property
    def token(self) -> str:
        return f"{self.entries[0].number}:{self.entries[0].id}" if self.entries else "0"


def look(aws: Aws, path: str) -> Register:
    """All that lies in the register now."""
    found: list[Entry] = []
    more: JsonMap = {}
    for _ in range(_MOST_PAGES):
        answer = aws.call(SERVICE, "get_parameters_by_path", Path=path, WithDecryption=True, MaxResults=_PAGE, **more)
        found += [entry for each in answer.get("Parameters") or [] if (entry := _entry(each))]
        if not answer.get("NextToken"):
            return Register(path, tuple(sorted(found, key=lambda entry: -entry.number)))
        more = {"NextToken": answer["NextToken"]}
    raise Retryable(f"{path} holds more parameters than can be read at once")


def move(aws: Aws, register: Register, content: JsonMap, making: JsonMap) -> Entry:
    """The next state. Raises Conflict where the register moved meanwhile."""
    number = register.entries[0].number + 1 if register.entries else 1
    entry = Entry(number, random_bytes(8).hex(), _UNTOLD, content)
    aws.call(SERVICE, "put_parameter", Name=f"{register.path}/{number}", Value=_dumps(entry), Overwrite=False, **making)
    return entry


def amend(aws: Aws, path: str, entry: Entry, content: JsonMap, making: JsonMap) -> None:
    """Write more into a state that is ours; its number and id stay."""
    amended = Entry(entry.number, entry.id, entry.at, content)
    kept = {name: value for name, value in making.items() if name != "Tags"}  # which may not be given when overwriting
    aws.call(SERVICE, "put_parameter", Name=f"{path}/{entry.number}", Value=_dumps(amended), Overwrite=True, **kept)


def destroy(aws: Aws, path: str, entries: Sequence[Entry]) -> None:
    """Delete earlier states, the oldest first; those that are gone are done."""
    names = [f"{path}/{entry.number}" for entry in sorted(entries, key=lambda entry: entry.number)]
    for start in range(0, len(names), _MOST_NAMES):
        aws.call(SERVICE, "delete_parameters", Names=names[start : start + _MOST_NAMES])


def _dumps(entry: Entry) -> str:
    return json.dumps({"id": entry.id, **entry.content}, sort_keys=True, ensure_ascii=False)


def _entry(parameter: JsonMap) -> Entry | None:
    """None for what somebody else put there."""
    number = str(parameter.get("Name", "")).rpartition("/")[2]
    try:
        content = json.loads(parameter["Value"])
        return Entry(int(number), str(content.pop("id")), parameter["LastModifiedDate"], content)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
