"""The health checks beyond their contract: what each counts as healthy, unhealthy and unknown."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from consumers.health import create_attestation, create_command, create_http, create_tcp
from rotatord.errors import NotFound
from rotatord.model import JsonMap
from rotatord.ports import Published, Surroundings
from rotatord.testing.loopback import Answer, Loopback, answer_json

PUBLISHED = Published(credential="db", label="2-0123abcd", rotation="r", token="t", at=datetime(2026, 1, 5, tzinfo=UTC))
AROUND = Surroundings(installation="i", state_dir="/", now=lambda: datetime.now(UTC), secret=lambda _: "bearer-value")


def http(answer: Answer, **settings: object) -> str:
    with Loopback(lambda _: answer) as server:
        check = create_http({"url": server.url + "/healthz", "allow_private": True, **settings}, AROUND)
        return check.check(PUBLISHED)[0]


@pytest.mark.parametrize(
    ("status", "asked", "verdict"),
    [
        (200, "200-299", "healthy"),
        (204, "200-299", "healthy"),
        (302, "200-299", "unhealthy"),
        (302, "200, 300-399", "healthy"),
        (503, [200, 503], "healthy"),
        (500, 200, "unhealthy"),
    ],
)
def test_http_judges_the_status(status: int, asked: object, verdict: str) -> None:
    """Numbers, ranges, lists of both."""
    assert http(Answer(status), status=asked) == verdict


@pytest.mark.parametrize(
    ("body", "path", "equals", "verdict"),
    [
        ({"a": {"b": ["x", "ok"]}}, "a.b.1", "ok", "healthy"),
        ({"a": {"b": ["x", "bad"]}}, "a.b.1", "ok", "unhealthy"),
        ({"a": True}, "a", True, "healthy"),
        ({"a": 1}, "a", True, "unhealthy"),
        ({"a": None}, "a", None, "healthy"),
        ({"a": 1}, "b", 1, "unknown"),
        ({"a": [1]}, "a.5", 1, "unknown"),
        ("text", "a", 1, "unknown"),
    ],
)
def test_http_judges_a_value_inside_json(body: object, path: str, equals: object, verdict: str) -> None:
    """Equal is healthy, another value unhealthy, no value unknown."""
    assert http(answer_json(body), json={"path": path, "equals": equals}) == verdict


def test_http_judges_text_and_sends_a_bearer() -> None:
    """``contains`` looks into the body; ``bearer`` is resolved at each use and shown nowhere."""
    assert http(Answer(200, b"all good"), contains="good") == "healthy"
    assert http(Answer(200, b"all bad"), contains="good") == "unhealthy"
    with Loopback() as server:
        check = create_http({"url": server.url, "allow_private": True, "bearer": {"env": "X"}, "headers": {"X-A": "b"}}, AROUND)
        verdict = check.check(PUBLISHED)
        (asked,) = server.asked
    assert (asked.headers["authorization"], asked.headers["x-a"]) == ("Bearer bearer-value", "b")
    assert "bearer-value" not in str(verdict)


def test_a_reference_that_cannot_be_read_is_unknown() -> None:
    """A check never raises: no bearer, no answer."""

    def missing(_reference: object) -> str:
        raise NotFound("the file is not there")

    around = Surroundings(installation="i", state_dir="/", now=lambda: datetime.now(UTC), secret=missing)
    check = create_http({"url": "http://127.0.0.1:1/", "allow_private": True, "bearer": {"file": "x"}}, around)
    assert check.check(PUBLISHED) == ("unknown", "the file is not there")


def test_the_guard_is_unknown_and_names_the_setting() -> None:
    """An address that may not be called proves nothing, and the detail says what would allow it."""
    for check in (
        create_http({"url": "http://127.0.0.1:1/"}, AROUND),
        create_tcp({"host": "127.0.0.1", "port": 1}, AROUND),
        create_attestation({"url": "http://127.0.0.1:1/"}, AROUND),
    ):
        verdict, detail = check.check(PUBLISHED)
        assert verdict == "unknown"
        assert "allow_private: true" in detail


@pytest.mark.parametrize(("code", "verdict"), [(0, "healthy"), (1, "unhealthy"), (2, "unhealthy"), (3, "unknown")])
def test_a_command_judges_by_its_exit_code(code: int, verdict: str) -> None:
    """0, 3 and everything else."""
    assert create_command({"command": ["/bin/sh", "-c", f"exit {code}"]}, AROUND).check(PUBLISHED)[0] == verdict


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("2-0123abcd", "healthy"),
        ("1-x", "unknown"),
        (None, "unknown"),
        ({"status": "ok", "version": "1-x"}, "healthy"),
        ({"status": "pool exhausted", "version": "2-0123abcd"}, "unhealthy"),
        ({"status": "ok", "refused": "2-0123abcd"}, "unhealthy"),
        ([{"status": "ok"}, "2-0123abcd"], "healthy"),
        ([{"status": "ok"}, {"instance": "b"}], "unknown"),
        ([{"status": "bad"}, {"instance": "b"}], "unhealthy"),
        ([], "unknown"),
    ],
)
def test_attestation_is_the_worst_of_its_instances(said: object, verdict: str) -> None:
    """Every instance must be well; one that is not decides."""
    with Loopback(lambda _: answer_json({"db": said})) as server:
        check = create_attestation({"url": server.url, "allow_private": True}, AROUND)
        assert check.check(PUBLISHED)[0] == verdict


@pytest.mark.parametrize(
    ("create", "settings"),
    [
        (create_http, {}),
        (create_http, {"url": "http://a", "status": "2xx"}),
        (create_http, {"url": "http://a", "headers": {"Authorization": "x"}}),
        (create_http, {"url": "http://a", "json": {"path": "a"}}),
        (create_tcp, {"host": "a", "port": 0}),
        (create_command, {"command": "curl x"}),
        (create_attestation, {}),
        (create_attestation, {"url": "http://a", "possession": True}),
    ],
)
def test_bad_settings_are_refused(create: object, settings: JsonMap) -> None:
    """What cannot be checked is said before anything is done."""
    with pytest.raises(ValidationError):
        create(settings, AROUND)  # type: ignore[operator]
