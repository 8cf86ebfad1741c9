"""The demo's own services, without rotatord: a consumer that is honest about what it runs on, and a merciless resource."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from string import Formatter

import pytest
from rich.console import Console
from ruamel.yaml import YAML

from issuers.builtin import BuiltinIssuer, create
from rotatord.clock import SystemClock
from rotatord.demo.consumer import CREDENTIAL, TOKEN_KEY, VERSION_KEY
from rotatord.demo.story import SENTENCES, Teller, Told, sentence
from rotatord.demo.world import World
from rotatord.model import Event, JsonMap
from rotatord.ports import Minted, MintRequest, Surroundings

CLOCK = SystemClock()
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Scene:
    """The world with an issuer that the test itself minted from."""

    def __init__(self, directory: Path) -> None:
        self.said: list[str] = []
        self.heard = threading.Condition()
        self.world = World(directory, CLOCK, self._hear)
        self.world.begin()
        settings = YAML(typ="safe").load(self.world.configuration.read_text())["issuers"]["authority"]
        surroundings = Surroundings(
            installation="here",
            state_dir=str(directory),
            now=CLOCK.now,
            secret=lambda reference: (directory / reference["file"]).read_text(),  # type: ignore[index]
        )
        self.issuer: BuiltinIssuer = create(settings, surroundings)
        self.issuer.start()

    def _hear(self, line: str) -> None:
        with self.heard:
            self.said.append(line)
            self.heard.notify_all()

    def wait_for(self, words: str) -> None:
        with self.heard:
            assert self.heard.wait_for(lambda: any(words in line for line in self.said), timeout=20), self.said

    def mint(self) -> Minted:
        scope = {"permissions": ["forecast:read"]}
        request = MintRequest(
            installation="here", credential=CREDENTIAL, rotation="r", generation=1, scope=scope, parameters={}
        )
        return self.issuer.mint(request, None)

    def publish(self, minted: Minted, label: str) -> None:
        """Write the file in one step, and tell the consumer."""
        text = f"{TOKEN_KEY}={minted.fields.reveal('token')}\n{VERSION_KEY}={label}\n"
        fresh = self.world.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.world.file)
        os.kill(int((self.world.directory / "web.pid").read_text()), signal.SIGHUP)

    def attested(self, nonce: bytes = b"n") -> JsonMap:
        answer = self.world.consumer.ask(f"/.well-known/rotatord?nonce={nonce.hex()}")
        entry: JsonMap = answer[CREDENTIAL]
        return entry

    def page(self) -> int:
        address = self.world.consumer.address(CLOCK).removeprefix("http://")
        connection = HTTPConnection(address, timeout=5)
        connection.request("GET", "/")
        status = connection.getresponse().status
        connection.close()
        return status


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.world.end()
    made.issuer.close()


def test_the_consumer_serves_with_what_it_loaded_and_proves_it(scene: Scene) -> None:
    """Without a token it fails; with one it serves, names its version and proves that it holds it."""
    assert scene.page() == 502
    assert "version" not in scene.attested()
    one = scene.mint()
    scene.publish(one, "1-aaaaaaaa")
    scene.wait_for("running on version 1-aaaaaaaa")
    assert scene.page() == 200
    entry = scene.attested(b"nonce")
    assert entry["version"] == "1-aaaaaaaa"
    assert entry["proof"] == one.fields.prove(b"nonce")
    assert scene.world.consumer.ask("/stats") == {"served": 1, "failed": 1}
    assert scene.world.forecasts.ask("/stats") == {"granted": 1, "refused": 0}


def test_a_version_that_it_cannot_load_is_named_and_the_old_one_stays(scene: Scene) -> None:
    """The bug hits one new version and stays with it; the old one loads again at any time, and later ones too."""
    one, two, three = scene.mint(), scene.mint(), scene.mint()
    scene.publish(one, "1-a")
    scene.wait_for("running on version 1-a")
    scene.world.plant_bug()
    scene.publish(two, "2-b")
    scene.wait_for("cannot load version 2-b")
    assert {key: scene.attested()[key] for key in ("version", "refused")} == {"version": "1-a", "refused": "2-b"}
    assert scene.page() == 200
    scene.publish(one, "1-a")
    scene.publish(three, "3-c")
    scene.wait_for("running on version 3-c")
    assert "refused" not in scene.attested()
    assert scene.page() == 200


def test_a_revoked_token_is_refused_at_once_and_counted_by_everybody(scene: Scene) -> None:
    """No cache, no second try: the first request after a revocation fails, and all three counters say so."""
    one = scene.mint()
    scene.publish(one, "1-a")
    scene.wait_for("running on version 1-a")
    assert scene.page() == 200
    scene.issuer.revoke(one.ref, None, {})
    assert scene.page() == 502
    assert scene.world.consumer.ask("/stats") == {"served": 1, "failed": 1}
    assert scene.world.forecasts.ask("/stats") == {"granted": 1, "refused": 1}


def test_people_send_all_the_time_and_what_they_count_agrees(scene: Scene) -> None:
    """After they stopped, requests = served and none is lost between the counters."""
    scene.publish(scene.mint(), "1-a")
    scene.wait_for("running on version 1-a")
    people = scene.world.people
    people.begin()
    enough, deadline = threading.Event(), CLOCK.monotonic() + 20
    while people.requests < 50 and CLOCK.monotonic() < deadline:
        CLOCK.wait(enough, 0.02)
    people.end()
    assert people.requests >= 50
    assert people.refused == 0
    assert scene.world.consumer.ask("/stats") == {"served": people.requests, "failed": 0}


def test_everything_ends_with_the_world(scene: Scene) -> None:
    """Both services end when told to, and ending twice is harmless."""
    pid = int((scene.world.directory / "web.pid").read_text())
    scene.world.end()
    scene.world.end()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# --- the story -----------------------------------------------------------------------------------------------------


def event(action: str, outcome: str, **evidence: object) -> Event:
    return Event(
        id="e", time=NOW, actor="rotatord", action=action, credential="c", outcome=outcome, version="2-b", evidence=evidence
    )


@pytest.mark.parametrize("known", sorted(SENTENCES))
def test_every_sentence_can_be_said(known: tuple[str, str]) -> None:
    """A sentence names only what every event has."""
    assert {name for _, name, _, _ in Formatter().parse(SENTENCES[known]) if name} <= {"v", "why"}
    assert "{" not in sentence(event(*known))


def test_events_that_need_no_telling_are_silent() -> None:
    """An unknown event is no reason to fail."""
    assert sentence(event("unheard", "of")) == ""


def lines(tell: Callable[[Teller], None], *, terminal: bool) -> str:
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, highlight=False)
    with Teller(lambda: 1.5, console) as teller:
        tell(teller)
    return out.getvalue()


def tell(teller: Teller) -> None:
    teller.chapter("Rotation 1", 5)
    teller.event(event("prove", "done"))
    teller.say("consumer", "hello [not markup]")
    teller.traffic(3, 0)
    row = Told(
        title="one",
        ending="completed",
        old="1-a",
        new="2-b",
        seconds=timedelta(seconds=2).total_seconds(),
        requests=3,
        refused=0,
    )
    teller.table([row])
    teller.last("demo: done", good=True)


def test_plain_lines_where_there_is_no_terminal() -> None:
    """No escape codes, no bar, no lines broken at eighty columns; the last line is the account."""
    text = lines(tell, terminal=False)
    assert "\x1b" not in text
    assert "   1.5 s  rotatord  tried version 2-b at the issuer" in text
    assert "hello [not markup]" in text
    assert text.splitlines()[-1] == "demo: done"


def test_a_terminal_gets_the_same_words() -> None:
    """Colours and a bar are added, nothing is left out."""
    text = lines(tell, terminal=True)
    assert "\x1b" in text
    assert "tried version 2-b at the issuer" in text
    assert "hello [not markup]" in text
