"""Periodic chores: each does its part whatever the others do, and whatever is done to the wall clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rotatord.chores import Chore, Chores
from rotatord.clock import SystemClock
from rotatord.errors import Retryable

SECONDS = 10.0


class Lines:
    """A log that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, what: str, **facts: Any) -> None:
        self.said.append((what, facts))


@contextmanager
def running(log: Callable[..., None], *chores: Chore) -> Iterator[Chores]:
    """Chores that are ended with the test."""
    started = Chores(SystemClock(), list(chores), log)
    started.start()
    try:
        yield started
    finally:
        started.stop()


def test_a_chore_that_fails_harms_no_other() -> None:
    """A failing chore, our bug included, is logged by name; the others are done, and what failed is tried again."""
    tried, done = threading.Semaphore(0), threading.Event()

    def away() -> None:
        raise Retryable("the store is away")

    def bug() -> None:
        tried.release()
        raise ValueError("a bug")

    log = Lines()
    with running(log, Chore("away", 1, away), Chore("bug", 1, bug), Chore("good", 1, done.set)) as chores:
        before = chores.ticked_at
        assert done.wait(SECONDS)
        assert tried.acquire(timeout=SECONDS)
        assert tried.acquire(timeout=SECONDS), "it was not tried again"
        assert chores.ticked_at > before, "a live thread cannot be told from a stalled one"
    failed = {facts["chore"]: facts["error"] for what, facts in log.said if what == "chore failed"}
    assert failed["away"] == "the store is away"
    assert failed["bug"].startswith("bug: ValueError in test_chores.py:")  # its text could quote anything


def test_chores_that_never_began_can_be_stopped() -> None:
    """A daemon whose start failed, or that runs once, ends its chores without having begun them."""
    Chores(SystemClock(), [Chore("never", 1, lambda: None)], Lines()).stop()


def test_a_chore_in_hand_is_finished_and_no_other_begun() -> None:
    """Stopping waits for the chore in hand."""
    begun, ended = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        ended.wait(0.05)
        ended.set()

    log = Lines()
    with running(log, Chore("slow", 1, slow)):
        assert begun.wait(SECONDS)
    assert ended.is_set()
    assert log.said == []


def test_a_wall_clock_that_is_set_back_stops_no_chore(monkeypatch: pytest.MonkeyPatch) -> None:
    """When local time goes back by hours, as it does at the end of summer time, chores are done on as before."""
    done = threading.Event()
    try:
        monkeypatch.setenv("TZ", "UTC0")
        time.tzset()
        with running(Lines(), Chore("regular", 1, done.set)):
            monkeypatch.setenv("TZ", "BACK5")
            time.tzset()
            assert done.wait(SECONDS)
    finally:
        monkeypatch.undo()
        time.tzset()
