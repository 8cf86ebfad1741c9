"""Who this installation is: its id and its fingerprint key, made at first start and kept in the state directory."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from rotatord import references
from rotatord.clock import Ids, random_bytes
from rotatord.errors import JournalTooNew, Refused
from rotatord.ports import Journal
from rotatord.secret import Fingerprinter

INSTALLATION = "installation"
KEY_FILE = "fingerprint.key"
ID_FILE = "installation"
KEY_FACT = "fingerprint_key"
KEY_BYTES = 32


def prepare(state_dir: Path) -> None:
    """Make the state directory, for this user alone. Raises OSError, or Refused where everybody may write to it: whoever
    exchanges the key or the journal decides what is revoked."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if state_dir.stat().st_mode & stat.S_IWOTH:
        raise Refused(f"{state_dir}: everybody may write to this state directory; chmod 700 it, or name another")


def given_key(reference: Mapping[str, str], base_dir: str) -> Fingerprinter:
    """The key that the configuration leads to. Raises OutsideError for a reference that leads nowhere, Refused for no key."""
    if "file" in reference:
        content = _content(Path(base_dir, reference["file"]).expanduser())
    else:
        content = references.resolve(dict(reference), base_dir=base_dir).encode()
    try:
        return Fingerprinter(content)
    except ValueError as error:
        raise Refused(f"fingerprint_key: {error}") from None


def _content(path: Path) -> bytes:
    """Of a file made by a first start exactly that; text may end with its line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(f"fingerprint_key: {path}: {error.strerror}") from None
    return content if len(content) == KEY_BYTES else content.removesuffix(b"\n").removesuffix(b"\r")


def has_key(state_dir: Path) -> bool:
    """Whether a first start has made one here."""
    return (state_dir / KEY_FILE).exists()


def fingerprinter(state_dir: Path) -> Fingerprinter:
    """The key, made where there is none. Losing it costs comparisons with what was recorded, never a credential.
    Raises OSError, or Refused for a file that holds no key."""
    path = state_dir / KEY_FILE
    if not path.exists():
        _write_new(path, random_bytes(KEY_BYTES))
    try:
        return Fingerprinter(path.read_bytes())
    except ValueError as error:
        raise Refused(f"{path}: {error}; restore it from the backup, or move it away and a new one is made") from None


def rekeyed(journal: Journal, fingerprinter: Fingerprinter) -> bool:
    """Whether the key is not the one that this journal's first fingerprints were made with. Versions from before are then
    known by their markers until each has been replaced; nothing is lost but the comparison of their values."""
    known = journal.fact(KEY_FACT)
    if known is None:
        journal.set_fact(KEY_FACT, fingerprinter.id)
        return False
    return known != fingerprinter.id


def installation(declared: str | None, state_dir: Path, journal: Journal, ids: Ids) -> str:
    """This deployment's id: declared, or made once; a state directory that was restored without it takes the journal's.
    Raises JournalTooNew when the journal belongs to another."""
    path = state_dir / ID_FILE
    known = journal.fact(INSTALLATION)
    if declared is None and not path.exists():
        _write_new(path, (known or ids.new("inst")).encode())
    name = declared or path.read_text().strip()
    if not name:
        raise JournalTooNew(f"{path} is empty: write this installation's id into it" + (f", {known}" if known else ""))
    if known is None:
        journal.set_fact(INSTALLATION, name)
    elif known != name:
        raise JournalTooNew(
            f"this journal belongs to the installation {known!r}, not to {name!r}: its labels would not be recognised; "
            f"set `installation: {known}` or use another state_dir"
        )
    return name


def _write_new(path: Path, content: bytes) -> None:
    """Durable, private, whole or not at all, and never over an existing file: who comes second reads the first one's."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, content)
        os.fsync(handle)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.close(handle)
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
