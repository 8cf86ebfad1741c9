"""The Vault that is meant is named, and no other is spoken to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rotatord.errors import Retryable
from rotatord.ports import Surroundings
from rotatord.testing.loopback import Answer, Asked, Loopback, answer_json
from rotatord.vault_client import CONFIRMED_SECONDS, VaultClient, VaultSettings

PRODUCTION = "5f2d3c1e-production"


class Environment:
    """A server under a fixed name that answers as one cluster or another. ``now``: the client's clock."""

    def __init__(self, server: Loopback, surroundings: Callable[..., Surroundings], tmp_path: Path) -> None:
        (tmp_path / "token").write_text("own-token")
        self.cluster: dict[str, Any] = {"cluster_id": PRODUCTION}
        self.status, self.now, self.server = 200, 0.0, server
        server.answer = self.answer
        settings = {"address": server.url, "auth": {"token_file": str(tmp_path / "token")}, "cluster_id": PRODUCTION}
        self.vault = VaultClient(VaultSettings.model_validate(settings), surroundings(), lambda: self.now)

    def answer(self, asked: Asked) -> Answer:
        if asked.path.endswith("sys/health"):
            return answer_json(self.cluster, self.status)
        return answer_json({"data": {"found": "here"}})

    def paths(self) -> list[str]:
        return [asked.path.removeprefix("/v1/") for asked in self.server.asked]


@pytest.fixture
def environment(surroundings: Callable[..., Surroundings], tmp_path: Path) -> Iterator[Environment]:
    with Loopback() as server:
        yield Environment(server, surroundings, tmp_path)


def test_the_cluster_that_is_meant_is_asked(environment: Environment) -> None:
    """It is recognised without showing a token, once for many requests; a standby is one of the cluster, too."""
    environment.status = 429
    calls = environment.vault.calls()
    assert [calls.get("x").data for _ in range(3)] == [{"found": "here"}] * 3
    assert environment.paths() == ["sys/health", "x", "x", "x"]
    assert "x-vault-token" not in environment.server.asked[0].headers


@pytest.mark.parametrize("other", [{"cluster_id": "0000-staging"}, {}, {"sealed": True}])
def test_another_one_hears_nothing(environment: Environment, other: dict[str, Any]) -> None:
    """No token, path or value of ours reaches a cluster that is another, or does not say which it is."""
    environment.cluster = other
    with pytest.raises(Retryable):
        environment.vault.calls().post("x", {"data": {"TOKEN": "secret"}})
    assert environment.paths() == ["sys/health"]


def test_a_name_that_leads_elsewhere_one_day(environment: Environment) -> None:
    """The same address answers as another cluster: within a minute nothing is asked of it any more, until it is back."""
    environment.vault.calls().get("x")
    environment.cluster = {"cluster_id": "0000-staging"}
    environment.now += CONFIRMED_SECONDS
    with pytest.raises(Retryable, match="0000-staging"):
        environment.vault.calls().get("x")
    environment.cluster = {"cluster_id": PRODUCTION}
    assert environment.vault.calls().get("x").data == {"found": "here"}
