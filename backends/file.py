"""Secrets in files: dotenv, JSON, YAML, raw or a filled-in template, replaced in one durable step.

Beside the documents there is a private directory of slots. For each document it holds what has no room in the document
itself: our marker and the secret's fields, bound to the document by the SHA-256 of its bytes. The note is written first
and names both contents while the document is being replaced, so that marker and content change together: whatever
instant a crash picks, the document's hash leads to its own marker. A document whose hash leads nowhere was written by
somebody else. Pending and previous lie in that directory only.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rotatord import files
from rotatord.clock import Clock, Ids, RandomIds, SystemClock
from rotatord.document import check_keys, from_document, to_document
from rotatord.errors import Conflict, Invalid, NotFound, OutsideError, Retryable
from rotatord.formats import format_of, parse, placeholders, problems_of, render
from rotatord.model import Destination, JsonMap, Marker, Slot
from rotatord.ports import Held, Surroundings
from rotatord.rights import no_rights
from rotatord.secret import Secret

LOCK_SECONDS = 5.0


class Settings(BaseModel):
    """Settings of the backend. Relative paths count from the configuration's directory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["file"] = "file"
    root: str | None = None  # documents lie below it and no step of their paths may be a link
    slots: str | None = None  # default: <state_dir>/slots/file


class Address(BaseModel):
    """Where a document lies and how it looks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1)
    format: Literal["dotenv", "json", "yaml", "raw", "template"] | None = None  # default: from the name's ending
    template: str | None = None  # a file with {{ key }} in it
    mode: int | str = Field(default="0600", validate_default=True)
    owner: str | int | None = None
    group: str | int | None = None

    @field_validator("mode")
    @classmethod
    def _octal(cls, value: int | str) -> int:
        number = int(value, 8) if isinstance(value, str) else value
        if not 0 <= number <= 0o777 or number & 0o002:
            raise ValueError("mode is an octal number such as '0640', and nobody else may write the file")
        return number

    @field_validator("path")
    @classmethod
    def _a_file(cls, value: str) -> str:
        if "\0" in value or os.path.basename(value) in {"", ".", ".."}:  # noqa: PTH119 - Path would drop the last slash
            raise ValueError("path must name a file")
        return value

    @model_validator(mode="after")
    def _format_and_template(self) -> Self:
        if self.form is None:
            raise ValueError("format cannot be told from the name; set it to dotenv, json, yaml, raw or template")
        if (self.form == "template") != (self.template is not None):
            raise ValueError("format: template and template: <file> belong together")
        return self

    @property
    def form(self) -> str | None:
        return self.format or ("template" if self.template else format_of(self.path))


@dataclass(frozen=True, slots=True)
class Entry:
    """What one write put into a slot, for the document with this hash (pending and previous have no document)."""

    sha256: str
    marker: Marker
    fields: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Note:
    """The private file of one slot. ``counter`` only rises; ``raw`` are the bytes it was read from."""

    counter: int = 0
    entries: tuple[Entry, ...] = ()
    raw: bytes = field(default=b"", repr=False)

    def of(self, content: files.Content) -> Entry | None:
        """The entry whose document this is; of two equal ones the later."""
        digest = hashlib.sha256(content.data).hexdigest()
        return next((entry for entry in reversed(self.entries) if entry.sha256 == digest), None)


def read_note(raw: bytes) -> Note:
    """The note in these bytes; one that cannot be read has no entries."""
    try:
        value = json.loads(raw)
        entries = tuple(
            Entry(str(item["sha256"]), Marker(**item["marker"]), Secret(item["fields"]).reveal_all())
            for item in value["entries"]
        )
        return Note(int(value["counter"]), entries, raw)
    except (ValueError, TypeError, KeyError):
        return Note(raw=raw)


def write_note(counter: int, entries: Sequence[Entry]) -> Note:
    """The note with its bytes."""
    items = [{"sha256": entry.sha256, "marker": asdict(entry.marker), "fields": entry.fields} for entry in entries]
    return Note(counter, tuple(entries), json.dumps({"counter": counter, "entries": items}).encode())


@dataclass(frozen=True, slots=True)
class Place:
    """One document with all that belongs to it."""

    address: Address
    path: Path
    slots: Path  # the private directory of this document alone


class FileBackend:
    """Documents on this machine. Safe among threads and processes that share the directory of slots."""

    rights = read_rights = staticmethod(no_rights)

    timeout = 2 * LOCK_SECONDS
    recovers = True  # the fields can be read back whatever the format

    def __init__(
        self, settings: Settings, surroundings: Surroundings, *, clock: Clock | None = None, ids: Ids | None = None
    ) -> None:
        self._base = Path(surroundings.base_dir).absolute()
        self._root = Path(os.path.normpath(self._base / settings.root)) if settings.root else None
        self._slots = self._base / (settings.slots or Path(surroundings.state_dir) / "slots" / "file")
        shared = "its slots lie in this daemon's state directory: name one that all share, `slots: PATH`"
        self.only_here = "" if settings.slots else shared
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._key: bytes | None = None

    # --- the port --------------------------------------------------------------------------------------------------

    def check(self, destination: Destination) -> Sequence[str]:
        """As the port says. The template counts as configuration and is read."""
        try:
            place = self._place(destination)
        except OutsideError as error:
            return [str(error)]
        form = place.address.form or ""
        names = list(destination.keys) + ([destination.version_key] if destination.version_key else [])
        problems = check_keys(destination)
        if destination.keys or form != "raw" or destination.version_key:
            problems += problems_of(form, names)
        if form != "template":
            return problems
        try:
            asked = placeholders(self._template(place))
        except OutsideError as error:
            return [*problems, str(error)]
        unknown = sorted(asked - set(names)) if destination.keys else []
        if unknown:
            problems.append(f"the template asks for {', '.join(unknown)}, which keys do not name")
        if not asked:
            problems.append("the template asks for no key; write {{ key }} where a value belongs")
        return problems

    def referred(self, destination: Destination, keys: Sequence[str]) -> Sequence[tuple[JsonMap, str]]:
        """As the port says. A filled-in template cannot be read by a reference."""
        place = self._place(destination)
        path, form = str(place.path), place.address.form
        if form == "raw" and len(keys) == 1:
            return [({"file": path}, keys[0])]
        return [({"file": path, "key": key}, key) for key in keys] if format_of(path) == form else []

    def preflight(self, destination: Destination, *, home: bool = True) -> Sequence[str]:  # noqa: ARG002  one directory holds all
        """As the port says: are directory, owner, group and slots usable by us?"""
        problems = []
        try:
            place = self._place(destination)
            self._attributes(place)
            if place.address.template:
                self._template(place)
            with self._locked(place), self._directory(place) as handle:
                if handle is None:
                    problems.append(f"{place.path.parent}: there is no such directory")
                else:
                    files.read(handle, place.path.name, place.path)
                    if not os.access(f"/proc/self/fd/{handle}", os.W_OK | os.X_OK, effective_ids=True):
                        problems.append(f"{place.path.parent}: we may not write to this directory")
        except OutsideError as error:
            problems.append(str(error))
        return problems

    def read(self, destination: Destination, slot: Slot) -> Held:
        place = self._place(destination)
        with self._locked(place, shared=True):
            note = self._note(place, slot)
            if slot is not Slot.CURRENT:
                return self._held_in_slot(note)
            with self._directory(place) as handle:
                content = None if handle is None else files.read(handle, place.path.name, place.path)
            return self._held(destination, place, note, content)

    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        place, in_time = self._place(destination), self._in_time()
        values = fields.reveal_all()
        with self._locked(place):
            note = self._note(place, slot)
            if slot is not Slot.CURRENT:
                self._expect(place, slot, note, None, expect)
                return self._token(self._save(place, slot, note.counter + 1, [Entry("", marker, values)], in_time), None)
            data = self._rendered(destination, place, values, marker)
            entry = Entry(hashlib.sha256(data).hexdigest(), marker, values)
            with self._directory(place) as handle:
                if handle is None:
                    raise NotFound(f"{place.path.parent}: there is no such directory")
                attributes = self._attributes(place)
                content = files.read(handle, place.path.name, place.path)
                self._expect(place, slot, note, content, expect)
                old = note.of(content) if content else None
                self._save(place, slot, note.counter + 1, [old, entry] if old else [entry], in_time)
                written = files.replace(handle, place.path.name, data, attributes, place.path, last_look=in_time)
                return self._token(self._save(place, slot, note.counter + 1, [entry]), written)

    def clear(self, destination: Destination, slot: Slot, expect: str) -> str:
        place, in_time = self._place(destination), self._in_time()
        with self._locked(place):
            note = self._note(place, slot)
            content = None
            with self._directory(place) if slot is Slot.CURRENT else contextlib.nullcontext() as handle:
                if handle is not None:
                    content = files.read(handle, place.path.name, place.path)
                self._expect(place, slot, note, content, expect)
                in_time()
                if handle is not None:
                    files.erase(handle, place.path.name, place.path)
            return self._token(self._save(place, slot, note.counter + 1, []), None)

    # --- documents -------------------------------------------------------------------------------------------------

    def _place(self, destination: Destination) -> Place:
        try:
            address = Address.model_validate(destination.address)
        except ValidationError as error:
            raise Invalid("; ".join(_sentence(problem) for problem in error.errors())) from None
        path = Path(os.path.normpath((self._root or self._base) / address.path))
        if self._root and self._root not in path.parents:
            raise Invalid(f"{path}: is not below the backend's root {self._root}")
        return Place(address, path, self._slots / hashlib.sha256(os.fsencode(path)).hexdigest()[:32])

    def _template(self, place: Place) -> str:
        path = self._base / (place.address.template or "")
        try:
            return path.read_text(encoding="utf-8")
        except OSError as error:
            raise files.trouble(error, path) from None
        except UnicodeError:
            raise Invalid(f"{path}: the template is not UTF-8 text") from None

    def _rendered(self, destination: Destination, place: Place, values: dict[str, str], marker: Marker) -> bytes:
        template = self._template(place) if place.address.template else ""
        try:
            data = render(place.address.form or "", to_document(destination, values, marker.label), template)
        except UnicodeError:
            raise Invalid(f"{place.path}: a value is not text that a file can hold") from None
        except ValueError as error:  # names keys, never values
            raise Invalid(f"{place.path}: {error}") from None
        if not 0 < len(data) <= files.MAX_BYTES:
            raise Invalid(f"{place.path}: the document would be empty or larger than {files.MAX_BYTES} bytes")
        return data

    def _attributes(self, place: Place) -> files.Attributes:
        address = place.address
        return files.Attributes(int(address.mode), files.owner_id(address.owner), files.group_id(address.group))

    @contextlib.contextmanager
    def _directory(self, place: Place) -> Iterator[int | None]:
        with contextlib.ExitStack() as stack:
            try:
                handle: int | None = stack.enter_context(files.directory(place.path.parent, below=self._root))
            except NotFound:
                handle = None
            yield handle

    def _held(self, destination: Destination, place: Place, note: Note, content: files.Content | None) -> Held:
        token = self._token(note, content)
        if content is None or not content.data:  # somebody's ``touch`` is no value
            return Held(token=token, empty=True)
        if entry := note.of(content):
            return Held(token=token, empty=False, fields=Secret(entry.fields), marker=entry.marker)
        document = parse(place.address.form or "", content.data)
        if document is not None and place.address.form == "raw":
            key = next(iter(destination.keys), None)
            document = {key: document[""].rstrip("\r\n")} if key else None
        found = from_document(destination, document) if document else None
        return Held(token=token, empty=False, fields=Secret(found) if found else None, intact=not note.entries)

    # --- slots -----------------------------------------------------------------------------------------------------

    def _held_in_slot(self, note: Note) -> Held:
        token = self._token(note, None)
        if not note.entries:
            unreadable = bool(note.raw) and note.counter == 0
            return Held(token=token, empty=not unreadable, intact=not unreadable)
        entry = note.entries[-1]
        return Held(token=token, empty=False, fields=Secret(entry.fields), marker=entry.marker)

    @contextlib.contextmanager
    def _locked(self, place: Place, *, shared: bool = False) -> Iterator[None]:
        files.private_directory(self._slots)
        files.private_directory(place.slots)
        with files.lock(place.slots / "lock", self._clock, seconds=LOCK_SECONDS, shared=shared):
            yield

    def _note(self, place: Place, slot: Slot) -> Note:
        path = place.slots / f"{slot.value}.json"
        with files.directory(place.slots) as handle:
            content = files.read(handle, path.name, path)
        return read_note(content.data) if content else Note()

    def _in_time(self) -> Callable[[], None]:
        """The look before whatever cannot be taken back: is this call still within its time? One that stood still is not
        (its lease has run out, and the kernel's lock may have gone to another by way of a file system of a network)."""
        begun = self._clock.monotonic()

        def look() -> None:
            if (late := self._clock.monotonic() - begun) > self.timeout:
                raise Retryable(f"a write of a file took {late:.0f} s, longer than a call may: nothing more is written by it")

        return look

    def _save(
        self, place: Place, slot: Slot, counter: int, entries: Sequence[Entry], in_time: Callable[[], None] = lambda: None
    ) -> Note:
        """Replace a slot's private file and make what it held before unrecoverable."""
        note = write_note(counter, entries)
        path = place.slots / f"{slot.value}.json"
        with files.directory(place.slots) as handle:
            old = None
            with contextlib.suppress(FileNotFoundError):
                old = os.open(path.name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
            try:
                files.replace(handle, path.name, note.raw, files.Attributes(), path, last_look=in_time)
                if old is not None:
                    files.shred(old)
            finally:
                if old is not None:
                    os.close(old)
        return note

    def _expect(self, place: Place, slot: Slot, note: Note, content: files.Content | None, expect: str) -> None:
        if not hmac.compare_digest(self._token(note, content), expect):
            raise Conflict(f"{place.path}: {slot.value} was changed since it was read")

    def _token(self, note: Note, content: files.Content | None) -> str:
        """Keyed, so that it says nothing about a weak password to who reads it elsewhere."""
        parts: tuple[Any, ...] = (note.raw.hex(), content and (content.data.hex(), content.inode, content.modified_ns))
        digest = hmac.new(self._token_key(), repr(parts).encode(), hashlib.sha256).hexdigest()
        return f"{note.counter}-{digest[:32]}"

    def _token_key(self) -> bytes:
        if self._key is None:
            path = self._slots / "key"
            with (
                files.lock(self._slots / "key.lock", self._clock, seconds=LOCK_SECONDS),
                files.directory(self._slots) as handle,
            ):
                content = files.read(handle, path.name, path)
                if content is None or len(content.data) < 32:
                    made = "".join(self._ids.new("key").rpartition("_")[2] for _ in range(4)).encode()
                    content = files.replace(handle, path.name, made, files.Attributes(), path)
            self._key = content.data
        return self._key


def _sentence(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"]).removeprefix("Value error, ")


def create(settings: JsonMap, surroundings: Surroundings) -> FileBackend:
    """The factory behind the entry point."""
    return FileBackend(Settings.model_validate(settings), surroundings)
