"""The contract of backends, over the strict AWS, as an identity with exactly the rights that the plugin names."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import ClassVar

import pydantic
import pytest

from backends.aws_ssm_parameter import ParameterStore, create
from rotatord.errors import Conflict, Invalid
from rotatord.model import Destination, JsonMap, Slot
from rotatord.testing.aws import REGION, Credentials, FakeAws
from rotatord.testing.aws.parameter_things import Parameter
from rotatord.testing.contracts.backend import BackendContract
from rotatord.testing.contracts.backend_setting import FIRST, MARKER, SECOND, Placing, later, put
from tests.contracts.aws_places import (
    NOBODY,
    Strictly,
    nothing,
    policy,
    settings,
    strict_aws,
    surroundings,
)


@pytest.fixture(scope="class")
def fake() -> Iterator[FakeAws]:
    with strict_aws() as started:
        yield started


@pytest.fixture(scope="class")
def credentials(fake: FakeAws) -> Credentials:
    """Ours; what they may do is set for each test."""
    return fake.identity("us", nothing())


@pytest.fixture(scope="class")
def ours(request: pytest.FixtureRequest, fake: FakeAws, credentials: Credentials) -> Iterator[ParameterStore]:
    """One plugin for all tests of a class: making its clients takes longer than most of them."""
    plugin = create(settings(fake.url, **request.cls.extra), surroundings(credentials, fake.clock.now))
    yield plugin
    plugin.close()


def destination_of(name: str, keys: dict[str, str] | None = None, version_key: str | None = None) -> Destination:
    """A plain parameter where there is one value to show, else JSON."""
    address = {"name": name} if (keys is None or len(keys) == 1) and version_key is None else {"name": name, "format": "json"}
    return Destination(backend="ssm", address=address, keys=keys or {"TOKEN": "token"}, version_key=version_key)


class TestParameterStore(Strictly, BackendContract):
    """Parameters in a hierarchy, most of them plain."""

    plugin = "aws_ssm_parameter"
    create = staticmethod(create)
    prefix: ClassVar[str] = "/apps/"

    @pytest.fixture
    def backend(self, ours: ParameterStore) -> ParameterStore:
        return ours

    @pytest.fixture
    def place(self, fake: FakeAws, credentials: Credentials) -> Placing:
        """Each with exactly its own rights."""
        given: list[Destination] = []
        plugin = create(settings(fake.url, **self.extra), surroundings(NOBODY))

        def make(keys: dict[str, str] | None = None, version_key: str | None = None) -> Destination:
            given.append(destination_of(f"{self.prefix}{secrets.token_hex(4)}", keys, version_key))
            rights = [right for place in given for right in plugin.rights(place, home=True)]
            fake.set_policy(fake.account.user("us"), policy(rights))
            return given[-1]

        return make

    @pytest.fixture
    def reopened(self, fake: FakeAws, credentials: Credentials) -> Callable[[], ParameterStore]:
        return lambda: create(settings(fake.url, **self.extra), surroundings(credentials, fake.clock.now))

    @pytest.fixture
    def raw_bytes(self, fake: FakeAws, destination: Destination) -> Callable[[], bytes]:
        return lambda: everything(fake, destination.address["name"].removeprefix("/"))

    @pytest.fixture
    def reader(self, fake: FakeAws) -> Callable[[Destination], dict[str, str]]:
        def read(destination: Destination) -> dict[str, str]:
            found: dict[str, str] = json.loads(value_of(fake, destination.address["name"]))
            return found

        return read

    @pytest.fixture
    def tamper(self, fake: FakeAws) -> Callable[[Destination], None]:
        return lambda place: foreign(fake, place.address["name"], "by hand", Overwrite=True)

    @pytest.fixture
    def plant(self, fake: FakeAws) -> Callable[[Destination], None]:
        return lambda place: foreign(fake, place.address["name"], "somebody else's")


class TestParametersWithoutHierarchy(TestParameterStore):
    """Names without a slash, and a key of one's own."""

    prefix = "apps."
    extra: ClassVar = {"kms_key_id": "0123abcd-0000-1111-2222-0123456789ab", "tags": {"team": "edge"}}


def foreign(fake: FakeAws, name: str, value: str, **more: object) -> None:
    fake.client("ssm").put_parameter(Name=name, Value=value, Type="SecureString", **more)


def value_of(fake: FakeAws, name: str) -> str:
    return str(fake.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])


def everything(fake: FakeAws, name: str) -> bytes:
    """All versions of all parameters with this in their names."""
    things = fake.account.things("ssm", REGION).items()
    held = [thing for full, thing in things if name in full and isinstance(thing, Parameter)]
    return "\n".join(version.value for parameter in held for version in parameter.versions).encode()


@pytest.fixture
def admins(fake: FakeAws) -> Iterator[ParameterStore]:
    """A backend that may do everything."""
    plugin = create(settings(fake.url), surroundings(fake.admin, fake.clock.now))
    yield plugin
    plugin.close()


def test_readers_have_the_bare_value(fake: FakeAws, admins: ParameterStore) -> None:
    """Without a selector, and nothing of ours in it; the parameter is encrypted and has our tags."""
    put(admins, destination_of("/apps/bare"), Slot.CURRENT, FIRST)
    assert value_of(fake, "/apps/bare") == FIRST.reveal("token")
    parameter = fake.account.things("ssm", REGION)["/apps/bare"]
    assert parameter.newest.type == "SecureString"
    assert parameter.tags == {"rotatord:installation": "contract-installation", "rotatord:credential": MARKER.credential}


