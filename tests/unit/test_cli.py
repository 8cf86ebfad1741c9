"""The command line: what it prints, how it ends, and that it is quick; against a served journal on a real socket."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from served import HOUR, START, Served, halted, listening, owing, record, rotation, version

from rotatord.api.service import Finding, Stray
from rotatord.cli import main
from rotatord.cli.client import Client, NoDaemonError, Place, configured_state_dir
from rotatord.cli.following import AWAY_SECONDS, Following, Watch
from rotatord.cli.output import moment, printable
from rotatord.clock import RandomIds, SystemClock
from rotatord.errors import Retryable
from rotatord.journal import open_journal
from rotatord.model import Drift, Event, Hold, Reason, Record, Standing, State, Summary, Trouble, Way
from rotatord.ports import Amendment
from rotatord.testing.clock import VirtualClock

HELP_CPU_SECONDS = 0.25
HEAVY = (
    "fastapi",
    "uvicorn",
    "sqlalchemy",
    "hvac",
    "boto3",
    "kubernetes",
    "pydantic",
    "rich",
    "ruamel",
    "structlog",
    "tenacity",
)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs one command against the daemon of this directory: exit code, stdout, stderr."""
    for name in [name for name in os.environ if name.startswith("ROTATORD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main.run(["--state-dir", str(tmp_path), *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(record("dns"), record("dns-reader"), record("mail", rotation=rotation()))
    with listening(served, tmp_path):
        yield served


# --- quick and light -----------------------------------------------------------------------------------------------


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    """A quarter of a second of CPU at most, no SDK, no web server, no database library."""
    probe = (
        "import sys; from rotatord.cli.main import run; code = run(['--help'])\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'imported: {heavy}' if heavy or code else 0)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (ended.returncode, ended.stderr) == (0, "")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent <= HELP_CPU_SECONDS * 2, "the budget is measured by the benchmark; twice of it is a mistake"


def test_every_command_has_help(call: Command) -> None:
    """One sentence for the list, and options that say what they do."""
    for name, command in main.COMMANDS.items():
        code, out, _ = call(name, "--help")
        assert (code, command.__doc__ is not None) == (0, True), name
        assert f"Usage: rotatord {name}" in out


# --- reading -------------------------------------------------------------------------------------------------------


def test_status_as_a_table_json_and_yaml(served: Served, call: Command) -> None:
    """The same answer in three forms, the JSON in its documented schema."""
    code, out, _ = call("status")
    assert code == 0
    assert out.splitlines()[0].split()[:3] == ["NAME", "STATE", "GEN"]
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [
        ["dns", "quiet", "3"],
        ["dns-reader", "quiet", "3"],
        ["mail", "published", "3"],
    ]
    _, out, _ = call("status", "-o", "json")
    page = json.loads(out)
    assert (page["schema"], len(page["credentials"])) == ("rotatord.status/v1", 3)
    _, out, _ = call("status", "dns", "-o", "yaml")
    assert YAML(typ="safe").load(out)["credentials"][0]["fingerprint"] == f"{3:032x}"


def test_status_of_one_shows_every_field(served: Served, call: Command) -> None:
    """Name by name, with times also as a distance."""
    code, out, _ = call("status", "mail")
    assert code == 0
    assert "rotation          id=rot_4 reason=due" in out
    assert f"minted_at         {(START - HOUR).isoformat().replace('+00:00', 'Z')} (1h ago)" in out


def test_status_exits_1_when_a_person_is_needed(tmp_path: Path, call: Command) -> None:
    """A halt, or a read-only installation, is a finding; filters look at the rest only."""
    served = Served(halted(), record("fine", spec=replace(record("fine").spec, owner="team-b")))
    with listening(served, tmp_path):
        code, out, _ = call("status")
        assert (code, "halted (back)" in out, "the base is unhealthy" in out) == (1, True, True)
        assert call("status", "--owner", "team-b")[0] == 0
        assert call("status", "fine")[0] == 0
        served.journal.set_fact("read_only", "the journal was lost")
        code, _, err = call("status", "fine")
        assert (code, err) == (1, "READ ONLY: the journal was lost\n")


def test_status_exits_1_when_a_version_will_expire(tmp_path: Path, call: Command) -> None:
    """Nothing waits for a person yet, and somebody holds it until after its end: that is no clean answer."""
    held = (Hold(owner="bo", until=START + 3 * HOUR),)
    with listening(Served(record("doomed", current=version(expires_at=START + 2 * HOUR), holds=held)), tmp_path):
        code, out, _ = call("status")
        assert (code, "before a rotation starts (held by bo" in out) == (1, True)
        assert "endangered        will expire" in call("status", "doomed")[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"drift": (Drift(destination="vault:path=apps", what="unreadable", seen_at=START),)},
        {"troubles": (Trouble(unit="inspect", attempts=3, due_at=START + HOUR, error="vault: no answer in time"),)},
        {"rotation": replace(rotation(), attempts=2, error="vault: no answer in time")},
        {"ledger": (replace(owing(), error="vault: no answer in time", attempts=4),)},
    ],
)
def test_status_exits_3_when_something_does_not_answer(tmp_path: Path, call: Command, changes: dict[str, Any]) -> None:
    """Nothing is wrong as far as is known, and that is not all there is to know; what is wrong goes first."""
    away = record("away", **changes)
    with listening(Served(away, record("fine")), tmp_path):
        code, out, _ = call("status", "away")
        assert (code, "unreachable" in out, "cannot_tell" in out) == (3, True, True)
        assert call("status")[0] == 3
        assert call("status", "fine")[0] == 0
    with listening(Served(away, halted()), tmp_path):
        assert call("status")[0] == 1


def test_a_leaked_version_is_named(tmp_path: Path, call: Command) -> None:
    """The one that is being rolled out, by its generation or its whole label; only of one credential, and only as leaked."""
    served = Served(record("mail", rotation=rotation()), record("dns", rotation=rotation()))
    with listening(served, tmp_path):
        assert call("rotate", "mail", "--reason", "compromised", "--version", "4")[0] == 0
        assert [mark.generation for mark in served.journal.get("mail").leaks] == [4]  # type: ignore[union-attr]
        assert call("contain", "dns", "--version", "4-00000000", "--reason", "seen in a log")[0] == 0
        assert [mark.contain for mark in served.journal.get("dns").leaks] == [True]  # type: ignore[union-attr]
        code, out, _ = call("rotate", "mail", "--reason", "compromised", "--version", "9")
        assert (code, "generation 9 is neither current nor being rolled out" in out) == (1, True)
        for wrong in (("mail", "--version", "4"), ("mail", "dns", "--reason", "compromised", "--version", "4")):
            assert call("rotate", *wrong)[0] == 2
        assert call("contain", "dns", "--version", "four", "--reason", "x")[0] == 2


def test_status_notes_why_nothing_begins_before_what_is_unknown(tmp_path: Path, call: Command) -> None:
    """What failed is what one looks for; that an orphan may yet appear can wait."""
    searching = (owing(sweep_until=START + HOUR, abandoned=(1,)),)
    failed = record("failed", current=None, backoff_until=START + HOUR, failures=1, ledger=searching)
    with listening(Served(failed), tmp_path):
        assert "after a rotation was rolled back" in call("status")[1]


def test_why_tells_the_whole_story(tmp_path: Path, call: Command) -> None:
    """The sentence first, then the gate, what is live and owed, and what could be done."""
    with listening(Served(replace(halted(), ledger=(owing(error="sealed"),))), tmp_path):
        code, out, _ = call("why", "dns")
        assert code == 0
        assert out.startswith("dns: halted since")
        for expected in (
            "wait  instances web: 1 of 2 on 4",
            "4-00000000 new in the open rotation",
            "2-00000000 (replaced): owed",
            "sealed",
            "rotatord resume dns --retry: take the step that failed once more → published, back; next: reload",
        ):
            assert expected in out
        assert json.loads(call("why", "dns", "-o", "json")[1])["schema"] == "rotatord.why/v1"


def test_plan_lists_what_is_next_first_and_warns(tmp_path: Path, call: Command) -> None:
    """Exit 1 when something would go wrong if nothing changed."""
    doomed = record("doomed", current=version(expires_at=START + HOUR), held_for_person="rolled back four times")
    with listening(Served(doomed, record("later"), record("first", current=None)), tmp_path):
        code, out, _ = call("plan")
        assert code == 1
        assert [line.split()[0] for line in out.splitlines()[1:4]] == ["first", "doomed", "later"]
        assert "doomed: would expire" in out


def test_plan_of_one_shows_what_would_be_sent(tmp_path: Path, call: Command) -> None:
    """The request as it would be made, or why it cannot be shown; as JSON under ``mint``."""
    request = {"method": "POST", "path": "/user/tokens", "body": {"name": "rotatord:here:dns:ROTATION:5"}}
    shown: dict[str, Any] = {"issuer": "cf", "request": request}
    with listening(Served(record(), preview=lambda _: shown), tmp_path):
        code, out, _ = call("plan", "dns")
        assert code == 0
        assert "to cf: POST /user/tokens" in out
        assert '"name": "rotatord:here:dns:ROTATION:5"' in out
        assert json.loads(call("plan", "dns", "-o", "json")[1])["mint"] == shown
        assert call("plan", "dnss")[0] != 0
        shown = {"issuer": "cf", "cannot_show": "Cloudflare has no zone 'exmaple.com'"}
        assert "cannot be shown: Cloudflare has no zone" in call("plan", "dns")[1]


def test_check_and_strays_exit_by_what_they_found(tmp_path: Path, call: Command) -> None:
    """Wrong is 1, cannot tell is 3, and a look that failed is never "none"."""
    findings = [Finding(subject="vault", ok=True, detail="fine")]
    strays: list[Any] = []

    def look() -> Any:
        if strays == ["fail"]:
            raise Retryable("cf did not answer")
        return strays

    with listening(Served(record(), check=lambda _: findings, strays=look, unlisted=lambda: ["cluster"]), tmp_path):
        assert call("check")[0] == 0
        assert call("strays") == (
            0,
            "no strays\n",
            "cannot tell of cluster: what lives there cannot be listed, or bears no labels\n",
        )
        findings.append(Finding(subject="cf", ok=None, detail="did not answer"))
        assert call("check", "dns")[0] == 3
        findings.append(Finding(subject="k8s", ok=False, detail="may not patch"))
        code, out, _ = call("check")
        assert (code, [line.split()[:2] for line in out.splitlines()[1:]]) == (
            1,
            [["vault", "ok"], ["cf", "cannot"], ["k8s", "wrong"]],
        )
        strays.append(Stray(issuer="cf", ref="abc", why="no label of ours"))
        code, out, _ = call("strays")
        assert (code, "abc" in out) == (1, True)
        strays[:] = ["fail"]
        assert call("strays") == (3, "", "cf did not answer\n")


def test_log_shows_the_latest_and_follows(served: Served, tmp_path: Path) -> None:
    """The tail first; then whatever happens, a line each, until the reader leaves."""
    for number in range(5):
        served.journal.record_events(
            [Event(id=f"e{number}", time=START, actor="ana", action="hold", credential="dns", outcome="done", reason="r")]
        )
    arguments = [
        sys.executable,
        "-m",
        "rotatord.cli",
        "--state-dir",
        str(tmp_path),
        "log",
        "dns",
        "-n",
        "2",
        "-f",
        "-o",
        "json",
    ]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        try:
            assert [json.loads(follower.stdout.readline())["id"] for _ in range(2)] == ["e3", "e4"]
            late = Event(id="late", time=START, actor="bo", action="rotate", credential="dns", outcome="accepted")
            served.journal.record_events([late])
            assert json.loads(follower.stdout.readline())["id"] == "late"
        finally:
            follower.terminate()


def test_log_prints_one_line_per_event(served: Served, call: Command) -> None:
    """Time, name, action, outcome, then what is known beside them."""
    call("hold", "dns", "--until", "2h", "--owner", "ana")
    code, out, _ = call("log")
    assert (code, len(out.splitlines())) == (0, 1)
    assert out.split()[1:4] == ["dns", "hold", "accepted"]
    assert call("log", "-n", "0")[1] == ""
    assert call("log", "nobody")[0] == 2
    assert json.loads(call("log", "-o", "json")[1])["schema"] == "rotatord.events/v1"


# --- asking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "action"),
    [
        (("rotate", "dns"), "rotate"),
        (("repair", "dns"), "repair"),
        (("inspect", "dns"), "inspect"),
        (("hold", "dns", "--until", "2999-01-01T00:00", "--owner", "ana", "--reason", "audit"), "hold"),
        (("rollback", "mail"), "rollback"),
        (("retire", "dns", "--reason", "gone"), "retire"),
        (("contain", "dns", "--reason", "leak"), "contain"),
        (("adopt", "dns", "--ref", "abc"), "adopt"),
    ],
)
def test_each_verb_reaches_the_journal(served: Served, call: Command, arguments: tuple[str, ...], action: str) -> None:
    """What was typed is journaled, with the name of who typed it."""
    code, out, err = call(*arguments)
    assert (code, err) == (0, ""), out
    event = served.journal.replay()[-1]
    assert (event.action, event.actor.startswith("uid:")) == (action, True)


