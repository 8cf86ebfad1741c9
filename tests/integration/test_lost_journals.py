"""Journals lost, restored or doubled, and values changed by hand, on a real Vault: nothing that lives is revoked, nothing
that is not ours is overwritten, and the commands that the daemon names lead back."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.on_vault import NAME, MakeWorld, World

pytestmark = [pytest.mark.vault, pytest.mark.timeout(180)]


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
    installation, alive = world.installation, world.corner.mine()
    assert installation.ask("rebuild").returncode == 0
    installation.until_row(NAME, lambda row: row["standing"] == "managed", "be rebuilt")
    installation.until_quiet(NAME)
    assert world.corner.mine() == alive
    world.one_lives()
    installation.rotated(NAME)
    world.one_lives()
    assert installation.ask("status").returncode == 0


@pytest.mark.parametrize("lost", ["journal", "state directory"])
def test_a_lost_journal(make_world: MakeWorld, lost: str) -> None:
    """A new journal finds values of its own installation: it reads only, revokes nothing, and `rebuild` leads back."""
    world = make_world()
    with world.installation:
        world.begin(2)
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
def test_a_journal_restored_from_before_some_rotations(make_world: MakeWorld, moment: str) -> None:
    """An old copy, made when all was quiet or in the middle of an overlap: the same. Two rotations have happened since."""
    world = make_world(overlap="2s" if moment == "verified" else "0s")
    copy = world.corner.directory / "copy.db"
    with world.installation as installation:
        world.begin()
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


def test_two_installations_over_the_same_paths(make_world: MakeWorld) -> None:
    """The second one sees whose the values are and touches nothing; the first one goes on as if it were alone."""
    first, second = make_world(), make_world(installation="second")
    with first.installation:
        first.begin()
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


def test_a_value_changed_by_hand_is_kept_until_a_person_decides_for_ours(make_world: MakeWorld) -> None:
    """A rotation waits rather than overwrite it; `repair` puts ours back, and the stranger's token lives on."""
    world = make_world()
    with world.installation as installation:
        world.begin()
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
        assert world.corner.mine() == before[0]
        installation.rotated(NAME)
        world.one_lives()
        assert world.corner.alive(accessor)


@pytest.mark.parametrize("ref", [False, True], ids=["without its ref", "with its ref"])
def test_a_value_changed_by_hand_is_adopted(make_world: MakeWorld, ref: bool) -> None:
    """`adopt` makes it the current version; ours dies only once the application is proven to use theirs."""
    world = make_world()
    with world.installation as installation:
        world.begin()
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
def test_a_deleted_value_comes_back(make_world: MakeWorld, how: str) -> None:
    """What is gone from one place is published again from another, without a mint; nobody has to ask."""
    world = make_world()
    with world.installation as installation:
        world.begin()
        token, alive = world.token(), world.corner.mine()
        world.corner.server.call("DELETE", f"secret/{'data' if how == 'deleted' else 'metadata'}/{world.corner.name}/app")
        assert world.corner.document() == {}
        installation.command("inspect", NAME)
        installation.until(lambda: world.corner.document().get("TOKEN") == token, "publish it again")
        world.one_lives()
        assert world.corner.mine() == alive


def test_a_value_deleted_everywhere_is_replaced(make_world: MakeWorld) -> None:
    """Nobody can read the value any more, but the application still uses it: a new one is proven before that one dies."""
    world = make_world()
    with world.installation as installation:
        world.begin()
        token, generation = world.token(), installation.row(NAME)["generation"]
        world.corner.server.call("DELETE", f"secret/metadata/{world.corner.name}/app")
        world.file.unlink()
        installation.command("inspect", NAME)
        installation.until_row(NAME, lambda row: row["generation"] == generation + 1, "make a new one")
        world.one_lives()
        assert not world.corner.works(token)


@pytest.mark.parametrize("ref", [False, True], ids=["without its ref", "with its ref"])
def test_a_value_at_first_contact(make_world: MakeWorld, ref: bool) -> None:
    """What was there before rotatord is shown and left alone until `adopt`; it dies of a rotation only if named."""
    world = make_world()
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
        assert (world.corner.mine(), world.token(), world.in_file()) == (before[0], token, token)
        installation.rotated(NAME)
        world.one_lives()
        assert world.corner.alive(accessor) is not ref
        assert world.corner.alive(other)
