"""`rotatord move-journal` on a real PostgreSQL: a daemon with an open rotation and a debt goes on where its journal went."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from rotatord.clock import RandomIds, SystemClock
from rotatord.journal.moving import moving, postgresql_place, sqlite_place
from tests.integration.replicas import Fleet, freeze, thaw
from tests.integration.running import ROTATORD, Installation
from tests.servers.postgresql import Database

pytestmark = [pytest.mark.postgresql, pytest.mark.slow, pytest.mark.timeout(600)]

CONFIG = """
state_dir: state
issuers: {own: {type: builtin}}
backends: {files: {type: file}}
policies:
  slow: {ttl: 1h, renew_before: 10m, alarm_before: 5m, overlap: 1s, settle: 0s, poll: 100ms, unproven: {overlap: 1s}}
credentials:
  - name: app
    issuer: own
    policy: slow
    destinations: [{backend: files, path: app.env, keys: {TOKEN: token}}]
"""


LONG = CONFIG.replace("overlap: 1s", "overlap: 10s")


@pytest.fixture
def daemon(tmp_path: Path, database: Database) -> Iterator[Installation]:
    """One whose journal lies in its state directory; the URL of a database lies beside it in a file."""
    made = Installation(tmp_path, CONFIG)
    (tmp_path / "url").write_text(database.url + "\n")
    made.config_file.write_text(CONFIG)
    yield made
    if made.daemon is not None:
        made.stop()


def move(daemon: Installation, to: str) -> subprocess.CompletedProcess[str]:
    return daemon.ask("move-journal", "--config", str(daemon.config_file), "--to", to, timeout=180)


def shared(daemon: Installation) -> None:
    """The configuration names the database from now on."""
    daemon.config += "database: {url: {file: url}}\n"
    daemon.config_file.write_text(daemon.config)


def tried(daemon: Installation) -> str:
    """What a daemon says that does not start."""
    command = [ROTATORD, "run", "--config", str(daemon.config_file)]
    ended = subprocess.run(
        command, capture_output=True, text=True, env=daemon._environment(), cwd=daemon.directory, timeout=180, check=False
    )
    assert ended.returncode == 2, ended.stderr
    return ended.stderr


def test_there_and_back_with_a_rotation_open(daemon: Installation, database: Database) -> None:
    """Stopped in an overlap, moved, started: the same rotation goes on and completes, the old version dies, and the log has
    every event under its number. Then back again; meanwhile a daemon on the place left behind refuses to start."""
    daemon.config = LONG
    daemon.start()
    daemon.until_quiet("app")
    daemon.command("rotate", "app")
    opened = daemon.until_row("app", lambda row: row["state"] == "verified", "come to its overlap")["rotation"]["id"]
    running = move(daemon, "file:url")
    assert running.returncode == 3
    assert "is in use by another daemon" in running.stderr
    events = daemon.events("app")
    daemon.stop()

    moved = move(daemon, "file:url")
    assert moved.returncode == 0, moved.stderr
    assert "is in force" in moved.stdout
    assert "`database: {url: {file: url}}`" in moved.stderr
    assert database.password not in moved.stdout + moved.stderr
    assert "was moved to PostgreSQL 127.0.0.1/" in tried(daemon)
    shared(daemon)
    daemon.start()
    row = daemon.row("app")
    assert row["rotation"]["id"] == opened
    assert daemon.events("app")[: len(events)] == events
    row = daemon.until_quiet("app")
    assert (row["last_rotation"]["id"], row["last_rotation"]["state"], row["generation"]) == (opened, "completed", 2)

    working = move(daemon, "sqlite")
    assert working.returncode == 2
    assert "a daemon works with this database: stop all of them" in working.stderr
    daemon.command("rotate", "app")
    opened = daemon.until_row("app", lambda row: row["state"] == "verified", "come to its overlap")["rotation"]["id"]
    daemon.stop()
    taken = move(daemon, "sqlite")
    assert taken.returncode == 2
    assert "was moved away from there" in taken.stderr
    for file in daemon.state.glob("journal.db*"):
        file.unlink()
    back = move(daemon, "sqlite")
    assert back.returncode == 0, back.stderr
    assert "is in force there: nothing is done with this one" in tried(daemon)
    daemon.config = LONG
    daemon.start()
    assert daemon.until_quiet("app")["last_rotation"]["id"] == opened
    log = daemon.client.get("/v1/events", after=0, limit=1000)["events"]
    told = [event["evidence"]["to"] for event in log if event["action"] == "journal.moved"]
    assert [place.partition(" ")[0] for place in told] == ["PostgreSQL", f"{daemon.state}/journal.db"]


DIES = """
import os, sys
from rotatord.clock import RandomIds, SystemClock
from rotatord.journal.moving import moving, postgresql_place, sqlite_place
url = open("url").read().strip()
ends = [sqlite_place("state/journal.db", exists=True), postgresql_place(lambda: url)]
stages = moving(*(ends if sys.argv[2] == "there" else ends[::-1]), actor="test", now=SystemClock().now(), ids=RandomIds())
for _ in range(int(sys.argv[1])):
    next(stages)
