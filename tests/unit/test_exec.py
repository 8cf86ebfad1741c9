"""``rotatord exec``: real programs with their secrets, real signals, real changes of the file."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rotatord.exec import ExecSettings, run
from rotatord.secret import Secret
from rotatord.testing.contracts.common import eventually

RUNNER = """
import json, sys
from rotatord.exec import ExecSettings, run
settings = json.loads(sys.argv[1])
sys.exit(run(ExecSettings(**{**settings, "argv": tuple(settings["argv"])})))
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    path = tmp_path / "db.env"
    put(path, "first-value", 1)
    return path


def put(path: Path, value: str, number: int) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(f"TOKEN={value}\nROTATORD_VERSION={number}-0123abcd\n")
    fresh.rename(path)


@pytest.fixture
def start(tmp_path: Path, secrets: Path) -> Iterator[Start]:
    """Starts ``exec`` over a program; whatever still runs at the end is ended."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*argv: str, **settings: object) -> subprocess.Popen[bytes]:
        given = {
            "file": str(secrets),
            "argv": argv,
            "poll_seconds": 0.05,
            "settle_seconds": 0.1,
            "grace_seconds": 5,
            **settings,
        }
        child = subprocess.Popen([sys.executable, "-c", RUNNER, json.dumps(given)], cwd=tmp_path, stderr=subprocess.PIPE)
        started.append(child)
        return child

    yield begin
    for child in started:
        if child.poll() is None:
            child.terminate()
        child.communicate(timeout=20)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def attested(port: int, query: str = "") -> dict[str, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/.well-known/rotatord{query}", timeout=5) as answer:
            found: dict[str, dict[str, str]] = json.load(answer)
    except OSError:
        return {}
    return found["db"]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


KEEP = 'echo "$TOKEN $$" >> seen; exec sleep 60'


def test_the_program_has_its_secrets_and_nobody_else(start: Start, tmp_path: Path) -> None:
    """They are in the program's environment; our own environment and both command lines do not hold them."""
    child = start("/bin/sh", "-c", KEEP)
    eventually(lambda: bool(lines(tmp_path / "seen")), "the program runs")
    value, pid = lines(tmp_path / "seen")[0].split()
    assert value == "first-value"
    for path in (f"{child.pid}/environ", f"{child.pid}/cmdline", f"{pid}/cmdline"):
        assert b"first-value" not in Path("/proc", path).read_bytes()
    assert b"first-value" in Path("/proc", pid, "environ").read_bytes()


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_code_is_the_programs(start: Start, script: str, code: int) -> None:
    """Its own code, or 128 and the signal that ended it."""
    assert start("/bin/sh", "-c", script).wait(20) == code


def test_a_change_starts_the_program_anew_and_is_attested(start: Start, tmp_path: Path, secrets: Path, port: int) -> None:
    """The new program has the new value, the old one has ended, and the label is attested once it has settled."""
    start("/bin/sh", "-c", KEEP, attest=f"127.0.0.1:{port}")
    eventually(lambda: attested(port).get("version") == "1-0123abcd", "the first version is attested")
    put(secrets, "second-value", 2)
    eventually(lambda: attested(port).get("version") == "2-0123abcd", "the second version is attested")
    assert attested(port)["status"] == "ok"
    (first, old), (second, _) = (line.split() for line in lines(tmp_path / "seen"))
    assert (first, second) == ("first-value", "second-value")
    assert not Path("/proc", old).exists()


def test_nothing_is_attested_before_the_program_has_settled(start: Start, port: int) -> None:
    """A program that has just been started may yet refuse what it was given."""
    start("/bin/sh", "-c", KEEP, attest=f"127.0.0.1:{port}", settle_seconds=60)
    eventually(lambda: attested(port).get("status") == "starting", "the endpoint answers")
    assert "version" not in attested(port)


def test_possession_is_proven_with_the_fields_of_the_issuer(start: Start, port: int) -> None:
    """The proof is the one that the engine expects of the canonical secret."""
    start("/bin/sh", "-c", KEEP, attest=f"127.0.0.1:{port}", possession={"token": "TOKEN"}, credential="db")
    eventually(lambda: attested(port).get("version") == "1-0123abcd", "the version is attested")
    assert attested(port, "?nonce=00ff")["proof"] == Secret({"token": "first-value"}).prove(b"\x00\xff")
    assert "proof" not in attested(port)


TRAPPING = """trap 'echo "$(. ./db.env; echo $TOKEN)" >> seen' HUP; echo ready >> seen; while :; do sleep 0.05; done"""


def test_a_change_may_be_told_by_a_signal(start: Start, tmp_path: Path, secrets: Path, port: int) -> None:
    """The same program reads the file itself when it is told."""
    start("/bin/sh", "-c", TRAPPING, on_change="signal:HUP", attest=f"127.0.0.1:{port}")
    eventually(lambda: lines(tmp_path / "seen") == ["ready"], "the program runs")
    put(secrets, "second-value", 2)
    eventually(lambda: lines(tmp_path / "seen") == ["ready", "second-value"], "the program has read anew")
    eventually(lambda: attested(port).get("version") == "2-0123abcd", "the second version is attested")


