"""Runs a command for a plugin: an argument list and never a shell line, a small environment, bounded time and output."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Annotated

from pydantic import Field, StringConstraints

from rotatord.errors import Denied, Invalid, Retryable

# For settings models: a list, so that a shell line is refused, without NULs, which no argument can hold.
Argv = Annotated[
    list[Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]], Field(min_length=1, max_length=256, strict=True)
]

KILL_SECONDS = 2.0  # between asking a command that took too long to end and ending it
KEPT_BYTES = 4096
_PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "USER", "LOGNAME")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended. ``code`` is negative where a signal ended it; ``output`` the last bytes that it wrote."""

    code: int
    output: bytes = field(repr=False)

    @property
    def last_words(self) -> str:
        """The end of the output on one line, fit to be shown where somebody said that it holds no secret."""
        text = self.output.decode(errors="replace")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[-300:]


def environment(extra: Mapping[str, str], passed: Sequence[str] = ()) -> dict[str, str]:
    """What a command is given: a few harmless names of ours, those that the settings name, and ``extra``."""
    kept = {name: os.environ[name] for name in (*_PASSED, *passed) if name in os.environ}
    return {"PATH": _PATH, **kept, **extra}


def run(argv: Sequence[str], *, env: Mapping[str, str], seconds: float, directory: str | None = None) -> Finished:
    """Run to the end. Raises Retryable when it took longer (its whole process group is then ended), Denied or Invalid
    where it cannot be started."""
    try:
        child = subprocess.Popen(  # noqa: S603 - an argument list from the operator's configuration
            list(argv),
            env=dict(env),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except PermissionError as error:
        raise Denied(f"{argv[0]}: {error.strerror}") from None
    except OSError as error:
        raise Invalid(f"{argv[0]}: {error.strerror}") from None
    kept = bytearray()
    assert child.stdout is not None
    reader = threading.Thread(target=_drain, args=(child.stdout, kept), name="output", daemon=True)
    reader.start()
    try:
        code = child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise Retryable(f"{argv[0]}: took longer than {seconds:g} s") from None
    finally:
        if child.returncode is None:
            _end_group(child)
    reader.join(0.5)  # something that it left running may hold the other end open
    return Finished(code, bytes(kept))


def _drain(stream: IO[bytes], kept: bytearray) -> None:
    """Read everything, so that the command never blocks on its output, and keep the end."""
    with stream:
        while part := os.read(stream.fileno(), 65536):
            kept += part
            del kept[:-KEPT_BYTES]


def _end_group(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):  # the second also for what its leader left behind
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=KILL_SECONDS)
