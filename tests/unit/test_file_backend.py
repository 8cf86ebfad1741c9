"""The file backend beyond its contract: formats, permissions, links, crashes, races."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from backends.file import Entry, FileBackend, Note, Place, Settings, create
from rotatord import files
from rotatord.clock import SystemClock
from rotatord.errors import Conflict, Denied, Invalid, NotFound, Retryable
from rotatord.model import Destination, Marker, Slot
from rotatord.ports import Surroundings
from rotatord.secret import Secret
from rotatord.testing.clock import VirtualClock

FIELDS = Secret({"username": "app", "password": "s3cret value"})


def marker(generation: int = 1, write: str = "w1") -> Marker:
    return Marker(
        installation="inst_1",
        credential="db",
        rotation="rot_1",
        generation=generation,
        ref=f"ref-{generation}",
        fingerprint="abcdef0123456789",
        write=write,
    )


@pytest.fixture
def backend(tmp_path: Path) -> FileBackend:
    return made(tmp_path)


def surroundings(tmp_path: Path) -> Surroundings:
    return Surroundings(
        installation="inst_1",
        state_dir=str(tmp_path / "state"),
        now=lambda: datetime(2026, 1, 5, tzinfo=UTC),
        secret=lambda _: "",
        base_dir=str(tmp_path),
    )


def made(tmp_path: Path, **settings: object) -> FileBackend:
    return create(settings, surroundings(tmp_path))


def at(path: str, keys: dict[str, str] | None = None, version_key: str | None = None, **address: object) -> Destination:
    return Destination(backend="file", address={"path": path, **address}, keys=keys or {}, version_key=version_key)


def put(backend: FileBackend, destination: Destination, fields: Secret = FIELDS, mark: Marker | None = None) -> str:
    held = backend.read(destination, Slot.CURRENT)
    return backend.write(destination, Slot.CURRENT, fields, mark or marker(), held.token)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("dotenv", "DB_USER=app\nDB_PASSWORD='s3cret value'\nDB_VERSION=1-abcdef01\n"),
        ("yaml", '"DB_USER": "app"\n"DB_PASSWORD": "s3cret value"\n"DB_VERSION": "1-abcdef01"\n'),
        ("json", '{\n  "DB_USER": "app",\n  "DB_PASSWORD": "s3cret value",\n  "DB_VERSION": "1-abcdef01"\n}\n'),
    ],
)
def test_a_document_has_the_keys_asked_for(backend: FileBackend, tmp_path: Path, form: str, expected: str) -> None:
    """Keys and the companion version field are what readers see, and all fields come back."""
    there = at("x", {"DB_USER": "username", "DB_PASSWORD": "password"}, "DB_VERSION", format=form)
    assert backend.check(there) == []
    put(backend, there)
    assert (tmp_path / "x").read_text() == expected
    held = backend.read(there, Slot.CURRENT)
    assert (held.fields, held.marker, held.intact) == (FIELDS, marker(), True)


def test_raw_and_template_documents_recover_their_fields(backend: FileBackend, tmp_path: Path) -> None:
    """Forms that show only a part, or cannot be parsed, give back all fields from the private note."""
    (tmp_path / "x.tmpl").write_text("dsn = postgres://{{ U }}:{{ P }}@db/{name}\n")
    keys = {"U": "username", "P": "password"}
    template = at("app.conf", keys, template="x.tmpl")
    assert backend.check(template) == []
    put(backend, template)
    assert (tmp_path / "app.conf").read_text() == "dsn = postgres://app:s3cret value@db/{name}\n"
    assert backend.read(template, Slot.CURRENT).fields == FIELDS
    raw = at("token", {"": "password"}, format="raw")
    put(backend, raw)
    assert (tmp_path / "token").read_bytes() == b"s3cret value"
    assert backend.read(raw, Slot.CURRENT).fields == FIELDS


@pytest.mark.parametrize(
    ("destination", "what"),
    [
        (at("x"), "format cannot be told"),
        (at("x.env", mode="0666"), "mode"),
        (at("x.env", mode="rw"), "mode"),
        (at("x.env", colour="red"), "colour"),
        (at(""), "path"),
        (at("dir/"), "must name a file"),
        (at("x.env", {"A-B": "token"}), "environment variable"),
        (at("x", {"A": "a", "B": "b"}, format="raw"), "exactly one value"),
        (at("x", {"A": "a"}, format="template"), "belong together"),
        (at("x", {"A": "a"}, template="missing.tmpl"), "No such file"),
        (at("x", {"A": "a"}, template="unknown.tmpl"), "asks for B"),
        (at("x", {"A": "a"}, template="none.tmpl"), "asks for no key"),
    ],
)
def test_static_problems_are_sentences(backend: FileBackend, tmp_path: Path, destination: Destination, what: str) -> None:
    """What cannot work is said before anything is done."""
    (tmp_path / "unknown.tmpl").write_text("{{ A }} {{ B }}")
    (tmp_path / "none.tmpl").write_text("plain")
    assert any(what in problem for problem in backend.check(destination))


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    """Unknown settings are errors."""
    with pytest.raises(ValidationError):
        made(tmp_path, rooot="/x")


def test_a_file_is_private_unless_said_otherwise(backend: FileBackend, tmp_path: Path) -> None:
    """Without a mode the owner may read and write, and nobody else may anything."""
    put(backend, at("x.env"))
    assert stat.S_IMODE((tmp_path / "x.env").stat().st_mode) == 0o600


def test_mode_and_owner_are_set_before_readers_see_the_file(backend: FileBackend, tmp_path: Path) -> None:
    """The replacement has its mode and ownership when it appears, whatever the umask."""
    there = at("x.env", mode="0640", owner=os.getuid(), group=os.getgid())
    put(backend, there)
    found = (tmp_path / "x.env").stat()
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert (found.st_uid, found.st_gid) == (os.getuid(), os.getgid())
    with pytest.raises(Invalid, match="no user 'nobody-here'"):
        put(backend, at("y.env", owner="nobody-here"))
    assert any("nobody-here" in problem for problem in backend.preflight(at("y.env", owner="nobody-here")))


def test_every_write_and_clear_moves_the_token(backend: FileBackend) -> None:
    """Also a write of the same content and a clear of what is empty, in every slot; a stale token is a conflict."""
    there = at("x.env")
    for slot in Slot:
        seen = {backend.read(there, slot).token}
        token = backend.read(there, slot).token
        for turn in range(3):
            token = backend.write(there, slot, FIELDS, marker(write=f"w{turn // 2}"), token)
            assert token == backend.read(there, slot).token
            seen.add(token)
        for _ in range(2):
            token = backend.clear(there, slot, token)
            assert token == backend.read(there, slot).token
            seen.add(token)
        assert len(seen) == 6
        with pytest.raises(Conflict):
            backend.write(there, slot, FIELDS, marker(), "1-stale")


def test_a_foreign_document_is_read_without_a_marker(backend: FileBackend, tmp_path: Path) -> None:
    """What was there at first contact is somebody else's, parsed as far as the form allows."""
    (tmp_path / "x.env").write_text("TOKEN='old one'\nOTHER=1\n")
    held = backend.read(at("x.env", {"TOKEN": "token"}), Slot.CURRENT)
    assert (held.marker, held.empty, held.fields) == (None, False, Secret({"token": "old one"}))
    (tmp_path / "raw").write_text("value\n")
    assert backend.read(at("raw", {"X": "token"}, format="raw"), Slot.CURRENT).fields == Secret({"token": "value"})
    (tmp_path / "bad.json").write_text("{")
    held = backend.read(at("bad.json"), Slot.CURRENT)
    assert (held.fields, held.marker, held.empty) == (None, None, False)
    (tmp_path / "touched.env").touch()
    assert backend.read(at("touched.env"), Slot.CURRENT).empty


