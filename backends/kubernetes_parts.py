"""What one credential has in a Secret: its keys and one annotation, read and written as a part of the whole.

A *part* is named by its keys, so that it is found again without asking anybody whose it is; where a destination gets another
key, its note is found by the keys that it speaks of. Every write puts a word into the note that was never there before: a
compare token never comes back. The values of others are neither compared nor shown.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rotatord.document import Stamp, content_digest, read_stamp
from rotatord.errors import Invalid, Retryable
from rotatord.kubernetes_client import Cluster
from rotatord.model import JsonMap

NOTHING = "0"  # the compare token of a part that never was
DOMAIN = "rotatord.io"
LARGEST_BYTES = 1024 * 1024  # of all values of a Secret together
REFUSED_TYPES = ("kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token")  # identities of the cluster
# What stands for "nothing" in a key that the API server does not let go.
BLANKS = {".dockerconfigjson": "e30=", ".dockercfg": "e30=", "ssh-privatekey": "Cg=="}


@dataclass(frozen=True, slots=True)
class Place:
    """One part of one Secret. ``prefix``: what the part's keys begin with in a Secret of slots."""

    namespace: str
    name: str
    part: str
    manager: str
    named: frozenset[str]
    prefix: str = ""

    @property
    def annotation(self) -> str:
        return f"{DOMAIN}/{self.part}"

    def __str__(self) -> str:
        return f"Secret {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Note:
    """An annotation of ours: which keys it speaks of, whose they are (None: cleared), and what was written."""

    annotation: str
    text: str
    keys: frozenset[str]
    manager: str
    once: str
    stamp: Stamp | None

    def fits(self, values: Mapping[str, str]) -> bool:
        """Whether the keys are still exactly what the note's write put there."""
        return self.stamp is not None and self.stamp.content == content(self.once, {key: values.get(key) for key in self.keys})


@dataclass(frozen=True, slots=True)
class Seen:
    """A part as it is. ``values`` are base64, as the API has them."""

    place: Place
    body: JsonMap | None
    notes: tuple[Note, ...]
    values: dict[str, str]

    @property
    def token(self) -> str:
        if not self.notes and not self.values:
            return NOTHING  # whether or not others have a Secret of that name
        state = [sorted((note.annotation, note.text) for note in self.notes), sorted(self.values.items())]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()

    @property
    def empty(self) -> bool:
        return all(value in ("", BLANKS.get(key)) for key, value in self.values.items())

    def __repr__(self) -> str:
        return f"Seen({self.place}, {self.token})"


@dataclass(frozen=True, slots=True)
class Change:
    """What a part is to be: values by key (base64; None: taken away), its note, and what else the Secret gets."""

    data: dict[str, str | None]
    note: str
    labels: dict[str, str]
    annotations: dict[str, str]
    type: str = "Opaque"

    def __repr__(self) -> str:
        return f"Change({', '.join(sorted(self.data))})"


def look(calls: Cluster, place: Place) -> Seen:
    """The part as the API server has it now. Raises Invalid where the Secret is one that we never touch."""
    body = calls.get("secrets", place.namespace, place.name)
    if body is None:
        return Seen(place, None, (), {})
    if body.get("type") in REFUSED_TYPES:
        raise Invalid(f"{place} is of type {body['type']}, an identity of the cluster itself: rotatord does not touch it")
    return part_of(place, body)


def part_of(place: Place, body: JsonMap) -> Seen:
    """The part in a Secret as the API shows it."""
    annotations: JsonMap = body["metadata"].get("annotations") or {}
    notes = tuple(
        note
        for name, text in sorted(annotations.items())
        if name.startswith(f"{DOMAIN}/") and (note := _note(name, text)) is not None
        if name == place.annotation or note.keys & place.named
    )
    ours = place.named.union(*(note.keys for note in notes))
    data: JsonMap = body.get("data") or {}
    values = {key: value for key, value in data.items() if key in ours or (place.prefix and key.startswith(place.prefix))}
    return Seen(place, body, notes, values)


def _note(name: str, text: str) -> Note | None:
    try:
        raw = json.loads(text)
        keys, manager, once = frozenset(map(str, raw["keys"])), str(raw["manager"]), str(raw["once"])
    except (ValueError, TypeError, KeyError):
        return None
    return Note(name, text, keys, manager, once, read_stamp(text))


