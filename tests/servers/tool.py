"""A command-line tool as tests run it: with nothing of this machine's settings, and never for longer than it may take."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


class ToolError(Exception):
    """The tool said no; the message has what it said."""


@dataclass(frozen=True)
class Tool:
    """``run`` gives what it printed; ``home`` takes the place of the user's, ``kubeconfig`` that of their cluster."""

    binary: Path
    home: Path
    kubeconfig: Path | None = None

    def to(self, kubeconfig: Path) -> Tool:
        """The same tool, talking to a cluster as somebody."""
        return Tool(self.binary, self.home, kubeconfig)

    def run(self, *arguments: str | Path, text: str = "", seconds: float = 60) -> str:
        """Run it, ``text`` on its standard input. ToolError where it fails or takes too long."""
        try:
            done = self.tried(*arguments, text=text, seconds=seconds)
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{self.binary.name} {arguments[0]} took longer than {seconds:g} s") from error
        if done.returncode:
            raise ToolError(f"{self.binary.name} {arguments[0]}: exit code {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def tried(self, *arguments: str | Path, text: str = "", seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run it and leave the judgement to the test."""
        self.home.mkdir(parents=True, exist_ok=True)
        environment = {"HOME": str(self.home), "PATH": os.environ.get("PATH", ""), "TMPDIR": str(self.home)}
        if self.kubeconfig is not None:
            environment["KUBECONFIG"] = str(self.kubeconfig)
        return subprocess.run(
            [str(self.binary), *map(str, arguments)],
            input=text,
            capture_output=True,
            text=True,
            env=environment,
            cwd=self.home,
            timeout=seconds,
            check=False,
        )