def test_a_changed_document_is_not_ours_any_more_and_conflicts(backend: FileBackend, tmp_path: Path) -> None:
    """A change by hand, of the same length and time too, loses the marker and moves the token; undone, it is ours again."""
    there = at("x.json", {"t": "password"})
    token = put(backend, there)
    file = tmp_path / "x.json"
    before, content = file.stat(), file.read_text()
    file.write_text(content.replace("s3cret", "S3CRET"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    held = backend.read(there, Slot.CURRENT)
    assert (held.marker, held.intact, held.fields) == (None, False, Secret({"password": "S3CRET value"}))
    with pytest.raises(Conflict):
        backend.write(there, Slot.CURRENT, FIELDS, marker(2), token)
    file.write_text(content)
    assert backend.read(there, Slot.CURRENT).marker == marker()


def test_pending_and_previous_never_lie_beside_the_document(backend: FileBackend, tmp_path: Path) -> None:
    """They are only in the private directory, which nobody else can look into."""
    there = at("x.env")
    for slot in (Slot.PENDING, Slot.PREVIOUS):
        backend.write(there, slot, FIELDS, marker(), backend.read(there, slot).token)
        assert backend.read(there, slot).fields == FIELDS
    assert not (tmp_path / "x.env").exists()
    for directory, _, names in os.walk(tmp_path / "state" / "slots" / "file"):
        assert stat.S_IMODE(Path(directory).stat().st_mode) == 0o700
        assert all(stat.S_IMODE((Path(directory) / name).stat().st_mode) == 0o600 for name in names)


def test_cleared_values_are_on_no_file(backend: FileBackend, tmp_path: Path) -> None:
    """After clear no file below holds the value; after a second write none holds the first."""
    there = at("x.env")
    token = put(backend, there, Secret({"token": "first-value"}))
    backend.write(there, Slot.CURRENT, Secret({"token": "second-value"}), marker(2), token)
    assert not holding(tmp_path, b"first-value")
    backend.clear(there, Slot.CURRENT, backend.read(there, Slot.CURRENT).token)
    assert not holding(tmp_path, b"second-value")
    assert backend.read(there, Slot.CURRENT).empty


def holding(directory: Path, value: bytes) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and value in path.read_bytes()]


def test_links_and_open_directories_are_refused(backend: FileBackend, tmp_path: Path) -> None:
    """The last step is never a link, and a directory that anybody may write to is no place for a secret."""
    (tmp_path / "real.env").write_text("A=1\n")
    (tmp_path / "link.env").symlink_to(tmp_path / "real.env")
    with pytest.raises(Invalid, match="symbolic link"):
        backend.read(at("link.env"), Slot.CURRENT)
    (tmp_path / "pipe.env").mkdir()
    with pytest.raises(Invalid):
        backend.read(at("pipe.env"), Slot.CURRENT)
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(Denied, match="everybody"):
        backend.read(at("open/x.env"), Slot.CURRENT)
    assert any("everybody" in problem for problem in backend.preflight(at("open/x.env")))


def test_a_fifo_does_not_block(backend: FileBackend, tmp_path: Path) -> None:
    """A named pipe in the document's place is refused at once."""
    os.mkfifo(tmp_path / "x.env")
    with pytest.raises(Invalid, match="regular file"):
        backend.read(at("x.env"), Slot.CURRENT)


def test_the_root_holds(tmp_path: Path) -> None:
    """Below a root no path leads out: not by dots, not from the top, not through a link on the way."""
    (tmp_path / "root" / "inner").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "root" / "way").symlink_to(tmp_path / "outside")
    backend = made(tmp_path, root="root")
    for path in ("../outside/x.env", str(tmp_path / "outside" / "x.env")):
        assert any("not below" in problem for problem in backend.check(at(path)))
        with pytest.raises(Invalid, match="not below"):
            backend.read(at(path), Slot.CURRENT)
    with pytest.raises(Invalid):
        put(backend, at("way/x.env"))
    put(backend, at("inner/x.env"))
    assert (tmp_path / "root" / "inner" / "x.env").exists()


