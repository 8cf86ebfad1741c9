"""The AWS backends when calls fail halfway, land late or go against somebody else's; and over moto, another reading of AWS."""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from backends import aws_secrets_manager, aws_ssm_parameter
from rotatord.errors import Conflict, Retryable
from rotatord.model import Destination, Marker, Slot
from rotatord.secret import Secret
from rotatord.testing.aws import REGION, Dropped, Fails, FakeAws, Faults, Late, Refuse
from rotatord.testing.aws.faults import Fault
from rotatord.testing.aws.parameter_things import Parameter
from rotatord.testing.contracts.backend_setting import FIRST, MARKER, SECOND, later, put, token_of
from tests.contracts.aws_places import settings, strict_aws, surroundings
from tests.servers.aws_fixtures import Moto

THIRD = Secret({"token": "integration-third-value-5555555555"})
TRIES = 6
FAULTS = {
    "refused": Refuse("InternalServerError", status=500),
    "done, no answer": Dropped(),
    "done, 500": Fails("InternalServerError"),
    "late": Late(120.0),
}
PLACES = {
    "secretsmanager": Destination(backend="b", address={"name": "apps/db"}, keys={"TOKEN": "token"}),
    "secretsmanager plain": Destination(backend="b", address={"name": "apps/plain", "format": "plain"}, keys={"": "token"}),
    "ssm": Destination(backend="b", address={"name": "/apps/db"}, keys={"TOKEN": "token"}),
}
BESIDE = [("secretsmanager", Slot.PENDING), ("secretsmanager", Slot.PREVIOUS), ("ssm", Slot.PENDING)]
EVERYWHERE = [*((name, Slot.CURRENT) for name in PLACES), BESIDE[0], BESIDE[2]]  # the form does not matter to the slots
CREATE: dict[str, Any] = {"secretsmanager": aws_secrets_manager.create, "ssm": aws_ssm_parameter.create}


@dataclass
class Setting:
    """A backend over the strict AWS, and the place that the tests use."""

    fake: FakeAws
    backend: Any
    place: Destination
    service: str

    def held(self, slot: Slot) -> Any:
        return self.backend.read(self.place, slot)

    def calls_of(self, run: Callable[[], object]) -> int:
        before = len(self.fake.calls)
        run()
        return len(self.fake.calls) - before

    def stored(self) -> str:
        """All that anybody could still read, in all versions."""
        self.fake.advance(10)
        name = self.place.address["name"].removeprefix("/")
        things = [thing for full, thing in self.fake.account.things(self.service, REGION).items() if name in full]
        if self.service == "ssm":
            return "\n".join(version.value for each in things if isinstance(each, Parameter) for version in each.versions)
        alive = [each for each in things if each.purged is None or each.purged > self.fake.clock.now()]
        return "\n".join(str(version.text) for each in alive for version in each.versions.values())

    def shown(self) -> str:
        """What a reader of the current value gets."""
        if self.service == "ssm":
            thing = self.fake.account.things("ssm", REGION)[self.place.address["name"]]
            return str(thing.newest.value)
        secret = self.fake.secret(self.place.address["name"])
        return str(secret.versions[secret.stages["AWSCURRENT"]].text)


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[FakeAws, dict[str, Any]]]:
    """One strict AWS, and one backend a service, for all tests here: making clients takes longer than most of them."""
    with strict_aws() as fake:
        backends = {name: make(settings(fake.url), surroundings(fake.admin, fake.clock.now)) for name, make in CREATE.items()}
        yield fake, backends
        for backend in backends.values():
            backend.close()


@pytest.fixture(params=list(PLACES))
def setting(request: pytest.FixtureRequest, started: tuple[FakeAws, dict[str, Any]]) -> Iterator[Setting]:
    """With a name that nobody used before."""
    fake, backends = started
    service, place = request.param.partition(" ")[0], PLACES[request.param]
    unused = {**place.address, "name": f"{place.address['name']}.{secrets.token_hex(4)}"}
    fake.advance(10)  # what earlier tests deleted is gone
    faults = fake.gateway.faults
    yield Setting(fake, backends[service], replace(place, address=unused), service)
    fake.gateway.faults = faults
    faults.clear()
    fake.advance(3600)


