"""What goes wrong, and when: a plan by operation, counted call by call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rotatord.testing.aws.errors import COMMON
from rotatord.testing.plans import Plan
from rotatord.testing.wires import CutOff, Dropped, Garbled, Hangs, Late, Slow


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


class Faults(Plan[Fault]):
    """The plan. ``operation`` is ``service:Operation``, or ``service:*``, or ``*``. Thread-safe."""
