"""How a secret's fields become the keys of a document and are read back, and the stamp that says whose document it is.

Pure. Backends differ in where documents lie; what lies in them is decided here. The value of a key is a field's name
(``TOKEN: token``) or a template with ``{field}`` in it (``AUTH: "Bearer {token}"``); other braces stand for themselves.
Without any keys a document has the fields under their own names.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from rotatord.errors import Invalid
from rotatord.model import Destination, Marker

MARKER_KEY = "_rotatord"
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def fields_in(value: str) -> frozenset[str]:
    """The fields that one key's value names."""
    return frozenset(_PLACE.findall(value)) or frozenset({value})


def named_fields(destination: Destination) -> frozenset[str]:
    """All fields that the keys of a destination name; empty where they stand under their own names."""
    return frozenset(name for value in destination.keys.values() for name in fields_in(value))


def check_keys(destination: Destination) -> list[str]:
    """Static problems of ``keys`` and ``version_key``, as sentences."""
    problems = [
        f"key {key!r} names {name!r}, which cannot be a field"
        for key, value in destination.keys.items()
        for name in sorted(fields_in(value))
        if not _FIELD.fullmatch(name)
    ]
    if MARKER_KEY in destination.keys or destination.version_key == MARKER_KEY:
        problems.append(f"key {MARKER_KEY!r} is where rotatord's own marker lies")
    if destination.version_key is not None and destination.version_key in destination.keys:
        problems.append(f"version_key {destination.version_key!r} is a key of its own already")
    return problems


def to_document(destination: Destination, fields: Mapping[str, str], label: str) -> dict[str, str]:
    """The document that readers see. Raises Invalid where a key wants a field that the secret does not have."""
    missing = sorted(named_fields(destination) - fields.keys())
    if missing:
        raise Invalid(f"{destination.id} wants {', '.join(missing)}, but the secret has {', '.join(sorted(fields))}")
    document = {key: _render(value, fields) for key, value in destination.keys.items()} or dict(fields)
    if destination.version_key is not None:
        if destination.version_key in document:
            raise Invalid(f"{destination.id}: version_key {destination.version_key!r} is a field's own name")
        document[destination.version_key] = label
    return document


def from_document(
    destination: Destination, document: Mapping[str, str], field_names: Iterable[str] | None = None
) -> dict[str, str] | None:
    """The fields that a document holds, or None when they cannot all be read back from it without doubt.

    ``field_names``: what is looked for; None means whatever the keys name. A template is read back when all but one of
    its fields are known from elsewhere; what is found must lead to exactly this document again.
    """
    if destination.keys:
        found = _plain(destination, document)
        if found is None or not _from_templates(destination, document, found):
            return None
        wanted = named_fields(destination) if field_names is None else frozenset(field_names)
    else:
        found = {key: value for key, value in document.items() if key not in (MARKER_KEY, destination.version_key)}
        wanted = frozenset(found) if field_names is None else frozenset(field_names)
    if not wanted or not wanted <= found.keys() or not all(found[name] for name in wanted):
        return None
    return {name: found[name] for name in sorted(wanted)}


def _render(value: str, fields: Mapping[str, str]) -> str:
    if not _PLACE.search(value):
        return fields[value]
    return _PLACE.sub(lambda place: fields[place[1]], value)


def _plain(destination: Destination, document: Mapping[str, str]) -> dict[str, str] | None:
    """The fields that have a key to themselves; None if a key is missing or two keys contradict each other."""
    found: dict[str, str] = {}
    for key, value in destination.keys.items():
        if key not in document:
            return None
        if not _PLACE.search(value) and found.setdefault(value, document[key]) != document[key]:
            return None
    return found


def _from_templates(destination: Destination, document: Mapping[str, str], found: dict[str, str]) -> bool:
    """Add to ``found`` what templates with one unknown field show; False where one of them does not fit."""
    templates = {key: value for key, value in destination.keys.items() if _PLACE.search(value)}
    progress = True
    while progress:
        progress = False
        for key, value in templates.items():
            unknown = fields_in(value) - found.keys()
            if len(unknown) == 1:
                match = re.fullmatch(_pattern(value, found), document[key], re.DOTALL)
                if match is None:
                    return False
                found[next(iter(unknown))] = match["unknown"]
                progress = True
    readable = {key: value for key, value in templates.items() if fields_in(value) <= found.keys()}
    return all(_render(value, found) == document[key] for key, value in readable.items())


def _pattern(value: str, found: Mapping[str, str]) -> str:
    """A regular expression for a template with one unknown field: literal text, known values, the same unknown."""
    parts: list[str] = []
    seen = False
    for index, piece in enumerate(_PLACE.split(value)):  # text, name, text, name, ... text
        if index % 2 == 0:
            parts.append(re.escape(piece))
        elif piece in found:
            parts.append(re.escape(found[piece]))
        else:
            parts.append("(?P=unknown)" if seen else "(?P<unknown>.+)")
            seen = True
    return "".join(parts)


# --- the stamp -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """A marker together with what its write put beside it. Lies next to the values, and is no more secret than they."""

    marker: Marker
    fields: tuple[str, ...]  # the names of all the secret's fields, also of those that no key shows
    content: str  # digest of the document without the stamp

    def fits(self, document: Mapping[str, object]) -> bool:
        """Whether the document is still exactly what the stamped write put there."""
        return self.content == content_digest(document)


def content_digest(document: Mapping[str, object]) -> str:
    """SHA-256 over everything in the document but the stamp. As secret as the values are guessable: keep it beside them."""
    rest = {key: value for key, value in document.items() if key != MARKER_KEY}
    return hashlib.sha256(_CANONICAL(rest).encode()).hexdigest()


def write_stamp(marker: Marker, field_names: Iterable[str], document: Mapping[str, object]) -> str:
    """One line of JSON for :data:`MARKER_KEY`, or for wherever a backend keeps it."""
    stamp = {"marker": asdict(marker), "fields": sorted(field_names), "content": content_digest(document)}
    return _CANONICAL(stamp)


def read_stamp(text: object) -> Stamp | None:
    """The stamp, or None for anything that is not one of ours."""
    if not isinstance(text, str):
        return None
    try:
        raw = json.loads(text)
        marker = Marker(**raw["marker"])
        stamp = Stamp(marker=marker, fields=tuple(raw["fields"]), content=raw["content"])
    except (ValueError, TypeError, KeyError):
        return None
    texts = (
        marker.installation,
        marker.credential,
        marker.rotation,
        marker.ref,
        marker.fingerprint,
        marker.write,
        stamp.content,
    )
    if not isinstance(marker.generation, int) or not all(isinstance(value, str) for value in (*texts, *stamp.fields)):
        return None
    return stamp
