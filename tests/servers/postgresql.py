"""A real PostgreSQL on a free loopback port, in a directory of its own, as a user that is not root; ended by its own id.

Never the system's service, and nothing of it outside that directory. Every database of a test belongs to a role that may
do nothing else: what rotatord needs beyond that would fail here.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.servers.binaries import MissingError, Say
from tests.servers.component import die_with_parent, free_port

_READY_SECONDS = 30
_DEBIAN = Path("/usr/lib/postgresql")
_SETTINGS = {
    "max_connections": "60",
    "shared_buffers": "32MB",
    "log_min_messages": "warning",
    "log_lock_waits": "on",
    "autovacuum_naptime": "10s",
}
_HURRIED = {"fsync": "off", "full_page_writes": "off"}  # where no test crashes the machine under it


@dataclass(frozen=True)
class PostgresqlProgram:
    """Where PostgreSQL's programs lie; they are installed with the system or not at all."""

    name: str = "postgres"
    version: str = "13 or newer"
    names: tuple[str, ...] = ("postgres", "initdb")
    home: str = "postgresql"
    pinned: bool = False
    packages: tuple[str, ...] = ("postgresql",)
    remedy: str = "apt-get install postgresql (or `make servers INSTALL=1`); its service is not needed"

    def elsewhere(self, name: str) -> Path | None:
        """Distributions keep the server's programs off PATH, the newest version last."""
        folders = sorted(
            _DEBIAN.glob("*/bin"), key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0
        )
        told = shutil.which("pg_config")
        if told:
            asked = subprocess.run([told, "--bindir"], capture_output=True, text=True, timeout=30, check=False)
            folders.insert(0, Path(asked.stdout.strip()))
        return next((folder / name for folder in reversed(folders) if os.access(folder / name, os.X_OK)), None)

    def make(self, workshop: Path, into: Path, say: Say) -> None:
        raise MissingError(self.remedy)


POSTGRESQL = PostgresqlProgram()


@dataclass
class PostgresServer:
    """One cluster. ``durable``: with fsync, for tests that crash it."""

    binary: Path
    durable: bool = False
    port: int = 0
    password: str = field(default_factory=lambda: secrets.token_hex(12))
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="rotatord-postgresql-")))
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, made where there is none yet; it answers when this returns."""
        if not (self.directory / "data").exists():
            self._make()
        for _ in range(3):  # the free port may be taken between our look and the server's
            self.port = self.port or free_port()
            if self._launch():
                return
            self.port = 0
        raise AssertionError(f"PostgreSQL did not start:\n{self._last_words()}")

    def stop(self, *, crash: bool = False) -> None:
        """End it: connections are cut; ``crash`` also leaves what was not yet written to be recovered at the next start."""
        if self.process is None:
            return
        self.resume()
        children = self._children()
        self.process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            for pid in (self.process.pid, *children):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait(10)
        self.process = None

    def remove(self) -> None:
        """End it and leave nothing."""
        self.stop(crash=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def pause(self) -> None:
        """It hangs: connections stay open, nothing is answered."""
        assert self.process is not None
        for pid in (self.process.pid, *self._children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on where it was paused."""
        assert self.process is not None
        for pid in (*self._children(), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection as the superuser, for what the test does to it."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="admin", password=self.password, dbname=database, autocommit=True
        )

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """An empty database of its own, with a role that owns it and may do nothing else."""
        made = Database(self, f"t{secrets.token_hex(5)}", secrets.token_hex(12))
        with self.admin() as admin:
            admin.execute(f"CREATE ROLE {made.name} LOGIN PASSWORD '{made.password}' NOSUPERUSER NOCREATEDB NOCREATEROLE")
            admin.execute(
                f"CREATE DATABASE {made.name} OWNER {made.name} TEMPLATE template0 LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"
            )
        try:
            yield made
        finally:
            with contextlib.suppress(psycopg.Error), self.admin() as admin:
                admin.execute(f"DROP DATABASE {made.name} WITH (FORCE)")
                admin.execute(f"DROP ROLE {made.name}")

    # --- inside ---

    def _make(self) -> None:
        self.directory.chmod(0o755)
        data, password = self.directory / "data", self.directory / "password"
        data.mkdir(mode=0o700)
        password.write_text(self.password)
        self._own(self.directory, data, password)
        flags = ["--username=admin", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        more = [] if self.durable else ["--no-sync"]
        subprocess.run(
            [str(self.binary.with_name("initdb")), f"--pgdata={data}", *flags, *more],
            check=True,
            capture_output=True,
            timeout=120,
            cwd=self.directory,
            **self._as_user(),
        )
        password.unlink()

    def _launch(self) -> bool:
        settings = {**_SETTINGS, **({} if self.durable else _HURRIED), "port": str(self.port)}
        settings |= {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(self.directory)}
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(self.binary),
                    "-D",
                    str(self.directory / "data"),
                    *(f"--{name}={value}" for name, value in settings.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  (a short and plain system call)
                **self._as_user(),
            )
        deadline, pause = time.monotonic() + _READY_SECONDS, threading.Event()
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(psycopg.Error), self.admin() as admin:
                admin.execute("SELECT 1")
                return True
            pause.wait(0.05)
        self.stop(crash=True)
        return False

    @property
    def _log_file(self) -> Path:
        return self.directory / "postgresql.log"

    def _last_words(self) -> str:
        return "\n".join(self._log_file.read_text(errors="replace").splitlines()[-15:]) if self._log_file.exists() else ""

    def _own(self, *paths: Path) -> None:
        user = _user()
        for path in paths if user else ():
            os.chown(path, user.pw_uid, user.pw_gid)

    def _as_user(self) -> dict[str, Any]:
        user = _user()
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
        return {"env": environment, **({"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {})}

    def _children(self) -> list[int]:
        """Each of its processes leads a session of its own."""
        assert self.process is not None
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                if int(status.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    found.append(int(status.parent.name))
        return found


@dataclass(frozen=True)
class Database:
    """One database with its role."""

    server: PostgresServer
    name: str
    password: str

    @property
    def url(self) -> str:
        return self.url_at(self.server.port)

    def url_at(self, port: int, **options: str) -> str:
        """Through another port, such as a proxy's."""
        more = "?" + "&".join(f"{key}={value}" for key, value in options.items()) if options else ""
        return f"postgresql://{self.name}:{self.password}@127.0.0.1:{port}/{self.name}{more}"

    def admin(self) -> psycopg.Connection[Any]:
        """The superuser's connection to it."""
        return self.server.admin(self.name)

    def kill_connections(self) -> int:
        """Cut all connections of rotatord; how many there were."""
        with self.server.admin() as admin:
            text = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = %s"
            ((count,),) = admin.execute(text, (self.name,)).fetchall()
        return int(count)


def _user() -> pwd.struct_passwd | None:
    """Whose server it is: not root's, which PostgreSQL refuses."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError("there is neither a user postgres nor nobody to run PostgreSQL as")
