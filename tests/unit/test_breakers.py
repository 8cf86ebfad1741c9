"""The breaker of an issuer counts different credentials, remembers few of them, and closes as they succeed again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from rotatord.breakers import Breakers, begin
from rotatord.model import Halt, Reason, Record, Rotation, Spec, State, Summary, Way
from rotatord.policy import Due
from rotatord.replacing import replace
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World

NOW = datetime(2026, 1, 5, tzinfo=UTC)


class Facts:
    """Facts in memory; ``written``: how often one was."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.written = 0

    def fact(self, key: str) -> str | None:
        return self.known.get(key)

    def set_fact(self, key: str, value: str | None) -> None:
        self.written += 1
        self.known.pop(key, None)
        if value is not None:
            self.known[key] = value


def record(name: str, issuer: str = "issuer") -> Record:
    return Record(name=name, spec=Spec(name=name, issuer=issuer))


def begun(quiet: Record) -> Rotation:
    """A rotation of it."""
    facts: dict[str, Any] = {
        "reason": Reason.DUE,
        "way": Way.FORWARD,
        "state": State.VERIFIED,
        "plan": quiet.spec,
        "base": None,
        "actor": "me",
    }
    return Rotation(id="rot", since=NOW, due_at=NOW, started_at=NOW, **facts)


def ended(breakers: Breakers, name: str, *, good: bool, issuer: str = "issuer") -> None:
    """One rotation of this credential ended."""
    quiet = record(name, issuer)
    rotation = begun(quiet)
    state = State.COMPLETED if good else State.ROLLED_BACK
    last = Summary(id="rot", reason=Reason.DUE, way=Way.FORWARD, state=state, started_at=NOW, finished_at=NOW)
    breakers.note(replace(quiet, rotation=rotation), replace(quiet, last=last))


def due(reason: Reason = Reason.DUE, check: str = "max_age") -> Due:
    return Due(now=True, reason=reason, check=check, at=NOW, why="")


def test_five_others_that_failed_stop_the_next() -> None:
    """Four do not; and another issuer's do not count."""
    breakers = Breakers(Facts())
    for number in range(4):
        ended(breakers, f"cred-{number}", good=False)
        ended(breakers, f"theirs-{number}", good=False, issuer="other")
    assert breakers.why(record("next"), due()) == ""
    ended(breakers, "cred-4", good=False)
    assert "failed" in breakers.why(record("next"), due())
    assert breakers.why(record("next", "other"), due()) == ""


@pytest.mark.parametrize(("reason", "check"), [(Reason.COMPROMISED, "compromised"), (Reason.EXPIRING, "expiring")])
def test_what_cannot_wait_does_not(reason: Reason, check: str) -> None:
    """Waiting would do more harm than another failure; and what a person asks for is done."""
    breakers = Breakers(Facts())
    for number in range(9):
        ended(breakers, f"cred-{number}", good=False)
    assert breakers.why(record("next"), due(reason, check)) == ""
    assert breakers.why(record("next"), due(Reason.MANUAL, "manual")) == ""


def test_one_that_fails_again_and_again_counts_once() -> None:
    """Its own backoff deals with it, and its own next try is not stopped: by it the breaker may close."""
    breakers = Breakers(Facts())
    for _ in range(20):
        ended(breakers, "the-same", good=False)
    assert breakers.why(record("next"), due()) == ""


def test_it_closes_when_they_succeed() -> None:
    """One that is seen through is one less; and old failures are forgotten among many successes."""
    breakers = Breakers(Facts())
    for number in range(5):
        ended(breakers, f"cred-{number}", good=False)
    ended(breakers, "cred-0", good=True)
    assert breakers.why(record("next"), due()) == ""
    for number in range(20):
        ended(breakers, f"fine-{number}", good=True)
    ended(breakers, "one-more", good=False)
    assert breakers.why(record("next"), due()) == ""


def test_where_nothing_fails_nothing_is_written() -> None:
    """The usual case costs no transaction, and neither does the usual case after old failures were forgotten."""
    facts = Facts()
    breakers = Breakers(facts)
    for number in range(50):
        ended(breakers, f"cred-{number}", good=True)
    assert facts.written == 0
    ended(breakers, "bad", good=False)
    for number in range(50):
        ended(breakers, f"cred-{number}", good=True)
    assert facts.known == {}
    assert facts.written < 15


def test_a_halt_is_a_failure_and_is_counted_once() -> None:
    """Stopped for a person: bad; what the person does with it afterwards is not counted against the issuer again."""
    facts = Facts()
    breakers = Breakers(facts)
    quiet = record("cred")
    rotation = begun(quiet)
    running = replace(quiet, rotation=rotation)
    halted = replace(running, rotation=replace(rotation, halt=Halt(code="bug", message="", at=NOW)))
    breakers.note(running, halted)
    breakers.note(halted, halted)
    assert facts.written == 1


def test_a_death_between_the_hold_and_its_notice_silences_nobody() -> None:
    """That people were told is noted after their notice is stored: whoever dies in between leaves it to be told again."""
    breakers = Breakers(Facts())
    for number in range(5):
        ended(breakers, f"cred-{number}", good=False)
    ctx = Simulator(World()).ctx
    died = begin(ctx, record("next"), due(), breakers)
    assert len(next(died).notices) == 1
    died.close()  # killed: nothing was stored
    again = begin(ctx, record("next"), due(), breakers)
    stored = next(again)
    assert len(stored.notices) == 1
    with pytest.raises(StopIteration):
        again.send(stored.record)
    assert next(begin(ctx, record("another"), due(), breakers)).notices == ()