def test_resume_and_release_and_revoke(tmp_path: Path, call: Command) -> None:
    """One way out at a time; a version is named with its credential; holds end."""
    served = Served(halted(), record("owing", ledger=(owing(),)))
    with listening(served, tmp_path):
        assert call("resume", "dns", "--retry", "--accept")[0] == 2
        assert call("resume", "dns", "--accept")[:2] == (2, "")
        assert call("resume", "dns", "--skip-consumer", "nobody", "--reason", "x")[0] == 1
        assert call("resume", "dns", "--accept", "--reason", "seen with my own eyes")[0] == 0
        assert call("revoke", "owing", "--reason", "x")[0] == 2
        assert call("revoke", "owing@3", "--reason", "x") == (
            1,
            "",
            "it is the current version: `rotate --reason compromised` replaces it first, `contain` ends it at once\n",
        )
        assert call("revoke", "owing@2-00000000", "--now", "--reason", "leaked")[0] == 0
        assert call("release", "owing")[0] == 1
        assert call("hold", "owing", "--until", "3d", "--owner", "ana")[0] == 0
        assert call("release", "owing")[0] == 0


def test_pause_and_unpause(served: Served, call: Command) -> None:
    """Paused is said in every answer; ending what is not there is refused."""
    assert call("unpause") == (1, "", "the installation is not paused\n")
    code, out, _ = call("pause", "--reason", "moving")
    assert (code, "paused until 2026-01-06T12:00:00Z (24 hours: no --until was given)" in out) == (0, True)
    assert call("status")[2].endswith("moving\n")
    assert call("unpause")[0] == 0


