"""Plugins from dictionaries, in place of :mod:`rotatord.registry`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rotatord.model import ConsumerSpec
from rotatord.ports import Backend, Consumer, Health, Issuer


@dataclass(slots=True)
class FakePlugins:
    """:class:`rotatord.ports.Plugins` by name; consumers and their checks go by the consumer's name. KeyError if unknown."""

    issuers: dict[str, Issuer] = field(default_factory=dict)
    backends: dict[str, Backend] = field(default_factory=dict)
    consumers: dict[str, Consumer] = field(default_factory=dict)
    checks: dict[str, list[tuple[str, Health]]] = field(default_factory=dict)

    def issuer(self, name: str) -> Issuer:
        return self.issuers[name]

    def backend(self, name: str) -> Backend:
        return self.backends[name]

    def consumer(self, spec: ConsumerSpec) -> Consumer:
        return self.consumers[spec.name]

    def health(self, consumer: ConsumerSpec) -> Sequence[tuple[str, Health]]:
        return self.checks.get(consumer.name, [])
