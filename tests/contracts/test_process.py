"""The process consumer under the consumer contract: a real program, real signals, real commands."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest

from consumers.process import ProcessConsumer, create
from rotatord.ports import Published, Surroundings
from rotatord.testing.contracts.common import eventually
from rotatord.testing.contracts.consumer import ConsumerContract
from rotatord.testing.silent import closed_port, silent_server

SAMPLE = Path(__file__).with_name("sample_consumer.py")


def surroundings(base: Path) -> Surroundings:
    return Surroundings(
        installation="contract", state_dir=str(base), now=lambda: datetime.now(UTC), secret=lambda _: "", base_dir=str(base)
    )


def attesting(port: str | int) -> dict[str, object]:
    return {"url": f"http://127.0.0.1:{port}", "allow_private": True, "timeout": 1}


@contextmanager
def running(value: Path, state: Path, mode: str = "good") -> Iterator[str]:
    """A sample consumer; yields the port at which it attests."""
    state.mkdir()
    child = subprocess.Popen([sys.executable, str(SAMPLE), str(value), str(state), mode])
    try:
        eventually((state / "port").exists, "the sample consumer answers")
        yield (state / "port").read_text()
    finally:
        child.terminate()
        child.wait(10)


class ProcessContract(ConsumerContract):
    plugin = "process"

    def settings(self, state: Path) -> dict[str, object]:
        """How to reach the sample consumer whose state is here."""
        raise NotImplementedError

    @pytest.fixture
    def stack(self) -> Iterator[ExitStack]:
        with ExitStack() as stack:
            yield stack

    @pytest.fixture
    def value(self, tmp_path: Path) -> Path:
        path = tmp_path / "value"
        path.write_text("1-00000000")
        return path

    @pytest.fixture
    def made(self, tmp_path: Path, value: Path, stack: ExitStack) -> Callable[[str], ProcessConsumer]:
        def make(mode: str) -> ProcessConsumer:
            state = tmp_path / mode
            port = stack.enter_context(running(value, state, mode))
            return create({**self.settings(state), "attest": attesting(port)}, surroundings(tmp_path))

        return make

    @pytest.fixture
    def consumer(self, made: Callable[[str], ProcessConsumer]) -> ProcessConsumer:
        return made("good")

    @pytest.fixture
    def publish(self, value: Path) -> Callable[[], Published]:
        numbers = itertools.count(2)

        def put() -> Published:
            number = next(numbers)
            value.write_text(f"{number}-0123abcd")
            at = datetime.now(UTC)
            return Published(
                credential="contract", label=f"{number}-0123abcd", rotation="rot_1", token=f"rot_1-{number}", at=at
            )

        return put

    @pytest.fixture
    def copies(self) -> int:
        return 1

    @pytest.fixture
    def loads(self, tmp_path: Path) -> Callable[[], int]:
        counter = tmp_path / "good" / "loads"
        return lambda: len(counter.read_text()) if counter.exists() else 0

    @pytest.fixture
    def deaf(self, made: Callable[[str], ProcessConsumer]) -> ProcessConsumer:
        return made("deaf")

    @pytest.fixture
    def refusing(self, made: Callable[[str], ProcessConsumer]) -> ProcessConsumer:
        return made("refusing")

    @pytest.fixture
    def unreachable(self, tmp_path: Path, stack: ExitStack) -> ProcessConsumer:
        port = stack.enter_context(closed_port())
        return create({**self.settings(tmp_path / "nowhere"), "attest": attesting(port)}, surroundings(tmp_path))


class TestPidFile(ProcessContract):
    """Told by a signal."""

    reload_awaits_nothing = True

    def settings(self, state: Path) -> dict[str, object]:
        return {"pid_file": str(state / "pid"), "executable": sys.executable, "timeout": 5}

    @pytest.fixture
    def hanging(self, tmp_path: Path, made: Callable[[str], ProcessConsumer], stack: ExitStack) -> ProcessConsumer:
        """Stopped: it takes signals and connections, and does nothing with them."""
        plugin = made("good")
        pid = int((tmp_path / "good" / "pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        stack.callback(os.kill, pid, signal.SIGCONT)
        return plugin


class TestCommand(ProcessContract):
    """Told by a command."""

    def settings(self, state: Path) -> dict[str, object]:
        return {"command": ["/bin/sh", "-c", 'kill -HUP "$(cat "$1")"', "sh", str(state / "pid")], "timeout": 2}

    @pytest.fixture
    def hanging(self, tmp_path: Path, stack: ExitStack) -> ProcessConsumer:
        port = stack.enter_context(silent_server())
        command = {"command": ["/bin/sh", "-c", "sleep 60 & wait"], "timeout": 0.3}
        return create({**command, "attest": attesting(port)}, surroundings(tmp_path))


SYSTEMCTL = """#!/bin/sh
# Stands in for systemctl over one program: says its pid, and starts it anew.
state="$(dirname "$0")"
case "$*" in
  "show --property=ActiveState --property=MainPID -- app.service")
    printf 'MainPID=%s\\nActiveState=active\\n' "$(cat "$state/pid")" ;;
  "--no-ask-password restart -- app.service")
    printf x >> "$state/loads"
    kill "$(cat "$state/pid")"
    /bin/sleep 300 </dev/null >/dev/null 2>&1 &
    echo $! > "$state/pid" ;;
  *) exit 5 ;;
