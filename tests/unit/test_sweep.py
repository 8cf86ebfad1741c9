"""Strays: reported when they are sure, never when they are ours, and no answer where nobody could look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from rotatord import apply
from rotatord.errors import Retryable
from rotatord.model import Debt, Notice, OwedVersion, Record, Spec, Standing, Version
from rotatord.ports import Amendment, LiveRef, MintRequest, Traits
from rotatord.sweep import Sweep
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import TellsInventory
from rotatord.testing.simulator import INSTALLATION, Simulator
from rotatord.testing.world import World

NAME = "cred"
FIVE_MINUTES = 300.0


@pytest.fixture
def sim() -> Simulator:
    """A world with one credential that is quiet."""
    world = World()
    world.add_issuer(kind=TellsInventory)
    world.add_backend()
    world.add_consumer("app", world.issuers["issuer"], world.destination(NAME))
    sim = Simulator(world)
    sim.declare(world.spec(NAME))
    sim.settle(NAME, 3600.0)
    assert sim.record(NAME).current is not None
    return sim


def sweep_of(sim: Simulator) -> Sweep:
    return Sweep(sim.journal, sim.world.clock, sim.world.ids, INSTALLATION)


def look(sim: Simulator, sweep: Sweep, times: int = 2) -> list[str]:
    """What is reported after so many looks, five minutes apart."""
    for _ in range(times):
        sim.world.clock.advance(FIVE_MINUTES)
        sweep.look(["issuer"], sim.world.plugins)
    return [stray.ref for stray in sweep.strays(["issuer"])]


def made(sim: Simulator, *, credential: str = NAME, rotation: str = "rot_unknown", installation: str = INSTALLATION) -> str:
    """A version that appears at the issuer without this journal's doing."""
    request = MintRequest(
        installation=installation, credential=credential, rotation=rotation, generation=9, scope={"read": "all"}, parameters={}
    )
    return sim.world.issuers["issuer"].issue(request).ref


def notices(sim: Simulator) -> Sequence[Notice]:
    return [notice for notice in sim.journal.notices(sim.world.clock.now(), 100) if notice.kind == "strays"]


def store(sim: Simulator, record: Record) -> None:
    sim.journal.amend(record.name, lambda _: Amendment(record=record))


def test_nothing_that_the_journal_knows_is_a_stray(sim: Simulator) -> None:
    """The current version of a quiet credential is none, however often it is seen."""
    assert look(sim, sweep_of(sim), 3) == []
    assert notices(sim) == []


def test_a_stray_is_told_when_it_was_seen_twice(sim: Simulator) -> None:
    """One look may have come between a mint and its journaling; two in a row make it sure, and it is told once."""
    ref, sweep = made(sim), sweep_of(sim)
    assert look(sim, sweep, 1) == []
    assert look(sim, sweep, 1) == [ref]
    assert look(sim, sweep, 3) == [ref]
    assert [ref in notice.text for notice in notices(sim)] == [True]
    assert sim.world.book.count("revoke") == 0, "a stray is never touched"


@pytest.mark.parametrize("installation", ["", "another"])
def test_what_others_made_is_not_ours_to_report(sim: Simulator, installation: str) -> None:
    """Versions without our label, or with another installation's, are nobody's business here."""
    made(sim, installation=installation)
    assert look(sim, sweep_of(sim)) == []


def test_a_stray_that_is_gone_is_no_longer_reported(sim: Simulator) -> None:
    """What somebody has removed vanishes from the answer with the next look."""
    ref, sweep = made(sim), sweep_of(sim)
    assert look(sim, sweep) == [ref]
    sim.world.issuers["issuer"].end(ref)
    assert look(sim, sweep, 1) == []


def test_a_restart_neither_hides_a_stray_nor_tells_it_again(sim: Simulator) -> None:
    """The first look of a new daemon keeps reporting what was reported, without another notice."""
    ref = made(sim)
    assert look(sim, sweep_of(sim)) == [ref]
    assert look(sim, sweep_of(sim), 1) == [ref]
    assert len(notices(sim)) == 1


def test_a_mint_in_flight_is_never_a_stray(sim: Simulator) -> None:
    """While a mint of the credential is unanswered, whatever bears its name may be that one."""
    sim.request("rotate", NAME)
    seen: list[str] = []
    issuer = sim.world.issuers["issuer"]
    mint, sweep = issuer.mint, sweep_of(sim)

    def slow(request: MintRequest, proposed: object) -> object:
        answer = mint(request, None)
        issuer.mint = mint  # type: ignore[method-assign]
        seen.extend(look(sim, sweep, 3))
        return answer

    issuer.mint = slow  # type: ignore[method-assign,assignment]
    sim.settle(NAME, 3600.0)
    assert [*seen, *look(sim, sweep)] == []
    assert sim.world.violations == []


def test_what_the_ledger_still_searches_for_is_no_stray(sim: Simulator) -> None:
    """An orphan of a rotation whose entry is open is about to be owed: the journal knows that rotation very well."""
    made(sim, rotation="rot_open")
    now = sim.world.clock.now()
    debt = Debt(rotation="rot_open", issuer="issuer", abandoned=(9,), opened_at=now, due_at=now + timedelta(days=1))
    store(sim, replace(sim.record(NAME), ledger=(debt,)))
    assert look(sim, sweep_of(sim)) == []