def test_rebuild_takes_all_that_are_behind(tmp_path: Path, call: Command) -> None:
    """Without a name everything that needs it; with one just that."""
    served = Served(record("a", standing=Standing.BEHIND), record("b", standing=Standing.BEHIND), record("c"))
    with listening(served, tmp_path):
        assert call("rebuild")[1] == "a: asked for\nb: asked for\n"
        assert call("rebuild", "c")[0] == 1


def test_rotating_many(served: Served, call: Command) -> None:
    """By label, as a dry run, refusals shown beside the rest; nothing found is said so."""
    code, out, _ = call("rotate", "--selector", "tier=gold", "--dry-run", "-o", "json")
    body = json.loads(out)
    assert (code, [item["accepted"] for item in body["outcomes"]]) == (1, [True, True, False])
    assert list(served.journal.replay()) == []
    assert call("rotate", "--owner", "nobody")[0] == 1
    assert call("rotate", "--selector", "tier")[0] == 2
    assert call("rotate")[0] == 2
    assert call("rotate", "dns", "--issuer", "cf")[0] == 2
    assert call("rotate", "dns", "dns-reader")[0] == 0


class Engine(threading.Thread):
    """Stands for the daemon: takes each wish through some states, then ends the rotation as it is told."""

    def __init__(self, served: Served, *ends: State) -> None:
        super().__init__(daemon=True)
        self.served = served
        self.ends = ends
        self.over = threading.Event()

    def run(self) -> None:
        for number, end in enumerate(self.ends):
            while not self.over.is_set() and not self._asked():
                self.over.wait(0.01)
            started = rotation(State.PUBLISHED, id=f"rot_n{number}")
            self._becomes(lambda r, started=started: replace(r, asked=None, rotation=started))
            self.over.wait(0.7)  # longer than one look of the command line
            self._becomes(lambda r, end=end, number=number: self._ended(r, end, f"rot_n{number}"))

    def _asked(self) -> bool:
        found = self.served.journal.get("dns")
        return found is not None and (
            found.asked is not None or (found.last is not None and found.last.state is State.SUPERSEDED)
        )

    def _ended(self, item: Record, end: State, id: str) -> Record:
        if end is State.VERIFIED:
            return replace(item, rotation=halted().rotation)
        last = Summary(
            id=id,
            reason=Reason.MANUAL,
            way=Way.FORWARD,
            state=end,
            started_at=START,
            finished_at=START,
            error="" if end is State.COMPLETED else "the consumer refused it",
        )
        return replace(item, rotation=None, last=last)

    def _becomes(self, change: Callable[[Record], Record]) -> None:
        self.served.journal.amend("dns", lambda item: Amendment(record=change(item)))


