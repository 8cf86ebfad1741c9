"""The least rights that a configuration needs: told by its plugins, one credential after the other, and merged.

Keeps what is to be granted and nothing of the credentials, so that a hundred thousand of them cost their distinct targets.
Asks plugins for values only; nothing outside is touched. The forms in which it is printed: :mod:`rotatord.permission_forms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from rotatord import references
from rotatord.errors import OutsideError
from rotatord.model import ConsumerSpec, Destination, JsonMap, Spec, digest_of
from rotatord.ports import Plugins, Sessions
from rotatord.registry import Configured
from rotatord.rights import (
    AwsRight,
    BackendRights,
    CloudflareRight,
    ConsumerRights,
    IssuerRights,
    KubernetesRight,
    RetireRights,
    Right,
    SessionRights,
    VaultRight,
)

SYSTEMS = ("kubernetes", "vault", "aws", "cloudflare")
# Settings that say where a plugin acts and as whom: what differs in them is granted apart.
_TELLS_APART = {
    "kubernetes": ("kubeconfig", "context"),
    "vault": ("address", "namespace", "auth"),
    "aws": ("profile", "access_key", "assume_role"),
    "cloudflare": ("account_id", "token"),
}
ANY = ""  # the target of a right that cannot be limited to names

Place = tuple[object, ...]  # what targets are counted in: (namespace, group, resource) · () · conditions


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity of rotatord at one system. ``shown`` holds no secret: references at most."""

    system: str
    digest: str
    shown: tuple[tuple[str, str], ...] = field(compare=False, default=())


@dataclass(frozen=True, slots=True)
class Rule:
    """Targets on which the same is allowed, for the same reasons."""

    place: Place
    targets: tuple[str, ...]
    verbs: tuple[str, ...]
    why: tuple[str, ...]


Held = tuple[tuple[str, ...], tuple[str, ...]]  # verbs, reasons


@dataclass(slots=True)
class Grants:
    """What one identity is to be allowed, each verb on each target once. ``users``: the plugins that act as it."""

    users: dict[str, None] = field(default_factory=dict)
    _held: dict[Place, dict[str, Held]] = field(default_factory=dict)
    _kinds: dict[Held, Held] = field(default_factory=dict)  # there are few of them, and very many targets

    def add(self, right: Right) -> None:
        """Merge one right into what is held already."""
        place, targets, verbs = _taken_apart(right)
        held = self._held.setdefault(place, {})
        for target in targets:
            had_verbs, had_why = held.get(target, ((), ()))
            why = (right.why,) if right.why else ()
            joined = tuple(dict.fromkeys((*had_verbs, *verbs))), tuple(dict.fromkeys((*had_why, *why)))
            held[target] = self._kinds.setdefault(joined, joined)

    def rules(self) -> Iterator[Rule]:
        """In the order in which they were told first; what is allowed on everything is not said again by name."""
        for place, held in self._held.items():
            everywhere = set(held.get(ANY, ((), ()))[0])
            together: dict[Held, list[str]] = {}
            for target, (verbs, why) in held.items():
                left = verbs if target == ANY else tuple(verb for verb in verbs if verb not in everywhere)
                if left:
                    together.setdefault((left, why), []).append(target)
            for (verbs, why), targets in together.items():
                yield Rule(place, tuple(sorted(set(targets) - {ANY})), verbs, why)


@dataclass(slots=True)
class Needs:
    """Everything found so far. ``silent``: who says nothing about its rights, with what is known of why."""

    retire: bool = False  # also what only ``retire`` needs
    grants: dict[Identity, Grants] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    def visit(self, spec: Spec, plugins: Plugins, configured: Configured) -> None:
        """Add what one credential needs: its issuer, destinations, consumers, and the copies and health checks of those."""
        asking = _Asking(self, plugins, configured)
        asking.issuer(spec)
        for number, destination in enumerate(spec.destinations):
            asking.destination(destination, home=number == 0)
        for consumer in spec.consumers:
            asking.consumer(consumer)

    def of_itself(self, settings: object, plugins: Plugins, configured: Configured) -> None:
        """Add what the daemon needs to read its own secrets, such as those of its API's tokens."""
        _Asking(self, plugins, configured).references(settings)

    def told(self, name: str, settings: JsonMap, ask: Callable[[], Sequence[Right] | None]) -> None:
        """Merge what one plugin says, or note that it says nothing."""
        try:
            rights = ask()
        except OutsideError as error:
            self.silent.setdefault(name, str(error))
            return
        if rights is None:
            self.silent.setdefault(name, "")
            return
        grants: dict[str, Grants] = {}  # by system: one plugin acts as one identity at each
        for right in rights:
            system = system_of(right)
            if system not in grants:
                grants[system] = self.grants.setdefault(_identity(system, settings), Grants())
                grants[system].users.setdefault(name)
                self._entered(name, system, settings)
            grants[system].add(right)

    def _entered(self, name: str, system: str, settings: JsonMap) -> None:
        """Who acts in a role of AWS has to be let into it, as whoever it is before."""
        role = settings.get("assume_role")
        if system != "aws" or not isinstance(role, Mapping):
            return
        outside = _identity(system, {key: value for key, value in settings.items() if key != "assume_role"})
        grants = self.grants.setdefault(outside, Grants())
        grants.users.setdefault(name)
        grants.add(AwsRight(("sts:AssumeRole",), (str(role["arn"]),), why="to be that role, whose trust policy must allow it"))


