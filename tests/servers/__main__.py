"""``python -m tests.servers [NAME ...]``: find or build the servers that the tests run against, saying what happens.

Where a server cannot be had, its tests are skipped with the remedy; on CI (``CI=true``) that is a failure. ``--install``
allows system packages to be installed; no server needs one so far.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.servers.binaries import MissingError, install
from tests.servers.kubernetes import ETCD, KUBERNETES, KWOK
from tests.servers.vault import VAULT

PROGRAMS = {program.name: program for program in (VAULT, KUBERNETES, ETCD, KWOK)}


def main(words: list[str]) -> int:
    """0 when everything is there or may be missing, 1 when it must not be or a build fails, 2 for an unknown name."""
    names = [word for word in words if word != "--install"]
    unknown = sorted(set(names) - PROGRAMS.keys())
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)}; there are: {', '.join(PROGRAMS)}\n")
        return 2
    failed = False
    for name in names or PROGRAMS:
        try:
            install(PROGRAMS[name], _say)
        except MissingError as missing:
            sys.stderr.write(f"{missing}\n")
            failed = failed or os.environ.get("CI") == "true"
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"{name}: the build failed with exit code {error.returncode}\n")
            failed = True
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
