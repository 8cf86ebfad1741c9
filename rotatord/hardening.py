"""What the daemon asks of the kernel so that its memory stays its own. Best effort: each measure reports how it went."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass

_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4
PRIVATE_UMASK = 0o077


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: whether it holds now, and if not, why."""

    name: str
    holds: bool
    detail: str = ""


def harden() -> tuple[Measure, ...]:
    """No core dumps, no reading of our memory by others of the same user, files for the owner only. Idempotent."""
    return (
        _try("undumpable", _undumpable),
        _try("no core dumps", _no_core_dumps),
        _try("private files", _private_files),
    )


def _try(name: str, measure: Callable[[], None]) -> Measure:
    try:
        measure()
    except (OSError, ValueError, AttributeError) as error:  # another kernel, another C library, a forbidden call
        return Measure(name, holds=False, detail=str(error) or type(error).__name__)
    return Measure(name, holds=True)


def _undumpable() -> None:
    """Also makes /proc/PID/{mem,environ} root's, and forbids ptrace by others of our user."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if library.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError("the kernel still calls us dumpable")


def _no_core_dumps() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _private_files() -> None:
    os.umask(PRIVATE_UMASK)
