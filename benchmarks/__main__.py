"""``python -m benchmarks [NAME …]``: runs each benchmark, prints goal and figure side by side, and writes JSON.

A benchmark is a module of this folder with ``measure(seed: int) -> Iterable[Figure]``. A figure that misses its goal is
reported as it is, and the exit code is 1. A benchmark that breaks is reported and does not stop the others.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
Measure = Callable[[int], Iterable[Figure]]


def found(wanted: Sequence[str]) -> dict[str, Measure]:
    """The benchmarks of this folder, or those that are named."""
    names = wanted or sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names}
    return {name: module.measure for name, module in modules.items() if hasattr(module, "measure")}


def commit() -> str:
    """The commit that is measured, marked where the checkout differs from it."""
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return answer.stdout.strip() or "unknown"


def machine() -> dict[str, Any]:
    """What a reader needs to compare figures."""
    cpu = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next((int(line.split()[1]) // 1024 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_mib": memory,
        "load_at_start": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def shown(value: float | None, unit: str = "") -> str:
    """A number with as many digits as mean something."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f} {unit}".strip()


def table_of(figures: dict[str, list[Figure]]) -> Table:
    """Goal and figure side by side."""
    table = Table("benchmark", "figure", "measured", "bare", "goal", "met", "note", title="rotatord benchmarks")
    for name, measured in figures.items():
        for item in measured:
            bound = "" if item.goal is None else f"{'≤' if item.at_most else '≥'} {shown(item.goal, item.unit)}"
            verdict = {True: "yes", False: "NO", None: ""}[item.met]
            table.add_row(name, item.name, shown(item.value, item.unit), shown(item.bare), bound, verdict, item.note)
    return table


def write(figures: dict[str, list[Figure]], broken: dict[str, str], seed: int) -> Path:
    """The run as JSON, in a file of its own."""
    now = datetime.now(UTC)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    run = {
        "schema": "rotatord.bench/v1",
        "at": now.isoformat(timespec="seconds"),
        "commit": commit(),
        "seed": seed,
        "machine": machine(),
        "figures": [
            {"benchmark": name, **asdict(item), "met": item.met} for name, measured in figures.items() for item in measured
        ],
        "broken": broken,
    }
    path.write_text(json.dumps(run, indent=2) + "\n")
    return path


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("names", nargs="*", help="benchmarks to run; all when none is named")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160)
    figures: dict[str, list[Figure]] = {}
    broken: dict[str, str] = {}
    for name, measure in found(options.names).items():
        console.print(f"{name} …", style="dim")
        try:
            figures[name] = list(measure(options.seed))
        except Exception as error:  # noqa: BLE001 -- one broken benchmark does not cost the figures of the others
            broken[name] = repr(error)
            traceback.print_exc()
    console.print(table_of(figures))
    path = write(figures, broken, options.seed)
    missed = [item for measured in figures.values() for item in measured if item.met is False]
    total = sum(len(measured) for measured in figures.values())
    console.print(f"{total} figures, {len(missed)} missed, {len(broken)} benchmarks broken; {path}", soft_wrap=True)
    return 1 if missed or broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
