"""Every daemon shows which version of our own credentials it goes on with; nothing else counts as a proof."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import pytest

from rotatord.errors import Retryable
from rotatord.model import Record, Slot, Spec, Standing
from rotatord.ourselves import Ourselves
from rotatord.own import NAMES, OURSELVES, names_of
from rotatord.own_used import USED, told, troubles
from rotatord.ports import Amendment, Instance, Published
from rotatord.testing.own import OwnIssuer, OwnWorld
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from rotatord.views import status_page
from tests.simulation.scenarios import policy, traits

NAME = "ours"
MINUTE = 80.0  # the longest pause, stretched


class Company:
    """Who is alive, as a test says."""

    def __init__(self, owner: str, alive: set[str]) -> None:
        self.owner = owner
        self._alive = alive

    def alive(self) -> Collection[str]:
        return {self.owner, *self._alive}

    def alone(self, what: str) -> AbstractContextManager[None]:
        assert what == "own"
        return nullcontext()


class Scene:
    """A first version of ours is out; two daemons, each with a connection of its own to the issuer, over one journal."""

    def __init__(self) -> None:
        self.world = World(9)
        self.own = OwnWorld(self.world, NAME, traits=traits())
        self.sim = Simulator(self.world)
        self.spec: Spec = self.own.spec(NAME, policy=policy())
        self.sim.declare(self.spec)
        self.sim.settle(NAME)
        self.alive = {"one", "two"}
        self.one, self.two = self.daemon("one"), self.daemon("two")

    def daemon(self, owner: str) -> Ourselves:
        company: Any = Company(owner, self.alive)
        made = Ourselves(self.sim.journal, self.own.plugins, company, lambda *_, **__: None)
        made.bind(self.sim.ctx)
        return made

    @property
    def source(self) -> OwnIssuer:
        assert isinstance(self.own.source, OwnIssuer)
        return self.own.source

    @property
    def record(self) -> Record:
        return self.sim.record(NAME)

    @property
    def label(self) -> str:
        assert self.record.current is not None
        return self.record.current.label

    def shown(self, to: Ourselves) -> dict[str, str | None]:
        """What the gate would see, asked by one of them."""
        asked = Published(credential=NAME, label=self.label, rotation="r", token="t", at=self.world.clock.now())
        return {instance.id: instance.refused or instance.version for instance in to.instances(asked)}


def test_each_daemon_speaks_for_itself() -> None:
    """One that did not look yet is unknown, and unknown is no proof; nobody can look in its stead."""
    scene = Scene()
    assert scene.shown(scene.one) == {"one/issuers.issuer": scene.label, "two/issuers.issuer": None}
    scene.two.look(NAME)
    assert scene.shown(scene.one) == {"one/issuers.issuer": scene.label, "two/issuers.issuer": scene.label}


def test_one_that_is_gone_counts_no_more() -> None:
    """And one that begins has to show it, whatever the one before it showed."""
    scene = Scene()
    scene.two.look(NAME)
    scene.alive.discard("two")
    assert set(scene.shown(scene.one)) == {"one/issuers.issuer"}
    scene.alive.add("three")
    assert scene.shown(scene.one)["three/issuers.issuer"] is None


def test_one_that_sees_another_value_shows_nothing_new() -> None:
    """The reference leads elsewhere from there (a volume that was not mounted): the version is written, and not in use."""
    scene = Scene()
    scene.own.elsewhere = "another-value"
    assert scene.shown(scene.one)["one/issuers.issuer"] is None
    scene.own.elsewhere = None
    assert scene.shown(scene.one)["one/issuers.issuer"] == scene.label


def test_one_that_cannot_go_on_with_it_says_so() -> None:
    """Which fails the gate at once; and it keeps the login that it has."""
    scene = Scene()
    scene.source.login = "the login before"
    scene.source.powerless = lambda _version: True
    assert scene.shown(scene.one)["one/issuers.issuer"] == scene.label
    (instance,) = [each for each in instances(scene) if each.id.startswith("one")]
    assert (instance.version, instance.refused) == (None, scene.label)
    assert scene.source.login == "the login before"
    scene.source.powerless = lambda _version: False
    scene.world.clock.advance(MINUTE)
    (instance,) = [each for each in instances(scene) if each.id.startswith("one")]
    assert (instance.version, instance.refused) == (scene.label, None)
    assert scene.source.login != "the login before"


def instances(scene: Scene) -> list[Instance]:
    asked = Published(credential=NAME, label=scene.label, rotation="r", token="t", at=scene.world.clock.now())
    return list(scene.one.instances(asked))


def test_a_home_that_holds_something_else_proves_nothing() -> None:
    """What lies there is not the version that the journal means."""
    scene = Scene()
    scene.own.store.lose(scene.own.home, Slot.CURRENT)
    assert scene.shown(scene.one)["one/issuers.issuer"] is None


def test_trouble_is_no_proof_and_ends_nothing() -> None:
    """Where the issuer cannot be asked, it is asked again; a look at all goes on with the next."""
    scene = Scene()
    scene.sim.journal.set_fact(NAMES, names_of({NAME: scene.spec}))
    scene.source.fail("works_with", times=None)
    with pytest.raises(Retryable):
        scene.one.look(NAME)
    scene.one.look_at_all()
    assert scene.one.known() == [NAME]
    scene.source.calm()
    scene.source.deny("take_up")
    scene.world.clock.advance(MINUTE)
    scene.one.look_at_all()
    assert instances(scene)[0].refused == scene.label
    scene.source.allow()
    scene.world.clock.advance(MINUTE)
    scene.one.look_at_all()
    assert instances(scene)[0].version == scene.label


def hour_of_looks(scene: Scene) -> int:
    """How often the other side is asked in an hour in which a daemon looks every five seconds."""
    asked: list[str] = []
    tried = scene.source.works_with
    scene.source.works_with = lambda *how: asked.append("") or tried(*how)  # type: ignore[func-returns-value,method-assign]
    for _ in range(720):
        scene.one.look_at_all()
        scene.world.clock.advance(5)
    return len(asked)


@pytest.mark.parametrize("refused", [True, False])
def test_what_fails_is_tried_ever_more_seldom_and_told_of(refused: bool) -> None:
    """Refused or without an answer for an hour: about once a minute in the end, `status` and `why` say so and when it is tried
    again; a new version is tried at once, and with the first success nothing is told of any more."""
    scene = Scene()
    scene.sim.journal.set_fact(NAMES, names_of({NAME: scene.spec}))
    scene.source.powerless = lambda _version: refused
    if not refused:
        scene.source.fail("works_with", times=None)
    assert 40 < hour_of_looks(scene) < 75
    shown = told(scene.sim.journal.fact(USED))
    sentences = troubles(scene.record, shown)
    assert [len(each) for each in sentences] == ([1, 0] if refused else [0, 1])
    (sentence,) = sentences[0] + sentences[1]
    assert sentence.startswith(f"daemon one cannot speak to issuers.issuer with {scene.label} (tried ")
    assert "again at 20" in sentence
    row = status_page([scene.record], scene.world.clock.now(), {}, None, shown)["credentials"][0]
    assert row["needs_person" if refused else "unreachable"] == [sentence]
    scene.source.calm()
    scene.source.powerless = lambda _version: False
    scene.world.clock.advance(MINUTE)
    scene.one.look_at_all()
    assert troubles(scene.record, told(scene.sim.journal.fact(USED))) == ([], [])


def test_what_was_said_of_another_version_is_over() -> None:
    """A version that took its place is not blamed for what the one before it met; nor is what an earlier version of rotatord
    wrote misread."""
    scene = Scene()
    key = f"{NAME} issuers.issuer"
    text = json.dumps(
        {"one": {key: {"version": "", "refused": "0-x", "tried": "0-x", "tries": 3, "later": 1}}, "two": {key: {}}}
    )
    assert troubles(scene.record, told(text)) == ([], [])
    assert troubles(scene.record, told(None)) == ([], [])


def test_before_it_is_published_everything_is_asked_that_depends_on_it() -> None:
    """With the value itself, and not with what is in place."""
    scene = Scene()
    other = replace(scene.world.spec("other"), scope={"may": "write"})
    scene.sim.journal.put([Amendment(record=Record(name="other", spec=other, standing=Standing.MANAGED))])
    scene.own.elsewhere = "what is in place is not asked"
    (trial,) = scene.one.trials(scene.spec, scene.source.secret_of("issuer-ref-1"), "2-label")
    assert trial.run() == []
    assert scene.source.needs == [({"may": "write"}, {}), ({"read": "all"}, {})]  # each once, by the names of the credentials
    scene.source.powerless = lambda _version: True
    assert "may not do this" in trial.run()[0]
    assert scene.one.trials(other, scene.source.secret_of("issuer-ref-1"), "2-label") == ()


def test_denied_is_an_answer() -> None:
    """Our own identity is refused with it: that is what was asked."""
    scene = Scene()
    scene.source.deny("works_with")
    assert instances(scene)[0].refused == scene.label


def test_it_is_a_consumer_that_nobody_declares() -> None:
    """And so nobody can forget it."""
    assert [consumer.type for consumer in Scene().spec.consumers] == [OURSELVES]
