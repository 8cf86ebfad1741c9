"""What goes wrong, and when: a plan by operation, counted call by call."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from rotatord.testing.aws.errors import COMMON


@dataclass(frozen=True)
class Refuse:
    """Answer with an error and do nothing."""

    code: str
    message: str = "refused by the plan of this test"
    status: int = 400
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fails:
    """Do it, then answer with an error all the same."""

    code: str = "InternalFailure"
    message: str = "We encountered an internal error. Please try again."
    status: int = 500


@dataclass(frozen=True)
class Dropped:
    """Do it, then hang up without an answer."""


@dataclass(frozen=True)
class Late:
    """Hang up (after ``held`` real seconds), and do it only when ``seconds`` have passed on the account's clock."""

    seconds: float
    held: float = 0.0


@dataclass(frozen=True)
class Hangs:
    """Do nothing and answer nothing for so many real seconds, then hang up."""

    seconds: float = 60.0


@dataclass(frozen=True)
class Slow:
    """Do it; the answer takes so many real seconds to arrive, a little at a time."""

    seconds: float


@dataclass(frozen=True)
class Garbled:
    """Do it, and answer with something that is not what was promised."""

    body: bytes = b"<html><body>502 Bad Gateway</body></html>"
    status: int = 200
    content_type: str = "text/html"


@dataclass(frozen=True)
class CutOff:
    """Do it, promise the whole answer, send half of it and hang up."""


Fault = Refuse | Fails | Dropped | Late | Hangs | Slow | Garbled | CutOff


def throttled(service: str = "", retry_after: int | None = None) -> Refuse:
    """A refusal for too many calls, in the words of the service."""
    code, status = _worded("throttled", service)
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Refuse(code, "Rate exceeded", status, headers)


def unavailable(service: str = "") -> Refuse:
    """503, in the words of the service."""
    code, status = _worded("unavailable", service)
    return Refuse(code, "The service is unavailable. Please try again.", status)


def _worded(what: str, service: str) -> tuple[str, int]:
    return COMMON[what]["query" if service in ("iam", "sts") else "json"]


@dataclass
class _Rule:
    operation: str
    fault: Fault
    first: int
    times: int | None


class Faults:
    """The plan. ``operation`` is ``service:Operation``, or ``service:*``, or ``*``. Thread-safe."""

    def __init__(self) -> None:
        self._rules: list[_Rule] = []
        self._seen: Counter[int] = Counter()
        self._lock = threading.Lock()
        self.struck: list[tuple[str, Fault]] = []

    def plan(self, operation: str, fault: Fault, *, nth: int = 1, times: int | None = 1) -> None:
        """From the ``nth`` call of the operation from now on, for ``times`` calls (None: until cleared)."""
        with self._lock:
            self._rules.append(_Rule(operation, fault, nth, times))

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()
            self._seen.clear()

    def strike(self, operation: str) -> Fault | None:
        """The fault of this call, if one is planned. Every call is counted by every rule that it fits."""
        service = operation.partition(":")[0]
        struck: Fault | None = None
        with self._lock:
            for rule in self._rules:
                if rule.operation not in (operation, f"{service}:*", "*"):
                    continue
                self._seen[id(rule)] += 1
                turn = self._seen[id(rule)]
                if struck is None and turn >= rule.first and (rule.times is None or turn < rule.first + rule.times):
                    struck = rule.fault
            if struck is not None:
                self.struck.append((operation, struck))
        return struck
