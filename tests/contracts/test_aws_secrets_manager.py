"""The contract of backends, over the strict AWS, as an identity with exactly the rights that the plugin names."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pydantic
import pytest

from backends.aws_secrets_manager import AwsSecrets, create
from rotatord.document import MARKER_KEY
from rotatord.errors import Conflict, Invalid
from rotatord.model import Destination, JsonMap, Slot
from rotatord.testing.aws import REGION, Credentials, FakeAws, allow
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
def ours(request: pytest.FixtureRequest, fake: FakeAws, credentials: Credentials) -> Iterator[AwsSecrets]:
    """One plugin for all tests of a class: making its clients takes longer than most of them."""
    plugin = create(settings(fake.url, **request.cls.extra), surroundings(credentials, fake.clock.now))
    yield plugin
    plugin.close()


def destination_of(name: str, keys: dict[str, str] | None = None, version_key: str | None = None, **more: Any) -> Destination:
    return Destination(backend="sm", address={"name": name, **more}, keys=keys or {"TOKEN": "token"}, version_key=version_key)


def granted(plugin: AwsSecrets, destinations: list[Destination]) -> str:
    return policy(right for place in destinations for right in plugin.rights(place, home=True))


class Suite(Strictly, BackendContract):
    """What the two forms of a secret share."""

    plain: ClassVar[bool] = False  # secrets that hold one value are plain text
    create = staticmethod(create)

    @pytest.fixture
    def backend(self, ours: AwsSecrets) -> AwsSecrets:
        return ours

    @pytest.fixture
    def place(self, fake: FakeAws, credentials: Credentials) -> Placing:
        """Each with exactly its own rights."""
        given: list[Destination] = []
        plugin = create(settings(fake.url, **self.extra), surroundings(NOBODY))

        def make(keys: dict[str, str] | None = None, version_key: str | None = None) -> Destination:
            one = self.plain and (keys is None or len(keys) == 1) and version_key is None
            form = {"format": "plain"} if one else {}
            given.append(destination_of(f"apps/{secrets.token_hex(4)}", keys, version_key, **form))
            fake.set_policy(fake.account.user("us"), granted(plugin, given))
            return given[-1]

        return make

    @pytest.fixture
    def reopened(self, fake: FakeAws, credentials: Credentials) -> Callable[[], AwsSecrets]:
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


class TestSecretsManager(Suite):
    """Secrets that hold a JSON object."""

    plugin = "aws_secrets_manager"

    @pytest.fixture
    def reader(self, fake: FakeAws) -> Callable[[Destination], dict[str, str]]:
        def read(destination: Destination) -> dict[str, str]:
            text = fake.client("secretsmanager").get_secret_value(SecretId=destination.address["name"])["SecretString"]
            return {key: value for key, value in json.loads(text).items() if key != MARKER_KEY}

        return read


class TestPlainSecrets(TestSecretsManager):
    """Secrets that hold one value and nothing else; with a key of one's own, tags and replicas."""

    plain = True
    extra: ClassVar = {
        "kms_key_id": "0123abcd-0000-1111-2222-0123456789ab",
        "tags": {"team": "edge"},
        "replica_regions": ["eu-central-1"],
    }

    def test_readers_have_the_bare_value(self, backend: AwsSecrets, destination: Destination, fake: FakeAws) -> None:
        """Here and in the other region; the secret has our tags and theirs."""
        put(backend, destination, Slot.CURRENT, FIRST)
        name = destination.address["name"]
        for region in (REGION, "eu-central-1"):
            got = fake.client("secretsmanager", region=region).get_secret_value(SecretId=name)
            assert got["SecretString"] == FIRST.reveal("token")
        tags = {"team": "edge", "rotatord:installation": "contract-installation", "rotatord:credential": "contract/credential"}
        assert fake.secret(name).tags == tags

    def test_a_replica_is_read_and_not_written(
        self, backend: AwsSecrets, destination: Destination, fake: FakeAws, credentials: Credentials
    ) -> None:
        """As a copy in its own region, where its original is named for whoever would write it."""
        put(backend, destination, Slot.CURRENT, FIRST)
        fake.set_policy(fake.account.user("us"), allow("*"))
        there = create({**settings(fake.url), "region": "eu-central-1"}, surroundings(credentials))
        held = there.read(destination, Slot.CURRENT)
        assert held.fields == FIRST
        with pytest.raises(Invalid, match=f"the region of the original, {REGION}"):
            there.write(destination, Slot.CURRENT, SECOND, MARKER, held.token)
        assert any("is a replica here" in problem for problem in there.preflight(destination))
        there.close()


