"""Kubernetes Secrets: server-side apply of our own keys, in one atomic write with the annotation that is their marker.

A Secret may have many owners, so nothing here is about whole Secrets. A *part* is what one credential has in a Secret: its
keys and one annotation. The compare token covers the part alone, so that somebody else's change to another key is no drift
of ours; the write itself is a compare-and-set on the whole Secret (uid and resourceVersion), and where it loses to such a
change it is made again over what is there now. Pending and previous are Secrets beside it, emptied and never deleted: no
right to delete, list or watch Secrets is needed, or used.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace

from pydantic import BaseModel, ConfigDict, Field, field_validator

from backends.kubernetes_parts import (
    BLANKS,
    DOMAIN,
    REFUSED_TYPES,
    Change,
    Place,
    Seen,
    body_of,
    content,
    leftovers,
    look,
    objections,
    put,
    texts,
)
from rotatord.clock import RandomIds
from rotatord.document import check_keys, from_document, to_document
from rotatord.errors import Conflict, Denied, Invalid, Permanent, Retryable
from rotatord.kubernetes_client import Cluster, ClusterSettings
from rotatord.kubernetes_own import OwnCluster
from rotatord.kubernetes_pin import pin_rights
from rotatord.mistakes import sentences
from rotatord.model import Destination, JsonMap, Marker, Slot
from rotatord.ports import Held, Surroundings
from rotatord.rights import KubernetesRight
from rotatord.secret import Secret

# What the API server insists on, by type; one of basic-auth's is enough for it.
REQUIRED_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/basic-auth": ("username", "password"),
}
LONGEST_NAME = 253
_LOOKS = 4
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"(?=.{0,63}$)([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


class Settings(ClusterSettings):
    """Settings of a backend of type ``kubernetes``."""

    namespace: str | None = None  # of addresses that name none; default: our own
    field_manager: str = Field(default="rotatord", min_length=1, max_length=100)
    slots: str = "{name}-rotatord-{slot}"  # the Secrets of pending and previous

    @field_validator("slots")
    @classmethod
    def _names_both(cls, value: str) -> str:
        if value.count("{name}") != 1 or value.count("{slot}") != 1:
            raise ValueError("slots needs {name} and {slot}, once each")
        return value


class Address(BaseModel):
    """Which Secret, and how it is made where there is none yet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    namespace: str | None = None
    type: str | None = None  # of a Secret that we create; one that exists keeps its type
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @field_validator("name", "namespace")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        if value is not None and (not _DNS_NAME.fullmatch(value) or len(value) > LONGEST_NAME):
            raise ValueError("should be a name as Kubernetes has them: lower-case letters, digits, dashes, dots")
        return value

    @field_validator("type")
    @classmethod
    def _is_harmless(cls, value: str | None) -> str | None:
        if value in REFUSED_TYPES:
            raise ValueError(f"{value} is an identity of the cluster itself, and nothing that rotatord writes")
        return value

    @field_validator("labels")
    @classmethod
    def _have_values_of_labels(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if not _LABEL.fullmatch(text):
                raise ValueError(f"the value of {name} cannot be a label's: 63 letters, digits, dashes, dots at most")
        return value

    @field_validator("labels", "annotations")
    @classmethod
    def _are_not_reserved(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            domain, _, word = name.rpartition("/")
            if not word or not _LABEL.fullmatch(word) or (domain and not _DNS_NAME.fullmatch(domain)):
                raise ValueError(f"{name!r} cannot be the name of a label or annotation")
            reserved = domain == DOMAIN or re.fullmatch(r"(.*\.)?(kubernetes|k8s)\.io", domain)
            if reserved and domain != "app.kubernetes.io":
                raise ValueError(f"{name} is reserved")
        return value


class KubernetesBackend(OwnCluster):
    """See the module. Has the power BackendPreflight; thread-safe."""

    per_key = True

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._ids = RandomIds()
        self.timeout = 3 * settings.timeout

    def close(self) -> None:
        self._cluster.close()

    def document(self, destination: Destination) -> object:
        """What names the Secret, for whoever looks for two that write the same one."""
        return [destination.address.get("namespace") or self._settings.namespace, destination.address.get("name")]

    # --- Backend -----------------------------------------------------------------------------------------------

    def check(self, destination: Destination) -> Sequence[str]:
        problems = [*check_keys(destination), *sentences(Address, destination.address)]
        if not destination.keys:
            problems.append("keys is needed: a Secret may hold keys of others, so ours are named")
        name = destination.address.get("name")
        if isinstance(name, str) and len(self._slot_name(name, Slot.PREVIOUS)) > LONGEST_NAME:
            problems.append("name: too long: the Secrets of its slots could not be named after it")
        names = _named(destination)
        problems += [f"{key!r} cannot be a key of a Secret" for key in sorted(names) if not _KEY.fullmatch(key)]
        type_ = destination.address.get("type")
        required = REQUIRED_KEYS.get(type_, ()) if isinstance(type_, str) else ()
        lacking = [key for key in required if key not in names]
        if lacking == list(required) if type_ == "kubernetes.io/basic-auth" else lacking:
            problems.append(
                f"a Secret of type {type_} has to have the keys {' and '.join(required)}; missing: {', '.join(lacking)}"
            )
        return problems

    def read(self, destination: Destination, slot: Slot) -> Held:
        calls = self._cluster.within(self.timeout)
        return _held(destination, slot, look(calls, self._place(destination, slot)))

    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        place = self._place(destination, slot)
        shown = destination if slot is Slot.CURRENT else _verbatim(destination)
        document = to_document(shown, fields.reveal_all(), marker.label)
        data = {place.prefix + key: base64.b64encode(text.encode()).decode() for key, text in document.items()}
        once = self._ids.new("w")
        note = {
            "marker": asdict(marker),
            "fields": sorted(fields.names),
            "content": content(once, data),
            **self._about(place, data, once),
        }

        def change(seen: Seen) -> Change:
            return self._change(destination, slot, {**dict.fromkeys(leftovers(seen, data)), **data}, note)

        return self._replace(destination, slot, expect, change)

    def clear(self, destination: Destination, slot: Slot, expect: str) -> str:
        place = self._place(destination, slot)

        def change(seen: Seen) -> Change:
            type_ = (seen.body or {}).get("type") or destination.address.get("type")
            kept = [key for key in REQUIRED_KEYS.get(str(type_), ()) if slot is Slot.CURRENT and key in place.named]
            ours = (seen.values.keys() & place.named).union(leftovers(seen, ()))
            data = {**dict.fromkeys(sorted(ours)), **{key: BLANKS.get(key, "") for key in kept}}
            return self._change(destination, slot, data, self._about(place, kept, self._ids.new("w")))

        return self._replace(destination, slot, expect, change)

    # --- optional powers ----------------------------------------------------------------------------------------

    def preflight(self, destination: Destination, *, home: bool = True) -> Sequence[str]:
        calls = self._cluster.within(self.timeout)
        places = [self._place(destination, slot) for slot in (Slot if home else (Slot.CURRENT,))]
        try:
            problems = _missing_rights(calls, places)
        except Permanent as error:
            return [str(error)]
        for place in places if not problems else ():
            try:
                problems += self._obstacles(calls, destination, place)
            except Permanent as error:
                problems.append(str(error))
        return list(dict.fromkeys(problems))

    def rights(self, destination: Destination, *, home: bool) -> Sequence[KubernetesRight]:
        places = [self._place(destination, slot) for slot in (Slot if home else (Slot.CURRENT,))]
        names, namespace = tuple(place.name for place in places), places[0].namespace
        return [
            KubernetesRight(
                namespace, "", "secrets", ("get", "patch"), names, why="read and write destinations and their slots"
            ),
            KubernetesRight(
                namespace, "", "secrets", ("create",), why="make Secrets that do not exist yet; cannot be limited to names"
            ),
            *pin_rights(self._settings),
        ]

    def read_rights(self, destination: Destination) -> Sequence[KubernetesRight]:
        place = self._place(destination, Slot.CURRENT)
        seen = KubernetesRight(place.namespace, "", "secrets", ("get",), (place.name,), why="read back what a copier wrote")
        return [seen, *pin_rights(self._settings)]

    # --- ours ---------------------------------------------------------------------------------------------------

    def _place(self, destination: Destination, slot: Slot) -> Place:
        address = Address.model_validate(destination.address)
        namespace = address.namespace or self._settings.namespace or self._cluster.namespace
        if not namespace:
            raise Invalid(f"{destination.id}: no namespace is named, and we have none of our own: say `namespace`")
        named = _named(destination)
        part = hashlib.sha256(json.dumps(sorted(named)).encode()).hexdigest()[:10]
        manager = f"{self._settings.field_manager}-{part}"
        if slot is Slot.CURRENT:
            return Place(namespace, address.name, part, manager, named)
        return Place(namespace, self._slot_name(address.name, slot), part, manager, frozenset(), prefix=f"{part}.")

    def _slot_name(self, name: str, slot: Slot) -> str:
        return self._settings.slots.replace("{name}", name).replace("{slot}", slot.value)

    def _about(self, place: Place, keys: Iterable[str], once: str) -> JsonMap:
        return {"keys": sorted(keys), "manager": place.manager, "once": once}

    def _change(self, destination: Destination, slot: Slot, data: dict[str, str | None], note: JsonMap) -> Change:
        text = json.dumps(note, sort_keys=True, separators=(",", ":"))
        if slot is not Slot.CURRENT:
            return Change(data, text, {"app.kubernetes.io/managed-by": "rotatord", f"{DOMAIN}/slot": slot.value}, {})
        address = Address.model_validate(destination.address)
        return Change(data, text, address.labels, address.annotations, address.type or "Opaque")

    def _replace(self, destination: Destination, slot: Slot, expect: str, change: Callable[[Seen], Change]) -> str:
        """Compare and set the part. A 409 says that nothing was done, and where our part is still what it was, it was
        somebody else's that changed: then once more over what is there now, a few times."""
        calls = self._cluster.within(self.timeout)
        place = self._place(destination, slot)
        for _ in range(_LOOKS):
            seen = look(calls, place)
            if seen.token != expect:
                raise Conflict(f"{destination.id} ({slot.value}) is not any more what it was when it was read")
            try:
                return put(calls, seen, change(seen)).token
            except Conflict:
                continue
        raise Retryable(f"{place} is changed by others all the time: no moment was found to write our keys")

    def _obstacles(self, calls: Cluster, destination: Destination, place: Place) -> list[str]:
        """Why the Secret could not be written as it is, or not be made: the API server is asked with a dry run."""
        seen = look(calls, place)
        slot = Slot.PENDING if place.prefix else Slot.CURRENT
        required = REQUIRED_KEYS.get(destination.address.get("type") or "", ()) if slot is Slot.CURRENT else ()
        blank: dict[str, str | None] = {key: BLANKS.get(key, "") for key in required if key in place.named}
        change = self._change(destination, slot, blank, {})
        if seen.body is not None:
            return objections(seen, change)
        try:
            calls.create("secrets", place.namespace, body_of(place, change), manager=place.manager, dry_run=True)
        except Conflict:
            return []  # somebody made it just now
        except Invalid as error:
            return [] if "dry run" in str(error) else [str(error)]  # an admission webhook that cannot be asked
        return []


def create(settings: JsonMap, surroundings: Surroundings) -> KubernetesBackend:
    """The factory behind the entry point ``kubernetes``."""
    known = Settings.model_validate(settings)
    return KubernetesBackend(known, Cluster(known, base_dir=surroundings.base_dir))


def _named(destination: Destination) -> frozenset[str]:
    """The keys of the Secret that are the destination's."""
    return frozenset(destination.keys) | ({destination.version_key} if destination.version_key else frozenset())


def _verbatim(destination: Destination) -> Destination:
    return replace(destination, keys={}, version_key=None)


def _held(destination: Destination, slot: Slot, seen: Seen) -> Held:
    if seen.empty:
        return Held(token=seen.token, empty=True)
    note = seen.notes[0] if len(seen.notes) == 1 else None  # of two, neither speaks for what lies there
    stamp = note.stamp if note else None
    shown = destination if slot is Slot.CURRENT else _verbatim(destination)
    found = from_document(shown, texts(seen), stamp.fields if stamp else None)
    return Held(
        token=seen.token,
        empty=False,
        fields=Secret(found) if found else None,
        marker=stamp.marker if stamp else None,
        intact=not seen.notes or (note is not None and note.fits(seen.values)),
    )


def _missing_rights(calls: Cluster, places: Sequence[Place]) -> list[str]:
    """A sentence for each rule that our Role lacks; none where the API server does not tell."""
    wanted = [("create", places[0].namespace, "")]
    wanted += [(verb, place.namespace, place.name) for place in places for verb in ("get", "patch")]
    problems = []
    for verb, namespace, name in wanted:
        attributes = {"namespace": namespace, "verb": verb, "resource": "secrets", **({"name": name} if name else {})}
        try:
            allowed = calls.review_access(attributes)
        except Denied:
            return []  # then the dry run shows it
        if not allowed:
            names = f", resourceNames: [{name}]" if name else ""
            rule = f'{{apiGroups: [""], resources: [secrets], verbs: [{verb}]{names}}}'
            problems.append(f"our Role in namespace {namespace} lacks the rule {rule}")
    return problems
