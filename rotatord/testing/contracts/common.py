"""What all contract suites share."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable
from typing import ClassVar, TypeVar

import pytest

from rotatord.clock import SystemClock
from rotatord.secret import Secret

T = TypeVar("T")
SLACK_SECONDS = 2.0  # for starting threads and the like, on top of a plugin's own timeout


class Contract:
    """Base of the suites. ``plugin``: the name under which the plugin is registered as an entry point."""

    plugin: ClassVar[str] = ""

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        """Let pass whatever the other side needs to believe what was done. Default: nothing."""
        return lambda: None


def needed(value: T | None, reason: str) -> T:
    """The value of an optional fixture; skips the test where there is none."""
    if value is None:
        pytest.skip(reason)
    return value


def texts_of(error: BaseException) -> str:
    """All that would be printed of an error, its causes included."""
    return "\n".join([str(error), repr(error), *traceback.format_exception(error)])


def assert_hides(text: str, secrets: Iterable[Secret]) -> None:
    """No value of these secrets is in the text. Says which field, never the value."""
    for secret in secrets:
        for name in sorted(secret.names):
            assert secret.reveal(name) not in text, f"the value of {name} is shown"


def assert_within(seconds: float, call: Callable[[], object], errors: tuple[type[Exception], ...]) -> object:
    """Run a call that must end in time, in an answer or one of ``errors``; returns whichever it was."""
    clock = SystemClock()
    start = clock.monotonic()
    result: object
    try:
        result = call()
    except errors as error:
        result = error
    took = clock.monotonic() - start
    assert took <= seconds + SLACK_SECONDS, f"took {took:.1f} s, promised {seconds} s"
    return result


def eventually(condition: Callable[[], bool], what: str, *, within: float = 10.0) -> None:
    """Look again and again until ``condition`` holds; fails after ``within`` seconds. For real things that take time."""
    clock = SystemClock()
    end = clock.monotonic() + within
    never = threading.Event()
    while not condition():
        assert clock.monotonic() < end, f"not within {within} s: {what}"
        clock.wait(never, 0.02)
