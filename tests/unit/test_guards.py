"""What an issuer hands out: each guard refuses one kind of it, and no guard what is right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rotatord.guards import GUARDS, Candidate
from rotatord.ports import Minted, Traits
from rotatord.secret import Secret

NOW = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
GOOD = "hvs.CAESIJ3kd83jdHHs8"
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqh\n-----END KEY-----\n"


def candidate(
    value: str = GOOD, *, traits: dict[str, Any] | None = None, ttl: timedelta | None = None, **changes: Any
) -> Candidate:
    minted = Minted(**{"ref": "ref-1", "fields": Secret({"token": value}), **changes.pop("minted", {})})
    declared = Traits(**{"fields": ("token",), "high_entropy": ("token",), **(traits or {})})
    given = {"fingerprint": "new", "replaced": "old", "ttl": ttl, "now": NOW}
    return Candidate(minted=minted, traits=declared, **{**given, **changes})


FORM = {"forms": {"token": r"hvs\.[A-Za-z0-9]{16,}"}}
EXPIRY = {"expiry": True}
BAD: tuple[tuple[str, Candidate], ...] = (
    ("complete", candidate(traits={"fields": ("token", "id")})),
    ("whole", candidate("   ")),
    ("whole", candidate("hvs.abc")),
    ("whole", candidate("*" * 40)),
    ("whole", candidate("<REDACTED>")),
    ("whole", candidate("half\0of-it-is-gone")),
    ("whole", candidate("not-utf-8-\ufffd\ufffd-any-more")),
    ("whole", candidate("hvs.CAESIJ", traits=FORM)),
    ("changed", candidate(fingerprint="old")),
    ("alive", candidate(minted={"expires_at": NOW - DAY})),
    ("named", candidate(minted={"ref": ""})),
    ("mortal", candidate(traits={"revocable": False})),
    ("mortal", candidate(traits=EXPIRY, ttl=DAY)),
    ("mortal", candidate(traits=EXPIRY, ttl=DAY, minted={"expires_at": NOW + 2 * DAY})),
)


@pytest.mark.parametrize(("name", "bad"), BAD)
def test_a_guard_refuses(name: str, bad: Candidate) -> None:
    """It is refused, by that guard alone, and the sentence does not quote the value."""
    said = GUARDS.problem(bad)
    assert said
    assert bad.minted.fields.reveal("token") not in said or not bad.minted.fields.reveal("token").strip()
    assert GUARDS.without(name).problem(bad) == ""


def test_every_guard_refuses_something() -> None:
    """None is there that no value meets."""
    assert {guard.name for guard in GUARDS.guards} == {name for name, _ in BAD}


@pytest.mark.parametrize(
    "good",
    [
        candidate(),
        candidate(replaced=""),
        candidate(PEM),
        candidate("app", traits={"high_entropy": ()}),
        candidate("hvs.CAESIJ3kd83jdHHs8", traits=FORM),
        candidate(ttl=DAY),  # an issuer that cannot give an end is asked for none
        candidate(traits=EXPIRY),
        candidate(traits=EXPIRY, ttl=DAY, minted={"expires_at": NOW + DAY}),
        candidate(traits=EXPIRY, ttl=timedelta(minutes=1), minted={"expires_at": NOW + timedelta(minutes=10)}),
        candidate(traits=EXPIRY, ttl=DAY, minted={"expires_at": NOW + 30 * DAY, "renew_at": NOW + DAY}),
        candidate(traits={"revocable": False}, minted={"expires_at": NOW + DAY}),
    ],
)
def test_what_is_right_passes(good: Candidate) -> None:
    """Keys over many lines, names, rounded and periodic lives, and first versions are no problem."""
    assert GUARDS.problem(good) == ""
