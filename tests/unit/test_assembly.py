"""A daemon put together: reloads that change all or nothing, chores that tell, and exit codes that do not lie."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rotatord import apply, config, life
from rotatord.config import Configuration, limits_of
from rotatord.daemon import Daemon
from rotatord.errors import JournalUnavailable
from rotatord.model import Asked, Debt, Notice, Record, Standing
from rotatord.ports import Amendment
from rotatord.replicas import IN_LINE
from rotatord.testing.clock import SeededIds, VirtualClock
from rotatord.testing.loopback import Loopback

ISSUER = "{type: builtin, permissions: [read]}"
HEAD = """
state_dir: {state}
issuers: {{ {issuers} }}
backends: {{files: {{type: file}}}}
policies: {{monthly: {{max_age: 30d, poll: 100ms, unproven: {{overlap: 100ms}}}}}}
{more}
credentials:
"""
CREDENTIAL = """  - name: {name}
    issuer: {issuer}
    policy: monthly
    scope: {{permissions: [read]}}
    destinations: [{{backend: files, path: {where}/{name}.env, format: dotenv, keys: {{TOKEN: token}}}}]
    {more}
"""


class Files:
    """A configuration that a test edits."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "rotatord.yaml"
        (directory / "out").mkdir()
        self.version = 0

    def write(self, *names: str, issuers: str = f"authority: {ISSUER}", issuer: str = "authority", **settings: str) -> None:
        """Put another configuration in place; never the same file twice, so that it is seen to have changed."""
        self.version += 1
        text = f"# {self.version}\n" + HEAD.format(
            state=self.directory / "state", issuers=issuers, more=settings.get("head", "")
        )
        where, more = settings.get("where", "out"), settings.get("more", "")
        text += "".join(CREDENTIAL.format(name=name, issuer=issuer, where=where, more=more) for name in names)
        self.path.write_text(text if names else text.replace("credentials:", "credentials: []"))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    files = Files(tmp_path)
    files.write("a", "b")
    return files


@contextmanager
def daemon_of(files: Files, clock: VirtualClock | None = None) -> Iterator[Daemon]:
    """A daemon that does nothing by itself, stopped with the test."""
    made = Daemon(config.load_for_start(files.path), files.path, clock=clock, ids=SeededIds(1) if clock else None)
    try:
        yield made
    finally:
        made.stop()


def names(daemon: Daemon) -> list[str]:
    return [record.name for record in apply.declared(daemon.journal)]


def record_of(daemon: Daemon, name: str) -> Record:
    record = daemon.journal.get(name)
    assert record is not None
    return record


def change(daemon: Daemon, name: str, changed: Callable[[Record], Record]) -> None:
    daemon.journal.amend(name, lambda record: Amendment(record=changed(record)))


class Failing:
    """A journal of which one method fails, as on a full disk."""

    def __init__(self, journal: Any, method: str) -> None:
        self._journal = journal
        self._method = method

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            return getattr(self._journal, name)

        def away(*_: object, **__: object) -> None:
            raise JournalUnavailable("the disk is full")

        return away


# --- reload ----------------------------------------------------------------------------------------------------------


def test_a_bad_file_leaves_the_old_one_in_force(files: Files) -> None:
    """Every mistake is answered with its place, nothing changes, and the chore reports one file once."""
    with daemon_of(files) as daemon:
        issuer = daemon.plugins.issuer("authority")
        files.path.write_text(files.path.read_text().replace("policy: monthly", "policy: mothly"))
        problems = daemon.reload()
        told = [problem for problem in problems if "did you mean monthly?" in problem]
        assert len(told) == 2
        assert all(str(files.path) in problem for problem in problems)
        daemon._reload_if_changed()
        assert daemon._seen == config.stamp(files.path), "it would be reported again and again"
        assert daemon.plugins.issuer("authority") is issuer
        assert names(daemon) == ["a", "b"]


def test_a_file_that_is_gone_leaves_the_old_one_in_force(files: Files) -> None:
    """A configuration that vanished, as in the middle of a deployment, forgets no credential."""
    with daemon_of(files) as daemon:
        files.path.unlink()
        assert daemon.reload() != ()
        daemon._reload_if_changed()
        assert names(daemon) == ["a", "b"]


def test_a_changed_file_is_taken_up_by_itself(files: Files) -> None:
    """The chore sees the change; what did not change keeps its plugin."""
    with daemon_of(files) as daemon:
        issuer = daemon.plugins.issuer("authority")
        files.write("b", "c")
        daemon._reload_if_changed()
        assert names(daemon) == ["b", "c"]
        assert record_of(daemon, "a").standing is Standing.FORGOTTEN
        assert daemon.plugins.issuer("authority") is issuer


