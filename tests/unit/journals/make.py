"""Writes the dump of a small journal of the present version: ``python tests/unit/journals/make.py``.

Run it once when a migration is about to be released; a released dump is never written again.
"""

import contextlib
import sqlite3
import tempfile
from dataclasses import replace
from pathlib import Path

from rotatord.journal import open_journal
from rotatord.journal.migrations import HEAD
from rotatord.model import Record
from rotatord.ports import Amendment
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.contracts.journal_setting import LATER, a_notice, a_record, a_rotation, an_event, held

HERE = Path(__file__).parent


def records() -> list[Record]:
    """One in the middle of a rotation, one that waits."""
    turning = a_record("turning", expires_at=LATER)
    waiting = a_record("waiting", due_at=LATER)
    return [replace(turning, rotation=a_rotation(turning.spec, turning.current)), waiting]


def make(path: Path) -> None:
    """A journal with something of everything in it."""
    journal = open_journal(f"sqlite:///{path}", VirtualClock(), SeededIds())
    journal.put([Amendment(record=record) for record in records()])
    lease = held(journal, "turning")
    journal.commit(lease, lease.record, [an_event("e1", credential="turning")], [a_notice("n1"), a_notice("n2")])
    journal.notice_again("n1", START)
    journal.notice_done("n2")
    journal.set_fact("installation", "inst_1")
    journal.close()


def dump(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump()) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "journal.db"
        make(made)
        (HERE / f"{HEAD}.sql").write_text(dump(made))
