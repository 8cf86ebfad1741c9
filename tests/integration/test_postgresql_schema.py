"""The schema in PostgreSQL: made once however many start at once, brought up to date, refused when newer, least rights."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from rotatord.errors import JournalTooNew, JournalUnavailable
from rotatord.journal import open_journal
from rotatord.journal.migrations import HEAD, REVISIONS
from rotatord.journal.migrations.upgrade import upgrade
from rotatord.journal.postgresql import PostgresqlServer
from rotatord.journal.postgresql_journal import PostgresqlJournal
from rotatord.journal.tables import METADATA
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.contracts.journal_setting import LATER, a_notice, a_record, a_rotation, an_event, put
from tests.servers.postgresql import Database

pytestmark = pytest.mark.postgresql
ROOT = Path(__file__).resolve().parents[2]


def opened(url: str, *, read_only: bool = False) -> PostgresqlJournal:
    journal = open_journal(url, VirtualClock(), SeededIds(), read_only=read_only)
    assert isinstance(journal, PostgresqlJournal)
    return journal


@pytest.fixture
def server(database: Database) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(database.url, autocommit=True) as connection:
        yield connection


def test_many_start_at_once(database: Database) -> None:
    """Each finds a schema made by one of them."""
    with ThreadPoolExecutor(6) as pool:
        journals = list(pool.map(opened, [database.url] * 6))
    put(journals[0], a_record("a"))
    assert all(journal.get("a") == a_record("a") for journal in journals)
    for journal in journals:
        journal.close()


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_version_is_brought_up_to_date(
    revision: str, database: Database, server: psycopg.Connection[tuple[object, ...]]
) -> None:
    """From each version of the schema, with something of everything in it, all is there afterwards and goes on."""
    with closing(PostgresqlServer(lambda: database.url, read_only=False).connect()) as connection:
        connection.autocommit = False
        upgrade("postgresql+psycopg://", connection, to=revision, begin="SELECT 1")
    turning = a_record("turning", expires_at=LATER)
    in_flight = replace(turning, rotation=a_rotation(turning.spec, turning.current))
    if revision == HEAD:
        journal = opened(database.url)
        put(journal, in_flight)
        journal.close()
    else:  # as that version stored it
        from rotatord.journal.codec import RECORDS
        from rotatord.journal.row import row_of

        row = row_of(in_flight)._asdict()
        del row["late_at"]  # since 0003
        columns = ", ".join(row)
        server.execute(
            f"INSERT INTO credentials ({columns}, ready) VALUES ({', '.join(['%s'] * len(row))}, 0)", list(row.values())
        )
        server.execute("INSERT INTO records VALUES (%s, %s)", ("turning", RECORDS.encode(in_flight)))
        server.execute("UPDATE journal SET credentials = 1")
        if revision != "0001":
            server.execute("INSERT INTO leases VALUES ('turning', '', 0, 0)")
    journal = opened(database.url)
    (lease,) = journal.claim(START, 9)
    assert lease.record == in_flight
    assert journal.commit(lease, lease.record, [an_event("e1")], [a_notice("n1")]).seq == 1
    assert [event.seq for event in journal.replay()] == [1]
    journal.close()
    assert server.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]


def test_the_migrated_schema_is_the_one_that_the_statements_expect(database: Database) -> None:
    """The scripts lead to the tables of tables.py."""
    opened(database.url).close()
    engine = create_engine(database.url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_a_newer_journal_is_refused(database: Database, server: psycopg.Connection[tuple[object, ...]]) -> None:
    """And left alone, unless its maker says that ours can work with it."""
    opened(database.url).close()
    server.execute("UPDATE alembic_version SET version_num = '9999'")
    journal = opened(database.url)  # by what its maker says, ours can work with it
    put(journal, a_record("a"))
    journal.close()
    server.execute("UPDATE facts SET value = '9999' WHERE key = 'schema_serves'")
    for read_only in (False, True):
        with pytest.raises(JournalTooNew, match="run that version again"):
            opened(database.url, read_only=read_only)


def test_a_schema_of_somebody_else(database: Database, server: psycopg.Connection[tuple[object, ...]]) -> None:
    """Is not taken; one of our own beside it is had by the search path."""
    server.execute("CREATE TABLE alembic_version (version_num text)")
    with pytest.raises(JournalUnavailable, match="search_path"):
        opened(database.url)
    server.execute("CREATE SCHEMA ours")
    journal = opened(database.url_at(database.server.port, options="-csearch_path%3Dours"))
    put(journal, a_record("a"))
    journal.close()
    assert server.execute("SELECT count(*) FROM ours.credentials").fetchall() == [(1,)]


def test_without_the_right_to_make_tables(database: Database) -> None:
    """Says what is missing, not how it stumbled; afterwards reading and writing is all it needs."""
    with database.admin() as admin:
        admin.execute(f"ALTER DATABASE {database.name} OWNER TO admin")
        with pytest.raises(JournalUnavailable, match="permission denied"):
            opened(database.url)
        admin.execute(f"GRANT CREATE ON SCHEMA public TO {database.name}")
        opened(database.url).close()
        admin.execute(f"REVOKE CREATE ON SCHEMA public FROM {database.name}")
    journal = opened(database.url)
    put(journal, a_record("a"))
    assert journal.prune(LATER, 5) == 0
    journal.close()


def test_looking_only(database: Database) -> None:
    """Reads beside daemons, makes nothing, writes nothing."""
    with pytest.raises(JournalUnavailable, match="start the daemon once"):
        opened(database.url, read_only=True)
    journal = opened(database.url)
    put(journal, a_record("a"))
    looking = opened(database.url, read_only=True)
    assert looking.get("a") == a_record("a")
    with pytest.raises(JournalUnavailable, match="reading only"):
        looking.set_fact("a", "b")
    looking.close()
    journal.close()


def test_what_cannot_be_reached_is_said_without_the_password(database: Database) -> None:
    """Nobody there, a wrong password, a reference that leads nowhere."""
    wrong = database.url.replace(database.password, "hush-hush")
    for url in (database.url_at(1), wrong, "postgresql://"):
        with pytest.raises(JournalUnavailable) as refused:
            opened(url)
        assert database.password not in str(refused.value)
        assert "hush-hush" not in str(refused.value)


def test_nothing_of_it_is_imported_by_those_who_have_a_file(tmp_path: Path) -> None:
    """Neither the driver nor its library is loaded for a journal in a file."""
    code = """
        import sys
        from rotatord.clock import RandomIds, SystemClock
        from rotatord.journal import open_journal
        open_journal("sqlite:///" + sys.argv[1], SystemClock(), RandomIds()).close()
        assert not [name for name in sys.modules if name.startswith(("psycopg", "rotatord.journal.postgresql"))]
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "journal.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT, env={**os.environ})
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_no_statement_of_the_daily_work_scans_at_size(database: Database) -> None:
    """With many credentials, claims and looks go by index: what they cost does not grow with the number."""
    journal = opened(database.url)
    put(journal, *[a_record(f"c{number:05}", due_at=LATER, issuer=f"issuer-{number % 5}") for number in range(5000)])
    with database.admin() as admin:
        admin.execute("ANALYZE")
        for name in (
            "sleeping_due",
            "next_ready_issuer",
            "ready_of_issuer",
            "next_sleeping",
            "next_ready",
            "body",
        ):
            text = vars(journal._statements)[name]
            plan = "\n".join(row[0] for row in admin.execute(f"EXPLAIN {text}", _Anything()).fetchall())
            assert "Seq Scan on credentials" not in plan, f"{name}: {plan}"
    journal.close()


class _Anything(dict[str, object]):
    """A value for every parameter."""

    def __missing__(self, key: str) -> object:
        return 1

    def __contains__(self, key: object) -> bool:
        return True
