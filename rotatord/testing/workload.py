"""A workload that reads several credentials and is restarted as a whole; each credential sees it as a consumer of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rotatord.errors import Retryable
from rotatord.ports import Published
from rotatord.testing.consumer import FakeConsumer


class FakeWorkload(FakeConsumer):
    """One credential's part of a workload. Parts that ``join`` restart together: new instances come up, old ones drain."""

    def __init__(self, *arguments: Any, gather: float = 5.0, **settings: Any) -> None:
        super().__init__(*arguments, evidence="rollout", **settings)
        self.gather = gather
        self.parts: list[FakeWorkload] = [self]
        self.restarts = 0

    def last_restart(self, published: Published) -> str:
        self._enter("last_restart", label=published.label)
        if self.hangs:
            raise Retryable(f"{self.name} does not answer")
        return f"restart-{self.restarts}"

    def reload(self, published: Published) -> None:
        if published.restart_seen and published.restart_seen != f"restart-{self.restarts}":
            self._enter("reload", token=published.token, label=published.label)
            return
        new = published.token not in self.tokens
        super().reload(published)
        if new:
            self._restarted(published)

    def rollout(self) -> None:
        """Somebody else restarts it."""
        for part in self.parts:
            part.restarts += 1
            part.restart()

    def _restarted(self, published: Published) -> None:
        for part in self.parts:
            part.restarts += 1
            if part is not self and part.applies_after is not None:
                for copy in part.copies:
                    if copy.ends_at is None:
                        copy.loads_at = part.clock.outside() + part.applies_after
                part.tick()


def join(parts: Sequence[FakeWorkload]) -> None:
    """Make these the parts of one workload."""
    for part in parts:
        part.parts = list(parts)
