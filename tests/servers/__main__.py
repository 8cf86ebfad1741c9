"""``python -m tests.servers [NAME ...]``: find or make the servers and tools that the tests need, saying what happens.

Where one cannot be had, its tests are skipped with the remedy; on CI (``CI=true``) that is a failure. ``--missing`` only
names those that would have to be built, and the packages (``package:NAME``) of those that come with the system, one a line, for
the script that installs what that takes.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.servers.binaries import Program, find, install_all
from tests.servers.go_program import GoProgram
from tests.servers.helm import HELM, KUBECTL
from tests.servers.kubernetes import ETCD, KUBERNETES, KWOK
from tests.servers.postgresql import POSTGRESQL, PostgresqlProgram
from tests.servers.system_program import SYSTEM, SystemProgram
from tests.servers.vault import VAULT

# The quick ones first: a person who interrupts the rest has them.
PROGRAMS: dict[str, Program] = {
    program.name: program for program in (*SYSTEM, POSTGRESQL, HELM, KUBECTL, ETCD, KWOK, KUBERNETES, VAULT)
}


def main(words: list[str]) -> int:
    """0 when everything is there or may be missing, 1 when it must not be or making it fails, 2 for an unknown name."""
    names = [word for word in words if word != "--missing"] or list(PROGRAMS)
    unknown = sorted(set(names) - PROGRAMS.keys())
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)}; there are: {', '.join(PROGRAMS)}\n")
        return 2
    wanted = [PROGRAMS[name] for name in names]
    if "--missing" in words:
        for program in wanted:
            if isinstance(program, GoProgram | PostgresqlProgram | SystemProgram) and find(program) is None:
                packages = () if isinstance(program, GoProgram) else program.packages
                _say("\n".join(f"package:{each}" for each in packages) or program.name)
        return 0
    failures = install_all(wanted, _say)
    for name, error in failures.items():
        sys.stderr.write(f"{name}: {_told(error)}\n")
    failed = any(isinstance(error, subprocess.CalledProcessError) for error in failures.values())
    return 1 if failed or (failures and os.environ.get("CI") == "true") else 0


def _told(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"`{' '.join(map(str, error.cmd))}` failed with exit code {error.returncode}\n{error.stderr or ''}".rstrip()
    return str(error)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