@pytest.fixture
def admins(fake: FakeAws) -> Iterator[AwsSecrets]:
    """A backend that may do everything."""
    plugin = create(settings(fake.url), surroundings(fake.admin, fake.clock.now))
    yield plugin
    plugin.close()


FUNCTION = f"arn:aws:lambda:{REGION}:123456789012:function:rotate"


def test_a_secret_that_a_function_rotates_is_refused(fake: FakeAws, admins: AwsSecrets) -> None:
    """Two who rotate one secret undo each other; our own function may be set."""
    destination = destination_of("apps/rotated")
    token = put(admins, destination, Slot.CURRENT, FIRST)
    fake.client("secretsmanager").rotate_secret(SecretId="apps/rotated", RotationLambdaARN=FUNCTION, RotateImmediately=False)
    with pytest.raises(Invalid, match="rotated by a function"):
        admins.write(destination, Slot.CURRENT, SECOND, later(MARKER), token)
    assert any("rotated by a function" in problem for problem in admins.preflight(destination))
    assert admins.read(destination, Slot.CURRENT).fields == FIRST
    ours = create(settings(fake.url, rotation_function=FUNCTION), surroundings(fake.admin))
    assert ours.preflight(destination) == []
    ours.write(destination, Slot.CURRENT, SECOND, later(MARKER), token)
    ours.close()


def test_a_secret_that_is_being_deleted_is_told(fake: FakeAws, admins: AwsSecrets) -> None:
    """It is not empty: neither read nor written until somebody restores it, and then it is what it was."""
    destination, client = destination_of("apps/doomed"), fake.client("secretsmanager")
    token = put(admins, destination, Slot.CURRENT, FIRST)
    client.delete_secret(SecretId="apps/doomed")
    for call in (
        lambda: admins.read(destination, Slot.CURRENT),
        lambda: admins.write(destination, Slot.CURRENT, SECOND, later(MARKER), token),
    ):
        with pytest.raises(Invalid, match="scheduled for deletion"):
            call()
    assert any("scheduled for deletion" in problem for problem in admins.preflight(destination))
    client.restore_secret(SecretId="apps/doomed")
    assert admins.read(destination, Slot.CURRENT).token == token


def test_a_secret_made_anew_is_another(fake: FakeAws, admins: AwsSecrets) -> None:
    """Same name, same labels, another random part of the ARN: a write under the old token loses."""
    destination, client = destination_of("apps/anew"), fake.client("secretsmanager")
    token = put(admins, destination, Slot.CURRENT, FIRST)
    client.delete_secret(SecretId="apps/anew", ForceDeleteWithoutRecovery=True)
    fake.advance(10)
    assert admins.read(destination, Slot.CURRENT).empty
    client.create_secret(Name="apps/anew", SecretString='{"TOKEN": "theirs"}')
    with pytest.raises(Conflict):
        admins.write(destination, Slot.CURRENT, SECOND, later(MARKER), token)


def test_a_secret_without_a_value_is_empty(fake: FakeAws, admins: AwsSecrets) -> None:
    """As it comes out of Terraform; the first version becomes current, and tags and key stay theirs."""
    fake.client("secretsmanager").create_secret(Name="apps/hollow", Tags=[{"Key": "made", "Value": "by hand"}])
    destination = destination_of("apps/hollow")
    assert admins.read(destination, Slot.CURRENT).empty
    put(admins, destination, Slot.CURRENT, FIRST)
    assert admins.read(destination, Slot.CURRENT).fields == FIRST
    assert fake.secret("apps/hollow").tags == {"made": "by hand"}


