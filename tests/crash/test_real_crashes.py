"""kill -9 of real daemons at real servers, over and over, under blows of every kind, and an observer that knows nothing of us.

``ROTATORD_KILLS`` says how often, ``ROTATORD_CRASH_SEED`` which run; the same seed draws the same kills and blows, though the
machine decides what they strike. A short run lets every blow fall once, close together, and does not wait at its end for
what Parameter Store may still do.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.aws_seen import AwsSeen
from tests.crash.company import Company
from tests.crash.crash_report import report, summary, write
from tests.crash.crash_run import Run
from tests.crash.kubernetes_seen import KubernetesSeen
from tests.crash.observer import Observer
from tests.crash.scene import Scene
from tests.crash.vault_seen import VaultSeen

KILLS = int(os.environ.get("ROTATORD_KILLS", "100"))
SEED = int(os.environ.get("ROTATORD_CRASH_SEED", "1"))
SECONDS_A_KILL = 2.2
LONG = 500  # kills from which on a run compares what is published before and after blows
MOST_VERSIONS = 70  # that a secret may get: AWS keeps a hundred young ones

pytestmark = [
    pytest.mark.vault,
    pytest.mark.kubernetes,
    pytest.mark.postgresql,
    pytest.mark.slow,
    pytest.mark.timeout(KILLS * 10 + 900),
]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """All servers, for this run alone."""
    made = Scene(tmp_path, SEED, age=max(40.0, KILLS * SECONDS_A_KILL / MOST_VERSIONS))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def observer_of(scene: Scene) -> Observer:
    """Told where everything is, and nothing else."""
    watched = [each.watched() for each in scene.credentials]
    foreign = {"foreign_tokens": scene.foreign_tokens, "foreign_secret_id": scene.foreign_secret_id}
    vault = VaultSeen.at(scene.vault.address, scene.vault.root_token, scene.vault.audit_file, watched, **foreign)
    kubernetes = KubernetesSeen.at(scene.reaches["kubernetes"], scene.plane.log.file, watched)
    aws = AwsSeen.at(scene.aws_book, watched, foreign_key=scene.foreign_key)
    return Observer(watched, (vault, kubernetes, aws))


def test_kill_9_over_and_over(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is refused, one version of each credential lives, nothing is done twice, nothing of others is touched, and in
    every calm phase everything is settled or halted."""
    began = time.monotonic()

    def say(what: str) -> None:
        with capsys.disabled():
            print(f"\n[{time.monotonic() - began:5.0f} s] {what}", end="", flush=True)

    company = Company(scene)
    run = Run(company, observer_of(scene), SEED, KILLS, say=say, paced=KILLS >= LONG)
    trouble = ""
    try:
        run.play()
    except BaseException as error:
        trouble = repr(error)
        raise
    finally:
        run.give_up()
        company.stop()
        run.observer.look()
        scene.stop()
        counts = json.loads(scene.counts.read_text()) if scene.counts.exists() else {}
        told = report(run, time.monotonic() - began, counts) | ({"trouble": trouble} if trouble else {})
        file = write(told)
        say(f"{summary(told)}\n{file}\n")
    assert told["violations"] == [], f"seed {SEED}: {summary(told)}"
    assert told["kills"] == KILLS
    assert told["requests_by_their_own_count"]["refused"] == 0, {name: each["said"] for name, each in counts.items()}
    assert not run.observer.unused
