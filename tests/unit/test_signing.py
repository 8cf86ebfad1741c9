"""Signed messages after Standard Webhooks, held against the published vector."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rotatord.signing import NotAuthentic, check_secret, sign, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = datetime.fromtimestamp(1614265330, UTC)
BODY = b'{"test": 2432232314}'


def test_the_published_vector_holds() -> None:
    """Id, time, body and secret of the convention's own example give its signature."""
    headers = sign(ID, AT, BODY, [SECRET])
    assert headers == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert verify(headers, BODY, [SECRET], AT) == ID


def test_while_the_secret_is_replaced_both_receivers_accept() -> None:
    """A message carries a signature per secret; a receiver needs to know one of them."""
    headers = sign(ID, AT, BODY, [OTHER, SECRET])
    assert len(headers["webhook-signature"].split(" ")) == 2
    for known in ([SECRET], [OTHER], [SECRET, OTHER]):
        assert verify({name.title(): value for name, value in headers.items()}, BODY, known, AT) == ID


@pytest.mark.parametrize("seconds", [-301, 301])
def test_an_old_or_early_message_is_refused(seconds: int) -> None:
    """Five minutes either way, no more."""
    headers = sign(ID, AT, BODY, [SECRET])
    with pytest.raises(NotAuthentic, match="too far"):
        verify(headers, BODY, [SECRET], AT + timedelta(seconds=seconds))
    assert verify(headers, BODY, [SECRET], AT + timedelta(seconds=299)) == ID


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_other"},
        {"webhook-timestamp": "1614265331"},
        {"webhook-timestamp": "x"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        {"webhook-signature": "é"},
    ],
)
def test_any_change_is_refused(change: dict[str, str]) -> None:
    """Id, time and signature are all covered."""
    with pytest.raises(NotAuthentic):
        verify({**sign(ID, AT, BODY, [SECRET]), **change}, BODY, [SECRET], AT)


def test_another_body_or_secret_is_refused() -> None:
    """One byte more, another secret, no secret at all, a missing header."""
    headers = sign(ID, AT, BODY, [SECRET])
    for body, known in ((BODY + b"\n", [SECRET]), (BODY, [OTHER]), (BODY, [])):
        with pytest.raises(NotAuthentic):
            verify(headers, body, known, AT)
    with pytest.raises(NotAuthentic, match="webhook-id"):
        verify({}, BODY, [SECRET], AT)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "password-that-must-not-show"])
def test_a_malformed_secret_is_refused_and_not_shown(secret: str) -> None:
    """24 to 64 bytes in base64, or an error without the value."""
    with pytest.raises(ValueError, match="whsec_ followed by") as caught:
        check_secret(secret)
    assert "must-not-show" not in str(caught.value)
    with pytest.raises(ValueError, match="at least one"):
        sign(ID, AT, BODY, [])
