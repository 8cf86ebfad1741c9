"""What a plugin must be allowed to do at an outside system, as values: from them policies are printed, and tests run with
exactly those.

A plugin says its rights by a method ``rights``: a backend ``rights(destination, *, home)`` and, for places that it only
reads, ``read_rights(destination)``; an issuer ``rights(scope, parameters)``; a consumer or a health check ``rights()``.
Pure: no I/O. Each names the least that its calls need, one by one, never a wildcard where a name is known. One that acts at
none of these systems says so: ``rights = staticmethod(no_rights)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from rotatord.model import Destination, JsonMap


@dataclass(frozen=True, slots=True, order=True)
class KubernetesRight:
    """A rule of a Role in ``namespace``; in a ClusterRole where that is empty. ``create`` and ``list`` cannot be limited to
    names: such verbs go into rights of their own, without names."""

    namespace: str
    group: str  # "" for core, "apps"
    resource: str  # "secrets", "pods", "serviceaccounts/token"
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, order=True)
class VaultRight:
    """A path of a Vault policy."""

    path: str
    capabilities: tuple[str, ...]
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, order=True)
class AwsRight:
    """A statement of an IAM policy."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[tuple[str, str, str], ...] = ()  # (operator, key, value)
    why: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, order=True)
class CloudflareRight:
    """A permission of a token on a resource, in the words of a scope (``Zone.DNS:Edit``, ``zone/example.com``)."""

    permission: str
    resource: str
    why: str = field(default="", compare=False)


Right = KubernetesRight | VaultRight | AwsRight | CloudflareRight


def no_rights(*_: object, **__: object) -> tuple[Right, ...]:
    """What plugins need that act at none of these systems."""
    return ()


@runtime_checkable
class IssuerRights(Protocol):
    """An issuer that can say what it must be allowed to do."""

    def rights(self, scope: JsonMap, parameters: JsonMap) -> Sequence[Right]: ...


@runtime_checkable
class SessionRights(Protocol):
    """An issuer with the power Sessions that can say what ending them needs beside; for policies with ``end_sessions``."""

    def session_rights(self, scope: JsonMap, parameters: JsonMap) -> Sequence[Right]: ...


@runtime_checkable
class BackendRights(Protocol):
    """A backend that can."""

    def rights(self, destination: Destination, *, home: bool) -> Sequence[Right]:
        """To keep one destination. ``home``: with its pending and previous slots."""
        ...

    def read_rights(self, destination: Destination) -> Sequence[Right]:
        """To read one place that somebody else writes (a copy)."""
        ...


@runtime_checkable
class RetireRights(Protocol):
    """A backend that needs more than ``rights`` to empty the slot that readers use, as only ``retire`` does."""

    def retire_rights(self, destination: Destination) -> Sequence[Right]: ...


@runtime_checkable
class ConsumerRights(Protocol):
    """A consumer or a health check that can."""

    def rights(self) -> Sequence[Right]: ...
