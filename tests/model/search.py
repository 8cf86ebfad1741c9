"""Exhaustive searches of the model by spin: what is searched, and what came of it."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.model.journal import MODEL, of_line, transition

Size = Mapping[str, int]  # the model's sizes and switches by name

# What the issue asks for. States in memory as they are: no compression that could take two for one, and no bit table.
WHOLE: Size = {"CREDENTIALS": 2, "CRASHES": 2}
SMALL: Size = {"CREDENTIALS": 1, "CRASHES": 1}
# One credential with everything that the lifecycle has, as far as it goes on one machine in a minute.
EVERYTHING: Size = {"CREDENTIALS": 1, "CRASHES": 1, "LOSSES": 1, "SUSPENDS": 1, "FIRST": 1, "FAILURES": 1, "CHOOSES": 1}
OFTEN: Size = {"CREDENTIALS": 1, "CRASHES": 3, "HOLDS": 1}

NUMBERS = {
    "states": r"^\s*(\d+) states, stored",
    "transitions": r"^\s*(\d+) transitions",
    "depth": r"depth reached (\d+)",
    "errors": r"errors: (\d+)",
    "vector_bytes": r"State-vector (\d+) byte",
}
INCOMPLETE = ("Search not completed", "max search depth too small", "Bit statespace", "Hash-Compact")


@dataclass(frozen=True, slots=True)
class Found:
    """What one search came to. ``complete``: every state was visited, none was taken for another."""

    size: Size
    errors: int
    complete: bool
    states: int
    transitions: int
    depth: int
    vector_bytes: int
    memory_mb: int
    seconds: float
    cycles: bool  # whether cycles were searched for, rather than states
    violated: str

    def plain(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        size = ", ".join(f"{name.lower()} {value}" for name, value in self.size.items())
        kind = "cycles" if self.cycles else "states"
        whole = "complete" if self.complete else "NOT complete"
        return (
            f"model ({size}): {self.states} states, {self.transitions} transitions, depth {self.depth}, {self.memory_mb} MB, "
            f"{self.seconds:.0f} s; search for {kind} {whole}, errors: {self.errors} {self.violated}".rstrip()
        )


def search(
    spin: Path,
    directory: Path,
    size: Size,
    *,
    cycles: bool = False,
    memory_mb: int = 8000,
    long: bool = False,
    most_seconds: float = 600,
    hear: Callable[[str], None] | None = None,
) -> Found:
    """Search one size to its end or to the first error. ``long``: so many states that the compiler's work pays. ``hear``: is
    given each line that the model prints on its way."""
    program = build(spin, directory, size, cycles=cycles, memory_mb=memory_mb, long=long, told=hear is not None)
    arguments = ["-m50000", "-w26" if long else "-w20", *(["-l"] if cycles else [])]
    started = time.monotonic()
    with subprocess.Popen(
        ["nice", "-n", "10", "timeout", f"{most_seconds:.0f}", str(program), *arguments],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        assert running.stdout is not None
        lines = []
        for line in running.stdout:
            if hear is not None and line[:1].isdigit():
                hear(line)
            else:
                lines.append(line)
    seconds = time.monotonic() - started
    return _read("".join(lines), dict(size), cycles, seconds)


def build(spin: Path, directory: Path, size: Size, *, cycles: bool, memory_mb: int, long: bool, told: bool) -> Path:
    """The search program of this size."""
    directory.mkdir(parents=True, exist_ok=True)
    flags = [f"-D{name}={value}" for name, value in size.items()] + (["-DTELL"] if told else [])
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(directory), "TMPDIR": str(directory)}

    def run(*words: str) -> None:
        done = subprocess.run(words, cwd=directory, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"

    run(str(spin), *flags, "-a", str(MODEL))
    how = ["-DNP"] if cycles else ["-DSAFETY"]
    # What is printed is printed of every commit of every state: none is left out as another order of the same.
    more = ["-DPRINTF", "-DNOREDUCE"] if told else []
    run("gcc", "-O2" if long else "-O0", "-w", f"-DMEMLIM={memory_mb}", *how, *more, "-o", "pan", "pan.c")
    return directory / "pan"


def _read(text: str, size: Size, cycles: bool, seconds: float) -> Found:
    numbers = {name: re.search(pattern, text, re.MULTILINE) for name, pattern in NUMBERS.items()}
    assert all(numbers.values()), f"the search ended without a result:\n{text[-2000:]}"
    memory = re.search(r"([\d.]+)\s+total actual memory usage", text)
    violated = re.search(r"^pan:\d+: (.*)", text, re.MULTILINE)
    return Found(
        size=size,
        complete=not any(word in text for word in INCOMPLETE),
        memory_mb=round(float(memory[1])) if memory else resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        seconds=round(seconds, 1),
        cycles=cycles,
        violated=violated[1] if violated else "",
        **{name: int(found[1]) for name, found in numbers.items() if found},
    )


class Teller:
    """Makes the table of what the model prints: the journal before a commit, and after it."""

    def __init__(self) -> None:
        self._before = ""
        self._pairs: set[tuple[str, str]] = set()

    def __call__(self, line: str) -> None:
        if not self._before:
            self._before = line
            return
        self._pairs.add((self._before, line))
        self._before = ""

    def lines(self) -> set[str]:
        assert not self._before, "a commit that was begun and not ended"
        return {line for before, after in self._pairs if (line := transition(of_line(before), of_line(after)))}