def test_what_is_owed_is_no_stray(sim: Simulator) -> None:
    """A replaced version lives until it is revoked, and is not reported meanwhile."""
    ref = made(sim)
    now = sim.world.clock.now()
    version = Version(generation=9, rotation="rot_x", issuer="issuer", ref=ref, fingerprint="", minted_at=now)
    owed = OwedVersion(version=version, reason="replaced")
    debt = Debt(rotation="rot_x", issuer="issuer", owed=(owed,), opened_at=now, due_at=now + timedelta(days=1))
    store(sim, replace(sim.record(NAME), ledger=(debt,)))
    assert look(sim, sweep_of(sim)) == []


def test_a_young_version_is_waited_for(sim: Simulator) -> None:
    """What was made a moment ago is a suspect only when a call that timed out could no longer land."""
    sweep = sweep_of(sim)
    made(sim)
    for _ in range(3):
        sim.world.clock.advance(5)
        sweep.look(["issuer"], sim.world.plugins)
    assert sweep.strays(["issuer"]) == []


def test_a_lost_journal_calls_nothing_a_stray(sim: Simulator) -> None:
    """Before it is rebuilt, the journal does not know what everybody uses: nobody is told that it could be removed."""
    for standing in (Standing.NEW, Standing.BEHIND):
        store(sim, replace(sim.record(NAME), standing=standing, current=None))
        assert look(sim, sweep_of(sim), 3) == []


def renamed(sim: Simulator, new: str, old: str) -> Spec:
    spec = replace(sim.record(old).spec, name=new)
    apply.apply(sim.journal, {new: spec}, {new: old}, sim.world.clock.now(), sim.world.ids)
    assert sim.record(new).current is not None
    return spec


def test_a_renamed_credential_keeps_its_versions(sim: Simulator) -> None:
    """Labels at the issuer keep the old name, through two renames; what is in use is never called a stray."""
    renamed(sim, "second", NAME)
    assert look(sim, sweep_of(sim), 3) == []
    renamed(sim, "third", "second")
    assert look(sim, sweep_of(sim), 3) == []
    stray = made(sim)
    assert look(sim, sweep_of(sim), 2) == [stray], "a real one under the old name"


def test_an_issuer_that_could_not_be_looked_at_gives_no_answer(sim: Simulator) -> None:
    """When an inventory failed nobody can tell, and it is said so until it works again; what was known is not lost."""
    ref, sweep = made(sim), sweep_of(sim)
    assert look(sim, sweep) == [ref]
    sim.world.issuers["issuer"].down = True
    with pytest.raises(Retryable, match="issuer could not be looked at"):
        look(sim, sweep, 1)
    sim.world.calm()
    assert look(sim, sweep, 1) == [ref]
    assert len(notices(sim)) == 1


def test_one_issuer_in_trouble_hides_no_other(sim: Simulator) -> None:
    """The others are looked at all the same, also when an issuer cannot be reached at all."""
    sim.world.add_issuer("away", kind=TellsInventory).down = True
    sim.world.add_issuer("silent", kind=FakeIssuer)
    ref, sweep = made(sim), sweep_of(sim)
    for _ in range(2):
        sim.world.clock.advance(FIVE_MINUTES)
        sweep.look(["away", "issuer", "silent"], sim.world.plugins)
    assert [stray.ref for stray in sweep.strays(["issuer", "silent"])] == [ref]
    with pytest.raises(Retryable):
        sweep.strays(["away", "issuer"])
    assert sweep.unreached(["away", "issuer"]).keys() == {"away"}


def test_a_stray_tells_whose_it_was_and_how_long_it_lives(sim: Simulator) -> None:
    """The answer names the credential and rotation on its label, and its dates, after a restart too."""
    ref = made(sim)
    look(sim, sweep_of(sim))
    (stray,) = sweep_of(sim).strays(["issuer"])
    live: LiveRef = next(item for item in sim.world.issuers["issuer"].live() if item.ref == ref)
    assert (stray.credential, stray.created_at, stray.expires_at) == (NAME, live.created_at, live.expires_at)
    assert "rot_unknown" in stray.why


def test_nobody_is_told_of_none_before_somebody_looked(sim: Simulator) -> None:
    """Asked right after a start, it looks at once, twice as a stray must be seen; afterwards the last looks are the answer."""
    ref, sweep = made(sim), sweep_of(sim)
    sim.world.clock.advance(FIVE_MINUTES)
    assert [stray.ref for stray in sweep.now(["issuer"], sim.world.plugins)] == [ref]
    looks = sim.world.book.count("inventory")
    assert [stray.ref for stray in sweep.now(["issuer"], sim.world.plugins)] == [ref]
    assert sim.world.book.count("inventory") == looks


def test_asked_while_an_issuer_is_away_it_says_so(sim: Simulator) -> None:
    """Also when nobody had looked before; and the looks begin anew."""
    sweep = sweep_of(sim)
    sim.world.issuers["issuer"].down = True
    assert sweep.now(["issuer"], sim.world.plugins) == []
    assert list(sweep.unreached(["issuer"])) == ["issuer"]
    sim.world.calm()
    assert sweep.now(["issuer"], sim.world.plugins) == []
    assert sweep.unreached(["issuer"]) == {}


def test_an_issuer_that_lists_nothing_is_named(sim: Simulator) -> None:
    """That it has no strays is nothing that anybody knows."""
    sim.world.add_issuer("silent", kind=FakeIssuer)
    sim.world.add_issuer("bare", kind=TellsInventory, traits=Traits(fields=("token",), labels=False, exclusive=True))
    assert sweep_of(sim).unlisted(["bare", "issuer", "silent"], sim.world.plugins) == ["bare", "silent"]
