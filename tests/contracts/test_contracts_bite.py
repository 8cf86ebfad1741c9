"""A contract is worth what it refuses: each of these plugins breaks one promise, and the test for it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from rotatord.errors import NotFound, OutsideError
from rotatord.model import Destination, JsonMap, Marker, Slot
from rotatord.ports import Held, LiveRef, Minted, MintRequest, ProbeAnswer, Published, Query
from rotatord.secret import Secret
from rotatord.testing.backend import FakeBackend
from rotatord.testing.clock import VirtualClock
from rotatord.testing.consumer import FakeHealth
from rotatord.testing.contracts.backend import BackendContract
from rotatord.testing.contracts.health import HealthContract
from rotatord.testing.contracts.issuer import IssuerContract
from rotatord.testing.issuer import FakeIssuer

REQUEST = MintRequest(installation="i", credential="c", rotation="r", generation=1, scope={"read": "all"}, parameters={})
HOME = Destination(backend="store", address={"path": "p"}, keys={"TOKEN": "token"})
ISSUER, BACKEND = IssuerContract(), BackendContract()
BREAKS = (AssertionError, OutsideError, pytest.fail.Exception)


def nothing() -> None:
    """These fakes settle at once."""


class GivesTheSameVersionTwice(FakeIssuer):
    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        return self._minted(next(iter(self.versions.values()))) if self.versions else super().mint(request, proposed)


class ListsWhatIsGone(FakeIssuer):
    def _listed(self, version: object, now: object) -> bool:
        return True


class ListsOthers(FakeIssuer):
    def find(self, query: Query) -> Sequence[LiveRef]:
        return self.live()


class ListsAPage(FakeIssuer):
    def find(self, query: Query) -> Sequence[LiveRef]:
        return super().find(query)[:10]


class MissesWhatIsGone(FakeIssuer):
    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        if ref not in {live.ref for live in self.live()}:
            raise NotFound(ref)
        super().revoke(ref, fields, parameters)


class RevokesNothing(FakeIssuer):
    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        return


class RaisesOnGarbage(FakeIssuer):
    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        if self.ref_of(fields) is None:
            raise NotFound("no such version")
        return super().probe(fields, target)


class GrantsMore(FakeIssuer):
    def _add(self, request: MintRequest, *rest: object) -> object:
        self.grants = lambda scope: {**scope, "admin": True}
        return super()._add(request, *rest)


class PrintsTheValue(FakeIssuer):
    def __repr__(self) -> str:
        return f"issuer with {self.values()}"


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (GivesTheSameVersionTwice, lambda i: ISSUER.test_two_mints_are_two_versions(i, REQUEST, nothing)),
        (ListsWhatIsGone, lambda i: ISSUER.test_find_by_ref_follows_the_life_of_a_version(i, REQUEST, "no", nothing)),
        (ListsOthers, lambda i: ISSUER.test_find_returns_nothing_of_others(i, REQUEST, nothing)),
        (ListsAPage, lambda i: ISSUER.test_find_is_complete(i, REQUEST, nothing)),
        (MissesWhatIsGone, lambda i: ISSUER.test_revoke_needs_no_value_and_may_be_repeated(i, REQUEST, "no", nothing)),
        (RevokesNothing, lambda i: ISSUER.test_revoked_is_refused(i, REQUEST, nothing)),
        (RaisesOnGarbage, lambda i: ISSUER.test_garbage_is_refused_not_an_error(i, REQUEST, Secret({"token": "no"}))),
        (GrantsMore, lambda i: ISSUER.test_the_scope_seen_is_the_scope_asked_for(i, REQUEST, nothing)),
        (PrintsTheValue, lambda i: ISSUER.test_nothing_prints_the_value(i, REQUEST)),
    ],
)
def test_a_broken_issuer_fails(kind: type[FakeIssuer], test: Callable[[FakeIssuer], None]) -> None:
    """The issuer contract notices."""
    with pytest.raises(BREAKS):
        test(kind(VirtualClock()))


class ChecksNoToken(FakeBackend):
    def _compare(self, destination: Destination, slot: Slot, expect: str) -> None:
        return


class KeepsTheTokenOfEqualContent(FakeBackend):
    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        held = self.read(destination, slot)
        same = held.token == expect and held.fields == fields
        return expect if same else super().write(destination, slot, fields, marker, expect)


class LeavesEmptySlotsAlone(FakeBackend):
    def clear(self, destination: Destination, slot: Slot, expect: str) -> str:
        return expect if self.read(destination, slot).empty else super().clear(destination, slot, expect)


class OneSlotForAll(FakeBackend):
    def _kept(self, destination: Destination, slot: Slot) -> object:
        return super()._kept(destination, Slot.CURRENT)

    def _put(self, destination: Destination, slot: Slot, kept: object) -> str:
        return super()._put(destination, Slot.CURRENT, kept)


class TrimsValues(FakeBackend):
    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        trimmed = Secret({name: fields.reveal(name).strip() for name in fields.names})
        return super().write(destination, slot, trimmed, marker, expect)


class KeepsWhatWasCleared(FakeBackend):
    def raw(self) -> bytes:
        return repr([kept.document for past in [*self._past, self._slots] for kept in past.values()]).encode()


class TrustsTheMarker(FakeBackend):
    def read(self, destination: Destination, slot: Slot) -> Held:
        held = super().read(destination, slot)
        return Held(token=held.token, empty=held.empty, fields=held.fields, marker=held.marker)


def tampering(store: FakeBackend) -> Callable[[Destination], None]:
    return lambda destination: store.tamper(destination, {"TOKEN": "by hand"})


@pytest.mark.parametrize(
    ("kind", "test"),
    [
        (ChecksNoToken, lambda b: BACKEND.test_of_two_writers_one_wins(b, HOME, Slot.PENDING)),
        (KeepsTheTokenOfEqualContent, lambda b: BACKEND.test_every_write_changes_the_token(b, HOME, Slot.CURRENT)),
        (LeavesEmptySlotsAlone, lambda b: BACKEND.test_clearing_an_empty_slot_changes_its_token(b, HOME, Slot.PENDING)),
        (OneSlotForAll, lambda b: BACKEND.test_slots_are_independent(b, HOME)),
        (TrimsValues, lambda b: BACKEND.test_awkward_values_survive(b, HOME, Slot.CURRENT, "spaces around")),
        (KeepsWhatWasCleared, lambda b: BACKEND.test_cleared_values_cannot_be_recovered(b, HOME, Slot.PENDING, b.raw)),
        (TrustsTheMarker, lambda b: BACKEND.test_a_change_by_hand_is_seen(b, HOME, tampering(b))),
    ],
)
def test_a_broken_backend_fails(kind: type[FakeBackend], test: Callable[[FakeBackend], None]) -> None:
    """The backend contract notices."""
    with pytest.raises(BREAKS):
        test(kind(VirtualClock()))


class RaisesWhenAsked(FakeHealth):
    def check(self, published: Published) -> tuple[str, str]:
        raise NotFound("nobody there")


CALLS_ALL_HEALTHY = FakeHealth(VirtualClock(), says=("healthy", ""))
OWN_WORDS = FakeHealth(VirtualClock(), says=("ok", ""))


@pytest.mark.parametrize("check", [RaisesWhenAsked(VirtualClock()), CALLS_ALL_HEALTHY, OWN_WORDS])
def test_a_broken_check_fails(check: FakeHealth) -> None:
    """The health contract notices a check that raises, one that calls everything healthy, and words nobody knows."""
    told = Published(credential="c", label="1-x", rotation="r", token="t", at=VirtualClock().now())
    with pytest.raises(BREAKS):
        HealthContract().test_what_is_not_there_is_not_healthy(check, told)
