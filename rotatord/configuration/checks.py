"""What is wrong with one credential, beyond its shape: named checks, each giving troubles with the place they are at."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rotatord import document as fields_of
from rotatord.configuration import literals
from rotatord.configuration.findings import Where
from rotatord.configuration.head import Head
from rotatord.durations import spell
from rotatord.mistakes import nearest
from rotatord.model import Destination, JsonMap, Spec, digest_of
from rotatord.own import BACKENDS, OURSELVES, Ownership, spelled, torn
from rotatord.ports import Backend, Issuer, Restarts
from rotatord.registry import PluginTrouble, Registry, Trouble

# Keys of an address that say where a document lies; the others (format, mode, owner) say how it looks.
_PLACE_KEYS = (
    "address",
    "cluster",
    "region",
    "account",
    "project",
    "mount",
    "namespace",
    "kind",
    "path",
    "name",
    "secret",
    "id",
)
# How issuers begin a sentence about one key: ``scope.permissions: …``.
_NAMED_PLACE = re.compile(r"(?:scope|parameters)(?:\.[A-Za-z_]\w*)*")
_ADDRESS_LISTS = ("ip_allow", "token_bound_cidrs", "secret_id_bound_cidrs", "cidr_list", "bound_cidrs")


@dataclass(slots=True)
class Context:
    """What the checks look things up in, and the documents and principals that were claimed so far."""

    head: Head
    registry: Registry
    base_dir: str
    ownership: Ownership
    claimed: dict[str, list[tuple[str, str, frozenset[str] | None]]] = field(default_factory=dict)
    principals: dict[str, Spec] = field(default_factory=dict)

    def issuer(self, name: str) -> Issuer | None:
        """The issuer, or None where it has troubles of its own."""
        usable = name in self.head.issuers and ("issuers", name) not in self.head.broken
        return self.registry.issuer(name) if usable else None

    def backend(self, name: str) -> Backend | None:
        """The backend, or None where it has troubles of its own."""
        usable = name in self.head.backends and ("backends", name) not in self.head.broken
        return self.registry.backend(name) if usable else None

    def own(self, spec: Spec) -> Spec:
        """Marked as our own, where it is; as it was while what it names has troubles of its own."""
        backends = all(self.backend(destination.backend) is not None for destination in spec.destinations)
        return self.ownership.marked(spec, self.registry) if backends and self.issuer(spec.issuer) is not None else spec


Check = Callable[[Context, Spec], Iterator[Trouble]]


def references(context: Context, spec: Spec) -> Iterator[Trouble]:
    """It names an issuer and backends that exist."""
    issuers, backends = context.head.names("issuers"), context.head.names("backends")
    if spec.issuer not in issuers:
        yield Trouble(("issuer",), f"there is no issuer {spec.issuer!r}", nearest(spec.issuer, issuers))
    for index, destination in enumerate(spec.destinations):
        if destination.backend not in backends:
            what = f"there is no backend {destination.backend!r}"
            yield Trouble(("destinations", index, "backend"), what, nearest(destination.backend, backends))


def scope(context: Context, spec: Spec) -> Iterator[Trouble]:
    """Its issuer can mint what it asks for."""
    issuer = context.issuer(spec.issuer)
    if issuer is None:
        return
    for sentence in issuer.check(spec.scope, spec.parameters):
        named = _NAMED_PLACE.match(sentence)
        where: Where = tuple(named[0].split(".")) if named else ("scope",) if spec.scope else ("parameters",)
        yield Trouble(where, sentence)


def strategy(context: Context, spec: Spec) -> Iterator[Trouble]:
    """Its policy can be kept with what its issuer can do."""
    issuer = context.issuer(spec.issuer)
    if issuer is None:
        return
    traits, policy = issuer.traits, spec.policy
    if traits.strategy == "in_place" and not policy.allow_downtime:
        yield Trouble(
            ("issuer",), f"minting at issuer {spec.issuer!r} kills the old value: the policy needs allow_downtime: true"
        )
    if not traits.labels and not traits.exclusive:
        yield Trouble(("issuer",), f"issuer {spec.issuer!r} cannot label what it mints: it needs exclusive: true")
    if policy.ttl is not None and not traits.expiry:
        what = f"the policy's ttl {spell(policy.ttl)} can never be met: issuer {spec.issuer!r} cannot give versions an end"
        yield Trouble(("policy",), what)
    elif policy.ttl is not None and policy.ttl < traits.shortest_life:
        what = f"the policy's ttl {spell(policy.ttl)} is shorter than {spell(traits.shortest_life)}, "
        yield Trouble(("policy",), what + f"the shortest life that issuer {spec.issuer!r} can give")


def principals(context: Context, spec: Spec) -> Iterator[Trouble]:
    """Its principal is its own, where versions do not say whose they are or share what they may do."""
    issuer = context.issuer(spec.issuer)
    if issuer is None or (issuer.traits.labels and issuer.traits.scope_on != "principal"):
        return
    if issuer.check(spec.scope, spec.parameters):
        return  # said already
    declared, named = context.head.issuers[spec.issuer], getattr(issuer, "principal", None)
    who = named(spec.parameters) if named is not None else [declared.settings, spec.parameters]
    other = context.principals.setdefault(digest_of([declared.type, who]), spec)
    if other.name != spec.name:
        what = f"its principal is credential {other.name!r}'s ({other.source}) already: neither could tell whose versions are "
        yield Trouble(("parameters",), what + "whose, and each would end the other's")


def destinations(context: Context, spec: Spec) -> Iterator[Trouble]:
    """Its destinations are well formed, name fields that exist, and the home can give all of them back."""
    issuer = context.issuer(spec.issuer)
    known = issuer.traits.fields if issuer is not None else ()
    for index, destination in enumerate(spec.destinations):
        where: Where = ("destinations", index)
        backend = context.backend(destination.backend)
        if backend is not None:
            yield from (Trouble(where, sentence) for sentence in backend.check(destination))
        if issuer is None:
            continue
        for key, value in destination.keys.items():
            for name in sorted(fields_of.fields_in(value) - frozenset(known)):
                what = f"issuer {spec.issuer!r} has no field {name!r} (it has {', '.join(known)})"
                yield Trouble((*where, "keys", key), what, nearest(name, known))
        if index == 0 and destination.keys and backend is not None and not getattr(backend, "recovers", False):
            lacking = [name for name in known if name not in destination.keys.values()]
            if lacking:
                what = f"the home has to hold every field verbatim, and no key holds {', '.join(lacking)} as it is"
                yield Trouble((*where, "keys"), what)


def copies(context: Context, spec: Spec) -> Iterator[Trouble]:
    """What is only read in a destination's stead is well formed, and is no destination itself."""
    issuer = context.issuer(spec.issuer)
    own = {destination.id for destination in spec.destinations}
    for number, consumer in enumerate(spec.consumers):
        for index, copy in enumerate(consumer.copies):
            where: Where = ("consumers", number, "copies", index)
            backends = context.head.names("backends")
            if copy.backend not in backends:
                what = f"there is no backend {copy.backend!r}"
                yield Trouble((*where, "backend"), what, nearest(copy.backend, backends))
            if copy.id in own:
                yield Trouble(where, f"{copy.id} is a destination of this credential: it is read back already, and is no copy")
            backend = context.backend(copy.backend)
            if backend is not None:
                yield from (Trouble(where, sentence) for sentence in backend.check(copy))
            if issuer is None:
                continue
            known = issuer.traits.fields
            strange = {key: fields_of.fields_in(value) - frozenset(known) for key, value in copy.keys.items()}
            for key, names in strange.items():
                for name in sorted(names):
                    what = f"issuer {spec.issuer!r} has no field {name!r} (it has {', '.join(known)})"
                    yield Trouble((*where, "keys", key), what, nearest(name, known))
            if copy.keys and not any(strange.values()) and not _readable(copy, known):
                what = f"{copy.id} cannot be read back: a template tells of one field, and only where no other is unknown"
                yield Trouble((*where, "keys"), what)


