"""The fakes keep the contracts that real plugins keep; else nothing that a simulation shows would mean anything."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from rotatord.model import JsonMap
from rotatord.ports import Issuer, MintRequest, Traits
from rotatord.secret import Secret
from rotatord.testing.contracts.issuer import IssuerContract
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import FullIssuer
from rotatord.testing.world import World


@pytest.fixture
def world() -> World:
    return World()


REQUEST = MintRequest(
    installation="here",
    credential="cred",
    rotation="rot_1",
    generation=1,
    scope={"read": ["a"]},
    parameters={},
    ttl=timedelta(hours=24),
    owner="team",
    purpose="test",
)


class TestFakeIssuer(IssuerContract):
    """An overlapping issuer that believes and forgets late."""

    traits = Traits(
        fields=("id", "token"),
        scope_proof="exact",
        expiry=True,
        propagation=timedelta(seconds=20),
        listing_delay=timedelta(seconds=10),
        last_used_delay=timedelta(minutes=1),
    )
    kind: type[FakeIssuer] = FullIssuer

    @pytest.fixture
    def fake(self, world: World) -> FakeIssuer:
        settings = {"known_scope": ("read", "write"), "removal_delay": timedelta(seconds=5)}
        return world.add_issuer(kind=self.kind, traits=self.traits, **settings)

    @pytest.fixture
    def issuer(self, fake: FakeIssuer) -> Issuer:
        return fake

    @pytest.fixture
    def request_(self) -> MintRequest:
        return REQUEST

    @pytest.fixture
    def unknown_ref(self) -> str:
        return "issuer-ref-999"

    @pytest.fixture
    def settle(self, world: World) -> Callable[[], None]:
        return lambda: world.clock.advance(61)

    @pytest.fixture
    def wider_scope(self) -> JsonMap | None:
        return {"read": ["a", "b"], "write": ["a"]}

    @pytest.fixture
    def bad_scope(self) -> JsonMap | None:
        return {"fly": ["a"]}

    @pytest.fixture
    def use(self, fake: FakeIssuer) -> Callable[[Secret], None] | None:
        def use(value: Secret) -> None:
            assert fake.use(value)

        return use

    @pytest.fixture
    def denied(self, world: World) -> Issuer | None:
        other = world.add_issuer("denied", traits=self.traits)
        other.deny("mint", "propose", "find", "revoke")
        return other

    @pytest.fixture
    def unreachable(self, world: World) -> Issuer | None:
        other = world.add_issuer("unreachable", traits=self.traits)
        other.down = True
        return other

    @pytest.fixture
    def open_session(self, fake: FakeIssuer) -> Callable[[Secret], Callable[[], bool]] | None:
        if not isinstance(fake, FullIssuer):
            return None

        def open_session(value: Secret) -> Callable[[], bool]:
            ref = fake.ref_of(value)
            assert ref
            fake.open_session(ref)
            return lambda: ref in fake.open_sessions

        return open_session

    @pytest.fixture
    def impossible(self, fake: FakeIssuer) -> tuple[JsonMap, JsonMap] | None:
        if isinstance(fake, FullIssuer):
            fake.impossible = {"write": ["a"]}
        return {"write": ["a"]}, {}


class TestPlainIssuer(TestFakeIssuer):
    """Without any optional power."""

    kind = FakeIssuer


class TestPeriodicIssuer(TestFakeIssuer):
    """Versions live for a period from each renewal."""

    traits = Traits(fields=("token",), strategy="leased", scope_proof="exact", expiry=True)

    @pytest.fixture
    def fake(self, world: World) -> FakeIssuer:
        return world.add_issuer(kind=FullIssuer, traits=self.traits, period=timedelta(hours=1), known_scope=("read", "write"))


class TestCappedIssuer(TestFakeIssuer):
    """Two versions at most, without labels, as AWS access keys."""

    traits = Traits(fields=("token",), max_live=2, labels=False, exclusive=True, scope_on="principal")


class TestAlternatingIssuer(TestFakeIssuer):
    """Two database users take turns, and the caller chooses the password."""

    traits = Traits(fields=("username", "password"), strategy="alternating", max_live=2, value_origin="caller")


class TestInPlaceIssuer(TestFakeIssuer):
    """Minting ends the old value."""

    traits = Traits(fields=("token",), strategy="in_place", max_live=1, scope_proof="sampled")
