"""How plugins are made and reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from rotatord.model import ConsumerSpec, JsonMap
from rotatord.ports.backend import Backend
from rotatord.ports.consumer import Consumer, Health
from rotatord.ports.issuer import Issuer


class Plugins(Protocol):
    """What a configuration has made of its plugins; built by :mod:`rotatord.registry`, faked in tests."""

    def issuer(self, name: str) -> Issuer: ...
    def backend(self, name: str) -> Backend: ...
    def consumer(self, spec: ConsumerSpec) -> Consumer: ...
    def health(self, consumer: ConsumerSpec) -> Sequence[tuple[str, Health]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a plugin's factory is given beside its own settings: nothing that opens the daemon to it."""

    installation: str
    state_dir: str
    now: Callable[[], datetime]
    secret: Callable[[JsonMap | str], str]  # resolves {vault: …} | {env: NAME} | {file: path}; reads anew at each call
    base_dir: str = "."  # relative paths in the configuration count from here


Factory = Callable[[JsonMap, Surroundings], object]
