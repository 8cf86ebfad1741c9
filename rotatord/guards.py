"""What an issuer hands out is looked at before it is staged: named guards, each saying why a value must not be published.

Composed, like the gate, so that tests can build mint with one left out and show what then happens; nothing in
configuration, environment or a release can leave one out. No guard quotes a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from rotatord.ports import Minted, Traits

SOON = timedelta(seconds=1)
LEAST_CHARACTERS = 8  # of a field that its issuer calls high in entropy
# An issuer may round up what was asked for; beyond this it gave something else. Ten minutes is the least that some give.
ROUNDING, ROUNDING_SHARE = timedelta(minutes=15), 0.1
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffd]")  # control characters, and what stands for broken text
_REDACTED = re.compile(r"(.)\1*|[<\[{(]*(redacted|masked|hidden|null|none|undefined|changeme)[>\]})]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What was minted, and what is known of it."""

    minted: Minted
    fingerprint: str
    replaced: str  # the fingerprint of the version that it is to replace; "" where there is none
    traits: Traits
    ttl: timedelta | None  # the life that was asked for
    now: datetime


@dataclass(frozen=True, slots=True)
class Guard:
    """One named question; the answer is the problem as a sentence, or ""."""

    name: str
    ask: Callable[[Candidate], str]


@dataclass(frozen=True, slots=True)
class Guards:
    """All that must have nothing to say."""

    guards: tuple[Guard, ...]

    def without(self, name: str) -> Guards:
        """For tests: the same with one left out."""
        kept = tuple(guard for guard in self.guards if guard.name != name)
        assert kept != self.guards, f"no guard {name!r}"
        return Guards(kept)

    def problem(self, candidate: Candidate) -> str:
        """What the first of them says; "" when nothing is wrong."""
        return next((said for guard in self.guards if (said := guard.ask(candidate))), "")


def complete(candidate: Candidate) -> str:
    """All fields, and no other."""
    names, wanted = candidate.minted.fields.names, candidate.traits.fields
    return "" if names == frozenset(wanted) else f"the issuer answered with fields {sorted(names)}, not {sorted(wanted)}"


def whole(candidate: Candidate) -> str:
    """No field is blank, cut off, masked, or text that was broken on its way."""
    fields, traits = candidate.minted.fields, candidate.traits
    for name in sorted(fields.names):
        value = fields.reveal(name)
        if not value.strip():
            return f"the issuer answered with a blank {name}"
        if _FORBIDDEN.search(value):
            return f"the issuer answered with a {name} that holds control characters or broken text"
        if name in traits.high_entropy and (len(value) < LEAST_CHARACTERS or _REDACTED.fullmatch(value)):
            return f"the issuer answered with a {name} that is too short or masked: it is no secret"
        form = traits.forms.get(name)
        if form is not None and not re.fullmatch(form, value, re.DOTALL):
            return f"the issuer answered with a {name} that does not have the form of its values: it may be cut off"
    return ""


def changed(candidate: Candidate) -> str:
    """It is not the value that it is to replace."""
    same = candidate.replaced != "" and candidate.replaced == candidate.fingerprint
    return "the issuer answered with the value that is to be replaced" if same else ""


def alive(candidate: Candidate) -> str:
    """It has not expired."""
    ends = candidate.minted.expires_at
    over = ends is not None and ends <= candidate.now + SOON
    return f"the issuer answered with a version that expired at {ends.isoformat()}" if over and ends is not None else ""


def named(candidate: Candidate) -> str:
    """There is an id by which it can be ended."""
    return "" if candidate.minted.ref else "the issuer answered without an id by which the version could be revoked"


def mortal(candidate: Candidate) -> str:
    """It ends when it was asked to, or can be ended: what outlives its policy and cannot be revoked is never handed on."""
    minted, traits, ttl = candidate.minted, candidate.traits, candidate.ttl
    if minted.expires_at is None and not traits.revocable:
        return "the issuer answered with a version that never ends and cannot be revoked"
    if ttl is None or not traits.expiry or minted.renew_at is not None:  # a periodic one ends when it is not renewed
        return ""
    if minted.expires_at is None:
        return "the issuer answered with a version that never expires, although a ttl was asked for"
    latest = candidate.now + max(ttl, traits.shortest_life) * (1 + ROUNDING_SHARE) + ROUNDING
    if minted.expires_at > latest:
        return f"the issuer answered with a version that lives until {minted.expires_at.isoformat()}, longer than its ttl"
    return ""


GUARDS = Guards(
    (
        Guard("complete", complete),
        Guard("whole", whole),
        Guard("changed", changed),
        Guard("alive", alive),
        Guard("named", named),
        Guard("mortal", mortal),
    )
)
