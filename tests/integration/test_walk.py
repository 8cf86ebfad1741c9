"""The five-minute walk of README, typed as it stands there."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.servers.fixtures import need
from tests.servers.vault import VAULT

ROOT = Path(__file__).resolve().parents[2]
PORTS = ("8200", "8199")
BEFORE = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n"
SECONDS = 150


def typed() -> str:
    """Everything in the walk's blocks, in order, as a script that ends at the first command that fails."""
    walk = (ROOT / "README.md").read_text().partition("<!-- walk -->")[2].partition("<!-- end of walk -->")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```$", walk, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    return BEFORE + "".join(f"echo '--- block {number}'\n{block}" for number, block in enumerate(blocks, 1))


def free_ports(count: int) -> list[str]:
    """Ports of loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def run(script: str, directory: Path) -> tuple[int, str]:
    """The script's exit code and everything that it printed; nothing that it started lives on."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VAULT_", "ROTATORD_", "MAKE"))}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**kept, "TMPDIR": str(directory)},
            start_new_session=True,
        )
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            code = -1
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # the group is its own: bash and what it left running
            process.wait()
        output.seek(0)
        return code, output.read().decode(errors="replace")


@pytest.mark.vault
@pytest.mark.timeout(SECONDS + 30)
def test_the_walk_does_what_it_says(tmp_path: Path) -> None:
    """Who types the blocks of README sees a credential rotated under a real application that is never refused."""
    program = need(VAULT)
    script = typed().replace("make servers\n", "")  # is done: the fixtures found the server
    script = script.replace("$PWD/.venv/bin:", f"{Path(sys.executable).parent}:{program.parent}:")
    for port, free in zip(PORTS, free_ports(len(PORTS)), strict=True):
        script = script.replace(port, free)
    code, output = run(script, tmp_path)
    assert code == 0, output
    assert "the application was never refused" in output
    assert "no strays" in output
    assert re.search(r"^orders: completed$", output, re.MULTILINE)
    assert re.search(r"^orders: .*\n  live:\n    2-[0-9a-f]{8} current$", output, re.MULTILINE)
    assert re.search(r"prove_dead done (?=.*grade=refused)(?=.*version=1-)", output)
