"""YAML files as plain values that know their lines. One pass over the parser's events; nothing of the tree stays behind.

Scalars follow YAML 1.2: ``yes``, ``no`` and ``on`` are text, and so is a number with leading zeros (``0640``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml import events as yaml_events
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from rotatord.errors import Problem

try:
    from _ruamel_yaml import CParser  # type: ignore[import-not-found]
except ImportError:  # no compiled parser for this machine: slower, otherwise alike
    CParser = None

_DEEPEST = 60  # nesting beyond this is a mistake, and would end in a RecursionError
_MOST_REPEATED = 2_000_000  # values that aliases stand for; a few lines of them could otherwise mean billions
_FIXED: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_FIXED |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_COLON = "found unexpected ':'"  # a complaint of the compiled parser's about what is YAML by now
_UNINDENTED = re.compile(r"^[^\s#-]|^---", re.MULTILINE)
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


class Map(dict[str, Any]):
    """A mapping that knows its file, its line and the line of each key."""

    __slots__ = ("file", "line", "lines")

    def __init__(self, file: str, line: int) -> None:
        super().__init__()
        self.file = file
        self.line = line
        self.lines: dict[str, int] = {}


class Merged(Map):
    """A mapping put together from several files."""

    __slots__ = ("files",)

    def __init__(self, file: str, line: int) -> None:
        super().__init__(file, line)
        self.files: dict[str, str] = {}

    def put(self, key: str, value: Any, file: str, line: int) -> None:
        """Add one key from one file."""
        self[key] = value
        self.lines[key] = line
        self.files[key] = file


class Seq(list[Any]):
    """A list that knows its file, its line and the line of each entry."""

    __slots__ = ("file", "line", "lines")

    def __init__(self, file: str, line: int) -> None:
        super().__init__()
        self.file = file
        self.line = line
        self.lines: list[int] = []


class _BrokenError(Exception):
    """The file cannot be read any further."""


class Document:
    """One YAML file. ``problems`` grows while it is read."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._text = text

    def sections(self, *, without: str) -> Iterator[tuple[str, int, Any]]:
        """The top-level keys with their lines and values; the value of ``without`` is passed over, not built."""
        with self._reporting():
            reader = _Reader(self.file, self._text, self.problems)
            for key, line in reader.top():
                if key == without:
                    if self._ends_with(line):
                        return
                    reader.skip()
                else:
                    yield key, line, reader.value()

    def entries(self, section: str) -> Iterator[tuple[int, Any]]:
        """The entries of one top-level list, each with its line, one at a time; a problem where it is no list."""
        with self._reporting():
            reader = _Reader(self.file, self._text, self.problems)
            for key, line in reader.top():
                if key == section:
                    yield from reader.entries(section, line)
                else:
                    reader.value()  # built, because anchors in it may be used below

    def _ends_with(self, line: int) -> bool:
        """Whether the section that begins on a line is surely the last one: saves passing over thousands of entries."""
        start = 0
        for _ in range(line):
            start = self._text.find("\n", start) + 1
        return start > 0 and _UNINDENTED.search(self._text, start) is None

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._problem(mark.line + 1 if mark is not None else 1, f"this is not YAML: {_said(error)}")
        except YAMLError:
            self._problem(1, "this is not YAML: it holds characters that YAML does not allow")
        except _BrokenError:
            pass

    def _problem(self, line: int, what: str) -> None:
        self.problems.append(Problem(f"{self.file}:{line}", what))


