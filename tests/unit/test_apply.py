"""A configuration against the journal: what is new, changed, renamed or gone, and what an unchanged start need not read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rotatord import apply, config
from rotatord.daemon import Daemon
from rotatord.errors import JournalUnavailable
from rotatord.journal.memory import MemoryJournal
from rotatord.model import Asked, Drift, Policy, Record, Spec, Standing
from rotatord.own import NAMES as OWN_NAMES
from rotatord.ports import Amendment
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World

CONFIG = """
state_dir: {state}
issuers: {{authority: {{type: builtin, permissions: [read]}}}}
backends: {{files: {{type: file}}}}
policies: {{monthly: {{max_age: 30d, unproven: {{overlap: 1s}}}}}}
credentials:
{credentials}"""
CREDENTIAL = """  - name: {name}
    issuer: authority
    policy: monthly
    scope: {{permissions: [read]}}
    destinations: [{{backend: files, path: {name}.env, format: dotenv, keys: {{TOKEN: token}}}}]
"""


def written(directory: Path, *names: str) -> Path:
    path = directory / "rotatord.yaml"
    credentials = "".join(CREDENTIAL.format(name=name) for name in names)
    path.write_text(CONFIG.format(state=directory / "state", credentials=credentials))
    return path


@contextmanager
def assembled(path: Path) -> Iterator[Daemon]:
    daemon = Daemon(config.load_for_start(path), path)
    try:
        yield daemon
    finally:
        daemon.plugins.registry.close()
        daemon.journal.close()


def brought(journal: MemoryJournal, *specs: Spec, renames: dict[str, str] | None = None) -> dict[str, int]:
    counts = apply.apply(journal, {spec.name: spec for spec in specs}, renames or {}, START, SeededIds(0))
    return {what: count for what, count in counts.items() if count}


def spec(name: str) -> Spec:
    return World().spec(name)


def journal() -> MemoryJournal:
    return MemoryJournal(VirtualClock(START), SeededIds(1))


def test_counts_what_is_new_changed_and_gone() -> None:
    """Each credential is added, changed or forgotten once, and a second time nothing is left to do."""
    known = journal()
    assert brought(known, spec("a"), spec("b")) == {"added": 2}
    other = replace(spec("b"), policy=replace(spec("b").policy, max_age=timedelta(days=1)))
    assert brought(known, other, spec("c")) == {"added": 1, "changed": 1, "forgotten": 1}
    assert brought(known, other, spec("c")) == {}
    assert {record.name for record in apply.declared(known)} == {"b", "c"}


def test_a_rename_keeps_the_record() -> None:
    """The history goes on under the new name, and the old one is only remembered."""
    known = journal()
    brought(known, spec("old"))
    assert brought(known, spec("new"), renames={"new": "old"}) == {"renamed": 1}
    kept, left = known.get("new"), known.get("old")
    assert kept is not None
    assert kept.formerly == ("old",)
    assert left is not None
    assert left.standing is Standing.FORGOTTEN


def test_another_line_of_the_file_is_no_change() -> None:
    """A line more at the top of a file touches no credential below it."""
    known = journal()
    brought(known, replace(spec("a"), source="rotatord.yaml:5"))
    assert brought(known, replace(spec("a"), source="rotatord.yaml:6")) == {}


def test_an_unchanged_start_reads_no_credentials(tmp_path: Path) -> None:
    """Once the journal knows a configuration, starting with it again leaves the credentials unread, and loses none."""
    path = written(tmp_path, "a", "b")
    with assembled(path):
        pass
    assert not config.load_for_start(path).complete
    with assembled(path) as daemon:
        assert not daemon.configuration.complete
        assert [record.name for record in apply.declared(daemon.journal)] == ["a", "b"]


def test_a_changed_start_brings_the_journal_in_line(tmp_path: Path) -> None:
    """What was edited while the daemon was down is in force after its start."""
    with assembled(written(tmp_path, "a", "b")):
        pass
    with assembled(written(tmp_path, "b", "c")) as daemon:
        assert daemon.configuration.complete
        assert [record.name for record in apply.declared(daemon.journal)] == ["b", "c"]


def test_what_an_earlier_version_brought_in_line_is_compared_once_more(tmp_path: Path) -> None:
    """It did not look which credentials are our own: with the very same files nobody would ever."""
    path = written(tmp_path, "a")
    with assembled(path) as daemon:
        daemon.journal.set_fact(OWN_NAMES, None)
    with assembled(path) as daemon:
        assert daemon.configuration.complete
        assert daemon.journal.fact(OWN_NAMES) == "[]"
    with assembled(path) as daemon:
        assert not daemon.configuration.complete


# --- over a credential that lives ------------------------------------------------------------------------------------

NAME = "cred"
MONTHLY = Policy(max_age=timedelta(days=30), overlap=timedelta(seconds=5), jitter_percent=0.0)
HOUR = 3600.0


class Breaking(MemoryJournal):
    """Fails once, at the write whose number is ``fails_at``; nothing of that write is stored."""

    fails_at = 0

    def _store(self, amendment: Amendment, seq: int) -> Record:
        self.fails_at -= 1
        if self.fails_at == 0:
            raise JournalUnavailable("killed here")
        return super()._store(amendment, seq)


@pytest.fixture
def sim() -> Simulator:
    """One credential with one destination and one consumer, quiet."""
    world = World()
    world.add_backend()
    issuer = world.add_issuer()
    world.add_consumer("app", issuer, world.destination(NAME))
    sim = Simulator(world)
    sim.declare(world.spec(NAME, policy=MONTHLY))
    sim.settle(NAME, HOUR)
    assert world.unquiet(sim.record(NAME).spec) == []
    return sim


def declare(sim: Simulator, *specs: Spec, renames: dict[str, str] | None = None) -> dict[str, int]:
    """Bring a configuration of these credentials into force."""
    counts = apply.apply(sim.journal, {spec.name: spec for spec in specs}, renames or {}, sim.world.clock.now(), sim.world.ids)
    return {what: count for what, count in counts.items() if count}


def change(sim: Simulator, name: str, changed: Callable[[Record], Record]) -> None:
    sim.journal.amend(name, lambda record: Amendment(record=changed(record)))


def planned(sim: Simulator) -> Record:
    """A rotation is asked for and under way."""
    assert sim.request("rotate", NAME) == ""
    sim.turn()
    record = sim.record(NAME)
    assert record.rotation is not None
    return record


def test_a_new_destination_gets_the_value_without_a_new_version(sim: Simulator) -> None:
    """What is added to a quiet credential is written at once, and nothing is minted for it."""
    spec = sim.record(NAME).spec
    more = replace(spec, destinations=(*spec.destinations, sim.world.destination("copy")))
    assert declare(sim, more) == {"changed": 1}
    sim.settle(NAME, HOUR)
    assert sim.world.unquiet(more) == []
    assert sim.world.book.count("mint") == 1


def test_another_scope_makes_a_new_version_and_ends_the_old(sim: Simulator) -> None:
    """A changed scope is rotated to by itself; exactly one version lives afterwards."""
    spec = replace(sim.record(NAME).spec, scope={"write": "all"})
    declare(sim, spec)
    sim.settle(NAME, HOUR)
    current = sim.record(NAME).current
    assert current is not None
    assert current.scope == {"write": "all"}
    assert sim.world.unquiet(spec) == []
    assert sim.world.violations == []


def test_what_is_known_to_have_drifted_stays_known(sim: Simulator) -> None:
    """A change of anything but the destinations does not hide drift; drift of a destination that is gone goes with it."""
    here, spec = sim.record(NAME).spec.home.id, sim.record(NAME).spec
    drift = tuple(Drift(destination=place, what="foreign", seen_at=START) for place in (here, "store:path=gone"))
    change(sim, NAME, lambda record: replace(record, drift=drift))
    declare(sim, replace(spec, owner="somebody"))
    assert [item.destination for item in sim.record(NAME).drift] == [here]


# --- forgotten and declared again ------------------------------------------------------------------------------------


def test_what_is_no_longer_declared_is_only_remembered(sim: Simulator) -> None:
    """It is neither revoked nor rotated, however old it gets, and nobody can adopt or rotate it."""
    assert declare(sim) == {"forgotten": 1}
    sim.run(90 * 24 * HOUR)
    assert sim.world.book.count("revoke") == 0
    assert sim.world.book.count("mint") == 1
    assert "no longer declared" in sim.request("rotate", NAME)
    assert "no longer declared" in sim.request("adopt", NAME)
    assert declare(sim) == {}


def test_declared_again_it_goes_on_where_it_was(sim: Simulator) -> None:
    """The current version is still known: nothing is minted, nothing is a stranger's, and it is due as before."""
    spec = sim.record(NAME).spec
    declare(sim)
    sim.settle(NAME, HOUR)
    assert declare(sim, spec) == {"changed": 1}
    record = sim.settle(NAME, HOUR)
    assert record.standing is Standing.MANAGED
    assert sim.world.book.count("mint") == 1
    assert record.due_at is not None


