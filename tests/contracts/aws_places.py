"""The strict AWS, and identities of ours in it with exactly the rights that a plugin says it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from rotatord.errors import Denied
from rotatord.model import Destination, JsonMap, Slot
from rotatord.ports import Backend, BackendPreflight, Surroundings
from rotatord.rights import AwsRight
from rotatord.testing.aws import REGION, Credentials, FakeAws, allow
from rotatord.testing.aws.quotas import RATES, Rate
from rotatord.testing.contracts.backend_setting import FIRST, MARKER, SECOND, later, put
from rotatord.testing.silent import closed_port, silent_server

ACCOUNT = "123456789012"
QUICK = {"connect_timeout": 0.5, "read_timeout": 0.5, "timeout": 1.0}


def policy(rights: Iterable[AwsRight]) -> str:
    """One policy of several rights, each a statement."""
    statements: list[JsonMap] = []
    for right in rights:
        statement: JsonMap = {"Effect": "Allow", "Action": list(right.actions), "Resource": list(right.resources)}
        for operator, key, value in right.conditions:
            statement.setdefault("Condition", {}).setdefault(operator, {})[key] = value
        statements.append(statement)
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def nothing() -> str:
    """A policy that is of no use here."""
    return allow("s3:ListAllMyBuckets")


def settings(url: str, **more: Any) -> JsonMap:
    """Settings of a plugin that signs with the references ``id`` and ``secret``."""
    return {
        "region": REGION,
        "account": ACCOUNT,
        "endpoint_url": url,
        "access_key": {"id": {"env": "id"}, "secret": {"env": "secret"}},
        **more,
    }


def surroundings(credentials: Credentials, now: Callable[[], datetime] | None = None) -> Surroundings:
    """What a factory is given; references lead to this key."""
    known = {"id": credentials.id, "secret": credentials.secret}

    def secret(reference: JsonMap | str) -> str:
        assert isinstance(reference, dict)
        return known[reference["env"]]

    return Surroundings(
        installation="contract-installation", state_dir="", now=now or (lambda: datetime.now(UTC)), secret=secret
    )


NOBODY = Credentials("AKIAAAAAAAAAAAAAAAAA", "nobody")


@contextmanager
def strict_aws() -> Iterator[FakeAws]:
    """Started, and stopped at the end."""
    with FakeAws() as fake:
        fake.quotas.rates.update(dict.fromkeys(RATES, Rate(10_000)))  # rates are tested by themselves
        yield fake


def walk(backend: Backend, destination: Destination) -> None:
    """Everything that the engine asks of a backend at one place, over something and over nothing."""
    for slot in Slot:
        token = put(backend, destination, slot, FIRST)
        token = backend.write(destination, slot, SECOND, later(MARKER), token)
        token = backend.clear(destination, slot, token)
        backend.write(destination, slot, FIRST, later(MARKER, 2), token)
        assert backend.read(destination, slot).fields == FIRST
    assert isinstance(backend, BackendPreflight)
    assert list(backend.preflight(destination, home=True)) == []


def unused(fake: FakeAws, rights: Iterable[AwsRight], key: str) -> list[tuple[str, str]]:
    """What was granted and never asked for by the holder of a key, action by action and resource by resource. Fails where
    something was asked for and denied."""
    us = {call.caller for call in fake.calls if call.key == key}
    asked = [one for one in fake.decisions if one.caller in us]
    assert [one for one in asked if not one.allowed] == []
    left = []
    for right in rights:
        for resource in right.resources:
            shape = re.escape(resource).replace(r"\?", ".").replace(r"\*", ".*")
            used = {one.action for one in asked if re.fullmatch(shape, one.resource)}
            left += [(resource, action) for action in right.actions if action not in used]
    return left


class Strictly:
    """What the contracts of AWS's stores ask of the strict AWS: who is denied, who is not reached, and the exact rights.
    Stands before the contract among the bases of a class."""

    create: ClassVar[Callable[[JsonMap, Surroundings], Any]]
    extra: ClassVar[JsonMap] = {}

    @pytest.fixture
    def denied(self, fake: FakeAws) -> Iterator[Backend]:
        nobody = fake.identity(f"nobody-{len(fake.calls)}", nothing())
        plugin = self.create(settings(fake.url, **self.extra), surroundings(nobody))
        yield plugin
        plugin.close()

    @pytest.fixture
    def unreachable(self) -> Iterator[Backend]:
        with closed_port() as port:
            yield self.create(settings(f"http://127.0.0.1:{port}", **QUICK), surroundings(NOBODY))

    @pytest.fixture
    def hanging(self) -> Iterator[Backend]:
        with silent_server() as port:
            yield self.create(settings(f"http://127.0.0.1:{port}", **QUICK), surroundings(NOBODY))

    def test_rights_are_exact(self, backend: Any, destination: Destination, fake: FakeAws, credentials: Credentials) -> None:
        """With exactly the rights that are named everything works, and none of them is of no use; nor for reading alone."""
        walk(backend, destination)
        assert unused(fake, backend.rights(destination, home=True), credentials.id) == []
        fake.set_policy(fake.account.user("us"), policy(backend.read_rights(destination)))
        assert backend.read(destination, Slot.CURRENT).fields == FIRST
        with pytest.raises(Denied):
            put(backend, destination, Slot.CURRENT, FIRST)
