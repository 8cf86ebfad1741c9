"""What happens to a rotation on a real Vault when the world around it gives way: stops, full disks, seals, changes, holds.

Each time the application goes on without a refusal, and in the end one token lives."""

from __future__ import annotations

import json
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rotatord.cli.ending import Ending
from tests.integration.on_vault import NAME, MakeWorld, World, application_on
from tests.integration.recording import Recording, recording
from tests.integration.running import Installation
from tests.servers.fixtures import Place
from tests.servers.vault import VaultServer

pytestmark = [pytest.mark.vault, pytest.mark.timeout(240)]
STEPS = (
    "mint intended",
    "mint done",
    "prove done",
    "publish intended",
    "write done",
    "publish done",
    "reload intended",
    "reload done",
    "verify done",
    "authorise done",
    "revoke intended",
    "revoke done",
    "prove_dead done",
)
LAST = STEPS[-2:]  # nothing is left to do but to look, and that is quick
SLOW_SECONDS = 0.04  # a request through the slow way: enough to be met in the middle of a step


def goes_on(world: World, rotations: int) -> None:
    """Everything that was begun has ended: so many rotations, each with one mint, and one token lives."""
    world.one_lives()
    for outcome in ("intended", "done"):
        assert len(world.installation.events(NAME, "mint", outcome)) == rotations + 1
    assert len(world.installation.events(NAME, "prove_dead", "done")) == rotations


