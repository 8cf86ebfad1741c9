"""Eventual consistency: a change is known to each replica of each service at its own moment, and never later than told.

A request is answered by one replica, drawn anew each time. So one success does not mean that a change has spread, and a
success may be followed by a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from rotatord.testing import register
from rotatord.testing.clock import SeededIds

T = TypeVar("T")
View = tuple[str, int]  # a service and one of its replicas
SERVICES = ("iam", "sts", "secretsmanager", "ssm")


@dataclass(frozen=True)
class Lags:
    """How many seconds a change may need at most before every replica has it. The hard bounds, told by ``longest``."""

    fresh_key: float = 0.0  # a new or re-activated key is refused meanwhile
    ended_key: float = 0.0  # a deactivated or deleted key is accepted meanwhile
    rights: float = 0.0  # a changed policy, boundary or attachment
    listing: float = 0.0  # what IAM's lists and gets show
    replication: float = 0.0  # a secret's copies in other regions
    wrong_words: float = 0.0  # the share of refusals of a fresh key that blame its signature instead
    last_used: float = 0.0  # GetAccessKeyLastUsed
    last_used_grain: float = 60.0  # its moments are whole multiples of this

    @property
    def longest(self) -> float:
        """After so many seconds without a change everybody sees the same."""
        return max(self.fresh_key, self.ended_key, self.rights, self.listing, self.replication)


AT_ONCE = Lags()
LIKE_AWS = Lags(fresh_key=15.0, ended_key=15.0, rights=20.0, listing=10.0, replication=10.0, wrong_words=0.2, last_used=900.0)


class Spread:
    """Draws when a change arrives where. Seeded: the same calls in the same order spread the same way."""

    def __init__(self, seed: int, lags: Lags, replicas: int) -> None:
        self._chance = SeededIds(f"spread {seed}")
        self.lags = lags
        self.replicas = replicas

    def replica(self) -> int:
        """Who answers the next request."""
        return int(self._chance.fraction() * self.replicas)

    def mistaken(self) -> bool:
        """Whether this refusal is in the wrong words."""
        return self.lags.wrong_words > 0 and self._chance.fraction() < self.lags.wrong_words

    def arrivals(self, now: datetime, at_most: float) -> Mapping[View, datetime]:
        """When a change made now arrives. One view, drawn too, needs nearly all of the time: the bound is met in tests."""
        views = [(service, replica) for service in SERVICES for replica in range(self.replicas)]
        last = views[int(self._chance.fraction() * len(views))]
        delays = {view: at_most * self._chance.fraction() for view in views}
        delays[last] = at_most * (0.9 + 0.1 * self._chance.fraction())
        return {view: now + timedelta(seconds=delay) for view, delay in delays.items()}


class Register(register.Register[T, View]):
    """A value as the replicas of the services hear of it."""
