"""The contract of issuers, over tokens of a strict Cloudflare that spreads changes late: of an account, and of a user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from issuers.cloudflare import CloudflareTokens, create
from rotatord.cloudflare_formats import WHOLE
from rotatord.model import JsonMap
from rotatord.ports import Inventory, Issuer, LastUsed, MintRequest, Preflight, Surroundings, Suspend, Traits
from rotatord.secret import Secret
from rotatord.testing.cloudflare import LIKE_CLOUDFLARE, FakeCloudflare, Held, RunningClock
from rotatord.testing.contracts.issuer import IssuerContract
from rotatord.testing.silent import closed_port, silent_server

ZONE = "example.com"
NARROW: JsonMap = {"permissions": ["Zone.DNS:Edit"], "resources": [f"zone/{ZONE}"], "ip_allow": ["203.0.113.0/24"]}
ADDRESS = "203.0.113.7"
POWERS = frozenset({Suspend, LastUsed, Inventory, Preflight})


def bare(reference: JsonMap | str) -> str:
    """Tests of one process give their secrets as they are."""
    return str(reference)


@dataclass
class Corner:
    """A Cloudflare, and issuers under tokens of our own there."""

    cloudflare: FakeCloudflare
    kind: str

    def issuer(self, parent: Held, **more: Any) -> CloudflareTokens:
        settings = {"token": parent.value, "endpoint": self.cloudflare.url, "allow_private": True, **more}
        if self.kind == "account":
            settings["account_id"] = self.cloudflare.account_id
        around = Surroundings(installation="here", state_dir="", now=self.cloudflare.clock.now, secret=bare)
        return create(settings, around)

    def parent(self, *permissions: str) -> Held:
        """A token of our own: pinned to our address, with an end."""
        looks = permissions or ("Zone Read",)
        lifetime = timedelta(days=90)
        return self.cloudflare.parent_token(*looks, owner=self.kind, addresses=[f"{ADDRESS}/32"], lifetime=lifetime)  # type: ignore[arg-type]


@pytest.fixture
def cloudflare() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(seed=1, clock=RunningClock(0), lags=LIKE_CLOUDFLARE) as started:
        started.address = ADDRESS
        yield started


class OfEither(IssuerContract):
    """Tokens of an account and of a user keep the same promises."""

    kind: ClassVar[str] = "account"
    powers = POWERS
    traits = Traits(
        fields=("token",),
        scope_proof="exact",
        expiry=True,
        propagation=timedelta(seconds=30),
        listing_delay=timedelta(seconds=30),
        last_used_delay=timedelta(minutes=15),
        call_settles_within=timedelta(seconds=60),
        high_entropy=("token",),
        forms={"token": WHOLE},
        quota=(1200, 300.0),
    )

    @pytest.fixture
    def corner(self, cloudflare: FakeCloudflare) -> Corner:
        return Corner(cloudflare, self.kind)

    @pytest.fixture
    def issuer(self, corner: Corner) -> Issuer:
        return corner.issuer(corner.parent())

    @pytest.fixture
    def request_(self) -> MintRequest:
        return MintRequest(
            installation="here",
            credential="apps.dns",
            rotation="rot_0123456789abcdef",
            generation=3,
            scope=NARROW,
            parameters={},
            ttl=timedelta(days=7),
            owner="team-edge",
        )

    @pytest.fixture
    def settle(self, cloudflare: FakeCloudflare) -> Callable[[], None]:
        return lambda: cloudflare.advance(900)

    @pytest.fixture
    def unknown_ref(self, cloudflare: FakeCloudflare) -> str:
        return f"account/{cloudflare.account_id}/{'0' * 32}" if self.kind == "account" else f"user/{'0' * 32}"

    @pytest.fixture
    def garbage(self) -> Secret:
        prefix = "cfat_" if self.kind == "account" else "cfut_"
        return Secret({"token": prefix + "neverMinted0123456789" * 2 + "0011223344"})

    @pytest.fixture
    def wider_scope(self) -> JsonMap:
        return {"permissions": ["Zone.DNS:Edit", "Cache Purge"], "resources": ["zone/*"], "ip_allow": ["203.0.113.0/24"]}

    @pytest.fixture
    def bad_scope(self) -> JsonMap:
        return {"permissions": ["Zone.DNZ:Edit"], "resources": [f"zone/{ZONE}"]}

    @pytest.fixture
    def impossible(self) -> tuple[JsonMap, JsonMap]:
        return {"permissions": ["Zone.DNS:Edit"], "resources": ["zone/exmaple.com"]}, {}

    @pytest.fixture
    def use(self, cloudflare: FakeCloudflare) -> Callable[[Secret], None]:
        def used(fields: Secret) -> None:
            zone = cloudflare.zones[ZONE]
            token = fields.reveal("token")
            assert cloudflare.ask("GET", f"/zones/{zone}/dns_records", token=token).status == 200

        return used

    @pytest.fixture
    def denied(self, corner: Corner, cloudflare: FakeCloudflare) -> Issuer:
        return corner.issuer(cloudflare.token("Zone Read", owner=self.kind))  # type: ignore[arg-type]

    @pytest.fixture
    def unreachable(self, corner: Corner) -> Iterator[Issuer]:
        with closed_port() as port:
            yield corner.issuer(corner.parent(), endpoint=f"http://127.0.0.1:{port}", timeout=1.0)

    @pytest.fixture
    def hanging(self, corner: Corner) -> Iterator[Issuer]:
        with silent_server() as port:
            yield corner.issuer(corner.parent(), endpoint=f"http://127.0.0.1:{port}", timeout=1.0)


class TestCloudflareOfAnAccount(OfEither):
    """Tokens that outlive who made them."""

    plugin: ClassVar[str] = "cloudflare"
    not_applicable: ClassVar[dict[str, str]] = {}


class TestCloudflareOfAUser(OfEither):
    """Tokens that end with their user."""

    kind: ClassVar[str] = "user"