def test_a_missing_directory_is_empty_to_read_and_not_found_to_write(backend: FileBackend) -> None:
    """Nothing is made that was not asked for, and preflight says it beforehand."""
    there = at("no/x.env")
    held = backend.read(there, Slot.CURRENT)
    assert held.empty
    with pytest.raises(NotFound):
        backend.write(there, Slot.CURRENT, FIELDS, marker(), held.token)
    assert any("no such directory" in problem for problem in backend.preflight(there))


def test_preflight_is_silent_where_all_is_well(backend: FileBackend) -> None:
    """No sentence, and nothing is left at the destination."""
    assert backend.preflight(at("x.env")) == []
    assert backend.read(at("x.env"), Slot.CURRENT).empty


def test_slots_that_others_can_read_are_refused(backend: FileBackend, tmp_path: Path) -> None:
    """A directory of slots that is not private is not used."""
    (tmp_path / "state" / "slots" / "file").mkdir(parents=True)
    (tmp_path / "state" / "slots" / "file").chmod(0o755)
    with pytest.raises(Denied, match="0700"):
        backend.read(at("x.env"), Slot.CURRENT)


class Dying(FileBackend):
    """Dies around the replacement of the document: right after the first note of a write, or right before the second."""

    when = ""
    notes = 0

    def _save(
        self, place: Place, slot: Slot, counter: int, entries: Sequence[Entry], in_time: Callable[[], None] = lambda: None
    ) -> Note:
        self.notes += 1
        if self.when == "after" and self.notes == 2:
            raise KeyboardInterrupt
        note = super()._save(place, slot, counter, entries, in_time)
        if self.when == "before":
            raise KeyboardInterrupt
        return note


