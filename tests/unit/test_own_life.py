"""What is left of our own credentials at issuers and backends is seen, told of in time, and never guessed."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from rotatord.errors import Retryable
from rotatord.journal.memory import MemoryJournal
from rotatord.jwt_life import life_of
from rotatord.live import LivePlugins
from rotatord.livecheck import check
from rotatord.model import Notice, Record
from rotatord.own import NAMES, Ownership, names_of
from rotatord.own_life import SEEN, OwnLives
from rotatord.ports import Amendment, Life
from rotatord.registry import PluginSettings
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.issuer import FakeIssuer
from rotatord.testing.world import World

DAY = timedelta(days=1)
SETTINGS = {"auth": {"token": {"file": "/own/token"}}}


@dataclass
class Known:
    """The registry, as far as lives are concerned: one issuer and one store, spoken to with the same token."""

    plugin: Any
    owners: Sequence[str] = ("issuers.issuer", "backends.store")
    settings: dict[str, Any] = field(default_factory=lambda: SETTINGS)

    @property
    def ownership(self) -> Ownership:
        declared = PluginSettings(type="fake", settings=self.settings)
        return Ownership({"issuer": declared}, {"store": declared}, "/")

    def issuer(self, name: str) -> Any:
        return self.plugin

    backend = issuer


class Telling(FakeIssuer):
    """Says what the test lays in its mouth."""

    life: Life | Exception = Life(place="auth.token")

    def own_life(self) -> Sequence[Life]:
        if isinstance(self.life, Exception):
            raise self.life
        return [self.life]


@dataclass
class Scene:
    clock: VirtualClock
    journal: MemoryJournal
    plugin: Telling
    lives: OwnLives
    read: int = 0

    def told(self) -> list[Notice]:
        """What people were told since the last look."""
        notices = self.journal.notices(self.clock.now(), 1000)
        fresh, self.read = list(notices[self.read :]), len(notices)
        return fresh

    def after(self, passed: timedelta) -> list[Notice]:
        self.clock.advance(passed.total_seconds())
        self.lives.look()
        return self.told()


def scene(life: Life, *, own_of: tuple[str, ...] = (), **known: Any) -> Scene:
    world = World(3)
    clock, ids = world.clock, SeededIds(3)
    plugin = world.add_issuer(kind=Telling)
    assert isinstance(plugin, Telling)
    plugin.life = life
    world.add_backend()
    journal = MemoryJournal(clock, ids)
    specs = [world.spec(name) for name in ("app", "other")]
    if own_of:
        specs.append(replace(world.spec("ours"), own_of=own_of))
    journal.put([Amendment(record=Record(name=spec.name, spec=spec, due_at=None)) for spec in specs])
    journal.set_fact(NAMES, names_of({spec.name: spec for spec in specs}))
    plugins: Any = LivePlugins(Known(plugin, **known))  # type: ignore[arg-type]
    return Scene(clock, journal, plugin, OwnLives(journal, clock, ids, plugins))


def token(**more: Any) -> Life:
    return Life(**{"place": "auth.token", "ends_at": START + 30 * DAY, "lasts": 30 * DAY, **more})


def test_told_at_a_half_a_quarter_and_a_tenth() -> None:
    """Once each, for both who are spoken to with it, naming what depends on it; and once more when it has ended."""
    play = scene(token())
    told = [play.after(passed) for passed in (14 * DAY, 2 * DAY, DAY, 6 * DAY, DAY, 4 * DAY, DAY, 2 * DAY, DAY)]
    assert [len(each) for each in told] == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    notice = told[1][0]
    assert notice.kind == "expiring"
    assert notice.facts["own_of"] == ["backends.store", "issuers.issuer"]
    assert notice.facts["dependents"] == ["app", "other"]
    assert "backend store and issuer issuer" in notice.text
    assert "2 credentials depend on it: app, other" in notice.text
    assert "has ended" in told[7][0].text


def test_a_prolonged_one_is_told_of_anew() -> None:
    """And one that somebody prolongs by itself only when that did not happen in time."""
    play = scene(token(renewed=True))
    assert play.after(16 * DAY) == []
    assert len(play.after(7 * DAY)) == 1
    play.plugin.life = token(renewed=True, ends_at=START + 60 * DAY)
    assert play.after(DAY) == []
    assert len(play.after(30 * DAY)) == 1


def test_one_that_we_replace_is_told_of_late_and_by_name() -> None:
    """It is to be replaced when a third is left: less than that is news."""
    play = scene(token(), own_of=("backends.store", "issuers.issuer"))
    assert play.after(20 * DAY) == []
    (notice,) = play.after(3 * DAY)
    assert notice.credential == "ours"
    assert "ours replaces it" in notice.text


def test_what_nobody_can_see_is_said_to_be_unknown() -> None:
    """By status, and by check; it is never silently taken for eternal. What could not be looked at now is no news."""
    play = scene(token())
    play.after(16 * DAY)
    play.plugin.life = Retryable("Vault is sealed")
    assert play.after(DAY) == []
    seen = json.loads(play.journal.fact(SEEN) or "")
    assert {each["unknown"] for each in seen} == {"Vault is sealed"}
    findings = check([record.spec for record in play.journal.records()], play.lives.plugins, play.lives.found())
    assert findings[0].ok is None
    assert "is unknown: Vault is sealed" in findings[0].detail
    play.plugin.life = token()
    assert play.after(DAY) == []  # told already, before nobody could look
    play.plugin.life = Life(place="auth.token", unknown="it may not look at itself")
    findings = check([record.spec for record in play.journal.records()], play.lives.plugins, play.lives.found())
    assert findings[0].ok is True
    assert "is unknown" in findings[0].detail


def test_a_variable_is_said_to_be_irreplaceable() -> None:
    """Nobody can change the environment of what runs."""
    play = scene(Life(place="auth.token"), settings={"auth": {"token": {"env": "VAULT_TOKEN"}}})
    assert "VAULT_TOKEN, which nobody can replace" in play.lives.found()[0].words


def test_own_credentials_are_checked_first() -> None:
    """Before the credentials that depend on them."""
    play = scene(token(), own_of=("issuers.issuer",))
    findings = check([record.spec for record in play.journal.records()], play.lives.plugins, play.lives.found())
    assert [finding.subject.split(":")[0] for finding in findings[:3]] == [
        "own credential of issuer issuer (auth.token)",
        "own credential of backend store (auth.token)",
        "ours",
    ]


def test_the_life_of_a_signed_token() -> None:
    """As it says itself; what is no such token is unknown, and nothing of it is ever shown."""

    def packed(**claims: Any) -> str:
        return "h." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".s"

    begun = int(START.timestamp())
    assert life_of("jwt", packed(exp=begun + 600, iat=begun)).lasts == timedelta(minutes=10)
    assert life_of("jwt", packed(exp=begun + 600)).ends_at == START + timedelta(minutes=10)
    for bad in ("opaque-value", "a.b.c", packed(), packed(exp="never")):
        life = life_of("jwt", bad)
        assert life.unknown
        assert bad not in repr(life)