def test_what_was_asked_before_is_not_done_when_it_comes_back(sim: Simulator) -> None:
    """A request that was never carried out is forgotten with the credential."""
    spec = sim.record(NAME).spec
    change(sim, NAME, lambda record: replace(record, asked=Asked(verb="rotate", actor="uid:0(somebody)", at=START)))
    declare(sim)
    assert sim.record(NAME).asked is None
    declare(sim, spec)
    sim.settle(NAME, HOUR)
    assert sim.world.book.count("mint") == 1


def test_a_rotation_in_flight_goes_on_as_it_was_planned(sim: Simulator) -> None:
    """A change, or a removal, while a rotation is open takes effect after it: nothing is stranded on the way."""
    record = planned(sim)
    assert record.rotation is not None
    spec = record.spec
    other = replace(spec, destinations=(*spec.destinations, sim.world.destination("copy")))
    declare(sim, other)
    after = sim.record(NAME)
    assert after.rotation is not None
    assert after.rotation.plan == spec
    sim.settle(NAME, HOUR)
    assert sim.world.unquiet(other) == []
    assert sim.world.violations == []


def test_a_forgotten_rotation_is_finished(sim: Simulator) -> None:
    """A credential that is taken out in mid-rotation ends its rotation and its debts; one version lives."""
    spec = planned(sim).spec
    declare(sim)
    record = sim.settle(NAME, HOUR)
    assert record.standing is Standing.FORGOTTEN
    assert record.rotation is None
    assert record.ledger == ()
    assert sim.world.unquiet(spec) == []


