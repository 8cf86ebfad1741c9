"""Logs that hold no secret whoever wrote them, and metrics with bounded labels."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from issuers.builtin_token import ALPHABET, make
from rotatord.model import Event, JsonMap
from rotatord.redaction import redact, redact_text
from rotatord.secret import Secret
from rotatord.telemetry import EXPIRY_SERIES, Telemetry, configure_logging

NOW = datetime(2026, 3, 1, tzinfo=UTC)
VAULT = "hvs." + "CAESIJ" + "x" * 60
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiJhIn0abc." + "c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIEow\n-----END RSA PRIVATE " + "KEY-----"
OURS = make("acme_", lambda alphabet, length: alphabet[:length])


@pytest.fixture
def logs() -> Iterator[io.StringIO]:
    """Logging set up at DEBUG onto a text, and put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logging("DEBUG", stream, daemon="inst-1")
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[JsonMap]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_foreign_lines_look_alike(logs: io.StringIO) -> None:
    """structlog and the standard library both give one JSON object a line, with level, logger, time and installation."""
    log = structlog.get_logger("rotatord.saga")
    worker = threading.Thread(target=lambda: log.info("published", credential="web", generation=2))
    worker.start()
    worker.join(timeout=10)
    logging.getLogger("some.library").warning("slow: %s", 3)
    ours, theirs = lines(logs)
    assert (ours["event"], ours["credential"], ours["generation"], ours["level"]) == ("published", "web", 2, "info")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("slow: 3", "some.library", "warning")
    assert {"timestamp", "installation"} <= set(ours) & set(theirs)


@pytest.mark.parametrize("planted", [VAULT, JWT, PEM, OURS, "xoxb-123456789012-abc", "github_pat_" + "a" * 50])
def test_planted_values_are_struck_out_everywhere(logs: io.StringIO, planted: str) -> None:
    """In messages, arguments, keys' values, nested values, foreign objects and tracebacks."""

    class Careless:
        def __repr__(self) -> str:
            return f"Careless({planted})"

    log = structlog.get_logger("x")
    message = f"got {planted}"
    log.info(message, a=planted, b=[{"c": (planted,)}], d=planted.encode(), e=Careless())
    logging.getLogger("y").error("got %s", planted)
    try:
        raise ValueError(planted)
    except ValueError:
        log.exception("failed")
        logging.getLogger("z").exception("failed")
    assert len(lines(logs)) == 4
    assert planted not in logs.getvalue()
    assert json.dumps(planted)[1:-1] not in logs.getvalue()


def test_the_scan_would_find_a_leak(logs: io.StringIO) -> None:
    """What has no known look and no telling name passes: the check above is able to fail."""
    structlog.get_logger("x").info("got plainword")
    assert "plainword" in logs.getvalue()


def test_secret_objects_and_telling_names_are_struck_out(logs: io.StringIO) -> None:
    """A Secret shows only its field names; a key that announces a secret hides its value."""
    structlog.get_logger("x").info("m", held=Secret({"token": "abc"}), password="hunter2", api_key="k", ref="tok-1", tokens=3)
    (line,) = lines(logs)
    assert (line["held"], line["password"], line["api_key"], line["ref"], line["tokens"]) == (
        "Secret(token=***)",
        "***",
        "***",
        "tok-1",
        3,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("X-Vault-Token: abcdef", "X-Vault-Token: ***"),
        ("headers={'Authorization': 'Bearer abc.def'}", "headers={'Authorization': 'Bearer ***'}"),
        ('{"auth": {"client_token": "abc", "x": 1}}', '{"auth": {"client_token": "***", "x": 1}}'),
        ("postgresql://app:pw@db/x", "postgresql://app:***@db/x"),
        ("password=abc&user=me", "password=***&user=me"),
        ("rot_0123456789abcdef tok-1 2-abcdef12", "rot_0123456789abcdef tok-1 2-abcdef12"),
    ],
)
def test_what_is_struck_and_what_stays(text: str, expected: str) -> None:
    """Values go, what surrounds them and our own ids stay readable."""
    assert redact_text(text) == expected


@given(st.text(ALPHABET, min_size=30, max_size=30), st.sampled_from(["", " ", '"', "'", "=", ":", "(", "\n"]))
def test_no_token_of_ours_survives(body: str, around: str) -> None:
    """Whatever the randomness and whatever stands beside it."""
    token = make("rtd_", lambda *_: body)
    assert token not in redact_text(f"a{around or ' '}{token}{around}b")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_redaction_never_fails_and_gives_json(value: object) -> None:
    """Anything can be logged."""
    json.dumps(redact(value))


