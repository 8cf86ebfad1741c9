"""The small disk is full, read-only and roomy again when it is told to be, mounted or with its stand-in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.small_disk import SmallDisk

WRITER = """
import os, sys
for number, line in enumerate(sys.stdin):
    try:
        with open(f"{sys.argv[1]}/file-{number}", "wb", buffering=0) as file:
            said = "written" if file.write(bytes(8192)) == 8192 else "refused"
    except OSError:
        said = "refused"
    print(said, flush=True)
"""


class Writer:
    """A process that writes two pages to a file of the disk when asked."""

    def __init__(self, directory: Path) -> None:
        command = [sys.executable, "-c", WRITER, str(directory)]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def write(self) -> str:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return self.child.stdout.readline().strip()

    def stop(self) -> None:
        self.child.communicate(timeout=20)


@pytest.fixture(params=["mounted", "stand-in"])
def disk(request: pytest.FixtureRequest) -> Iterator[SmallDisk]:
    made = SmallDisk()
    if request.param == "mounted":
        made.make()
    try:
        if request.param == "mounted" and not made.mounted:
            pytest.skip("this machine permits no mounting: the stand-in serves")
        yield made
    finally:
        made.remove()


def test_a_full_disk_takes_nothing_and_then_takes_it_again(disk: SmallDisk) -> None:
    """What a daemon on it meets, and what it comes back to."""
    writer = Writer(disk.directory)
    try:
        assert writer.write() == "written"
        disk.fill(writer.child.pid)
        assert writer.write() == "refused"
        disk.relieve(writer.child.pid)
        assert writer.write() == "written"
    finally:
        writer.stop()


def test_a_read_only_disk(disk: SmallDisk) -> None:
    """Only what is mounted can be made so."""
    assert disk.read_only(on=True) is disk.mounted
    writer = Writer(disk.directory)
    try:
        assert writer.write() == ("refused" if disk.mounted else "written")
        assert disk.read_only(on=False) is disk.mounted
        assert writer.write() == "written"
    finally:
        writer.stop()
