"""The plugins of one configuration: found through entry points, built on first use, kept, and handed on at a reload.

The core learns of its own plugins in no other way than of a third party's. Building a plugin does no I/O.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import entry_points
from typing import Protocol, cast

from pydantic import BaseModel, ValidationError

from rotatord import references
from rotatord.durations import spell
from rotatord.errors import Invalid, Retryable
from rotatord.mistakes import known_keys, nearest, words_for
from rotatord.model import ConsumerSpec, HealthSpec, JsonMap, Spec, digest_of
from rotatord.own import OURSELVES, Ownership
from rotatord.ports import Backend, Consumer, Factory, Health, Instance, Issuer, Published, Surroundings

ISSUERS, BACKENDS, CONSUMERS, HEALTH = "rotatord.issuers", "rotatord.backends", "rotatord.consumers", "rotatord.health"
KEPT_CHECKS = 2048  # consumers and health checks kept; beyond it the one used longest ago is built anew at its next use
_KIND = {ISSUERS: "issuer", BACKENDS: "backend", CONSUMERS: "consumer", HEALTH: "health check"}
_EXTRA_OF = {"hvac": "vault", "boto3": "aws", "botocore": "aws", "kubernetes": "kubernetes"}

Find = Callable[[str], Mapping[str, Callable[[], Factory]]]


@cache
def installed(group: str) -> Mapping[str, Callable[[], Factory]]:
    """The plugins that are installed in a group, by type, each with what imports it."""
    return {point.name: point.load for point in entry_points(group=group)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSettings:
    """One issuer or backend as configured. ``settings`` hold references to secrets, never secrets."""

    type: str
    settings: JsonMap = field(default_factory=dict)
    source: str = ""  # file:line


class Configured(Protocol):
    """The part of a configuration that the registry needs."""

    @property
    def issuers(self) -> Mapping[str, PluginSettings]: ...
    @property
    def backends(self) -> Mapping[str, PluginSettings]: ...


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing wrong with a plugin's settings: where in them, what, and what was perhaps meant. Never a value."""

    where: tuple[str | int, ...]
    what: str
    suggestion: str | None = None


class PluginTrouble(Invalid):
    """A plugin that does not exist, cannot be imported, or refuses its settings."""

    def __init__(self, name: str, troubles: Sequence[Trouble]) -> None:
        places = ((".".join(str(part) for part in trouble.where), trouble.what) for trouble in troubles)
        super().__init__(f"{name}: " + "; ".join(f"{place}: {what}" if place else what for place, what in places))
        self.troubles = tuple(troubles)


class Nobody:
    """We ourselves as a consumer, where there is no daemon: while a configuration is checked."""

    evidence = "attestation"
    timeout = 1.0

    def reload(self, published: Published) -> None:
        raise Retryable(f"no daemon runs that could take up {published.credential}")

    def instances(self, published: Published) -> Sequence[Instance]:
        raise Retryable(f"no daemon runs that could take up {published.credential}")


