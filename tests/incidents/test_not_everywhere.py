"""The wrong thing, or not everything, got the new one."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from rotatord.gates import GATE
from rotatord.guards import GUARDS
from rotatord.machine import Step
from rotatord.model import Record, Slot, State, Way
from rotatord.ops import Context, Unit, fields_of, open_rotation, read, write
from rotatord.ports import Minted, MintRequest
from rotatord.secret import Secret
from rotatord.steps.mint import mint
from rotatord.steps.publish import publish
from rotatord.steps.slots import fields_at
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import FullIssuer
from rotatord.testing.simulator import Simulator
from rotatord.testing.world import World
from tests.incidents.retold import (
    believes_in_the_base,
    believes_the_issuer,
    replayed,
    rotated,
    stale,
    steps,
    value,
)
from tests.simulation.scenarios import NAME, SECOND, policy, traits
from tests.simulation.stage import at, staged, strike

PATIENT = {"verify_within": timedelta(hours=5)}  # nothing turns back within the hour that is looked at
UNPROVEN = GATE.without("consumers_proven")


def test_cloudflare_r2_2025() -> None:
    """Cloudflare R2, 21 March 2025: the new key went to the default environment, the old one was deleted without knowing
    which of them production used, and every write failed for 67 minutes. Here the named production consumer must show the
    new version itself before the old one may die."""

    def story(**left_out: Any) -> list[str]:
        sim, _ = staged(kind=FakeIssuer, rules=PATIENT, **left_out)
        production = sim.world.destination("production")
        sim.world.backends["store"].tamper(production, value(sim), keep_marker=False)
        sim.world.consumers["app"].read_from(production)  # what is rotated is another environment's
        sim.request("rotate", NAME)
        sim.run(600.0)
        return sim.problems()

    replayed(story, gate=UNPROVEN)


class Masks(FakeIssuer):
    """Shows its second version in a masked form: a screen's text where a value was meant."""

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        minted = super().mint(request, proposed)
        return minted if request.generation == 1 else Minted(ref=minted.ref, fields=Secret({"token": "*" * 40}))


def test_cloudflare_access_2023() -> None:
    """Cloudflare Access, 24 January 2023: records that had been read with their secrets masked were written back, and the
    secrets were gone for 121 minutes. Here what is blank, masked or cut off is refused before it is staged, even by an
    engine that would not try the value out."""

    def story(guards: Any = GUARDS) -> list[str]:
        parts = steps({Step.PROVE: believes_the_issuer, Step.MINT: partial(mint, guards=guards)})
        sim, _ = staged(kind=Masks, parts=parts)
        sim.request("rotate", NAME)
        sim.run(600.0)
        return sim.problems()

    replayed(story, guards=GUARDS.without("whole"))


def test_cloudflare_access_2023_nothing_masked_can_be_stored() -> None:
    """The same: the type that is masked when shown cannot be serialised at all, and an empty value cannot be made."""
    secret = Secret({"token": "it-is-secret-7331"})
    assert "7331" not in f"{secret} {secret!r}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)
    with pytest.raises(ValueError, match="empty"):
        Secret({"token": ""})


def test_github_december_27_2023() -> None:
    """GitHub, 27 December 2023, 90 minutes: a change was rolled back, and the callers were left with a key that had been
    disabled meanwhile. Here the way back proves that the old version works before it takes the new one away."""

    def story(**left_out: Any) -> list[str]:
        sim, _ = staged(**left_out)
        for check in sim.world.checks.values():
            check.breaks = lambda label: label.startswith("2-")
        strike(sim, at(State.RELOADED), lambda: sim.world.issuers["issuer"].end("issuer-ref-1"))
        sim.run(600.0)
        return sim.problems()

    replayed(story, parts=steps({Step.PROVE: believes_in_the_base}))


def test_github_december_28_2023() -> None:
    """GitHub, 28 December 2023, 65 minutes: a few of many mail servers did not get the new credential. Here every instance
    is asked, by name, and one that is still on the old version keeps it alive."""

    def story(**left_out: Any) -> list[str]:
        sim, _ = staged(kind=FakeIssuer, rules=PATIENT, consumer={"copies": 5}, **left_out)
        sim.world.consumers["app"].comes_up = 4
        sim.request("rotate", NAME)
        sim.run(600.0)
        return sim.problems()

    replayed(story, gate=UNPROVEN)


