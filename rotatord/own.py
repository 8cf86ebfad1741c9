"""Which credentials are our own: those whose destination is the very place that a reference in the settings of an issuer or
a backend leads to. Found from the configuration and the links between files; and what such a reference would lead to once a
version is there.
"""

from __future__ import annotations

import hmac
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rotatord import references
from rotatord.document import to_document
from rotatord.errors import OutsideError
from rotatord.model import ConsumerSpec, Destination, JsonMap, Spec
from rotatord.ports import Backend, Issuer, Referable, Secrets
from rotatord.secret import Secret

OURSELVES = "rotatord"  # type and name of the consumer that every own credential has
ISSUERS, BACKENDS = "issuers", "backends"
NAMES = "own_names"  # the fact that remembers which credentials are our own: there may be very many records, and few of these
_PATHS = frozenset({"token_file"})  # settings that name a file with a secret, without being a reference in form


class Declared(Protocol):
    """As much of a plugin's declaration as is needed here."""

    @property
    def type(self) -> str: ...
    @property
    def settings(self) -> JsonMap: ...


class Known(Protocol):
    """Where issuers and backends are had."""

    def issuer(self, name: str) -> Issuer: ...
    def backend(self, name: str) -> Backend: ...


@dataclass(frozen=True, slots=True)
class OwnReference:
    """One reference in the settings of an issuer or a backend."""

    owner: str  # "issuers.tokens"
    place: str  # in its settings: "auth.token"
    reference: JsonMap | str
    name: str  # see references.name_of

    @property
    def environment(self) -> str:
        """The variable that it comes from, which nobody can replace while we run; "" where it comes from elsewhere."""
        return self.name.removeprefix("env:") if self.name.startswith("env:") else ""


class Ownership:
    """All the references of one configuration."""

    def __init__(self, issuers: Mapping[str, Declared], backends: Mapping[str, Declared], base_dir: str) -> None:
        self._base_dir = base_dir
        vaults = [name for name, declared in backends.items() if declared.type == "vault"]
        self._only_vault = vaults[0] if len(vaults) == 1 else ""
        named = [
            (f"{group}.{name}", each)
            for group, them in ((ISSUERS, issuers), (BACKENDS, backends))
            for name, each in them.items()
        ]
        self.references = tuple(
            OwnReference(owner, place, reference, name)
            for owner, declared in named
            for place, reference in _references(declared.settings, "")
            if (name := self.name_of(reference))
        )
        self._by_name: dict[str, list[OwnReference]] = defaultdict(list)
        for each in self.references:
            for name in dict.fromkeys(references.places_of(each.name)):
                self._by_name[name].append(each)
        self._directories: dict[str, str] = {}  # by directory: where it really is; of very many files there are few

    def name_of(self, reference: JsonMap | str) -> str:
        """See :func:`references.name_of`."""
        return references.name_of(reference, self._base_dir, lambda backend: backend or self._only_vault)

    def of(self, owner: str) -> list[OwnReference]:
        """The references of one issuer or backend."""
        return [each for each in self.references if each.owner == owner]

    def fed(self, destination: Destination, known: Known, fields: Sequence[str]) -> list[tuple[OwnReference, str]]:
        """The references that lead into this destination, each with the key that it reads there."""
        if not self._by_name:
            return []
        backend, keys = known.backend(destination.backend), list(destination.keys) or list(fields)
        mounted: list[tuple[JsonMap, str]] = [({"file": f"{destination.mounted_at}/{key}"}, key) for key in keys]
        leading = mounted if destination.mounted_at else []
        try:
            if isinstance(backend, Referable):
                leading = [*leading, *backend.referred(destination, keys)]
        except (OutsideError, ValueError):
            return []  # its address is malformed; checking the configuration says so
        found = []
        for reference, key in leading:
            ours = {**reference, "backend": destination.backend} if "vault" in reference else reference
            name = self.name_of(ours)
            reading = self._by_name.get(name) or self._by_name.get(self._really(name)) or []
            found += [(each, key) for each in reading]
        return found

    def _really(self, name: str) -> str:
        """The same without links on the way to its directory."""
        directory, slash, file = name.removeprefix("file:").rpartition("/")
        if not name.startswith("file:") or not slash:
            return name
        if directory not in self._directories:
            self._directories[directory] = references.in_real_directory(f"{directory}/_").removesuffix("/_")
        return f"file:{self._directories[directory]}/{file}"

    def marked(self, spec: Spec, known: Known) -> Spec:
        """The same; where it is our own, it says of what, and we ourselves are among its consumers: nobody can forget it."""
        others = tuple(consumer for consumer in spec.consumers if consumer.type != OURSELVES)
        plain = replace(spec, own_of=(), consumers=others) if spec.own_of else spec
        if not self._by_name:
            return plain
        fields = known.issuer(spec.issuer).traits.fields
        fed = [(place, each.owner) for place in spec.destinations for each, _ in self.fed(place, known, fields)]
        if not fed:
            return plain
        ourselves = ConsumerSpec(type=OURSELVES, name=OURSELVES, wave=max(place.wave for place, _ in fed))
        owners = tuple(sorted({owner for _, owner in fed}))
        return replace(spec, own_of=owners, consumers=(*plain.consumers, ourselves))

    def values(self, spec: Spec, known: Known, fields: Secret, label: str) -> dict[str, str]:
        """What the references that this credential feeds lead to once this version is at its destinations, by their names."""
        plain, names = fields.reveal_all(), sorted(fields.names)
        found: dict[str, str] = {}
        for destination in spec.destinations:
            fed = self.fed(destination, known, names)
            document = to_document(destination, plain, label) if fed else {}
            found |= {each.name: document[key] for each, key in fed}
        return found

    def with_values(self, values: Mapping[str, str], secret: Secrets) -> Secrets:
        """Resolves references as they will lead once these values are in place."""

        def resolved(reference: JsonMap | str) -> str:
            name = self.name_of(reference)
            return values[name] if name in values else secret(reference)

        return resolved

    def stale(self, owner: str, values: Mapping[str, str], secret: Secrets) -> list[str]:
        """The places in its settings whose references do not lead to these values, seen from here and now."""
        return [
            each.place
            for each in self.of(owner)
            if each.name in values
            and not hmac.compare_digest(secret(each.reference).strip().encode(), values[each.name].strip().encode())
        ]


