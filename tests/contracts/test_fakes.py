"""The fakes keep the contracts that real plugins keep; else nothing that a simulation shows would mean anything."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from rotatord.model import Destination, JsonMap, Marker, Slot
from rotatord.ports import Backend, Consumer, Health, Issuer, MintRequest, PrincipalScope, Published, Traits
from rotatord.secret import Secret
from rotatord.testing.backend import FakeBackend
from rotatord.testing.consumer import FakeConsumer, FakeHealth
from rotatord.testing.contracts.backend import BackendContract
from rotatord.testing.contracts.backend_setting import Placing
from rotatord.testing.contracts.consumer import ConsumerContract
from rotatord.testing.contracts.health import HealthContract
from rotatord.testing.contracts.issuer import IssuerContract
from rotatord.testing.contracts.issuer_setting import POWERS
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import FullIssuer, ScopesOnPrincipal
from rotatord.testing.world import World

AT_ONCE = "in memory nothing is waited for; it is the simulator that stalls calls"


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

    not_applicable: ClassVar = {"hanging": AT_ONCE}
    powers = frozenset(POWERS) - {PrincipalScope}
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
    powers = frozenset()


class TestPeriodicIssuer(TestFakeIssuer):
    """Versions live for a period from each renewal."""

    traits = Traits(fields=("token",), strategy="leased", scope_proof="exact", expiry=True)

    @pytest.fixture
    def fake(self, world: World) -> FakeIssuer:
        return world.add_issuer(kind=FullIssuer, traits=self.traits, period=timedelta(hours=1), known_scope=("read", "write"))


class FullPrincipal(ScopesOnPrincipal, FullIssuer):
    """Everything, with scopes on principals."""


class TestPrincipalIssuer(TestFakeIssuer):
    """What a version may do is what its principal may do."""

    kind = FullPrincipal
    powers = frozenset(POWERS)
    traits = Traits(fields=("token",), scope_on="principal", scope_proof="exact")

    @pytest.fixture
    def denied(self, world: World) -> Issuer | None:
        other = world.add_issuer("denied", kind=FullPrincipal, traits=self.traits)
        other.deny("mint", "propose", "find", "revoke", "set_scope")
        return other


class TestCappedIssuer(TestFakeIssuer):
    """Two versions at most, without labels, as AWS access keys."""

    traits = Traits(fields=("token",), max_live=2, labels=False, exclusive=True, scope_on="principal")


class TestAlternatingIssuer(TestFakeIssuer):
    """Two database users take turns, and the caller chooses the password."""

    traits = Traits(fields=("username", "password"), strategy="alternating", max_live=2, value_origin="caller")


class TestInPlaceIssuer(TestFakeIssuer):
    """Minting ends the old value."""

    traits = Traits(fields=("token",), strategy="in_place", max_live=1, scope_proof="sampled")


class TestFakeBackend(BackendContract):
    """The store of the simulations."""

    not_applicable: ClassVar = {"hanging": AT_ONCE, "reopened": "it is memory, and ends with the program"}

    @pytest.fixture
    def fake(self, world: World) -> FakeBackend:
        return world.add_backend()

    @pytest.fixture
    def backend(self, fake: FakeBackend) -> Backend:
        return fake

    @pytest.fixture
    def place(self) -> Placing:
        paths = itertools.count(1)

        def place(keys: dict[str, str] | None = None, version_key: str | None = None) -> Destination:
            address = {"path": f"app-{next(paths)}"}
            return Destination(backend="store", address=address, keys=keys or {"TOKEN": "token"}, version_key=version_key)

        return place

    @pytest.fixture
    def raw_bytes(self, fake: FakeBackend) -> Callable[[], bytes] | None:
        return fake.raw

    @pytest.fixture
    def reader(self, fake: FakeBackend) -> Callable[[Destination], dict[str, str]] | None:
        return lambda destination: fake.document(destination) or {}

    @pytest.fixture
    def tamper(self, fake: FakeBackend) -> Callable[[Destination], None] | None:
        return lambda destination: fake.tamper(destination, {"TOKEN": "edited by hand"})

    @pytest.fixture
    def plant(self, fake: FakeBackend) -> Callable[[Destination], None] | None:
        return lambda destination: fake.tamper(destination, {"TOKEN": "theirs"}, keep_marker=False)

    @pytest.fixture
    def denied(self, world: World) -> Backend | None:
        other = world.add_backend("denied")
        other.deny("read", "write", "clear")
        return other

    @pytest.fixture
    def unreachable(self, world: World) -> Backend | None:
        other = world.add_backend("unreachable")
        other.down = True
        return other


class TestFakeConsumer(ConsumerContract):
    """Three instances that attest."""

    evidence = "attestation"

    @pytest.fixture
    def home(self, world: World) -> Destination:
        world.add_issuer()
        world.add_backend()
        return world.destination("cred")

    def make(self, world: World, home: Destination, name: str = "app", **settings: Any) -> FakeConsumer:
        return world.add_consumer(name, world.issuers["issuer"], home, evidence=self.evidence, copies=3, **settings)

    @pytest.fixture
    def fake(self, world: World, home: Destination) -> FakeConsumer:
        return self.make(world, home)

    @pytest.fixture
    def consumer(self, fake: FakeConsumer) -> Consumer:
        return fake

    @pytest.fixture
    def publish(self, world: World, home: Destination) -> Callable[[], Published]:
        numbers = itertools.count(1)
        return lambda: published(world, home, next(numbers))

    @pytest.fixture
    def copies(self) -> int | None:
        return 3

    @pytest.fixture
    def loads(self, fake: FakeConsumer) -> Callable[[], int] | None:
        return lambda: len(fake.tokens)

    @pytest.fixture
    def deaf(self, world: World, home: Destination) -> Consumer | None:
        published(world, home, 0)
        return self.make(world, home, "deaf", applies_after=None)

    @pytest.fixture
    def refusing(self, world: World, home: Destination) -> Consumer | None:
        published(world, home, 0)
        return self.make(world, home, "refusing", refuses=lambda label: not label.startswith("0-"))

    @pytest.fixture
    def unreachable(self, world: World, home: Destination) -> Consumer | None:
        other = self.make(world, home, "unreachable")
        other.down = True
        return other

    @pytest.fixture
    def hanging(self, world: World, home: Destination) -> Consumer | None:
        return self.make(world, home, "hanging", hangs=True)


class TestFakeRollout(TestFakeConsumer):
    """A reload starts new instances."""

    evidence = "rollout"
    not_applicable: ClassVar = {"refusing": "a rollout cannot say"}


class TestFakeUnproven(TestFakeConsumer):
    """Without any proof."""

    evidence = "none"
    not_applicable: ClassVar = {"refusing": "it says nothing at all"}


class TestFakeHealth(HealthContract):
    """A check that follows its consumer."""

    not_applicable: ClassVar = {"hanging": AT_ONCE, "nonsense": "it reads nothing"}

    def make(self, world: World, name: str, **settings: Any) -> FakeHealth:
        return FakeHealth(world.clock, name=name, book=world.book, **settings)

    @pytest.fixture
    def health(self, world: World) -> Health:
        return self.make(world, "well")

    @pytest.fixture
    def unhealthy(self, world: World) -> Health | None:
        return self.make(world, "ill", says=("unhealthy", "says so"))

    @pytest.fixture
    def unreachable(self, world: World) -> Health | None:
        other = self.make(world, "gone")
        other.down = True
        return other


def published(world: World, home: Destination, number: int) -> Published:
    """Mint a version and put it where consumers read it, a second after whatever was before."""
    world.clock.advance(1)
    issuer, backend = world.issuers["issuer"], world.backends["store"]
    minted = issuer.issue(replace(REQUEST, rotation=f"rot_{number}", generation=number))
    marker = Marker(
        installation="here",
        credential="cred",
        rotation=f"rot_{number}",
        generation=number,
        ref=minted.ref,
        fingerprint=f"{number:032x}"[::-1],
        write=f"write-{number}",
    )
    backend.write(home, Slot.CURRENT, minted.fields, marker, backend.read(home, Slot.CURRENT).token)
    at = world.clock.now()
    return Published(credential="cred", label=marker.label, rotation=marker.rotation, token=f"reload-{number}", at=at)
