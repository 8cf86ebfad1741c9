"""Documents: fields to keys and back, and the stamp."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotatord.document import MARKER_KEY, check_keys, from_document, read_stamp, to_document, write_stamp
from rotatord.errors import Invalid
from rotatord.model import Destination, Marker

MARKER = Marker(installation="i", credential="c", rotation="r", generation=3, ref="ref", fingerprint="f" * 32, write="w")


def at(keys: dict[str, str], version_key: str | None = None) -> Destination:
    return Destination(backend="b", address={"path": "p"}, keys=keys, version_key=version_key)


def test_keys_name_fields_and_templates() -> None:
    """A key takes a field as it is, a template around it, and the label under version_key."""
    place = at({"TOKEN": "token", "AUTH": "Bearer {token}"}, "VERSION")
    assert to_document(place, {"token": "s3"}, "2-abc") == {"TOKEN": "s3", "AUTH": "Bearer s3", "VERSION": "2-abc"}


def test_without_keys_the_fields_stand_under_their_own_names() -> None:
    """No keys: the document is the fields, both ways."""
    document = to_document(at({}, "v"), {"a": "1", "b": "2"}, "9-x")
    assert document == {"a": "1", "b": "2", "v": "9-x"}
    assert from_document(at({}, "v"), {**document, MARKER_KEY: "{}"}) == {"a": "1", "b": "2"}


def test_a_missing_field_is_invalid_and_names_no_value() -> None:
    """A key that wants a field the secret lacks is refused without showing values."""
    with pytest.raises(Invalid) as caught:
        to_document(at({"P": "password"}), {"token": "s3cr3t"}, "1-x")
    assert "password" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "document", "expected"),
    [
        ({"A": "Bearer {token}"}, {"A": "Bearer x y"}, {"token": "x y"}),
        ({"A": "Bearer {token}"}, {"A": "Basic x"}, None),
        ({"A": "{token}/{token}"}, {"A": "x/x"}, {"token": "x"}),
        ({"A": "{token}/{token}"}, {"A": "x/y"}, None),
        ({"U": "user", "D": "p://{user}:{password}@h"}, {"U": "u", "D": "p://u:q:@@h"}, {"user": "u", "password": "q:@"}),
        ({"D": "{user}:{password}"}, {"D": "a:b"}, None),
        ({"A": "token", "B": "token"}, {"A": "x", "B": "y"}, None),
        ({"A": "token"}, {}, None),
        ({"A": "token"}, {"A": ""}, None),
        ({"J": '{"k": "{token}"}'}, {"J": '{"k": "x"}'}, {"token": "x"}),
    ],
)
def test_fields_are_read_back_only_without_doubt(
    keys: dict[str, str], document: dict[str, str], expected: dict[str, str] | None
) -> None:
    """Templates are read back where one reading is possible; contradictions and gaps read as None."""
    assert from_document(at(keys), document) == expected


def test_fields_that_no_key_shows_cannot_be_read_back() -> None:
    """Asked for more than the document shows, the answer is None, never a part."""
    assert from_document(at({"S": "secret_id"}), {"S": "x"}, ["role_id", "secret_id"]) is None


@given(
    fields=st.fixed_dictionaries({"a": st.text(min_size=1), "b": st.text(min_size=1)}),
    template=st.sampled_from(["x{a}y", "{a}", "{a}{b}", "{b}-{a}-{b}"]),
)
def test_whatever_is_read_back_is_what_was_written(fields: dict[str, str], template: str) -> None:
    """Reading back gives the same fields, for any values."""
    place = at({"K": template, "B": "b"})
    read = from_document(place, to_document(place, fields, "1-l"))
    assert read == fields


def test_problems_of_keys_are_sentences() -> None:
    """Bad names, the marker's key and a doubled version key are each told."""
    assert len(check_keys(at({"A": "not a field", MARKER_KEY: "token", "V": "token"}, "V"))) == 3
    assert check_keys(at({"A": "Bearer {token}"}, "V")) == []


def test_a_stamp_survives_and_notices_changes() -> None:
    """A stamp reads back as it was written and no longer fits a changed document."""
    stamp = read_stamp(write_stamp(MARKER, ["token"], {"A": "x"}))
    assert stamp is not None
    assert (stamp.marker, stamp.fields) == (MARKER, ("token",))
    assert stamp.fits({"A": "x", MARKER_KEY: "anything"})
    assert not stamp.fits({"A": "y"})
    assert not stamp.fits({"A": "x", "B": "z"})


@pytest.mark.parametrize(
    "text", [None, 3, "", "{", "[]", "{}", '{"marker": {}}', '{"marker": {"x": 1}, "fields": [], "content": ""}']
)
def test_anything_else_is_no_stamp(text: object) -> None:
    """What is not ours reads as no stamp, never as an error."""
    assert read_stamp(text) is None
