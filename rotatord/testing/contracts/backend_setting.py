"""What the backend suite works with: the fixtures to fill in, and what is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import pytest

from rotatord.model import Destination, Marker, Slot
from rotatord.ports import Backend
from rotatord.secret import Secret
from rotatord.testing.contracts.common import Contract

FIRST = Secret({"token": "contract-first-value-0123456789"})
SECOND = Secret({"token": "contract-second-value-9876543210"})
MARKER = Marker(
    installation="contract-installation",
    credential="contract/credential",
    rotation="rot_1",
    generation=1,
    ref="ref-1",
    fingerprint="0123456789abcdef0123456789abcdef",
    write="write-1",
)
AWKWARD = {
    "unicode": {"token": "påss-wörd-秘密-🔑"},
    "long with dots": {"token": ".".join(["ghs"] + ["Ab0_-" * 40] * 6)},
    "quotes and backslashes": {"token": """a'b"c\\d$e`f#g=h%i{j}k;l&m"""},
    "spaces around": {"token": "  spaces and\ttabs  "},
    "looks like a number": {"token": "0123456789012345678901234567890"},
    "looks like a word of YAML": {"token": "true"},
}


class Placing(Protocol):
    """Names a destination that nobody used yet."""

    def __call__(self, keys: dict[str, str] | None = None, version_key: str | None = None) -> Destination: ...


def later(marker: Marker, by: int = 1) -> Marker:
    """The marker of a later write."""
    return replace(marker, generation=marker.generation + by, write=f"{marker.write}-{by}", ref=f"{marker.ref}-{by}")


def token_of(backend: Backend, destination: Destination, slot: Slot) -> str:
    return backend.read(destination, slot).token


def put(backend: Backend, destination: Destination, slot: Slot, fields: Secret, marker: Marker = MARKER) -> str:
    """Write over whatever is there."""
    return backend.write(destination, slot, fields, marker, token_of(backend, destination, slot))


class BackendSetting(Contract):
    """The fixtures of the backend suite. ``backend`` and ``place`` must be given."""

    @pytest.fixture
    def backend(self) -> Backend:
        """A plugin over a real store."""
        raise NotImplementedError

    @pytest.fixture
    def place(self) -> Placing:
        """Makes fresh destinations, with the keys asked for (``{"TOKEN": "token"}`` by default)."""
        raise NotImplementedError

    @pytest.fixture
    def destination(self, place: Placing) -> Destination:
        return place()

    @pytest.fixture
    def reopened(self) -> Callable[[], Backend] | None:
        """Another plugin over the same store, as after a restart."""
        return None

    @pytest.fixture
    def raw_bytes(self) -> Callable[[], bytes] | None:
        """Everything that the store would tell anybody about our documents: all versions, all files."""
        return None

    @pytest.fixture
    def reader(self) -> Callable[[Destination], dict[str, str]] | None:
        """The keys that a consumer reads at a destination, without the marker."""
        return None

    @pytest.fixture
    def tamper(self) -> Callable[[Destination], None] | None:
        """Change the current value by hand and leave everything of ours beside it."""
        return None

    @pytest.fixture
    def plant(self) -> Callable[[Destination], None] | None:
        """Put somebody else's document where the destination's current value belongs."""
        return None

    @pytest.fixture
    def denied(self) -> Backend | None:
        """The same store with an identity of ours that may do nothing."""
        return None

    @pytest.fixture
    def unreachable(self) -> Backend | None:
        """The same plugin with a server that refuses connections."""
        return None

    @pytest.fixture
    def hanging(self) -> Backend | None:
        """The same plugin with a server that never answers (``rotatord.testing.silent``)."""
        return None