def test_listing_the_application_shows_no_slots(fake: FakeAws, admins: ParameterStore) -> None:
    """Who loads all parameters below a path gets those that were there before."""
    for slot in Slot:
        put(admins, destination_of("/listed/app/token"), slot, FIRST)
    found = fake.client("ssm").get_parameters_by_path(Path="/listed", Recursive=True)["Parameters"]
    assert [each["Name"] for each in found] == ["/listed/app/token"]


def test_a_parameter_in_clear_text_is_refused(fake: FakeAws, admins: ParameterStore) -> None:
    """A String that is there already would show the secret to everybody who may describe it, and AWS changes no types."""
    fake.client("ssm").put_parameter(Name="/apps/clear", Value="x", Type="String")
    destination = destination_of("/apps/clear")
    held = admins.read(destination, Slot.CURRENT)
    with pytest.raises(Invalid, match="SecureString"):
        admins.write(destination, Slot.CURRENT, FIRST, MARKER, held.token)
    assert any("SecureString" in problem for problem in admins.preflight(destination))
    assert value_of(fake, "/apps/clear") == "x"


@pytest.mark.parametrize("value", ["x" * 5000, "before {{ssm:other}} after"])
def test_what_parameter_store_cannot_hold_is_refused(admins: ParameterStore, value: str) -> None:
    """Invalid where a rotation begins, at the pending slot; the value is not shown."""
    with pytest.raises(Invalid) as caught:
        put(admins, destination_of("/apps/odd"), Slot.PENDING, type(FIRST)({"token": value}))
    assert value[:12] not in str(caught.value)
    assert admins.read(destination_of("/apps/odd"), Slot.PENDING).empty


def test_a_long_value_goes_into_the_advanced_tier(fake: FakeAws) -> None:
    """Where the settings say so."""
    plugin = create(settings(fake.url, tier="Intelligent-Tiering"), surroundings(fake.admin, fake.clock.now))
    secret = type(FIRST)({"token": "x" * 5000})
    for slot in (Slot.PENDING, Slot.CURRENT):
        put(plugin, destination_of("/apps/large"), slot, secret)
        assert plugin.read(destination_of("/apps/large"), slot).fields == secret
    plugin.close()


def test_a_parameter_made_anew_is_another(fake: FakeAws, admins: ParameterStore) -> None:
    """Same name, same version number: what lies there is not ours, and a write under the old token loses."""
    destination, client = destination_of("/apps/anew"), fake.client("ssm")
    token = put(admins, destination, Slot.CURRENT, FIRST)
    client.delete_parameter(Name="/apps/anew")
    assert admins.read(destination, Slot.CURRENT).empty
    fake.advance(31)
    foreign(fake, "/apps/anew", "theirs")
    assert admins.read(destination, Slot.CURRENT).marker is None
    with pytest.raises(Conflict):
        admins.write(destination, Slot.CURRENT, SECOND, later(MARKER), token)


def test_a_parameter_that_is_full_of_labels_is_told(fake: FakeAws, admins: ParameterStore) -> None:
    """The oldest of a hundred versions is held by somebody's label: AWS takes no more, and the sentence says why."""
    destination, client = destination_of("/apps/labelled"), fake.client("ssm")
    foreign(fake, "/apps/labelled", "0")
    client.label_parameter_version(Name="/apps/labelled", Labels=["keep"])
    for number in range(99):
        foreign(fake, "/apps/labelled", str(number), Overwrite=True)
    with pytest.raises(Conflict, match="label"):
        put(admins, destination, Slot.CURRENT, FIRST)


def test_a_retired_parameter_is_empty(fake: FakeAws, admins: ParameterStore) -> None:
    """Readers find an empty object."""
    destination = destination_of("/apps/retired")
    admins.clear(destination, Slot.CURRENT, put(admins, destination, Slot.CURRENT, FIRST))
    assert value_of(fake, "/apps/retired") == "{}"
    assert admins.read(destination, Slot.CURRENT).empty


@pytest.mark.parametrize(
    "name", ["", "a b", "/a//b", "a/b", "/a/", "/aws/x", "ssm-x", "/x:1", "/" + "/".join("abcdefghijklm"), "x" * 1000]
)
def test_bad_names_are_told(name: str) -> None:
    """What AWS would refuse, here or in the registers beside it."""
    plugin = create(settings("http://127.0.0.1:1"), surroundings(NOBODY))
    assert list(plugin.check(destination_of(name)))
    assert list(plugin.check(destination_of("/apps/x", {"A": "a"}))) == []


@pytest.mark.parametrize(("keys", "version_key"), [({"A": "a", "B": "b"}, None), ({}, None), ({"A": "a"}, "VERSION")])
def test_a_plain_parameter_holds_one_value(keys: dict[str, str], version_key: str | None) -> None:
    """Anything else has no place in it."""
    plugin = create(settings("http://127.0.0.1:1"), surroundings(NOBODY))
    assert list(plugin.check(Destination(backend="ssm", address={"name": "x"}, keys=keys, version_key=version_key)))


@pytest.mark.parametrize(
    "wrong", [{"slots": "{name}/{slot}"}, {"tags": {"rotatord:x": "y"}}, {"tier": "Huge"}, {"regoin": "x"}]
)
def test_mistyped_settings_are_refused(wrong: JsonMap) -> None:
    """Before anything is asked."""
    with pytest.raises(pydantic.ValidationError):
        create(settings("http://127.0.0.1:1", **wrong), surroundings(NOBODY))
