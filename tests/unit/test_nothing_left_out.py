"""The daemon is put together whole: every guard, gate and watch that tests may leave out is in it, whatever is configured.

Tests build an engine with a part left out to show what it is there for. Nothing that is shipped may do so.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rotatord import config
from rotatord.breakers import Breakers
from rotatord.chores import Chore
from rotatord.daemon import KEEP_EVENTS, Daemon
from rotatord.gates import AUTHORISE, GATE, VERIFY
from rotatord.ledger import settle
from rotatord.model import Event, Pause
from rotatord.pauses import PAUSED, text_of
from rotatord.saga import STEPS
from rotatord.testing.clock import SeededIds, VirtualClock

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("rotatord", "issuers", "backends", "consumers")
LEFT_OUT_BY = {"gate", "guards", "steps", "settle", "breakers", "trials"}  # arguments by which tests leave something out
GIVEN = {  # where what is shipped uses them, and with what
    ("rotatord/daemon.py", "gate", "GATE"),
    ("rotatord/daemon.py", "trials", "self.ourselves.trials"),
}
MADE_IN = {"Gate": "rotatord/gates.py", "Check": "rotatord/gates.py", "Guards": "rotatord/guards.py"}

CONFIGURATION = """
state_dir: {state}
issuers: {{authority: {{type: builtin, permissions: [read]}}}}
backends: {{files: {{type: file}}}}
policies: {{monthly: {{max_age: 30d, unproven: {{overlap: 1s}}}}}}
credentials:
  - name: a
    issuer: authority
    policy: monthly
    scope: {{permissions: [read]}}
    destinations: [{{backend: files, path: {state}/a.env, format: dotenv, keys: {{TOKEN: token}}}}]
