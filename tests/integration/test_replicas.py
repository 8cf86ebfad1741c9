"""Several daemons over one PostgreSQL and a real Vault: they share the work, and one that stops, dies or freezes is
followed without a request refused, a version lost or anything done twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rotatord.cli.ending import Ending
from tests.integration.on_vault import CONFIG, NAME, Busy, Corner, World, audited
from tests.integration.replicas import LEASE_SECONDS, Fleet, fleet, freeze, said, thaw, worked_on
from tests.integration.running import ROTATORD, Installation
from tests.servers.fixtures import Place
from tests.servers.postgresql import Database

pytestmark = [pytest.mark.postgresql, pytest.mark.vault, pytest.mark.slow, pytest.mark.timeout(3600)]

SEED = int(os.environ.get("ROTATORD_CRASH_SEED", "1"))
ROUNDS = int(os.environ.get("ROTATORD_REPLICA_ROUNDS", "4"))
QUICK = "connect_timeout: 1, read_timeout: 1, timeout: 1.5"  # a call fits into the short lease of these tests
FITTING_SECONDS = 12  # a lease that every call fits into: those of files may take 10 seconds
PAUSE = threading.Event()


def head_of(corner: Corner) -> str:
    """As a fleet needs it: slots that all share, calls that are short, a state directory each."""
    head = corner.head("fleet").replace("}, role", f"}}, {QUICK}, role")
    head = head.replace("}}\n  files: {type: file}", f"}}, {QUICK}}}\n  files: {{type: file, slots: {corner.directory}/slots}}")
    assert head.count(QUICK) == 2
    return head


def hurried(consumer: str) -> str:
    """With calls that fit into a short lease."""
    return consumer.replace("{type: process,", "{type: process, timeout: 1.5,").replace(
        "possession: true", "possession: true, timeout: 1"
    )


@pytest.fixture
def company(vault_place: Place, database: Database) -> Iterator[Callable[..., tuple[Fleet, World]]]:
    """Makes fleets of two around one application that must never be refused; it is asked when the test ends."""
    corner = Corner.make(vault_place)
    reader = ["--document", f"secret/data/{corner.name}/app", "--reader-token", str(corner.reader_token())]
    busy = Busy(corner, "reader", NAME, reader, rate=50)
    made: list[Fleet] = []

    def make(overlap: str = "0s", lease_seconds: float = LEASE_SECONDS, *, files: bool = True) -> tuple[Fleet, World]:
        file = f"{corner.directory}/destinations/app.env"
        config = head_of(corner) + CONFIG.format(
            overlap=overlap, consumer=hurried(busy.consumer()), permission=corner.name, document="app", file=file
        )
        if not files:
            config = "\n".join(line for line in config.splitlines() if "{backend: files" not in line)
        ours = Fleet(corner.directory, config, database.url, lease_seconds)
        made.append(ours)
        for _ in range(2):
            ours.add().start()
        return ours, World(corner, busy, ours.daemons[0])

    try:
        with busy:
            yield make
            for ours in made:
                ours.stop()
    finally:
        for ours in made:
            ours.stop()
    assert busy.counts["asked"] > 0
    assert audited(corner.server.audit_file, busy.asks_for).refused == 0, busy.output()


def intended_once(daemon: Installation) -> None:
    """No mint was made that the journal did not intend, no version died twice, and one lives."""
    events = daemon.events(NAME)
    intended = [e["evidence"]["generation"] for e in events if (e["action"], e["outcome"]) == ("mint", "intended")]
    assert len(intended) == len(set(intended)), "a mint was intended twice under one generation"
    refs = [e["evidence"]["ref"] for e in events if (e["action"], e["outcome"]) == ("mint", "done")]
    dead = [e["evidence"]["ref"] for e in events if (e["action"], e["outcome"]) == ("prove_dead", "done")]
    assert len(refs) == len(set(refs))
    assert len(dead) == len(set(dead)), "a version died twice"


MANY = """
policies:
  quick: {{ttl: 1h, renew_before: 10m, alarm_before: 5m, overlap: 0s, settle: 0s, poll: 100ms, unproven: {{overlap: 1s}}}}
credentials:
"""
ONE = """  - name: c{number}
    issuer: tokens
    policy: quick
    scope: {{permissions: [{permission}]}}
    destinations:
      - {{backend: kv, path: {permission}/c{number}, keys: {{TOKEN: token}}}}
