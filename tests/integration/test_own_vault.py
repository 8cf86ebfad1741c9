"""rotatord replaces what it speaks to Vault with itself: its own token, and the secret-id it logs in with. A real Vault, least
rights, other credentials rotating beside it, and kill -9 in between: nothing is refused, and nobody is ever locked out."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.on_own_vault import Ours
from tests.integration.running import Installation
from tests.servers.vault import VaultServer

pytestmark = [pytest.mark.vault, pytest.mark.slow, pytest.mark.timeout(600)]
ROTATIONS = 10


@pytest.fixture
def ours(own_vault: VaultServer, tmp_path: Path) -> Ours:
    return Ours.make(own_vault, tmp_path)


@pytest.fixture
def daemon(ours: Ours, tmp_path: Path) -> Iterator[Installation]:
    with Installation(tmp_path, ours.config) as installation:
        ours.adopt(installation)
        yield installation


def test_own_token_and_login_ten_times_each(ours: Ours, daemon: Installation) -> None:
    """Each replaced ten times while another credential is: nothing refused, what was made by hand dead, one of each left."""
    assert set(daemon.row("own-token")["own_of"]) == {"issuers.tokens"}
    assert set(daemon.row("own-login")["own_of"]) == {"backends.kv", "issuers.logins"}
    for _ in range(ROTATIONS):
        for name in ("own-token", "app", "own-login"):
            daemon.rotated(name)
    assert daemon.row("own-token")["generation"] == daemon.row("own-login")["generation"] == ROTATIONS + 1
    assert ours.refused() == []
    assert len(ours.own_tokens()) == len(ours.secret_ids()) == 1
    assert not ours.alive(ours.first_token)
    assert ours.first_secret_id not in ours.secret_ids()


def test_killed_in_between(ours: Ours, daemon: Installation) -> None:
    """kill -9 at any moment of either: it goes on with whichever works, and ends as it should."""
    dice = random.Random(7)
    for turn in range(ROTATIONS):
        name = ("own-token", "own-login")[turn % 2]
        daemon.command("rotate", name)
        threading.Event().wait(dice.random() * 0.5)
        daemon.stop(signal.SIGKILL)
        daemon.start()
        daemon.until_quiet(name, 90)
        daemon.rotated("app")
    assert ours.refused() == []
    assert len(ours.own_tokens()) == len(ours.secret_ids()) == 1


def test_a_new_one_that_lacks_a_right_is_never_published(ours: Ours, daemon: Installation) -> None:
    """Somebody takes a right out of the policy that new tokens get: what works and could not mint stays in the pending slot,
    is ended, and the one in place goes on."""
    server = ours.server
    before = (daemon.directory / "own-token").read_text()
    weak = f"weak-{ours.name}"
    server.policy(weak, 'path "auth/token/revoke-accessor" { capabilities = ["update"] }')
    server.call("POST", f"auth/token/roles/{ours.name}-own", {"allowed_policies": [weak], "orphan": True})
    daemon.hang_up(daemon.config.replace(f"permissions: [own-{ours.name}]", f"permissions: [{weak}]"))
    row = daemon.until_row(
        "own-token",
        lambda row: (row["last_rotation"] or {}).get("state") == "rolled_back" and row["state"] == "quiet",
        "turn back",
    )
    assert "locked out" in row["last_rotation"]["error"]
    assert "auth/token/create" in row["last_rotation"]["error"]
    assert (daemon.directory / "own-token").read_text() == before
    daemon.rotated("app")
    assert ours.refused() == []


def test_without_a_daemon_that_stays(ours: Ours, daemon: Installation) -> None:
    """`run --once` takes up itself what it publishes, before it ends: nobody else would look."""
    daemon.command("rotate", "own-login")
    daemon.command("rotate", "own-token")
    daemon.stop(signal.SIGKILL)
    ended = daemon.ask("run", "--config", str(daemon.config_file), "--once")
    assert ended.returncode == 0, ended.stderr
    rows = {row["name"]: row for row in daemon.read("status")["credentials"]}
    assert [rows[name]["last_rotation"]["state"] for name in ("own-login", "own-token")] == ["completed"] * 2
    assert ours.refused() == []