@dataclass(frozen=True, slots=True)
class _Asking:
    """The plugins of one configuration, asked for one credential."""

    needs: Needs
    plugins: Plugins
    configured: Configured

    def issuer(self, spec: Spec) -> None:
        declared = self.configured.issuers[spec.issuer]
        name = f"issuer {spec.issuer} ({declared.type})"
        issuer = self.plugins.issuer(spec.issuer)

        def asked() -> Sequence[Right] | None:
            return issuer.rights(spec.scope, spec.parameters) if isinstance(issuer, IssuerRights) else None

        def asked_for_sessions() -> Sequence[Right] | None:
            return issuer.session_rights(spec.scope, spec.parameters) if isinstance(issuer, SessionRights) else None

        self.needs.told(name, declared.settings, asked)
        if spec.policy.end_sessions and isinstance(issuer, Sessions):
            self.needs.told(f"{name} ending sessions", declared.settings, asked_for_sessions)
        self.references(declared.settings)

    def destination(self, destination: Destination, *, home: bool) -> None:
        def asked(backend: BackendRights) -> Sequence[Right]:
            found = [*backend.rights(destination, home=home)]
            if self.needs.retire and isinstance(backend, RetireRights):
                found += backend.retire_rights(destination)
            return found

        self.backend(destination.backend, asked)
        self.references(self.configured.backends[destination.backend].settings)

    def copy(self, place: Destination) -> None:
        self.backend(place.backend, lambda backend: backend.read_rights(place))

    def backend(self, name: str, ask: Callable[[BackendRights], Sequence[Right]]) -> None:
        declared = self.configured.backends[name]
        backend = self.plugins.backend(name)
        self.needs.told(
            f"backend {name} ({declared.type})",
            declared.settings,
            lambda: ask(backend) if isinstance(backend, BackendRights) else None,
        )

    def consumer(self, spec: ConsumerSpec) -> None:
        for copy in spec.copies:
            self.copy(copy)
        plugin = self.plugins.consumer(spec)
        self.needs.told(f"consumers of type {spec.type}", spec.settings, lambda: _rights_of(plugin))
        self.references(spec.settings)
        checks = self.plugins.health(spec)[-len(spec.health) :] if spec.health else ()  # without itself, asked already
        for declared, (kind, health) in zip(spec.health, checks, strict=True):
            self.needs.told(f"health checks of type {kind}", declared.settings, partial(_rights_of, health))
            self.references(declared.settings)

    def references(self, settings: object) -> None:
        """Secrets of the configuration itself may lie in a Vault of ours, where they have to be read."""
        for reference in _vault_references(settings):
            able = [name for name, declared in self.configured.backends.items() if declared.type == "vault"]
            name = reference.get("backend") or (able[0] if len(able) == 1 else "")
            if name in self.configured.backends:
                self.copy(Destination(backend=name, address={"path": reference["vault"]}, keys={}))


_SYSTEM_OF: dict[type, str] = {
    KubernetesRight: "kubernetes",
    VaultRight: "vault",
    AwsRight: "aws",
    CloudflareRight: "cloudflare",
}


def system_of(right: Right) -> str:
    """The name of the system that a right is one of."""
    return next(name for kind, name in _SYSTEM_OF.items() if isinstance(right, kind))


def _rights_of(plugin: object) -> Sequence[Right] | None:
    return plugin.rights() if isinstance(plugin, ConsumerRights) else None


def _taken_apart(right: Right) -> tuple[Place, tuple[str, ...], tuple[str, ...]]:
    """What its targets are counted in, the targets, and what is allowed on each."""
    if isinstance(right, KubernetesRight):
        return (right.namespace, right.group, right.resource), right.names or (ANY,), right.verbs
    if isinstance(right, AwsRight):
        return right.conditions, right.resources, right.actions
    if isinstance(right, CloudflareRight):
        return (), (right.resource,), (right.permission,)
    return (), (right.path,), right.capabilities


def _identity(system: str, settings: Mapping[str, object]) -> Identity:
    told = {key: settings[key] for key in _TELLS_APART[system] if settings.get(key) is not None}
    shown = tuple((key, value if isinstance(value, str) else _shown(value)) for key, value in told.items())
    return Identity(system, digest_of(told), shown)


def _shown(value: object) -> str:
    """Of a role its name, of anything else no more than what it consists of."""
    if not isinstance(value, Mapping):
        return str(value)
    return str(value["arn"]) if "arn" in value else ", ".join(sorted(map(str, value)))


def _vault_references(settings: object) -> Iterator[JsonMap]:
    if references.is_reference(settings) and isinstance(settings, Mapping) and isinstance(settings.get("vault"), str):
        yield dict(settings)
    elif isinstance(settings, Mapping):
        for value in settings.values():
            yield from _vault_references(value)
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            yield from _vault_references(value)
