"""``rotatord check``: everything is looked at, nothing is changed, and what cannot be told is not called fine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from rotatord.api.service import Finding
from rotatord.errors import Denied, Invalid
from rotatord.livecheck import check, preview
from rotatord.model import JsonMap, Record, Spec
from rotatord.ports import Consumer, MintRequest
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import LooksAhead
from rotatord.testing.world import World


@pytest.fixture
def world() -> World:
    world = World()
    world.add_issuer(kind=LooksAhead)
    world.add_backend()
    world.add_consumer("app", world.issuers["issuer"], world.destination("cred"))
    return world


def findings(world: World, *specs: Spec) -> dict[str, Finding]:
    """What a check says, by subject."""
    return {finding.subject: finding for finding in check(specs or [world.spec()], world.plugins)}


def verdicts(found: dict[str, Finding]) -> Sequence[bool | None]:
    return [finding.ok for finding in found.values()]


ALL = [
    "cred: issuer issuer",
    "cred: destination store:path=cred",
    "cred: consumer app",
    "cred: health app/app-health",
]


def test_everything_is_looked_at_and_nothing_is_changed(world: World) -> None:
    """Issuer, destinations, consumers and their health have a finding each, by calls that only read."""
    found = findings(world)
    assert list(found) == ALL
    assert {call.method for call in world.book.calls} <= {"preflight", "read", "instances", "check"}


def test_what_will_not_work_is_said(world: World) -> None:
    """The sentences of a preflight and of a refusal are the findings; the rest is looked at all the same."""
    issuer = world.issuers["issuer"]
    assert isinstance(issuer, LooksAhead)
    issuer.problems = ("may not create tokens",)
    world.backends["store"].deny("read")
    found = findings(world)
    assert (found[ALL[0]].ok, found[ALL[0]].detail) == (False, "may not create tokens")
    assert found[ALL[1]].ok is False
    assert list(found) == ALL


def test_what_does_not_answer_is_neither_fine_nor_broken(world: World) -> None:
    """Where nobody answers, nothing can be told, and that is what is said."""
    for fake in world.fakes:
        fake.down = True
    found = findings(world)
    assert list(found) == ALL
    assert [found[subject].ok for subject in ALL[:3]] == [None, None, None]
    assert found[ALL[3]].ok is not True
    assert found[ALL[0]].detail


class Remarking(LooksAhead):
    """Has something to say that is no problem."""

    def remarks(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        self._enter("remarks")
        return [f"the principal may do more than {sorted(scope)}"]


def test_a_remark_is_shown_and_nothing_is_wrong_for_it() -> None:
    """It stands beside the issuer's finding; an issuer that does not answer says no more than that."""
    world = World()
    issuer = world.add_issuer(kind=Remarking)
    world.add_backend()
    found = findings(world, world.spec("cred", destinations=(world.destination("cred"),)))
    assert list(found)[:2] == ["cred: issuer issuer", "cred: note of issuer"]
    assert found["cred: note of issuer"].ok is True
    assert "may do more than" in found["cred: note of issuer"].detail
    issuer.down = True
    found = findings(world, world.spec("cred", destinations=(world.destination("cred"),)))
    assert "cred: note of issuer" not in found


class Unmade:
    """Plugins of which some cannot be made, as when a module is missing after an upgrade."""

    def __init__(self, world: World, missing: str) -> None:
        self._plugins = world.plugins
        self._missing = missing

    def __getattr__(self, name: str) -> object:
        if name != self._missing:
            return getattr(self._plugins, name)

        def refuse(*_: object) -> Consumer:
            raise Invalid(f"{name} cannot be made")

        return refuse


@pytest.mark.parametrize(("missing", "subject"), [("issuer", 0), ("backend", 1), ("consumer", 2)])
def test_a_plugin_that_cannot_be_made_is_one_finding(world: World, missing: str, subject: int) -> None:
    """The others, and other credentials, are looked at all the same."""
    other = replace(world.spec("other"), consumers=())
    found = {finding.subject: finding for finding in check([world.spec(), other], Unmade(world, missing))}  # type: ignore[arg-type]
    assert [each for each in found if each.startswith("cred:")] == ALL
    assert (found[ALL[subject]].ok, found[ALL[subject]].detail) == (False, f"{missing} cannot be made")
    assert "other: issuer issuer" in found


def test_health_that_cannot_be_made_is_one_finding(world: World) -> None:
    """A health check that does not exist any more is named, and everything else is looked at."""
    found = {finding.subject: finding for finding in check([world.spec()], Unmade(world, "health"))}  # type: ignore[arg-type]
    assert found["cred: health app"].ok is False
    assert [each for each in found if each in ALL] == ALL[:3]


def test_a_bug_in_a_plugin_hides_nothing_and_shows_nothing(world: World) -> None:
    """What a broken plugin raises may hold anything: its kind is told, not its words, and the rest is looked at."""
    for fake, method in ((world.backends["store"], "read"), (world.checks["app-health"], "check")):
        fake.fail(method, None, lambda: RuntimeError("token=s.secret"))
    found = findings(world)
    assert list(found) == ALL
    assert found[ALL[1]].detail == "RuntimeError in the plugin"
    assert found[ALL[1]].ok is None
    assert "secret" not in str(found)


def test_no_credentials_give_no_findings(world: World) -> None:
    """Nothing declared, nothing said; and a denial is no error of ours."""
    assert check([], world.plugins) == []
    world.backends["store"].fail("read", None, lambda: Denied("no"))
    assert findings(world)[ALL[1]].ok is False


def test_copies_and_reloads_are_looked_at(world: World) -> None:
    """What a copier is to fill is read, and a consumer that could never be proven says so before anything is touched."""
    world.add_backend("cluster")
    copy = world.destination("copied", "cluster")
    app = world.consumers["app"]
    app.preflight = lambda: ["the Deployment is paused"]  # type: ignore[attr-defined]
    spec = world.spec()
    spec = replace(spec, consumers=(replace(spec.consumers[0], copies=(copy,)),))
    found = findings(world, spec)
    assert found["cred: reload of app"].detail == "the Deployment is paused"
    assert (found["cred: copy cluster:path=copied"].ok, found["cred: copy cluster:path=copied"].detail) == (
        False,
        "nobody has filled it yet",
    )
    world.backends["cluster"].tamper(copy, {"TOKEN": "something"})
    assert findings(world, spec)["cred: copy cluster:path=copied"].ok is True


class Showing(FakeIssuer):
    """Tells what it would send, unless it is refused."""

    refused = ""

    def preview(self, request: MintRequest) -> JsonMap:
        if self.refused:
            raise Invalid(self.refused)
        return {"body": {"name": request.credential, "generation": request.generation, "scope": request.scope}}


def test_what_would_be_sent_is_shown_and_nothing_is_made() -> None:
    """With the scope that is declared now and the next generation; a refusal and an issuer that cannot tell are words."""
    world = World()
    issuer = world.add_issuer(kind=Showing)
    record = Record(name="cred", spec=world.spec(scope={"permissions": ["read"]}), generation=3)
    body = {"name": "cred", "generation": 4, "scope": {"permissions": ["read"]}}
    assert preview(record, world.plugins, "here") == {"issuer": "issuer", "request": {"body": body}}
    assert isinstance(issuer, Showing)
    issuer.refused = "no such zone"
    assert preview(record, world.plugins, "here") == {"issuer": "issuer", "cannot_show": "no such zone"}
    assert not any(call.method == "mint" for call in world.book.calls)
    plain = World()
    plain.add_issuer()
    assert "does not tell" in preview(record, plain.plugins, "here")["cannot_show"]
