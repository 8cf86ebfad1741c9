"""The forms in which a flat document of names and values lies in a file: written by the file backend, read by clients.

Pure. ``render`` and ``parse`` are inverse for every document that ``render`` accepts. Only YAML needs a library,
imported on first use, so that a reader of the other forms needs nothing but the standard library.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping

FORMATS = ("dotenv", "json", "yaml", "raw", "template")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=^~-]+")
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}")
_DOTENV_LINE = re.compile(
    r"""[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*
        (?:'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>[^\r\n'"][^\r\n]*|))
        [ \t]*(?:\#[^\n]*)?(?:\r?\n|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_DOTENV_BLANK = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")


def format_of(path: str) -> str | None:
    """The form that a file's name suggests."""
    name = path.rpartition("/")[2]
    if name == ".env" or name.endswith(".env"):
        return "dotenv"
    return {"json": "json", "yaml": "yaml", "yml": "yaml"}.get(name.rpartition(".")[2])


def problems_of(form: str, keys: Iterable[str]) -> list[str]:
    """What keeps a document with these keys from being written in this form, as sentences."""
    names = list(keys)
    if form == "dotenv":
        return [
            f"key {name!r} cannot be the name of an environment variable" for name in names if not _ENV_NAME.fullmatch(name)
        ]
    if form == "raw" and len(names) != 1:
        return [f"a raw file holds exactly one value, but there are {len(names)} keys"]
    return []


def render(form: str, document: Mapping[str, str], template: str = "") -> bytes:
    """The bytes of the file. Raises ValueError (which names keys, never values) where the form cannot hold it."""
    wrong = problems_of(form, document)
    wrong += [f"the value of {name!r} contains a NUL" for name, value in document.items() if "\0" in value and form != "raw"]
    if wrong:
        raise ValueError("; ".join(wrong))
    if form == "raw":
        return next(iter(document.values())).encode()
    if form == "json":
        return (json.dumps(dict(document), indent=2, ensure_ascii=False) + "\n").encode()
    if form == "dotenv":
        return "".join(f"{name}={_quoted(value)}\n" for name, value in document.items()).encode()
    if form == "yaml":
        return _yaml(document)
    if form == "template":
        return fill(template, document).encode()
    raise ValueError(f"unknown format {form!r}")


def parse(form: str, content: bytes) -> dict[str, str] | None:
    """The document in a file, or None where it is not one of this form: only text values, no nesting.

    A raw file is a document with the one key ``""``; a filled-in template cannot be read back.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    if form == "raw":
        return {"": text}
    if form == "dotenv":
        return _parse_dotenv(text)
    if form == "json":
        return _flat(_parse_json(text))
    if form == "yaml":
        return _flat(_parse_yaml(text))
    return None


def placeholders(template: str) -> frozenset[str]:
    """The keys that a template asks for with ``{{ key }}``."""
    return frozenset(_PLACEHOLDER.findall(template))


def fill(template: str, document: Mapping[str, str]) -> str:
    """The template with every ``{{ key }}`` replaced, verbatim. Raises ValueError for a key that is not there."""
    unknown = sorted(placeholders(template) - document.keys())
    if unknown:
        raise ValueError(f"the template asks for {', '.join(unknown)}, which the document does not have")
    return _PLACEHOLDER.sub(lambda place: document[place[1]], template)


def _quoted(value: str) -> str:
    """As shells, systemd and the dotenv libraries read alike: bare, in single quotes, or in double quotes with escapes."""
    if _BARE.fullmatch(value):
        return value
    if not set(value) & set("'\\\r\n"):
        return f"'{value}'"
    return '"' + re.sub(r'([\\"$`])', r"\\\1", value) + '"'


def _parse_dotenv(text: str) -> dict[str, str] | None:
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        if blank := _DOTENV_BLANK.match(text, position):
            position = blank.end()
            continue
        line = _DOTENV_LINE.match(text, position)
        if line is None:
            return None
        if line["single"] is not None:
            value = line["single"]
        elif line["double"] is not None:
            value = re.sub(r'\\([\\"$`])', r"\1", line["double"])
        else:
            value = re.sub(r"[ \t]+#.*", "", line["bare"]).rstrip(" \t")
        found[line["name"]] = value
        position = line.end()
    return found


def _parse_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _yaml(document: Mapping[str, str]) -> bytes:
    from ruamel.yaml import YAML  # noqa: PLC0415 - readers of the other forms do not need it

    writer = YAML(typ="safe", pure=True)
    writer.default_style = '"'  # type: ignore[assignment]
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = 1 << 20
    stream = io.BytesIO()
    writer.dump(dict(document), stream)
    return stream.getvalue()


def _parse_yaml(text: str) -> object:
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, RecursionError):
        return None


def _flat(value: object) -> dict[str, str] | None:
    if not isinstance(value, dict) or not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        return None
    return dict(value)
