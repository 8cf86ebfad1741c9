"""Servers that are built from a committed go.mod.

The Go that go.mod asks for is had with whatever Go is there: from 1.21 on Go fetches it by itself, for an older one (a
distribution's) we do. Like every module it comes through the module proxy, held to the checksum database. Go's path and
build cache are in the workshop, shared by all builds of a run and removed after the last: they grow to gigabytes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.binaries import HERE, MissingError, Say, cache_root

_FETCHES_ITSELF = (1, 21)


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
    pinned: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The program and those beside it."""
        return (self.name, *(name for name, _ in self.beside))

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

    def make(self, workshop: Path, into: Path, say: Say) -> None:
        """Build it and what is beside it."""
        go = shutil.which("go")
        if go is None:
            raise MissingError(
                f"{self.name} {self.version} is neither on PATH nor in {cache_root()}, and there is no Go to build it: "
                f"install Go (package `golang`, or from the Go project) or {self.name}"
            )
        module = workshop / "modules" / (self.module or self.name)
        shutil.copytree(HERE / module.name, module, dirs_exist_ok=True)
        go = _new_enough(go, module, workshop, say)
        say(f"{self.name}: building {self.version} with {go}, {self.takes}")
        for name, package in ((self.name, self.package), *self.beside):
            _run([go, "build", *self.build_flags, "-o", str(into / name), package], module, workshop)


def _new_enough(go: str, module: Path, workshop: Path, say: Say) -> str:
    """This Go where it can fetch what go.mod asks for by itself, else the one that go.mod asks for."""
    told = subprocess.run(
        [go, "env", "GOVERSION", "GOOS", "GOARCH"], env=_environment(workshop), capture_output=True, check=True
    )
    version, system, machine = told.stdout.decode().split("\n")[:3]
    number = re.match(r"go(\d+)\.(\d+)", version)
    if number is None or (int(number[1]), int(number[2])) >= _FETCHES_ITSELF:
        return go
    wanted = re.search(r"^go (\d+\.\d+\.\d+)$", (module / "go.mod").read_text(), re.MULTILINE)
    assert wanted, f"{module.name}/go.mod must name a whole version of Go"
    say(f"{go} is {version}: fetching Go {wanted[1]} to build with")
    what = f"golang.org/toolchain@v0.0.1-go{wanted[1]}.{system}-{machine}"
    home = Path(json.loads(_run([go, "mod", "download", "-json", what], workshop, workshop))["Dir"])
    for program in (*(home / "bin").iterdir(), *(home / "pkg" / "tool").rglob("*")):
        program.chmod(0o755)  # a module carries no modes
    return str(home / "bin" / "go")


def _run(command: list[str], where: Path, workshop: Path) -> str:
    """What Go printed; what it complained of goes with the error, without the hundreds of downloads."""
    done = subprocess.run(command, cwd=where, env=_environment(workshop), capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("go: downloading "))
        raise subprocess.CalledProcessError(done.returncode, command, stderr=said)
    return done.stdout


def _environment(workshop: Path) -> dict[str, str]:
    own = {"GOPATH": "path", "GOMODCACHE": "mod", "GOCACHE": "cache"}
    return {
        **{name: value for name, value in os.environ.items() if name not in {"GOROOT", "GO111MODULE"}},
        **{name: str(workshop / place) for name, place in own.items()},
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "GOTOOLCHAIN": "auto",  # distributions switch it off
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }
