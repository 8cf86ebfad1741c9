"""What the daemon's life says when something nobody expected happens."""

from __future__ import annotations

import logging
import threading

import pytest

from rotatord import life


def test_a_thread_that_ends_by_a_bug_is_told_without_its_text(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter would print the error's text, which could quote a secret; kind and place are enough to find it."""
    monkeypatch.setattr(threading, "excepthook", life._thread_ended)

    def buggy() -> None:
        raise ValueError("hidden-value")

    with caplog.at_level(logging.ERROR, "rotatord"):
        thread = threading.Thread(target=buggy)
        thread.start()
        thread.join(timeout=10)
    assert "ValueError in test_life.py" in caplog.text
    assert "hidden-value" not in caplog.text
