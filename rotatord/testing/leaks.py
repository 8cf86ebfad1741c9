"""Looks for planted secret values, in every form that a log, a database or an error page gives them.

What is found is reported by place, name and form, never by value.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

PREFIX_BYTES = 8
SHORTEST_VALUE = 8  # shorter ones are found everywhere by chance
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Leak:
    """A value seen where none may be."""

    place: str
    name: str  # which of the planted values
    form: str
    offset: int  # bytes into the place

    def __str__(self) -> str:
        return f"{self.place}: {self.name} as {self.form} at byte {self.offset}"


def forms(value: str, *, prefix: bool = True) -> dict[str, bytes]:
    """The byte strings that give a value away, by the name of their form.

    Base64 of text around the value has three alignments; of each, the part is kept that the text around cannot change.
    ``prefix``: also the value's first bytes, for values that are cut short; leave it out where values share a beginning.
    """
    raw = value.encode()
    if len(raw) < SHORTEST_VALUE:
        raise ValueError(f"a planted value needs {SHORTEST_VALUE} bytes to be told from chance")
    found = {
        "raw": raw,
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
        "url": quote(value, safe="").encode(),
        "url form": quote_plus(value).encode(),
        "json": json.dumps(value)[1:-1].encode(),
        "json unicode": json.dumps(value, ensure_ascii=False)[1:-1].encode(),
        "repr": repr(raw)[2:-1].encode(),
        "utf-16": value.encode("utf-16-le"),
    }
    for shift in range(3):
        found[f"base64 +{shift}"] = _base64_core(raw, shift, urlsafe=False)
        found[f"base64url +{shift}"] = _base64_core(raw, shift, urlsafe=True)
    if prefix and len(raw) > PREFIX_BYTES:
        found["prefix"] = raw[:PREFIX_BYTES]
    seen: dict[bytes, str] = {}
    for form, pattern in found.items():
        seen.setdefault(pattern, form)
    return {form: pattern for pattern, form in seen.items()}


def _base64_core(raw: bytes, shift: int, *, urlsafe: bool) -> bytes:
    """The characters that ``shift`` unknown bytes before the value, and any after it, cannot change."""
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    start = -(-shift * 8 // 6)
    end = (shift + len(raw)) * 8 // 6
    return encode(b"\0" * shift + raw)[start:end]


class Scanner:
    """Scans for a set of planted values, each under a name that may be shown.

    ``prefixes``: also find values by their first 8 bytes, where no two of them and no label shares those.
    """

    def __init__(self, planted: Mapping[str, str] | Iterable[str], *, prefixes: bool = False) -> None:
        named = planted if isinstance(planted, Mapping) else {f"value {n}": v for n, v in enumerate(planted, 1)}
        self._patterns = [
            (name, form, pattern) for name, value in named.items() for form, pattern in forms(value, prefix=prefixes).items()
        ]
        self._longest = max((len(pattern) for _, _, pattern in self._patterns), default=1)

    def scan_bytes(self, content: bytes, place: str) -> list[Leak]:
        """Every planted value in these bytes; each form once per name."""
        found = []
        for name, form, pattern in self._patterns:
            offset = content.find(pattern)
            if offset >= 0:
                found.append(Leak(place, name, form, offset))
        return found

    def scan_text(self, content: str, place: str) -> list[Leak]:
        """The same for text: captured logs, output, tracebacks, metrics."""
        return self.scan_bytes(content.encode("utf-8", "surrogateescape"), place)

    def scan_file(self, path: Path) -> list[Leak]:
        """One file, whatever its size. A file that is gone holds nothing; one that cannot be read is an error."""
        found: dict[tuple[str, str], Leak] = {}
        try:
            with path.open("rb") as file:
                carried, position = b"", 0
                while chunk := file.read(_CHUNK):
                    window = carried + chunk
                    for leak in self.scan_bytes(window, str(path)):
                        at = position - len(carried) + leak.offset
                        found.setdefault((leak.name, leak.form), Leak(leak.place, leak.name, leak.form, at))
                    position += len(chunk)
                    carried = window[-(self._longest - 1) :] if self._longest > 1 else b""
        except FileNotFoundError:
            return []
        return list(found.values())

    def scan_tree(self, paths: Iterable[Path], *, skip: Iterable[Path] = ()) -> list[Leak]:
        """All files under these paths, names of files included, but nothing under ``skip`` (the destinations)."""
        skipped = [path.resolve() for path in skip]
        found: list[Leak] = []
        for root in paths:
            for path in [root] if root.is_file() else sorted(root.rglob("*")):
                if any(path.resolve().is_relative_to(each) for each in skipped):
                    continue
                found += self.scan_text(str(path), f"the name of {path.parent}/…")
                if path.is_file() and not path.is_symlink():
                    found += self.scan_file(path)
        return found

    def scan_pid(self, pid: int) -> list[Leak]:
        """Environment and arguments of a running program of ours; nothing if it has ended. Linux only."""
        found = []
        for part in ("environ", "cmdline"):
            try:
                content = Path(f"/proc/{pid}/{part}").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found += self.scan_bytes(content, f"{part} of {pid}")
        return found

    def __repr__(self) -> str:
        return f"Scanner({len(self._patterns)} patterns)"
