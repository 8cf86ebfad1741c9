"""The process consumer beyond its contract: never the wrong program, never a shell, never a secret."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from consumers.process import ProcessConsumer, create
from rotatord.errors import Invalid, Retryable
from rotatord.ports import Published, Surroundings
from rotatord.testing.contracts.common import eventually

PUBLISHED = Published(
    credential="db", label="2-0123abcd", rotation="rot_1", token="rot_1-1", at=datetime(2026, 1, 5, tzinfo=UTC)
)


def made(base: Path, **settings: object) -> ProcessConsumer:
    around = Surroundings(
        installation="i", state_dir=str(base), now=lambda: datetime.now(UTC), secret=lambda _: "", base_dir=str(base)
    )
    return create(settings, around)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that counts the HUPs it gets, its pid in ``pid``."""
    script = "trap 'echo hup >> seen' HUP; echo up >> seen; while :; do sleep 0.05; done"
    child = subprocess.Popen(["/bin/sh", "-c", script], cwd=tmp_path)
    eventually((tmp_path / "seen").exists, "the program runs")
    (tmp_path / "pid").write_text(f"{child.pid}\n")
    yield child
    child.kill()
    child.wait(10)


def seen(directory: Path) -> list[str]:
    return (directory / "seen").read_text().split()


def test_one_token_signals_once(program: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A repeated reload of one token is not passed on; another token is."""
    consumer = made(tmp_path, pid_file="pid")
    consumer.reload(PUBLISHED)
    eventually(lambda: seen(tmp_path) == ["up", "hup"], "the signal has arrived")
    consumer.reload(PUBLISHED)
    made(tmp_path, pid_file="pid", signal="sighup").reload(PUBLISHED)
    eventually(lambda: seen(tmp_path) == ["up", "hup", "hup"], "the second signal has arrived")


def test_a_recycled_pid_is_never_signalled(program: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A program younger than the pid file is another one, and so is one that runs something else."""
    os.utime(tmp_path / "pid", (1_700_000_000, 1_700_000_000))
    with pytest.raises(Retryable, match="left over"):
        made(tmp_path, pid_file="pid").reload(PUBLISHED)
    os.utime(tmp_path / "pid")
    with pytest.raises(Retryable, match="left over"):
        made(tmp_path, pid_file="pid", executable=sys.executable).reload(PUBLISHED)
    with pytest.raises(Retryable, match="left over"):
        made(tmp_path, pid_file="pid", executable=sys.executable).instances(PUBLISHED)
    assert seen(tmp_path) == ["up"]


@pytest.mark.parametrize("content", ["", "x", "-1", "0", "12 34", "99999999999999", "\u0661"])
def test_a_file_that_holds_no_pid_signals_nobody(tmp_path: Path, content: str) -> None:
    """Half-written and malformed files are waited for."""
    (tmp_path / "pid").write_text(content)
    with pytest.raises(Retryable, match="does not hold a pid"):
        made(tmp_path, pid_file="pid").reload(PUBLISHED)


def test_a_program_that_has_ended_is_no_instance(tmp_path: Path) -> None:
    """Its pid file names nobody: nothing runs, and a reload reaches nobody. A zombie has ended too."""
    child = subprocess.Popen(["/bin/true"])
    (tmp_path / "pid").write_text(str(child.pid))
    consumer = made(tmp_path, pid_file="pid")
    eventually(lambda: not consumer.instances(PUBLISHED), "it has ended, though nobody has collected it")
    child.wait(10)
    assert consumer.instances(PUBLISHED) == []
    with pytest.raises(Retryable, match="does not run"):
        consumer.reload(PUBLISHED)


def test_we_never_signal_ourselves(tmp_path: Path) -> None:
    """A pid file with our own pid is a mistake."""
    (tmp_path / "pid").write_text(str(os.getpid()))
    with pytest.raises(Invalid, match="rotatord itself"):
        made(tmp_path, pid_file="pid").reload(PUBLISHED)


def test_a_running_program_is_one_instance_with_its_start(program: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """Which version it runs on it cannot tell; when it started it can."""
    before = datetime.now(UTC)
    (instance,) = made(tmp_path, pid_file="pid").instances(PUBLISHED)
    assert instance.id.startswith(f"pid {program.pid} of tick ")
    assert made(tmp_path, pid_file="pid").instances(PUBLISHED)[0].id == instance.id
    assert instance.version is None
    assert instance.created_at is not None
    assert abs((before - instance.created_at).total_seconds()) < 20


def test_a_command_is_told_facts_and_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment says what was published; the daemon's own environment stays with the daemon."""
    monkeypatch.setenv("DAEMON_SECRET", "hidden")
    made(tmp_path, command=["/bin/sh", "-c", "/usr/bin/env > env"], directory=".").reload(PUBLISHED)
    text = (tmp_path / "env").read_text()
    assert "ROTATORD_CREDENTIAL=db\n" in text
    assert "ROTATORD_VERSION=2-0123abcd\n" in text
    assert "hidden" not in text


def test_a_failed_command_shows_its_output_only_where_asked(tmp_path: Path) -> None:
    """Output may hold anything, so an error says the exit code alone unless the settings say otherwise."""
    argv = ["/bin/sh", "-c", "echo what it said; exit 3"]
    with pytest.raises(Retryable, match="exit code 3") as caught:
        made(tmp_path, command=argv).reload(PUBLISHED)
    assert "what it said" not in str(caught.value)
    with pytest.raises(Retryable, match="exit code 3: what it said"):
        made(tmp_path, command=argv, show_output=True).reload(PUBLISHED)


@pytest.mark.parametrize(
    ("settings", "argv"),
    [
        ({}, "--no-ask-password reload -- app.service"),
        ({"action": "restart"}, "--no-ask-password restart -- app.service"),
        ({"action": "signal", "signal": "USR1"}, "--no-ask-password kill --kill-whom=main --signal=SIGUSR1 -- app.service"),
    ],
)
def test_a_unit_is_told_through_systemctl(tmp_path: Path, settings: dict[str, object], argv: str) -> None:
    """Each action is one argument list."""
    script = tmp_path / "systemctl"
    script.write_text('#!/bin/sh\necho "$*" >> "$(dirname "$0")/seen"\n')
    script.chmod(0o755)
    consumer = made(tmp_path, unit="app.service", systemctl=str(script), **settings)
    consumer.reload(PUBLISHED)
    assert (tmp_path / "seen").read_text() == argv + "\n"
    assert consumer.instances(PUBLISHED) == []


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"command": "kill -HUP 1"},
        {"command": []},
        {"pid_file": "a", "unit": "b"},
        {"unit": "--all"},
        {"unit": "a b"},
        {"pid_file": "a", "signal": "KILL"},
        {"unit": "a", "executable": "/bin/sh"},
        {"pid_file": "a", "pass_environment": ["ROTATORD_TOKEN"]},
        {"pid_file": "a", "atest": {}},
        {"pid_file": "a", "attest": {}},
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, settings: dict[str, object]) -> None:
    """A shell line, two ways at once, an option in place of a unit, KILL: all refused before anything is done."""
    with pytest.raises(ValidationError):
        made(tmp_path, **settings)


def test_the_evidence_follows_from_the_settings(tmp_path: Path) -> None:
    """Attestation beats the age of a restarted unit, which beats a promise to look again."""
    attest = {"url": "http://127.0.0.1:1", "possession": True}
    assert made(tmp_path, pid_file="a").evidence == "none"
    assert made(tmp_path, pid_file="a", refresh_within="5m").evidence == "polling"
    assert made(tmp_path, unit="a", action="restart", refresh_within="5m").evidence == "rollout"
    consumer = made(tmp_path, unit="a", action="restart", attest=attest)
    assert (consumer.evidence, consumer.possession) == ("attestation", True)