def test_an_issuer_that_is_needed_cannot_go(files: Files) -> None:
    """With the issuer of a version that is owed out of the file, the reload is refused with the credential's name."""
    with daemon_of(files) as daemon:
        now = daemon.clock.now()
        debt = Debt(rotation="rot_x", issuer="authority", opened_at=now, due_at=now + timedelta(days=1))
        change(daemon, "a", lambda record: replace(record, ledger=(debt,)))
        files.write("a", issuers=f"other: {ISSUER}", issuer="other")
        (problem,) = daemon.reload()
        assert "issuer 'authority' is gone" in problem
        assert "a still has" in problem
        assert daemon.plugins.issuer("authority").traits.fields == ("token",)


def test_what_came_too_early_is_taken_up_when_it_can_be(files: Files) -> None:
    """A rename refused because of open work comes into force by itself when that has ended, without another edit."""
    clock = VirtualClock()
    with daemon_of(files, clock) as daemon:
        now = clock.now()
        debt = Debt(rotation="rot_x", issuer="authority", opened_at=now, due_at=now + timedelta(days=1))
        change(daemon, "a", lambda record: replace(record, ledger=(debt,)))
        files.write("new", more="renamed_from: a")
        daemon._reload_if_changed()
        assert names(daemon) == ["a", "b"]
        change(daemon, "a", lambda record: replace(record, ledger=()))
        daemon._reload_if_changed()
        assert names(daemon) == ["a", "b"], "not tried all the time: a configuration may be large"
        clock.advance(60)
        daemon._reload_if_changed()
        assert names(daemon) == ["new"]
        assert record_of(daemon, "new").formerly == ("a",)


@pytest.mark.parametrize("field", ["state_dir", "installation"])
def test_what_only_a_restart_may_change_is_refused(files: Files, field: str) -> None:
    """Neither the journal's place nor its owner changes under a running daemon."""
    with daemon_of(files) as daemon:
        text = files.path.read_text()
        line = f"state_dir: {files.directory / 'elsewhere'}" if field == "state_dir" else "installation: another"
        kept = "\n".join(each for each in text.splitlines() if not each.startswith(f"{field}:"))
        files.path.write_text(f"{line}\n{kept}\n")
        (problem,) = daemon.reload()
        assert field in problem
        assert names(daemon) == ["a", "b"]


@pytest.mark.parametrize("method", ["put", "amend", "set_fact"])
def test_a_reload_without_its_journal_is_answered_and_tried_again(files: Files, method: str) -> None:
    """A journal that fails in the middle ends no daemon: the old plugins stay, and a minute later all of it is in force."""
    clock = VirtualClock()
    with daemon_of(files, clock) as daemon:
        journal = daemon.journal
        files.write("b", "c", issuers=f"authority: {ISSUER}, second: {ISSUER}")
        daemon.journal = Failing(journal, method)  # type: ignore[assignment]
        assert daemon.reload() == ["the disk is full"]
        daemon.journal = journal
        assert sorted(daemon.configuration.issuers) == ["authority"]
        assert daemon.plugins.issuer("authority").check({"permissions": ["read"]}, {}) == []
        clock.advance(60)
        daemon._reload_if_changed()
        assert names(daemon) == ["b", "c"]
        assert sorted(daemon.configuration.issuers) == ["authority", "second"]


def test_half_a_reload_is_not_taken_for_the_old_configuration(files: Files) -> None:
    """Killed in the middle of a reload, and started with the old file again, the journal is that file's."""
    before = files.path.read_text()
    with daemon_of(files) as daemon:
        journal = daemon.journal
        files.write("b", "c")
        daemon.journal = Failing(journal, "amend")  # type: ignore[assignment]
        assert daemon.reload() == ["the disk is full"]
        daemon.journal = journal
        assert "c" in names(daemon)
        assert journal.fact(IN_LINE) is None
    files.path.write_text(before)
    with daemon_of(files) as daemon:
        assert names(daemon) == ["a", "b"]


# --- what issuers serve ----------------------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex(("127.0.0.1", port)) == 0


def serving(files: Files, port: int, permissions: str = "read") -> str:
    """An issuer that answers introspection there."""
    secret = files.directory / "secret"
    secret.write_text("introspection-secret")
    answer = f"introspection: {{listen: '127.0.0.1:{port}', secret: {{file: '{secret}'}}}}"
    return f"authority: {{type: builtin, permissions: [{permissions}], {answer}}}"


