"""Mistakes, collected with their places until all are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from rotatord.configuration import literals
from rotatord.configuration.document import place_of
from rotatord.configuration.values import NAME_PATTERN
from rotatord.errors import Problem
from rotatord.mistakes import known_keys, nearest, words_for
from rotatord.registry import Trouble

Where = tuple[str | int, ...]
_QUOTED = re.compile(r"'([^']*)'")


class Findings:
    """Every mistake once, in the order of files and lines."""

    def __init__(self) -> None:
        self._problems: dict[tuple[str, str], Problem] = {}

    def add(self, place: str, what: str, suggestion: str | None = None) -> None:
        """One mistake at ``file:line``."""
        self._problems.setdefault((place, what), Problem(place, what, suggestion))

    def extend(self, problems: Iterable[Problem]) -> None:
        """Mistakes that know their place already."""
        for problem in problems:
            self._problems.setdefault((problem.place, problem.what), problem)

    def troubles(self, value: Any, prefix: Where, troubles: Iterable[Trouble], otherwise: str) -> None:
        """Mistakes that know where in ``value``, below ``prefix``, they are."""
        for trouble in troubles:
            what, suggestion = trouble.what, trouble.suggestion
            if _is_literal(value, prefix + trouble.where):
                what, suggestion = literals.WHAT, None
            self.add(place_of(value, prefix + trouble.where, otherwise), what, suggestion)

    def invalid(self, value: Any, model: type[BaseModel], error: ValidationError, otherwise: str, prefix: Where = ()) -> None:
        """What pydantic found wrong with ``value``, the part below ``prefix``."""
        for item in error.errors(include_url=False, include_input=False):
            where: Where = tuple(step for step in item["loc"] if step != "[key]")
            given = _at(value, prefix + where)
            what, suggestion = words_for(item), None
            if item["type"] == "extra_forbidden":
                suggestion = nearest(str(where[-1]), known_keys(model, where[:-1]))
            elif item["type"] in {"literal_error", "enum"} and isinstance(given, str):
                suggestion = nearest(given, _QUOTED.findall(str(item["ctx"]["expected"])))
            elif item["type"] == "string_pattern_mismatch" and item["ctx"]["pattern"] == NAME_PATTERN:
                what = f"{str(where[-1])!r} should be a name: letters, digits, dots, dashes and underscores"
            if _is_literal(value, prefix + where):
                what, suggestion = literals.WHAT, None
            self.add(place_of(value, prefix + where, otherwise), what, suggestion)

    def all(self) -> Sequence[Problem]:
        """Sorted by file and line."""
        return sorted(self._problems.values(), key=_order)

    def __bool__(self) -> bool:
        return bool(self._problems)


def _order(problem: Problem) -> tuple[str, int]:
    file, _, line = problem.place.rpartition(":")
    return (file, int(line)) if line.isdigit() else (problem.place, 0)


def _is_literal(value: Any, where: Where) -> bool:
    """Whether text stands where by its name a secret belongs: its mistakes are told without it. ``keys`` map the readers'
    names, which often say TOKEN, to fields: there only what looks like a secret is one."""
    text = _at(value, where)
    if not where or not isinstance(text, str):
        return False
    return literals.is_secret(text, where) if where[-2:-1] == ("keys",) else literals.is_named_like_secret(where[-1])


def _at(value: Any, where: Where) -> Any:
    for step in where:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value
