"""The daemons as processes: launched, killed, frozen, and asked as a user asks them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rotatord.cli.client import credential_path
from rotatord.cli.ending import Ending
from tests.crash.observer import Told
from tests.crash.scene import Scene
from tests.crash.seen import Tail
from tests.crash.warm_start import Warm
from tests.integration.running import Installation

LEASE_SECONDS = 4
REPLICAS = 3
COLD_EVERY = 12  # of so many starts one is made by the command line
HELD_FOR = timedelta(minutes=20)


@dataclass
class Daemon(Installation):
    """One daemon: a replica of the fleet, or the single one."""

    dies_with_us: bool = True
    kind: str = "fleet"
    state_directory: Path | None = None
    ready: bool = False
    frozen: bool = False
    last: str = "starting"  # what it said last that it had done
    warm: Warm | None = None
    starts: int = 0
    tail: Tail | None = None

    @property
    def state(self) -> Path:
        return self.state_directory or self.directory / "state"

    @property
    def alive(self) -> bool:
        return self.daemon is not None and self.daemon.poll() is None

    def launch(self) -> None:
        self.ready, self.last = False, "starting"
        self.starts += 1
        if self.warm is None or self.starts % COLD_EVERY == 0:
            super().launch()
            return
        self.config_file.write_text(self.config)
        arguments = ["run", "--config", str(self.config_file)]
        self.daemon = self.warm.start(arguments, self._environment(), self.directory, self.output)  # type: ignore[assignment]

    def heard(self) -> Iterator[str]:
        """What it has said since the last time, as ``action outcome``."""
        self.tail = self.tail or Tail(self.output)
        for line in self.tail.lines():
            _, mark, rest = line.partition(b'"event": "')
            said = rest.partition(b'"')[0].decode() if mark else ""
            self.ready = self.ready or said == "started"
            if b'"credential"' in line:
                self.last = said
            yield said

    def kill(self) -> None:
        """-9."""
        assert self.daemon is not None
        for _ in self.heard():
            pass
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait(30)
        self.frozen = self.ready = False

    def freeze(self) -> None:
        assert self.daemon is not None
        os.kill(self.daemon.pid, signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        if self.frozen and self.alive:
            assert self.daemon is not None
            os.kill(self.daemon.pid, signal.SIGCONT)
        self.frozen = False


@dataclass
class Company:
    """All of them."""

    scene: Scene
    daemons: list[Daemon] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)  # by themselves: what they said last
    told: dict[str, Told] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)  # who may not be started now, by the name of the directory
    _warm: Warm | None = None
    _after: dict[str, int] = field(default_factory=dict)

    def start(self) -> None:
        shared = {
            "ROTATORD_DATABASE_URL": self.scene.database.url,
            "ROTATORD_FINGERPRINT_KEY": f"file:{self.scene.fingerprint_key}",
            "ROTATORD_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        for number in range(REPLICAS):
            home = self.scene.directory / f"replica-{number}"
            home.mkdir()
            self.daemons.append(Daemon(home, self.scene.config("fleet"), shared))
        home = self.scene.directory / "single"
        home.mkdir()
        state = self.scene.disk.directory / "state"
        self.daemons.append(Daemon(home, self.scene.config("single"), kind="single", state_directory=state))
        self._warm = Warm()
        for daemon in self.daemons:
            daemon.warm = self._warm
            daemon.launch()

    def stop(self) -> None:
        for daemon in self.daemons:
            daemon.thaw()
            if daemon.daemon is not None:
                daemon.stop()
        if self._warm is not None:
            self._warm.stop()

    def tend(self) -> None:
        """Hear what they say; start again what has ended."""
        for daemon in self.daemons:
            for _ in daemon.heard():
                pass
            if not daemon.alive and daemon.directory.name not in self.absent:
                if daemon.daemon is not None and daemon.daemon.returncode != -signal.SIGKILL:
                    self.ended[f"{daemon.directory.name}: {_last_line(daemon.output)}"] += 1
                daemon.launch()

    @property
    def single(self) -> Daemon:
        return self.daemons[-1]

    def ready(self, kind: str = "") -> list[Daemon]:
        """Those that have started and are not frozen."""
        return [each for each in self.daemons if each.ready and each.alive and not each.frozen and kind in {"", each.kind}]

    # --- as a user ---

    def ask(self, kind: str, question: Callable[[Daemon], Any]) -> Any:
        """Of the first daemon that answers; None where none does."""
        for daemon in self.ready(kind):
            with contextlib.suppress(Ending, OSError):
                return question(daemon)
        return None

    def rows(self) -> dict[str, dict[str, Any]]:
        """How every credential stands, as ``rotatord status`` says; those missing whose daemons do not answer."""
        found: dict[str, dict[str, Any]] = {}
        for kind in ("fleet", "single"):
            page = self.ask(kind, lambda daemon: daemon.client.get("/v1/status", limit=500))
            found |= {row["name"]: row for row in (page or {}).get("credentials", ())}
        return found

    def command(self, name: str, verb: str, **arguments: Any) -> bool:
        """Whether it was accepted."""
        kind = next(each.installation for each in self.scene.credentials if each.name == name)
        path = f"{credential_path(name)}/commands/{verb}"
        return self.ask(kind, lambda daemon: daemon.client.post(path, arguments)) is not None

    def hold(self, name: str) -> bool:
        """No rotation of it begins until :meth:`release`."""
        until = (datetime.now(UTC) + HELD_FOR).isoformat()
        return self.command(name, "hold", until=until, owner="observer", reason="a calm phase")

    def listen(self) -> dict[str, Told]:
        """Read on in ``rotatord log``, and see how everything stands."""
        for kind in ("fleet", "single"):
            while page := self.ask(kind, lambda daemon, kind=kind: self._page(daemon, kind)):
                for event in page:
                    self._note(self.told.setdefault(event["credential"], Told()), event)
                self._after[kind] = page[-1]["seq"]
        for told in self.told.values():
            told.state = ""
        for name, row in self.rows().items():
            told = self.told.setdefault(name, Told())
            told.state, told.halt = row["state"], (row["halt"] or {}).get("message", "")
        return self.told

    def _page(self, daemon: Daemon, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = daemon.client.get("/v1/events", after=self._after.get(kind, 0), limit=1000)["events"]
        return found

    def _note(self, told: Told, event: dict[str, Any]) -> None:
        match event["action"], event["outcome"]:
            case "mint", "intended":
                told.minted.add(event["evidence"]["generation"])
            case "publish", "intended":
                told.publishes.add((event["rotation"], event["version"]))
            case "revoke", "intended":
                told.deaths.add(event["version"] or str(event["evidence"].get("ref")))
            case "rotation.completed", _:
                told.completed += 1
            case "rotation.rolled_back", _:
                told.turned_back += 1


def _last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").splitlines()
    return lines[-1][:300] if lines else ""
