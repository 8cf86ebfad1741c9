"""Where the real servers' programs come from: PATH, the user's cache, or made once from what a registry has.

The cache lies outside the checkout (``$XDG_CACHE_HOME`` or ``~/.cache``, then ``rotatord/servers/NAME-VERSION``), so that
a second run starts in seconds. How a program is made is its own matter (``go_program.py``, ``wheel_program.py``); here is
what they share: one making at a time, in a workshop that is removed afterwards, and nothing half made is ever found.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).resolve().parent
Say = Callable[[str], None]


class MissingError(Exception):
    """A program can neither be found nor be made; the message says what to install."""


class Program(Protocol):
    """A program, perhaps with others beside it that are made together and lie in one directory."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]:
        """All that is made together, the program itself among them."""

    @property
    def home(self) -> str:
        """Their directory in the cache."""

    @property
    def pinned(self) -> bool:
        """Whether the cached one goes before the one on PATH, because another version would behave differently."""

    @property
    def remedy(self) -> str:
        """What a person can do about its absence."""

    def make(self, workshop: Path, into: Path, say: Say) -> None:
        """Put every program of ``names`` into the directory. MissingError, CalledProcessError or OSError where it fails.

        The workshop outlives the making of one program, so that the next finds there what both need.
        """


def cache_root() -> Path:
    """The directory of all cached servers."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rotatord" / "servers"


def find(program: Program) -> Path | None:
    """The program on PATH or in the cache, or None when it or one beside it is missing; never makes anything."""
    places = {name: find_one(program, name) for name in (program.name, *program.names)}
    return places[program.name] if all(places.values()) else None


def find_one(program: Program, name: str) -> Path | None:
    """One of the programs that are made together, by its name."""
    on_path = shutil.which(name)
    elsewhere = getattr(program, "elsewhere", lambda _: None)(name)  # where a distribution keeps it off PATH
    places = (cached(program, name), elsewhere, Path(on_path) if on_path else None)
    return next((place for place in (places if program.pinned else places[::-1]) if place), None)


def cached(program: Program, name: str) -> Path | None:
    """The same, in the cache only."""
    place = cache_root() / program.home / name
    return place if os.access(place, os.X_OK) else None


def install(program: Program, say: Say) -> Path:
    """Find or make one program; see :func:`install_all`."""
    failures = install_all([program], say)
    if failures:
        raise failures[program.name]
    found = find(program)
    assert found is not None, program.name
    return found


def install_all(programs: Sequence[Program], say: Say) -> dict[str, Exception]:
    """Find or make all of them; what failed by name, a MissingError where a person has to install something first."""
    failures: dict[str, Exception] = {}
    with _workshop(cache_root()) as workshop:
        for program in programs:
            try:
                began = time.monotonic()
                say(f"{program.name}: {_found(program) or _made(program, workshop(), say)}{_lasted(time.monotonic() - began)}")
            except (MissingError, OSError, subprocess.CalledProcessError) as error:
                other = find(program)
                if other is None:
                    failures[program.name] = error
                else:  # pinned, but one on PATH is better than none
                    say(f"{program.name}: {other} instead of {program.version}, which cannot be had ({error})")
    return failures


def _lasted(seconds: float) -> str:
    return f" ({seconds / 60:.1f} minutes)" if seconds >= 6 else ""


def _found(program: Program) -> Path | None:
    if program.pinned:
        places = [cached(program, name) for name in (program.name, *program.names)]
        return places[0] if all(places) else None
    return find(program)


def _made(program: Program, workshop: Path, say: Say) -> Path:
    found = _found(program)  # another may have made it while we waited for our turn
    if found:
        return found
    into = Path(tempfile.mkdtemp(dir=workshop))
    program.make(workshop, into, say)
    place = cache_root() / program.home
    shutil.rmtree(place, ignore_errors=True)  # a place without the program is of no use
    into.chmod(0o755)
    into.rename(place)
    return place / program.name


@contextmanager
def _workshop(root: Path) -> Iterator[Callable[[], Path]]:
    """A directory to make things in, had at the first need, one at a time on this machine; removed at the end."""
    root.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    with (root / ".lock").open("w") as lock:

        def have() -> Path:
            if not made:
                fcntl.flock(lock, fcntl.LOCK_EX)
                for left in root.glob(".build-*"):  # of one that was killed
                    _remove(left)
                made.append(Path(tempfile.mkdtemp(prefix=".build-", dir=root)))
            return made[0]

        try:
            yield have
        finally:
            for directory in made:
                _remove(directory)


def _remove(directory: Path) -> None:
    """Go leaves directories that even their owner may not write to."""
    for place, _, _ in os.walk(directory):
        Path(place).chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)
