"""Asking instances which version they run on, against real servers on loopback."""

from __future__ import annotations

import hashlib
import hmac
import threading
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from rotatord.attest import Attest, Attestor, endpoint, parse
from rotatord.errors import Invalid, Retryable
from rotatord.ports import Instance, Published
from rotatord.secret import Secret
from rotatord.testing.loopback import Answer, Asked, Loopback, answer_json

SECRET = Secret({"token": "the-value"})


def proof(nonce: bytes, secret: Secret = SECRET) -> str:
    return hmac.new(secret.canonical(), nonce, hashlib.sha256).hexdigest()


PUBLISHED = Published(
    credential="db", label="7-abcdef01", rotation="rot_1", token="t", at=datetime(2026, 1, 5, tzinfo=UTC), possession=proof
)


def attestor(**settings: object) -> Attestor:
    return Attestor(Attest.model_validate({"allow_private": True, "timeout": 3, **settings}))


def ask(value: object, **settings: object) -> list[Instance]:
    with Loopback(lambda _: answer_json(value)) as server:
        return attestor(url=server.url, **settings).instances(PUBLISHED)


def test_a_label_is_the_short_form() -> None:
    """One URL that answers a label is one instance on that version, asked at the well-known path."""
    with Loopback(lambda _: answer_json({"db": "7-abcdef01"})) as server:
        found = attestor(url=server.url).instances(PUBLISHED)
        assert server.asked[0].path == "/.well-known/rotatord"
        assert found == [Instance(id=f"127.0.0.1:{server.port}", version="7-abcdef01")]


def test_an_object_may_say_more() -> None:
    """Version, refused label and instance id are taken from the object form."""
    found = ask({"db": {"version": "6-00000000", "refused": "7-abcdef01", "instance": "web-1"}})
    assert found == [Instance(id="web-1", version="6-00000000", refused="7-abcdef01")]


def test_a_list_is_one_instance_each_with_distinct_ids() -> None:
    """An aggregator may speak for many; copies with one name are not taken for one."""
    found = ask({"db": [{"version": "a", "instance": "w"}, {"version": "b", "instance": "w"}, "c"]})
    assert [(i.id, i.version) for i in found][:2] == [("w", "a"), ("w#2", "b")]
    assert found[2].version == "c"


@pytest.mark.parametrize("value", [{}, {"other": "1-x"}, {"db": None}, {"db": 7}, {"db": {"version": 7}}, {"db": "x" * 300}])
def test_what_is_missing_or_malformed_is_unknown(value: object) -> None:
    """An instance that cannot tell is there, with an unknown version."""
    found = ask(value)
    assert len(found) == 1
    assert found[0].version is None


def test_another_name_in_the_answers_may_be_given() -> None:
    """``credential`` says under which name the service attests."""
    assert ask({"database": "7-abcdef01"}, credential="database")[0].version == "7-abcdef01"


@pytest.mark.parametrize("answer", [Answer(500), Answer(404), Answer(302), Answer(200, b"[1]"), Answer(200, b"{")])
def test_other_answers_are_retryable(answer: Answer) -> None:
    """An instance that cannot be asked makes the answer incomplete, which is an error and never a part."""
    with Loopback(lambda _: answer) as server, pytest.raises(Retryable):
        attestor(url=server.url).instances(PUBLISHED)


def test_one_silent_instance_of_several_makes_the_answer_incomplete() -> None:
    """All instances or Retryable."""
    with Loopback(lambda _: answer_json({"db": "7-abcdef01"})) as server, Loopback() as dead:
        gone = dead.url
        both = attestor(urls=[server.url, server.url + "/other"])
        assert len(both.instances(PUBLISHED)) == 2
    with Loopback(lambda _: answer_json({"db": "7-abcdef01"})) as server, pytest.raises(Retryable):
        attestor(urls=[server.url, gone]).instances(PUBLISHED)


def test_every_address_of_a_name_is_an_instance() -> None:
    """``resolve`` asks each address by itself, with the name as Host."""
    answer = answer_json({"db": "7-abcdef01"})
    with Loopback(lambda _: answer) as server, Loopback(lambda _: answer, "127.0.0.2", server.port) as second:
        settings = Attest.model_validate({"resolve": f"http://web.example:{server.port}", "allow_private": True})
        found = Attestor(settings, resolver=lambda _h, _p: ["127.0.0.1", "127.0.0.2"]).instances(PUBLISHED)
        assert sorted(i.id for i in found) == ["127.0.0.1", "127.0.0.2"]
        assert {asked.headers["host"] for asked in [*server.asked, *second.asked]} == {f"web.example:{server.port}"}


def proving(secret: Secret) -> Loopback:
    def answer(asked: Asked) -> Answer:
        nonce = bytes.fromhex(parse_qs(urlsplit(asked.path).query)["nonce"][0])
        return answer_json({"db": {"version": "7-abcdef01", "proof": proof(nonce, secret)}})

    return Loopback(answer)


def test_possession_counts_only_with_the_right_proof() -> None:
    """With ``possession`` a version needs HMAC(secret, nonce); a wrong or missing proof leaves it unknown."""
    with proving(SECRET) as server:
        assert attestor(url=server.url, possession=True).instances(PUBLISHED)[0].version == "7-abcdef01"
        first, second = (asked.path for asked in [server.asked[0], *_again(server)])
        assert first != second
    with proving(Secret({"token": "another"})) as server:
        assert attestor(url=server.url, possession=True).instances(PUBLISHED)[0].version is None
    assert ask({"db": "7-abcdef01"}, possession=True)[0].version is None
    assert ask({"db": "6-00000000"}, possession=True)[0].version == "6-00000000"


def _again(server: Loopback) -> list[Asked]:
    attestor(url=server.url, possession=True).instances(PUBLISHED)
    return server.asked[1:]


def test_without_what_to_compare_with_possession_proves_nothing() -> None:
    """An engine that gives no possession gets unknown, not a pass."""
    bare = Published(credential="db", label="7-abcdef01", rotation="r", token="t", at=PUBLISHED.at)
    with proving(SECRET) as server:
        assert attestor(url=server.url, possession=True).instances(bare)[0].version is None


def test_private_addresses_need_the_setting() -> None:
    """The guard holds here too, and its message names the setting."""
    with pytest.raises(Invalid, match="allow_private: true"):
        Attestor(Attest.model_validate("http://127.0.0.1:9")).instances(PUBLISHED)


def test_many_slow_instances_end_at_one_deadline() -> None:
    """The timeout bounds all instances together."""
    release = threading.Event()

    def slow(_asked: Asked) -> Answer:
        release.wait(2)
        return answer_json({"db": "7-abcdef01"})

    with Loopback(slow) as server:
        many = attestor(urls=[f"{server.url}/{n}" for n in range(40)], timeout=0.4)
        with pytest.raises(Retryable):
            many.instances(PUBLISHED)
        release.set()


@pytest.mark.parametrize(
    "settings", [{}, {"url": "http://a", "urls": ["http://b"]}, {"url": "ftp://a"}, {"urls": ["x"]}, {"u": 1}]
)
def test_bad_settings_are_said(settings: object) -> None:
    """Exactly one place to ask, and only http URLs."""
    with pytest.raises(ValidationError):
        Attest.model_validate(settings)


def test_endpoint_and_parse_at_their_edges() -> None:
    """A path of its own is kept, a query too; an empty list means that none run."""
    assert endpoint("https://a") == "https://a/.well-known/rotatord"
    assert endpoint("https://a/own?x=1", b"\x01") == "https://a/own?x=1&nonce=01"
    assert parse([], "p") == []
