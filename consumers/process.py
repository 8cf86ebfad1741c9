"""Programs on this machine: told to read anew by a signal, by systemd or by a command. Never through a shell."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rotatord.argv import KILL_SECONDS, Argv, environment, run
from rotatord.attest import Attest, Attestor
from rotatord.clock import Clock, SystemClock
from rotatord.errors import Denied, Invalid, Retryable
from rotatord.model import JsonMap
from rotatord.ports import Instance, Published, Surroundings

SIGNALS = ("HUP", "USR1", "USR2", "INT", "TERM", "QUIT", "WINCH", "ALRM", "CONT")
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*")
_REMEMBERED = 64
_START_SLACK_SECONDS = 2.0  # a pid file's time and a start are seen with this much grain
_TICKS = os.sysconf("SC_CLK_TCK")


class Settings(BaseModel):
    """Exactly one of ``pid_file``, ``unit`` and ``command``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pid_file: str | None = None
    executable: str | None = None  # what the pid must be running, so that a recycled pid is never signalled
    signal: str = "HUP"
    unit: str | None = None
    action: Literal["reload", "restart", "signal"] = "reload"  # of the unit
    systemctl: str = "systemctl"
    command: Argv | None = None
    directory: str | None = None  # in which the command runs
    pass_environment: tuple[str, ...] = ()  # names that the command is given beside PATH, HOME and the like
    show_output: bool = False  # put the end of a failed command's output into the error: it must never hold a secret
    timeout: float = Field(default=30.0, gt=0, le=600)  # seconds
    attest: Attest | None = None
    refresh_within: Any = None  # its value is the engine's; here only whether there is one

    @field_validator("signal")
    @classmethod
    def _known_signal(cls, value: str) -> str:
        name = value.upper().removeprefix("SIG")
        if name not in SIGNALS:
            raise ValueError(f"signal is one of {', '.join(SIGNALS)}")
        return name

    @field_validator("unit")
    @classmethod
    def _unit_name(cls, value: str | None) -> str | None:
        if value is not None and not _UNIT.fullmatch(value):
            raise ValueError("unit is the name of a systemd unit")
        return value

    @field_validator("pass_environment")
    @classmethod
    def _names_of_others(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(name.upper().startswith("ROTATORD") for name in value):
            raise ValueError("the daemon's own ROTATORD_ variables are not passed on")
        return value

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(way is not None for way in (self.pid_file, self.unit, self.command)) != 1:
            raise ValueError("say how with exactly one of pid_file, unit and command")
        if self.executable and not self.pid_file:
            raise ValueError("executable belongs to pid_file")
        return self


@dataclass(frozen=True, slots=True)
class Found:
    """A running program: its pid, an open handle that no other program can take over, and when it started."""

    pid: int
    handle: int
    started: datetime
    ticks: int  # the kernel's own mark of its start: with the pid it names this very run


class ProcessConsumer:
    """One program, as the settings name it. Thread-safe."""

    def __init__(self, settings: Settings, surroundings: Surroundings, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._base = Path(surroundings.base_dir)
        self._clock = clock or SystemClock()
        self._attestor = Attestor(settings.attest, clock=self._clock) if settings.attest else None
        self._done: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self.possession = self._attestor is not None and self._attestor.possession
        self.timeout = settings.timeout + 2 * KILL_SECONDS + 1.0
        self.evidence = "polling" if settings.refresh_within else "none"
        if self._attestor:
            self.timeout = max(self.timeout, self._attestor.timeout)
            self.evidence = "attestation"
        elif settings.unit and settings.action == "restart":
            self.evidence = "rollout"  # its main process is younger than what it was told to read

    def reload(self, published: Published) -> None:
        """As the port says. A token that was answered once is remembered while the daemon runs."""
        with self._lock:
            if published.token in self._done:
                return
        if self._settings.pid_file:
            self._signal()
        else:
            self._let_a_tick_pass(published)
            self._run(self._reload_argv(), published)
        with self._lock:
            self._done[published.token] = None
            while len(self._done) > _REMEMBERED:
                self._done.popitem(last=False)

    def _let_a_tick_pass(self, published: Published) -> None:
        """The kernel knows starts to the tick, rounded down: one in the tick of the publication would look older than it."""
        early = (published.at - self._clock.now()).total_seconds() + 2 / _TICKS
        if self.evidence == "rollout" and 0 < early < 1:
            self._clock.wait(threading.Event(), early)

    def instances(self, published: Published) -> Sequence[Instance]:
        if self._attestor:
            return self._attestor.instances(published)
        if self._settings.pid_file:
            with self._found() as found:
                return [Instance(id=f"pid {found.pid} of tick {found.ticks}", created_at=found.started)] if found else []
        if self._settings.unit:
            return self._unit_instances(published)
        return [Instance(id=Path((self._settings.command or [""])[0]).name)]

    # --- a pid file ------------------------------------------------------------------------------------------------

    def _signal(self) -> None:
        with self._found() as found:
            if found is None:
                raise Retryable(f"{self._settings.pid_file}: the program that it names does not run")
            try:
                signal.pidfd_send_signal(found.handle, signal.Signals[f"SIG{self._settings.signal}"])
            except ProcessLookupError:
                raise Retryable(f"{self._settings.pid_file}: the program that it names has just ended") from None
            except PermissionError:
                raise Denied(f"{self._settings.pid_file}: we may not signal pid {found.pid}") from None

    @contextlib.contextmanager
    def _found(self) -> Iterator[Found | None]:
        """The program that the pid file names; None if it does not run. Raises Retryable where the file does not tell."""
        path = self._base / (self._settings.pid_file or "")
        try:
            text = path.read_text(encoding="ascii", errors="replace")[:64].strip()
            written = path.stat().st_mtime
        except OSError as error:
            raise Retryable(f"{path}: {error.strerror}") from None
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 1 << 31):
            raise Retryable(f"{path}: does not hold a pid")
        pid = int(text)
        if pid == os.getpid():
            raise Invalid(f"{path}: names rotatord itself")
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            yield None
            return
        except OSError as error:
            raise Retryable(f"{path}: pid {pid}: {error.strerror}") from None
        try:
            # What /proc says from here on is about the handle's program, or else the handle's program has ended and a
            # signal through it reaches nobody.
            age = self._age_seconds(pid)
            started = None if age is None else self._clock.now() - timedelta(seconds=age)
            if started is None:
                yield None
                return
            if started.timestamp() > written + _START_SLACK_SECONDS:
                raise Retryable(f"{path}: pid {pid} started after the file was written; the file is left over")
            self._check_executable(path, pid)
            yield Found(pid, handle, started, self._start_ticks(pid) or 0)
        finally:
            os.close(handle)

    def _check_executable(self, path: Path, pid: int) -> None:
        if not self._settings.executable:
            return
        try:
            running = str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(" (deleted)")  # replaced by an upgrade
        except OSError as error:
            raise Retryable(f"{path}: what pid {pid} runs cannot be seen: {error.strerror}") from None
        if running != os.path.realpath(self._settings.executable):
            raise Retryable(f"{path}: pid {pid} runs {running}, not {self._settings.executable}; the file is left over")

    def _age_seconds(self, pid: int) -> float | None:
        """How long a program has run; None if it has ended, a zombie included."""
        ticks = self._start_ticks(pid)
        return None if ticks is None else self._clock.monotonic() - ticks / _TICKS  # both count from the boot

    def _start_ticks(self, pid: int) -> int | None:
        """The kernel's mark of a program's start; None if it has ended, a zombie included."""
        try:
            state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (OSError, ValueError):
            return None
        if state in "ZX":
            return None
        return int(rest[18])

    # --- systemd and commands --------------------------------------------------------------------------------------

    def _reload_argv(self) -> list[str]:
        settings = self._settings
        if settings.command:
            return list(settings.command)
        verb: list[str] = [settings.action]
        if settings.action == "signal":
            verb = ["kill", "--kill-whom=main", f"--signal=SIG{settings.signal}"]
        return [settings.systemctl, "--no-ask-password", *verb, "--", settings.unit or ""]

    def _run(self, argv: list[str], published: Published) -> bytes:
        facts = {
            "ROTATORD_CREDENTIAL": published.credential,
            "ROTATORD_VERSION": published.label,
            "ROTATORD_ROTATION": published.rotation,
            "ROTATORD_TOKEN": published.token,
        }
        directory = str(self._base / self._settings.directory) if self._settings.directory else None
        env = environment(facts, self._settings.pass_environment)
        finished = run(argv, env=env, seconds=self._settings.timeout, directory=directory)
        if finished.code != 0:
            how = f"exit code {finished.code}" if finished.code > 0 else f"ended by signal {-finished.code}"
            said = f": {finished.last_words}" if self._settings.show_output and finished.output else ""
            raise Retryable(f"{argv[0]}: {how}{said}")
        return finished.output

    def _unit_instances(self, published: Published) -> list[Instance]:
        unit = self._settings.unit or ""
        argv = [self._settings.systemctl, "show", "--property=ActiveState", "--property=MainPID", "--", unit]
        output = self._run(argv, published).decode(errors="replace")
        facts = dict(line.split("=", 1) for line in output.splitlines() if "=" in line)
        pid = facts.get("MainPID", "0")
        if facts.get("ActiveState") not in {"active", "reloading", "activating", "deactivating"}:
            return []
        age = self._age_seconds(int(pid)) if pid.isdigit() and pid != "0" else None
        created = None if age is None else self._clock.now() - timedelta(seconds=age)
        ticks = self._start_ticks(int(pid)) if age is not None else None
        ending = facts["ActiveState"] == "deactivating"
        return [Instance(id=f"{unit}: pid {pid} of tick {ticks}", created_at=created, terminating=ending)]


def create(settings: JsonMap, surroundings: Surroundings) -> ProcessConsumer:
    """The factory behind the entry point."""
    return ProcessConsumer(Settings.model_validate(settings), surroundings)
