"""Journals lost, restored or doubled, and values changed by hand, on a real Vault: nothing that lives is revoked, nothing
that is not ours is overwritten, and the commands that the daemon names lead back."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from rotatord.formats import parse
from tests.integration.on_vault import Busy, Corner
from tests.integration.running import Installation
from tests.servers.fixtures import Place

pytestmark = [pytest.mark.vault, pytest.mark.timeout(180)]
NAME = "app"
CONFIG = """
policies:
  quick: {{ttl: 1h, renew_before: 10m, alarm_before: 5m, overlap: {overlap}, poll: 100ms, verify_within: 20s}}
credentials:
  - name: app
    issuer: tokens
    policy: quick
    scope: {{permissions: [{permission}]}}
    destinations:
      - {{backend: kv, path: {permission}/{document}, keys: {{TOKEN: token}}, version_key: VERSION}}
      - {{backend: files, path: {file}, format: dotenv, keys: {{TOKEN: token}}, version_key: VERSION}}
    consumers:
      - {consumer}
"""


@dataclass
class World:
    """One corner of Vault with an application in it that must never be refused, and one installation of rotatord."""

    corner: Corner
    busy: Busy
    installation: Installation

    @property
    def file(self) -> Path:
        return self.corner.directory / "destinations" / "app.env"

    def token(self) -> str:
        return self.corner.document()["TOKEN"]

    def in_file(self) -> str:
        return (parse("dotenv", self.file.read_bytes()) or {})["TOKEN"]

    def seen(self) -> tuple[set[str], dict[str, str], bytes]:
        """Everything that must not change: who lives, and what readers see."""
        return self.corner.accessors(), self.corner.document(), self.file.read_bytes() if self.file.exists() else b""

    def one_lives(self) -> None:
        """Quiet again: one labelled token, which is what everybody reads and what the journal calls current."""
        row = self.installation.until_quiet(NAME)
        (accessor,) = self.corner.labelled()
        current = self.corner.server.call("GET", "auth/token/lookup-self", token=self.token())["data"]
        assert current["accessor"] == accessor
        assert self.in_file() == self.token()
        # The fingerprint in the label is another one where the key was lost, until the next rotation.
        assert self.corner.document()["VERSION"].partition("-")[0] == str(row["generation"])


@pytest.fixture
def make(vault_place: Place) -> Iterator[Callable[..., World]]:
    """Makes the world of a test; its application is stopped, and asked whether it was refused, when the test ends."""
    corner = Corner.make(vault_place)
    reader = ["--document", f"secret/data/{corner.name}/app", "--reader-token", str(corner.reader_token())]
    busy = Busy(corner, "reader", NAME, reader, rate=50)

    def world(overlap: str = "0s", installation: str = "first") -> World:
        names = {"permission": corner.name, "document": "app", "file": "destinations/app.env"}
        config = CONFIG.format(overlap=overlap, consumer=busy.consumer(), **names)
        home = corner.directory / installation
        home.mkdir()
        (home / "destinations").symlink_to(corner.directory / "destinations")
        return World(corner, busy, Installation(home, corner.head(installation) + config))

    with busy:
        yield world
    counts = busy.counts
    assert (counts["refused"], counts["broken"], counts["failed_loads"]) == (0, 0, 0), busy.output()
    assert counts["asked"] > 0


def begin(world: World, rotations: int = 1) -> None:
    """A first version and some rotations."""
    world.installation.until_quiet(NAME)
    for _ in range(rotations):
        world.installation.rotated(NAME)


def behind(world: World) -> None:
    """The daemon says that its journal is behind, refuses to work, and leaves everything as it is."""
    installation, before = world.installation, world.seen()
    installation.until_row(NAME, lambda row: row["standing"] == "behind", "notice")
    status = installation.ask("status")
    assert status.returncode == 1
    assert "READ ONLY" in status.stdout + status.stderr
    assert "rebuild" in status.stdout + status.stderr
    refused = installation.ask("rotate", NAME)
    assert refused.returncode == 1
    assert "`rebuild` first" in refused.stdout + refused.stderr
    assert world.seen() == before


def rebuilt(world: World) -> None:
    """The way back: one command, after which everything works as before."""
    installation, alive = world.installation, world.corner.accessors()
    assert installation.ask("rebuild").returncode == 0
    installation.until_row(NAME, lambda row: row["standing"] == "managed", "be rebuilt")
    installation.until_quiet(NAME)
    assert world.corner.accessors() == alive
    world.one_lives()
    installation.rotated(NAME)
    world.one_lives()
    assert installation.ask("status").returncode == 0


@pytest.mark.parametrize("lost", ["journal", "state directory"])
def test_a_lost_journal(make: Callable[..., World], lost: str) -> None:
    """A new journal finds values of its own installation: it reads only, revokes nothing, and `rebuild` leads back."""
    world = make()
    with world.installation:
        begin(world, 2)
        before = world.seen()
    if lost == "journal":
        for part in world.installation.state.glob("journal.db*"):
            part.unlink()
    else:
        shutil.rmtree(world.installation.state)  # the fingerprint key and the slots of files with it
    with world.installation:
        behind(world)
        assert world.seen() == before
        rebuilt(world)


@pytest.mark.parametrize("moment", ["quiet", "verified"])
def test_a_journal_restored_from_before_some_rotations(make: Callable[..., World], moment: str) -> None:
    """An old copy, made when all was quiet or in the middle of an overlap: the same. Two rotations have happened since."""
    world = make(overlap="2s" if moment == "verified" else "0s")
    copy = world.corner.directory / "copy.db"
    with world.installation as installation:
        begin(world)
        if moment == "verified":
            installation.command("rotate", NAME)
            installation.until_row(NAME, lambda row: row["state"] == "verified", "verify")
        backup(installation.state / "journal.db", copy)
        if moment == "verified":
            installation.until_quiet(NAME)
        for _ in range(2):
            installation.rotated(NAME)
        before = world.seen()
    for part in world.installation.state.glob("journal.db*"):
        part.unlink()
    shutil.copy(copy, world.installation.state / "journal.db")
    with world.installation:
        behind(world)
        assert world.seen() == before
        rebuilt(world)


def backup(journal: Path, copy: Path) -> None:
    """As docs/operations.md says."""
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as live, closing(sqlite3.connect(copy)) as kept:
        live.backup(kept)


def test_two_installations_over_the_same_paths(make: Callable[..., World]) -> None:
    """The second one sees whose the values are and touches nothing; the first one goes on as if it were alone."""
    first, second = make(), make(installation="second")
    with first.installation:
        begin(first)
        before = first.seen()
        with second.installation as installation:
            row = installation.until_row(NAME, lambda row: row["standing"] == "unmanaged", "see what is there")
            assert "another installation" in str(installation.events(NAME, "inspect", "unmanaged")[0]["evidence"])
            assert row["needs_person"]
            assert installation.ask("rotate", NAME).returncode == 1
            assert installation.ask("adopt", NAME).returncode == 0
            installation.until(lambda: bool(installation.events(NAME, "adopt", "failed")), "refuse to adopt")
            (failed,) = installation.events(NAME, "adopt", "failed")
            assert "belongs to the installation first" in failed["evidence"]["why"]
            assert installation.row(NAME)["standing"] == "unmanaged"
            assert first.seen() == before
            first.installation.rotated(NAME)
            first.one_lives()
            own_paths(second)
            assert len(second.corner.labelled()) == 2
            first.installation.rotated(NAME)
            labels = sorted(meta["rotatord_installation"] for meta in first.corner.labelled().values())
            assert labels == ["first", "second"]


def own_paths(second: World) -> None:
    """Its way out: paths of its own."""
    installation = second.installation
    document = f"{second.corner.name}/other"
    config = installation.config.replace(f"{second.corner.name}/app", document).replace("app.env", "other.env")
    config = config[: config.index("    consumers:")] + "    consumers: [{type: observe, name: poller, refresh_within: 1s}]\n"
    installation.hang_up(config)
    installation.until_quiet(NAME)


# --- values that somebody else put there ---------------------------------------------------------------------------


def foreign(world: World, *, patched: bool = False) -> tuple[str, str]:
    """A person puts a token of their own into the document, while the application goes on with ours."""
    token, accessor = world.corner.made()
    kept = world.corner.document() if patched else {}  # `vault kv patch` leaves our marker and the version beside it
    world.corner.write({**kept, "TOKEN": token})
    world.installation.command("inspect", NAME)
    row = world.installation.until_row(NAME, lambda row: bool(row["drift"]), "see the drift")
    assert [item["what"] for item in row["drift"]] == ["foreign"]
    assert row["needs_person"]
    return token, accessor


def test_a_value_changed_by_hand_is_kept_until_a_person_decides_for_ours(make: Callable[..., World]) -> None:
    """A rotation waits rather than overwrite it; `repair` puts ours back, and the stranger's token lives on."""
    world = make()
    with world.installation as installation:
        begin(world)
        _, accessor = foreign(world)
        before = world.seen()
        assert installation.ask("rotate", NAME).returncode == 0
        row = installation.until_row(NAME, lambda row: "changed by somebody else" in row["waiting"], "wait")
        assert "`repair`" in row["waiting"]
        assert "`adopt`" in row["waiting"]
        assert installation.ask("rollback", NAME).returncode == 0
        installation.until_row(NAME, lambda row: row["rotation"] is None, "give up")
        assert world.seen() == before
        assert installation.ask("repair", NAME).returncode == 0
        world.one_lives()
        assert world.corner.alive(accessor)
        assert world.corner.accessors() == before[0]
        installation.rotated(NAME)
        world.one_lives()
        assert world.corner.alive(accessor)