def _readable(copy: Destination, names: Sequence[str]) -> bool:
    """Whether its fields can be told from what it holds."""
    example = {name: f"example{number}" for number, name in enumerate(names)}
    return fields_of.from_document(copy, fields_of.to_document(copy, example, "")) is not None


def documents(context: Context, spec: Spec) -> Iterator[Trouble]:
    """No document is written twice; where a backend keeps ownership per key, no key is."""
    for index, destination in enumerate(spec.destinations):
        backend = context.backend(destination.backend)
        if backend is None:
            continue
        keys = None
        if getattr(backend, "per_key", False) and destination.keys:
            keys = frozenset(destination.keys) | ({destination.version_key} if destination.version_key else frozenset())
        claims = context.claimed.setdefault(_document(context, destination, backend), [])
        for owner, source, taken in claims:
            if keys is None or taken is None or keys & taken:
                whose = "this credential" if owner == spec.name else f"credential {owner!r} ({source})"
                yield Trouble(("destinations", index), f"{destination.id} is written by {whose} already")
                break
        claims.append((spec.name, spec.source, keys))


def consumers(context: Context, spec: Spec) -> Iterator[Trouble]:
    """Its consumers exist, and each can prove what it runs on, or the policy says that it need not."""
    accepted = spec.policy.unproven_overlap is not None
    remedy = "so nothing proves that the new version is in use: say `unproven: {overlap: …}` in its policy to accept that"
    if not spec.consumers and not accepted:
        yield Trouble((), f"credential {spec.name!r} has no consumers, {remedy}")
    names: set[str] = set()
    for index, consumer in enumerate(spec.consumers):
        where: Where = ("consumers", index)
        if consumer.name in names:
            yield Trouble(where, f"two consumers are called {consumer.name!r}: give each a name")
        names.add(consumer.name)
        try:
            plugin = context.registry.consumer(consumer)
            if plugin.evidence == "none" and not accepted:
                yield Trouble(where, f"consumer {consumer.name!r} gives no evidence (attest or refresh_within), {remedy}")
            if isinstance(plugin, Restarts) and timedelta(seconds=plugin.gather) >= spec.policy.reload_within:
                gather, limit = spell(timedelta(seconds=plugin.gather)), spell(spec.policy.reload_within)
                what = f"consumer {consumer.name!r} gathers for {gather}, and the policy's reload_within is {limit}"
                yield Trouble(where, f"{what}: no restart would begin in time, and every rotation would turn back")
        except PluginTrouble as trouble:
            yield from (Trouble((*where, *item.where), item.what, item.suggestion) for item in trouble.troubles)
        for number, check in enumerate(consumer.health):
            try:
                context.registry.health_check(check)
            except PluginTrouble as trouble:
                inside: Where = (*where, "health", number)
                yield from (
                    Trouble((*inside, check.type, *item.where), item.what, item.suggestion) for item in trouble.troubles
                )


