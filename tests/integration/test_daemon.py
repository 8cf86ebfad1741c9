"""One daemon as a person meets it: unknown names, a second daemon, a newer journal, a bad configuration."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.running import ROTATORD, Installation

NAME = "orders"
CONFIG = """
state_dir: state
log: {format: json}
issuers: {own: {type: builtin, permissions: [read, write]}}
backends: {files: {type: file}}
policies:
  daily: {max_age: 1d, renew_before: 1h, poll: 100ms, settle: 0s, unproven: {overlap: 200ms}}
credentials:
  - name: orders
    issuer: own
    policy: daily
    scope: {permissions: [read]}
    destinations: [{backend: files, path: destinations/orders.env, format: dotenv, keys: {TOKEN: token}}]
"""


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A running daemon with one credential that has its first version."""
    (tmp_path / "destinations").mkdir()
    with Installation(tmp_path, CONFIG) as running:
        running.until_quiet(NAME)
        yield running


def value(installation: Installation) -> bytes:
    return (installation.directory / "destinations" / "orders.env").read_bytes()


def refused_start(installation: Installation) -> str:
    """Start another daemon over the same state directory; what it said when it gave up."""
    command = [ROTATORD, "run", "--config", str(installation.config_file)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=installation.directory, check=False)
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_an_unknown_name(installation: Installation) -> None:
    """Every command says which name there is none of, and which one may be meant; nothing happens."""
    before = value(installation)
    for command in ("status", "why", "rotate", "repair", "adopt", "rollback", "release", "rebuild", "log"):
        answer = installation.ask(command, "order")
        assert answer.returncode == 2, answer.stdout + answer.stderr
        assert "'order'" in answer.stderr
        assert "did you mean orders?" in answer.stderr
    assert value(installation) == before


def test_a_second_daemon_over_the_same_journal(installation: Installation) -> None:
    """It says who has the journal, and ends; the first one does not notice."""
    assert installation.daemon is not None
    said = refused_start(installation)
    assert "is in use by another daemon" in said
    assert f"pid {installation.daemon.pid}" in said
    assert installation.rotated(NAME)["generation"] == 2


def test_a_journal_of_a_newer_version(installation: Installation) -> None:
    """It is refused and left as it is, and nothing outside is touched, unless it says that ours can go on with it."""
    installation.stop()
    journal = installation.state / "journal.db"
    with closing(sqlite3.connect(journal)) as connection:
        (known,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE facts SET value = '9999' WHERE key = 'schema_serves'")
        connection.commit()
    before = (journal.read_bytes(), value(installation))
    said = refused_start(installation)
    assert "was made by a newer rotatord (schema 9999" in said
    assert "run that version again, or restore" in said
    assert (journal.read_bytes(), value(installation)) == before
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("UPDATE facts SET value = ? WHERE key = 'schema_serves'", (known,))
        connection.commit()
    installation.start()
    assert installation.rotated(NAME)["generation"] == 2
    with closing(sqlite3.connect(journal)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_a_bad_configuration_keeps_the_old_one(installation: Installation) -> None:
    """SIGHUP with mistakes: each is in the log with its line, the old configuration works on, a good one is taken."""
    bad = CONFIG.replace("max_age: 1d", "max_age: 1 fortnight").replace("issuer: own", "issuer: none")
    installation.hang_up(bad)
    name = installation.config_file.name
    installation.until(lambda: installation.output.read_text().count("configuration refused") >= 2, "refuse it")
    output = installation.output.read_text()
    lines = {item: 1 + bad[: bad.index(item)].count("\n") for item in ("1 fortnight", "issuer: none")}
    for line in lines.values():
        assert f"{name}:{line}:" in output
    assert installation.rotated(NAME)["generation"] == 2
    validated = installation.ask("--config", str(installation.config_file), "validate")
    assert validated.returncode == 2
    good = CONFIG.replace("    scope: {permissions: [read]}", "    scope: {permissions: [read, write]}")
    installation.hang_up(good)
    installation.until_row(NAME, lambda row: row["generation"] == 3, "rotate for the other scope")
    assert installation.until_quiet(NAME)["last_rotation"]["reason"] == "scope_changed"