class Registry:
    """Implements :class:`rotatord.ports.Plugins`. Thread-safe. All methods raise PluginTrouble (an Invalid)."""

    def __init__(
        self, configuration: Configured, surroundings: Surroundings, *, find: Find = installed, previous: Registry | None = None
    ) -> None:
        """``surroundings.secret`` resolves files and variables; ``vault`` references go to our own backends.

        ``previous``: instances whose settings are the same are taken over from it, and are no longer its to close.
        """
        self._issuers = dict(configuration.issuers)
        self._backends = dict(configuration.backends)
        self._find = find
        self._lock = threading.RLock()
        self._named: dict[tuple[str, str], tuple[str, object]] = {}  # digest of the settings, instance
        self._checks: OrderedDict[str, object] = OrderedDict()
        self._lent: set[int] = set()  # ids of instances that a successor closes
        self._resolver: _Resolver = _Resolver(surroundings.secret)
        if previous is not None:
            self._resolver = previous._resolver  # noqa: SLF001  a registry and its successor are one line
        self._surroundings = replace(surroundings, secret=self._resolver)
        self.ownership = Ownership(self._issuers, self._backends, surroundings.base_dir)
        self.ourselves: Consumer = previous.ourselves if previous is not None else Nobody()
        if previous is not None:
            self._take_over(previous)
        # Instances that were taken over resolve their secrets with the backends of the configuration in force.
        self._resolver.registry = self

    def issuer(self, name: str) -> Issuer:
        """The one instance of a configured issuer."""
        return cast(Issuer, self._configured(ISSUERS, name, self._issuers))

    def backend(self, name: str) -> Backend:
        """The one instance of a configured backend."""
        return cast(Backend, self._configured(BACKENDS, name, self._backends))

    def consumer(self, spec: ConsumerSpec) -> Consumer:
        """A consumer as declared; one instance per settings as long as it is in use. Of our own credentials: ourselves."""
        if spec.type == OURSELVES:
            return self.ourselves
        settings = dict(spec.settings)
        if spec.refresh_within is not None:
            settings["refresh_within"] = spell(spec.refresh_within)
        if self._takes_name(spec.type):
            settings["name"] = spec.name
        return cast(Consumer, self._check(CONSUMERS, spec.type, settings))

    def _takes_name(self, type_name: str) -> bool:
        """Whether the name of a consumer says what it looks at (a workload): its factory then wants to be told."""
        try:
            return bool(getattr(self._find(CONSUMERS)[type_name](), "takes_name", False))
        except (KeyError, ImportError):
            return False  # building it says so

    def health(self, consumer: ConsumerSpec) -> Sequence[tuple[str, Health]]:
        """Its health checks, each with its type; first itself, where it can tell its own health (a rollout)."""
        plugin = self.consumer(consumer)
        own = [(consumer.type, plugin)] if isinstance(plugin, Health) else []
        return own + [(spec.type, self.health_check(spec)) for spec in consumer.health]

    def health_check(self, spec: HealthSpec) -> Health:
        """One health check as declared."""
        return cast(Health, self._check(HEALTH, spec.type, spec.settings))

    @property
    def owners(self) -> Sequence[str]:
        """All issuers and backends, as ``issuers.NAME`` and ``backends.NAME``."""
        return [
            *(f"issuers.{name}" for name in sorted(self._issuers)),
            *(f"backends.{name}" for name in sorted(self._backends)),
        ]

    def own_of(self, spec: Spec) -> Sequence[str]:
        """What the configuration in force speaks to with what lies at these destinations, whatever was declared before."""
        try:
            return self.ownership.marked(spec, self).own_of
        except PluginTrouble:
            return spec.own_of  # what it needs is gone; nobody can tell

    def types(self, group: str) -> Sequence[str]:
        """The installed types of a group."""
        return sorted(self._find(group))

    def secret(self, reference: JsonMap | str) -> str:
        """Resolve a reference, ``vault`` ones through a configured backend that offers ``resolve(path, key)``."""
        return self._resolver(reference)

    def resolving_backend(self, name: str | None) -> str:
        """The backend that a ``vault`` reference means. Raises Invalid."""
        able = [known for known, declared in self._backends.items() if declared.type == "vault"]
        if name is None and len(able) != 1:
            raise Invalid(f"a vault reference needs to name its backend: {len(able)} of type vault are configured")
        return able[0] if name is None else name

    def close(self) -> None:
        """Close every instance that has something to close and was not taken over."""
        with self._lock:
            instances = [instance for _, instance in self._named.values()] + list(self._checks.values())
            self._named.clear()
            self._checks.clear()
        for instance in instances:
            close = getattr(instance, "close", None)
            if close is not None and id(instance) not in self._lent:
                close()

    def _configured(self, group: str, name: str, declared: Mapping[str, PluginSettings]) -> object:
        with self._lock:
            known = self._named.get((group, name))
            if known is not None:
                return known[1]
            if name not in declared:
                what = f"no {_KIND[group]} is configured by that name"
                raise PluginTrouble(f"{_KIND[group]} {name!r}", [Trouble((), what, nearest(name, declared))])
            wanted = declared[name]
            instance = self._build(group, wanted.type, wanted.settings)
            self._named[group, name] = (_digest(group, wanted.type, wanted.settings), instance)
            return instance

    def _check(self, group: str, type_name: str, settings: JsonMap) -> object:
        digest = _digest(group, type_name, settings)
        with self._lock:
            if digest in self._checks:
                self._checks.move_to_end(digest)
                return self._checks[digest]
            instance = self._build(group, type_name, settings)
            self._checks[digest] = instance
            if len(self._checks) > KEPT_CHECKS:
                # Not closed: another thread may be in a call of it. It is collected when that call ends.
                self._checks.popitem(last=False)
        return instance

    def _build(self, group: str, type_name: str, settings: JsonMap) -> object:
        name = f"{_KIND[group]} of type {type_name!r}"
        known = self._find(group)
        if type_name not in known:
            what = f"there is no {name} (installed: {', '.join(sorted(known)) or 'none'})"
            raise PluginTrouble(name, [Trouble(("type",), what, nearest(type_name, known))])
        create: Factory | None = None
        try:
            create = known[type_name]()
            return create(dict(settings), self._surroundings)
        except ImportError as error:
            extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
            remedy = f"pip install 'rotatord[{extra}]'" if extra else "install what it needs"
            trouble = Trouble(("type",), f"{name} needs the module {error.name or 'that it imports'}: {remedy}")
            raise PluginTrouble(name, [trouble]) from None
        except ValidationError as error:
            raise PluginTrouble(name, troubles_of(error, _model_of(create, error.title))) from None
        except ValueError as error:
            raise PluginTrouble(name, [Trouble((), str(error))]) from None

    def _take_over(self, previous: Registry) -> None:
        with previous._lock:
            for key, (digest, instance) in previous._named.items():
                wanted = (self._issuers if key[0] == ISSUERS else self._backends).get(key[1])
                if wanted is not None and _digest(key[0], wanted.type, wanted.settings) == digest:
                    self._named[key] = (digest, instance)
            self._checks.update(previous._checks)
            taken = [instance for _, instance in self._named.values()] + list(self._checks.values())
            previous._lent.update(id(instance) for instance in taken)