os._exit(9)
"""


@pytest.mark.parametrize("stage", range(4))
def test_killed_at_any_stage_it_ends_well(daemon: Installation, stage: int) -> None:
    """Dead after each stage, and before the first: until the old journal has let go a daemon goes on with it as if nothing
    had been; the same command again ends the move."""
    daemon.start()
    daemon.until_quiet("app")
    daemon.stop()
    command = [sys.executable, "-c", DIES, str(stage), "there"]
    died = subprocess.run(command, cwd=daemon.directory, env={**os.environ, **daemon._environment()}, timeout=180, check=False)
    assert died.returncode == 9
    if stage < 3:
        daemon.start()
        daemon.rotated("app")
        daemon.stop()
    else:
        assert "was moved to" in tried(daemon)
        shared(daemon)
        assert "is not in force" in tried(daemon)
        daemon.config = CONFIG
        daemon.config_file.write_text(CONFIG)
    assert move(daemon, "file:url").returncode == 0
    shared(daemon)
    daemon.start()
    assert daemon.until_quiet("app")["generation"] == (2 if stage < 3 else 1)
    assert json.loads(daemon.ask("strays", "-o", "json").stdout)["strays"] == []


def test_a_frozen_daemon_commits_nothing_afterwards(tmp_path: Path, database: Database) -> None:
    """It stood still for longer than its lease while the journal was moved away: what it then wants to commit is refused, and
    started again it says why."""
    ours = Fleet(tmp_path, CONFIG.replace("state_dir: state", "state_dir: state\ninstallation: one"), database.url)
    places = (postgresql_place(lambda: database.url), sqlite_place(tmp_path / "journal.db"))
    try:
        daemon = ours.add()
        daemon.start()
        daemon.until_quiet("app")
        freeze(daemon)
        with database.admin() as admin:
            admin.execute("UPDATE leases SET expires_at = 0 WHERE name NOT LIKE 'chore:%'")
        told = list(moving(*places, actor="test", now=SystemClock().now(), ids=RandomIds()))
        assert told[-1] == f"{tmp_path}/journal.db is in force"
        thaw(daemon)
        daemon.until(daemon.answers, "answer")
        answer = daemon.ask("pause")
        assert answer.returncode == 3, answer.stdout
        assert "restart this daemon" in answer.stderr
        daemon.stop()
        daemon.config_file.write_text(daemon.config)
        assert "was moved to" in tried(daemon)
    finally:
        ours.stop()


def test_a_database_that_holds_something_is_left_alone(daemon: Installation, database: Database) -> None:
    """Somebody else's tables, or a URL that leads nowhere: refused, nothing is written, and the old journal stays in force."""
    daemon.start()
    daemon.until_quiet("app")
    daemon.stop()
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE journal (mine text)")
    refused = move(daemon, "file:url")
    assert refused.returncode == 3
    assert "is used by something else" in refused.stderr
    password = move(daemon, "postgresql://me:hunter2@127.0.0.1/x")
    assert password.returncode == 2
    assert "is given by reference" in password.stderr
    assert "hunter2" not in password.stderr
    assert move(daemon, "nowhere").returncode == 2
    assert move(daemon, "file:no-such-file").returncode == 3
    daemon.start()
    daemon.rotated("app")
