"""People have less of a version than its whole ref: what they have is enough where the issuer can tell which one is meant."""

from __future__ import annotations

import pytest

from rotatord.model import JsonMap, Record
from rotatord.ports import MintRequest
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.simulation.scenarios import NAME, policy
from tests.simulation.stage import until


class _Shown(FakeIssuer):
    """Shows people the number of a version only."""

    def whole_ref(self, ref: str, parameters: JsonMap) -> str:
        whole = f"{self.name}-ref-{ref}"
        return whole if whole in self.versions else ref


def adopted(ref: str) -> tuple[Simulator, Record, str]:
    """A value that a person put there, adopted by what they say of it; and its ref."""
    world = World(5)
    issuer = world.add_issuer(kind=_Shown)
    world.add_backend()
    home = world.destination(NAME)
    world.add_consumer("app", issuer, home)
    spec = world.spec(NAME, destinations=(home,), policy=policy())
    request = MintRequest(
        installation="", credential=NAME, rotation="by-hand", generation=0, scope=spec.scope, parameters=spec.parameters
    )
    issuer.issue(request, labelled=False)
    made = issuer.issue(request, labelled=False)
    world.backends["store"].tamper(home, {"TOKEN": made.fields.reveal("token")})
    world.tick()
    sim = Simulator(world)
    sim.declare(spec)
    sim.settle(NAME)
    assert sim.request("adopt", NAME, ref=ref) == ""
    return sim, until(sim, lambda record: record.asked is None), made.ref


@pytest.mark.parametrize("ref", ["2", "issuer-ref-2"])
def test_what_a_person_has_is_enough(ref: str) -> None:
    """It is kept under its whole ref, by which it is ended when it is replaced."""
    sim, record, whole = adopted(ref)
    assert record.current is not None
    assert record.current.ref == whole == "issuer-ref-2"
    assert sim.request("rotate", NAME) == ""
    until(sim, lambda record: record.generation > 1 and record.rotation is None and not record.ledger, 3600)
    assert sim.world.issuers["issuer"].versions[whole].ended_at is not None


@pytest.mark.parametrize(
    ("ref", "why"),
    [
        (
            "1",
            "the value at home belongs to issuer-ref-2, not to issuer-ref-1: if that is meant, `adopt cred --ref issuer-ref-2`",
        ),
        ("9", "the issuer knows no live version 9"),
    ],
)
def test_another_one_is_not_taken_over(ref: str, why: str) -> None:
    """The refusal says which one it is."""
    sim, record, _ = adopted(ref)
    assert record.current is None
    told = [event.evidence["why"] for event in sim.journal.replay(NAME) if (event.action, event.outcome) == ("adopt", "failed")]
    assert told == [why.replace("cred", NAME)]