def test_signals_are_passed_on(start: Start, tmp_path: Path) -> None:
    """Whoever signals us means the program; TERM ends both and the program's code is ours."""
    child = start(
        "/bin/sh", "-c", "trap 'echo usr >> seen' USR1; trap 'exit 5' TERM; echo up >> seen; while :; do sleep 0.05; done"
    )
    eventually(lambda: lines(tmp_path / "seen") == ["up"], "the program runs")
    child.send_signal(signal.SIGUSR1)
    eventually(lambda: lines(tmp_path / "seen") == ["up", "usr"], "the signal has arrived")
    child.terminate()
    assert child.wait(20) == 5


def test_a_program_that_does_not_end_is_ended_after_the_grace(start: Start, tmp_path: Path) -> None:
    """TERM, then KILL."""
    child = start("/bin/sh", "-c", "trap '' TERM; echo $$ >> seen; while :; do sleep 0.05; done", grace_seconds=0.3)
    eventually(lambda: bool(lines(tmp_path / "seen")), "the program runs")
    child.terminate()
    assert child.wait(20) == 137
    assert not Path("/proc", lines(tmp_path / "seen")[0]).exists()


def test_a_broken_file_changes_nothing(start: Start, tmp_path: Path, secrets: Path, port: int) -> None:
    """The program goes on with what it has, says what is wrong, and takes the next good file."""
    start("/bin/sh", "-c", KEEP, attest=f"127.0.0.1:{port}")
    eventually(lambda: attested(port).get("version") == "1-0123abcd", "the version is attested")
    secrets.write_text("not a document")
    eventually(lambda: "not a dotenv" in attested(port)["status"], "the trouble is said")
    assert len(lines(tmp_path / "seen")) == 1
    put(secrets, "second-value", 2)
    eventually(lambda: attested(port).get("version") == "2-0123abcd", "the next version is attested")


def test_a_file_without_the_keys_asked_for_is_refused(start: Start, tmp_path: Path, secrets: Path, port: int) -> None:
    """The attestation names what could not be loaded; the program keeps the old value."""
    start("/bin/sh", "-c", 'echo "$DB" >> seen; exec sleep 60', names={"DB": "TOKEN"}, attest=f"127.0.0.1:{port}")
    eventually(lambda: attested(port).get("version") == "1-0123abcd", "the version is attested")
    secrets.with_suffix(".new").write_text("OTHER=1\nROTATORD_VERSION=2-0123abcd\n")
    secrets.with_suffix(".new").rename(secrets)
    eventually(lambda: attested(port).get("refused") == "2-0123abcd", "the refusal is said")
    assert attested(port)["version"] == "1-0123abcd"
    assert lines(tmp_path / "seen") == ["first-value"]


def settings(tmp_path: Path, *argv: str, **more: object) -> ExecSettings:
    (tmp_path / "x.env").write_text("A=1\n")
    given: dict[str, object] = {"file": str(tmp_path / "x.env"), "argv": argv, **more}
    return ExecSettings(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argv", "more", "end"),
    [
        ((), {}, (2, "name the program")),
        (("/bin/true",), {"on_change": "reboot"}, (2, "--on-change")),
        (("/bin/true",), {"on_change": "signal:TERM"}, (2, "--on-change")),
        (("/bin/true",), {"attest": "0.0.0.0:80"}, (2, "loopback")),
        (("/bin/true",), {"attest": "localhost"}, (2, "loopback")),
        (("/bin/true",), {"file": "x.unknown"}, (2, "format")),
        (("/bin/true",), {"file": "/nonexistent/x.env"}, (3, "No such file")),
        (("/bin/true",), {"names": {"B": "B"}}, (2, "--env")),
        (("/nonexistent/program",), {}, (127, "not found")),
        (("/etc",), {}, (126, "/etc")),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(
    tmp_path: Path, argv: tuple[str, ...], more: dict[str, object], end: tuple[int, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """A sentence on stderr and an exit code; the caller's signals are as they were."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert run(settings(tmp_path, *argv, **more)) == end[0]
    assert end[1] in capfd.readouterr().err
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_a_taken_port_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is started that could not be attested for."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        made = settings(tmp_path, "/bin/touch", str(tmp_path / "ran"), attest=f"127.0.0.1:{taken.getsockname()[1]}")
        assert run(made) == 2
    assert "in use" in capfd.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_the_environment_of_the_caller_is_left_alone(tmp_path: Path) -> None:
    """What is the program's never passes through our own environment."""
    assert run(settings(tmp_path, "/bin/sh", "-c", 'test "$A" = 1')) == 0
    assert "A" not in os.environ