class _Resolver:
    """Resolves references for all plugins of a line of registries, with the newest one's backends."""

    def __init__(self, outside: Callable[[JsonMap | str], str]) -> None:
        self.registry: Registry | None = None
        self._outside = outside
        self._open = threading.local()

    def __call__(self, reference: JsonMap | str) -> str:
        if isinstance(reference, Mapping) and "vault" in reference:
            return references.resolve(reference, vault=self._from_vault)
        return self._outside(reference)

    def _from_vault(self, path: str, key: str, backend: str | None) -> str:
        assert self.registry is not None
        name = self.registry.resolving_backend(backend)
        open_now: set[str] = self._open.__dict__.setdefault("names", set())
        if name in open_now:
            raise Invalid(f"backend {name!r} needs a secret that lies in itself")
        read = getattr(self.registry.backend(name), "resolve", None)
        if read is None:
            raise Invalid(f"backend {name!r} cannot resolve references")
        open_now.add(name)
        try:
            return cast(str, read(path, key))
        finally:
            open_now.discard(name)


def troubles_of(error: ValidationError, model: type[BaseModel] | None = None) -> list[Trouble]:
    """What pydantic found, without the values it found it in. ``model``: for what was perhaps meant by an unknown key."""
    found = []
    for item in error.errors(include_url=False, include_input=False):
        where, suggestion = tuple(item["loc"]), None
        if item["type"] == "extra_forbidden" and model is not None:
            suggestion = nearest(str(where[-1]), known_keys(model, where[:-1]))
        found.append(Trouble(where, words_for(item), suggestion))
    return found


def _model_of(create: Factory | None, title: str) -> type[BaseModel] | None:
    """The settings model of a factory's module, by the name that pydantic's error bears."""
    model = getattr(sys.modules.get(getattr(create, "__module__", "")), title, None)
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _digest(group: str, type_name: str, settings: JsonMap) -> str:
    return digest_of([group, type_name, settings])
