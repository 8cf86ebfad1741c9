"""Who this installation is: made once, private, never overwritten, and never taken for another."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rotatord import identity
from rotatord.errors import JournalTooNew, Refused
from rotatord.journal.memory import MemoryJournal
from rotatord.secret import Secret
from rotatord.testing.clock import SeededIds, VirtualClock

SECRET = Secret({"token": "something"})


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal(VirtualClock(), SeededIds(1))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_made_for_this_user_alone(tmp_path: Path, journal: MemoryJournal) -> None:
    """The state directory and what identity keeps in it can be read by nobody else, and no draft is left."""
    state = tmp_path / "deep" / "state"
    identity.prepare(state)
    identity.fingerprinter(state)
    identity.installation(None, state, journal, SeededIds(1))
    assert mode(state) == 0o700
    assert {path.name: mode(path) for path in state.iterdir()} == {"fingerprint.key": 0o600, "installation": 0o600}


def test_a_state_directory_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    """Whoever could exchange the key or the journal would decide what is revoked."""
    tmp_path.chmod(0o777)
    with pytest.raises(Refused, match="chmod 700"):
        identity.prepare(tmp_path)


def test_the_key_is_made_once(tmp_path: Path) -> None:
    """A second start fingerprints as the first did: the key is never written again."""
    first = identity.fingerprinter(tmp_path)
    content = (tmp_path / identity.KEY_FILE).read_bytes()
    assert identity.fingerprinter(tmp_path).fingerprint(SECRET) == first.fingerprint(SECRET)
    assert (tmp_path / identity.KEY_FILE).read_bytes() == content


def test_two_state_directories_have_two_keys(tmp_path: Path) -> None:
    """Fingerprints of one installation say nothing about those of another."""
    prints = set()
    for name in ("a", "b"):
        identity.prepare(tmp_path / name)
        prints.add(identity.fingerprinter(tmp_path / name).fingerprint(SECRET))
    assert len(prints) == 2


def test_a_directory_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    """Whoever could exchange the journal there would decide what is revoked."""
    state = tmp_path / "open"
    state.mkdir()
    state.chmod(0o777)
    with pytest.raises(Refused, match="everybody may write"):
        identity.prepare(state)


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_damaged_key_is_neither_used_nor_replaced(tmp_path: Path, content: bytes) -> None:
    """What a full disk left of a key is a person's to judge; the daemon says what to do and touches nothing."""
    (tmp_path / identity.KEY_FILE).write_bytes(content)
    with pytest.raises(Refused, match="move it away"):
        identity.fingerprinter(tmp_path)
    assert (tmp_path / identity.KEY_FILE).read_bytes() == content


def test_who_comes_second_takes_what_the_first_made(tmp_path: Path) -> None:
    """Of two first starts at one moment both go on with the same file."""
    identity._write_new(tmp_path / "installation", b"inst_first")
    identity._write_new(tmp_path / "installation", b"inst_second")
    assert (tmp_path / "installation").read_bytes() == b"inst_first"


def test_an_id_is_made_once_and_kept(tmp_path: Path, journal: MemoryJournal) -> None:
    """Without a declared id one is made; it is the same at every later start and in the journal."""
    made = identity.installation(None, tmp_path, journal, SeededIds(1))
    assert made.startswith("inst_")
    assert identity.installation(None, tmp_path, journal, SeededIds(2)) == made
    assert journal.fact(identity.INSTALLATION) == made


def test_a_lost_journal_does_not_make_another_installation(tmp_path: Path, journal: MemoryJournal) -> None:
    """With the journal gone, the id beside it still recognises our labels."""
    made = identity.installation(None, tmp_path, journal, SeededIds(1))
    empty = MemoryJournal(VirtualClock(), SeededIds(2))
    assert identity.installation(None, tmp_path, empty, SeededIds(3)) == made


def test_a_restored_journal_brings_its_id_along(tmp_path: Path, journal: MemoryJournal) -> None:
    """A state directory restored from a backup of journal and key alone is the installation that it was."""
    journal.set_fact(identity.INSTALLATION, "inst_known")
    assert identity.installation(None, tmp_path, journal, SeededIds(1)) == "inst_known"
    assert (tmp_path / identity.ID_FILE).read_text() == "inst_known"


@pytest.mark.parametrize("declared", ["other", None])
def test_a_journal_of_another_installation_is_refused(tmp_path: Path, journal: MemoryJournal, declared: str | None) -> None:
    """Our labels would not be recognised, so nothing starts; the sentence names both and the remedy."""
    journal.set_fact(identity.INSTALLATION, "production")
    (tmp_path / identity.ID_FILE).write_text("staging")
    with pytest.raises(JournalTooNew, match="set `installation: production`"):
        identity.installation(declared, tmp_path, journal, SeededIds(1))
    assert journal.fact(identity.INSTALLATION) == "production"


def test_a_declared_id_needs_no_file(tmp_path: Path, journal: MemoryJournal) -> None:
    """What the configuration says is the id, and is compared with the journal from then on."""
    assert identity.installation("production", tmp_path, journal, SeededIds(1)) == "production"
    assert not (tmp_path / identity.ID_FILE).exists()
    assert journal.fact(identity.INSTALLATION) == "production"


def test_an_empty_id_is_no_id(tmp_path: Path, journal: MemoryJournal) -> None:
    """Labels with an empty installation would be everybody's: an empty file stops the start."""
    (tmp_path / identity.ID_FILE).write_text("\n")
    with pytest.raises(JournalTooNew, match="is empty"):
        identity.installation(None, tmp_path, journal, SeededIds(1))
    assert journal.fact(identity.INSTALLATION) is None


def test_another_key_is_noticed(tmp_path: Path, journal: MemoryJournal) -> None:
    """With the key lost, a start tells that fingerprints from before cannot be compared, and with it restored that they can."""
    first = identity.fingerprinter(tmp_path)
    assert not identity.rekeyed(journal, first)
    (tmp_path / identity.KEY_FILE).rename(tmp_path / "kept")
    assert identity.rekeyed(journal, identity.fingerprinter(tmp_path))
    (tmp_path / "kept").replace(tmp_path / identity.KEY_FILE)
    assert not identity.rekeyed(journal, identity.fingerprinter(tmp_path))