esac
"""
LAZY = """#!/bin/sh
# Says that it did what it was asked, and has done nothing.
case "$*" in show*) printf 'MainPID=%s\\nActiveState=active\\n' "$(cat "$(dirname "$0")/pid")" ;; esac
"""


class TestUnit(ConsumerContract):
    """Started anew by systemd: proven by the age of its main process."""

    plugin = "process"
    not_applicable: ClassVar = {"refusing": "its main process is younger or it is not; it says nothing of versions"}

    @pytest.fixture
    def state(self, tmp_path: Path) -> Iterator[Path]:
        """A unit with one program, behind a stand-in for systemctl."""
        first = subprocess.Popen(["/bin/sleep", "300"])
        (tmp_path / "pid").write_text(str(first.pid))
        yield tmp_path
        subprocess.run(["/bin/kill", (tmp_path / "pid").read_text().strip()], check=False, timeout=10)
        first.kill()
        first.wait(10)

    @pytest.fixture
    def made(self, state: Path) -> Callable[[str], ProcessConsumer]:
        """The plugin over a systemctl that is this script."""

        def make(script: str, timeout: float = 5) -> ProcessConsumer:
            systemctl = state / "systemctl"
            systemctl.write_text(script)
            systemctl.chmod(0o755)
            settings = {"unit": "app.service", "action": "restart", "systemctl": str(systemctl), "timeout": timeout}
            return create(settings, surroundings(state))

        return make

    @pytest.fixture
    def consumer(self, made: Callable[[str], ProcessConsumer]) -> ProcessConsumer:
        return made(SYSTEMCTL)

    @pytest.fixture
    def publish(self) -> Callable[[], Published]:
        numbers = itertools.count(2)

        def put() -> Published:
            number = next(numbers)
            return Published(credential="c", label=f"{number}-x", rotation="r", token=f"t{number}", at=datetime.now(UTC))

        return put

    @pytest.fixture
    def copies(self) -> int:
        return 1

    @pytest.fixture
    def loads(self, state: Path) -> Callable[[], int]:
        counter = state / "loads"
        return lambda: len(counter.read_text()) if counter.exists() else 0

    @pytest.fixture
    def deaf(self, made: Callable[[str], ProcessConsumer]) -> ProcessConsumer:
        return made(LAZY)

    @pytest.fixture
    def unreachable(self, made: Callable[[str], ProcessConsumer]) -> ProcessConsumer:
        """As where the bus is not there."""
        return made("#!/bin/sh\nexit 1\n")

    @pytest.fixture
    def hanging(self, made: Callable[..., ProcessConsumer]) -> ProcessConsumer:
        return made("#!/bin/sh\nsleep 60 & wait\n", timeout=0.3)
