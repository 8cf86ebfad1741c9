"""Mistakes in words: pydantic's findings without the values they were found in, and what was perhaps meant. Pure."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import AfterValidator, BaseModel, ValidationError

_WORDS = {
    "string_type": "should be text (a number needs quotes)",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping",
    "mapping_type": "should be a mapping",
    "model_type": "should be a mapping",
    "model_attributes_type": "should be a mapping",
}


def form(pattern: str, words: str) -> AfterValidator:
    """Text that matches a pattern as a whole, with words for it: nobody reads a regular expression at night."""
    whole = re.compile(pattern)

    def check(value: str) -> str:
        if not whole.fullmatch(value):
            raise ValueError(f"should be {words}")
        return value

    return AfterValidator(check)


def words_for(item: Mapping[str, Any]) -> str:
    """One of pydantic's errors in our words; the input is never quoted."""
    kind, last = item["type"], (item["loc"][-1] if item["loc"] else "")
    if kind == "extra_forbidden":
        return f"unknown key {str(last)!r}"
    if kind == "missing":
        return f"{str(last)!r} is missing"
    name = f"{last!r} " if isinstance(last, str) and last else ""
    if kind == "value_error":
        return name + str(item["ctx"]["error"])
    if kind in {"literal_error", "enum"}:
        return f"{name}should be {item['ctx']['expected']}"
    before, should, after = item["msg"].partition("should ")
    return name + (_WORDS.get(kind) or (should + after if should else before.lower()))


def sentences(model: type[BaseModel], value: Any, prefix: str = "") -> list[str]:
    """What is wrong with a value, each ``place: what``; empty where it fits the model. For ``check`` methods of plugins."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        return [_sentence(model, item, prefix) for item in error.errors(include_url=False, include_input=False)]
    return []


def _sentence(model: type[BaseModel], item: Mapping[str, Any], prefix: str) -> str:
    *parents, last = item["loc"] or ("",)
    unnamed = item["type"] in {"extra_forbidden", "missing"}
    place = ".".join(str(step) for step in (prefix, *parents, *(() if unnamed else (last,))) if step != "")
    what = words_for(item) if unnamed else words_for(item).removeprefix(f"{last!r} ")
    meant = nearest(str(last), known_keys(model, parents)) if item["type"] == "extra_forbidden" else None
    return (f"{place}: {what}" if place else what) + (f"; did you mean {meant}?" if meant else "")


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
