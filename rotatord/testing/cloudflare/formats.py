"""What credentials look like: a prefix that scanners know and a checksum since 2026, bare letters before."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from enum import StrEnum

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_OLD_LETTERS = _LETTERS + "_-"
_HEX = "0123456789abcdef"
_BODY = 40


class Kind(StrEnum):
    """The prefix of a credential."""

    USER_TOKEN = "cfut_"  # noqa: S105 - a prefix, published
    ACCOUNT_TOKEN = "cfat_"  # noqa: S105 - likewise
    GLOBAL_KEY = "cfk_"


# What a header may hold at all. Anything else is refused before it is looked up.
BEARER = re.compile(r"(?:cf(?:ut|at|oat)_)?[A-Za-z0-9_-]{40,200}")
KEY = re.compile(r"cfk_[A-Za-z0-9]{40}[0-9a-f]{8}|[0-9a-f]{37,45}")
EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def checksum(body: str) -> str:
    """CRC-32 of the forty characters after the prefix."""
    return f"{zlib.crc32(body.encode()):08x}"


def scannable(kind: Kind, fraction: Callable[[], float]) -> str:
    """A value as it is made today."""
    body = _drawn(_LETTERS, _BODY, fraction)
    return f"{kind.value}{body}{checksum(body)}"


def legacy(kind: Kind, fraction: Callable[[], float]) -> str:
    """A value as it was made before 2026. Such values still work."""
    if kind is Kind.GLOBAL_KEY:
        return _drawn(_HEX, 37, fraction)
    return _drawn(_OLD_LETTERS, _BODY, fraction)


def hexadecimal(fraction: Callable[[], float]) -> str:
    """An id, 32 characters."""
    return _drawn(_HEX, 32, fraction)


def _drawn(letters: str, count: int, fraction: Callable[[], float]) -> str:
    return "".join(letters[int(fraction() * len(letters))] for _ in range(count))