def test_github_june_2024() -> None:
    """GitHub, 5 June 2024, 142 minutes: a scheduled rotation, and one of several services went on with the old one until it
    was refused. Here the overlap is never shorter than the slowest consumer."""

    def story(**left_out: Any) -> list[str]:
        sim, _ = staged(kind=FakeIssuer, rules={**PATIENT, "overlap": 5 * SECOND}, **left_out)
        sim.world.consumers["other"].applies_after = timedelta(minutes=5)
        sim.request("rotate", NAME)
        sim.run(600.0)
        return sim.problems() + ([] if rotated(sim) else ["it never ended"])

    replayed(story, gate=UNPROVEN)


class LooksAlike(FakeIssuer):
    """Answers the second mint with the value of a credential of a similar name."""

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        minted = super().mint(request, proposed)
        if request.generation == 1:
            return minted
        other = MintRequest(
            installation="", credential="cred-2", rotation="theirs", generation=0, scope={"write": "all"}, parameters={}
        )
        return Minted(ref=minted.ref, fields=self.issue(other, labelled=False).fields)


def test_pagerduty_2023() -> None:
    """PagerDuty, 22 March 2023, 65 minutes: a scheduled rotation wrote the wrong secret, of a similar name. Here the value
    itself is used at the issuer before anybody else sees it, and must belong to the very id and scope that were asked for."""

    def story(**left_out: Any) -> list[str]:
        sim, _ = staged(kind=LooksAlike, **left_out)
        issuer = sim.world.issuers["issuer"]
        sim.request("rotate", NAME)
        sim.run(600.0)
        shown = [showing.shown.fields for showing in sim.world.backends["store"].showings]
        refs = [issuer.ref_of(fields) for fields in shown if fields is not None]
        return [ref for ref in refs if ref is not None and issuer.versions[ref].request.credential != NAME]

    replayed(story, parts=steps({Step.PROVE: believes_the_issuer}))


class StandbyFails(FakeIssuer):
    """Its second user exists and is refused."""

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        minted = super().mint(request, proposed)
        if request.generation > 1:
            self.versions[minted.ref].works.append((self.clock.outside(), False))
        return minted


def test_jumpcloud_2025() -> None:
    """JumpCloud, 30 April 2025, 23 minutes: the second of two database users failed when it was switched to. Here the
    standby is logged in with before anything is switched."""

    def story(**left_out: Any) -> list[str]:
        pair = {"strategy": "alternating", "max_live": 2, "value_origin": "caller"}
        sim, _ = staged(kind=StandbyFails, issuer=pair, **left_out)
        sim.request("rotate", NAME)
        sim.run(600.0)
        return sim.problems()

    replayed(story, parts=steps({Step.PROVE: believes_the_issuer}))


def test_gocardless_2020() -> None:
    """GoCardless, 25 October 2020, 22 minutes: a certificate was renewed on disk and never loaded, and clients gave up when
    the store was away. Here what the consumer runs on counts, not what is stored; and a store that is away harms nobody."""

    def story(**left_out: Any) -> list[str]:
        sim, _ = staged(kind=FakeIssuer, rules=PATIENT, **left_out)
        sim.world.consumers["app"].applies_after = None
        sim.request("rotate", NAME)
        sim.run(600.0)
        sim.world.backends["store"].down = True
        sim.run(1800.0)
        return sim.problems()

    replayed(story, gate=UNPROVEN)


def test_slack_2021() -> None:
    """Slack, 21 September 2021, 3.8 hours: the rotation was fine, a client could not cope with the new token. Here the
    canary's wave is verified, healthy, before the next one sees anything; and it goes back by itself."""

    def story(**left_out: Any) -> list[str]:
        sim, _ = staged(waves=True, **left_out)
        for check in sim.world.checks.values():
            check.breaks = lambda label: label.startswith("2-")
        seen: set[str] = set()

        def look(simulator: Simulator) -> None:
            seen.update(str(label) for label in simulator.world.consumers["other"].labels())

        sim.checks.append(look)
        sim.request("rotate", NAME)
        sim.run(600.0)
        return sim.problems() + [f"the rest got {label}" for label in seen if label.startswith("2-")]

    replayed(story, gate=GATE.without("consumers_healthy"))