@pytest.mark.parametrize(
    ("ends", "code", "stages"),
    [
        ((State.COMPLETED,), 0, ["dns: asked", "dns: published", "dns: completed"]),
        ((State.ROLLED_BACK,), 1, ["dns: asked", "dns: published", "dns: rolled_back (the consumer refused it)"]),
        ((State.VERIFIED,), 1, ["dns: asked", "dns: published", "dns: halted (the base is unhealthy)"]),
        ((State.SUPERSEDED, State.COMPLETED), 0, ["dns: completed"]),
    ],
)
def test_waiting_for_a_rotation(served: Served, call: Command, ends: tuple[State, ...], code: int, stages: list[str]) -> None:
    """Each change is a line, and the exit code is the rotation's end: completed, rolled back, or halted."""
    engine = Engine(served, *ends)
    engine.start()
    try:
        ended, out, err = call("rotate", "dns", "--wait", "--timeout", "30s")
    finally:
        engine.over.set()
        engine.join(10)
    assert (ended, err) == (code, "")
    assert out.splitlines()[-1] == stages[-1]
    assert set(stages) <= {*out.splitlines(), "dns: asked"}


def test_waiting_outlasts_a_restart_of_the_daemon() -> None:
    """A daemon that is away for a moment does not end the watch; one that stays away does."""
    clock = VirtualClock()
    shown: list[str] = []

    class Screen:
        def at(self, name: str, stage: str, note: str) -> None:
            shown.append(stage)

    under_way = {"rotation": {"state": "proven", "way": "forward"}, "last_rotation": None, "halt": None, "waiting": ""}
    over = under_way | {"rotation": None, "last_rotation": {"id": "new", "state": "completed", "error": ""}}
    answers: list[Any] = [under_way, *[NoDaemonError("restarting")] * 5, over]

    def read(_: str) -> Any:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    following = Following(Client(Place()), clock, {"dns": Watch(before=None)})
    following.read = read
    assert following.until_over(Screen())
    assert shown == ["proven", "completed"]
    answers[:] = [NoDaemonError("gone")]
    following.watches["dns"].outcome = ""
    began = clock.monotonic()
    with pytest.raises(NoDaemonError):
        following.until_over(Screen())
    assert clock.monotonic() - began >= AWAY_SECONDS