"""


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def daemon(tmp_path: Path, clock: VirtualClock) -> Iterator[Daemon]:
    """As ``rotatord run`` makes it, but that its clock is virtual."""
    path = tmp_path / "rotatord.yaml"
    path.write_text(CONFIGURATION.format(state=tmp_path))
    made = Daemon(config.load_for_start(path), path, clock=clock, ids=SeededIds(1))
    try:
        yield made
    finally:
        made.stop()


def chore(daemon: Daemon, name: str) -> Chore:
    """One of those that a daemon does now and then."""
    return next(each for each in daemon._chores() if each.name == name)


def test_its_gate_and_its_steps_are_whole(daemon: Daemon) -> None:
    """Every check, in both its places; the steps, the ledger and the breakers are the true ones, and our own credentials
    are tried out before they are published."""
    saga = daemon.engine.saga
    assert daemon.engine._ctx.gate is GATE
    assert (GATE.verify, GATE.authorise) == (VERIFY, AUTHORISE)
    assert set(VERIFY) < set(AUTHORISE)
    assert (saga._steps, saga._settle, type(saga._breakers)) == (STEPS, settle, Breakers)
    assert daemon.engine._ctx.trials == daemon.ourselves.trials


def test_its_pause_is_read_live(daemon: Daemon, clock: VirtualClock) -> None:
    """A pause that somebody sets is seen by the next look."""
    assert daemon.engine._ctx.paused() is None
    now = clock.now()
    daemon.journal.set_fact(PAUSED, text_of(Pause(owner="ana", until=now + timedelta(hours=1), actor="ana", at=now)))
    assert daemon.engine._ctx.paused() is not None


def test_its_own_credentials_come_first(daemon: Daemon) -> None:
    """The engine asks for those that are due before it claims anything else."""
    assert daemon.engine._first == daemon.ourselves.known


def test_it_shares_its_budgets(daemon: Daemon) -> None:
    """When another daemon is heard of, quotas are divided, and what is too small to divide goes by turns; what all have in
    work of an issuer together is counted by the journal."""
    assert daemon.budgets.turn == daemon.replicas.turn
    daemon.engine.heard(3)
    assert daemon.budgets._sharing == 3
    asked: list[object] = []

    def claim(*_: object, **named: object) -> list[object]:
        asked.append(named.get("most"))
        return []

    daemon.engine._journal = type("Claims", (), {"claim": staticmethod(claim), "get": daemon.journal.get})()
    daemon.engine.claim()
    assert asked == [daemon.budgets.most]


def test_it_hears_of_what_others_do(tmp_path: Path) -> None:
    """From its start on it is told at once of what another daemon has made due."""
    path = tmp_path / "rotatord.yaml"
    path.write_text(CONFIGURATION.format(state=tmp_path))
    made = Daemon(config.load_for_start(path), path)
    told: list[object] = []
    made.replicas.watch = told.append  # type: ignore[method-assign]
    try:
        made.start(api=False)
        assert told == [made.engine.heard]
    finally:
        made.stop()


def test_it_watches_what_is_late_and_paused(daemon: Daemon, clock: VirtualClock) -> None:
    """The watchdog looks every minute, whatever the engine does: here that does nothing at all."""
    assert chore(daemon, "watchdog").every_seconds <= 60
    now = clock.now()
    daemon.journal.set_fact(PAUSED, text_of(Pause(owner="ana", until=now + timedelta(hours=1), actor="ana", at=now)))
    clock.advance(2 * 24 * 3600.0)
    chore(daemon, "watchdog").do()
    assert [notice.kind for notice in daemon.journal.notices(clock.now(), 9)] == ["paused"]


def test_it_forgets_what_is_old(daemon: Daemon, clock: VirtualClock) -> None:
    """Events are kept for thirteen months, and then go by themselves."""
    event = Event(id="evt-old", time=clock.now(), actor="somebody", action="look", credential="a", outcome="done")
    daemon.journal.record_events([event, replace(event, id="evt-new", time=clock.now() + timedelta(days=60))])
    clock.advance((KEEP_EVENTS + timedelta(days=30)).total_seconds())
    chore(daemon, "prune").do()
    assert [each.id for each in daemon.journal.replay(limit=99)] == ["evt-new"]


def test_it_does_all_its_chores(daemon: Daemon) -> None:
    """Each is there for something that would else go unseen."""
    wanted = "clock, notices, configuration, drift, sweep, watchdog, own lives, own credentials, prune, heartbeat, pulse"
    assert [each.name for each in daemon._chores()] == wanted.split(", ")
    assert len(daemon.chores._scheduler.jobs) == len(daemon._chores())


# --- what is shipped -------------------------------------------------------------------------------------------------


def uses(path: Path) -> Iterator[tuple[str, str, str]]:
    """Where a file uses what leaves something out: its name, by what, and the text of it."""
    name = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        left_out = called == "without" and isinstance(node.func, ast.Attribute)
        if left_out or (called in MADE_IN and name != MADE_IN[called]):
            yield name, called, ast.unparse(node)
        for given in node.keywords:
            if given.arg in LEFT_OUT_BY:
                yield name, given.arg, ast.unparse(given.value)


def test_nothing_that_is_shipped_leaves_one_out() -> None:
    """No configuration, variable or release can: there is no line by which it could."""
    files = [path for folder in SHIPPED for path in (ROOT / folder).rglob("*.py") if "testing" not in path.parts]
    found = {use for path in files for use in uses(path)}
    passed_on = {("rotatord/ledger.py", "guards", "guards"), ("rotatord/steps/mint.py", "guards", "guards")}
    assert found - passed_on == GIVEN


def test_a_line_that_leaves_one_out_is_seen() -> None:
    """The check above can fail."""
    made = ROOT / "tests" / "unit" / "test_guards.py"
    assert {name for _, name, _ in uses(made)} == {"without"}


def test_one_rotation_at_a_time_whatever_python_is_told(tmp_path: Path) -> None:
    """What must never be is refused by a statement of its own, not by one that PYTHONOPTIMIZE leaves out."""
    program = (
        "from rotatord import moves\n"
        "from rotatord.model import Reason\n"
        "from rotatord.testing.contracts.journal_setting import START, a_record\n"
        "from rotatord.testing.clock import SeededIds\n"
        "assert False, 'left out'\n"
        "record = moves.plan(a_record('a'), Reason.DUE, START, SeededIds(1), 'me')\n"
        "for again in (lambda: moves.plan(record, Reason.DUE, START, SeededIds(2), 'me'),\n"
        "              lambda: moves.plan_repair(record, START, SeededIds(2), 'me')):\n"
        "    try:\n"
        "        again()\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONOPTIMIZE": "1", "PYTHONPYCACHEPREFIX": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout.split(), ran.stderr) == (["ValueError", "ValueError"], "")
