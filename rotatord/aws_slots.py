"""What the stores of AWS have in common of their settings: where our slots lie, and the tags of what we make."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

_OURS = "rotatord:"  # the start of our tags' keys


def _names_both(value: str) -> str:
    if value.count("{name}") != 1 or value.count("{slot}") != 1:
        raise ValueError("needs {name} and {slot}, once each")
    return value


def _are_theirs(value: dict[str, str]) -> dict[str, str]:
    if any(key.startswith(("aws:", _OURS)) for key in value):
        raise ValueError(f"may not begin with aws: or {_OURS}")
    return value


SlotNames = Annotated[str, AfterValidator(_names_both)]
Tags = Annotated[dict[str, str], AfterValidator(_are_theirs)]


def tags_of(installation: str, credential: str, theirs: dict[str, str]) -> list[dict[str, str]]:
    """The tags of something that we make, as AWS takes them."""
    ours = {f"{_OURS}installation": installation} | ({f"{_OURS}credential": credential} if credential else {})
    return [{"Key": key, "Value": value} for key, value in {**theirs, **ours}.items()]
