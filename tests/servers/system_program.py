"""Programs that come with the system, or not at all: spin with the C compiler that it needs, and what the manual tells people
to type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.servers.binaries import MissingError, Say


@dataclass(frozen=True)
class SystemProgram:
    """One that is found on PATH. ``names``: itself and what it needs beside it; ``packages``: what brings them."""

    name: str
    packages: tuple[str, ...]
    names: tuple[str, ...] = ()
    version: str = "any"
    pinned: bool = False

    @property
    def home(self) -> str:
        return self.name

    @property
    def remedy(self) -> str:
        return f"apt-get install {' '.join(self.packages)} (or `make servers INSTALL=1`)"

    def make(self, workshop: Path, into: Path, say: Say) -> None:
        raise MissingError(self.remedy)


SPIN = SystemProgram("spin", ("spin", "gcc", "libc6-dev"), ("spin", "gcc"), version="6.5 or newer")
JQ = SystemProgram("jq", ("jq",))
CURL = SystemProgram("curl", ("curl",))
AWS_CLI = SystemProgram("aws", ("awscli",))
SYSTEM = (SPIN, JQ, CURL, AWS_CLI)
