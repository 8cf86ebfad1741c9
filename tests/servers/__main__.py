"""``python -m tests.servers [NAME ...]``: find or build the servers that the tests run against, saying what happens."""

from __future__ import annotations

import subprocess
import sys

from tests.servers.binaries import MissingError, install
from tests.servers.vault import VAULT

PROGRAMS = {program.name: program for program in (VAULT,)}


def main(names: list[str]) -> int:
    """0 when everything is there, 1 when something cannot be had, 2 for an unknown name."""
    unknown = sorted(set(names) - PROGRAMS.keys())
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)}; there are: {', '.join(PROGRAMS)}\n")
        return 2
    failed = False
    for name in names or PROGRAMS:
        try:
            install(PROGRAMS[name], lambda line: sys.stdout.write(line + "\n") and sys.stdout.flush())
        except MissingError as missing:
            sys.stderr.write(f"{missing}\n")
            failed = True
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"{name}: the build failed with exit code {error.returncode}\n")
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