def own(context: Context, spec: Spec) -> Iterator[Trouble]:
    """What is our own can be replaced without our locking ourselves out."""
    issuer = context.issuer(spec.issuer)
    if not spec.own_of or issuer is None:
        return
    ours = " and ".join(spelled(owner) for owner in spec.own_of)
    if f"{BACKENDS}.{spec.home.backend}" in spec.own_of:
        what = f"its home {spec.home.id} is reached with it: were a new one bad, nobody could read the old one back; "
        yield Trouble(("destinations", 0), what + "let the file that our settings refer to be its first destination")
    if issuer.traits.strategy == "in_place":
        what = (
            f"it is our own credential at {ours}, and minting it would end the one in use: nobody could then bring the new one"
        )
        yield Trouble(("issuer",), what)
    for owner, places in torn(context.ownership, spec, context.registry):
        what = (
            f"the parts of our own credential at {spelled(owner)} lie in {' and '.join(places)}, which cannot switch as one: "
        )
        yield Trouble(("destinations",), what + "put all into one document, and refer to it as {file: PATH.json, key: NAME}")
    if any(consumer.name == OURSELVES and consumer.type != OURSELVES for consumer in spec.consumers):
        what = f"{OURSELVES!r} is what we ourselves are called among the consumers of {ours}"
        yield Trouble(("consumers",), what + ": give yours another name")


def ourselves(context: Context, spec: Spec) -> Iterator[Trouble]:  # noqa: ARG001  all checks have one signature
    """We are a consumer of what is our own, and of nothing else."""
    for index, consumer in enumerate(spec.consumers):
        if consumer.type == OURSELVES and not (spec.own_of and index == len(spec.consumers) - 1):
            what = (
                f"type {OURSELVES!r} is not declared: our own credentials are found by their destination, and have it already"
            )
            yield Trouble(("consumers", index, "type"), what)


def requirements(context: Context, spec: Spec) -> Iterator[Trouble]:  # noqa: ARG001  all checks have one signature
    """It has what its policy requires of every credential."""
    require, policy = spec.policy.require, spec.policy.name
    if require.get("owner") and not spec.owner:
        yield Trouble((), f"policy {policy!r} requires an owner")
    if require.get("purpose") and not spec.purpose:
        yield Trouble((), f"policy {policy!r} requires a purpose")
    if require.get("ip_allow") and not any(spec.scope.get(key) or spec.parameters.get(key) for key in _ADDRESS_LISTS):
        yield Trouble(("scope",), f"policy {policy!r} requires a scope with ip_allow")
    for label in require.get("labels", ()):
        if not spec.labels.get(label):
            yield Trouble(("labels",), f"policy {policy!r} requires the label {label!r}")


CHECKS: tuple[Check, ...] = (
    references,
    scope,
    strategy,
    principals,
    destinations,
    copies,
    documents,
    consumers,
    own,
    ourselves,
    requirements,
)


def troubles(context: Context, spec: Spec, raw: Any) -> list[Trouble]:
    """All that is wrong with one credential."""
    found = [Trouble(where, literals.WHAT) for where in literals.find(raw)]
    for check in CHECKS:
        found.extend(check(context, spec))
    return found


def _document(context: Context, destination: Destination, backend: Backend) -> str:
    """What names a document, whichever of two backends that are configured alike writes it."""
    named = getattr(backend, "document", None)
    place: Any = named(destination) if named is not None else _place(destination.address, context.base_dir)
    declared = context.head.backends[destination.backend]
    return digest_of([declared.type, declared.settings, place])


def _place(address: JsonMap, base_dir: str) -> JsonMap:
    place = {key: address[key] for key in _PLACE_KEYS if key in address} or dict(address)
    if isinstance(place.get("path"), str):
        place["path"] = os.path.normpath(os.path.join(base_dir, place["path"]))  # noqa: PTH118  no Path: it is not only for files
    return place