def names_of(specs: Mapping[str, Spec]) -> str:
    """The fact that remembers which credentials are our own."""
    return json.dumps(sorted(name for name, spec in specs.items() if spec.own_of))


def torn(ownership: Ownership, spec: Spec, known: Known) -> Iterator[tuple[str, list[str]]]:
    """Owners whose parts lie in several destinations: they cannot switch in one write."""
    fields = known.issuer(spec.issuer).traits.fields
    places: dict[str, set[str]] = defaultdict(set)
    for destination in spec.destinations:
        for each, _ in ownership.fed(destination, known, fields):
            places[each.owner].add(destination.id)
    yield from ((owner, sorted(ids)) for owner, ids in places.items() if len(ids) > 1)


def plugin_of(known: Known, owner: str) -> Issuer | Backend:
    """The plugin that ``issuers.NAME`` or ``backends.NAME`` means."""
    group, _, name = owner.partition(".")
    return known.issuer(name) if group == ISSUERS else known.backend(name)


def spelled(owner: str) -> str:
    """For people: ``issuer tokens``."""
    group, _, name = owner.partition(".")
    return f"{group.removesuffix('s')} {name}"


def needs_of(owner: str, specs: Iterable[Spec], most: int) -> list[Any]:
    """What the credentials ask of an issuer or a backend, each once: see :class:`rotatord.ports.Empowered`."""
    group, _, name = owner.partition(".")
    found: dict[str, Any] = {}
    for spec in specs:
        asked: list[Any] = [(spec.scope, spec.parameters)] if group == ISSUERS and spec.issuer == name else []
        if group == BACKENDS:
            asked = [(place, place == spec.home) for place in spec.destinations if place.backend == name]
        found |= {repr(each): each for each in asked}
        if len(found) >= most:
            break
    return list(found.values())[:most]


def _references(value: Any, place: str) -> Iterator[tuple[str, JsonMap | str]]:
    """Every reference in settings, with its place."""
    if references.is_reference(value):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            inside = f"{place}.{key}" if place else str(key)
            if key in _PATHS and isinstance(item, str):
                yield inside, {"file": item}
            else:
                yield from _references(item, inside)
    elif isinstance(value, str) and value.startswith(("file:", "env:")):
        yield place, value
