"""What the demo amounts to, asked of everybody who took part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rotatord.demo.story import Told
from rotatord.demo.world import World

FEWEST_REQUESTS = 300  # fewer would prove little


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is left when everything is quiet. Each figure comes from whoever cannot be fooled about it."""

    rotations: int
    completed: int  # the journal's
    rolled_back: int
    requests: int  # the senders'
    refused: int  # the worst of the senders', the consumer's and the forecasts' figures
    left_over: int  # live at the issuer beyond the one that the consumer runs on
    wrong: tuple[str, ...] = ()  # what else does not add up

    @property
    def good(self) -> bool:
        counted = (self.rotations, self.completed, self.rolled_back) == (3, 2, 1)
        return counted and self.requests >= FEWEST_REQUESTS and not self.refused and not self.left_over and not self.wrong

    def line(self) -> str:
        """The last line of the demo."""
        return (
            f"demo: {self.rotations} rotations, {self.completed} completed, {self.rolled_back} rolled back, "
            f"{self.requests} requests, {self.refused} refused, {self.left_over} live tokens left over"
        )


class Books(Protocol):
    """What rotatord and the issuer have written down."""

    def current_label(self) -> str: ...
    def live_tokens(self) -> int: ...
    def not_quiet(self) -> Sequence[str]: ...


def account(world: World, books: Books, told: Sequence[Told]) -> Account:
    """Ask everybody, after the last request has been answered. Raises DemoError."""
    people, consumer, forecasts = world.people, world.consumer.ask("/stats"), world.forecasts.ask("/stats")
    wrong = []
    if (consumer["served"], consumer["failed"]) != (people.requests - people.refused, people.refused):
        wrong.append(f"the consumer counts {consumer['served']} served, {consumer['failed']} failed")
    if forecasts["granted"] != consumer["served"]:
        wrong.append(f"the forecasts were granted {forecasts['granted']} times")
    running = world.running()
    current = books.current_label()
    if running != current:
        wrong.append(f"the consumer runs on {running}, but the current version is {current}")
    wrong.extend(books.not_quiet())
    return Account(
        rotations=len(told),
        completed=sum(row.ending == "completed" for row in told),
        rolled_back=sum(row.ending == "rolled back" for row in told),
        requests=people.requests,
        refused=max(people.refused, consumer["failed"], forecasts["refused"]),
        left_over=books.live_tokens() - 1,
        wrong=tuple(wrong),
    )
