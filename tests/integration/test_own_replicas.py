"""Several daemons that speak to Vault with one token and one login of their own: none of them may be left with the old one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.on_own_vault import Ours
from tests.integration.replicas import Fleet, fleet, freeze, thaw
from tests.servers.postgresql import Database
from tests.servers.vault import VaultServer

pytestmark = [pytest.mark.postgresql, pytest.mark.vault, pytest.mark.slow, pytest.mark.timeout(600)]
LEASE_SECONDS = 14  # every call of these plugins fits


@pytest.fixture
def ours(own_vault: VaultServer, tmp_path: Path) -> Ours:
    return Ours.make(own_vault, tmp_path)


@pytest.fixture
def company(ours: Ours, database: Database, tmp_path: Path) -> Iterator[Fleet]:
    with fleet(tmp_path / "fleet", ours.config, database.url, lease_seconds=LEASE_SECONDS) as made:
        ours.adopt(made.daemons[0])
        yield made


def test_every_daemon_shows_the_new_one(ours: Ours, company: Fleet) -> None:
    """The proof names each daemon that is alive, for each whom it speaks to; one that was killed counts no longer."""
    first, second = company.daemons
    for name in ("own-token", "own-login", "app"):
        first.rotated(name, 120)
    shown = first.events("own-login", "verify", "done")[-1]["evidence"]["evidence"]
    proven = {item["subject"] for item in shown if item["check"] == "consumers_proven"}
    assert len(proven) == 4, proven  # two daemons, an issuer and a backend
    assert {item["verdict"] for item in shown} == {"pass"}
    second.stop(signal.SIGKILL)
    for name in ("own-token", "own-login", "app"):
        first.rotated(name, 120)
    second.start()
    for name in ("own-login", "own-token", "app"):
        second.rotated(name, 120)
    assert ours.refused() == []
    assert len(ours.own_tokens()) == len(ours.secret_ids()) == 1


def test_one_that_stands_still_goes_on_with_the_new_one(ours: Ours, company: Fleet) -> None:
    """Frozen, it is not counted once it has not been heard of; going on, it remembers the old token, and takes the new one."""
    first, second = company.daemons
    freeze(second)
    first.rotated("own-token", 120)
    first.rotated("own-login", 120)
    thaw(second)
    second.until(second.answers, "answer")
    for name in ("own-token", "own-login", "app"):
        second.rotated(name, 120)
    assert len(ours.own_tokens()) == len(ours.secret_ids()) == 1
