"""The engine's copies are what ``dataclasses.replace`` would have made, and the old value stays as it was."""

from __future__ import annotations

import dataclasses

import pytest

from rotatord import model
from rotatord.model import Policy, Spec
from rotatord.replacing import replace

NOUNS = sorted(
    {kind for kind in vars(model).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)},
    key=lambda kind: kind.__name__,
)


def test_a_copy_differs_in_what_was_changed_only() -> None:
    """Also after the first, whose class is learned."""
    old = Spec(name="a", issuer="i", policy=Policy(name="p"))
    for _ in range(2):
        new = replace(old, issuer="j")
        assert new == dataclasses.replace(old, issuer="j")
        assert old.issuer == "i"
        assert new.policy is old.policy
    with pytest.raises(dataclasses.FrozenInstanceError):
        new.issuer = "k"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        replace(old, no_such_field=1)


@pytest.mark.parametrize("kind", NOUNS, ids=lambda kind: kind.__name__)
def test_every_noun_may_be_copied_like_that(kind: type) -> None:
    """Frozen, with slots, with more than one field, and nothing that runs when one is made."""
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert hasattr(kind, "__slots__")
    assert len(dataclasses.fields(kind)) > 1
    assert not hasattr(kind, "__post_init__")
