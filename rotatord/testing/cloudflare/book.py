"""What happened: every call, every token that was made and ended, every refusal. The fake's own judgement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rotatord.testing.cloudflare.estate import Estate, Owner, Token


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as it ended. ``code`` is 0 where it succeeded. No values, no bodies."""

    at: datetime
    operation: str
    caller: str  # a token's id, "global key", or "" for nobody
    address: str
    agent: str
    status: int
    code: int
    fault: object = None
    landed: bool = True  # false while a late call waits


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to a token: minted, changed, disabled, enabled, rolled or deleted."""

    at: datetime
    what: str
    token: str
    name: str
    by: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that was refused although its token was made here: what a consumer would have suffered, and the truth of it."""

    at: datetime
    operation: str
    token: str
    name: str
    why: str
    code: int
    address: str
    working: bool  # whether the token should have been let in from somewhere then


class Book:
    """All of it, in order. Read it under the fake's lock, or when nothing is under way."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate
        self.calls: list[Call] = []
        self.changes: list[Change] = []
        self.refusals: list[Refusal] = []
        self.warnings: list[str] = []
        self.audit: list[Any] = []  # what the audit log shows

    # -- writing --

    def change(self, what: str, token: Token, by: str) -> None:
        self.changes.append(Change(self._estate.now(), what, token.id, token.name, by))

    def refuse(self, operation: str, token: Token, why: str, code: int, address: str) -> None:
        now = self._estate.now()
        self.refusals.append(Refusal(now, operation, token.id, token.name, why, code, address, token.works(now)))

    def warn(self, said: str) -> None:
        """What is taken, and unwise. Each once."""
        if said not in self.warnings:
            self.warnings.append(said)

    # -- judging --

    def minted(self, name: str = "") -> list[Token]:
        """Every token that was made through the API, gone or not, whose name begins so."""
        made = {change.token for change in self.changes if change.what == "minted"}
        return [token for token in self._estate.tokens.values() if token.id in made and token.name.startswith(name)]

    def live(self, name: str = "") -> list[Token]:
        """Tokens that are neither deleted nor expired, in truth. Disabled ones live."""
        now = self._estate.now()
        return [token for token in self._estate.tokens.values() if token.alive(now) and token.name.startswith(name)]

    def refused(self, token: str | None = None, *, working: bool | None = None) -> list[Refusal]:
        """Refusals of tokens made here. ``working``: only those of tokens that should have been let in, or should not."""
        return [one for one in self.refusals if token in (None, one.token) and (working is None or one.working is working)]

    def twice(self, of: Callable[[Token], str] = lambda token: token.name) -> dict[str, int]:
        """Of which there is more than one live token: names, or whatever ``of`` makes of a token, with their number."""
        counted = Counter(of(token) for token in self.live())
        return {what: count for what, count in counted.items() if count > 1}

    def used(self, token: str, *, agent: str = "") -> int:
        """How often a token was let in, by clients that call themselves so."""
        return sum(1 for use in self._estate.tokens[token].uses if agent in use.agent)

    def most(self, owner: Owner) -> int:
        """The most tokens that this owner ever had at one time."""
        return self._estate.most.get(owner, 0)

    def asked(self, operation: str) -> int:
        """How often, refused and failed calls included."""
        return sum(1 for call in self.calls if call.operation == operation)