def test_sdk_debug_lines_are_never_written(logs: io.StringIO) -> None:
    """Whatever level somebody gives their loggers, what SDKs say at DEBUG is dropped, and what they warn of is not."""
    for name in ("urllib3.connectionpool", "botocore.parsers", "hvac.adapters", "kubernetes.client.rest"):
        log = logging.getLogger(name)
        log.setLevel(logging.DEBUG)
        log.debug("body: plainword")
        log.warning("retrying")
        log.setLevel(logging.NOTSET)
    assert [line["event"] for line in lines(logs)] == ["retrying"] * 4


def test_tracebacks_hold_no_local_variables(logs: io.StringIO) -> None:
    """A frame's variables are where secrets are clear; they are not logged, on a terminal neither."""

    def fail() -> None:
        local = "plain" + "word"
        raise RuntimeError(str(len(local)))

    configure_logging("DEBUG", logs, json_lines=False)
    try:
        fail()
    except RuntimeError:
        structlog.get_logger("x").exception("failed")
    assert "RuntimeError: 9" in logs.getvalue()
    assert "plainword" not in logs.getvalue()


def test_warnings_are_logged(logs: io.StringIO) -> None:
    """Python's warnings take the same way out."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert "DeprecationWarning: old" in lines(logs)[0]["event"]


def test_logging_goes_to_standard_error(capsys: pytest.CaptureFixture[str], logs: io.StringIO) -> None:
    """Standard output stays for answers."""
    configure_logging("INFO", sys.stderr)
    structlog.get_logger("x").info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err)["event"] == "hello"


# --- metrics -------------------------------------------------------------------------------------------------------


def event(action: str, outcome: str) -> Event:
    return Event(id="e", time=NOW, actor="rotatord", action=action, credential="web", outcome=outcome)


def test_metrics_have_the_documented_names() -> None:
    """Every family is exposed under its documented name with its labels."""
    telemetry = Telemetry()
    telemetry.step("mint", "forward", "moved")
    telemetry.phase("staged", "forward", 0.2)
    telemetry.call("issuer", "cloud", "mint", 0.1)
    telemetry.late(0.01)
    for action, outcome in (("rotation.planned", "done"), ("rotation.completed", "done"), ("rotation.halted", "done")):
        telemetry.event(event(action, outcome))
    telemetry.counts({"due": 3, "open": 2, "halted": 1, "owed": 4, "overdue": 5, "credentials": 6, "unknown": 7})
    telemetry.expiries({("web", "cloud"): NOW})
    lines = telemetry.render().decode().splitlines()
    for line in (
        'rotatord_rotation_total{outcome="completed"} 1.0',
        'rotatord_rotation_total{outcome="halted"} 1.0',
        'rotatord_event_total{action="rotation.planned",outcome="done"} 1.0',
        'rotatord_rotation_phase_duration_seconds_count{state="staged",way="forward"} 1.0',
        'rotatord_step_total{outcome="moved",step="mint",way="forward"} 1.0',
        'rotatord_call_seconds_count{method="mint",outcome="ok",plugin="cloud",port="issuer"} 1.0',
        "rotatord_start_lateness_seconds_count 1.0",
        "rotatord_due 3.0",
        "rotatord_open 2.0",
        "rotatord_halted 1.0",
        "rotatord_owed 4.0",
        "rotatord_overdue 5.0",
        "rotatord_credentials 6.0",
    ):
        assert line in lines
    expiry = telemetry.registry.get_sample_value(
        "rotatord_credential_expiry_timestamp_seconds", {"credential": "web", "issuer": "cloud"}
    )
    assert expiry == NOW.timestamp()


def test_expiry_series_are_bounded_and_forgotten() -> None:
    """Only the nearest expiries have a series of their own, and one that is gone is no longer exported."""
    telemetry = Telemetry()
    telemetry.expiries({(f"c{n}", "i"): NOW + timedelta(seconds=n) for n in range(EXPIRY_SERIES + 5)})
    assert telemetry.render().count(b"rotatord_credential_expiry_timestamp_seconds{") == EXPIRY_SERIES
    telemetry.expiries({("c1", "i"): NOW})
    text = telemetry.render()
    assert text.count(b"rotatord_credential_expiry_timestamp_seconds{") == 1
    assert telemetry.registry.get_sample_value("rotatord_nearest_expiry_timestamp_seconds") == NOW.timestamp()


def test_chatter_of_libraries_is_left_out(logs: io.StringIO) -> None:
    """What migrations and the web server say at every start is not written; their warnings are."""
    for name in ("alembic.runtime.plugins", "uvicorn.error", "asyncio"):
        logging.getLogger(name).info("setup plugin")
        logging.getLogger(name).warning("trouble")
    assert [line["event"] for line in lines(logs)] == ["trouble"] * 3
