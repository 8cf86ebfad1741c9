"""What goes wrong, and when: a plan by operation, counted call by call."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

F = TypeVar("F")


@dataclass
class _Rule(Generic[F]):
    operation: str
    fault: F
    first: int
    times: int | None


class Plan(Generic[F]):
    """Faults of a fake by the name of an operation, which may have ``*`` in it. Thread-safe."""

    def __init__(self) -> None:
        self._rules: list[_Rule[F]] = []
        self._seen: Counter[int] = Counter()
        self._lock = threading.Lock()
        self.struck: list[tuple[str, F]] = []

    def plan(self, operation: str, fault: F, *, nth: int = 1, times: int | None = 1) -> None:
        """From the ``nth`` call of the operation from now on, for ``times`` calls (None: until cleared)."""
        with self._lock:
            self._rules.append(_Rule(operation, fault, nth, times))

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()
            self._seen.clear()

    def strike(self, operation: str) -> F | None:
        """The fault of this call, if one is planned. Every call is counted by every rule that it fits."""
        struck: F | None = None
        with self._lock:
            for rule in self._rules:
                if not fnmatchcase(operation, rule.operation):
                    continue
                self._seen[id(rule)] += 1
                turn = self._seen[id(rule)]
                if struck is None and turn >= rule.first and (rule.times is None or turn < rule.first + rule.times):
                    struck = rule.fault
            if struck is not None:
                self.struck.append((operation, struck))
        return struck
