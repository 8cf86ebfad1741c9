"""The dead man's signal: sent while work gets on, by one daemon, and silent otherwise; and never in anybody's way."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families as families
from pydantic import ValidationError

from rotatord.beat import Beat
from rotatord.configuration.schema import DeadmanSection
from rotatord.errors import JournalUnavailable, NotFound
from rotatord.http import OutgoingSettings
from rotatord.journal.memory import MemoryJournal
from rotatord.model import Event, Hold, JsonMap, Policy, Record, Spec, Standing, Version
from rotatord.ports import Amendment
from rotatord.pulse import Pulse, Signal, signal_of
from rotatord.telemetry import Telemetry
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.loopback import Answer, Loopback
from rotatord.watchdog import Watchdog

HOUR = timedelta(hours=1)
SECRET = "k3y-in-the-path-9f2c"


class Full(MemoryJournal):
    """Cannot be written while it is ``full``."""

    full = False

    def set_fact(self, key: str, value: str | None, events: Collection[Event] = ()) -> None:
        if self.full:
            raise JournalUnavailable("no space left on device")
        super().set_fact(key, value, tuple(events))


@dataclass
class Work:
    """What the engine says of itself."""

    turned_at: float
    progressed_at: float
    journal_away: str = ""
    stands_back: str = ""


@dataclass
class Daemons:
    """Who is there, and whose turn it is."""

    owner: str = "one"
    turns: bool = True
    living: set[str] = field(default_factory=lambda: {"one", "two"})

    def alive(self) -> Collection[str]:
        return self.living

    def turn(self, what: str, seconds: float) -> bool:
        return self.turns


class Ward:
    """One daemon with its pulse; over a journal that another may share."""

    def __init__(self, owner: str = "one", beside: Ward | None = None) -> None:
        self.clock: VirtualClock = beside.clock if beside else VirtualClock()
        self.journal: Full = beside.journal if beside else Full(self.clock, SeededIds(1))
        self.work, self.daemons, self.telemetry = Work(0, 0), Daemons(owner), Telemetry()
        self.pulse = Pulse(self.journal, self.clock, self.work, self.daemons, self.telemetry)
        self.passes(1.0)

    def signals(self, url: str, **settings: str | float) -> None:
        outgoing = OutgoingSettings(allow_private=True, timeout=5).outgoing()
        self.pulse.signal = Signal(url=lambda: url, outgoing=outgoing, **settings)  # type: ignore[arg-type]

    def passes(self, seconds: float = 60.0, *, turns: bool = True, watched: bool = True) -> None:
        """Time, in which the engine turns and the watchdog looks, or not."""
        self.clock.advance(seconds)
        if turns:
            self.work.turned_at = self.work.progressed_at = self.clock.monotonic()
        if watched:
            Watchdog(self.journal, self.clock, SeededIds(2)).look()

    def metric(self, name: str) -> float:
        found = families(self.telemetry.render().decode())
        return next(sample.value for family in found for sample in family.samples if sample.name == name)


def test_it_is_sent_every_so_often_while_work_gets_on() -> None:
    """Once a minute, however often it is looked; the metric says when that was last so."""
    ward = Ward()
    with Loopback() as inbox:
        ward.signals(inbox.url + "/ping")
        for _ in range(6):
            ward.pulse.look()
            ward.passes(20.0)
        assert [(asked.method, asked.path, asked.body) for asked in inbox.asked] == [("GET", "/ping", b"")] * 2
    assert ward.metric("rotatord_last_progress_timestamp_seconds") == START.timestamp() + 61


def test_the_metric_is_as_fresh_however_seldom_the_signal_is_sent() -> None:
    """Whoever watches the metric is not told of a standstill by an ``every`` of an hour."""
    ward = Ward()
    with Loopback() as inbox:
        ward.signals(inbox.url, every_seconds=3600.0)
        for _ in range(61):
            ward.pulse.look()
            assert ward.metric("rotatord_last_progress_timestamp_seconds") == ward.clock.now().timestamp()
            ward.passes()
        assert len(inbox.asked) == 2


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_push_carries_the_metric(method: str) -> None:
    """As a push gateway takes it."""
    ward = Ward()
    with Loopback() as inbox:
        ward.signals(inbox.url + "/metrics/job/rotatord", method=method)
        ward.pulse.look()
        (asked,) = inbox.asked
    assert asked.body == f"rotatord_last_progress_timestamp_seconds {START.timestamp() + 1:.0f}\n".encode()


def trouble(ward: Ward, what: str) -> None:
    """Something that nothing gets on with."""
    match what:
        case "the journal cannot be written":
            ward.journal.full = True
        case "the engine waits for the journal":
            ward.work.journal_away = "the database is away"
        case "the engine has not turned":
            ward.passes(400.0, turns=False)
        case "nothing was claimed or ended":
            ward.passes(400.0)
            ward.work.progressed_at -= 400.0
        case "the watchdog has not looked":
            ward.passes(400.0, watched=False)
        case "read only":
            ward.journal.set_fact("read_only", "the journal was lost")


TROUBLES = (
    "the journal cannot be written",
    "the engine waits for the journal",
    "the engine has not turned",
    "nothing was claimed or ended",
    "the watchdog has not looked",
    "read only",
)


@pytest.mark.parametrize("what", TROUBLES)
def test_it_falls_silent_when_nothing_gets_on(what: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the reason, which the log tells; and where one is configured, an address for failures is told too."""
    ward = Ward()
    with Loopback() as inbox:
        ward.signals(inbox.url + "/ping?a=b")
        trouble(ward, what)
        ward.pulse.look()
        assert inbox.asked == []
        assert what in caplog.text
        ward.signals(inbox.url + "/ping?a=b", failure="/fail", method="POST")
        ward.clock.advance(61.0)
        ward.pulse.look()
        (asked,) = inbox.asked
    assert asked.path == "/ping/fail?a=b"
    assert what.encode() in asked.body
    assert ward.metric("rotatord_last_progress_timestamp_seconds") == 0


