"""Writes requirements.lock from pyproject.toml: every dependency, extra, development tool and build requirement, with hashes.

The lock carries no address of any kind, so that it installs through whatever index the machine is set up with. Versions
younger than a week are left alone: most poisoned releases are found within days.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"
COOLDOWN = "P7D"
HEADER = "# Made by `make lock` from pyproject.toml. Hashes for every platform; no addresses.\n"
ADDRESS_SIGNS = ("://", "file:", "--index-url", "--extra-index-url", "--find-links", "--trusted-host", str(ROOT))


def wanted() -> list[str]:
    """All requirements that pyproject.toml names, but the project's own extras."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *pyproject["dependency-groups"].values(),
        pyproject["build-system"]["requires"],
    ]
    own = project["name"] + "["
    return sorted({line for lines in lists for line in lines if not line.startswith(own)})


def compile_lock(source: Path, target: Path) -> None:
    """Resolve ``source`` into ``target``; an existing ``target`` keeps its pins unless asked to upgrade."""
    options = ["--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-header", "--no-annotate", "--no-emit-options"]
    quiet = ["--no-emit-index-url", "--no-emit-trusted-host", "--no-emit-find-links", "--quiet"]
    command = [sys.executable, "-m", "piptools", "compile", *options, *quiet, "--uploaded-prior-to", COOLDOWN]
    environment = {**os.environ, "PIP_FIND_LINKS": "", "PIP_ONLY_BINARY": ":all:"}
    subprocess.run([*command, *sys.argv[1:], "--output-file", str(target), str(source)], check=True, env=environment)


def checked(text: str) -> str:
    """The lock's text, or an end with the line that names an address."""
    for line in text.splitlines():
        if any(sign in line for sign in ADDRESS_SIGNS):
            raise SystemExit(f"the lock would carry an address: {line}")
    return text


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "requirements.in"), Path(directory, "requirements.txt")
        source.write_text("\n".join(wanted()) + "\n")
        if LOCK.exists():
            target.write_text(LOCK.read_text())
        compile_lock(source, target)
        lines = [line for line in target.read_text().splitlines(keepends=True) if not line.startswith("#")]
        LOCK.write_text(HEADER + checked("".join(lines)).lstrip("\n"))


if __name__ == "__main__":
    main()
