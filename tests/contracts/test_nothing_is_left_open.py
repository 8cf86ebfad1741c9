"""For a plugin that people run no check of its contract is passed over without a word."""

from __future__ import annotations

from typing import ClassVar

import pytest

from rotatord.testing.contracts.health import HealthContract


class Fake(HealthContract):
    """Of no plugin."""


class Shipped(HealthContract):
    plugin = "shipped"
    not_applicable: ClassVar = {"nonsense": "it reads nothing"}


class Inherited(Shipped):
    """One more way to use the plugin, without more to say."""


def test_what_a_plugin_does_not_give_fails() -> None:
    """Neither given nor declared: the tests that need it fail for a plugin, and are skipped for a fake."""
    with pytest.raises(pytest.fail.Exception, match="hanging"):
        Shipped().needed("hanging", None)
    with pytest.raises(pytest.skip.Exception, match="hanging"):
        Fake().needed("hanging", None)
    assert Shipped().needed("hanging", "given") == "given"


@pytest.mark.parametrize("suite", [Shipped, Inherited])
def test_what_cannot_exist_leaves_its_tests_out(suite: type[HealthContract]) -> None:
    """Only the tests of what is declared, and only in the class that declares it or in those made from it."""
    assert suite.test_nonsense_is_not_healthy is None
    assert suite.test_what_never_answers_is_unknown is HealthContract.test_what_never_answers_is_unknown
    assert Fake.test_nonsense_is_not_healthy is HealthContract.test_nonsense_is_not_healthy


@pytest.mark.parametrize(("fixture", "reason"), [("nonsens", "mistyped"), ("nonsense", " ")])
def test_a_declaration_names_a_fixture_and_says_why(fixture: str, reason: str) -> None:
    """A name that no test needs, or no reason, is a mistake of the class."""
    with pytest.raises(TypeError, match="not_applicable"):
        type("Wrong", (HealthContract,), {"not_applicable": {fixture: reason}})
