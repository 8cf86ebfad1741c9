"""Commands for plugins: no shell, little environment, bounded time and output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from rotatord.argv import KEPT_BYTES, Argv, environment, run
from rotatord.errors import Denied, Invalid, Retryable
from rotatord.testing.contracts.common import eventually


class Model(BaseModel):
    command: Argv


@pytest.mark.parametrize("command", ["rm -rf /", [], ["a\0b"], [1], None])
def test_only_a_list_of_texts_is_a_command(command: object) -> None:
    """A shell line is refused."""
    with pytest.raises(ValidationError):
        Model.model_validate({"command": command})


def test_the_environment_is_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the daemon's own environment but harmless names and those asked for."""
    monkeypatch.setenv("DAEMON_TOKEN", "hidden")
    monkeypatch.setenv("WANTED", "yes")
    env = environment({"ROTATORD_VERSION": "1-x"}, ["WANTED"])
    output = run(["/usr/bin/env"], env=env, seconds=10).output.decode()
    assert "hidden" not in output
    assert "WANTED=yes" in output
    assert "ROTATORD_VERSION=1-x" in output


def test_long_output_neither_blocks_nor_is_kept() -> None:
    """Only the end of it stays."""
    finished = run(["/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end >&2"], env={}, seconds=20)
    assert finished.code == 0
    assert len(finished.output) == KEPT_BYTES
    assert finished.last_words.endswith("the end")
    assert "x" not in repr(finished)[:20]


def test_what_takes_too_long_is_ended_with_all_its_children(tmp_path: Path) -> None:
    """The whole group, also where its leader ignores TERM or has left already."""
    script = "trap '' TERM; sleep 60 & echo $! > child; echo $$ > leader; wait"
    with pytest.raises(Retryable, match="longer than"):
        run(["/bin/sh", "-c", script], env={}, seconds=0.5, directory=str(tmp_path))
    for name in ("child", "leader"):
        pid = (tmp_path / name).read_text().strip()
        eventually(lambda pid=pid: not alive(pid), f"{name} has ended")


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_child_that_is_left_running_does_not_hold_us_up() -> None:
    """A command that starts something and ends is done when it ends."""
    finished = run(["/bin/sh", "-c", "sleep 3 & echo done"], env={}, seconds=20)
    assert finished.code == 0


def test_what_cannot_be_started_is_said(tmp_path: Path) -> None:
    """Missing is Invalid, not executable is Denied."""
    with pytest.raises(Invalid, match="No such file"):
        run(["/nonexistent"], env={}, seconds=1)
    (tmp_path / "plain").write_text("x")
    with pytest.raises(Denied):
        run([str(tmp_path / "plain")], env={}, seconds=1)


def test_nothing_is_inherited() -> None:
    """No open file but the three, and stdin is empty."""
    with open(os.devnull) as _held:  # noqa: PTH123
        finished = run(["/bin/sh", "-c", "cat; ls /proc/self/fd | wc -l"], env=environment({}), seconds=10)
    assert finished.last_words == "4"  # ls itself has the directory open
