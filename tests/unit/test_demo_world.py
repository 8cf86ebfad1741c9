"""The demo's own services, without rotatord: a consumer that is honest about what it runs on, and a merciless resource."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from rich.console import Console
from ruamel.yaml import YAML

from issuers.builtin import BuiltinIssuer, create
from rotatord.clock import SystemClock
from rotatord.config import load
from rotatord.demo.account import Account
from rotatord.demo.consumer import CREDENTIAL, TOKEN_KEY, VERSION_KEY
from rotatord.demo.story import BACK, FIRST, SENTENCES, Story, Teller, Told
from rotatord.demo.world import World
from rotatord.model import Event, JsonMap
from rotatord.ports import Minted, MintRequest, Surroundings

CLOCK = SystemClock()
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Scene:
    """The world with an issuer that the test itself minted from."""

    def __init__(self, directory: Path) -> None:
        self.said: list[str] = []
        self.world = World(directory, CLOCK)
        self.world.begin()
        settings = YAML(typ="safe").load(self.world.configuration.read_text())["issuers"]["authority"]
        surroundings = Surroundings(
            installation="here",
            state_dir=str(directory),
            now=CLOCK.now,
            secret=lambda reference: Path(reference["file"]).read_text(),  # type: ignore[index]
        )
        self.issuer: BuiltinIssuer = create(settings, surroundings)
        self.issuer.start()

    def wait_for(self, words: str) -> None:
        never, deadline = threading.Event(), CLOCK.monotonic() + 20
        while not any(words in line for line in self.said) and CLOCK.monotonic() < deadline:
            self.said.extend(line for _, line in self.world.heard())
            CLOCK.wait(never, 0.01)
        assert any(words in line for line in self.said), self.said

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


def test_the_services_end_when_whoever_started_them_is_gone(scene: Scene) -> None:
    """Even a demo that is killed leaves no program running."""
    for service in (scene.world.consumer, scene.world.forecasts):
        assert service._process.stdin is not None
        service._process.stdin.close()
        assert service._process.wait(timeout=20) == 0


# --- the story -----------------------------------------------------------------------------------------------------


def event(action: str, outcome: str, **evidence: object) -> Event:
    return Event(
        id="e", time=NOW, actor="rotatord", action=action, credential="c", outcome=outcome, version="2-b", evidence=evidence
    )


@pytest.mark.parametrize("known", sorted(SENTENCES))
def test_every_sentence_can_be_said(known: tuple[str, str]) -> None:
    """A sentence names only what every event has."""
    for table in (SENTENCES, BACK, FIRST):
        assert {name for _, name, _, _ in Formatter().parse(table.get(known, "")) if name} <= {"v", "why"}
    assert "{" not in Story().sentence(event(*known))


def test_the_words_for_special_ways_are_words_for_known_events() -> None:
    """A renamed event would leave a special sentence behind."""
    assert set(BACK) | set(FIRST) <= set(SENTENCES)


def test_the_way_back_has_words_of_its_own() -> None:
    """After a failure the version spoken of is the one before; the next rotation starts over."""
    story = Story()
    story.sentence(event("rotation.planned", "done"))
    forward = story.sentence(event("prove", "done"))
    story.sentence(event("verify", "failed", why="because"))
    assert "the one before" in story.sentence(event("prove", "done"))
    story.sentence(event("rotation.planned", "done"))
    assert story.sentence(event("prove", "done")) == forward


def test_events_that_need_no_telling_are_silent() -> None:
    """An unknown event is no reason to fail."""
    assert Story().sentence(event("unheard", "of")) == ""


def lines(tell: Callable[[Teller], None], *, terminal: bool) -> str:
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, highlight=False)
    with Teller(lambda: NOW - timedelta(seconds=1.5), console) as teller:
        tell(teller)
    return out.getvalue()


def tell(teller: Teller) -> None:
    teller.chapter("Rotation 1", 5)
    teller.event(event("prove", "done"))
    teller.say("consumer", "hello [not markup]", at=NOW)
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


# --- the account ---------------------------------------------------------------------------------------------------

GOOD = Account(rotations=3, completed=2, rolled_back=1, requests=4812, refused=0, left_over=0)


def test_the_last_line_says_it_all() -> None:
    """The line that people and scripts look for."""
    assert GOOD.good
    assert GOOD.line() == ("demo: 3 rotations, 2 completed, 1 rolled back, 4812 requests, 0 refused, 0 live tokens left over")


@pytest.mark.parametrize(
    "change",
    [
        {"rotations": 2},
        {"completed": 3},
        {"rolled_back": 0},
        {"requests": 10},
        {"refused": 1},
        {"left_over": 1},
        {"left_over": -1},
        {"wrong": ("the counters disagree",)},
    ],
)
def test_any_wrong_figure_fails_the_demo(change: dict[str, Any]) -> None:
    """Each figure alone decides."""
    assert not replace(GOOD, **change).good


def test_the_configuration_is_a_good_one(scene: Scene) -> None:
    """What the demo writes passes the checks that everybody's configuration passes."""
    loaded = load(scene.world.configuration)
    assert list(loaded.specs) == [CREDENTIAL]
