"""For a plugin that people run no check of its contract is passed over without a word."""

from __future__ import annotations

from typing import ClassVar

import pytest

from rotatord.ports import Inventory, Traits
from rotatord.testing.clock import VirtualClock
from rotatord.testing.contracts.health import HealthContract
from rotatord.testing.contracts.issuer import IssuerContract
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.powers import FullIssuer


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


class Stated(IssuerContract):
    """Says what it is about."""

    traits = Traits(fields=("token",), strategy="in_place")
    powers = frozenset({Inventory})


class Another(Stated):
    """Of the same plugin, used otherwise."""

    traits = Traits(fields=("token",), max_live=2)


def test_what_is_for_other_issuers_is_left_out() -> None:
    """By traits and powers, decided anew for each class; where nothing is said, everything is there."""
    assert Stated.test_suspension_is_reversible is None
    assert Stated.test_two_mints_are_two_versions is None
    assert Stated.test_in_place_the_second_mint_ends_the_first is not None
    assert Stated.test_the_inventory_is_complete is not None
    assert Another.test_two_mints_are_two_versions is not None
    assert Another.test_in_place_the_second_mint_ends_the_first is None
    assert IssuerContract.test_suspension_is_reversible is not None


def test_an_issuer_that_is_something_else_is_found_out() -> None:
    """A class cannot leave tests out by saying something that is not so."""
    in_place, full = FakeIssuer(VirtualClock(), traits=Stated.traits), FullIssuer(VirtualClock(), traits=Stated.traits)
    for suite, issuer in ((Another(), in_place), (Stated(), in_place), (Stated(), full)):
        with pytest.raises(AssertionError):
            suite.test_it_is_what_was_said(issuer)
