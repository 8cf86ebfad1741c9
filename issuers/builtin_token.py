"""The look of a built-in token: a prefix, 30 random base62 characters, and 6 base62 check digits (CRC32), as GitHub's.

Pure. A secret scanner needs only the regular expression and, to drop false alarms, the check digits; both are printed by
``python -m issuers.builtin_token`` with no daemon, no configuration and no journal at hand.
"""

from __future__ import annotations

import argparse
import re
import string
import sys
import zlib
from collections.abc import Callable, Sequence

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 30  # 62**30 is more than 178 bits
CHECK_LENGTH = 6  # 62**6 is more than 32 bits
DEFAULT_PREFIX = "rtd_"
PREFIX_PATTERN = r"^[A-Za-z][A-Za-z0-9]{0,14}_$"

Random = Callable[[str, int], str]


def check_digits(body: str) -> str:
    """CRC32 of the random part in base62, padded with zeros to six digits."""
    number = zlib.crc32(body.encode())
    digits = ""
    while number:
        number, rest = divmod(number, len(ALPHABET))
        digits = ALPHABET[rest] + digits
    return digits.rjust(CHECK_LENGTH, ALPHABET[0])


def make(prefix: str, random: Random) -> str:
    """A fresh token."""
    body = random(ALPHABET, RANDOM_LENGTH)
    if len(body) != RANDOM_LENGTH:
        raise ValueError("the source of randomness gave too little")
    return f"{prefix}{body}{check_digits(body)}"


def is_well_formed(token: str, prefix: str) -> bool:
    """Whether the shape and the check digits are right; says nothing about whether it was ever issued."""
    if re.fullmatch(rf"{re.escape(prefix)}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECK_LENGTH}}}", token, re.ASCII) is None:
        return False
    body = token[len(prefix) : -CHECK_LENGTH]
    return token[-CHECK_LENGTH:] == check_digits(body)


def scanner_regex(prefix: str = DEFAULT_PREFIX) -> str:
    """What secret scanners search for, in the common ground of RE2, Hyperscan, PCRE and Python."""
    return rf"\b{prefix}[0-9A-Za-z]{{{RANDOM_LENGTH + CHECK_LENGTH}}}\b"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the regular expression, or with ``--check`` judge the tokens on standard input without repeating them."""
    parser = argparse.ArgumentParser(prog="python -m issuers.builtin_token", description=main.__doc__)
    parser.add_argument("--prefix", default=DEFAULT_PREFIX)
    parser.add_argument("--check", action="store_true", help="read tokens, one a line; exit 1 if one is malformed")
    chosen = parser.parse_args(arguments)
    if not re.match(PREFIX_PATTERN, chosen.prefix):
        parser.error(f"a prefix looks like {DEFAULT_PREFIX}: letters, digits, and an underscore at its end")
    if not chosen.check:
        sys.stdout.write(scanner_regex(chosen.prefix) + "\n")
        return 0
    verdicts = [is_well_formed(line.strip(), chosen.prefix) for line in sys.stdin if line.strip()]
    for number, good in enumerate(verdicts, start=1):
        sys.stdout.write(f"{number}: {'well-formed' if good else 'malformed'}\n")
    return 0 if all(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
