"""kill -9 at random moments of real rotations on a real Vault, under an application that forgives nothing."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading

import pytest

from rotatord.cli.ending import Ending
from tests.integration.on_vault import NAME, MakeWorld, World

KILLS = int(os.environ.get("ROTATORD_KILLS", "12"))
SEED = int(os.environ.get("ROTATORD_CRASH_SEED", "1"))
LONGEST_SECONDS = 1.2  # a rotation here takes about as long: a kill may strike any part of it, the revocations after it too


def _kill_once(world: World, dice: random.Random) -> str:
    """Ask for a rotation where none is open, kill the daemon a moment later, and start it again; where it was struck."""
    daemon = world.installation
    with contextlib.suppress(Ending):  # one is open still: it is struck once more
        daemon.command("rotate", NAME)
    threading.Event().wait(dice.random() * LONGEST_SECONDS)
    daemon.stop(signal.SIGKILL)
    daemon.start()
    rotation = daemon.row(NAME)["rotation"]
    return f"{rotation['state']} {rotation['way']}" if rotation else "between rotations"


@pytest.mark.vault
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_kill_9_at_random_moments(make_world: MakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    """However often it is killed: nobody is refused (asked of Vault's audit device by the fixture), one token lives in the
    end, each version that was published is accounted for, and no mint was made that the journal did not intend."""
    dice = random.Random(SEED)
    world = make_world()
    struck: dict[str, int] = {}
    with world.installation:
        world.begin()
        for _ in range(KILLS):
            where = _kill_once(world, dice)
            struck[where] = struck.get(where, 0) + 1
        world.installation.until_quiet(NAME, 120)
        world.one_lives()
        events = world.installation.events(NAME)
    with capsys.disabled():
        rotations = sum(event["action"] == "rotation.completed" for event in events)
        print(f"\nkill -9: {KILLS} times (seed {SEED}) over {rotations} rotations, struck {struck}; 0 refused, 0 orphans")
    intended = [e["evidence"]["generation"] for e in events if (e["action"], e["outcome"]) == ("mint", "intended")]
    assert len(intended) == len(set(intended)), "a mint was intended twice under one generation"
    refs = [e["evidence"]["ref"] for e in events if (e["action"], e["outcome"]) == ("mint", "done")]
    dead = [e["evidence"]["ref"] for e in events if (e["action"], e["outcome"]) == ("prove_dead", "done")]
    assert len(refs) == len(set(refs))
    assert set(refs) - set(dead) == set(refs[-1:])
    assert len(dead) == len(set(dead)), "a version died twice"
