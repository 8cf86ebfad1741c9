"""The daemon as its image runs it: by a user without name or home, over a file system that cannot be written.

In namespaces of Linux instead of a container; where the machine forbids those, the test is skipped.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.running import ROTATORD
from tests.servers.component import free_port

UNNAMED = "unshare --user --map-user=65532 --map-group=65532"
INSIDE = """
set -e
mount -t tmpfs state {state}
mount -o remount,bind,ro /
! touch {directory}/written 2>/dev/null
env -i {unnamed} timeout -s TERM 60 env -i PATH=/usr/bin:/bin ROTATORD_CONFIG={directory}/rotatord.yaml \
  ROTATORD_STATE_DIR={state}/own ROTATORD_PROBES_LISTEN=127.0.0.1:{port} {rotatord} run &
daemon=$!
for _ in $(seq 300); do
  if curl -sf -m 5 http://127.0.0.1:{port}/readyz; then break; fi
  sleep 0.1
done
echo
env -i {unnamed} env -i PATH=/usr/bin:/bin ROTATORD_STATE_DIR={state}/own {rotatord} status
kill $daemon
wait $daemon || true
"""
CONFIG = """
issuers: {own: {type: builtin}}
backends: {cluster: {type: kubernetes, namespace: shop}, files: {type: file}}
"""


def in_namespaces(script: str) -> subprocess.CompletedProcess[str]:
    """Run with mounts and users of its own."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def test_nothing_but_the_state_has_to_be_writable(tmp_path: Path) -> None:
    """It gets ready, is asked over its socket, and ends when told to."""
    if not shutil.which("unshare") or in_namespaces("mount -o remount,bind,ro /").returncode:
        pytest.skip("this machine lets nobody make namespaces: kernel.unprivileged_userns_clone, or an AppArmor profile")
    (tmp_path / "rotatord.yaml").write_text(CONFIG)
    state = tmp_path / "state"
    state.mkdir()
    facts = {"directory": tmp_path, "state": state, "port": free_port(), "rotatord": ROTATORD, "unnamed": UNNAMED}
    done = in_namespaces(INSIDE.format(**facts))
    assert done.returncode == 0, done.stderr
    assert '"ok": true' in done.stdout
    assert "no credentials" in done.stdout
    assert '"level": "error"' not in done.stderr
    assert list(state.iterdir()) == []