def test_waiting_in_vain_is_incomplete(served: Served, call: Command) -> None:
    """When the patience is over the rotation goes on, and the command says where to look."""
    code, out, err = call("rotate", "dns", "--wait", "--timeout", "1ms")
    assert (code, out) == (3, "dns: asked\n")
    assert err == "still under way: dns; see `rotatord why`\n"


def test_a_rotation_that_ended_before_is_not_taken_for_ours() -> None:
    """Only an end with another id than before counts."""
    row: dict[str, Any] = {"rotation": None, "last_rotation": {"id": "old", "state": "completed", "error": ""}}
    watch = Watch(before="old")
    assert watch.see(row | {"halt": None, "waiting": "held by ana"}) == ("asked", "held by ana")
    assert watch.outcome == ""


# --- endings -------------------------------------------------------------------------------------------------------


def test_an_unknown_name_is_a_mistake_with_a_hint(served: Served, call: Command) -> None:
    """Exit 2 and the nearest names, for reading and for asking."""
    for arguments in (("status", "dnss"), ("why", "dnss"), ("rotate", "dnss"), ("repair", "dnss"), ("check", "dnss")):
        code, out, err = call(*arguments)
        assert (code, out, err) == (2, "", "there is no credential 'dnss'; did you mean dns?\n"), arguments


