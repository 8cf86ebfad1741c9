"""Helm, in a place of its own for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helm.charting import Helm


@pytest.fixture
def helm(tmp_path: Path) -> Helm:
    """Helm without a cluster."""
    found = shutil.which("helm")
    if found is None:
        pytest.skip("no helm")
    place = tmp_path / "helm"
    place.mkdir()
    return Helm(Path(found), place)
