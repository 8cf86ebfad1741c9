"""Credentials: from their sections to :class:`rotatord.model.Spec`, each with its policy resolved."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from rotatord.configuration.document import Map, plain
from rotatord.configuration.findings import Findings, Where
from rotatord.configuration.head import Head
from rotatord.configuration.policies import impossible, policy_from
from rotatord.configuration.schema import ConsumerSection, CredentialSection, PolicySection
from rotatord.mistakes import nearest
from rotatord.model import ConsumerSpec, Destination, HealthSpec, Policy, Spec
from rotatord.registry import Trouble


@dataclass(slots=True)
class Builder:
    """Builds specs one at a time. What credentials share (policies, names of things) is shared in memory too."""

    head: Head
    now: datetime
    findings: Findings
    sources: dict[str, str] = field(default_factory=dict)
    renames: dict[str, tuple[str, str]] = field(default_factory=dict)  # new name: old name, place

    def build(self, value: Any, place: str) -> Spec | None:
        """The spec that one entry declares, or None when its mistakes leave none."""
        try:
            section = CredentialSection.model_validate(value)
        except ValidationError as error:
            self.findings.invalid(value, CredentialSection, error, place)
            if isinstance(value, Map) and isinstance(value.get("name"), str):
                self.sources.setdefault(value["name"], place)
            return None
        first = self.sources.setdefault(section.name, place)
        if first != place:
            self.findings.add(place, f"credential {section.name!r} is declared a second time (first at {first})")
            return None
        if section.renamed_from is not None:
            self.renames[section.name] = (section.renamed_from, place)
        policy = self._policy(section, value, place)
        troubles: list[Trouble] = []
        consumers = tuple(self._consumer(item, ("consumers", index), troubles) for index, item in enumerate(section.consumers))
        self.findings.troubles(value, (), troubles, place)
        return Spec(
            name=section.name,
            issuer=sys.intern(section.issuer),
            owner=sys.intern(section.owner),
            purpose=section.purpose,
            labels=section.labels,
            policy=policy,
            scope=plain(section.scope),
            parameters=plain(section.parameters),
            destinations=tuple(
                Destination(
                    backend=sys.intern(item.backend),
                    address=plain(item.model_extra),
                    keys=item.keys,
                    version_key=item.version_key,
                    wave=item.wave,
                    mounted_at=item.mounted_at or "",
                )
                for item in section.destinations
            ),
            consumers=consumers,
            source=place,
        )

    def finished(self) -> dict[str, str]:
        """Checks that need all credentials; the renames, new name to old."""
        taken: dict[str, str] = {}
        for new, (old, place) in self.renames.items():
            if old in self.sources:
                self.findings.add(place, f"renamed_from names {old!r}, which is still declared at {self.sources[old]}")
            if old in taken:
                self.findings.add(place, f"renamed_from names {old!r}, whose history goes to {taken[old]!r} already")
            taken.setdefault(old, new)
        return {new: old for new, (old, _) in self.renames.items()}

    def _policy(self, section: CredentialSection, value: Any, place: str) -> Policy:
        if isinstance(section.policy, dict):
            try:
                policy = policy_from(PolicySection.model_validate(section.policy), f"policy of {section.name}")
            except ValidationError as error:
                self.findings.invalid(section.policy, PolicySection, error, place)
                return Policy()
            self.findings.troubles(value, ("policy",), impossible(policy, self.now), place)
            return policy
        known = self.head.policies.get(section.policy) if isinstance(section.policy, str) else None
        if known is not None:
            return known
        if not isinstance(section.policy, str):
            self.findings.troubles(value, (), [Trouble(("policy",), "'policy' should be a name or a mapping")], place)
        elif section.policy not in self.head.names("policies"):
            suggestion = nearest(section.policy, self.head.names("policies"))
            self.findings.troubles(
                value, (), [Trouble(("policy",), f"there is no policy {section.policy!r}", suggestion)], place
            )
        return Policy()

    def _consumer(self, section: ConsumerSection, where: Where, troubles: list[Trouble]) -> ConsumerSpec:
        health = tuple(_health(item, (*where, "health", index), troubles) for index, item in enumerate(section.health))
        return ConsumerSpec(
            type=sys.intern(section.type),
            name=section.name if section.name is not None else section.type,
            settings=plain(section.model_extra),
            health=tuple(check for check in health if check is not None),
            refresh_within=section.refresh_within,
            wave=section.wave,
            copies=tuple(
                Destination(backend=sys.intern(copy.backend), address=plain(copy.model_extra), keys=copy.keys)
                for copy in section.copies
            ),
        )


def _health(value: Any, where: Where, troubles: list[Trouble]) -> HealthSpec | None:
    """``http``, ``{http: {…}}`` or ``{type: http, …}``."""
    if isinstance(value, str):
        return HealthSpec(type=value)
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        return HealthSpec(type=value["type"], settings={key: plain(item) for key, item in value.items() if key != "type"})
    if isinstance(value, dict) and len(value) == 1:
        name, settings = next(iter(value.items()))
        if isinstance(settings, dict) or settings is None:
            return HealthSpec(type=name, settings=plain(settings or {}))
    troubles.append(Trouble(where, "a health check should be written as {type: settings}, such as {http: {url: …}}"))
    return None


def located(builder: Builder, entries: Iterator[tuple[int, Any]], file: str) -> Iterator[tuple[Spec, Any, str]]:
    """The specs of one file's entries, each with its raw value and place."""
    for line, value in entries:
        place = f"{file}:{line}"
        spec = builder.build(value, place)
        if spec is not None:
            yield spec, value, place
