"""Vault and OpenBao KV version 2: one document a slot, written by check-and-set, destroyed and not merely deleted.

The current slot is the document that readers know; pending and previous lie beside it. The marker is a key inside the
data, because nothing else of a KV document changes atomically with it. A compare token is the document's version and the
time it was made: a mount made anew counts from one again, with other times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, ConfigDict, field_validator

from rotatord.document import MARKER_KEY, check_keys, from_document, read_stamp, to_document, write_stamp
from rotatord.errors import Conflict, Denied, Invalid, NotFound
from rotatord.mistakes import sentences
from rotatord.model import Destination, JsonMap, Marker, Slot
from rotatord.ports import Held, Surroundings
from rotatord.rights import VaultRight
from rotatord.secret import Secret
from rotatord.vault_client import Answer, Calls, VaultClient, VaultSettings, missing_rights
from rotatord.vault_own import OwnVault

NOTHING = "0"  # the compare token of a document that never was
CLEARED: JsonMap = {}  # what clear leaves behind, having destroyed everything before it
_NO_MOUNT = "no handler for route"
_WRITE = ("create", "read", "update")  # Vault calls the first write of a document create


class Settings(VaultSettings):
    """Settings of a backend of type ``vault``."""

    mount: str = "secret"
    slots: str = "{path}.rotatord/{slot}"  # where pending and previous lie

    @field_validator("slots")
    @classmethod
    def _names_both(cls, value: str) -> str:
        if value.count("{path}") != 1 or value.count("{slot}") != 1:
            raise ValueError("slots needs {path} and {slot}, once each")
        return value


class Address(BaseModel):
    """Where a document lies."""

    model_config = ConfigDict(extra="forbid")

    path: str
    mount: str | None = None

    @field_validator("path", "mount")
    @classmethod
    def _is_plain(cls, value: str | None) -> str | None:
        parts = [] if value is None else value.split("/")
        if any(part in ("", ".", "..") or not part.isprintable() for part in parts):
            raise ValueError("should be names joined by single slashes, without one at either end")
        return value


@dataclass(frozen=True, slots=True)
class Place:
    """One document."""

    mount: str
    path: str

    def at(self, kind: str) -> str:
        return f"{self.mount}/{kind}/{self.path}"


@dataclass(frozen=True, slots=True)
class Seen:
    """The latest version of a document; ``data`` is None where there is none, or it was deleted or destroyed."""

    version: int
    token: str
    data: JsonMap | None
    fading: bool = False  # it will be deleted by itself

    def __repr__(self) -> str:
        return f"Seen({self.token})"


class VaultBackend(OwnVault):
    """See the module. Has the power BackendPreflight and says its rights; thread-safe."""

    def __init__(self, settings: Settings, surroundings: Surroundings, vault: VaultClient | None = None) -> None:
        self._settings = settings
        self._vault = vault or VaultClient(settings, surroundings)
        self.timeout = settings.timeout
        self._versioned: frozenset[str] = frozenset()  # mounts known to be KV version 2

    def close(self) -> None:
        self._vault.close()

    # --- Backend -----------------------------------------------------------------------------------------------

    def check(self, destination: Destination) -> Sequence[str]:
        return [*check_keys(destination), *sentences(Address, destination.address)]

    def read(self, destination: Destination, slot: Slot) -> Held:
        calls = self._vault.calls()
        place = self._place(destination, slot)
        self._must_be_versioned(calls, place)
        return _held(destination, slot, _look(calls, place))

    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        shown = destination if slot is Slot.CURRENT else _verbatim(destination)
        document = to_document(shown, fields.reveal_all(), marker.label)
        document[MARKER_KEY] = write_stamp(marker, fields.names, document)
        calls = self._vault.calls()
        place = self._place(destination, slot)
        self._must_be_versioned(calls, place)
        seen = _look(calls, place)
        _must_be(seen, expect, destination, slot)
        written = _put(calls, place, document, seen.version)
        if slot is not Slot.CURRENT:
            if written.fading:
                raise Invalid(f"{place.mount}/{place.path}: KV deletes versions by itself here (delete_version_after)")
            if seen.data != CLEARED:
                _destroy(calls, place, written.version - 1)
        return written.token

    def clear(self, destination: Destination, slot: Slot, expect: str) -> str:
        """Destroys first and moves the token afterwards: stopped in between, the slot is empty and can be cleared again."""
        calls = self._vault.calls()
        place = self._place(destination, slot)
        self._must_be_versioned(calls, place)
        seen = _look(calls, place)
        _must_be(seen, expect, destination, slot)
        _destroy(calls, place, seen.version)
        return _put(calls, place, CLEARED, seen.version).token

    # --- optional powers ----------------------------------------------------------------------------------------

    def preflight(self, destination: Destination, *, home: bool = True) -> Sequence[str]:
        calls = self._vault.calls()
        current = self._place(destination, Slot.CURRENT)
        problems = missing_rights(calls, {right.path: right.capabilities for right in self.rights(destination, home=home)})
        if problems:
            return problems
        try:
            self._must_be_versioned(calls, current)
        except (Invalid, NotFound) as error:
            return [str(error)]
        kept = calls.get(current.at("metadata"), allow=(403, 404)).data.get("delete_version_after", "0s")
        return [] if kept == "0s" else [f"{destination.id}: KV deletes versions after {kept} (delete_version_after)"]

    def rights(self, destination: Destination, *, home: bool) -> Sequence[VaultRight]:
        current = self._place(destination, Slot.CURRENT)
        granted = [
            VaultRight(current.at("data"), _WRITE, why="the document that readers see"),
            VaultRight(current.at("metadata"), ("read",), why="whether KV would delete it by itself"),
        ]
        for slot in (Slot.PENDING, Slot.PREVIOUS) if home else ():
            place = self._place(destination, slot)
            granted += [
                VaultRight(place.at("data"), _WRITE, why="its pending and previous slots"),
                VaultRight(place.at("metadata"), ("read",), why="which versions in a slot have to be destroyed"),
                VaultRight(place.at("destroy"), ("update",), why="to destroy those"),
            ]
        return granted

    def read_rights(self, destination: Destination) -> Sequence[VaultRight]:
        return [VaultRight(self._place(destination, Slot.CURRENT).at("data"), ("read",), why="what somebody else writes")]

    def retire_rights(self, destination: Destination) -> Sequence[VaultRight]:
        current = self._place(destination, Slot.CURRENT)
        return [VaultRight(current.at("destroy"), ("update",), why="to destroy the versions of a retired document")]

    def referred(self, destination: Destination, keys: Sequence[str]) -> Sequence[tuple[JsonMap, str]]:
        """As the port says. References know no mount but the one of the settings."""
        place = self._place(destination, Slot.CURRENT)
        return [({"vault": place.path, "key": key}, key) for key in keys] if place.mount == self._settings.mount else []

    def resolve(self, path: str, key: str, mount: str | None = None) -> str:
        """One key of a document, for ``{vault: …}`` references. Raises NotFound where it is not there or not text."""
        calls = self._vault.calls()
        place = Place(mount or self._settings.mount, path)
        self._must_be_versioned(calls, place)
        data = _look(calls, place).data or {}
        value = data.get(key)
        if not isinstance(value, str):
            raise NotFound(f"{place.mount}/{place.path} has no text under {key!r}")
        return value

    def _needed(self, needs: Sequence[tuple[Destination, bool]]) -> Sequence[VaultRight]:
        return [right for destination, home in needs for right in self.rights(destination, home=home)]

    # --- ours ---------------------------------------------------------------------------------------------------

    def _place(self, destination: Destination, slot: Slot) -> Place:
        address = Address.model_validate(destination.address)
        path = address.path
        if slot is not Slot.CURRENT:
            path = self._settings.slots.replace("{path}", path).replace("{slot}", slot.value)
        return Place(address.mount or self._settings.mount, path)

    def _must_be_versioned(self, calls: Calls, place: Place) -> None:
        """KV version 1 would take our envelope for a document. Asked once for each mount."""
        if place.mount in self._versioned:
            return
        answer = calls.get(f"sys/internal/ui/mounts/{place.mount}/data/{place.path}", allow=(403, 404))
        if answer.status != 200:
            _look(calls, place)  # says more exactly what is missing: the mount, or a right of ours
            raise Denied(f"our identity may not see what kind of mount {place.mount} is")
        if answer.data.get("type") != "kv" or (answer.data.get("options") or {}).get("version") != "2":
            raise Invalid(f"the mount {place.mount} is not KV version 2")
        self._versioned |= {place.mount}


def create(settings: JsonMap, surroundings: Surroundings) -> VaultBackend:
    """The factory behind the entry point ``vault``."""
    return VaultBackend(Settings.model_validate(settings), surroundings)


def _look(calls: Calls, place: Place) -> Seen:
    """The latest version. A deleted or destroyed one is a 404 that still tells its version; no document is a bare 404."""
    answer = calls.get(place.at("data"), allow=(404,))
    if answer.status == 404 and _NO_MOUNT in answer.why:
        raise NotFound(f"Vault has no mount {place.mount}")
    if not answer.data.get("metadata"):
        return Seen(0, NOTHING, None)
    return _seen(answer, answer.data["metadata"], answer.data.get("data"))


def _seen(answer: Answer, metadata: JsonMap, data: JsonMap | None) -> Seen:
    try:
        version, made = int(metadata["version"]), metadata["created_time"]
    except (KeyError, ValueError):
        raise Invalid(f"Vault's answer ({answer.status}) is not one of KV version 2") from None
    return Seen(version, f"{version}@{made}", data, fading=bool(metadata.get("deletion_time")))


def _put(calls: Calls, place: Place, document: JsonMap, version: int) -> Seen:
    answer = calls.post(place.at("data"), {"options": {"cas": version}, "data": document})
    return _seen(answer, answer.data, document)


def _destroy(calls: Calls, place: Place, newest: int) -> None:
    """Make every version up to ``newest`` unrecoverable. Later ones are not touched, whenever the call lands."""
    known = calls.get(place.at("metadata"), allow=(404,)).data.get("versions") or {}
    doomed = [int(version) for version, about in known.items() if int(version) <= newest and not about.get("destroyed")]
    if doomed:
        calls.post(place.at("destroy"), {"versions": sorted(doomed)})


def _must_be(seen: Seen, expect: str, destination: Destination, slot: Slot) -> None:
    if seen.token != expect:
        raise Conflict(f"{destination.id} ({slot.value}) is not any more what it was when it was read")


def _verbatim(destination: Destination) -> Destination:
    return replace(destination, keys={}, version_key=None)


def _held(destination: Destination, slot: Slot, seen: Seen) -> Held:
    if not seen.data:
        return Held(token=seen.token, empty=True)
    stamp = read_stamp(seen.data.get(MARKER_KEY))
    texts = {key: value for key, value in seen.data.items() if isinstance(value, str)}
    shown = destination if slot is Slot.CURRENT else _verbatim(destination)
    found = from_document(shown, texts, stamp.fields if stamp else None)
    return Held(
        token=seen.token,
        empty=False,
        fields=Secret(found) if found else None,
        marker=stamp.marker if stamp else None,
        intact=stamp is None or stamp.fits(seen.data),
    )
