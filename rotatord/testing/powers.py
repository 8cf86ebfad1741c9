"""The optional powers of issuers, one class each, to be mixed into a :class:`FakeIssuer` subclass as a test needs them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rotatord.model import JsonMap
from rotatord.ports import LiveRef
from rotatord.secret import Secret
from rotatord.testing.issuer import FakeIssuer, FakeVersion


class CanSuspend(FakeIssuer):
    """Reversible suspension; it spreads as slowly as everything else here."""

    def suspend(self, ref: str, parameters: JsonMap) -> None:
        self._enter("suspend", ref=ref)
        with self._lock:
            version = self._get(ref)
            if not version.suspended:
                self._judge("suspend", version)
                version.suspended = True
                version.works.append((self.clock.outside(), False))

    def resume(self, ref: str, parameters: JsonMap) -> None:
        self._enter("resume", ref=ref)
        with self._lock:
            version = self._get(ref)
            if version.suspended and version.ended_at is None:
                version.suspended = False
                version.works.append((self.clock.outside(), True))


class TellsLastUse(FakeIssuer):
    """Last use by others, known only after ``traits.last_used_delay``."""

    def last_used(self, ref: str, parameters: JsonMap) -> datetime | None:
        self._enter("last_used", ref=ref)
        with self._lock:
            version = self._get(ref)
            told = self.clock.outside() - self.traits.last_used_delay
            seen = [use for use in version.uses if use <= told]
            return seen[-1] if seen else None


class TellsInventory(FakeIssuer):
    """Everything live, labelled or not."""

    def inventory(self) -> Sequence[LiveRef]:
        self._enter("inventory")
        now = self.clock.outside()
        with self._lock:
            return [self._live_ref(version) for version in self.versions.values() if self._listed(version, now)]


class CanRenew(FakeIssuer):
    """Prolongs periodic versions by ``period``; one that ended stays ended."""

    def renew(self, ref: str, parameters: JsonMap) -> tuple[datetime | None, datetime | None]:
        self._enter("renew", ref=ref)
        with self._lock:
            version = self._get(ref)
            if self.period and version.alive(self.clock.outside()):
                version.expires_at = self.clock.outside() + self.period
            return version.expires_at, self._renew_at(version)


class ScopesOnPrincipal(FakeIssuer):
    """What a version may do is what its principal may do: a use that needs more is refused. Scopes are lists of words."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.principals: dict[str, JsonMap] = {}

    def widen(self, scopes: Sequence[JsonMap]) -> JsonMap:
        keys = sorted({key for scope in scopes for key in scope})
        return {key: sorted({word for scope in scopes for word in _words(scope.get(key))}) for key in keys}

    def set_scope(self, scope: JsonMap, parameters: JsonMap) -> None:
        self._enter("set_scope")
        with self._lock:
            principal = str(parameters.get("principal", ""))
            for version in self.versions.values():
                if self._principal(version) == principal and not self.covers(scope, version.request.scope):
                    self._judge("revoke", version)
            self.principals[principal] = scope

    def use(self, value: Secret | str) -> bool:
        version = self._holder(value)
        if version is not None and not self.covers(self.held(version.request.parameters), version.request.scope):
            return False
        return super().use(value)

    def held(self, parameters: JsonMap) -> JsonMap:
        """What a principal may do now."""
        return self.principals.get(str(parameters.get("principal", "")), {})

    def covers(self, held: JsonMap, needed: JsonMap) -> bool:
        return all(_words(needed[key]) <= _words(held.get(key)) for key in needed)

    def _principal(self, version: FakeVersion) -> str:
        return str(version.request.parameters.get("principal", ""))

    def _visible_scope(self, version: FakeVersion) -> JsonMap | None:
        return dict(self.held(version.request.parameters))


def _words(value: object) -> frozenset[str]:
    if value is None:
        return frozenset()
    return frozenset(map(str, value)) if isinstance(value, list | tuple) else frozenset({str(value)})


class EndsSessions(FakeIssuer):
    """Sessions opened with a version, which outlive it unless ended. ``open_session`` opens one."""

    def open_session(self, ref: str) -> None:
        with self._lock:
            self.open_sessions[ref] = self.open_sessions.get(ref, 0) + 1

    def end_sessions(self, ref: str, parameters: JsonMap) -> int:
        self._enter("end_sessions", ref=ref)
        with self._lock:
            return self.open_sessions.pop(ref, 0)


class LooksAhead(FakeIssuer):
    """A preflight that answers ``problems``, and one more for the ``impossible`` scope."""

    problems: tuple[str, ...] = ()
    impossible: JsonMap | None = None

    def preflight(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        self._enter("preflight")
        if self.impossible is not None and scope == self.impossible:
            return [*self.problems, f"{self.name} may not grant this"]
        return self.problems


class SuspendingIssuer(CanSuspend):
    """Only suspension."""


class FullIssuer(CanSuspend, TellsLastUse, TellsInventory, CanRenew, EndsSessions, LooksAhead):
    """All optional powers."""


class PrincipalIssuer(ScopesOnPrincipal, CanSuspend, TellsLastUse):
    """Two versions of one principal, without labels, that share what it may do: as IAM users are."""