def insist(setting: Setting, slot: Slot, fields: Secret, marker: Marker) -> int:
    """As the engine writes: look, write, look again, until it is there. Returns the failures on the way."""
    for failures in range(TRIES):
        try:
            held = setting.held(slot)
            if held.marker == marker and held.fields == fields and held.intact:
                return failures
            setting.backend.write(setting.place, slot, fields, marker, held.token)
        except (Retryable, Conflict):
            continue
    pytest.fail(f"not written within {TRIES} tries")


def empty(setting: Setting, slot: Slot) -> int:
    """As the engine clears."""
    for failures in range(TRIES):
        try:
            held = setting.held(slot)
            if held.empty:
                return failures
            setting.backend.clear(setting.place, slot, held.token)
        except (Retryable, Conflict):
            continue
    pytest.fail(f"not cleared within {TRIES} tries")


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize(("setting", "slot"), EVERYWHERE, indirect=["setting"])
def test_a_write_that_fails_at_any_call_converges(setting: Setting, slot: Slot, fault: str) -> None:
    """Whichever call of a write fails, and however: repeated as the engine repeats it, the value is there, whole, under its
    own marker; and it is still there when everything late has landed."""
    numbers = itertools.count(1)
    insist(setting, slot, FIRST, later(MARKER, next(numbers)))
    calls = setting.calls_of(lambda: insist(setting, slot, SECOND, later(MARKER, next(numbers)))) - 4
    for nth in range(1, calls + 1):
        marker, fields = later(MARKER, next(numbers)), (FIRST, SECOND)[nth % 2]
        setting.fake.advance(3600)
        setting.fake.faults.plan(f"{setting.service}:*", FAULTS[fault], nth=nth)
        insist(setting, slot, fields, marker)
        setting.fake.faults.clear()
        setting.fake.advance(121)
        held = setting.held(slot)
        assert (held.fields, held.marker, held.intact) == (fields, marker, True), f"call {nth}"
        if slot is Slot.CURRENT:
            assert fields.reveal("token") in setting.shown()
            assert (SECOND, FIRST)[nth % 2].reveal("token") not in setting.shown()


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize(("setting", "slot"), EVERYWHERE, indirect=["setting"])
def test_a_first_write_that_fails_at_any_call_converges(setting: Setting, slot: Slot, fault: str) -> None:
    """Likewise where nothing was before."""
    place = setting.place
    for nth in range(1, 8):
        setting.place = replace(place, address={**place.address, "name": f"{place.address['name']}{nth}"})
        setting.fake.faults.plan(f"{setting.service}:*", FAULTS[fault], nth=nth)
        insist(setting, slot, FIRST, MARKER)
        setting.fake.faults.clear()
        setting.fake.advance(121)
        held = setting.held(slot)
        assert (held.fields, held.marker, held.intact) == (FIRST, MARKER, True), f"call {nth}"


@pytest.mark.parametrize("fault", list(FAULTS))
@pytest.mark.parametrize(("setting", "slot"), BESIDE, indirect=["setting"])
def test_a_clear_that_fails_at_any_call_converges(setting: Setting, slot: Slot, fault: str) -> None:
    """Whichever call fails: repeated, the slot is empty, and nothing of it is left, at once or after the next use."""
    marker = MARKER
    for nth in range(1, 9):
        marker = later(marker)
        insist(setting, slot, FIRST, marker)
        setting.fake.faults.plan(f"{setting.service}:*", FAULTS[fault], nth=nth)
        empty(setting, slot)
        setting.fake.faults.clear()
        setting.fake.advance(121)
        assert setting.held(slot).empty, f"call {nth}"
        assert FIRST.reveal("token") not in setting.stored(), f"call {nth}"


