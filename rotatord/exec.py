"""``rotatord exec -- CMD``: runs a program with its secrets, starts it anew or signals it when they change, attests for it.

The secrets are read from a destination of the file kind and go into the program's environment alone: never into an
argument, never into our own environment. Signals are taken one by one from a blocked set rather than by handlers, so
that nothing is lost between two looks at the file.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rotatord.client import Running, Unreadable, Watched, serve
from rotatord.clock import Clock, SystemClock

USAGE, UNREADABLE, NOT_EXECUTABLE, NOT_FOUND = 2, 3, 126, 127
DEFAULT_VERSION_KEY = "ROTATORD_VERSION"
_ENDING = {signal.SIGTERM, signal.SIGINT}
_FORWARDED = _ENDING | {signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT, signal.SIGWINCH}
_TAKEN = _FORWARDED | {signal.SIGCHLD}
_FROM_TERMINAL = 0x80  # si_code of a signal that the kernel sent, to our whole group and thus to the program too


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecSettings:
    """What to run, and how. Durations are seconds."""

    argv: tuple[str, ...]
    file: str
    format: str | None = None  # dotenv, json, yaml; default from the file's name
    names: Mapping[str, str] | None = None  # environment variable -> key of the file; None: every key under its own name
    on_change: str = "restart"  # or signal:HUP and the like, for programs that read the file themselves
    attest: str | None = None  # 127.0.0.1:PORT, where GET /.well-known/rotatord is answered for the program
    credential: str | None = None  # its name in attestations; default: the file's name without its ending
    version_key: str = DEFAULT_VERSION_KEY  # the companion key that the destination's version_key names
    possession: Mapping[str, str] = field(default_factory=dict)  # field -> key, to prove possession with
    grace_seconds: float = 10.0  # between TERM and KILL
    settle_seconds: float = 1.0  # how long a program must have lived before it is attested for
    poll_seconds: float = 0.5

    def problems(self) -> list[str]:
        """What is wrong with the settings, as sentences."""
        found = [] if self.argv else ["name the program to run after --"]
        if self.on_change != "restart" and self.change_signal is None:
            found.append(f"--on-change is restart, or a signal such as signal:HUP, not {self.on_change!r}")
        if self.attest is not None and _address(self.attest) is None:
            found.append(f"--attest is an address on loopback such as 127.0.0.1:8079, not {self.attest!r}")
        return found

    @property
    def change_signal(self) -> signal.Signals | None:
        """The signal that tells the program of a change; None where it is started anew."""
        name = self.on_change.removeprefix("signal:").upper().removeprefix("SIG")
        taken = {number.name.removeprefix("SIG"): number for number in _FORWARDED - _ENDING}
        return taken.get(name)


def exec_command(
    argv: Sequence[str],
    *,
    file: str,
    format: str | None,
    on_change: str,
    attest: str | None,
    grace_seconds: float,
    credential: str | None = None,
    version_key: str = DEFAULT_VERSION_KEY,
    names: Mapping[str, str] | None = None,
    possession: Mapping[str, str] | None = None,
) -> int:
    """The command: as :func:`run`, after the kernel was asked to keep our memory to ourselves. The program inherits that it
    leaves no core dumps, which would hold its secrets."""
    from rotatord.hardening import harden  # noqa: PLC0415 - run() alone leaves its caller as it is

    umask = os.umask(0o077)
    harden()
    os.umask(umask)  # the program's files are its own affair
    settings = ExecSettings(
        argv=tuple(argv),
        file=file,
        format=format,
        on_change=on_change,
        attest=attest,
        grace_seconds=grace_seconds,
        credential=credential,
        version_key=version_key,
        names=names or None,
        possession=possession or {},
    )
    return run(settings)


def run(settings: ExecSettings, *, clock: Clock | None = None) -> int:
    """Run the program until it ends by itself or we are asked to end it; its exit code, or 128 + the signal that ended it.

    2 for bad settings, 3 when there is nothing to read, 126 and 127 as shells use them. Call from the main thread.
    """
    problems = settings.problems()
    if not problems:
        try:
            source = Watched(settings.file, settings.format)
            source()
        except ValueError as error:
            problems = [str(error).replace("say the format:", "say --format")]
        except Unreadable as error:
            return _said(UNREADABLE, str(error))
    if problems:
        return _said(USAGE, "; ".join(problems))
    keeper = Keeper(settings, source, clock or SystemClock())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TAKEN)
    try:
        if settings.attest is None:
            return keeper.run()
        host, port = _address(settings.attest) or ("127.0.0.1", 0)
        try:
            server = serve({keeper.credential: keeper.running}, host, port)
        except OSError as error:
            return _said(USAGE, f"{settings.attest}: {error.strerror}")
        try:
            return keeper.run()
        finally:
            server.shutdown()
            server.server_close()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Keeper:
    """Keeps one program running on what the file holds. ``running`` may be asked from other threads."""

    def __init__(self, settings: ExecSettings, source: Watched, clock: Clock) -> None:
        self._settings = settings
        self._source = source
        self._clock = clock
        self._lock = threading.Lock()
        self._pid = 0
        self._document: dict[str, str] = {}  # what the program runs on
        self._refused: dict[str, str] | None = None  # what it could not be given
        self._since = 0.0
        self._ended: int | None = None
        self.credential = settings.credential or Path(settings.file).name.lstrip(".").partition(".")[0]

    def running(self) -> Running:
        """What is attested. No version before the program has lived for ``settle_seconds``."""
        with self._lock:
            document, refused, settled = self._document, self._refused, self._clock.monotonic() >= self._since
            alive = self._pid != 0
        well = alive and settled
        held = {name: document[key] for name, key in self._settings.possession.items() if key in document}
        return Running(
            version=document.get(self._settings.version_key) if well else None,
            refused=refused.get(self._settings.version_key) if refused else None,
            status=self._source.trouble or ("ok" if well else "starting"),
            fields=held if well and held and len(held) == len(self._settings.possession) else None,
        )

    def run(self) -> int:
        """Until the program has ended and is not started anew."""
        code = self._start(self._source())
        while code is None:
            caught = signal.sigtimedwait(_TAKEN, self._settings.poll_seconds)
            if caught is not None and caught.si_signo != signal.SIGCHLD:
                self._forward(caught)
                if caught.si_signo in _ENDING:
                    return self._end()
            code = self._reap()
            if code is None:
                code = self._look()
        return code

    def _look(self) -> int | None:
        """Act on a change of the file; an exit code if that was the end."""
        document = self._source()
        if document in (self._document, self._refused):
            return None
        if self._environment(document) is None:
            with self._lock:
                self._refused = document  # the program goes on with what it has, and attestation says so
            _note("the file lacks a key that --env asks for; the program goes on with what it has")
            return None
        number = self._settings.change_signal
        if number is not None:
            self._send(number)
            self._took(document)
            return None
        with self._lock:
            self._since = float("inf")  # from here on nothing is attested until the next one has settled
        if self._stop():
            return self._ended
        return self._start(document)

    def _environment(self, document: dict[str, str]) -> dict[str, str] | None:
        """What the program's environment gets; None where a key is missing."""
        names = self._settings.names
        if names is None:
            return document
        if not set(names.values()) <= document.keys():
            return None
        return {name: document[key] for name, key in names.items()}

    def _start(self, document: dict[str, str]) -> int | None:
        """Start the program on this document; an exit code where it cannot be."""
        given = self._environment(document)
        argv = list(self._settings.argv)
        if given is None:
            return _said(USAGE, f"{self._settings.file}: lacks a key that --env asks for")
        try:
            # Our own environment is left alone: who may read ours must not find what is the program's.
            pid = os.posix_spawnp(
                argv[0], argv, {**os.environ, **given}, setsigmask=[], setsigdef=[signal.SIGPIPE, signal.SIGXFSZ]
            )
        except FileNotFoundError:
            return _said(NOT_FOUND, f"{argv[0]}: not found")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "a value cannot be put into an environment"
            return _said(NOT_EXECUTABLE, f"{argv[0]}: {reason}")
        with self._lock:
            self._pid = pid
        self._took(document)
        return None

    def _took(self, document: dict[str, str]) -> None:
        with self._lock:
            self._document, self._refused = document, None
            self._since = self._clock.monotonic() + self._settings.settle_seconds

    # --- signals and ends ------------------------------------------------------------------------------------------

    def _forward(self, caught: signal.struct_siginfo) -> None:
        if caught.si_code != _FROM_TERMINAL:  # the terminal has told the program already
            self._send(signal.Signals(caught.si_signo))

    def _send(self, number: signal.Signals) -> None:
        # The program is not reaped before we say so: its pid is still its own, even when it has ended.
        if self._pid:
            os.kill(self._pid, number)

    def _reap(self) -> int | None:
        """Collect what has ended: the program (its exit code), and as process 1 of a container anybody's orphans."""
        wanted = -1 if os.getpid() == 1 else self._pid
        while wanted:
            try:
                pid, status = os.waitpid(wanted, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            if pid == self._pid:
                code = os.waitstatus_to_exitcode(status)
                with self._lock:
                    self._pid = 0
                return code if code >= 0 else 128 - code
        return None

    def _wait(self, seconds: float) -> tuple[int | None, bool]:
        """Wait for the program's end; its exit code, if it came, and whether we were asked to end meanwhile."""
        until = self._clock.monotonic() + seconds
        asked = False
        while (code := self._reap()) is None and (left := until - self._clock.monotonic()) > 0:
            caught = signal.sigtimedwait(_TAKEN, left)
            if caught is not None and caught.si_signo != signal.SIGCHLD:
                asked = asked or caught.si_signo in _ENDING
                self._forward(caught)
        return code, asked

    def _stop(self) -> bool:
        """End the program to start it anew; True if it is not to be started anew."""
        self._send(signal.SIGTERM)
        code, asked = self._wait(self._settings.grace_seconds)
        if code is None:
            self._send(signal.SIGKILL)
            code, again = self._wait(self._settings.grace_seconds + 1)
            asked = asked or again
        self._ended = code if code is not None else 128 + signal.SIGKILL
        return asked or code is None

    def _end(self) -> int:
        """We were asked to end, and the program was told: its exit code, by force after the grace."""
        code, _ = self._wait(self._settings.grace_seconds)
        if code is None:
            self._send(signal.SIGKILL)
            code, _ = self._wait(self._settings.grace_seconds + 1)
        return 128 + signal.SIGKILL if code is None else code


def _address(text: str) -> tuple[str, int] | None:
    """Host and port, if they are on loopback."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]").replace("localhost", "127.0.0.1")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        return None
    return (host, int(port)) if loopback and port.isdigit() and int(port) < 65536 else None


def _note(text: str) -> None:
    sys.stderr.write(f"rotatord exec: {text}\n")


def _said(code: int, text: str) -> int:
    _note(text)
    return code
