"""One run: daemons are killed at moments drawn by a seed, blows fall meanwhile, and the observer looks after each kill; in
calm phases nothing new begins, everything has to settle, and it looks at all there is."""

from __future__ import annotations

import contextlib
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from tests.crash.blows import BLOWS, PAUSE, Blow, Struck
from tests.crash.company import Company, Daemon
from tests.crash.observer import Observer

PACE_SECONDS = 0.6  # within which a kill strikes
BEGINS_WITHIN = 240.0  # seconds: on an idle machine it takes a few
CALM_EVERY = 120  # kills
CALM_WITHIN = 240.0  # seconds in which everything has to settle; it takes half a minute to one
# A write of Parameter Store that got no answer is waited for, and told of: for so long the last calm phase has patience.
WAITS, PATIENCE = "may still land", 1100.0
WINDOW = 10.0  # seconds before and after some blows in which publications are counted
ASKS_EVERY = 1.0  # seconds
BREATH = 2.0  # seconds between other blows
AT_WORK = 2  # daemons that have to be there before one is killed
ALL_AT_ONCE = 0.06  # share of strikes that kill every daemon
# Relative to what a daemon says that it has done; None: at any time. Weights.
MOMENTS: dict[str | None, int] = {
    None: 8,
    "rotation.planned done": 1,
    "mint intended": 3,
    "mint done": 3,
    "prove done": 1,
    "publish intended": 3,
    "write done": 3,
    "publish done": 1,
    "reload intended": 1,
    "verify done": 1,
    "suspend intended": 2,
    "authorise done": 2,
    "revoke intended": 3,
    "revoke done": 2,
    "prove_dead done": 1,
}


@dataclass(frozen=True)
class Fell:
    """A blow that is over: seconds of the epoch."""

    blow: Blow
    began: float
    ended: float


