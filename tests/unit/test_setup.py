"""Where something cannot be had, the set-up says exactly what to install, and installs nothing by itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cat", "cut", "dirname", "id", "sha256sum")
OLD = "#!/bin/sh\nexit 1\n"  # a shim that fails, or a Python before 3.11
NO_VENV = """#!/bin/sh
case "$*" in
    *version_info\\ *) exit 0 ;;
    *version_info.minor*) echo python3.12-venv ;;
    --version) echo Python 3.12.4 ;;
    *) exit 1 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the set-up only, and a PATH of its own without any Python."""
    place = tmp_path / "checkout"
    (place / "tests" / "tools").mkdir(parents=True)
    (place / "bin").mkdir()
    shutil.copy(ROOT / "tests" / "tools" / "setup.sh", place / "tests" / "tools")
    for name in ("requirements.lock", "pyproject.toml"):
        (place / name).write_text("")
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (place / "bin" / tool).symlink_to(found)
    return place


def set_up(checkout: Path, **python: str) -> subprocess.CompletedProcess[str]:
    """Run it with these programs on PATH."""
    for name, text in python.items():
        program = checkout / "bin" / name
        program.write_text(text)
        program.chmod(0o755)
    command = [str(checkout / "bin" / "bash"), str(checkout / "tests" / "tools" / "setup.sh")]
    environment = {"PATH": str(checkout / "bin"), "HOME": str(checkout)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_without_a_python_it_names_what_to_install(checkout: Path) -> None:
    """A machine whose python3 is too old, or a shim that fails, gets the command that helps."""
    answer = set_up(checkout, python3=OLD)
    assert answer.returncode == 1
    assert "Python 3.11 or newer" in answer.stderr
    assert "apt-get install python3 python3-venv" in answer.stderr


def test_without_the_venv_module_it_names_the_package(checkout: Path) -> None:
    """Debian's Python without its venv package gets that package's name."""
    answer = set_up(checkout, python3=OLD, **{"python3.12": NO_VENV})
    assert answer.returncode == 1
    assert "Python 3.12.4 has no venv module" in answer.stderr
    assert "apt-get install python3.12-venv" in answer.stderr