@pytest.mark.parametrize(("setting", "slot"), EVERYWHERE, indirect=["setting"])
def test_a_write_that_is_stopped_at_any_call_leaves_the_old_value_or_the_new_one(setting: Setting, slot: Slot) -> None:
    """Never nothing: what lies there may be the only copy of a version that lives."""
    values = itertools.cycle((FIRST, SECOND))
    old = next(values)
    insist(setting, slot, old, MARKER)
    for nth, fault in itertools.product(range(1, 8), ("refused", "done, no answer")):
        new, token = next(values), token_of(setting.backend, setting.place, slot)
        setting.fake.advance(3600)
        setting.fake.faults.plan(f"{setting.service}:*", FAULTS[fault], nth=nth)
        with contextlib.suppress(Retryable, Conflict):
            setting.backend.write(setting.place, slot, new, later(MARKER, nth), token)
        setting.fake.faults.clear()
        assert setting.held(slot).fields in (old, new), f"call {nth} {fault}"
        insist(setting, slot, new, later(MARKER, 100 + nth))
        old = new


@pytest.mark.parametrize(("setting", "slot"), BESIDE, indirect=["setting"])
def test_a_value_that_lands_after_its_slot_was_cleared_goes_with_the_next_use(setting: Setting, slot: Slot) -> None:
    """The creation that lands late brings a value back beside a cleared slot. It is no value of the slot, or shows as one to
    be cleared; and when the slot is used again it is destroyed."""
    put(setting.backend, setting.place, slot, FIRST)
    for nth in range(1, 8):
        token = token_of(setting.backend, setting.place, slot)
        setting.fake.faults.plan(f"{setting.service}:*", Late(60.0), nth=nth)
        with contextlib.suppress(Retryable, Conflict):
            setting.backend.write(setting.place, slot, SECOND, later(MARKER, nth), token)
        setting.fake.faults.clear()
        setting.backend.clear(setting.place, slot, token_of(setting.backend, setting.place, slot))
        setting.fake.advance(61)
        insist(setting, slot, THIRD, later(MARKER, 100 + nth))
        empty(setting, slot)
        assert SECOND.reveal("token") not in setting.stored(), f"call {nth}"
        assert setting.held(slot).empty


def test_a_late_write_does_not_land_over_a_later_one(setting: Setting) -> None:
    """The publish of a version that was then rolled back lands after all. Where AWS cannot refuse it, nothing else was written
    before it could land no more; in the end readers have what was written last."""
    insist(setting, Slot.CURRENT, FIRST, MARKER)
    for nth in range(1, 8):
        held = setting.held(Slot.CURRENT)
        setting.fake.faults.plan(f"{setting.service}:*", Late(240.0), nth=nth)
        with contextlib.suppress(Retryable, Conflict):
            setting.backend.write(setting.place, Slot.CURRENT, SECOND, later(MARKER, nth), held.token)
        setting.fake.faults.clear()
        back = later(MARKER, 50 + nth)
        for _ in range(40):
            try:
                held = setting.held(Slot.CURRENT)
                if held.marker == back and held.fields == FIRST:
                    break
                setting.backend.write(setting.place, Slot.CURRENT, FIRST, back, held.token)
            except Retryable as error:
                setting.fake.advance(error.retry_after or 5)
            except Conflict:
                continue
        assert setting.held(Slot.CURRENT).marker == back, f"call {nth}"
        setting.fake.advance(3600)
        assert (setting.held(Slot.CURRENT).fields, setting.held(Slot.CURRENT).marker) == (FIRST, back), f"call {nth}"
        assert FIRST.reveal("token") in setting.shown()


@pytest.mark.parametrize("setting", ["secretsmanager", "secretsmanager plain"], indirect=True)
def test_a_repeated_write_makes_one_version(setting: Setting) -> None:
    """The answer of the decisive call is lost and the write repeated: readers see one change, not two. (Parameter Store
    numbers every write; there only the value is the same.)"""
    insist(setting, Slot.CURRENT, FIRST, MARKER)
    secret = setting.fake.secret(setting.place.address["name"])
    before = len(secret.versions)
    setting.fake.faults.plan("secretsmanager:PutSecretValue", Dropped())
    setting.fake.faults.plan("secretsmanager:UpdateSecretVersionStage", Dropped())
    insist(setting, Slot.CURRENT, SECOND, later(MARKER))
    if setting.place.address.get("format") != "plain":
        assert len(secret.versions) == before + 1
    assert FIRST.reveal("token") in str(secret.versions[secret.stages["AWSPREVIOUS"]].text)
    assert set(secret.stages) == {"AWSCURRENT", "AWSPREVIOUS", "rotatord-written"}