class _Reader:
    """Builds values from parser events."""

    def __init__(self, file: str, text: str, problems: list[Problem]) -> None:
        self._file = file
        self._next = _events(text)
        self._problems = problems
        self._anchors: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}  # of each anchor's value, what its own aliases stand for included
        self._built = 0
        self._repeated = 0
        self._depth = 0
        self._ready: Any = None  # the event that begins the value that comes next

    def top(self) -> Iterator[tuple[str, int]]:
        """The top-level keys with their lines; the caller then takes or skips the value."""
        self._next()  # the stream
        if not isinstance(self._next(), yaml_events.DocumentStartEvent):
            return
        event = self._next()
        if isinstance(event, yaml_events.ScalarEvent) and _plain(event) is None:
            return
        if not isinstance(event, yaml_events.MappingStartEvent):
            self._problem(event, "the configuration should be a mapping: issuers, backends, policies, credentials")
            raise _BrokenError
        seen: dict[str, int] = {}
        while not isinstance(event := self._next(), yaml_events.MappingEndEvent):
            key, line = self._key(event, seen)
            self._ready = self._next()
            yield key, line
        self._next()  # the end of the document
        if isinstance(event := self._next(), yaml_events.DocumentStartEvent):
            self._problem(event, "a file holds one document: put the second one into a file of its own")

    def value(self) -> Any:
        return self._build(self._ready)

    def skip(self) -> None:
        """Pass over a value; its anchors stay unknown."""
        depth, event = 0, self._ready
        while True:
            if isinstance(event, (yaml_events.MappingStartEvent, yaml_events.SequenceStartEvent)):
                depth += 1
            elif isinstance(event, (yaml_events.MappingEndEvent, yaml_events.SequenceEndEvent)):
                depth -= 1
            if depth == 0:
                return
            event = self._next()

    def entries(self, section: str, line: int) -> Iterator[tuple[int, Any]]:
        event = self._ready
        if isinstance(event, yaml_events.ScalarEvent) and _plain(event) is None:
            return
        if not isinstance(event, yaml_events.SequenceStartEvent):
            self._problems.append(Problem(f"{self._file}:{line}", f"{section!r} should be a list"))
            self.skip()
            return
        while not isinstance(event := self._next(), yaml_events.SequenceEndEvent):
            yield event.start_mark.line + 1, self._build(event)

    def _build(self, event: Any) -> Any:
        before = self._built
        self._built += 1
        if isinstance(event, yaml_events.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml_events.AliasEvent):
            return self._aliased(event)
        else:
            self._depth += 1
            if self._depth > _DEEPEST:
                self._problem(event, "this is nested too deeply")
                raise _BrokenError
            value = self._mapping(event) if isinstance(event, yaml_events.MappingStartEvent) else self._sequence(event)
            self._depth -= 1
        if event.anchor:
            self._anchors[event.anchor] = value
            self._sizes[event.anchor] = self._built - before
        return value

    def _aliased(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            self._problem(event, f"there is no anchor &{event.anchor} before this place")
            return None
        self._built += self._sizes[event.anchor]
        self._repeated += self._sizes[event.anchor]
        if self._repeated > _MOST_REPEATED:
            self._problem(event, "aliases repeat more here than any configuration needs")
            raise _BrokenError
        return self._anchors[event.anchor]

    def _mapping(self, start: Any) -> Map:
        built = Map(self._file, start.start_mark.line + 1)
        merged: list[Any] = []
        while not isinstance(event := self._next(), yaml_events.MappingEndEvent):
            key, line = self._key(event, built.lines)
            value = self._build(self._next())
            if key == "<<":
                merged.extend(value if isinstance(value, list) else [value])
                del built.lines[key]
            else:
                built[key] = value
                built.lines[key] = line
        for source in merged:
            if not isinstance(source, Map):
                self._problem(start, "<< should name a mapping")
                continue
            for key, value in source.items():
                if key not in built:
                    built[key] = value
                    built.lines[key] = source.lines[key]
        return built

    def _sequence(self, start: Any) -> Seq:
        built = Seq(self._file, start.start_mark.line + 1)
        while not isinstance(event := self._next(), yaml_events.SequenceEndEvent):
            built.append(self._build(event))
            built.lines.append(event.start_mark.line + 1)
        return built

    def _key(self, event: Any, seen: dict[str, int]) -> tuple[str, int]:
        if not isinstance(event, yaml_events.ScalarEvent):
            self._problem(event, "a key should be plain text")
            raise _BrokenError
        key, line = cast(str, event.value), event.start_mark.line + 1
        if key in seen:
            self._problem(event, f"key {key!r} stands here a second time (first on line {seen[key]})")
        seen.setdefault(key, line)
        return key, line

    def _scalar(self, event: Any) -> Any:
        if event.implicit[0]:
            return _plain(event)
        tag = str(event.tag) if event.tag is not None else ""
        if tag and not event.implicit[1] and tag not in {"tag:yaml.org,2002:str", "!!str", "!"}:
            self._problem(event, "tags have no meaning here")
        return event.value

    def _problem(self, event: Any, what: str) -> None:
        self._problems.append(Problem(f"{self._file}:{event.start_mark.line + 1}", what))


def _said(error: MarkedYAMLError) -> str:
    return str(error.problem or error.context)


def _plain(event: Any) -> Any:
    """What an unquoted scalar means."""
    text = cast(str, event.value)
    if not event.implicit[0]:
        return text
    if text in _FIXED:
        return _FIXED[text]
    if text[0].isalpha() or text[0] == "/":
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


def _events(text: str) -> Callable[[], Any]:
    """What gives the parser's next event. The compiled parser knows an older YAML, in which text between brackets holds no
    colon (``[Zone.DNS:Edit]``): at the first such text the slower one goes on from there."""
    if CParser is None:
        return _slowly(text, 0)
    source, given = CParser(text).get_event, 0

    def following() -> Any:
        nonlocal source, given
        try:
            event = source()
        except MarkedYAMLError as error:
            if given < 0 or error.problem != _COLON:
                raise
            source, given = _slowly(text, given), -1
            return source()
        given += given >= 0
        return event

    return following


def _slowly(text: str, passed: int) -> Callable[[], Any]:
    following: Callable[[], Any] = iter(YAML(typ="safe", pure=True).parse(text)).__next__
    for _ in range(passed):
        following()
    return following


def plain(value: Any) -> Any:
    """A copy without lines."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def place_of(value: Any, where: tuple[str | int, ...], otherwise: str) -> str:
    """``file:line`` of the innermost part of ``value`` that ``where`` leads to; ``otherwise`` where it has no lines."""
    place = otherwise
    if isinstance(value, (Map, Seq)):
        place = f"{value.file}:{value.line}"
    for step in where:
        line = _line_of(value, step)
        if line is None:
            break
        file = value.files[str(step)] if isinstance(value, Merged) else value.file
        place, value = f"{file}:{line}", value[step]
    return place


def _line_of(value: Any, step: str | int) -> int | None:
    if isinstance(value, Map) and isinstance(step, str):
        return value.lines.get(step)
    if isinstance(value, Seq) and isinstance(step, int) and step < len(value):
        return value.lines[step]
    return None
