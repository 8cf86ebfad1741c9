"""Finds secrets that were written into the configuration instead of a reference. Pure; never shows what it found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

WHAT = "a secret itself stands here: write a reference such as {file: path}, {env: NAME} or {vault: path, key: name}"
_NAMED = re.compile(
    r"(?:^|_)(?:token|password|passwd|secret|secret_id|api_?key|private_key|secret_key|access_key)$", re.IGNORECASE
)
_SHAPED = re.compile(
    r"hv[sbr]\.[\w-]{20,}|s\.[A-Za-z0-9]{24}$|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|(?:AKIA|ASIA)[0-9A-Z]{16}$"
    r"|xox[baprs]-[\w-]{10,}|sk_live_\w{10,}|npm_\w{20,}|whsec_[\w+/=]{16,}|eyJ[\w-]{10,}\.eyJ|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_SHORTEST = 16
_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:(?!\{\w+\}@)[^/\s@]+@")  # not where a template puts it


def is_named_like_secret(key: object) -> bool:
    """Whether a key's name says that its value is a secret."""
    return isinstance(key, str) and _NAMED.search(key) is not None


def find(value: Any, where: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The places in ``value`` that hold what must be a secret."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from find(item, (*where, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from find(item, (*where, index))
    elif isinstance(value, str) and is_secret(value, where):
        yield where


def is_secret(value: str, where: tuple[str | int, ...]) -> bool:
    """Whether text is a secret by its shape, or by its place and its randomness."""
    if len(value) < _SHORTEST:
        return False
    if _SHAPED.match(value) or _IN_URL.match(value):
        return True
    return bool(where) and is_named_like_secret(where[-1]) and _looks_random(value)


def _looks_random(value: str) -> bool:
    return (
        len(value) >= 16 and not re.search(r"[\s/{]", value) and any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    )
