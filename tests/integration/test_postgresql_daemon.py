"""A daemon whose PostgreSQL goes away: no side effect starts, the process lives, the API answers that it cannot tell, and
all goes on by itself."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from rotatord.cli.ending import Ending, Exit
from tests.integration.replicas import Fleet, said
from tests.integration.running import Installation
from tests.servers.component import free_port
from tests.servers.postgresql import Database, PostgresServer

pytestmark = [pytest.mark.postgresql, pytest.mark.slow, pytest.mark.timeout(180)]

# The built-in issuer keeps its digests in the state directory: right for one daemon over a database, refused beside others.
CONFIG = """
installation: one
state_dir: state
log: {{format: json}}
api: {{probes: {{host: 127.0.0.1, port: {port}}}}}
issuers: {{own: {{type: builtin}}}}
backends: {{files: {{type: file}}}}
policies:
  quick: {{ttl: 1h, renew_before: 10m, alarm_before: 5m, overlap: 0s, settle: 0s, poll: 100ms, unproven: {{overlap: 1s}}}}
credentials:
  - name: app
    issuer: own
    policy: quick
    destinations: [{{backend: files, path: app.env, keys: {{TOKEN: token}}}}]
"""


@pytest.fixture
def alone(request: pytest.FixtureRequest, tmp_path: Path, own_database: Database) -> Iterator[tuple[Installation, int]]:
    """A daemon over a database that may be struck, and the port of its probes; its overlap may be another one."""
    port = free_port()
    config = CONFIG.format(port=port).replace("overlap: 0s", f"overlap: {getattr(request, 'param', '0s')}")
    ours = Fleet(tmp_path, config, own_database.url)
    try:
        daemon = ours.add()
        daemon.start()
        daemon.until_quiet("app")
        yield daemon, port
    finally:
        ours.stop()


def status_of(port: int, path: str) -> int:
    return urllib3.PoolManager(retries=False, timeout=30.0).request("GET", f"http://127.0.0.1:{port}{path}").status


def cannot_tell(daemon: Installation) -> str:
    """What it answers who asks how things stand."""
    with pytest.raises(Ending) as ended:
        daemon.client.get("/v1/status", limit=1)
    assert ended.value.code is Exit.INCOMPLETE
    return str(ended.value)


@pytest.mark.parametrize("how", ["hangs", "is gone"])
def test_the_daemon_outlives_its_database(
    how: str, alone: tuple[Installation, int], own_postgresql: PostgresServer, own_database: Database
) -> None:
    """Asked meanwhile it says in bounded time that it cannot tell; a rotation asked for afterwards is done within moments."""
    daemon, port = alone
    own_postgresql.pause() if how == "hangs" else own_postgresql.stop()
    began = time.monotonic()
    told = cannot_tell(daemon)
    assert time.monotonic() - began < 25
    assert own_database.password not in told
    began = time.monotonic()
    cannot_tell(daemon)
    assert time.monotonic() - began < 8
    assert status_of(port, "/healthz") == 200
    assert status_of(port, "/readyz") == 503
    threading.Event().wait(6)
    own_postgresql.resume() if how == "hangs" else own_postgresql.start()
    began = time.monotonic()
    while True:
        with contextlib.suppress(Ending):
            daemon.command("rotate", "app")
            break
        assert time.monotonic() - began < 5
        threading.Event().wait(0.1)
    daemon.until_row("app", lambda row: row["generation"] == 2 and row["state"] == "quiet", "rotate", 15)
    assert any("journal unavailable" in line["event"] for line in said(daemon))


def living(daemon: Installation) -> list[int]:
    """The generations that the issuer accepts."""
    with contextlib.closing(sqlite3.connect(f"file:{daemon.state}/builtin.db?mode=ro", uri=True)) as issuer:
        alive = "SELECT generation FROM token WHERE revoked IS NULL ORDER BY generation"
        return [generation for (generation,) in issuer.execute(alive)]


@pytest.mark.parametrize("alone", ["4s"], indirect=True)
def test_nothing_dies_while_the_database_is_gone(alone: tuple[Installation, int], own_postgresql: PostgresServer) -> None:
    """The overlap is over and everybody has moved, but the decision cannot be written down: both versions live, nothing is
    written, the process stays. When the database is back the rotation comes to its end."""
    daemon, _ = alone
    daemon.command("rotate", "app")
    daemon.until_row("app", lambda row: row["state"] == "verified", "verify", 20)
    published = (daemon.directory / "app.env").read_text()
    own_postgresql.stop()
    for _ in range(8):
        threading.Event().wait(1.0)
        assert living(daemon) == [1, 2]
        assert (daemon.directory / "app.env").read_text() == published
        assert daemon.daemon is not None
        assert daemon.daemon.poll() is None
    own_postgresql.start()
    daemon.until(lambda: living(daemon) == [2], "end what the rotation has replaced", 30)


def test_reading_without_a_daemon(alone: tuple[Installation, int]) -> None:
    """Reading commands look into the database when no daemon answers, and change nothing there."""
    daemon, _ = alone
    daemon.stop()
    answer = daemon.ask("--config", str(daemon.config_file), "status")
    assert answer.returncode in {1, 3}, answer.stderr
    assert "app" in answer.stdout
    assert "this is what its journal says" in answer.stderr


def test_what_only_one_can_use_is_refused_beside_others(alone: tuple[Installation, int], own_database: Database) -> None:
    """A second daemon with an issuer whose tokens are known to the first alone does not start."""
    daemon, _ = alone
    late = Fleet(daemon.directory / "late", daemon.config.replace("probes", "tcp_none"), own_database.url)
    late.directory.mkdir()
    (late.directory / "fingerprint-key").write_bytes((daemon.directory.parent / "fingerprint-key").read_bytes())
    second = late.add()
    second.config = "\n".join(line for line in daemon.config.splitlines() if not line.startswith("api:"))
    with pytest.raises(AssertionError, match="keeps its digests"):
        second.start()