@pytest.mark.parametrize("ref", [False, True], ids=["without its ref", "with its ref"])
def test_a_value_changed_by_hand_is_adopted(make: Callable[..., World], ref: bool) -> None:
    """`adopt` makes it the current version; ours dies only once the application is proven to use theirs."""
    world = make()
    with world.installation as installation:
        begin(world)
        (ours,) = world.corner.labelled()
        token, accessor = foreign(world, patched=ref)
        assert installation.ask("adopt", NAME, *(["--ref", accessor] if ref else [])).returncode == 0
        installation.until(lambda: not world.corner.labelled(), "end what it made")
        row = installation.until_quiet(NAME)
        assert (world.token(), world.in_file(), world.corner.document()["VERSION"]) == (token, token, row["version"])
        verified, revoked = (
            installation.events(NAME, *what)[-1]["seq"] for what in (("verify", "done"), ("revoke", "intended"))
        )
        assert verified < revoked
        assert not world.corner.alive(ours)
        installation.rotated(NAME)
        world.one_lives()
        assert world.corner.alive(accessor) is not ref


@pytest.mark.parametrize("how", ["deleted", "destroyed"])
def test_a_deleted_value_comes_back(make: Callable[..., World], how: str) -> None:
    """What is gone from one place is published again from another, without a mint; nobody has to ask."""
    world = make()
    with world.installation as installation:
        begin(world)
        token, alive = world.token(), world.corner.accessors()
        world.corner.server.call("DELETE", f"secret/{'data' if how == 'deleted' else 'metadata'}/{world.corner.name}/app")
        assert world.corner.document() == {}
        installation.command("inspect", NAME)
        installation.until(lambda: world.corner.document().get("TOKEN") == token, "publish it again")
        world.one_lives()
        assert world.corner.accessors() == alive


