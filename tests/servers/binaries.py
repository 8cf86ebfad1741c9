"""Where the real servers' programs come from: PATH, the user's cache, or a build from a committed go.mod.

The cache lies outside the checkout (``$XDG_CACHE_HOME`` or ``~/.cache``, then ``rotatord/servers/NAME-VERSION``), so that
a second run starts in seconds. A build has a Go path and build cache of its own, removed afterwards: they grow to
gigabytes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
Say = Callable[[str], None]


class MissingError(Exception):
    """A program can neither be found nor be built; the message says what to install."""


@dataclass(frozen=True)
class GoProgram:
    """A server that is built from the module in ``tests/servers/NAME``; ``beside`` are further programs of that module."""

    name: str
    version: str
    package: str
    build_flags: tuple[str, ...] = ()
    takes: str = "some minutes"
    beside: tuple[tuple[str, str], ...] = ()  # (program, package), built in the same go
    module: str = ""  # the module's directory where it is not called like the program

    @property
    def home(self) -> str:
        """Its directory in the cache."""
        return f"{self.module or self.name}-{self.version}"

    @property
    def remedy(self) -> str:
        """What a person can do about its absence."""
        return (
            f"run `make servers` (builds {self.name} {self.version} once, {self.takes}; needs Go), or put {self.name} on PATH"
        )


def cache_root() -> Path:
    """The directory of all cached servers."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "rotatord" / "servers"


def find(program: GoProgram) -> Path | None:
    """The program on PATH or in the cache, or None when it or one beside it is missing; never builds."""
    places = [find_one(program, name) for name in (program.name, *(name for name, _ in program.beside))]
    return places[0] if all(places) else None


def find_one(program: GoProgram, name: str) -> Path | None:
    """One of the module's programs by its name."""
    on_path = shutil.which(name)
    if on_path:
        return Path(on_path)
    cached = cache_root() / program.home / name
    return cached if os.access(cached, os.X_OK) else None


def install(program: GoProgram, say: Say) -> Path:
    """Find or build. Raises MissingError where there is no Go, CalledProcessError where the build fails."""
    root = cache_root()
    root.mkdir(parents=True, exist_ok=True)
    with _locked(root / f".{program.home}.lock"):
        found = find(program)
        if found:
            say(f"{program.name}: {found}")
            return found
        go = shutil.which("go")
        if go is None:
            raise MissingError(
                f"{program.name} {program.version} is neither on PATH nor in {root}, and there is no Go to build it: "
                f"install Go (package `golang`, or from the Go project) or {program.name}"
            )
        for left in root.glob(f".build-{program.name}-*"):  # of a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        return _build(program, go, root, say)


def _build(program: GoProgram, go: str, root: Path, say: Say) -> Path:
    say(f"{program.name}: building {program.version} with {go}, {program.takes}")
    scratch = Path(tempfile.mkdtemp(prefix=f".build-{program.name}-", dir=root))
    try:
        module = scratch / "module"
        shutil.copytree(HERE / (program.module or program.name), module)
        made = scratch / "made"
        made.mkdir()
        own = {"GOPATH": str(scratch / "path"), "GOMODCACHE": str(scratch / "mod"), "GOCACHE": str(scratch / "cache")}
        flags = {"GOFLAGS": "-modcacherw", "GOWORK": "off", "CGO_ENABLED": "0"}
        for name, package in ((program.name, program.package), *program.beside):
            command = [go, "build", *program.build_flags, "-o", str(made / name), package]
            subprocess.run(command, cwd=module, env={**os.environ, **own, **flags}, check=True)
        place = root / program.home
        shutil.rmtree(place, ignore_errors=True)  # a place without the program is of no use
        made.rename(place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    say(f"{program.name}: built {place / program.name}")
    return place / program.name


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
