"""The file backend under the backend contract, on a real directory."""

from __future__ import annotations

import fcntl
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest

from backends.file import FileBackend, Settings, create
from rotatord.formats import parse
from rotatord.model import Destination, Slot
from rotatord.ports import Surroundings
from rotatord.testing.clock import VirtualClock
from rotatord.testing.contracts.backend import BackendContract, Placing
from rotatord.testing.contracts.backend_setting import FIRST, put


def around(directory: Path) -> Surroundings:
    return Surroundings(
        installation="contract-installation",
        state_dir=str(directory / "state"),
        now=lambda: datetime(2026, 1, 5, tzinfo=UTC),
        secret=lambda _: "",
        base_dir=str(directory),
    )


def opened(directory: Path, **settings: str) -> FileBackend:
    return create(settings, around(directory))


class FileContract(BackendContract):
    plugin = "file"
    not_applicable: ClassVar = {"unreachable": "files of this machine are there or are not; nothing lies in between"}
    form: ClassVar[str]

    @pytest.fixture
    def backend(self, tmp_path: Path) -> FileBackend:
        return opened(tmp_path)

    @pytest.fixture
    def place(self, tmp_path: Path) -> Placing:
        numbers = itertools.count(1)

        def fresh(keys: dict[str, str] | None = None, version_key: str | None = None) -> Destination:
            address = {"path": str(tmp_path / f"document-{next(numbers)}"), "format": self.form}
            return Destination(backend="file", address=address, keys=keys or {"TOKEN": "token"}, version_key=version_key)

        return fresh

    @pytest.fixture
    def reopened(self, tmp_path: Path) -> Callable[[], FileBackend]:
        return lambda: opened(tmp_path)

    @pytest.fixture
    def raw_bytes(self, tmp_path: Path) -> Callable[[], bytes]:
        return lambda: b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    @pytest.fixture
    def reader(self) -> Callable[[Destination], dict[str, str]]:
        return lambda there: parse(self.form, Path(there.address["path"]).read_bytes()) or {}

    @pytest.fixture
    def tamper(self) -> Callable[[Destination], None]:
        def change(there: Destination) -> None:
            path = Path(there.address["path"])
            path.write_bytes(path.read_bytes().replace(b"contract", b"tampered"))

        return change

    @pytest.fixture
    def plant(self) -> Callable[[Destination], None]:
        return lambda there: self.planted(Path(there.address["path"]))

    def planted(self, path: Path) -> None:
        path.write_text("TOKEN=somebody-elses\n")

    @pytest.fixture
    def denied(self, tmp_path: Path) -> FileBackend:
        """Slots that we may not use, since others can look into them: the one refusal that holds for root too."""
        (tmp_path / "open").mkdir(mode=0o755)
        return opened(tmp_path, slots="open")

    @pytest.fixture
    def hanging(self, tmp_path: Path, backend: FileBackend, destination: Destination) -> Iterator[FileBackend]:
        """Somebody holds the document's lock and does not let go; the wait for it passes on a clock of the test's own."""
        put(backend, destination, Slot.PENDING, FIRST)
        with ExitStack() as stack:
            for lock in (tmp_path / "state").rglob("lock"):
                fcntl.flock(stack.enter_context(lock.open()), fcntl.LOCK_EX)
            yield FileBackend(Settings(), around(tmp_path), clock=VirtualClock())


class TestDotenv(FileContract):
    form = "dotenv"


class TestJson(FileContract):
    form = "json"

    def planted(self, path: Path) -> None:
        path.write_text(json.dumps({"TOKEN": "somebody-elses"}))


class TestYaml(FileContract):
    form = "yaml"

    def planted(self, path: Path) -> None:
        path.write_text("TOKEN: somebody-elses\n")