@pytest.mark.parametrize("value", ["not JSON", "[1]", '{"TOKEN": 7}', b"bytes"])
def test_other_peoples_values_are_no_error(fake: FakeAws, admins: AwsSecrets, value: Any) -> None:
    """Whatever form they have: not empty, not ours, replaced only under their own token."""
    name = f"apps/theirs-{abs(hash(value))}x"
    part = "SecretBinary" if isinstance(value, bytes) else "SecretString"
    fake.client("secretsmanager").create_secret(Name=name, **{part: value})
    held = admins.read(destination_of(name), Slot.CURRENT)
    assert (held.empty, held.fields, held.marker) == (False, None, None)
    admins.write(destination_of(name), Slot.CURRENT, FIRST, MARKER, held.token)
    assert admins.read(destination_of(name), Slot.CURRENT).fields == FIRST


def test_what_keeps_a_secret_from_being_kept_well_is_told(fake: FakeAws, admins: AwsSecrets) -> None:
    """Another account, another key, more versions in a day than AWS can collect."""
    destination = destination_of("apps/crowded")
    for number in range(91):
        put(admins, destination, Slot.CURRENT, FIRST, later(MARKER, number))
    assert any("versions within a day" in problem for problem in admins.preflight(destination))
    fake.advance(86_500)
    assert admins.preflight(destination) == []
    other = create(settings(fake.url, kms_key_id="alias/other"), surroundings(fake.admin))
    assert any("not with alias/other" in problem for problem in other.preflight(destination))
    other.close()
    stranger = create({**settings(fake.url), "account": "999999999999"}, surroundings(fake.admin))
    assert any("999999999999" in problem for problem in stranger.preflight(destination))
    stranger.close()


def test_a_value_too_long_is_an_error_without_the_value(admins: AwsSecrets) -> None:
    """What AWS cannot take raises, says so and shows nothing."""
    with pytest.raises(Invalid) as caught:
        put(admins, destination_of("apps/long"), Slot.CURRENT, type(FIRST)({"token": "x" * 70_000}))
    assert "xxx" not in str(caught.value)


def test_a_retired_secret_is_empty(fake: FakeAws, admins: AwsSecrets) -> None:
    """Readers find an empty object, and nothing of ours."""
    destination = destination_of("apps/retired")
    admins.clear(destination, Slot.CURRENT, put(admins, destination, Slot.CURRENT, FIRST))
    assert fake.client("secretsmanager").get_secret_value(SecretId="apps/retired")["SecretString"] == "{}"
    assert admins.read(destination, Slot.CURRENT).empty


@pytest.mark.parametrize("address", [{"name": ""}, {"name": "a b"}, {"name": "arn:aws:x"}, {"name": "x-Ab12Cd"}, {"nmae": "x"}])
def test_bad_addresses_are_told(address: JsonMap) -> None:
    """What AWS would refuse, or take for another secret."""
    plugin = create(settings("http://127.0.0.1:1"), surroundings(NOBODY))
    assert list(plugin.check(Destination(backend="sm", address=address, keys={"TOKEN": "token"})))


@pytest.mark.parametrize(("keys", "version_key"), [({"A": "a", "B": "b"}, None), ({}, None), ({"A": "a"}, "VERSION")])
def test_a_plain_secret_holds_one_value(keys: dict[str, str], version_key: str | None) -> None:
    """Anything else has no place in it."""
    plugin = create(settings("http://127.0.0.1:1"), surroundings(NOBODY))
    address = {"name": "x", "format": "plain"}
    assert list(plugin.check(Destination(backend="sm", address=address, keys=keys, version_key=version_key)))


@pytest.mark.parametrize(
    "wrong", [{"slots": "x/{slot}"}, {"tags": {"aws:x": "y"}}, {"tags": {"rotatord:x": "y"}}, {"regoin": "x"}]
)
def test_mistyped_settings_are_refused(wrong: JsonMap) -> None:
    """Before anything is asked."""
    with pytest.raises(pydantic.ValidationError):
        create(settings("http://127.0.0.1:1", **wrong), surroundings(NOBODY))


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
