"""What Cloudflare's keys and tokens look like, old and new. No answer quotes a value.

Since 2026 a value is a prefix that says what it is, 40 characters, and the CRC-32 of those in hex. Of the published samples
some have a checksum that does not match, so a mismatch is worth a warning and never a refusal.
"""

from __future__ import annotations

import re
import threading
import zlib
from dataclasses import dataclass

# Whole values of tokens, for whoever must tell one that was cut off. What may come next is left open beyond the least.
WHOLE = r"cf[a-z]{1,3}_[A-Za-z0-9_-]{48,}|(?!cf[a-z]{1,3}_)[A-Za-z0-9_-]{40,}"
SCANNABLE = re.compile(r"\bcf(?:ut|at|k)_[A-Za-z0-9]{40}[0-9a-f]{8}\b")
_CHECKSUM_DIGITS = 8
_MOST = 100  # are told of at once
_PREFIXES = {"cfut_": "user", "cfat_": "account", "cfk_": "global_key", "cfoat_": "oauth"}
_ORIGIN_CA = re.compile(r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}")
_OLD_TOKEN = re.compile(r"[A-Za-z0-9_-]{40}")
_OLD_KEY = re.compile(r"[0-9a-f]{37}|[0-9a-f]{41,45}")  # of 40 characters it may as well be a token


@dataclass(frozen=True, slots=True)
class Form:
    """What a value is by its looks. ``kind``: user, account, token (one or the other), global_key, oauth, origin_ca_key or
    unknown. ``intact``: whether its checksum matches; None where it has none."""

    kind: str
    legacy: bool = False
    intact: bool | None = None

    @property
    def warning(self) -> str:
        """What its owner should know; "" when nothing."""
        if self.intact is False:
            return "its checksum does not match: it may have been changed on its way"
        if self.legacy and self.kind == "token":
            return "it has the form of before 2026, which scanners cannot tell from other text; a rotation replaces it"
        if self.kind == "global_key":
            return "it is a Global API Key, which may do everything that its user may: use a token instead"
        return ""


class Legacy:
    """The tokens whose values were seen here in the form of before 2026, until they end. Keeps no value. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refs: dict[str, None] = {}

    def note(self, ref: str, value: str) -> None:
        """This is its value."""
        with self._lock:
            if recognise(value).legacy and len(self._refs) < _MOST:
                self._refs[ref] = None

    def ended(self, ref: str) -> None:
        with self._lock:
            self._refs.pop(ref, None)

    def sentences(self) -> list[str]:
        with self._lock:
            return [f"the value of token {ref} is an old one: {Form('token', legacy=True).warning}" for ref in self._refs]


def recognise(value: str) -> Form:
    """What a value is by its looks."""
    for prefix, kind in _PREFIXES.items():
        if value.startswith(prefix):
            body = value.removeprefix(prefix)
            checked = kind != "oauth" and len(body) > _CHECKSUM_DIGITS
            return Form(kind, intact=_checksum(body[:-_CHECKSUM_DIGITS]) == body[-_CHECKSUM_DIGITS:] if checked else None)
    if _ORIGIN_CA.fullmatch(value):
        return Form("origin_ca_key")
    if _OLD_TOKEN.fullmatch(value):
        return Form("token", legacy=True)
    if _OLD_KEY.fullmatch(value):
        return Form("global_key", legacy=True)
    return Form("unknown")


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
