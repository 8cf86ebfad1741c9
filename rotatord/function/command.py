"""The command ``rotatord lambda``: events from Lambda, or a single one from a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from rotatord.bugs import described
from rotatord.cli.ending import Ending, Exit
from rotatord.cli.output import line, printable
from rotatord.clock import SystemClock
from rotatord.config import load
from rotatord.errors import ConfigError, RotatordError
from rotatord.function.serve import WITHOUT_DEADLINE_SECONDS, Function, read, serve
from rotatord.hardening import harden
from rotatord.settings import Settings
from rotatord.telemetry import configure_logging

API_VARIABLE = "AWS_LAMBDA_RUNTIME_API"


def run(config: str, event: str) -> int:
    """Until Lambda ends us, or for one event; an exit code. Raises Ending."""
    configure_logging()
    harden()
    clock = SystemClock()

    def start() -> Function:
        return Function(load(config, settings=Settings.from_environment()), clock)

    api = os.environ.get(API_VARIABLE, "")
    if event:
        _one(start, event)
        return int(Exit.CLEAN)
    if not api:
        raise Ending(Exit.USAGE, f"Lambda has not started this ({API_VARIABLE} is not set): give --event FILE, or - for stdin")
    return serve(api, start, clock)


def _one(start: Callable[[], Function], event: str) -> None:
    try:
        text = sys.stdin.read() if event == "-" else Path(event).read_text()
    except (OSError, ValueError) as error:
        raise Ending(Exit.USAGE, f"{event} cannot be read: {type(error).__name__}") from None
    try:
        function = start()
    except ConfigError as error:
        raise Ending(Exit.USAGE, *(str(problem) for problem in error.problems)) from None
    try:
        line(printable(function.handle(read(text), lambda: WITHOUT_DEADLINE_SECONDS)))
    except RotatordError as error:
        raise Ending(Exit.FINDINGS, f"{type(error).__name__}: {error}") from None
    except Exception as error:  # noqa: BLE001 - a bug's own text could quote anything
        raise Ending(Exit.FINDINGS, f"bug: {described(error)}") from None
    finally:
        function.close()
