"""Pages of lists: a token that says where the next one begins, and is refused when it is made up."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from rotatord.testing.aws.errors import AwsError


def cut(items: Sequence[Any], token: str | None, size: int, made_up: AwsError) -> tuple[list[Any], str | None]:
    """One page, and the token of the next; ``made_up`` is raised for a token that is not ours."""
    start = 0 if not token else _read(token, made_up)
    end = start + size
    following = base64.b64encode(f"from {end}".encode()).decode() if end < len(items) else None
    return list(items[start:end]), following


def _read(token: str, made_up: AwsError) -> int:
    try:
        word, _, number = base64.b64decode(token, validate=True).decode().partition(" ")
        if word == "from":
            return int(number)
    except ValueError:
        pass
    raise made_up
