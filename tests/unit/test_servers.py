"""How the test servers are had: found, built once under a lock, cleaned up after, or said to be missing."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest

from tests.servers.binaries import GoProgram, MissingError, find, install

PROGRAM = GoProgram(name="vault", version="0.0.1", package="example.org/vault", build_flags=("-trimpath",), takes="no time")
FAKE_GO = """#!/bin/sh
# go build ... -o FILE PACKAGE: leaves what a build leaves behind, and a program
echo "$@" >> "$LOG"
mkdir -p "$GOCACHE" "$GOMODCACHE/read-only" && touch "$GOMODCACHE/read-only/file"
test -f go.mod || exit 3
test -z "$FAIL" || exit 1
while [ "$1" != "-o" ]; do shift; done
printf '#!/bin/sh\\necho built\\n' > "$2" && chmod +x "$2"
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a PATH with a Go of our own and nothing else that matters."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "go").write_text(FAKE_GO)
    (tools / "go").chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("LOG", str(tmp_path / "go.log"))
    monkeypatch.delenv("FAIL", raising=False)
    return tmp_path / "cache" / "rotatord" / "servers"


def test_built_once_and_cleaned_up(cache: Path, tmp_path: Path) -> None:
    """The first call builds, also when four come at once; what the build needed is gone; later ones find it."""
    said: list[str] = []
    threads = [threading.Thread(target=lambda: install(PROGRAM, said.append)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len((tmp_path / "go.log").read_text().splitlines()) == 1
    place = cache / "vault-0.0.1" / "vault"
    assert find(PROGRAM) == place
    assert subprocess.run([place], capture_output=True, check=True).stdout == b"built\n"
    assert [each.name for each in cache.iterdir() if not each.name.endswith(".lock")] == ["vault-0.0.1"]
    assert any("building" in line for line in said)


def test_a_failed_build_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half of a server is ever found, and the next try may succeed."""
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(subprocess.CalledProcessError):
        install(PROGRAM, lambda _: None)
    assert find(PROGRAM) is None
    assert [each.name for each in cache.iterdir() if not each.name.endswith(".lock")] == []
    monkeypatch.delenv("FAIL")
    assert install(PROGRAM, lambda _: None).exists()


def test_without_go_it_says_what_to_install(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a server nor a Go: the message names both ways out."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(MissingError, match=r"install Go .* or vault"):
        install(PROGRAM, lambda _: None)
    assert "make servers" in PROGRAM.remedy


def test_path_comes_first(cache: Path, tmp_path: Path) -> None:
    """A server on PATH is used as it is."""
    mine = tmp_path / "bin" / "vault"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    assert install(PROGRAM, lambda _: None) == mine
    assert not (tmp_path / "go.log").exists()
    assert os.access(mine, os.X_OK)
