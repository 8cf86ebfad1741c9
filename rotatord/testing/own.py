"""An issuer that is spoken to with one of its own versions, as Vault is with a token that it made: we can be locked out.

It logs in with what our reference leads to, and goes on with that login until it is told to take up another, as a session
does. A call under a version that does not work any more, or may not do this, is on record as a lock-out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from rotatord.errors import Denied
from rotatord.model import Destination, JsonMap, Spec
from rotatord.ops import Context
from rotatord.ourselves import Ourselves
from rotatord.own import OURSELVES, Ownership
from rotatord.ports import Backend, Issuer, Journal, Life, MintRequest, Secrets
from rotatord.registry import PluginSettings
from rotatord.replicas import Replicas
from rotatord.testing.backend import FakeBackend
from rotatord.testing.issuer import FakeVersion
from rotatord.testing.powers import FullIssuer
from rotatord.testing.world import World

KEY = "TOKEN"
_AS_OURSELVES = frozenset({"mint", "revoke", "find", "suspend", "resume"})


class OwnStore(FakeBackend):
    """Its documents are what references lead to."""

    def referred(self, destination: Destination, keys: Sequence[str]) -> Sequence[tuple[JsonMap, str]]:
        return [({"file": f"/{destination.address['path']}.json", "key": key}, key) for key in keys]


class OwnIssuer(FullIssuer):
    """See the module. ``powerless``: versions that are accepted, and may do nothing here. ``needs``: what was asked last."""

    reads: Callable[[], str | None] = staticmethod(lambda: None)
    reference: JsonMap = {}  # noqa: RUF012  replaced as a whole, never changed
    powerless: Callable[[FakeVersion], bool] = staticmethod(lambda _version: False)
    login: str | None = None
    needs: Sequence[Any] = ()

    def works_with(self, secret: Secrets, needs: Sequence[Any]) -> Sequence[str]:
        self._enter("works_with")
        self.needs = needs
        why = self._refusal(secret(self.reference))
        return [why] if why else []

    def take_up(self) -> None:
        self._enter("take_up")
        self.login = self.reads()

    def own_life(self) -> Sequence[Life]:
        version = self._holder(self.reads() or "")
        if version is None:
            return [Life(place="token", unknown="it is not known here")]
        lasts = version.expires_at - version.created_at if version.expires_at else None
        return [Life(place="token", ends_at=version.expires_at, lasts=lasts)]

    def _enter(self, method: str, **facts: object) -> None:
        super()._enter(method, **facts)
        if method not in _AS_OURSELVES:
            return
        self.login = self.login or self.reads()
        if self.login is not None and (why := self._refusal(self.login)):  # before there is one a person vouches for us
            self.book.violation("locked_out", self.name, f"{method}: {why}")
            raise Denied(f"{self.name}: {why}")

    def _refusal(self, value: str) -> str:
        version = self._holder(value)
        if version is None or not version.believed(self.clock.outside(), self.spreads_in):
            return "our own version does not work"
        return f"our own version {version.ref} works, and may not do this" if self.powerless(version) else ""


class OwnWorld:
    """As much of the registry as we need of ourselves: one issuer, spoken to with what lies at one place of one store.
    ``elsewhere``: what our reference leads to in its stead."""

    owners = ("issuers.issuer",)
    elsewhere: str | None = None

    def __init__(self, world: World, path: str, **settings: Any) -> None:
        self._world = world
        self.source = world.add_issuer(kind=OwnIssuer, **settings)
        assert isinstance(self.source, OwnIssuer)
        self.store = OwnStore(world.clock, name="store", book=world.book)
        world.backends["store"] = world.plugins.backends["store"] = self.store
        self.home = world.destination(path)
        reference = {"file": f"/{path}.json", "key": KEY}
        self.ownership = Ownership({"issuer": PluginSettings(type="own", settings={"token": reference})}, {}, "/")
        self.source.reference, self.source.reads = reference, self._read
        world.restarted = self._restarted

    def spec(self, name: str, **settings: Any) -> Spec:
        """Our own credential, marked as the configuration would mark it."""
        return self.ownership.marked(self._world.spec(name, destinations=(self.home,), **settings), self)

    def by_hand(self, ttl: timedelta | None = None) -> str:
        """A person makes what we speak to the issuer with, and puts it in place; its ref."""
        request = MintRequest(
            installation="", credential="ours", rotation="by-hand", generation=0, scope={}, parameters={}, ttl=ttl
        )
        made = self.source.issue(request, labelled=False)
        self.store.tamper(self.home, {KEY: made.fields.reveal("token")})
        return made.ref

    @property
    def plugins(self) -> Any:
        """As a daemon has them."""

        class Plugins:
            registry = self

        return Plugins()

    def issuer(self, name: str) -> Issuer:
        return self._world.plugins.issuer(name)

    def backend(self, name: str) -> Backend:
        return self._world.plugins.backend(name)

    def secret(self, reference: JsonMap | str) -> str:
        return self.elsewhere or self._read() or ""

    def _read(self) -> str | None:
        fields = self.store.shown(self.home).fields
        return fields.reveal("token") if fields is not None else None

    def _restarted(self, ctx: Context, journal: Journal) -> Context:
        """A new daemon remembers no login, and shows anew what it uses."""

        assert isinstance(self.source, OwnIssuer)
        self.source.login = None
        ourselves = Ourselves(journal, self.plugins, Replicas(journal), lambda *_, **__: None)
        ctx = replace(ctx, trials=ourselves.trials)
        ourselves.bind(ctx)
        self._world.plugins.consumers[OURSELVES] = ourselves
        return ctx
