"""What the daemon's life says when something nobody expected happens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from rotatord import life


@pytest.fixture
def hooked() -> Iterator[None]:
    """Threads end as those of a daemon do."""
    before, threading.excepthook = threading.excepthook, life._thread_ended
    yield
    threading.excepthook = before


@pytest.mark.usefixtures("hooked")
def test_a_thread_that_ends_by_a_bug_is_told_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    """The interpreter would print the error's text, which could quote a secret; kind and place are enough to find it."""

    def buggy() -> None:
        raise ValueError("hidden-value")

    with caplog.at_level(logging.ERROR, "rotatord"):
        thread = threading.Thread(target=buggy)
        thread.start()
        thread.join(timeout=10)
    assert "ValueError in test_life.py" in caplog.text
    assert "hidden-value" not in caplog.text
