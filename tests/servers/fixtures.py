"""Fixtures over the real servers: one server a session, names of its own for every test."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rotatord.clock import SystemClock
from rotatord.errors import NotFound
from rotatord.ports import Surroundings
from tests.servers.binaries import Program, find
from tests.servers.vault import VAULT, VaultServer

ROOT = Path(__file__).resolve().parents[2]
KV_MOUNT = "secret"


def need(program: Program) -> Path:
    """The program, or a skip with the remedy; on CI a missing server is a failure."""
    found = find(program)
    if found is not None:
        return found
    message = f"no {program.name}: {program.remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@dataclass
class Place:
    """Names in the shared Vault that belong to one test, and identities of rotatord under the documented policies."""

    server: VaultServer
    name: str
    directory: Path
    made: list[Any] = field(default_factory=list)
    rules: dict[str, str] = field(default_factory=dict)

    def documented_policy(self, name: str, **replaced: str) -> str:
        """Write a policy exactly as docs/vault.md has it, its capital placeholders filled in; returns its name here."""
        page = (ROOT / "docs" / "vault.md").read_text()
        found = re.search(rf"```hcl\n# policy: {re.escape(name)}\n(.*?)```", page, re.DOTALL)
        assert found, f"docs/vault.md has no policy {name}"
        rules = found[1]
        for placeholder, value in replaced.items():
            rules = rules.replace(placeholder, value)
        own = f"{name}-{self.name}"
        self.rules[own] = self.rules.get(own, "") + rules  # said again for another role or path, it has both
        self.server.policy(own, self.rules[own])
        return own

    def settings(self, *policies: str, **more: Any) -> dict[str, Any]:
        """Connection settings with a token of these policies, kept in a file."""
        file = self.directory / f"token-{secrets.token_hex(4)}"
        file.write_text(self.server.token(*policies))
        return {"address": self.server.address, "auth": {"token": {"file": str(file)}}, **more}

    def closing(self, plugin: Any) -> Any:
        """The plugin, closed when the test ends."""
        self.made.append(plugin)
        return plugin


def resolve(reference: Any) -> str:
    """Secret references as tests need them."""
    if "file" in reference:
        return Path(reference["file"]).read_text()
    if "env" in reference:
        return os.environ[reference["env"]]
    raise NotFound("tests know {file: …} and {env: …} only")


@pytest.fixture(scope="session")
def vault_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    """A Vault for the whole session, with KV v2 at ``secret`` and AppRole at ``approle``. Never seal this one."""
    server = VaultServer(need(VAULT), tmp_path_factory.mktemp("vault"))
    try:
        server.start()
        prepare(server)
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_vault(tmp_path: Path) -> Iterator[VaultServer]:
    """A Vault for one test, that may be sealed, stopped and started."""
    server = VaultServer(need(VAULT), tmp_path / "vault")
    try:
        server.start()
        prepare(server)
        yield server
    finally:
        server.stop()


def prepare(server: VaultServer) -> None:
    """The mounts that tests use."""
    server.call("POST", f"sys/mounts/{KV_MOUNT}", {"type": "kv", "options": {"version": "2"}})
    server.call("POST", "sys/auth/approle", {"type": "approle"})
    server.until_upgraded(KV_MOUNT)


@pytest.fixture
def vault_place(vault_server: VaultServer, tmp_path: Path) -> Iterator[Place]:
    """A corner of the shared Vault for one test."""
    corner = Place(vault_server, f"t{secrets.token_hex(5)}", tmp_path)
    yield corner
    for plugin in corner.made:
        plugin.close()


@pytest.fixture
def surroundings(tmp_path: Path) -> Callable[..., Surroundings]:
    """Makes surroundings with an installation of this test's own."""

    def make(installation: str | None = None) -> Surroundings:
        return Surroundings(
            installation=installation or f"inst-{secrets.token_hex(4)}",
            state_dir=str(tmp_path / "state"),
            now=SystemClock().now,
            secret=resolve,
        )

    return make
