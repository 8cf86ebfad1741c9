"""Lengths of time as people write them: ``30d``, ``1h30m``, ``90s``, ``0``. Pure."""

from __future__ import annotations

import re
from datetime import timedelta

_UNIT_SECONDS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_FORM = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[wdhms]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[wdhms])")
LONGEST = timedelta(days=36500)


def parse(text: str) -> timedelta:
    """Units w, d, h, m, s, ms, largest first or not. Raises ValueError with a sentence."""
    compact = text.replace(" ", "").lower()
    if compact == "0":
        return timedelta(0)
    if not _FORM.fullmatch(compact):
        hint = f"; did you mean {compact}s?" if compact.isdigit() else ""
        raise ValueError(f"should be a length of time such as 30d, 1h30m or 90s{hint}")
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(compact))
    if seconds > LONGEST.total_seconds():
        raise ValueError("should be shorter than a hundred years")
    return timedelta(seconds=seconds)


def spell(length: timedelta) -> str:
    """The shortest form that :func:`parse` reads back, to the second; below a second in ms."""
    if length < timedelta(0):
        return f"-{spell(-length)}"
    seconds = int(length.total_seconds())
    if seconds == 0:
        return f"{length.microseconds // 1000}ms" if length.microseconds >= 1000 else "0s"
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, seconds = divmod(seconds, int(_UNIT_SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