class Meddling(Faults):
    """Nothing fails, but somebody writes right before one of our calls is done."""

    def __init__(self, operation: str, nth: int, write: Callable[[], None]) -> None:
        super().__init__()
        self._operation, self._left, self._write = operation, nth, write

    def strike(self, operation: str) -> Fault | None:
        if operation == self._operation:
            self._left -= 1
            if self._left == 0:
                self._write()
        return super().strike(operation)


def by_hand(setting: Setting, value: str) -> None:
    """A person changes the value that readers get."""
    client, name = setting.fake.client(setting.service), setting.place.address["name"]
    if setting.service == "ssm":
        client.put_parameter(Name=name, Value=value, Overwrite=True)
    else:
        client.put_secret_value(SecretId=name, SecretString=value)


@pytest.mark.parametrize(
    ("setting", "operation", "nth"),
    [
        ("secretsmanager", "PutSecretValue", 1),
        ("secretsmanager", "UpdateSecretVersionStage", 1),
        ("secretsmanager plain", "PutSecretValue", 2),  # after its stamp
        ("secretsmanager plain", "UpdateSecretVersionStage", 1),
        ("ssm", "PutParameter", 2),  # after the register
    ],
    indirect=["setting"],
)
def test_a_person_who_writes_at_the_same_moment_is_not_overwritten(setting: Setting, operation: str, nth: int) -> None:
    """Between our look and our write somebody changes the value: a Conflict, and theirs is what readers get."""
    insist(setting, Slot.CURRENT, FIRST, MARKER)
    token = setting.held(Slot.CURRENT).token
    meddling = Meddling(f"{setting.service}:{operation}", nth, lambda: by_hand(setting, "written by a person"))
    setting.fake.gateway.faults = meddling
    with pytest.raises(Conflict):
        setting.backend.write(setting.place, Slot.CURRENT, SECOND, later(MARKER), token)
    assert setting.shown() == "written by a person"
    assert setting.held(Slot.CURRENT).marker is None
    insist(setting, Slot.CURRENT, SECOND, later(MARKER, 2))


# --- moto: an independent reading of AWS, lenient in what the strict one is not -----------------------------------------


@pytest.mark.parametrize("name", list(PLACES))
def test_a_rotation_over_moto(moto: Moto, name: str) -> None:
    """Stage, keep the old one, publish, clear, go back: each slot holds what was put there, and readers get what is current."""
    service, place = name.partition(" ")[0], PLACES[name]
    patient = settings(moto.url, read_timeout=30, timeout=60)  # moto loads each service when it is asked first
    backend = CREATE[service](patient, surroundings(moto.admin))
    client = moto.client(service)

    def shown() -> str:
        if service == "ssm":
            return str(client.get_parameter(Name=place.address["name"], WithDecryption=True)["Parameter"]["Value"])
        found = client.get_secret_value(SecretId=place.address["name"], VersionStage="AWSCURRENT")  # moto forgets its default
        return str(found["SecretString"])

    assert backend.preflight(place) == []
    put(backend, place, Slot.CURRENT, FIRST)
    pending = put(backend, place, Slot.PENDING, SECOND, later(MARKER))
    previous = put(backend, place, Slot.PREVIOUS, FIRST, later(MARKER, 2))
    stale = token_of(backend, place, Slot.CURRENT)
    put(backend, place, Slot.CURRENT, SECOND, later(MARKER, 3))
    assert SECOND.reveal("token") in shown()
    for slot, fields in ((Slot.CURRENT, SECOND), (Slot.PENDING, SECOND), (Slot.PREVIOUS, FIRST)):
        held = backend.read(place, slot)
        assert (held.fields, held.intact) == (fields, True)
    with pytest.raises(Conflict):
        backend.write(place, Slot.CURRENT, THIRD, later(MARKER, 4), stale)
    backend.clear(place, Slot.PENDING, pending)
    backend.clear(place, Slot.PREVIOUS, previous)
    assert all(backend.read(place, slot).empty for slot in (Slot.PENDING, Slot.PREVIOUS))
    put(backend, place, Slot.CURRENT, FIRST, later(MARKER, 5))
    assert FIRST.reveal("token") in shown()
    assert backend.preflight(place) == []
    backend.close()
