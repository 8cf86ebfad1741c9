"""The names of tokens at Cloudflare: whose each of them is, in 120 characters. Pure.

``rotatord:INSTALLATION:CREDENTIAL:ROTATION:GENERATION``. Where that is too long, the longest of the first two is replaced by a
digest, which finds what is asked for and can be read back by who has met the name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from rotatord.errors import Invalid

MARK = "rotatord"
LONGEST = 120
_DIGITS = 24
_PARTS = 5
_NUMBER = re.compile(r"[0-9]{1,15}")  # what people write into names may be digits of any script


@dataclass(frozen=True, slots=True)
class Label:
    """Installation and credential may be digests."""

    installation: str
    credential: str
    rotation: str
    generation: int

    def of(self, installation: str, credential: str, rotation: str | None) -> bool:
        """Whether it is theirs."""
        whose = _same(self.installation, installation) and _same(self.credential, credential)
        return whose and rotation in (None, self.rotation)


def name_of(installation: str, credential: str, rotation: str, generation: int) -> str:
    """The name of a token. Raises Invalid where nothing makes it short enough."""
    parts = [_safe(installation), _safe(credential), rotation, str(generation)]
    for _ in range(2):
        if len(name := ":".join((MARK, *parts))) <= LONGEST:
            return name
        longest = 0 if len(parts[0]) > len(parts[1]) else 1
        parts[longest] = digest((installation, credential)[longest])
    if len(name := ":".join((MARK, *parts))) <= LONGEST and rotation.count(":") == 0:
        return name
    raise Invalid(
        f"the name of a token at Cloudflare has {LONGEST} characters at most, and {rotation!r} leaves no room for the rest"
    )


def label_of(name: str) -> Label | None:
    """What a name says; None where it is not one of ours."""
    parts = name.split(":")
    if len(parts) != _PARTS or parts[0] != MARK or not _NUMBER.fullmatch(parts[4]) or not all(parts):
        return None
    return Label(parts[1], parts[2], parts[3], int(parts[4]))


def digest(name: str) -> str:
    """What stands for a name that is too long."""
    return "~" + hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]


def read_back(part: str, met: Mapping[str, str]) -> str:
    """The name that a part of a label stands for; "" where only its digest is known."""
    return met.get(part, "") if part.startswith("~") else part


def _safe(name: str) -> str:
    return digest(name) if ":" in name or name.startswith("~") else name


def _same(part: str, name: str) -> bool:
    return part == (digest(name) if part.startswith("~") else name)
