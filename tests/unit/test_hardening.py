"""Process hardening, seen from outside in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rotatord import hardening

PROGRAM = """
import json, os, resource, ctypes
from pathlib import Path
from rotatord.hardening import harden
harden()
measures = {m.name: m.holds for m in harden()}
Path("made").write_text("")
print(json.dumps({
    "measures": measures,
    "core": resource.getrlimit(resource.RLIMIT_CORE),
    "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
    "mode": os.stat("made").st_mode & 0o777,
}))
"""


def test_a_hardened_process_leaves_nothing_to_read(tmp_path: Path) -> None:
    """After hardening (twice) there are no core dumps, the process is undumpable and new files are private."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(hardening.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert json.loads(run.stdout) == {
        "measures": {"undumpable": True, "no core dumps": True, "private files": True},
        "core": [0, 0],
        "dumpable": 0,
        "mode": 0o600,
    }


def test_a_measure_that_fails_is_reported() -> None:
    """What the kernel refuses is told with its reason, and nothing is raised."""

    def refuse() -> None:
        raise PermissionError(1, "not permitted")

    measure = hardening._try("x", refuse)
    assert not measure.holds
    assert "not permitted" in measure.detail
