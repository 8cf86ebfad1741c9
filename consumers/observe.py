"""Consumers that read anew by themselves (a file watch, a poll, a sidecar): never restarted, only watched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from rotatord.attest import Attest, Attestor
from rotatord.model import JsonMap
from rotatord.ports import Instance, Published, Surroundings
from rotatord.rights import no_rights


class Settings(BaseModel):
    """``attest`` where it can be asked; else ``refresh_within``, which the engine waits out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attest: Attest | None = None
    refresh_within: Any = None  # its value is the engine's; here only whether there is one


class ObserveConsumer:
    """One consumer that nobody tells anything."""

    rights = staticmethod(no_rights)

    def __init__(self, settings: Settings) -> None:
        self._attestor = Attestor(settings.attest) if settings.attest else None
        self.possession = self._attestor is not None and self._attestor.possession
        self.timeout = self._attestor.timeout if self._attestor else 1.0
        self.evidence = "attestation" if self._attestor else "polling" if settings.refresh_within else "none"

    def reload(self, published: Published) -> None:
        """Nothing: it finds the new value by itself."""

    def instances(self, published: Published) -> Sequence[Instance]:
        """What the instances attest; without attestation one instance that cannot tell."""
        return self._attestor.instances(published) if self._attestor else [Instance(id="observed")]


def create(settings: JsonMap, surroundings: Surroundings) -> ObserveConsumer:  # noqa: ARG001 - the factory's signature
    """The factory behind the entry point."""
    return ObserveConsumer(Settings.model_validate(settings))