def test_nobody_is_woken_by_a_start() -> None:
    """Before the watchdog has had time to look, as after an upgrade or a long stop, nothing is said; then the truth is."""
    ward = Ward()
    ward.clock.advance(7200.0)
    ward.pulse = Pulse(ward.journal, ward.clock, ward.work, ward.daemons, ward.telemetry)
    with Loopback() as inbox:
        ward.signals(inbox.url + "/ping", failure="/fail")
        ward.passes(5.0, watched=False)
        ward.pulse.look()
        assert inbox.asked == []
        ward.passes()
        ward.pulse.look()
        assert [asked.path for asked in inbox.asked] == ["/ping"]
        ward.passes(400.0, watched=False)
        ward.pulse.look()
        assert [asked.path for asked in inbox.asked] == ["/ping", "/ping/fail"]


def test_one_daemon_that_stands_still_silences_the_other() -> None:
    """The one whose turn it is sends nothing while another stands still, and goes on when that has got on, or has died."""
    one = Ward()
    two = Ward("two", beside=one)
    two.daemons.turns = False
    with Loopback() as inbox:
        one.signals(inbox.url)
        two.work.turned_at -= 400.0
        two.pulse.look()
        one.pulse.look()
        assert inbox.asked == []
        two.passes()
        two.pulse.look()
        one.passes()
        one.pulse.look()
        assert len(inbox.asked) == 1
        two.clock.advance(61.0)
        two.work.turned_at -= 400.0
        two.pulse.look()
        one.daemons.living = {"one"}
        one.passes()
        one.pulse.look()
        assert len(inbox.asked) == 2