def content(once: str, data: Mapping[str, str | None]) -> str:
    """The digest of what a write put there, salted: equal values at two places have nothing in common."""
    return content_digest({"once": once, "data": dict(data)})


def texts(seen: Seen) -> dict[str, str]:
    """The values as text, without the part's prefix; what is no text (somebody else's bytes) is left out."""
    found: dict[str, str] = {}
    for key, value in seen.values.items():
        try:
            found[key.removeprefix(seen.place.prefix)] = base64.b64decode(value).decode()
        except ValueError:
            continue
    return found


def leftovers(seen: Seen, wanted: Iterable[str]) -> list[str]:
    """Keys of ours that the next write does not have: in a slot all of them, else those that our notes name and that
    nobody else owns by now."""
    names = set(seen.values) - set(wanted)
    if seen.place.prefix:
        return sorted(names)
    noted = {key: note.manager for note in seen.notes for key in note.keys}
    return sorted(key for key in names if key in noted and owners(seen.body, "f:data", key) <= {noted[key]})


def owners(body: JsonMap | None, *path: str) -> set[str]:
    """Whom the API server's bookkeeping names as owners of a field."""
    found = set()
    for entry in ((body or {}).get("metadata") or {}).get("managedFields") or ():
        node: Any = entry.get("fieldsV1")
        for step in (*path[:-1], f"f:{path[-1]}"):
            node = node.get(step) if isinstance(node, dict) else None
        if node is not None:
            found.add(str(entry.get("manager")))
    return found


def objections(seen: Seen, change: Change) -> list[str]:
    """What in a Secret that exists keeps a change from being made."""
    body, place = seen.body or {}, seen.place
    found = []
    if body.get("immutable"):
        found.append(f"{place} is immutable: make one of another name without `immutable: true`, and let its readers read that")
    for kind, wanted in (("label", change.labels), ("annotation", change.annotations)):
        have: JsonMap = body["metadata"].get(f"{kind}s") or {}
        for name, value in wanted.items():
            others = owners(body, "f:metadata", f"f:{kind}s", name) - {place.manager}
            if others and have.get(name) != value:
                found.append(
                    f"{place}: the {kind} {name} is {', '.join(sorted(others))}'s, with another value: leave it to them"
                )
    return found


def put(calls: Cluster, seen: Seen, change: Change) -> Seen:
    """Make the change over exactly the Secret that was seen. Raises Conflict where it is another one by now."""
    place = seen.place
    _must_fit(seen, change)
    if seen.body is None:
        made = calls.create("secrets", place.namespace, body_of(place, change), manager=place.manager)
        return part_of(place, made)
    metadata = seen.body["metadata"]
    if metadata.get("deletionTimestamp"):
        raise Retryable(f"{place} is being deleted: it can be made anew when it is gone")
    if problems := objections(seen, change):
        raise Invalid("; ".join(problems))
    body = body_of(place, change)
    del body["type"]
    body["metadata"] |= {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    stale = [note.annotation for note in seen.notes if note.annotation != place.annotation]
    if not stale and None not in change.data.values():
        applied = calls.apply("secrets", place.namespace, place.name, body, manager=place.manager, force=True)
        return part_of(place, applied)
    # What an apply no longer names stays where it was not an apply of ours that brought it; a merge takes it away surely.
    body["metadata"]["annotations"] |= dict.fromkeys(stale)
    body["data"] = change.data
    return part_of(place, calls.patch("secrets", place.namespace, place.name, body, type="merge", manager=place.manager))


def body_of(place: Place, change: Change) -> JsonMap:
    """The Secret as we would make it."""
    annotations = {**change.annotations, place.annotation: change.note}
    metadata: JsonMap = {"name": place.name, "namespace": place.namespace, "annotations": annotations}
    if change.labels:
        metadata["labels"] = dict(change.labels)
    data = {key: value for key, value in change.data.items() if value is not None}
    return {"metadata": metadata, "type": change.type, "data": data}


def _must_fit(seen: Seen, change: Change) -> None:
    others: JsonMap = (seen.body or {}).get("data") or {}
    values = [value for value in ({**others, **change.data}).values() if value]
    if sum(len(base64.b64decode(value)) for value in values) > LARGEST_BYTES:
        raise Invalid(f"{seen.place} would be larger than {LARGEST_BYTES} bytes, which is all that a Secret can hold")
