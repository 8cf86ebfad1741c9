"""The old one outlived its time, or nobody watched."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from rotatord.commands import CommandError, parse
from rotatord.guards import GUARDS
from rotatord.ledger import entry, settle
from rotatord.machine import Step
from rotatord.model import Owing, Record
from rotatord.ops import Context, Unit
from rotatord.ops import with_rotation as changed
from rotatord.pauses import PAUSED
from rotatord.ports import Minted, MintRequest
from rotatord.replacing import replace
from rotatord.saga import STEPS
from rotatord.secret import Secret
from rotatord.steps.mint import mint
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.simulator import Simulator
from rotatord.watchdog import Watchdog
from tests.incidents.retold import replayed, steps
from tests.simulation.scenarios import NAME
from tests.simulation.stage import staged

DAY = timedelta(days=1)


def told(sim: Simulator, kind: str) -> list[datetime]:
    """When people were told something of this kind."""
    return [notice.at for notice in sim.journal.notices(sim.world.clock.now() + 400 * DAY, 1000) if notice.kind == kind]


def nothing_happens(sim: Simulator, days: int, watched: bool) -> None:
    """Time passes, and the engine does nothing at all: nothing is claimed, nothing rotated."""
    dog = Watchdog(sim.journal, sim.world.clock, sim.world.ids)
    for _ in range(days * 24):
        sim.world.clock.advance(3600.0)
        if watched:
            dog.look()


def test_storm_0558() -> None:
    """Microsoft, Storm-0558, 2023: a signing key of 2016 still worked, because rotation had been paused after an outage and
    nothing watched the age of keys. Here a watchdog that trusts no scheduler tells of what is too old."""

    def story(watched: bool = True) -> list[str]:
        sim, _ = staged(rules={"max_age": 90 * DAY})
        minted = sim.world.clock.now()
        nothing_happens(sim, 120, watched)
        return [] if any(at - minted < 110 * DAY for at in told(sim, "overdue")) else ["too old, and nobody knows"]

    replayed(story, watched=False)


def test_storm_0558_a_pause_is_not_forgotten() -> None:
    """The same: a pause that nobody ends is told of every day."""

    def story(watched: bool = True) -> list[str]:
        sim, _ = staged()
        sim.journal.set_fact(PAUSED, "by uid:0(tester): after the outage")
        nothing_happens(sim, 7, watched)
        return [] if len(told(sim, "paused")) >= 6 else ["paused, and nobody knows"]

    replayed(story, watched=False)


def test_storm_0558_a_hold_ends_and_has_an_owner() -> None:
    """The same: there is no hold without an end, none without an owner, and none that has ended already; when one has
    ended, the rotation that it held up starts."""
    for arguments in ({"owner": "me"}, {"until": "2030-01-01T00:00:00Z"}):
        with pytest.raises(CommandError):
            parse("hold", NAME, "uid:0(tester)", arguments)
    sim, _ = staged(rules={"max_age": 2 * DAY})
    assert sim.request("hold", NAME, owner="me", until=sim.world.clock.now().isoformat())
    assert not sim.request("hold", NAME, owner="me", until=(sim.world.clock.now() + 3 * DAY).isoformat())
    sim.run(3 * 24 * 3600.0 - 60.0)
    assert sim.record(NAME).generation == 1
    sim.run(3600.0)
    assert sim.record(NAME).generation == 2


def test_github_march_2025() -> None:
    """GitHub, 29 March 2025: an internal credential expired, noticed after two days. Here people hear of it days ahead,
    three times, also when nothing runs but the watchdog."""
    sim, _ = staged(issuer={"expiry": True}, rules={"ttl": 30 * DAY, "max_age": None})
    sim.world.issuers["issuer"].deny("mint")
    sim.run(29 * 24 * 3600.0)
    assert told(sim, "expiring")

    def story(watched: bool = True) -> list[str]:
        sim, _ = staged(issuer={"expiry": True}, rules={"ttl": 30 * DAY, "max_age": None})
        current = sim.record(NAME).current
        assert current is not None
        assert current.expires_at is not None
        nothing_happens(sim, 32, watched)
        before = [at for at in told(sim, "expiring") if at < current.expires_at]
        return [] if len(before) == 3 else ["about to expire, and nobody knows"]

    replayed(story, watched=False)


def test_snowflake_2024() -> None:
    """Snowflake's customers, 2024: stolen passwords of 2020 still worked. Here the greatest age has no silent exemption:
    what failures, backoff and holds keep from being replaced is told of, also when it is left to a person."""

    def story(watched: bool = True) -> list[str]:
        sim, _ = staged(rules={"max_age": 90 * DAY})
        sim.world.issuers["issuer"].deny("mint")
        sim.run(95 * 24 * 3600.0)
        assert sim.record(NAME).held_for_person
        nothing_happens(sim, 20, watched)
        return [] if told(sim, "overdue") else ["too old, and nobody knows"]

    replayed(story, watched=False)


class ForgetsOnce(FakeIssuer):
    """Says yes to the first revocation, and does nothing."""

    forgotten = False

    def revoke(self, ref: str, fields: Secret | None, parameters: Any) -> None:
        if self.forgotten:
            super().revoke(ref, fields, parameters)
        else:
            self._enter("revoke", ref=ref)
            self.forgotten = True


def _believes_the_answer(ctx: Context, record: Record, key: str) -> Unit:
    """A ledger for which a version is dead because somebody said so."""
    debt = entry(record, key)
    owed = tuple(replace(item, owing=Owing.DEAD) if item.owing is Owing.REVOKED else item for item in debt.owed)
    ledger = tuple(replace(debt, owed=owed) if item.key == key else item for item in record.ledger)
    return (yield from settle(ctx, replace(record, ledger=ledger), key))


def test_zscaler_2025() -> None:
    """Zscaler in Salesloft Drift, August 2025: a product was retired, its token was left alive. Here retiring revokes, and
    is over only when the issuer refuses the value or does not know it any more."""

    def story(**left_out: Any) -> list[str]:
        sim, _ = staged(kind=ForgetsOnce, consumer={"excused": True}, **left_out)
        assert not sim.request("retire", NAME, reason="the product is gone")
        sim.run(3600.0)
        return [f"{item.ref} lives" for item in sim.world.issuers["issuer"].live(NAME)]

    replayed(story, parts={"settle": _believes_the_answer})


def _without_deadline(step: Step, ctx: Context, record: Record) -> Unit:
    """A step that waits for proof as long as it takes, whatever leaked."""
    return (yield from STEPS[step](ctx, changed(record, hard_deadline=None)))


def test_internet_archive_2024() -> None:
    """Internet Archive, 2024, and xAI, 2025: tokens known to have leaked worked for months. Here a leak mark starts a clock:
    at its end the version dies although a consumer has not moved, on record."""

    def story(**left_out: Any) -> list[str]:
        sim, _ = staged(kind=FakeIssuer, rules={"compromised_deadline": timedelta(minutes=15)}, **left_out)
        app = sim.world.consumers["app"]
        app.applies_after, app.excused = None, True
        sim.request("rotate", NAME, reason="compromised")
        sim.run(30 * 60.0)
        return ["it leaked, and works"] if sim.world.issuers["issuer"].accepts("issuer-ref-1") else []

    patient = {step: partial(_without_deadline, step) for step in (Step.RELOAD, Step.VERIFY, Step.AUTHORISE)}
    replayed(story, parts=steps(patient))


class Immortal(FakeIssuer):
    """Gives what lives until 2051, whatever was asked for."""

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        minted = super().mint(request, proposed)
        if request.generation == 1:
            return minted
        end = datetime.fromisoformat("2051-10-06T00:00:00+00:00")
        self.versions[minted.ref].expires_at = end
        return replace(minted, expires_at=end)


def test_microsoft_38_tb_2023() -> None:
    """Microsoft's 38 TB, 2023: a token for a whole account, valid until 2051, that could not be revoked by itself. Here what
    outlives the life that was asked for is refused, and ended again, before anybody sees it."""

    def story(guards: Any = GUARDS) -> list[str]:
        parts = steps({Step.MINT: partial(mint, guards=guards)})
        sim, _ = staged(kind=Immortal, issuer={"expiry": True}, rules={"ttl": 7 * DAY}, parts=parts)
        issuer = sim.world.issuers["issuer"]
        sim.request("rotate", NAME)
        sim.run(1800.0)
        shown = [showing.shown.fields for showing in sim.world.backends["store"].showings]
        refs = {issuer.ref_of(fields) for fields in shown if fields is not None}
        return sorted(ref for ref in refs if ref and (end := issuer.versions[ref].expires_at) and end.year > 2050)

    replayed(story, guards=GUARDS.without("mortal"))


def test_microsoft_38_tb_2023_what_cannot_be_ended() -> None:
    """The same: what neither ends by itself nor can be revoked is never handed on."""
    sim, _ = staged(issuer={"revocable": False})
    assert sim.record(NAME).current is None
    assert not sim.world.backends["store"].showings
