"""What all contract suites share."""

from __future__ import annotations

import inspect
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, TypeVar

import pytest

from rotatord.clock import SystemClock
from rotatord.secret import Secret

T = TypeVar("T")
SLACK_SECONDS = 2.0  # for starting threads and the like, on top of a plugin's own timeout


class Contract:
    """Base of the suites.

    ``plugin``: the name under which the plugin is registered as an entry point. A class that says it is a proof for a
    plugin that people run: a fixture that it does not give fails the tests that need it, where others skip them.

    ``not_applicable``: fixtures of things that cannot exist for this plugin, each with the reason. Their tests are left out.
    """

    plugin: ClassVar[str] = ""
    not_applicable: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        tests = _tests_of(cls)
        for fixture, reason in cls.not_applicable.items():
            if not reason.strip():
                raise TypeError(f"{cls.__name__}: not_applicable: say why there is no {fixture}")
            if not any(fixture in inspect.signature(test).parameters for test in tests.values()):
                raise TypeError(f"{cls.__name__}: not_applicable: no test needs a fixture {fixture!r}")
        for name, test in tests.items():
            setattr(cls, name, test if cls.applies(test) else None)  # pytest collects no None

    @classmethod
    def applies(cls, test: Callable[..., object]) -> bool:
        """Whether what the class declares leaves room for this test."""
        return cls.not_applicable.keys().isdisjoint(inspect.signature(test).parameters)

    @pytest.fixture
    def settle(self) -> Callable[[], None]:
        """Let pass whatever the other side needs to believe what was done. Default: nothing."""
        return lambda: None

    def needed(self, fixture: str, value: T | None) -> T:
        """The value of an optional fixture. Without one the test is skipped, and fails where the class names its plugin."""
        if value is None:
            if self.plugin:
                pytest.fail(f"give the fixture {fixture}, or say in not_applicable why there is none for {self.plugin}")
            pytest.skip(f"no fixture {fixture} given")
        return value


def _tests_of(cls: type) -> dict[str, Callable[..., object]]:
    """All tests of the suite by name, those too that a class in between left out."""
    bases = reversed(cls.__mro__)
    return {name: test for base in bases for name, test in vars(base).items() if name.startswith("test_") and callable(test)}


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