# --- renamed ---------------------------------------------------------------------------------------------------------


def renamed(sim: Simulator, new: str, old: str) -> Spec:
    """The same credential under another name."""
    return replace(sim.record(old).spec, name=new)


def rotated(sim: Simulator, name: str) -> None:
    """One more rotation, to its end: everything that bears an earlier name is still ours."""
    sim.request("rotate", name)
    sim.settle(name, HOUR)
    assert len(sim.world.issuers["issuer"].live()) == 1
    assert sim.world.violations == []


def test_a_renamed_credential_is_rotated_on(sim: Simulator) -> None:
    """Markers and labels under the old name are ours: no adoption, no stranger, no version left behind."""
    assert declare(sim, renamed(sim, "new", NAME), renames={"new": NAME}) == {"renamed": 1}
    sim.settle("new", HOUR)
    assert sim.record("new").standing is Standing.MANAGED
    assert sim.world.book.count("mint") == 1
    rotated(sim, "new")


def test_a_rename_that_is_taken_back_keeps_the_history(sim: Simulator) -> None:
    """The name that was left is free for its own credential to come back to."""
    original = sim.record(NAME).spec
    declare(sim, renamed(sim, "new", NAME), renames={"new": NAME})
    rotated(sim, "new")
    assert declare(sim, original, renames={NAME: "new"}) == {"renamed": 1}
    record = sim.settle(NAME, HOUR)
    assert record.standing is Standing.MANAGED
    assert record.generation == 2
    rotated(sim, NAME)


def test_a_rename_waits_for_open_work(sim: Simulator) -> None:
    """In mid-rotation the old name is needed; a configuration with the rename is refused until then, with the reason."""
    planned(sim)
    (problem,) = apply.too_early(sim.journal, {"new": NAME})
    assert "a rotation is open" in problem.what
    assert "renamed" not in declare(sim, renamed(sim, "new", NAME), renames={"new": NAME})


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_rename_that_is_cut_short_is_ended_by_the_next_start(sim: Simulator, fails_at: int) -> None:
    """Whichever write was the last, the version is known under exactly one name in the end, and cannot be retired
    under the other."""
    journal = Breaking(sim.world.clock, sim.world.ids)
    journal.put([Amendment(record=sim.record(NAME))])
    spec = renamed(sim, "new", NAME)
    sim.journal = journal
    journal.fails_at = fails_at
    with pytest.raises(JournalUnavailable):
        declare(sim, spec, renames={"new": NAME})
    declare(sim, spec, renames={"new": NAME})
    old, new = journal.get(NAME), journal.get("new")
    assert old is not None
    assert new is not None
    assert old.current is None
    assert old.standing is Standing.FORGOTTEN
    assert new.current is not None
    assert new.standing is Standing.MANAGED
    assert new.formerly == (NAME,)