def test_bad_usage_is_2(served: Served, call: Command) -> None:
    """Unknown commands and options, malformed times and forms."""
    for arguments in (
        ("statsu",),
        ("status", "--nonsense"),
        ("status", "-o", "xml"),
        ("hold", "dns", "--until", "soon", "--owner", "ana"),
        ("hold", "dns", "--owner", "ana"),
        ("rotate", "dns", "--wait", "--timeout", "ten"),
        ("rotate", "dns", "--reason", "whim"),
        ("log", "-f", "-o", "yaml"),
        ("exec", "--file", "x"),
        ("scanner-regex", "--prefix", "no prefix"),
        ("retire", "dns"),
    ):
        assert call(*arguments)[0] == 2, arguments


def test_strays_tells_what_it_could_not_ask(tmp_path: Path, call: Command) -> None:
    """What the others have is shown, and the silence of one is no clean answer."""
    strays: list[Stray] = []
    away = {"vault": "no answer in time"}
    with listening(Served(record(), strays=lambda: strays, unreached=lambda: away), tmp_path):
        assert call("strays") == (3, "no strays at those that answered\n", "cannot tell of vault: no answer in time\n")
        strays.append(Stray(issuer="cf", ref="abc", why="no label of ours"))
        code, out, err = call("strays")
        assert (code, "abc" in out, "cannot tell of vault" in err) == (1, True, True)
        away.clear()
        strays.clear()
        assert call("strays") == (0, "no strays\n", "")


def test_without_a_daemon_and_a_journal_the_reason_is_clear(call: Command, tmp_path: Path) -> None:
    """Exit 3, and a sentence that names the place."""
    code, out, err = call("status")
    assert (code, out) == (3, "")
    assert err.startswith(f"no daemon answers at {tmp_path}/rotatord.sock (no such file or directory)")
    code, _, err = call("rotate", "dns")
    assert (code, "is `rotatord run` running?" in err) == (3, True)


def test_without_a_daemon_reading_falls_back_to_the_journal(call: Command, tmp_path: Path) -> None:
    """The journal is opened to look only; what is printed says that nothing is being done."""
    clock = SystemClock()
    journal = open_journal(f"sqlite:///{tmp_path}/journal.db", clock, RandomIds())
    journal.put([Amendment(record=halted()), Amendment(record=record("mail"))])
    event = Event(id="e1", time=clock.now(), actor="ana", action="hold", credential="dns", outcome="done", rotation="rot_4")
    journal.record_events([event])
    journal.close()
    code, out, err = call("status", "-o", "json")
    assert (code, [row["name"] for row in json.loads(out)["credentials"]]) == (1, ["dns", "mail"])
    assert "this is what its journal says, and nothing is being done" in err
    code, out, _ = call("why", "dns")
    assert (code, "only a running daemon can tell" in out, " hold done" in out) == (0, True, True)
    assert call("plan")[0] in {1, 3}
    assert call("status", "mail")[0] == 3  # nothing is wrong with it, but nobody is at work
    assert call("log", "-n", "5")[1].split()[1:4] == ["dns", "hold", "done"]
    assert call("why", "dnn")[0] == 2
    assert call("repair", "dns")[0] == 3


