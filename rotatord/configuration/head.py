"""Everything of the configuration but the credentials: files, sections, issuers, backends, policies."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

import rotatord
from rotatord.configuration import literals
from rotatord.configuration.document import Document, Map, Merged, plain
from rotatord.configuration.findings import Findings
from rotatord.configuration.policies import impossible, policy_from
from rotatord.configuration.schema import CREDENTIALS, HeadSection, PluginSection, PolicySection
from rotatord.configuration.values import Name
from rotatord.mistakes import nearest
from rotatord.model import Policy
from rotatord.registry import PluginSettings, PluginTrouble, Trouble

Model = TypeVar("Model", bound=BaseModel)
_NAMED_SECTIONS = ("issuers", "backends", "policies")
_NAME: TypeAdapter[str] = TypeAdapter(Name)
ENDINGS = (".yaml", ".yml")


@dataclass(slots=True)
class Head:
    """The sections, as far as they could be read. ``raw``: their values with lines; gone when loading ends."""

    raw: Merged
    section: HeadSection = field(default_factory=HeadSection)
    issuers: dict[str, PluginSettings] = field(default_factory=dict)
    backends: dict[str, PluginSettings] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    broken: set[tuple[str, str]] = field(default_factory=set)  # named things that exist but cannot be used

    def names(self, group: str) -> set[str]:
        """All names that a group declares, the broken ones included."""
        declared: dict[str, Any] = getattr(self, group)
        return set(declared) | {name for kind, name in self.broken if kind == group}


def files_at(path: Path) -> list[Path]:
    """The file, or the YAML files of the directory, in order."""
    if not path.is_dir():
        return [path]
    return sorted(entry for entry in path.iterdir() if entry.suffix in ENDINGS and not entry.name.startswith("."))


def documents(path: Path, findings: Findings) -> tuple[list[Document], str]:
    """The YAML files at a path and the digest of their contents."""
    files = files_at(path)
    if not files:
        findings.add(f"{path}:1", f"holds no file that ends in {' or '.join(ENDINGS)}")
    found, digest = [], hashlib.sha256(rotatord.__version__.encode())  # another version may read the same text otherwise
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            findings.add(f"{file}:1", "is not UTF-8 text")
        except OSError as error:
            findings.add(f"{file}:1", f"cannot be read: {error.strerror}")
        else:
            found.append(Document(str(file), text))
            digest.update(f"{file.name}\0{text}\0".encode())
    return found, digest.hexdigest()


def read_head(files: list[Document], place: str, findings: Findings) -> Head:
    """All sections but the credentials."""
    raw = Merged(place, 1)
    for document in files:
        for key, line, value in document.sections(without=CREDENTIALS):
            _merge(raw, key, value, (document.file, line), findings)
    head = Head(raw=raw)
    others = {key: value for key, value in raw.items() if key not in _NAMED_SECTIONS and value is not None}
    try:
        head.section = HeadSection.model_validate(others)
    except ValidationError as error:
        findings.invalid(raw, HeadSection, error, f"{place}:1")
    for where in literals.find(raw):
        findings.troubles(raw, (), [Trouble(where, literals.WHAT)], f"{place}:1")
    for group in ("issuers", "backends"):
        for name, section in _named(head, group, PluginSection, findings):
            source = f"{raw[group].files[name]}:{raw[group].lines[name]}"
            getattr(head, group)[name] = PluginSettings(type=section.type, settings=plain(section.model_extra), source=source)
    return head


def read_policies(head: Head, now: datetime, findings: Findings) -> None:
    """The policies, and those that can never be met."""
    for name, section in _named(head, "policies", PolicySection, findings):
        head.policies[name] = policy_from(section, name)
        findings.troubles(head.raw, ("policies", name), impossible(head.policies[name], now), head.raw.file)
    if "default" not in head.names("policies"):
        head.policies["default"] = Policy()


def check_plugins(head: Head, build: Callable[[str, str], object], findings: Findings) -> None:
    """Build every issuer and backend once, which does no I/O, to see whether its settings are fine."""
    for group in ("issuers", "backends"):
        for name in list(getattr(head, group)):
            try:
                build(group, name)
            except PluginTrouble as trouble:
                findings.troubles(head.raw, (group, name), trouble.troubles, head.raw.file)
                head.broken.add((group, name))
    for name in head.section.limits.issuers:
        if name not in head.names("issuers"):
            place = f"{head.raw.files['limits']}:{head.raw['limits']['issuers'].lines[name]}"
            findings.add(place, f"there is no issuer {name!r}", nearest(name, head.names("issuers")))


def _merge(raw: Merged, key: str, value: Any, place: tuple[str, int], findings: Findings) -> None:
    """Add a section of one file; issuers, backends and policies may be spread over several."""
    file, line = place
    if key not in _NAMED_SECTIONS or not isinstance(value, Map):
        if key in raw:
            findings.add(f"{file}:{line}", f"{key!r} stands here a second time (first at {raw.files[key]}:{raw.lines[key]})")
        else:
            raw.put(key, value, file, line)
        return
    if not isinstance(raw.get(key), Merged):
        raw.put(key, Merged(file, line), file, line)
    together: Merged = raw[key]
    for name, item in value.items():
        if name in together:
            first = f"{together.files[name]}:{together.lines[name]}"
            findings.add(f"{file}:{value.lines[name]}", f"{name!r} is declared a second time (first at {first})")
        else:
            together.put(name, item, file, value.lines[name])


def _named(head: Head, group: str, model: type[Model], findings: Findings) -> Iterator[tuple[str, Model]]:
    """The entries of a group that have the right shape; the others are noted as broken."""
    value = head.raw.get(group)
    if value is None:
        return
    if not isinstance(value, Merged):
        findings.add(f"{head.raw.files[group]}:{head.raw.lines[group]}", f"{group!r} should be a mapping of names")
        return
    for name, item in value.items():
        place = f"{value.files[name]}:{value.lines[name]}"
        try:
            _NAME.validate_python(name)
        except ValidationError:
            findings.add(place, f"{name!r} should be a name: letters, digits, dots, dashes and underscores")
        try:
            yield name, model.model_validate(item if item is not None else {})
        except ValidationError as error:
            findings.invalid(item, model, error, place)
            head.broken.add((group, name))
