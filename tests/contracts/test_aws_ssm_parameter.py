"""The contract of backends, over the strict AWS, as an identity with exactly the rights that the plugin names."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import ClassVar

import pytest

from backends.aws_ssm_parameter import ParameterStore, create
from rotatord.errors import Denied
from rotatord.model import Destination, JsonMap, Slot
from rotatord.testing.aws import REGION, Credentials, FakeAws
from rotatord.testing.aws.parameter_things import Parameter
from rotatord.testing.contracts.backend import BackendContract
from rotatord.testing.contracts.backend_setting import FIRST, Placing, put
from rotatord.testing.silent import closed_port, silent_server
from tests.contracts.aws_places import NOBODY, QUICK, nothing, policy, settings, strict_aws, surroundings, unused, walk


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


class TestParameterStore(BackendContract):
    """Parameters in a hierarchy, most of them plain."""

    plugin = "aws_ssm_parameter"
    extra: ClassVar[JsonMap] = {}
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

    @pytest.fixture
    def denied(self, fake: FakeAws) -> Iterator[ParameterStore]:
        nobody = fake.identity(f"nobody-{len(fake.calls)}", nothing())
        plugin = create(settings(fake.url, **self.extra), surroundings(nobody))
        yield plugin
        plugin.close()

    @pytest.fixture
    def unreachable(self) -> Iterator[ParameterStore]:
        with closed_port() as port:
            yield create(settings(f"http://127.0.0.1:{port}", **QUICK), surroundings(NOBODY))

    @pytest.fixture
    def hanging(self) -> Iterator[ParameterStore]:
        with silent_server() as port:
            yield create(settings(f"http://127.0.0.1:{port}", **QUICK), surroundings(NOBODY))

    def test_rights_are_exact(
        self, backend: ParameterStore, destination: Destination, fake: FakeAws, credentials: Credentials
    ) -> None:
        """With exactly the rights that are named everything works, and none of them is of no use; nor for reading alone."""
        walk(backend, destination)
        assert unused(fake, backend.rights(destination, home=True), credentials.id) == []
        fake.set_policy(fake.account.user("us"), policy(backend.read_rights(destination)))
        assert backend.read(destination, Slot.CURRENT).fields == FIRST
        with pytest.raises(Denied):
            put(backend, destination, Slot.CURRENT, FIRST)


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