def test_travis_ci() -> None:
    """Travis CI: a password was rotated in most places, and machines leaked because of the rest. Here every destination is
    read once more before a rotation counts as complete; one that has the old value again is written again."""

    def story(**left_out: Any) -> list[str]:
        sim, spec = staged(kind=FakeIssuer, **left_out)
        later, store, harm = spec.destinations[1], sim.world.backends["store"], set[str]()
        sim.checks.append(lambda simulator: harm.update(stale(simulator, later)))
        strike(sim, at(State.VERIFIED), lambda: store.tamper(later, value(sim), keep_marker=False))
        sim.run(600.0)
        return sorted(harm)

    replayed(story, gate=GATE.without("destinations_hold"))


def test_pollinations_2026() -> None:
    """Tinybird's token at Pollinations, 30 April 2026: the sealed copy in git kept the old value; three hours of refusals
    when the grace period was over. Here the copies that something else fills are read back, too, until the end."""

    def story(**left_out: Any) -> list[str]:
        world = World(5)
        source = world.add_issuer(traits=traits())
        world.add_backend()
        cluster = world.add_backend("cluster")
        home, copy = world.destination(NAME), world.destination(f"{NAME}-sealed", "cluster")
        world.add_copier(home, copy, lambda: SECOND)
        world.add_consumer("app", source, copy, evidence="rollout", copies=2, drains=2 * SECOND)
        sim = Simulator(world, **left_out)
        sim.declare(world.spec(NAME, policy=policy(), destinations=(home,)))
        sim.settle(NAME)
        strike(sim, at(State.VERIFIED), lambda: cluster.tamper(copy, value(sim), keep_marker=False))
        sim.run(600.0)
        return stale(sim, copy)

    replayed(story, gate=GATE.without("copies_hold"))


def test_reloader_701() -> None:
    """stakater/Reloader#701: "restarted" was logged, and one or two of eighteen were not. Here a restart that was accepted
    is none: only new instances, every one of them, count."""

    def story(**left_out: Any) -> list[str]:
        rollout = {"copies": 18, "evidence": "rollout", "drains": 3 * SECOND}
        sim, _ = staged(kind=FakeIssuer, rules=PATIENT, consumer=rollout, **left_out)
        sim.world.consumers["app"].comes_up = 16
        sim.request("rotate", NAME)
        sim.run(600.0)
        return sim.problems()

    replayed(story, gate=UNPROVEN)


def _field_by_field(ctx: Context, record: Record) -> Unit:
    """A publish that writes the user's name first and the password after it."""
    rotation = open_rotation(record)
    if rotation.way is Way.FORWARD and rotation.base is not None and rotation.new is not None:
        home, names = rotation.plan.home, ctx.plugins.issuer(rotation.plan.issuer).traits.fields
        backend = ctx.plugins.backend(home.backend)
        held = yield from read(backend, home, Slot.CURRENT)
        old, new = fields_of(held, names), (yield from fields_at(ctx, rotation.plan, Slot.PENDING, rotation.new))
        if old is not None and new is not None and held.marker is not None:
            mixed: Mapping[str, str] = {**old.reveal_all(), "username": new.reveal("username")}
            yield from write(backend, home, Slot.CURRENT, Secret(mixed), held.marker, held.token)
    return (yield from publish(ctx, record))


def test_sapcc_8835() -> None:
    """sapcc/helm-charts#8835: a user's name and a password could come from different versions. Here all fields of a secret
    are one write, so that no reader ever sees a pair that never belonged together."""

    def story(**left_out: Any) -> list[str]:
        world = World(5)
        source = world.add_issuer(kind=FullIssuer, traits=traits(fields=("username", "password"), high_entropy=("password",)))
        store = world.add_backend()
        home = world.destination(NAME, keys={"USER": "username", "PASS": "password"})
        world.add_consumer("app", source, home, poll=SECOND)
        sim = Simulator(world, **left_out)
        sim.declare(world.spec(NAME, policy=policy(), destinations=(home,)))
        sim.settle(NAME)
        sim.request("rotate", NAME)
        sim.run(600.0)
        shown = [showing.shown.fields for showing in store.showings]
        return ["a pair that never belonged together" for fields in shown if fields and source.ref_of(fields) is None]

    replayed(story, parts=steps({Step.PUBLISH: _field_by_field}))
