"""Ends with 1 where a file to be committed holds a private key or AWS credentials. Used by pre-commit: FILE…

The patterns are split so that this file does not match itself.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PATTERNS = {
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE " rb"KEY(?: BLOCK)?-----"),
    "a PuTTY private key": re.compile(rb"PuTTY-User-" rb"Key-File-\d"),
    "an AWS access key id": re.compile(rb"(?<![A-Z0-9])(?:AKIA|ASIA)" rb"(?!IOSFODNN7EXAMPLE)[A-Z2-7]{16}(?![A-Z0-9])"),
    "an AWS secret key": re.compile(
        rb"(?i)aws_?secret_?(?:access_?)?key\W{1,5}" rb"(?!\S*EXAMPLE)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"
    ),
}


def findings(content: bytes) -> list[str]:
    """What a file holds that must not be committed, with its line."""
    found = [(match.start(), what) for what, pattern in PATTERNS.items() for match in pattern.finditer(content)]
    newline = b"\n"
    return [f"{content.count(newline, 0, start) + 1}: {what}" for start, what in sorted(found)]


def main(names: list[str]) -> int:
    found = [f"{name}:{finding}" for name in names for finding in findings(Path(name).read_bytes())]
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