def stays(condition: Callable[[], bool], seconds: float) -> None:
    """Look again and again for so long: it must hold each time."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < deadline:
        assert condition()
        pause.wait(0.1)


def verified(world: World) -> dict[str, Any]:
    """Ask for a rotation and wait until its overlap runs."""
    world.installation.command("rotate", NAME)
    return world.installation.until_row(NAME, lambda row: row["state"] == "verified", "verify")


# --- SIGTERM -------------------------------------------------------------------------------------------------------


def heard(installation: Installation, since: int) -> list[str]:
    """The events that the daemon has logged since this many bytes."""
    with installation.output.open("rb") as log:
        log.seek(since)
        lines = log.read().rpartition(b"\n")[0].splitlines()
    return [json.loads(line).get("event", "") for line in lines if line.startswith(b"{")]


@dataclass
class Stoppable:
    """One world for all the stops, and the way to its Vault that can be made slow."""

    world: World
    way: Recording
    rotations: int = 0


@pytest.fixture(scope="module")
def stoppable(vault_server: VaultServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stoppable]:
    """Started once: there are many stops."""
    place = Place(vault_server, "stoppable", tmp_path_factory.mktemp("stoppable"))
    with recording(vault_server.address) as way, application_on(place) as make_world:
        world = make_world(address=way.address)
        with world.installation:
            world.begin(0)
            yield Stoppable(world, way)


@pytest.mark.parametrize("event", STEPS)
def test_sigterm_in_each_step(stoppable: Stoppable, event: str) -> None:
    """Stopped in the middle and started again, the rotation goes on from there: exactly one mint, nobody refused."""
    world, installation = stoppable.world, stoppable.world.installation
    before = installation.row(NAME)["last_rotation"]["id"]
    since = installation.output.stat().st_size
    stoppable.way.slow_seconds = SLOW_SECONDS
    installation.command("rotate", NAME)
    installation.until(lambda: event in heard(installation, since), f"come to {event}")
    assert installation.stop() == 0
    stoppable.way.slow_seconds = 0.0
    row = installation.read("status", NAME)["credentials"][0]
    assert row["rotation"] or row["owed_revocations"] or event in LAST, "it was over already"
    installation.start()
    installation.until_row(NAME, lambda row: row["last_rotation"]["id"] != before, "complete")
    stoppable.rotations += 1
    goes_on(world, stoppable.rotations)


# --- a full disk ---------------------------------------------------------------------------------------------------


@contextmanager
def full_disk(installation: Installation) -> Iterator[None]:
    """The daemon can make no file longer, its log included: what a full disk does to it."""
    assert installation.daemon is not None
    pid = installation.daemon.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


def unready(installation: Installation) -> bool:
    """Whether the daemon says that it cannot write its journal."""
    try:
        return not installation.client.get("/readyz")["ok"]
    except Ending:
        return True


def test_a_full_disk(make_world: MakeWorld) -> None:
    """Without a journal no side effect starts, and it is said; with room again everything goes on by itself."""
    world = make_world()
    with world.installation as installation:
        world.begin()
        before = world.seen()
        with full_disk(installation):
            refused = installation.ask("rotate", NAME)
            assert refused.returncode == 3, refused.stdout + refused.stderr
            assert "journal" in refused.stderr
            installation.until(lambda: unready(installation), "say that it is not ready")
            assert installation.row(NAME)["state"] == "quiet"
            assert world.seen() == before
        installation.until(lambda: not unready(installation), "recover", seconds=30)
        installation.rotated(NAME)
        goes_on(world, 2)


def test_a_disk_that_fills_up_before_the_pivot(make_world: MakeWorld) -> None:
    """The decision cannot be written down, so nothing dies, however long the overlap has been over."""
    world = make_world(overlap="6s")  # long enough to fill the disk in, on a busy machine too
    with world.installation as installation:
        world.begin(0)
        verified(world)
        both = set(world.corner.labelled())
        assert len(both) == 2
        with full_disk(installation):
            stays(lambda: set(world.corner.labelled()) == both, 9.0)
            assert installation.daemon is not None
            assert installation.daemon.poll() is None
        goes_on(world, 1)


# --- a sealed Vault ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before the mint", "in the overlap"])
def test_a_sealed_vault(own_vault: VaultServer, tmp_path: Path, moment: str) -> None:
    """The rotation waits and says for what; after the unsealing it goes on by itself, with one mint."""
    with application_on(Place(own_vault, "sealed", tmp_path)) as make_world:
        world = make_world(overlap="1s")
        with world.installation as installation:
            world.begin(0)
            if moment == "in the overlap":
                verified(world)
                own_vault.seal()
            else:
                own_vault.seal()
                installation.command("rotate", NAME)
            installation.until(lambda: "sealed" in installation.ask("status").stdout, "say so in status")
            row = installation.row(NAME)
            assert row["halt"] is None
            assert row["rotation"]["way"] == "forward"
            own_vault.unseal()
            goes_on(world, 1)


# --- people --------------------------------------------------------------------------------------------------------


def test_a_credential_removed_in_mid_rotation(make_world: MakeWorld) -> None:
    """Its rotation ends as planned; then it is remembered and nothing more. Declared again, it goes on."""
    world = make_world(overlap="1s")
    with world.installation as installation:
        world.begin(0)
        verified(world)
        config = installation.config
        installation.hang_up(config[: config.index("credentials:")])
        row = installation.until_row(NAME, lambda row: row["state"] == "forgotten", "finish and forget")
        installation.until_row(NAME, lambda row: row["owed_revocations"] == 0, "end the old one")
        assert row["last_rotation"]["state"] == "completed"
        (accessor,) = world.corner.labelled()
        refused = installation.ask("rotate", NAME)
        assert refused.returncode == 1
        assert "no longer declared" in refused.stdout + refused.stderr
        assert world.corner.alive(accessor)
        installation.hang_up(config)
        installation.until_quiet(NAME)
        installation.rotated(NAME)
        goes_on(world, 2)


def test_a_credential_changed_in_mid_rotation(make_world: MakeWorld) -> None:
    """The open rotation keeps to its plan; the new place is filled and the new scope minted after it."""
    world = make_world(overlap="1s")
    wider = f"{world.corner.name}-wider"
    world.corner.also(wider)
    with world.installation as installation:
        world.begin(0)
        first = verified(world)
        config = installation.config.replace(
            f"permissions: [{world.corner.name}]", f"permissions: [{world.corner.name}, {wider}]"
        )
        place = "      - {backend: files, path: destinations/other.env, format: dotenv, keys: {OTHER: token}}\n"
        installation.hang_up(config.replace("    consumers:", f"{place}    consumers:"))
        row = installation.until_row(NAME, lambda row: row["generation"] == 3, "rotate for the new scope")
        assert row["last_rotation"]["reason"] == "scope_changed"
        goes_on(world, 2)
        kept, changed = installation.events(NAME, "prove", "done")[1:]
        assert kept["rotation"] == first["rotation"]["id"]
        assert kept["evidence"]["scope"]["permissions"] == [world.corner.name]
        assert sorted(changed["evidence"]["scope"]["permissions"]) == [world.corner.name, wider]
        other = world.corner.directory / "destinations" / "other.env"
        assert f"OTHER={world.token()}" in other.read_text().replace('"', "").replace("'", "")


def test_a_hold_a_moment_before_the_pivot(make_world: MakeWorld) -> None:
    """Whoever holds in the overlap is obeyed: both versions live until the release, and status names the holder."""
    world = make_world(overlap="6s")  # long enough to hold in, on a busy machine too
    with world.installation as installation:
        world.begin(0)
        verified(world)
        assert installation.ask("hold", NAME, "--until", "1h", "--owner", "team-x").returncode == 0
        both = set(world.corner.labelled())
        assert len(both) == 2
        installation.until_row(NAME, lambda row: "held by team-x" in row["waiting"], "say who holds it")
        stays(lambda: set(world.corner.labelled()) == both, 8.0)
        assert installation.row(NAME)["state"] == "verified"
        assert installation.ask("release", NAME).returncode == 0
        goes_on(world, 1)
