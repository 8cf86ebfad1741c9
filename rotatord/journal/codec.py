"""Records, events and notices as JSON text and back. Each text starts with the number of the schema that it was written in.

Fields that an older reader does not know are ignored by it, so additions need no new number; anything else does.
"""

from __future__ import annotations

import re
from typing import Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from rotatord.errors import JournalTooNew, JournalUnavailable
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

    def decode(self, text: str) -> T:
        """Raises JournalTooNew for a later schema, and JournalUnavailable for a damaged text."""
        if not text.startswith(_HEAD):
            raise self._refusal(text)
        try:
            return self._adapter.validate_json(text)
        except ValidationError as error:
            places = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors()[:3])
            raise JournalUnavailable(f"a stored {self._kind} is damaged at {places or 'its start'}") from None

    def _refusal(self, text: str) -> JournalTooNew | JournalUnavailable:
        head = _ANY_HEAD.match(text)
        if head and int(head[1]) > SCHEMA:
            return JournalTooNew(
                f"a stored {self._kind} has schema {head[1]} and this rotatord knows up to {SCHEMA}: "
                "run the newer version again, or restore the journal from before the upgrade"
            )
        return JournalUnavailable(f"a stored {self._kind} is damaged at its start")


RECORDS = Codec(Record)
EVENTS = Codec(Event)
NOTICES = Codec(Notice)
