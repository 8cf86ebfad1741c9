"""What fingerprints are made of is part of what a journal remembers: it may never change from one version to the next."""

from __future__ import annotations

import json

import pytest

from rotatord.document import content_digest
from rotatord.model import digest_of
from rotatord.secret import Fingerprinter, Secret

AWKWARD = {"b": 'quote " and back\\slash', "a": "new\nline, tab\t, nul\x00, \x7f", "é": "snow ☃, 🎲, \u2028"}


@pytest.mark.parametrize("fields", [{"token": "value"}, AWKWARD])
def test_a_secret_is_canonical_json(fields: dict[str, str]) -> None:
    """Names in order, no spaces, characters as they are."""
    wanted = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert Secret(fields).canonical() == wanted


def test_what_is_stored_stays_comparable() -> None:
    """The same values as the first release gave."""
    assert Fingerprinter(b"k" * 32).fingerprint(Secret(AWKWARD)) == "35cacc69e772a4830c00af4eab25aa4a"
    assert digest_of({"b": [1, {"d": None}], "a": "é"}) == "fe9078ac9eac7735"
    assert (
        content_digest({"TOKEN": "é", "_rotatord": "left out"})
        == "a0c9f5ebf0327be8428fb3872d781fc549c47d87610476beaef40a72aba2fed1"
    )