@pytest.mark.parametrize("when", ["before", "after"])
def test_marker_and_content_change_together_whatever_instant_a_crash_picks(tmp_path: Path, when: str) -> None:
    """Dying just before the document is replaced leaves the old pair, just after it the new pair; the token has moved."""
    there = at("x.env", {"T": "token"})
    old, new = Secret({"token": "old"}), Secret({"token": "new"})
    token = put(made(tmp_path), there, old)
    dying = Dying(Settings(), surroundings(tmp_path))
    dying.when = when
    with pytest.raises(KeyboardInterrupt):
        dying.write(there, Slot.CURRENT, new, marker(2), token)
    held = made(tmp_path).read(there, Slot.CURRENT)
    assert (held.fields, held.marker, held.intact) == ((old, marker(1), True) if when == "before" else (new, marker(2), True))
    assert held.token != token
    made(tmp_path).write(there, Slot.CURRENT, new, marker(2), held.token)
    assert made(tmp_path).read(there, Slot.CURRENT).fields == new
    assert not holding(tmp_path, b"old")


class Standing(FileBackend):
    """Stands still for a minute at the worst moment: when it has just found the token to be the one expected."""

    def _expect(self, place: Place, slot: Slot, note: Note, content: files.Content | None, expect: str) -> None:
        super()._expect(place, slot, note, content, expect)
        self._clock.wait(threading.Event(), 60.0)


@pytest.mark.parametrize("slot", list(Slot))
@pytest.mark.parametrize("verb", ["write", "clear"])
def test_a_write_that_stood_still_beyond_its_time_is_not_completed(tmp_path: Path, slot: Slot, verb: str) -> None:
    """Frozen between the look at the token and the write, and continued: its lease is gone by then, so nothing that anybody
    reads is changed, whoever holds the lock."""
    there = at("x.env", {"T": "token"})
    backend = made(tmp_path)
    backend.write(there, slot, Secret({"token": "theirs"}), marker(), backend.read(there, slot).token)
    held = backend.read(there, slot)
    frozen = Standing(Settings(), surroundings(tmp_path), clock=VirtualClock())
    fields = (Secret({"token": "late"}), marker(2)) if verb == "write" else ()
    with pytest.raises(Retryable, match="longer than a call may"):
        getattr(frozen, verb)(there, slot, *fields, held.token)
    assert backend.read(there, slot) == held
    assert not holding(tmp_path, b"late")


