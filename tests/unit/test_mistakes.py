"""Mistakes in words: pydantic's findings as sentences, never with the value they were found in."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict

from rotatord.mistakes import form, known_keys, nearest, sentences


class Inner(BaseModel):
    """A nested section."""

    model_config = ConfigDict(extra="forbid")
    permissions: list[str]
    rate: int = 1


class Outer(BaseModel):
    """A section with sections in it."""

    model_config = ConfigDict(extra="forbid")
    one: Inner | None = None
    many: list[Inner] = []
    named: dict[str, Inner] = {}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (
            {"one": {"permission": []}},
            ["scope.one: 'permissions' is missing", "scope.one: unknown key 'permission'; did you mean permissions?"],
        ),
        ({"many": [{"permissions": "planted"}]}, ["scope.many.0.permissions: should be a list"]),
        ({"named": {"x": {"permissions": [], "rate": "planted"}}}, ["scope.named.x.rate: should be a whole number"]),
        ("planted", ["scope: should be a mapping"]),
        ({}, []),
    ],
)
def test_sentences_name_the_place_and_not_the_value(value: object, told: list[str]) -> None:
    """Place, what, and what was perhaps meant."""
    assert sentences(Outer, value, "scope") == told


def test_a_form_is_told_in_words_and_not_as_a_pattern() -> None:
    """The whole text has to match, and it is not quoted."""

    class Place(BaseModel):
        account: Annotated[str, form(r"\d{3}", "three digits")] | None = None

    assert sentences(Place, {"account": "123"}) == []
    for wrong in ("12", "1234", "123\n"):
        assert sentences(Place, {"account": wrong}) == ["account: should be three digits"]


def test_keys_are_found_through_lists_mappings_and_unions() -> None:
    """What could have been written at a place inside a model."""
    assert known_keys(Outer, ()) == ["one", "many", "named"]
    assert (
        known_keys(Outer, ("one",))
        == known_keys(Outer, ("many", 3))
        == known_keys(Outer, ("named", "x"))
        == ["permissions", "rate"]
    )
    assert known_keys(Outer, ("one", "rate")) == []


def test_only_what_is_close_is_suggested() -> None:
    """A wild guess helps nobody."""
    assert nearest("Tokns", ["tokens", "files"]) == "tokens"
    assert nearest("xyz", ["tokens", "files"]) is None
