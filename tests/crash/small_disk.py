"""A disk of 64 megabytes that a test can fill, and make read-only: a tmpfs of its own where this machine permits mounting.

Elsewhere a directory stands in for it, and the blows bound what one process may write to a file (RLIMIT_FSIZE); the report
says which it was.
"""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

SIZE = 64 << 20


@dataclass
class SmallDisk:
    """The directory that the state of one daemon lies in; not among pytest's, which could not be cleared after a run that was
    killed and has left it mounted."""

    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="rotatord-disk-")))
    mounted: bool = False
    kind: str = "RLIMIT_FSIZE as a stand-in"

    def make(self) -> None:
        self.mounted = _mount("-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(self.directory))
        if self.mounted:
            self.kind = f"tmpfs of {SIZE >> 20} MiB"

    def remove(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.directory)], capture_output=True, timeout=20, check=False)
            self.mounted = False
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def ballast(self) -> Path:
        return self.directory / "ballast"

    def fill(self, pid: int) -> None:
        """No byte more can be written."""
        if not self.mounted:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            return
        with contextlib.suppress(OSError), self.ballast.open("wb", buffering=0) as file:
            block = bytes(1 << 16)
            for _ in range(SIZE // len(block) + 1):
                file.write(block)

    def relieve(self, pid: int) -> None:
        """There is room again."""
        if not self.mounted:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.ballast.unlink(missing_ok=True)

    def read_only(self, *, on: bool) -> bool:
        """Whether it is as wanted now: while somebody has a file open for writing, the kernel refuses."""
        return self.mounted and _mount("-o", f"remount,{'ro' if on else 'rw'}", str(self.directory))


def _mount(*words: str) -> bool:
    if shutil.which("mount") is None:
        return False
    return subprocess.run(["mount", *words], capture_output=True, timeout=20, check=False).returncode == 0
