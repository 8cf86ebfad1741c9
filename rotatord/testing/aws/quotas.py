"""Request rates: a bucket per service and family of operations.

It is refilled by the account's clock, and where that stands still until it is told to move, by the real one too. On a clock
that was injected only that one counts: whether a call is refused must not hang on the speed of the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from rotatord.clock import SystemClock
from rotatord.testing.aws.errors import AwsError

_SECRET_WRITES = frozenset(
    {"PutSecretValue", "UpdateSecret", "UpdateSecretVersionStage", "CreateSecret", "DeleteSecret", "RestoreSecret"}
    | {"RotateSecret", "CancelRotateSecret", "TagResource", "UntagResource"}
    | {"ReplicateSecretToRegions", "RemoveRegionsFromReplication"}
)
_PARAMETER_WRITES = frozenset(
    {"PutParameter", "LabelParameterVersion", "UnlabelParameterVersion", "DeleteParameter", "DeleteParameters"}
)


def family(service: str, operation: str) -> str:
    """The name of the bucket that a call is drawn from."""
    writes = {"secretsmanager": _SECRET_WRITES, "ssm": _PARAMETER_WRITES}.get(service)
    if writes is None:
        return service
    return f"{service} {'writes' if operation in writes else 'reads'}"


_SAID = "Rate exceeded"


@dataclass(frozen=True)
class Rate:
    """So many calls a second; and so many at once, which is the same number unless said."""

    per_second: float
    at_once: float | None = None

    @property
    def most(self) -> float:
        return self.per_second if self.at_once is None else self.at_once


# Secrets Manager's are published; IAM's and STS's are not, and these are what one sees.
RATES: Mapping[str, Rate] = {
    "secretsmanager writes": Rate(50),
    "secretsmanager reads": Rate(10_000),
    "ssm writes": Rate(10),
    "ssm reads": Rate(40),
    "iam": Rate(100),
    "sts": Rate(600),
}


class Quotas:
    """The buckets. Called under the server's lock."""

    def __init__(self, rates: Mapping[str, Rate] = RATES, *, real: bool = True) -> None:
        self.rates = dict(rates)
        self._clock = SystemClock() if real else None
        self._left: dict[str, tuple[float, datetime, float]] = {}  # tokens, at the account's time, at the real time

    def draw(self, service: str, operation: str, now: datetime) -> None:
        """Take one call, or refuse it as the service does."""
        name = family(service, operation)
        rate, real = self.rates[name], self._clock.monotonic() if self._clock else 0.0
        left, then, then_real = self._left.get(name, (rate.most, now, real))
        passed = max((now - then).total_seconds(), real - then_real, 0.0)
        left = min(rate.most, left + passed * rate.per_second)
        if left < 1:
            self._left[name] = (left, now, real)
            raise AwsError("Throttling" if service in ("iam", "sts") else "ThrottlingException", _SAID, 400)
        self._left[name] = (left - 1, now, real)
