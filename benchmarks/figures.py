"""What a benchmark hands back: figures, each beside its goal and beside a bare loop of the same calls in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number. ``goal``: None where it is only shown. ``bare``: the same without rotatord, in the same unit."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_most: bool = True  # the goal is a ceiling; False: a floor
    bare: float | None = None
    note: str = ""
    facts: dict[str, Any] = field(default_factory=dict)  # sample counts, percentiles: for the JSON only

    @property
    def met(self) -> bool | None:
        """Whether the goal was met; None where there is none."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal


def percentile(samples: Sequence[float], percent: float) -> float:
    """The sample below which ``percent`` of all lie (nearest rank)."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def median(samples: Sequence[float]) -> float:
    """The middle sample."""
    return statistics.median(samples)
