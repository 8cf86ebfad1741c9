"""The plugins of the configuration in force, for what outlives a reload."""

from __future__ import annotations

from collections.abc import Sequence

from rotatord.model import ConsumerSpec, Record
from rotatord.ports import Backend, Consumer, Health, Issuer
from rotatord.registry import Registry


class LivePlugins:
    """The plugins of the configuration in force; a reload swaps them between two calls."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def own_of(self, record: Record) -> Sequence[str]:
        return self.registry.own_of(record.spec)

    def issuer(self, name: str) -> Issuer:
        return self.registry.issuer(name)

    def backend(self, name: str) -> Backend:
        return self.registry.backend(name)

    def consumer(self, spec: ConsumerSpec) -> Consumer:
        return self.registry.consumer(spec)

    def health(self, consumer: ConsumerSpec) -> Sequence[tuple[str, Health]]:
        return self.registry.health(consumer)
