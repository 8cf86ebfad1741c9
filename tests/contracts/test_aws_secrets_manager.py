"""The contract of backends, over the strict AWS, as an identity with exactly the rights that the plugin names."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from backends.aws_secrets_manager import SecretsManager, create
from rotatord.document import MARKER_KEY
from rotatord.errors import Denied
from rotatord.model import Destination, JsonMap, Slot
from rotatord.testing.aws import REGION, Credentials, FakeAws
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
def ours(request: pytest.FixtureRequest, fake: FakeAws, credentials: Credentials) -> Iterator[SecretsManager]:
    """One plugin for all tests of a class: making its clients takes longer than most of them."""
    plugin = create(settings(fake.url, **request.cls.extra), surroundings(credentials, fake.clock.now))
    yield plugin
    plugin.close()


def destination_of(name: str, keys: dict[str, str] | None = None, version_key: str | None = None, **more: Any) -> Destination:
    return Destination(backend="sm", address={"name": name, **more}, keys=keys or {"TOKEN": "token"}, version_key=version_key)


def granted(plugin: SecretsManager, destinations: list[Destination]) -> str:
    return policy(right for place in destinations for right in plugin.rights(place, home=True))


class Suite(BackendContract):
    """What the two forms of a secret share. Names are numbered, and the policy has the wildcard that a number needs."""

    address: ClassVar[dict[str, str]] = {}
    extra: ClassVar[JsonMap] = {}

    @pytest.fixture
    def backend(self, ours: SecretsManager) -> SecretsManager:
        return ours

    @pytest.fixture
    def place(self, fake: FakeAws, credentials: Credentials) -> Placing:
        """Each with exactly its own rights."""
        given: list[Destination] = []
        plugin = create(settings(fake.url, **self.extra), surroundings(NOBODY))

        def make(keys: dict[str, str] | None = None, version_key: str | None = None) -> Destination:
            given.append(destination_of(f"apps/{secrets.token_hex(4)}", keys, version_key, **self.address))
            fake.set_policy(fake.account.user("us"), granted(plugin, given))
            return given[-1]

        return make

    @pytest.fixture
    def reopened(self, fake: FakeAws, credentials: Credentials) -> Callable[[], SecretsManager]:
        return lambda: create(settings(fake.url, **self.extra), surroundings(credentials, fake.clock.now))

    @pytest.fixture
    def raw_bytes(self, fake: FakeAws, destination: Destination) -> Callable[[], bytes]:
        return lambda: everything(fake, destination.address["name"])

    @pytest.fixture
    def tamper(self, fake: FakeAws) -> Callable[[Destination], None]:
        def change(destination: Destination) -> None:
            admin, name = fake.client("secretsmanager"), destination.address["name"]
            text = admin.get_secret_value(SecretId=name)["SecretString"]
            plain = destination.address.get("format") == "plain"
            admin.put_secret_value(
                SecretId=name, SecretString="by hand" if plain else json.dumps({**json.loads(text), "TOKEN": "x"})
            )

        return change

    @pytest.fixture
    def plant(self, fake: FakeAws) -> Callable[[Destination], None]:
        return lambda place: fake.client("secretsmanager").create_secret(
            Name=place.address["name"], SecretString='{"TOKEN": "somebody else\'s"}'
        )

    @pytest.fixture
    def denied(self, fake: FakeAws) -> Iterator[SecretsManager]:
        nobody = fake.identity(f"nobody-{len(fake.calls)}", nothing())
        plugin = create(settings(fake.url, **self.extra), surroundings(nobody))
        yield plugin
        plugin.close()

    @pytest.fixture
    def unreachable(self) -> Iterator[SecretsManager]:
        with closed_port() as port:
            yield create(settings(f"http://127.0.0.1:{port}", **QUICK), surroundings(NOBODY))

    @pytest.fixture
    def hanging(self) -> Iterator[SecretsManager]:
        with silent_server() as port:
            yield create(settings(f"http://127.0.0.1:{port}", **QUICK), surroundings(NOBODY))

    def test_rights_are_exact(
        self, backend: SecretsManager, destination: Destination, fake: FakeAws, credentials: Credentials
    ) -> None:
        """With exactly the rights that are named everything works, and none of them is of no use; nor for reading alone."""
        walk(backend, destination)
        assert unused(fake, backend.rights(destination, home=True), credentials.id) == []
        fake.set_policy(fake.account.user("us"), policy(backend.read_rights(destination)))
        assert backend.read(destination, Slot.CURRENT).fields == FIRST
        with pytest.raises(Denied):
            put(backend, destination, Slot.CURRENT, FIRST)


class TestSecretsManager(Suite):
    """Secrets that hold a JSON object."""

    plugin = "aws_secrets_manager"

    @pytest.fixture
    def reader(self, fake: FakeAws) -> Callable[[Destination], dict[str, str]]:
        def read(destination: Destination) -> dict[str, str]:
            text = fake.client("secretsmanager").get_secret_value(SecretId=destination.address["name"])["SecretString"]
            return {key: value for key, value in json.loads(text).items() if key != MARKER_KEY}

        return read


def everything(fake: FakeAws, name: str) -> bytes:
    """All versions of all secrets with this in their names, as root finds them when deletions are done."""
    fake.advance(10)
    admin, found = fake.client("secretsmanager"), []
    for secret in [each for each in fake.account.things("secretsmanager", REGION) if name in each]:
        with contextlib.suppress(admin.exceptions.ResourceNotFoundException):
            versions = admin.list_secret_version_ids(SecretId=secret, IncludeDeprecated=True)["Versions"]
            texts = (admin.get_secret_value(SecretId=secret, VersionId=each["VersionId"]) for each in versions)
            found += [text["SecretString"] for text in texts]
    return json.dumps(found).encode() + " ".join(found).encode()