def test_what_an_issuer_serves_follows_the_configuration(files: Files) -> None:
    """Another address is listened on instead of the first, other settings at the same address, and none when none is said."""
    first, second = free_ports(2)
    files.write("a", issuers=serving(files, first))
    with daemon_of(files) as daemon:
        daemon._serve_issuers()
        assert (listens(first), listens(second)) == (True, False)
        files.write("a", issuers=serving(files, second))
        assert daemon.reload() == ()
        assert (listens(first), listens(second)) == (False, True)
        files.write("a", issuers=serving(files, second, "read, write"))
        assert daemon.reload() == ()
        assert daemon.plugins.issuer("authority").check({"permissions": ["write"]}, {}) == []
        assert listens(second)
        files.write("a")
        assert daemon.reload() == ()
        assert not listens(second)
    assert not listens(first)


def test_an_address_that_is_taken_is_told_and_taken_later(files: Files) -> None:
    """The configuration is in force, the answer says what is missing, and the issuer serves as soon as it can."""
    with daemon_of(files) as daemon, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        files.write("a", issuers=serving(files, port))
        (problem,) = daemon.reload()
        assert "is in force" in problem
        assert names(daemon) == ["a"]
        other.close()
        daemon._reload_if_changed()
        assert listens(port)


# --- chores ----------------------------------------------------------------------------------------------------------


def notices(daemon: Daemon, kind: str) -> list[Notice]:
    return [notice for notice in daemon.journal.notices(daemon.clock.now(), 100) if notice.kind == kind]


def test_what_is_overdue_is_told_once_each_time(files: Files) -> None:
    """The watchdog tells when something is past its time, not every minute, not again after a restart, and again when it
    happens again."""
    clock = VirtualClock()
    with daemon_of(files, clock) as daemon:
        daemon.engine.run_once()
        clock.advance(5)
        daemon.engine.run_once()
        fine = record_of(daemon, "a")
        assert fine.current is not None
        daemon._watch()
        assert notices(daemon, "overdue") == []
        late = replace(fine.current, expires_at=clock.now() - timedelta(seconds=1))
        change(daemon, "a", lambda record: replace(record, current=late))
        daemon._watch()
        daemon._watch()
        assert len(notices(daemon, "overdue")) == 1
    with daemon_of(files, clock) as daemon:
        daemon._watch()
        assert len(notices(daemon, "overdue")) == 1
        change(daemon, "a", lambda record: replace(record, current=fine.current))
        daemon._watch()
        change(daemon, "a", lambda record: replace(record, current=late))
        daemon._watch()
        assert len(notices(daemon, "overdue")) == 2


def test_destinations_are_looked_at_now_and_then(files: Files) -> None:
    """A quiet credential is looked at again after six hours; what somebody asked of one is not overwritten."""
    clock = VirtualClock()
    with daemon_of(files, clock) as daemon:
        for _ in range(20):
            daemon.engine.run_once()
            clock.advance(1)
        assert all(record_of(daemon, name).asked is None for name in "ab")
        daemon._inspect_some()
        assert all(record_of(daemon, name).asked is None for name in "ab"), "they were looked at just now"
        clock.advance(6 * 3600)
        wish = Asked(verb="rotate", actor="uid:0(somebody)", at=clock.now())
        change(daemon, "b", lambda record: replace(record, asked=wish))
        daemon._inspect_some()
        a, b = record_of(daemon, "a"), record_of(daemon, "b")
        assert a.asked is not None
        assert (a.asked.verb, a.due_at) == ("inspect", clock.now())
        assert b.asked == wish


def test_a_quota_of_less_than_a_call_a_minute_is_a_quota(files: Files) -> None:
    """Every quota that can be written bounds the calls; none is rounded to no bound, nor to more than was allowed."""
    for words, calls, seconds in (("0.5", 1, 120.0), ("90", 90, 60.0), ("2.5", 2, 48.0)):
        files.write("a", head=f"limits: {{issuer: {{per_minute: {words}}}}}")
        configuration: Configuration = config.load(files.path)
        limit = limits_of(configuration)["authority"]
        assert (limit.calls, limit.seconds) == (calls, seconds)


def test_an_issuers_own_quota_is_its_budget_where_none_is_configured(files: Files) -> None:
    """A part of it is left for what has begun; what is configured goes before it."""
    files.write("a")
    limit = limits_of(config.load(files.path), {"authority": (1200, 300.0)})["authority"]
    assert (limit.calls, limit.seconds) == (1140, 300.0)
    files.write("a", head="limits: {issuer: {per_minute: 60}}")
    limit = limits_of(config.load(files.path), {"authority": (1200, 300.0)})["authority"]
    assert (limit.calls, limit.seconds) == (60, 60.0)


