"""Helm, in a place of its own for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helm.charting import Helm
from tests.servers.fixtures import need
from tests.servers.helm import HELM


@pytest.fixture
def helm(tmp_path: Path) -> Helm:
    """Helm without a cluster."""
    place = tmp_path / "helm"
    place.mkdir()
    return Helm(need(HELM), place)