def test_it_is_sent_by_one_daemon_and_by_none_that_stands_back() -> None:
    """Whose turn it is not, or who has another configuration than the one in force, is silent."""
    ward = Ward()
    with Loopback() as inbox:
        ward.signals(inbox.url)
        ward.daemons.turns = False
        ward.pulse.look()
        ward.daemons.turns = True
        ward.work.stands_back = "another configuration is in force"
        ward.passes()
        ward.pulse.look()
        assert inbox.asked == []


def test_the_address_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """It may be all that it takes: not when it is refused, not when nobody answers, not when it may not be called."""
    caplog.set_level(logging.DEBUG)
    ward = Ward()
    with Loopback(lambda _: Answer(404)) as inbox:
        gone = inbox.url
        ward.signals(f"{inbox.url}/{SECRET}")
        ward.pulse.look()
        assert "answered 404" in caplog.text
    for url in (f"{gone}/{SECRET}", f"http://169.254.169.254/{SECRET}", f"no-url-{SECRET}"):
        ward.signals(url)
        ward.passes()
        ward.pulse.look()
    assert ward.metric("rotatord_deadman_signal_total") == 4
    assert SECRET not in caplog.text
    assert caplog.text.count("not delivered") == 4


def test_it_is_configured_by_reference_and_read_at_each_use() -> None:
    """A reference that leads nowhere is a signal that is not delivered, and no end of anything."""
    values = iter(["http://127.0.0.1:1/one", "http://127.0.0.1:1/two"])

    def secret(reference: JsonMap) -> str:
        assert reference == {"file": "/run/secrets/deadman"}
        for value in values:
            return value
        raise NotFound("the secret's file does not exist")

    section = DeadmanSection.model_validate({"url": {"file": "/run/secrets/deadman"}, "every": "30s", "method": "post"})
    signal = signal_of(section, secret)
    assert signal is not None
    assert (signal.url(), signal.url(), signal.every_seconds, signal.method) == (
        "http://127.0.0.1:1/one",
        "http://127.0.0.1:1/two",
        30.0,
        "POST",
    )
    ward = Ward()
    ward.pulse.signal = signal
    ward.pulse.look()
    assert signal_of(None, secret) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "ftp://example.com"},
        {"url": "https://ana:pass@example.com"},
        {"url": {"file": "a", "env": "B"}},
        {"url": "https://example.com", "every": "1s"},
        {"url": "https://example.com", "every": "2h"},
        {"url": "https://example.com", "failure": "fail"},
        {"url": "https://example.com", "method": "delete"},
        {},
    ],
)
def test_mistakes_are_refused(settings: JsonMap) -> None:
    """When the configuration is loaded."""
    with pytest.raises(ValidationError):
        DeadmanSection.model_validate(settings)


def test_what_will_expire_is_counted() -> None:
    """However many credentials there are: some in each beat, and those that were in danger in every one."""
    clock, telemetry = VirtualClock(), Telemetry()
    journal = MemoryJournal(clock, SeededIds(1))
    ward, held = Beat(journal, clock, SeededIds(1), telemetry), (Hold(owner="bo", until=START + 10 * HOUR),)

    def record(number: int) -> Record:
        version = Version(
            generation=1,
            rotation="r",
            issuer="i",
            ref="x",
            fingerprint="f",
            minted_at=START,
            expires_at=START + 9 * HOUR,
        )
        name = f"c{number:04}"
        doomed = held if number % 100 == 0 else ()
        spec = Spec(name=name, issuer="i", policy=Policy())
        return Record(name=name, spec=spec, standing=Standing.MANAGED, current=version, holds=doomed)

    journal.put([Amendment(record=record(number)) for number in range(500)])

    def counted() -> float:
        ward.look()
        found = families(telemetry.render().decode())
        return next(sample.value for family in found for sample in family.samples if sample.name == "rotatord_endangered")

    assert [counted() for _ in range(4)] == [2, 4, 5, 5]
    journal.amend("c0400", lambda known: Amendment(record=replace(known, holds=())))
    assert counted() == 4
