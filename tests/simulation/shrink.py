"""Leave out of a failing seed whatever it fails without: credentials, deeds, crashes and faults, one by one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.simulation.seeds import CREDENTIALS, play

MOST_RUNS = 200
MOST_SECONDS = 30.0

Fails = Callable[[frozenset[str]], list[str]]


def shrunk(seed: int, problems: list[str], broken: dict[str, Any] | None = None) -> tuple[frozenset[str], list[str]]:
    """What can be left out, and the problems that remain. Greedy and bounded: small, not smallest. ``broken``: planted."""
    started, runs = time.monotonic(), 0
    left_out: frozenset[str] = frozenset()

    def still(without: frozenset[str]) -> list[str]:
        nonlocal runs
        runs += 1
        if runs > MOST_RUNS or time.monotonic() - started > MOST_SECONDS:
            return []
        return play(seed, without, **(broken or {})).problems

    for name in CREDENTIALS:
        left_out, problems = _without(still, left_out, frozenset({name}), problems)
    happened = play(seed, left_out, **(broken or {})).fleet.fates.happened
    size = max(len(happened) // 2, 1)
    while size:
        for start in range(0, len(happened), size):
            left_out, problems = _without(still, left_out, frozenset(happened[start : start + size]), problems)
        size //= 2
    return left_out, problems


def _without(
    still: Fails, left_out: frozenset[str], more: frozenset[str], problems: list[str]
) -> tuple[frozenset[str], list[str]]:
    if more <= left_out or len(frozenset(CREDENTIALS) - left_out - more) == 0:
        return left_out, problems
    remaining = still(left_out | more)
    return (left_out | more, remaining) if remaining else (left_out, problems)
