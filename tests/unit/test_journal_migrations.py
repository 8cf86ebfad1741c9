"""Journals of every released version are brought up to date, whole."""

import contextlib
import logging
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from rotatord.errors import JournalUnavailable
from rotatord.journal import migrations, open_journal
from rotatord.journal.migrations import HEAD, REVISIONS
from rotatord.journal.migrations.upgrade import upgrade
from rotatord.journal.tables import METADATA
from rotatord.ports import Journal
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.contracts.journal_setting import LATER, a_notice, a_record, a_rotation, an_event

DUMPS = Path(__file__).parent / "journals"


def opened(path: Path, *, read_only: bool = False) -> Journal:
    return open_journal(f"sqlite:///{path}", VirtualClock(), SeededIds(), read_only=read_only)


def restored(revision: str, path: Path) -> None:
    """The journal that a released version has left behind."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript((DUMPS / f"{revision}.sql").read_text())


def revision_of(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_the_list_of_versions_is_that_of_the_scripts() -> None:
    """The list that lets an up-to-date journal open without Alembic names every script, in order."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in reversed(list(scripts.walk_revisions()))] == list(REVISIONS)
    assert scripts.get_current_head() == HEAD


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_journal_of_every_version_survives_the_upgrade(revision: str, tmp_path: Path) -> None:
    """What a released version has stored is all there afterwards, a rotation in flight goes on, and numbers go on."""
    path = tmp_path / "journal.db"
    restored(revision, path)
    journal = opened(path)
    turning, waiting = a_record("turning", expires_at=LATER), a_record("waiting", due_at=LATER)
    in_flight = replace(turning, rotation=a_rotation(turning.spec, turning.current), seq=1)
    assert list(journal.records()) == [in_flight, waiting]
    assert list(journal.replay()) == [replace(an_event("e1", credential="turning"), seq=1)]
    assert list(journal.notices(START, 9)) == [replace(a_notice("n1"), attempts=1)]
    assert journal.fact("installation") == "inst_1"
    assert journal.counts(START) == {"credentials": 2, "due": 1, "open": 1, "halted": 0, "owed": 0, "overdue": 0}

    (lease,) = journal.claim(START, 9)
    assert journal.commit(lease, lease.record, [an_event("e2")]).seq == 2
    assert [event.seq for event in journal.replay()] == [1, 2]
    assert lease.fence >> 32 == 2  # the second opening: fences go on as well
    journal.close()
    assert revision_of(path) == HEAD


def test_the_migrated_schema_is_the_one_that_the_statements_expect(tmp_path: Path) -> None:
    """The scripts lead to exactly the tables, columns and indexes of tables.py."""
    path = tmp_path / "journal.db"
    opened(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        for table in METADATA.sorted_tables:
            stored = {index["name"]: index.get("dialect_options", {}) for index in inspect(connection).get_indexes(table.name)}
            declared = {index.name: index.dialect_kwargs.get("sqlite_where") for index in table.indexes}
            assert stored.keys() == declared.keys()
            for name, where in declared.items():
                assert str(stored[name].get("sqlite_where")) == str(where)
    engine.dispose()


def test_an_interrupted_upgrade_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    """A migration is one transaction: when it fails, nothing of it stays."""
    path = tmp_path / "journal.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE facts (key TEXT)")  # in the way of the last table
        with pytest.raises(Exception, match="facts"):
            upgrade("sqlite://", connection)
        tables = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("facts",)]


def test_looking_at_an_older_journal_says_what_to_do(tmp_path: Path) -> None:
    """Reading only does not migrate."""
    path = tmp_path / "journal.db"
    path.touch()
    with pytest.raises(JournalUnavailable, match="start the daemon once"):
        opened(path, read_only=True)
    assert path.read_bytes() == b""


def test_migrating_leaves_logging_alone(tmp_path: Path) -> None:
    """Alembic usually configures logging; ours must not."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers), logging.getLogger("alembic").level)
    opened(tmp_path / "journal.db").close()
    assert (root.level, list(root.handlers), logging.getLogger("alembic").level) == before


def test_an_up_to_date_journal_opens_without_alembic(tmp_path: Path) -> None:
    """Alembic is imported only where something is to be migrated, so that starting stays fast."""
    path = tmp_path / "journal.db"
    opened(path).close()
    code = (
        "import sys\n"
        "from rotatord.clock import RandomIds, SystemClock\n"
        "from rotatord.journal import open_journal\n"
        "open_journal('sqlite:///' + sys.argv[1], SystemClock(), RandomIds()).close()\n"
        "assert 'alembic' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
