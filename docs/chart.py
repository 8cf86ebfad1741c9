"""The table of the chart's values, from the comments of values.yaml: those that begin with two dashes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

CHART = Path(__file__).resolve().parents[1] / "helm" / "rotatord"
_KEY = re.compile(r"( *)([A-Za-z][\w-]*):")
_COMMENT = re.compile(r" *# ?(.*)")


def table(text: str | None = None) -> str:
    """One row for each value that has a meaning of its own: its key, its default and the comment above it."""
    text = (CHART / "values.yaml").read_text() if text is None else text
    values = YAML(typ="safe").load(text)
    rows = "\n".join(f"| `{'.'.join(path)}` | {_default(values, path)} | {meaning} |" for path, meaning in described(text))
    return f"| value | default | meaning |\n|---|---|---|\n{rows}"


def described(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The keys that a comment stands above, each with it."""
    path: list[str] = []
    said: list[str] = []
    for line in text.splitlines():
        if comment := _COMMENT.fullmatch(line):
            if comment[1].startswith("-- "):
                said = [comment[1].removeprefix("-- ")]
            elif said:
                said.append(comment[1])
        elif key := _KEY.match(line):
            path = [*path[: len(key[1]) // 2], key[2]]
            if said:
                yield tuple(path), " ".join(said).replace("|", "\\|")
            said = []


def _default(values: Any, path: tuple[str, ...]) -> str:
    for key in path:
        values = values[key]
    return "" if values in (None, "", [], {}) else f"`{json.dumps(values, ensure_ascii=False)}`"
