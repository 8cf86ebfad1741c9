"""The built-in issuer keeps the contract of issuers; its store is real, so there is no fake."""

from __future__ import annotations

import ctypes
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from issuers.builtin import BuiltinIssuer, create
from rotatord.model import JsonMap
from rotatord.ports import Inventory, Issuer, LastUsed, MintRequest, Surroundings, Suspend, Traits
from rotatord.secret import Secret
from rotatord.testing.contracts.issuer import IssuerContract


def surroundings(state_dir: Path) -> Surroundings:
    return Surroundings(installation="here", state_dir=str(state_dir), now=lambda: datetime.now(UTC), secret=lambda _: "unused")


@contextmanager
def locked_out(directory: Path) -> Iterator[None]:
    """We may not look into the directory. Root may anything, so there this thread touches files as nobody meanwhile."""
    nobody, libc = 65534, ctypes.CDLL(None)
    directory.chmod(0)
    as_root = os.geteuid() == 0
    if as_root:
        libc.setfsuid(nobody)
    try:
        yield
    finally:
        if as_root:
            libc.setfsuid(0)
        directory.chmod(0o700)


class TestBuiltin(IssuerContract):
    """Over a store in a directory of its own."""

    plugin = "builtin"
    powers = frozenset({Suspend, LastUsed, Inventory})
    traits = Traits(
        fields=("token",), scope_proof="exact", expiry=True, call_settles_within=timedelta(seconds=5), high_entropy=("token",)
    )

    @pytest.fixture
    def builtin(self, tmp_path: Path) -> Iterator[BuiltinIssuer]:
        made = create({"permissions": ["read", "write"]}, surroundings(tmp_path / "state"))
        yield made
        made.close()

    @pytest.fixture
    def issuer(self, builtin: BuiltinIssuer) -> Issuer:
        return builtin

    @pytest.fixture
    def request_(self) -> MintRequest:
        return MintRequest(
            installation="here",
            credential="cred",
            rotation="rot_1",
            generation=1,
            scope={"permissions": ["read"], "resources": ["a"]},
            parameters={},
            ttl=timedelta(hours=24),
        )

    @pytest.fixture
    def unknown_ref(self) -> str:
        return "tok-neverwas"

    @pytest.fixture
    def wider_scope(self) -> JsonMap | None:
        return {"permissions": ["read", "write"], "resources": ["a", "b"]}

    @pytest.fixture
    def bad_scope(self) -> JsonMap | None:
        return {"permissions": ["fly"]}

    @pytest.fixture
    def use(self, builtin: BuiltinIssuer) -> Callable[[Secret], None] | None:
        def use(value: Secret) -> None:
            assert builtin.introspect(value.reveal("token"), None)["active"]

        return use

    @pytest.fixture
    def unreachable(self, tmp_path: Path) -> Issuer | None:
        """Its directory cannot be made, because a file is in the way."""
        (tmp_path / "file").write_text("")
        return create({}, surroundings(tmp_path / "file" / "state"))

    @pytest.fixture
    def denied(self, tmp_path: Path) -> Iterator[Issuer]:
        """Its directory is somebody else's."""
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        with closing(create({}, surroundings(theirs / "state"))) as made, locked_out(theirs):
            yield made

    @pytest.fixture
    def hanging(self, tmp_path: Path) -> Iterator[Issuer]:
        """Somebody holds its file and does not let go."""
        state = tmp_path / "held"
        state.mkdir()
        with (
            closing(create({}, surroundings(state))) as made,
            closing(sqlite3.connect(state / "builtin.db", isolation_level=None)) as holder,
        ):
            holder.execute("BEGIN EXCLUSIVE")
            yield made