def test_a_value_deleted_everywhere_is_replaced(make: Callable[..., World]) -> None:
    """Nobody can read the value any more, but the application still uses it: a new one is proven before that one dies."""
    world = make()
    with world.installation as installation:
        begin(world)
        token, generation = world.token(), installation.row(NAME)["generation"]
        world.corner.server.call("DELETE", f"secret/metadata/{world.corner.name}/app")
        world.file.unlink()
        installation.command("inspect", NAME)
        installation.until_row(NAME, lambda row: row["generation"] == generation + 1, "make a new one")
        world.one_lives()
        assert not world.corner.works(token)


@pytest.mark.parametrize("ref", [False, True], ids=["without its ref", "with its ref"])
def test_a_value_at_first_contact(make: Callable[..., World], ref: bool) -> None:
    """What was there before rotatord is shown and left alone until `adopt`; it dies of a rotation only if named."""
    world = make()
    token, accessor = world.corner.made()
    _, other = world.corner.made()
    world.corner.write({"TOKEN": token})
    world.file.write_text(f"TOKEN={token}\n")
    world.busy.tell()
    before = world.seen()
    with world.installation as installation:
        installation.until_row(NAME, lambda row: row["standing"] == "unmanaged", "see what is there")
        assert installation.ask("status").returncode == 1
        refused = installation.ask("rotate", NAME)
        assert refused.returncode == 1
        assert "`adopt` first" in refused.stdout + refused.stderr
        installation.ask("adopt", NAME, "--ref", other)
        installation.until(lambda: bool(installation.events(NAME, "adopt", "failed")), "refuse another's ref")
        assert f"belongs to {accessor}" in installation.events(NAME, "adopt", "failed")[0]["evidence"]["why"]
        assert world.seen() == before
        assert installation.ask("adopt", NAME, *(["--ref", accessor] if ref else [])).returncode == 0
        installation.until_quiet(NAME)
        assert (world.corner.accessors(), world.token(), world.in_file()) == (before[0], token, token)
        installation.rotated(NAME)
        world.one_lives()
        assert world.corner.alive(accessor) is not ref
        assert world.corner.alive(other)
