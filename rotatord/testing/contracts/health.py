"""What every health check must do; see :class:`rotatord.ports.Health`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rotatord.ports import Health, Published
from rotatord.testing.contracts.common import Contract, assert_within

ANSWERS = {"healthy", "unhealthy", "unknown"}
LONGEST_DETAIL = 500  # it goes into records and events


class HealthSetting(Contract):
    """The fixtures of the health suite. ``health`` must be given."""

    @pytest.fixture
    def health(self) -> Health:
        """A check of something that is healthy and runs on ``published``."""
        raise NotImplementedError

    @pytest.fixture
    def published(self) -> Published:
        return Published(
            credential="contract",
            label="2-0123abcd",
            rotation="rot_1",
            token="contract-reload",  # noqa: S106 - an idempotence token
            at=datetime(2026, 1, 5, 12, 0, tzinfo=UTC),
        )

    @pytest.fixture
    def unhealthy(self) -> Health | None:
        """A check of something that says that it is not well."""
        return None

    @pytest.fixture
    def unreachable(self) -> Health | None:
        """A check of something that is not there."""
        return None

    @pytest.fixture
    def hanging(self) -> Health | None:
        """A check of something that never answers (``rotatord.testing.silent``)."""
        return None

    @pytest.fixture
    def nonsense(self) -> Health | None:
        """A check of something that answers what nobody can read."""
        return None


class HealthContract(HealthSetting):
    """The whole suite."""

    def test_healthy_is_said(self, health: Health, published: Published) -> None:
        """What is well is healthy, every time it is asked."""
        for _ in range(3):
            assert _answer(health, published) == "healthy"

    def test_unhealthy_is_said(self, unhealthy: Health | None, published: Published) -> None:
        """What says that it is not well is unhealthy: an answer, not an exception."""
        assert _answer(self.needed("unhealthy", unhealthy), published) == "unhealthy"

    def test_what_is_not_there_is_not_healthy(self, unreachable: Health | None, published: Published) -> None:
        """Nobody there: unhealthy or unknown, within the timeout, and no exception."""
        assert _answer(self.needed("unreachable", unreachable), published) != "healthy"

    def test_what_never_answers_is_unknown(self, hanging: Health | None, published: Published) -> None:
        """No answer within the timeout proves nothing; it is not healthy."""
        assert _answer(self.needed("hanging", hanging), published) != "healthy"

    def test_nonsense_is_not_healthy(self, nonsense: Health | None, published: Published) -> None:
        """An answer that cannot be read is not healthy, and no exception."""
        assert _answer(self.needed("nonsense", nonsense), published) != "healthy"


def _answer(health: Health, published: Published) -> str:
    """One check, which must come in time, with a word that the gate knows and a detail fit for one line."""
    assert 0 < health.timeout < float("inf")
    result = assert_within(health.timeout, lambda: health.check(published), ())
    assert isinstance(result, tuple)
    verdict, detail = result
    assert verdict in ANSWERS
    assert isinstance(detail, str)
    assert "\n" not in detail
    assert len(detail) <= LONGEST_DETAIL
    return str(verdict)
