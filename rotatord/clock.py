"""The only module that reads a clock, sleeps, or makes random ids; everything else takes them as arguments."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A wall clock that lags behind the monotonic one by more than this was set back; the wait then starts again.
DISAGREEMENT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment on both clocks. ``epoch`` names the boot that ``monotonic`` seconds count from."""

    wall: datetime
    monotonic: float
    epoch: str


class Clock(Protocol):
    """Time as the engine sees it."""

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only rise, also while the machine sleeps."""
        ...

    def instant(self) -> Instant:
        """Both clocks at once."""
        ...

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Block until ``event`` is set (True) or ``seconds`` have passed (False)."""
        ...


class SystemClock:
    """The machine's clocks. Monotonic time is CLOCK_BOOTTIME, so it survives a restart of the daemon on one boot."""

    def __init__(self) -> None:
        try:
            self._epoch = _BOOT_ID.read_text().strip()
        except OSError:  # not Linux: a restart then starts waits again, which is safe
            self._epoch = secrets.token_hex(8)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def instant(self) -> Instant:
        return Instant(self.now(), self.monotonic(), self._epoch)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


def elapsed(start: Instant, now: Instant, duration: timedelta) -> bool | None:
    """Whether ``duration`` has passed on both clocks since ``start``; None if one was set back (start again).

    A clock that was set forwards is not believed, and needs no new start: the other one decides. So several machines whose
    wall clocks differ come to an end too: a wait that begins anew on the slowest of them does so once. After a reboot
    there is no common monotonic clock: start again.
    """
    if start.epoch != now.epoch:
        return None
    wall = now.wall - start.wall
    monotonic = timedelta(seconds=now.monotonic - start.monotonic)
    if monotonic < -DISAGREEMENT or monotonic - wall > DISAGREEMENT:
        return None
    return wall >= duration and monotonic >= duration


class Ids(Protocol):
    """Where ids and other randomness come from."""

    def new(self, prefix: str) -> str:
        """A fresh id such as ``rot_4f1c...``."""
        ...

    def fraction(self) -> float:
        """A number in [0, 1) for jitter."""
        ...


class RandomIds:
    """Ids from the operating system's randomness."""

    def new(self, prefix: str) -> str:
        return f"{prefix}_{secrets.token_hex(8)}"

    def fraction(self) -> float:
        return secrets.randbelow(1 << 30) / (1 << 30)


def random_text(alphabet: str, length: int) -> str:
    """``length`` characters drawn evenly from ``alphabet`` by the operating system's randomness; fit for secrets."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


def random_bytes(count: int) -> bytes:
    """``count`` bytes of the operating system's randomness; fit for keys."""
    return secrets.token_bytes(count)
