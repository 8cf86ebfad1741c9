"""How commands end: the exit codes, and the one exception that carries a sentence to them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command."""

    CLEAN = 0
    FINDINGS = 1  # something needs a person, was refused, or failed
    USAGE = 2  # the command or the configuration is wrong
    INCOMPLETE = 3  # something could not be reached or told


class Ending(Exception):
    """Ends the command with ``code`` after printing ``lines`` to stderr."""

    def __init__(self, code: Exit, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.code = code
        self.lines = lines


def unknown_name(message: str, suggestions: Sequence[str]) -> Ending:
    """A name that does not exist, with the nearest that do."""
    hint = f"; did you mean {' or '.join(suggestions)}?" if suggestions else ""
    return Ending(Exit.USAGE, message + hint)
