"""The environment that is meant: where `account` names another one than our identity's, nothing is begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backends import aws_secrets_manager, aws_ssm_parameter
from issuers import aws_iam_user
from rotatord.model import Destination
from rotatord.testing.aws import FakeAws
from tests.contracts.aws_places import ACCOUNT, settings, strict_aws, surroundings

OTHER = "999999999999"
PLACE = {"backend": "aws", "keys": {"TOKEN": "token"}}
SECRET = Destination(address={"name": "apps/one"}, **PLACE)
PARAMETER = Destination(address={"name": "/apps/one"}, **PLACE)

Look = Callable[[Any], Any]
PLUGINS: tuple[tuple[Any, Look], ...] = (
    (aws_secrets_manager, lambda plugin: plugin.preflight(SECRET)),
    (aws_ssm_parameter, lambda plugin: plugin.preflight(PARAMETER)),
    (aws_iam_user, lambda plugin: plugin.preflight({}, {"user": "app"})),
)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeAws]:
    with strict_aws() as started:
        yield started


@pytest.mark.parametrize(("module", "look"), PLUGINS, ids=lambda each: getattr(each, "__name__", ""))
def test_another_account_is_not_touched(fake: FakeAws, module: Any, look: Look) -> None:
    """The look before each mint says so, which ends that rotation before anything is made; of the right account it does not."""
    for account, wrong in ((OTHER, True), (ACCOUNT, False)):
        plugin = module.create(settings(fake.url, account=account), surroundings(fake.admin, fake.clock.now))
        try:
            assert any("is not of account" in sentence for sentence in look(plugin)) is wrong
        finally:
            plugin.close()
