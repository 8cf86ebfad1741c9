"""The webhook consumer beyond its contract: what is sent, how answers are classed, and what is guarded."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from consumers.webhook import WebhookConsumer, create
from rotatord.errors import Denied, Invalid, NotFound, OutsideError, Retryable
from rotatord.model import JsonMap
from rotatord.ports import Published, Surroundings
from rotatord.signing import verify
from rotatord.testing.loopback import Answer, Loopback, answer_json

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
PUBLISHED = Published(credential="db", label="2-0123abcd", rotation="rot_1", token="rot_1-1", at=NOW)
SECRETS = {"new": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "old": "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="}


def resolved(reference: JsonMap | str) -> str:
    assert isinstance(reference, dict)
    return SECRETS[reference["env"]]


AROUND = Surroundings(installation="i", state_dir="/", now=lambda: NOW, secret=resolved)


def made(url: str, **settings: object) -> WebhookConsumer:
    return create({"url": url, "secret": {"env": "new"}, "allow_private": True, "timeout": 5, **settings}, AROUND)


def test_a_message_says_what_was_published_and_no_secret() -> None:
    """Type, credential, label, rotation and time; its id is the token, the same at every repetition."""
    with Loopback() as server:
        consumer = made(server.url + "/hook?x=1")
        consumer.reload(PUBLISHED)
        consumer.reload(PUBLISHED)
        first, second = server.asked
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == "rot_1-1"
    assert verify(first.headers, first.body, [SECRETS["new"]], NOW) == "rot_1-1"
    assert json.loads(first.body) == {
        "type": "rotatord.credential.published",
        "timestamp": "2026-01-05T12:00:00+00:00",
        "data": {
            "credential": "db",
            "version": "2-0123abcd",
            "rotation": "rot_1",
            "published_at": "2026-01-05T12:00:00+00:00",
        },
    }


def test_while_the_signing_secret_is_replaced_both_sign() -> None:
    """A list of references gives a signature each, read anew at every message."""
    with Loopback() as server:
        made(server.url, secret=[{"env": "new"}, {"env": "old"}]).reload(PUBLISHED)
        (asked,) = server.asked
    for value in SECRETS.values():
        assert verify(asked.headers, asked.body, [value], NOW)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, Retryable),
        (503, Retryable),
        (429, Retryable),
        (408, Retryable),
        (400, Invalid),
        (422, Invalid),
        (401, Denied),
        (403, Denied),
        (404, NotFound),
        (410, NotFound),
        (302, Invalid),
        (307, Invalid),
    ],
)
def test_answers_are_classed(status: int, kind: type[OutsideError]) -> None:
    """What may pass is Retryable, everything else is not, redirects are never followed."""
    answer = Answer(status, b"body that is not shown", {"Location": "http://127.0.0.1:1/", "Retry-After": "17"})
    with Loopback(lambda _: answer) as server:
        with pytest.raises(kind, match=f"status {status}") as caught:
            made(server.url + "/hook?token=hidden").reload(PUBLISHED)
        assert len(server.asked) == 1
    assert "hidden" not in str(caught.value)
    assert "not shown" not in str(caught.value)
    if isinstance(caught.value, Retryable):
        assert caught.value.retry_after == 17


def test_the_guard_holds() -> None:
    """A receiver on loopback needs allow_private, and the message says so."""
    with Loopback() as server, pytest.raises(Invalid, match="allow_private: true"):
        made(server.url, allow_private=False).reload(PUBLISHED)
    assert server.asked == []


def test_an_answer_may_attest_for_many() -> None:
    """With ``attest: answer`` a check is sent whose id is fresh each time, and the answer lists the instances."""
    instances = [{"version": "2-0123abcd", "instance": "a"}, {"version": "1-x", "instance": "b", "refused": "2-0123abcd"}]
    with Loopback(lambda _: answer_json({"instances": instances})) as server:
        consumer = made(server.url, attest="answer")
        found = consumer.instances(PUBLISHED)
        consumer.instances(PUBLISHED)
        first, second = server.asked
    assert [(i.id, i.version, i.refused) for i in found] == [("a", "2-0123abcd", None), ("b", "1-x", "2-0123abcd")]
    assert json.loads(first.body)["type"] == "rotatord.credential.check"
    assert first.headers["webhook-id"] != second.headers["webhook-id"]


@pytest.mark.parametrize("body", [b"", b"ok", b"[]x", b"null", b'{"version": 3}'])
def test_an_answer_that_does_not_tell_is_unknown(body: bytes) -> None:
    """One instance whose version nobody knows."""
    with Loopback(lambda _: Answer(200, body)) as server:
        (instance,) = made(server.url, attest="answer").instances(PUBLISHED)
    assert instance.version is None


def test_attestation_may_be_asked_elsewhere() -> None:
    """The consumer is told here and asked there; without either it cannot tell."""
    with Loopback() as told, Loopback(lambda _: answer_json({"db": "2-0123abcd"})) as asked:
        consumer = made(told.url, attest={"url": asked.url, "allow_private": True})
        assert consumer.evidence == "attestation"
        assert consumer.instances(PUBLISHED)[0].version == "2-0123abcd"
        assert told.asked == []
        plain = made(told.url)
        assert (plain.evidence, plain.instances(PUBLISHED)[0].version) == ("none", None)


def test_a_malformed_signing_secret_is_invalid_and_not_shown() -> None:
    """The error says what a signing secret looks like, not what this one is."""
    around = Surroundings(installation="i", state_dir="/", now=lambda: NOW, secret=lambda _: "hidden-value")
    settings = {"url": "http://127.0.0.1:1/", "secret": {"env": "x"}, "allow_private": True}
    with pytest.raises(Invalid, match="whsec_") as caught:
        create(settings, around).reload(PUBLISHED)
    assert "hidden-value" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "http://a"},
        {"secret": {"env": "x"}},
        {"url": "ftp://a", "secret": {"env": "x"}},
        {"url": "http://u:p@a", "secret": {"env": "x"}},
        {"url": "http://a", "secret": []},
        {"url": "http://a", "secret": "whsec_plain"},
        {"url": "http://a", "secret": {"env": "x"}, "attest": {"urls": []}},
        {"url": "http://a", "secret": {"env": "x"}, "retries": 3},
    ],
)
def test_bad_settings_are_refused(settings: JsonMap) -> None:
    """A URL, a reference and nothing unknown."""
    with pytest.raises(ValidationError):
        create(settings, AROUND)
