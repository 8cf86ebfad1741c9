"""What somebody perhaps meant, and what they could have written. Pure."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to ``word``, or None where none is close."""
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None


def known_keys(model: type[BaseModel], where: Sequence[str | int]) -> list[str]:
    """The keys that the model at a place inside ``model`` knows; empty where there is no model."""
    here: Any = model
    for step in where:
        models = [part for part in _parts(here) if isinstance(part, type) and issubclass(part, BaseModel)]
        fields = [part.model_fields[step].annotation for part in models if isinstance(step, str) and step in part.model_fields]
        if fields:
            here = fields[0]
        elif not models:
            here = next(iter(_items(here)), None)
    return [key for part in _parts(here) if isinstance(part, type) and issubclass(part, BaseModel) for key in part.model_fields]


def _parts(annotation: Any) -> list[Any]:
    """The members of a union or annotated type, or the type itself."""
    if annotation is None or isinstance(annotation, type):
        return [annotation]
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _parts(typing.get_args(annotation)[0])
    if origin in {list, dict, tuple, set, frozenset, typing.Literal}:
        return [annotation]
    return [part for member in typing.get_args(annotation) for part in _parts(member)]


def _items(annotation: Any) -> list[Any]:
    """What a list, tuple or mapping holds."""
    held = []
    for part in _parts(annotation):
        if typing.get_origin(part) in {list, tuple, dict}:
            held.extend(_parts([member for member in typing.get_args(part) if member is not ...][-1]))
    return held
