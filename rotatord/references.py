"""References to secrets in the configuration, and what they lead to: ``{file: path}``, ``{env: NAME}``, ``{vault: path}``.

A value is read anew at each use and kept nowhere. What a reference leads to is never part of a message. A file is the
value as a whole, or with ``key`` a document (JSON, YAML or dotenv by its name) that holds it.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from rotatord.errors import Denied, Invalid, NotFound, Retryable
from rotatord.formats import format_of, parse
from rotatord.model import JsonMap

KINDS = ("file", "env", "vault")
_EXTRA = {"file": frozenset({"key"}), "env": frozenset[str](), "vault": frozenset({"key", "backend"})}
_MOST_LINKS = 40  # as the kernel follows
_LARGEST = 1 << 20  # no secret that is read from a file is larger than a mebibyte

_log = logging.getLogger(__name__)

Vault = Callable[[str, str, str | None], str]  # path, key, backend name or None for the only one


def is_reference(value: Any) -> bool:
    """Whether a value has the form of a reference, good or bad."""
    return (
        isinstance(value, Mapping) and any(kind in value for kind in KINDS) and not (value.keys() - {*KINDS, "key", "backend"})
    )


def problems(reference: Any) -> list[str]:
    """What is wrong with the form of a reference, as sentences that never show it."""
    if not isinstance(reference, Mapping):
        return ["a secret is given by reference, never itself: {file: path}, {env: NAME} or {vault: path, key: name}"]
    kinds = [kind for kind in KINDS if kind in reference]
    if len(kinds) != 1:
        return ["a reference has exactly one of file, env and vault"]
    kind = kinds[0]
    found = [f"{kind} should be text" for value in [reference[kind]] if not isinstance(value, str) or not value]
    found.extend(f"{extra!r} has no meaning beside {kind}" for extra in sorted(reference.keys() - {kind} - _EXTRA[kind]))
    if kind == "vault" and not isinstance(reference.get("key"), str):
        found.append("a vault reference needs the key inside the document: {vault: path, key: name}")
    if kind == "file" and "key" in reference:
        if not isinstance(reference["key"], str):
            found.append("key should be text")
        elif format_of(str(reference["file"])) is None:
            found.append("key needs a file that ends in .json, .yaml or .env")
    return found


def resolve(reference: JsonMap | str, *, base_dir: str = ".", vault: Vault | None = None) -> str:
    """The secret's value. ``file:PATH`` and ``env:NAME`` are accepted as text too.

    Raises NotFound, Denied, Retryable, or Invalid for a malformed reference. Exactly one trailing newline of a file is dropped.
    """
    if isinstance(reference, str):
        kind, colon, rest = reference.partition(":")
        if not colon or kind not in {"file", "env"}:
            raise Invalid("a secret is given by reference, never itself: {file: path}, {env: NAME} or {vault: path, key: name}")
        reference = {kind: rest}
    wrong = problems(reference)
    if wrong:
        raise Invalid(wrong[0])
    if "env" in reference:
        return _from_environment(reference["env"])
    if "file" in reference:
        path = Path(base_dir, reference["file"]).expanduser()
        return _from_file(path) if "key" not in reference else _from_document(path, reference["key"])
    if vault is None:
        raise Invalid("a vault reference needs a configured backend of type vault")
    return vault(reference["vault"], reference["key"], reference.get("backend"))


def name_of(reference: JsonMap | str, base_dir: str, backend_of: Callable[[str | None], str]) -> str:
    """One name for what a reference leads to, however it is spelled: ``file:/path``, ``file:/path#KEY``, ``env:NAME``,
    ``vault:BACKEND:path#KEY``; "" for what is none. ``backend_of``: the backend that a ``vault`` reference means."""
    if isinstance(reference, str):
        kind, colon, rest = reference.partition(":")
        reference = {kind: rest} if colon and kind in {"file", "env"} else {}
    if problems(reference):
        return ""
    if "env" in reference:
        return f"env:{reference['env']}"
    key = f"#{reference['key']}" if "key" in reference else ""
    if "file" in reference:
        return f"file:{os.path.normpath(Path(base_dir, reference['file']).expanduser())}{key}"
    return f"vault:{backend_of(reference.get('backend'))}:{reference['vault'].strip('/')}{key}"


def places_of(name: str) -> Iterator[str]:
    """What :func:`name_of` gives, and for a file the same for each place that links lead to from there: whoever writes to one
    of them writes what the reference reads. A link is read, and nothing behind it."""
    kind, _, rest = name.partition(":")
    yield name
    if kind != "file":
        return
    path, mark, key = rest.partition("#")
    for _ in range(_MOST_LINKS):
        path = in_real_directory(path)
        yield f"file:{path}{mark}{key}"
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))  # noqa: PTH115,PTH118,PTH120  pathlib folds no ".."
        except OSError:
            return  # it is no link


def in_real_directory(path: str) -> str:
    """The same file, in a directory that is reached over no link."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))  # noqa: PTH118,PTH119,PTH120  likewise


def _from_environment(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise NotFound(f"the environment variable {name} is not set or empty")
    return value


def _from_document(path: Path, key: str) -> str:
    document = parse(format_of(str(path)) or "", _content(path))
    if document is None:
        raise Invalid(f"the secret's file {path} is not a flat document of texts")
    if not document.get(key):
        raise NotFound(f"the secret's file {path} has nothing under {key!r}")
    return document[key]


def _from_file(path: Path) -> str:
    try:
        value = _content(path).decode()
    except UnicodeDecodeError:
        raise Invalid(f"the secret's file {path} is not text") from None
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise NotFound(f"the secret's file {path} is empty")
    return value


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IROTH:
                _warn_once(str(path))
            content = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise NotFound(f"the secret's file {path} does not exist") from None
    except (PermissionError, IsADirectoryError) as error:
        raise Denied(f"the secret's file {path} cannot be read: {error.strerror}") from None
    except OSError as error:
        raise Retryable(f"the secret's file {path} cannot be read now: {error.strerror}") from None
    if len(content) > _LARGEST:
        raise Invalid(f"the secret's file {path} is too large")
    return content


@lru_cache(maxsize=1000)
def _warn_once(path: str) -> None:
    _log.warning("the secret's file %s can be read by everybody on this machine", path)
