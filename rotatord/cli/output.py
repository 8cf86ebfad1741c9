"""What commands print: tables for people, JSON and YAML for programs; plain columns where no terminal is."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any


class Form(StrEnum):
    """The forms of ``-o``."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def emit(body: Any, form: Form) -> None:
    """Print a document for programs."""
    if form is Form.YAML:
        from ruamel.yaml import YAML  # noqa: PLC0415 - a fifth of the start-up time that --help may take

        yaml = YAML()
        yaml.default_flow_style = False
        yaml.width = 4096
        yaml.dump(body, sys.stdout)
    else:
        line(json.dumps(body, indent=2, ensure_ascii=False))


def line(text: str) -> None:
    """One line to stdout."""
    sys.stdout.write(text + "\n")


def remark(text: str) -> None:
    """One line to stderr: what a person should know beside the answer."""
    sys.stderr.write(text + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal, aligned columns elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - only where it is looked at
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        drawn = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            drawn.add_column(column)
        for row in rows:
            drawn.add_row(*(Text(printable(cell)) for cell in row))
        Console().print(drawn)
        return
    cells = [columns, *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def printable(text: str) -> str:
    """Text of others without control characters: an error message must not steer the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def moment(text: str | None, now: str | None, absent: str = "-") -> str:
    """A time as people say it: ``in 3d4h``, ``2h ago``."""
    if not text:
        return absent
    at = datetime.fromisoformat(text)
    if not now:
        return text
    from rotatord.durations import spell  # noqa: PLC0415

    distance = at - datetime.fromisoformat(now)
    rough = spell(abs(distance))
    parts = [rough[start:end] for start, end in _parts(rough)][:2]
    return f"in {''.join(parts)}" if distance.total_seconds() > 0 else f"{''.join(parts)} ago"


def _parts(text: str) -> list[tuple[int, int]]:
    ends = [
        index + 1 for index, character in enumerate(text) if character.isalpha() and not text[index + 1 : index + 2].isalpha()
    ]
    return list(zip([0, *ends], ends, strict=False))