def test_a_replacement_left_by_a_crash_is_removed(backend: FileBackend, tmp_path: Path) -> None:
    """The next write takes the leftover away."""
    (tmp_path / ".x.env.rotatord").write_text("TOKEN=leftover")
    put(backend, at("x.env"))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x.env"]


def test_a_spoilt_note_loses_the_marker_and_nothing_else(backend: FileBackend, tmp_path: Path) -> None:
    """A private note that cannot be read makes the document somebody else's, and slots unreadable rather than empty."""
    there = at("x.env")
    put(backend, there)
    backend.write(there, Slot.PENDING, FIELDS, marker(), backend.read(there, Slot.PENDING).token)
    for path in (tmp_path / "state").rglob("*.json"):
        path.write_text("{ spoilt")
    held = backend.read(there, Slot.CURRENT)
    assert (held.marker, held.fields) == (None, FIELDS)
    pending = backend.read(there, Slot.PENDING)
    assert (pending.empty, pending.intact, pending.marker) == (False, False, None)
    backend.clear(there, Slot.PENDING, pending.token)
    assert backend.read(there, Slot.PENDING).empty


def test_a_value_that_the_form_cannot_hold_is_invalid_and_not_shown(backend: FileBackend) -> None:
    """NUL, lone surrogates: refused in words that do not repeat the value."""
    for value in ("hidden\0x", "hidden\ud800"):
        with pytest.raises(Invalid) as caught:
            put(backend, at("x.env"), Secret({"token": value}))
        assert "hidden" not in str(caught.value)


def test_a_document_locked_by_somebody_else_is_retryable(backend: FileBackend, tmp_path: Path) -> None:
    """A lock held by another process is waited for, not for ever."""
    put(backend, at("x.env"))
    path = next((tmp_path / "state").rglob("lock"))
    with files.lock(path, SystemClock(), seconds=1), pytest.raises(Retryable), files.lock(path, SystemClock(), seconds=0.1):
        pass


RACER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_file_backend import at, made, marker
from rotatord.errors import Conflict
from rotatord.model import Slot
from rotatord.secret import Secret
backend, there, won = made(Path(sys.argv[2])), at("x.env"), 0
for turn in range(40):
    held = backend.read(there, Slot.CURRENT)
    assert held.empty or (held.intact and held.marker and held.fields), "a half written document was seen"
    try:
        backend.write(there, Slot.CURRENT, Secret({"token": sys.argv[3] + str(turn)}), marker(turn + 1), held.token)
        won += 1
    except Conflict:
        pass
print(won)
"""


def test_processes_race_safely(tmp_path: Path) -> None:
    """Two processes that read and write one document: every write that succeeded raised the counter by exactly one."""
    command = [sys.executable, "-c", RACER, str(Path(__file__).parent), str(tmp_path)]
    racers = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in "ab"]
    won = 0
    for racer in racers:
        out, _ = racer.communicate(timeout=60)
        assert racer.returncode == 0
        won += int(out)
    note = json.loads(next((tmp_path / "state").rglob("current.json")).read_text())
    assert note["counter"] == won
    assert len(note["entries"]) == 1


def test_readers_see_whole_documents_only(backend: FileBackend, tmp_path: Path) -> None:
    """While the document is replaced again and again, every look at it shows one of the whole contents."""
    there, stop, seen = at("x.env"), threading.Event(), set()
    put(backend, there, Secret({"token": "a" * 5000}))

    def look() -> None:
        while not stop.is_set():
            seen.add((tmp_path / "x.env").read_text())

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(20):
        put(backend, there, Secret({"token": "ab"[turn % 2] * 5000}))
    stop.set()
    reader.join(10)
    assert seen <= {f"token={letter * 5000}\n" for letter in "ab"}
