"""Stop at a failure rate: when the rotations of many credentials of one issuer fail, the next ones wait for a person.

One credential that fails again and again is held back by its own backoff; what is counted here is how many *different* ones
ended badly last. Kept in the journal, so that replicas and restarts know it; one more read for each rotation that ends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

from rotatord.model import Reason, Record, State
from rotatord.ops import Context, Done, Unit, commit
from rotatord.policy import FAILURE_RATE, Due
from rotatord.replacing import replace
from rotatord.steps.plan import plan

FACT, TOLD = "breaker:", "breaker_told:"
WINDOW = 10  # the credentials of an issuer whose last rotations are remembered
MOST = 5  # of them that may have failed before nothing new begins there by itself
PASSING = frozenset({Reason.COMPROMISED, Reason.EXPIRING})  # waiting would do more harm than another failure


class Facts(Protocol):
    """As much of the journal as is needed here."""

    def fact(self, key: str) -> str | None: ...

    def set_fact(self, key: str, value: str | None) -> None: ...


@dataclass(frozen=True, slots=True)
class Breakers:
    """One for each issuer. It opens when ``most`` of its last credentials failed, and closes as they succeed again."""

    facts: Facts
    window: int = WINDOW
    most: int = MOST

    def note(self, before: Record, after: Record) -> None:
        """Remember how a rotation ended between these two, if one did."""
        rotation = before.rotation
        if rotation is None or rotation.halt is not None:
            return
        halted = after.rotation is not None and after.rotation.id == rotation.id and after.rotation.halt is not None
        ended = after.last is not None and after.last.id == rotation.id and after.rotation is None
        if not halted and not ended:
            return
        good = ended and after.last is not None and after.last.state is State.COMPLETED
        issuer = rotation.plan.issuer
        known = self._known(issuer)
        if good and not known:
            return  # the common case: nothing failed lately, and nothing is written
        if good and self.facts.fact(TOLD + issuer) is not None:
            self.facts.set_fact(TOLD + issuer, None)
        known.pop(after.name, None)
        lately = dict([*known.items(), (after.name, good)][-self.window :])
        self.facts.set_fact(FACT + issuer, None if all(lately.values()) else json.dumps(lately))

    def why(self, record: Record, due: Due) -> str:
        """Why nothing new begins for this credential without a person; "" when it may."""
        if due.reason in PASSING or due.check == "manual":
            return ""
        issuer = record.spec.issuer
        failed = [name for name, good in self._known(issuer).items() if not good and name != record.name]
        if len(failed) < self.most:
            return ""
        return (
            f"{FAILURE_RATE}: the last rotations of {len(failed)} other credentials of {issuer} failed ({', '.join(failed)}); "
            f"`rotate` one of those when it is mended, then `resume` this"
        )

    def untold(self, issuer: str) -> bool:
        """Whether nobody has been told yet that it is open: thousands may come due meanwhile."""
        return self.facts.fact(TOLD + issuer) is None

    def told(self, issuer: str) -> None:
        """Somebody has been."""
        self.facts.set_fact(TOLD + issuer, "yes")

    def _known(self, issuer: str) -> dict[str, bool]:
        """Its last credentials, oldest first, and whether their rotations ended well; nothing when all did."""
        known = self.facts.fact(FACT + issuer)
        return dict(json.loads(known)) if known else {}


def begin(ctx: Context, record: Record, due: Due, breakers: Breakers) -> Unit:
    """Plan the rotation, or leave it to a person."""
    why = breakers.why(record, due)
    return _hold(ctx, record, why, breakers) if why else plan(ctx, record, due)


def _hold(ctx: Context, record: Record, why: str, breakers: Breakers) -> Unit:
    """Leave it to a person. The first one is told of to whoever hears of notices, and that it was told is noted after the
    notice is stored: killed in between it is told twice, not never."""
    tell = breakers.untold(record.spec.issuer)
    event = ctx.event(record, "rotation.held", "done", record.current, why=why)
    notice = ctx.notice(record, "halted", f"{record.name}: {why}", code="failure_rate")
    notices = (notice,) if tell else ()
    record = yield from commit(replace(record, held_for_person=why), event, notices=notices)
    if tell:
        breakers.told(record.spec.issuer)
    return Done(record)