def test_a_broken_journal_is_incomplete(call: Command, tmp_path: Path) -> None:
    """A file that is no journal is said so; nothing is guessed from it."""
    (tmp_path / "journal.db").write_bytes(b"not a database" * 100)
    code, out, err = call("status")
    assert (code, out, "cannot be read" in err) == (3, "", True)


def test_tcp_needs_encryption_and_a_token(call: Command, tmp_path: Path) -> None:
    """A token is not sent in the clear off this machine, and not invented."""
    token = tmp_path / "token"
    assert call("--api", "http://127.0.0.1:1", "status")[0] == 2
    token.write_text("x" * 20)
    code, _, err = call("--api", "http://192.0.2.1:1", "--token-file", str(token), "status")
    assert (code, "not encrypted" in err) == (2, True)
    assert call("--api", "http://127.0.0.1:1", "--token-file", str(token), "status")[0] == 3


def test_validate_prints_every_problem(call: Command, tmp_path: Path) -> None:
    """One a line, exit 2; fine is 0."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("issuers: {a: {type: nonsense}}\nwhat: 1\n")
    code, out, err = call("validate", "--config", str(bad))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 2
    assert all(line.startswith(f"{bad}:") for line in err.splitlines())
    code, out, _ = call("validate", "-c", str(bad), "-o", "json")
    assert (code, len(json.loads(out)["problems"])) == (2, 2)
    bad.write_text("credentials: []\n")
    assert call("validate", "-c", str(bad))[0] == 0


def test_version_and_scanner_regex(call: Command) -> None:
    """Small answers that need no daemon."""
    assert call("version")[1].startswith("rotatord 0.")
    assert call("scanner-regex", "--prefix", "acme_")[1] == "\\bacme_[0-9A-Za-z]{36}\\b\n"


def test_exec_hands_on_the_program_and_its_exit_code(tmp_path: Path) -> None:
    """Everything after the double dash is the program's own, its options included."""
    (tmp_path / "app.env").write_text("TOKEN=abc\n")
    code = "import os, sys; sys.exit(41 + (os.environ['TOKEN'] == 'abc'))"
    command = [
        sys.executable,
        "-m",
        "rotatord.cli",
        "exec",
        "--file",
        str(tmp_path / "app.env"),
        "--",
        sys.executable,
        "-c",
        code,
    ]
    assert subprocess.run(command, timeout=60, check=False).returncode == 42


def test_a_reader_who_leaves_early_is_no_error_message(served: Served, tmp_path: Path) -> None:
    """`rotatord status | head -1` prints no traceback."""
    command = f"{sys.executable} -m rotatord.cli --state-dir {tmp_path} log -o json | true"
    ended = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stderr == ""


# --- small things --------------------------------------------------------------------------------------------------


def test_the_state_directory_is_found_in_the_configuration(tmp_path: Path) -> None:
    """By its line, relative to the file, in one file or a directory of them; else the default."""
    config = tmp_path / "rotatord.yaml"
    for text, expected in [
        ("state_dir: state # here\n", f"{tmp_path}/state"),
        ("a: 1\nstate_dir: '/srv/r'\n", "/srv/r"),
        ("  state_dir: nested\n", "/var/lib/rotatord"),
    ]:
        config.write_text(text)
        assert configured_state_dir(str(config)) == expected
    config.write_text("state_dir: /srv/r\n")
    assert configured_state_dir(str(tmp_path)) == "/srv/r"
    assert configured_state_dir("/nonexistent") == "/var/lib/rotatord"
    assert Place(state_dir="/srv/r").path == "/srv/r/rotatord.sock"


def test_times_are_said_as_people_say_them() -> None:
    """The two largest units, before or after."""
    now = START.isoformat()
    assert moment((START + HOUR * 76).isoformat(), now) == "in 3d4h"
    assert moment((START - HOUR).isoformat(), now) == "1h ago"
    assert moment(None, now) == "-"


def test_messages_of_others_do_not_steer_the_terminal() -> None:
    """Control characters are blanked."""
    assert printable("a\x1b[31mred\x07\nb") == "a [31mred  b"