@dataclass
class Run:
    """See the module."""

    company: Company
    observer: Observer
    seed: int
    kills_wanted: int
    blows: tuple[Blow, ...] = BLOWS
    say: Callable[[str], None] = print
    paced: bool = True  # room around counted blows, so that publications before and after can be compared
    kills: int = 0
    struck: Counter[str] = field(default_factory=Counter)  # by what the killed one had done last
    fell: list[Fell] = field(default_factory=list)
    calms: list[float] = field(default_factory=list)  # how long each took to settle
    quiet: list[tuple[float, float]] = field(default_factory=list)  # from when to when each lasted: seconds of the epoch
    resumed: int = 0  # halts that a person let go on
    rotations_asked: int = 0
    _ask_at: float = 0.0
    _open: tuple[Blow, float, AbstractContextManager[None]] | None = None
    _next_at: float = 0.0
    _to_fall: list[Blow] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.on = Struck(self.company.scene, self.company, self.dice)

    def play(self) -> None:
        """Until all kills are made and every blow has fallen once at least."""
        self.company.start()
        self._until_all_are_ready()
        self._begin()
        self._to_fall = self._shuffled()
        self._next_at = time.time() + WINDOW
        calm_at = CALM_EVERY
        while self.kills < self.kills_wanted or len(self.fell) < len(self.blows) or self._open:
            self._blow()
            self._strike() if self.kills < self.kills_wanted else PAUSE.wait(0.2)
            self.company.tend()
            self._ask()
            self.observer.look()
            if self.kills >= calm_at and not self._open:
                calm_at += CALM_EVERY
                self.calm()
        self.calm(PATIENCE if self.paced else 0.0)

    def give_up(self) -> None:
        """End what is open, whatever happened."""
        if self._open:
            with contextlib.suppress(Exception):
                self._open[2].__exit__(None, None, None)
            self._open = None

    def _ask(self) -> None:
        """Somebody asks for a rotation of whatever has none. (Others come due by themselves; those would hardly ever be quiet
        on a slow machine, and calm phases could not begin.)"""
        if time.monotonic() < self._ask_at:
            return
        self._ask_at = time.monotonic() + ASKS_EVERY
        on_request = {each.name for each in self.company.scene.credentials if each.policy == "asked"}
        for name, row in self.company.rows().items():
            if name in on_request and row["rotation"] is None:
                self.rotations_asked += self.company.command(name, "rotate")

    # --- kills ---

    def _strike(self) -> None:
        ready = self.company.ready()
        if len(ready) < AT_WORK:  # or nothing would ever be under way
            PAUSE.wait(0.02)
            return
        victim = self.dice.choice(ready)
        self._moment(victim)
        victims = self.company.ready() if self.dice.random() < ALL_AT_ONCE else [victim]
        for each in victims:
            if each.alive and self.kills < self.kills_wanted:
                each.kill()
                self.kills += 1
                self.struck[each.last] += 1
        if self.kills % 50 < len(victims):
            self.say(f"{self.kills} kills, {len(self.fell)} blows: {self.observer.summary()}")

    def _moment(self, victim: Daemon) -> None:
        """Wait for the moment to strike: at any time, or right after something was done."""
        (after,) = self.dice.choices(list(MOMENTS), list(MOMENTS.values()))
        until = time.monotonic() + PACE_SECONDS * (self.dice.random() if after is None else 1.5)
        while time.monotonic() < until:
            if after is not None and after in set(victim.heard()):
                PAUSE.wait(self.dice.random() * 0.03)
                return
            PAUSE.wait(0.005)

    # --- blows ---

    def _shuffled(self) -> list[Blow]:
        """All of them, those that are counted one after the other: what comes after one is what was before the next."""
        counted = [each for each in self.blows if each.counted]
        others = [each for each in self.blows if not each.counted]
        self.dice.shuffle(counted)
        self.dice.shuffle(others)
        place = self.dice.randint(0, len(others))
        return [*others[:place], *counted, *others[place:]]

    def _blow(self) -> None:
        now = time.time()
        if self._open and now >= self._open[1] + self._open[0].seconds:
            blow, began, context = self._open
            self._open = None
            context.__exit__(None, None, None)
            self.fell.append(Fell(blow, began, time.time()))
            self._next_at = time.time() + self._room(blow)
        elif not self._open and now >= self._next_at and (self.kills < self.kills_wanted or len(self.fell) < len(self.blows)):
            self._to_fall = self._to_fall or self._shuffled()
            blow = self._to_fall.pop()
            context = blow.strike(self.on)
            context.__enter__()
            self._open = (blow, now, context)

    def _room(self, blow: Blow) -> float:
        """How long nothing else falls, so that what follows can be told from what came before."""
        following = self._to_fall[-1] if self._to_fall else None
        return WINDOW if self.paced and (blow.counted or (following and following.counted)) else BREATH

    def paces(self) -> dict[str, tuple[float, float, int]]:
        """For each kind of blow that is counted: publications a minute before and after (medians), and how many times."""
        pairs: dict[str, list[tuple[float, float]]] = {}
        for fell in self.fell:
            counted = (fell.began - WINDOW, fell.ended + WINDOW)
            if self.paced and fell.blow.counted and not any(a < counted[1] and counted[0] < b for a, b in self.quiet):
                before = self.observer.pace(fell.began - WINDOW, fell.began)
                after = self.observer.pace(fell.ended + 1, fell.ended + 1 + WINDOW - 1)
                pairs.setdefault(fell.blow.name, []).append((before, after))
        return {
            name: (statistics.median(b for b, _ in found), statistics.median(a for _, a in found), len(found))
            for name, found in sorted(pairs.items())
        }

    # --- calm ---

    def calm(self, patience: float = 0.0) -> None:
        """Nothing new begins, everything settles or is halted, and the observer looks at all of it."""
        began, since = time.monotonic(), time.time()
        self._until_all_are_ready()
        names = {each.name for each in self.observer.watched}
        held: set[str] = set()
        resumed: set[str] = set()
        excused: set[str] = set()
        while time.monotonic() < began + CALM_WITHIN + (patience if excused else 0.0) and not names <= held:
            self.company.tend()
            rows = self.company.rows()
            excused = (excused | {name for name, row in rows.items() if WAITS in row["waiting"]}) - held
            if not patience and names <= held | excused:
                break
            for name, row in rows.items():
                if name in held:
                    continue
                if row["state"] == "halted" and name not in resumed:  # a person looks, and lets it go on
                    resumed.add(name)
                    self.observer.halts.append(f"{name}: {row['halt']['message']}")
                    self.resumed += self.company.command(name, "resume")
                elif row["rotation"] is None and row["state"] in {"quiet", "revoking"} and self._stays(name, row["state"]):
                    held.add(name)
            PAUSE.wait(0.2)
        self.calms.append(time.monotonic() - began)
        self.observer.settled(self.company.listen(), () if patience else excused)
        for name in names:
            self.company.command(name, "release")
        self.quiet.append((since, time.time()))
        self._next_at = max(self._next_at, time.time() + WINDOW)
        self.say(f"calm after {self.calms[-1]:.0f} s at {self.kills} kills: {self.observer.summary()}")

    def _stays(self, name: str, state: str) -> bool:
        """Hold it, and make sure that nothing began meanwhile."""
        settled = {"quiet", "revoking"} if name.startswith("sts") else {"quiet"}
        if state not in settled or not self.company.hold(name):
            return False
        row = self.company.rows().get(name)
        if row is not None and row["rotation"] is None and row["state"] in settled:
            return True
        self.company.command(name, "release")
        return False

    def _begin(self) -> None:
        """Every credential has a first version, and is in use."""
        until = time.monotonic() + BEGINS_WITHIN
        while time.monotonic() < until:
            self.company.tend()
            self.observer.look()
            rows = self.company.rows()
            if all(rows.get(each.name, {}).get("generation") for each in self.observer.watched) and not self.observer.unused:
                return
            PAUSE.wait(0.2)
        raise AssertionError(f"not everything has begun; unused: {self.observer.unused}; {self.company.rows()}")

    def _until_all_are_ready(self) -> None:
        until = time.monotonic() + BEGINS_WITHIN
        while len(self.company.ready()) < len(self.company.daemons):
            assert time.monotonic() < until, f"not all daemons start: {dict(self.company.ended)}"
            self.company.tend()
            PAUSE.wait(0.05)
