"""A configuration against the journal: what is new, changed, renamed or gone, and what an unchanged start need not read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from rotatord import apply, config
from rotatord.daemon import Daemon
from rotatord.journal.memory import MemoryJournal
from rotatord.model import Spec, Standing
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.world import World

CONFIG = """
state_dir: {state}
issuers: {{authority: {{type: builtin, permissions: [read]}}}}
backends: {{files: {{type: file}}}}
policies: {{monthly: {{max_age: 30d, unproven: {{overlap: 1s}}}}}}
credentials:
{credentials}"""
CREDENTIAL = """  - name: {name}
    issuer: authority
    policy: monthly
    scope: {{permissions: [read]}}
    destinations: [{{backend: files, path: {name}.env, format: dotenv, keys: {{TOKEN: token}}}}]
"""


def written(directory: Path, *names: str) -> Path:
    path = directory / "rotatord.yaml"
    credentials = "".join(CREDENTIAL.format(name=name) for name in names)
    path.write_text(CONFIG.format(state=directory / "state", credentials=credentials))
    return path


@contextmanager
def assembled(path: Path) -> Iterator[Daemon]:
    daemon = Daemon(config.load_for_start(path), path)
    try:
        yield daemon
    finally:
        daemon.plugins.registry.close()
        daemon.journal.close()


def brought(journal: MemoryJournal, *specs: Spec, renames: dict[str, str] | None = None) -> dict[str, int]:
    counts = apply.apply(journal, {spec.name: spec for spec in specs}, renames or {}, START, SeededIds(0))
    return {what: count for what, count in counts.items() if count}


def spec(name: str) -> Spec:
    return World().spec(name)


def journal() -> MemoryJournal:
    return MemoryJournal(VirtualClock(START), SeededIds(1))


def test_counts_what_is_new_changed_and_gone() -> None:
    """Each credential is added, changed or forgotten once, and a second time nothing is left to do."""
    known = journal()
    assert brought(known, spec("a"), spec("b")) == {"added": 2}
    other = replace(spec("b"), policy=replace(spec("b").policy, max_age=timedelta(days=1)))
    assert brought(known, other, spec("c")) == {"added": 1, "changed": 1, "forgotten": 1}
    assert brought(known, other, spec("c")) == {}
    assert {record.name for record in apply.declared(known)} == {"b", "c"}


def test_a_rename_keeps_the_record() -> None:
    """The history goes on under the new name, and the old one is only remembered."""
    known = journal()
    brought(known, spec("old"))
    assert brought(known, spec("new"), renames={"new": "old"}) == {"renamed": 1}
    kept, left = known.get("new"), known.get("old")
    assert kept is not None
    assert kept.formerly == ("old",)
    assert left is not None
    assert left.standing is Standing.FORGOTTEN


def test_another_line_of_the_file_is_no_change() -> None:
    """A line more at the top of a file touches no credential below it."""
    known = journal()
    brought(known, replace(spec("a"), source="rotatord.yaml:5"))
    assert brought(known, replace(spec("a"), source="rotatord.yaml:6")) == {}


def test_an_unchanged_start_reads_no_credentials(tmp_path: Path) -> None:
    """Once the journal knows a configuration, starting with it again leaves the credentials unread, and loses none."""
    path = written(tmp_path, "a", "b")
    with assembled(path):
        pass
    assert not config.load_for_start(path).complete
    with assembled(path) as daemon:
        assert not daemon.configuration.complete
        assert [record.name for record in apply.declared(daemon.journal)] == ["a", "b"]


def test_a_changed_start_brings_the_journal_in_line(tmp_path: Path) -> None:
    """What was edited while the daemon was down is in force after its start."""
    with assembled(written(tmp_path, "a", "b")):
        pass
    with assembled(written(tmp_path, "b", "c")) as daemon:
        assert daemon.configuration.complete
        assert [record.name for record in apply.declared(daemon.journal)] == ["b", "c"]
