"""spin, which makes a search program of a model, and the C compiler that it needs: installed with the system or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.servers.binaries import MissingError, Say


@dataclass(frozen=True)
class SpinProgram:
    """Where spin lies."""

    name: str = "spin"
    version: str = "6.5 or newer"
    names: tuple[str, ...] = ("spin", "gcc")
    home: str = "spin"
    pinned: bool = False
    remedy: str = "apt-get install spin gcc (or `make servers INSTALL=1`)"

    def make(self, workshop: Path, into: Path, say: Say) -> None:
        raise MissingError(self.remedy)


SPIN = SpinProgram()