"""


def test_they_share_the_work(vault_place: Place, database: Database) -> None:
    """Three daemons rotate many credentials: each has its part, every command may go to any of them, each credential is
    rotated once, and one token of each lives in the end."""
    names = [f"c{number}" for number in range(12)]
    corner = Corner.make(vault_place, *names)
    config = head_of(corner) + MANY.format() + "".join(ONE.format(number=n, permission=corner.name) for n in range(12))
    with fleet(corner.directory, config, database.url, count=3) as ours:
        for name in names:
            ours.daemons[0].until_quiet(name)
        before = [len(worked_on(daemon)) for daemon in ours.daemons]
        for number, name in enumerate(names):
            ours.daemons[number % 3].command("rotate", name)
        for number, name in enumerate(names):
            row = ours.daemons[(number + 1) % 3].until_row(
                name, lambda row: row["state"] == "quiet" and row["generation"] == 2, "rotate"
            )
            assert row["last_rotation"]["state"] == "completed"
        shares = [len(worked_on(daemon)) - old for daemon, old in zip(ours.daemons, before, strict=True)]
        assert len(corner.labelled()) == len(names)
    assert all(share > 0 for share in shares), shares


def test_a_clean_stop_hands_over_at_once(company: Callable[..., tuple[Fleet, World]]) -> None:
    """In the middle of a rotation one is told to stop: the other goes on within a second of its end."""
    ours, world = company()
    one, other = ours.daemons
    world.begin(0)
    for _ in range(ROUNDS):
        other.command("rotate", NAME)
        PAUSE.wait(0.3)
        one.stop()
        stopped = time.monotonic()
        seen = len(worked_on(other))
        row = other.row(NAME)
        if row["state"] != "quiet":
            other.until(lambda seen=seen: len(worked_on(other)) > seen, "go on", 2)
            assert time.monotonic() - stopped < 1.5  # a poll of the log in it
        other.until_quiet(NAME)
        one.start()
    world.one_lives()
    intended_once(other)


def test_kill_9_is_followed_within_the_lease(company: Callable[..., tuple[Fleet, World]]) -> None:
    """Killed at random moments of a rotation: the other ends it, beginning no later than the lease and two seconds."""
    ours, world = company(lease_seconds=FITTING_SECONDS)
    dice, took = random.Random(SEED), []
    world.begin(0)
    for number in range(ROUNDS):
        struck, other = ours.daemons[number % 2], ours.daemons[1 - number % 2]
        world.installation = other
        other.command("rotate", NAME)
        PAUSE.wait(dice.random() * 0.8)
        struck.stop(signal.SIGKILL)
        killed = time.monotonic()
        seen = len(worked_on(other))
        if other.row(NAME)["state"] != "quiet":
            other.until(
                lambda seen=seen, other=other: len(worked_on(other)) > seen or other.row(NAME)["state"] == "quiet",
                "take over",
                FITTING_SECONDS + 10,
            )
            took.append(time.monotonic() - killed)
        other.until_quiet(NAME)
        struck.start()
    assert all(seconds < FITTING_SECONDS + 2 for seconds in took), took
    world.one_lives()
    intended_once(ours.daemons[0])


def test_a_frozen_one_writes_nothing_when_it_goes_on(company: Callable[..., tuple[Fleet, World]]) -> None:
    """Frozen at random moments beyond its lease, while the other takes over, rolls back where that is still possible and
    discards: continued, it changes nothing of what anybody reads, and nobody who lives."""
    ours, world = company(overlap="2s", files=False)
    dice, undone = random.Random(SEED + 7), 0
    world.begin(0)
    for number in range(ROUNDS):
        frozen, other = ours.daemons[number % 2], ours.daemons[1 - number % 2]
        world.installation = other
        other.command("rotate", NAME)
        PAUSE.wait(dice.random() * 1.0)
        freeze(frozen)
        with suppress(Ending):  # past the pivot, or over
            other.command("rollback", NAME)
            undone += 1
        other.until_quiet(NAME, LEASE_SECONDS + 40)
        before = world.seen()
        thaw(frozen)
        PAUSE.wait(2)
        assert world.seen() == before
        assert frozen.daemon is not None
        assert frozen.daemon.poll() is None
        frozen.until(frozen.answers, "answer")
        assert other.row(NAME)["state"] == "quiet"
        other.command("resume", NAME) if other.row(NAME)["needs_person"] else None
    assert undone
    (accessor,) = world.corner.labelled()
    current = world.corner.server.call("GET", "auth/token/lookup-self", token=world.token())["data"]
    assert current["accessor"] == accessor
    intended_once(ours.daemons[0])


def test_a_frozen_one_completes_no_write_of_a_file(company: Callable[..., tuple[Fleet, World]]) -> None:
    """The same where a file is read too. Frozen in the middle of a write it holds the kernel's lock: then the other waits for
    it, and goes on once it has gone on itself and left its write undone. All places hold the one that lives."""
    ours, world = company(overlap="1s", lease_seconds=FITTING_SECONDS)
    dice = random.Random(SEED + 11)
    world.begin(0)
    for number in range(ROUNDS):
        frozen, other = ours.daemons[number % 2], ours.daemons[1 - number % 2]
        world.installation = other
        other.command("rotate", NAME)
        PAUSE.wait(dice.random() * 1.0)
        freeze(frozen)
        with suppress(Ending):  # past the pivot, or over
            other.command("rollback", NAME)
        before = None
        with suppress(AssertionError):  # it waits for the lock
            other.until_quiet(NAME, FITTING_SECONDS + 8)
            before = world.seen()
        thaw(frozen)
        PAUSE.wait(2)
        assert before is None or world.seen() == before
        other.until_quiet(NAME)
        other.command("resume", NAME) if other.row(NAME)["needs_person"] else None
    world.one_lives()
    intended_once(ours.daemons[0])


def test_another_key_is_refused(vault_place: Place, database: Database) -> None:
    """Without the key of the first one a daemon does not start, and says how it would."""
    corner = Corner.make(vault_place)
    ours = Fleet(corner.directory, head_of(corner), database.url)
    try:
        ours.add().start()
        for key in ("", "file:other-key"):
            late = ours.add(ROTATORD_FINGERPRINT_KEY=key)
            (late.directory / "other-key").write_text("x" * 40)
            late.config_file.write_text(late.config)
            ended = subprocess.run(
                [ROTATORD, "run", "--config", str(late.config_file)],
                env=late._environment(),
                cwd=late.directory,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert ended.returncode == 2
            assert "fingerprint_key" in ended.stderr
            assert database.password not in ended.stdout + ended.stderr
    finally:
        ours.stop()


def test_another_configuration_makes_the_others_stand_back(vault_place: Place, database: Database) -> None:
    """Who has not the configuration in force begins nothing until it has; when nobody who has it is left, it is replaced."""
    corner = Corner.make(vault_place, "c0", "c1")
    first = head_of(corner) + MANY.format() + ONE.format(number=0, permission=corner.name)
    second = first + ONE.format(number=1, permission=corner.name)
    with fleet(corner.directory, first, database.url, count=2) as ours:
        one, other = ours.daemons
        one.until_quiet("c0")
        other.hang_up(second)
        other.until(lambda: "c1" in {row["name"] for row in other.read("status")["credentials"]}, "take up the other one")
        other.until_quiet("c1")
        one.until(lambda: any(line["event"] == "standing back" for line in said(one)), "stand back")
        seen = len(worked_on(one))
        other.command("rotate", "c0")
        other.until_row("c0", lambda row: row["generation"] == 2 and row["state"] == "quiet", "rotate")
        assert len(worked_on(one)) == seen
        one.hang_up(second)
        other.stop(signal.SIGKILL)
        one.rotated("c1")


def test_no_password_anywhere(vault_place: Place, database: Database, tmp_path: Path) -> None:
    """The database's password stands in no log, no answer and no state directory."""
    corner = Corner.make(vault_place, "c0")
    config = head_of(corner) + MANY.format() + ONE.format(number=0, permission=corner.name)
    with fleet(corner.directory, config, database.url, count=1) as ours:
        daemon = ours.daemons[0]
        daemon.until_quiet("c0")
        answers = [daemon.ask(*words) for words in (("status",), ("log",), ("why", "c0"), ("check",))]
        database.kill_connections()
        PAUSE.wait(1.5)
        answers.append(daemon.ask("status"))
        told = "".join(answer.stdout + answer.stderr for answer in answers) + daemon.output.read_text()
        assert database.password not in told
        for file in daemon.state.rglob("*"):
            assert not file.is_file() or database.password.encode() not in file.read_bytes()
