"""What starting costs: ``rotatord --help`` beside an interpreter that does nothing, and which SDKs it loads."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterable, Sequence

from benchmarks.figures import Figure, median

RUNS = 15
SDKS = ("hvac", "boto3", "botocore", "kubernetes")
HELP = (sys.executable, "-c", "from rotatord.cli.main import main; main()", "--help")
LOADED = """
import atexit, sys
atexit.register(lambda: sys.stderr.write("\\n" + ",".join(name for name in {sdks} if name in sys.modules)))
from rotatord.cli.main import main
main()
"""


def cpu_seconds(command: Sequence[str]) -> float:
    """Processor time of one run, user and system, by the kernel's account of ended children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def sdks_loaded() -> list[str]:
    """The SDKs that asking for help has imported."""
    script = LOADED.format(sdks=SDKS)
    answer = subprocess.run([sys.executable, "-c", script, "--help"], check=True, capture_output=True, text=True, timeout=60)
    return [name for name in answer.stderr.splitlines()[-1].split(",") if name]


def measure(seed: int) -> Iterable[Figure]:
    del seed
    cpu_seconds(HELP)  # writes the bytecode
    ours, bare = [], []
    for _ in range(RUNS):  # in turns, so that both see the same neighbours
        ours.append(cpu_seconds(HELP))
        bare.append(cpu_seconds((sys.executable, "-c", "pass")))
    yield Figure(
        name="rotatord --help", value=median(ours), unit="s CPU", goal=0.25, bare=median(bare), note=f"median of {RUNS}"
    )
    loaded = sdks_loaded()
    yield Figure(name="SDKs loaded by --help", value=len(loaded), unit="", goal=0, note=", ".join(loaded))
