"""Files that hold secrets: read without following links, replaced in one durable step, locked between processes.

Everything happens relative to an open directory, so that a directory exchanged in between changes nothing. Errors are
those of :mod:`rotatord.errors`; messages name paths and reasons, never contents.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import pwd
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rotatord.clock import Clock
from rotatord.errors import Denied, Invalid, NotFound, OutsideError, Retryable

MAX_BYTES = 1 << 20
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_INVALID = {errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EBUSY}


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds, and which file it is."""

    data: bytes = field(repr=False)
    inode: int
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Attributes:
    """Mode and ownership of a file to write; None leaves what the operating system gives."""

    mode: int = 0o600
    owner: int | None = None
    group: int | None = None


def trouble(error: OSError, path: str | Path) -> OutsideError:
    """The error of ours for one of the operating system's. Everything that may go away, a full disk too, is Retryable."""
    if error.errno in _DENIED:
        return Denied(f"{path}: {error.strerror}")
    if error.errno == errno.ENOENT:
        return NotFound(f"{path}: {error.strerror}")
    if error.errno == errno.EBUSY:
        return Invalid(f"{path}: is a mount of its own and cannot be replaced; mount its directory instead")
    if error.errno in _INVALID:
        return Invalid(f"{path}: {error.strerror}")
    return Retryable(f"{path}: {error.strerror}")


@contextlib.contextmanager
def directory(path: Path, *, below: Path | None = None) -> Iterator[int]:
    """An open directory. With ``below`` it is reached from there step by step and no step may be a link.

    Raises NotFound, Denied (also where anybody may exchange files in it) or Invalid.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    handle = -1
    try:
        handle = os.open(below or path, flags)
        for part in path.relative_to(below).parts if below else ():
            inner = os.open(part, flags | os.O_NOFOLLOW, dir_fd=handle)
            os.close(handle)
            handle = inner
        mode = os.fstat(handle).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise Denied(f"{path}: everybody may write to this directory; a secret is not put there")
        yield handle
    except OSError as error:
        raise trouble(error, path) from None
    finally:
        if handle >= 0:
            os.close(handle)


def private_directory(path: Path) -> None:
    """Make a directory that only we can look into, or raise Denied where somebody else can."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise trouble(error, path) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise Denied(f"{path}: must be a directory of our own with mode 0700")


def read(handle: int, name: str, path: Path) -> Content | None:
    """The content of a regular file in an open directory; None where there is none."""
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Invalid(f"{path}: is a symbolic link; name the file itself") from None
        raise trouble(error, path) from None
    with os.fdopen(opened, "rb") as file:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise Invalid(f"{path}: is not a regular file")
        try:
            data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise trouble(error, path) from None
    if len(data) > MAX_BYTES:
        raise Invalid(f"{path}: is larger than {MAX_BYTES} bytes")
    return Content(data, found.st_ino, found.st_mtime_ns)


def replace(
    handle: int, name: str, data: bytes, attributes: Attributes, path: Path, *, last_look: Callable[[], None] = lambda: None
) -> Content:
    """Put ``data`` at ``name`` in one step: readers see the old content or the new, whole. Durable when it returns.

    The caller holds the document's lock: the name of the replacement is fixed, so that a crash leaves at most one behind,
    which the next replacement removes. ``last_look`` is called right before that step; where it raises, nothing is changed.
    """
    fresh = f".{name}.rotatord"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=handle)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        opened = os.open(fresh, flags, 0o600, dir_fd=handle)
        try:
            with os.fdopen(opened, "wb") as file:
                if attributes.owner is not None or attributes.group is not None:
                    owner, group = attributes.owner, attributes.group
                    os.fchown(opened, -1 if owner is None else owner, -1 if group is None else group)
                os.fchmod(opened, attributes.mode)
                file.write(data)
                file.flush()
                os.fsync(opened)
                found = os.fstat(opened)
            _refuse_link(handle, name, path)
            last_look()
            os.replace(fresh, name, src_dir_fd=handle, dst_dir_fd=handle)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(fresh, dir_fd=handle)
            raise
        os.fsync(handle)
    except OSError as error:
        raise trouble(error, path) from None
    return Content(data, found.st_ino, found.st_mtime_ns)


def erase(handle: int, name: str, path: Path) -> None:
    """Remove a file and, as far as the file system allows, what it held. Idempotent, durable."""
    try:
        opened = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle)
    except FileNotFoundError:
        return
    except OSError as error:
        raise trouble(error, path) from None
    try:
        os.unlink(name, dir_fd=handle)
        shred(opened)
        os.fsync(handle)
    except OSError as error:
        raise trouble(error, path) from None
    finally:
        os.close(opened)


def shred(opened: int) -> None:
    """Overwrite an open file that no name leads to any more; one that has another name is left alone. Best effort."""
    found = os.fstat(opened)
    if found.st_nlink == 0 and stat.S_ISREG(found.st_mode):
        with contextlib.suppress(OSError):
            os.pwrite(opened, b"\0" * found.st_size, 0)
            os.fdatasync(opened)


@contextlib.contextmanager
def lock(path: Path, clock: Clock, *, seconds: float, shared: bool = False) -> Iterator[None]:
    """Hold the lock of this file among threads and processes. Raises Retryable when others hold it for ``seconds``."""
    never = threading.Event()
    end = clock.monotonic() + seconds
    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise trouble(error, path) from None
    try:
        while True:
            try:
                fcntl.flock(opened, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if clock.monotonic() >= end:
                    raise Retryable(f"{path}: somebody else is writing this document") from None
                clock.wait(never, 0.01)
        yield
    finally:
        os.close(opened)


def owner_id(name: str | int | None) -> int | None:
    """The number of a user. Raises Invalid for one that is not known here."""
    if name is None or isinstance(name, int):
        return name
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise Invalid(f"there is no user {name!r} on this machine") from None


def group_id(name: str | int | None) -> int | None:
    """The number of a group. Raises Invalid for one that is not known here."""
    if name is None or isinstance(name, int):
        return name
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise Invalid(f"there is no group {name!r} on this machine") from None


def _refuse_link(handle: int, name: str, path: Path) -> None:
    try:
        found = os.stat(name, dir_fd=handle, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise Invalid(f"{path}: is not a regular file; name the file itself")
