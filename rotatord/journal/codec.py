"""Records, events and notices as JSON text and back. Each text starts with the number of the schema that it was written in.

Fields that an older reader does not know are ignored by it, so additions need no new number; anything else does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from rotatord.errors import JournalDamaged, JournalTooNew
from rotatord.model import Event, Notice, Record

SCHEMA = 1

_HEAD = f'{{"schema":{SCHEMA},'
_ANY_HEAD = re.compile(r'\{"schema":(\d+),')

T = TypeVar("T")


class Codec(Generic[T]):
    """One kind of value. Both directions cost tens of microseconds, and what comes back equals what went in."""

    def __init__(self, kind: type[T]) -> None:
        self._kind = kind.__name__
        self._adapter: TypeAdapter[T] = TypeAdapter(kind)

    def encode(self, value: T) -> str:
        """Raises TypeError for anything that is not plain data, a Secret above all; the message names types only."""
        try:
            text = self._adapter.dump_json(value, warnings="error").decode()
        except PydanticSerializationError as error:
            reason = re.sub(r"input_value=.*", "...]", str(error), flags=re.DOTALL)
            raise TypeError(f"this {self._kind} cannot be stored: {reason}") from None
        return _HEAD + text[1:]

    def decode(self, text: str, of: str = "") -> T:
        """Raises JournalTooNew for a later schema, and JournalDamaged for a damaged text. ``of``: whose it is."""
        what = f"the stored {self._kind} of {of}" if of else f"a stored {self._kind}"
        if not text.startswith(_HEAD):
            raise self._refusal(text, what)
        try:
            return self._adapter.validate_json(text)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors()[:3])
            raise JournalDamaged(f"{what} is damaged at {places or 'its start'}") from None

    def _refusal(self, text: str, what: str) -> JournalTooNew | JournalDamaged:
        head = _ANY_HEAD.match(text)
        if head and int(head[1]) > SCHEMA:
            return JournalTooNew(
                f"{what} has schema {head[1]} and this rotatord knows up to {SCHEMA}: "
                "run the newer version again, or restore the journal from before the upgrade"
            )
        return JournalDamaged(f"{what} is damaged at its start")


RECORDS = Codec(Record)
EVENTS = Codec(Event)
NOTICES = Codec(Notice)


def decoded(bodies: Iterable[tuple[str, str]], damaged: dict[str, str] | None) -> list[Record]:
    """Many records, by name and text. What is damaged is left out and goes to ``damaged``, where that is given; else raised."""
    found = []
    for name, body in bodies:
        try:
            found.append(RECORDS.decode(body, name))
        except JournalDamaged as error:
            if damaged is None:
                raise
            damaged[name] = str(error)
    return found