# --- the brake -------------------------------------------------------------------------------------------------------


def many(world: World, count: int) -> Sequence[Spec]:
    return [world.spec(f"c{number:02}", policy=MONTHLY) for number in range(count)]


@pytest.fixture
def fleet() -> Simulator:
    """Sixty credentials of one issuer, each with its first version."""
    world = World()
    world.add_issuer()
    world.add_backend()
    sim = Simulator(world)
    sim.declare(*many(world, 60))
    template = replace(MONTHLY, unproven_overlap=timedelta(seconds=1))
    for spec in many(world, 60):
        change(sim, spec.name, lambda record: replace(record, spec=replace(record.spec, policy=template)))
    for spec in many(world, 60):
        sim.settle(spec.name, HOUR)
    return sim


def specs_of(sim: Simulator) -> list[Spec]:
    return [record.spec for record in apply.declared(sim.journal)]


def test_a_change_that_rotates_very_many_is_held_for_a_person(fleet: Simulator) -> None:
    """More than a tenth of an issuer's credentials are not rotated by one edit; each says why, and a person may let it."""
    wider = [replace(spec, scope={"read": "all", "write": "all"}) for spec in specs_of(fleet)]
    declare(fleet, *wider)
    held = [fleet.record(spec.name).held_for_person for spec in wider]
    assert all("60 of 60" in words for words in held)
    fleet.settle("c00", HOUR)
    assert fleet.world.book.count("mint") == 60
    fleet.request("resume", "c00", how="retry")
    fleet.settle("c00", HOUR)
    assert fleet.world.book.count("mint") == 61


def test_a_change_that_rotates_a_few_is_not_held(fleet: Simulator) -> None:
    """Up to a tenth just goes ahead."""
    wider = [replace(spec, scope={"write": "all"}) if spec.name < "c06" else spec for spec in specs_of(fleet)]
    assert declare(fleet, *wider) == {"changed": 6}
    assert {fleet.record(spec.name).held_for_person for spec in wider} == {""}


def test_a_policy_that_makes_many_too_old_is_held_too(fleet: Simulator) -> None:
    """A greatest age that most have passed already rotates as many as a scope would."""
    fleet.world.clock.advance(3 * 24 * HOUR)
    younger = [replace(spec, policy=replace(spec.policy, max_age=timedelta(days=1))) for spec in specs_of(fleet)]
    declare(fleet, *younger)
    assert all(fleet.record(spec.name).held_for_person for spec in younger)


def test_a_change_that_is_taken_back_holds_nobody(fleet: Simulator) -> None:
    """With the old configuration in force again nothing waits for a person any more."""
    before = specs_of(fleet)
    declare(fleet, *(replace(spec, scope={"write": "all"}) for spec in before))
    declare(fleet, *before)
    assert {fleet.record(spec.name).held_for_person for spec in before} == {""}


# --- what is still needed --------------------------------------------------------------------------------------------


def test_an_issuer_is_needed_while_anything_of_it_lives(sim: Simulator) -> None:
    """It cannot go while a rotation is open there, while a version is owed there, nor under a declared credential; and
    a rename at the same time does not hide that. What is neither declared nor owed needs nothing."""
    spec = sim.record(NAME).spec

    def missing(specs: Sequence[str], renames: dict[str, str] | None = None) -> list[str]:
        return [problem.what for problem in apply.refusals(sim.journal, [], ["store"], specs, renames or {})]

    assert "its current version" in missing([NAME])[0]
    assert "its current version" in missing(["new"], {"new": NAME})[0]
    assert missing([]) == []
    planned(sim)
    assert "an open rotation" in missing([])[0]
    assert apply.refusals(sim.journal, ["issuer"], [], [NAME], {})[0].what.startswith("backend 'store' is gone")
    sim.settle(NAME, HOUR)
    assert sim.world.unquiet(spec) == []
    assert missing([]) == []