def test_a_quota_may_be_that_of_several_issuers(files: Files) -> None:
    """Where they say so, and nothing is configured for them."""
    files.write("a")
    told, whose = {"authority": (1200, 300.0)}, {"authority": lambda: "somebody"}
    limit = limits_of(config.load(files.path), told, whose)["authority"]
    assert limit.of is not None
    assert limit.of() == "somebody"
    files.write("a", head="limits: {issuer: {per_minute: 60}}")
    assert limits_of(config.load(files.path), told, whose)["authority"].of is None


# --- the end ---------------------------------------------------------------------------------------------------------


def once(files: Files) -> int:
    """The exit code of one ``run --once``."""
    return life._once(Daemon(config.load_for_start(files.path), files.path))


def test_once_is_clean_when_all_that_was_due_is_done(files: Files) -> None:
    """The first versions are out, nothing is wrong, and a second run finds nothing to do."""
    assert once(files) == life.EXIT_CLEAN
    assert (files.directory / "out" / "a.env").exists()
    assert once(files) == life.EXIT_CLEAN


def test_once_tells_a_rotation_that_failed(files: Files) -> None:
    """A consumer that cannot be reloaded is first tried again, which is incomplete; past its deadline the run has failed."""
    consumer = "consumers: [{type: process, name: app, command: [/bin/false], refresh_within: 1s}]"
    files.write("a", more=consumer)
    clock = VirtualClock()
    codes = []
    for _ in range(2):
        codes.append(life._once(Daemon(config.load_for_start(files.path), files.path, clock=clock, ids=SeededIds(1))))
        clock.advance(3600)
    assert codes == [life.EXIT_INCOMPLETE, life.EXIT_FINDINGS]


def test_once_tells_what_could_not_be_reached(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """A destination that is not there is no success: the run says which and why, and ends as incomplete."""
    files.write("a", where="missing")
    code = once(files)
    said = capsys.readouterr().err
    assert (code, "a: " in said) in {(life.EXIT_INCOMPLETE, True), (life.EXIT_FINDINGS, False)}


def test_once_without_its_journal_is_incomplete(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """A journal that fails ends the run with a sentence, not with a traceback."""
    daemon = Daemon(config.load_for_start(files.path), files.path)
    daemon.engine._journal = Failing(daemon.journal, "claim")  # type: ignore[assignment]
    assert life._once(daemon) == life.EXIT_INCOMPLETE
    assert "the disk is full" in capsys.readouterr().err


def test_a_state_directory_that_cannot_be_made_is_told(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """Who may not write there is told so in a line, before anything is begun."""
    (files.directory / "state").write_text("a file")
    with pytest.raises(OSError, match="state"):
        Daemon(config.load(files.path), files.path)
    assert capsys.readouterr().err == ""


def test_a_second_daemon_over_one_journal_is_refused(files: Files) -> None:
    """Two would rotate the same credentials: the second does not start, and the first goes on."""
    with daemon_of(files) as daemon:
        with pytest.raises(JournalUnavailable, match="in use by another daemon"):
            Daemon(config.load_for_start(files.path), files.path)
        assert names(daemon) == ["a", "b"]


def test_a_daemon_that_could_not_start_is_stopped_cleanly(files: Files) -> None:
    """With its address taken, start fails, and stopping what was made leaves the journal free for the next try."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        files.write("a", issuers=serving(files, other.getsockname()[1]))
        daemon = Daemon(config.load_for_start(files.path), files.path)
        with pytest.raises(Exception, match=r"(?i)address|in use|listen"):
            daemon.start(api=False)
        assert daemon.stop()
    with daemon_of(files) as daemon:
        assert names(daemon) == ["a"]


def test_the_dead_mans_signal_is_sent_by_a_daemon_that_works(files: Files) -> None:
    """As configured; another address, and none at all, after a reload."""
    with Loopback() as inbox:
        files.write("a", head=f"deadman: {{url: '{inbox.url}/first', allow_private: true}}")
        clock = VirtualClock()
        with daemon_of(files, clock) as daemon:
            daemon._watch()
            daemon.pulse.look()
            assert [asked.path for asked in inbox.asked] == ["/first"]
            files.write("a", head=f"deadman: {{url: '{inbox.url}/second', allow_private: true, every: 30s}}")
            assert not daemon.reload()
            clock.advance(60.0)
            daemon.pulse.look()
            assert [asked.path for asked in inbox.asked] == ["/first", "/second"]
            files.write("a")
            assert not daemon.reload()
            clock.advance(60.0)
            daemon.pulse.look()
            assert len(inbox.asked) == 2
