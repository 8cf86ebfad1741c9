"""What tests choose: how late news travels, and how the API behaves where reports of the real one differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeVar

from rotatord.testing import register
from rotatord.testing.clock import SeededIds

T = TypeVar("T")


@dataclass(frozen=True)
class Lags:
    """How many seconds news may need at most before every edge has it. ``longest`` is the hard bound."""

    fresh: float = 0.0  # a new, rolled or re-activated token is refused meanwhile
    ended: float = 0.0  # a deleted, disabled or rolled one is accepted meanwhile
    rights: float = 0.0  # changed policies, conditions and dates
    listing: float = 0.0  # what lists and gets show
    last_used: float = 0.0  # until a use shows
    last_used_grain: float = 1.0  # its moments are whole multiples of this

    @property
    def longest(self) -> float:
        """After so many seconds without a change everybody sees the same."""
        return max(self.fresh, self.ended, self.rights, self.listing)


AT_ONCE = Lags()
LIKE_CLOUDFLARE = Lags(fresh=8.0, ended=10.0, rights=30.0, listing=5.0, last_used=120.0)


@dataclass(frozen=True)
class Habits:
    """Where nobody has written down what the real API does, or two people saw two things. The first choice is the default."""

    # An IP condition with no address in it: the token is made and let in from nowhere, or it is not made.
    empty_condition: Literal["locks", "refused"] = "locks"
    condition_spelling: Literal["request_ip", "request.ip"] = "request_ip"  # in answers; both are understood
    # An update that says nothing of a condition: drops the one that there was, as it does with all else, or keeps it.
    omitted_condition: Literal["drops", "keeps"] = "drops"
    # Verify, asked with a token that is disabled, expired or used from elsewhere: tells its status, or refuses it.
    verify: Literal["tells", "refuses"] = "tells"
    # Whether an account's token that makes another must itself hold what it grants on single zones.
    creator_holds_zones: bool = False
    enterprise: bool = False  # accounts of the plan that can switch API access off


class Register(register.Register[T, int]):
    """A value as Cloudflare's edges hear of it."""


class Spread:
    """Draws when news arrives where. Seeded: the same calls in the same order spread the same way."""

    def __init__(self, seed: int, lags: Lags, edges: int) -> None:
        self._chance = SeededIds(f"edges {seed}")
        self.lags = lags
        self.edges = edges

    def edge(self) -> int:
        """Which one answers the next request."""
        return int(self._chance.fraction() * self.edges)

    def fraction(self) -> float:
        return self._chance.fraction()

    def arrivals(self, now: datetime, at_most: float) -> Mapping[int, datetime]:
        """When news of now arrives. One edge, drawn too, needs nearly all of the time: the bound is met in tests."""
        last = self.edge()
        delays = {edge: at_most * self._chance.fraction() for edge in range(self.edges)}
        delays[last] = at_most * (0.9 + 0.1 * self._chance.fraction())
        return {edge: now + timedelta(seconds=delay) for edge, delay in delays.items()}
