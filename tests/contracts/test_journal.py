"""The journal contract, run by both embedded journals."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rotatord.journal import open_journal
from rotatord.ports import Journal
from rotatord.testing.clock import SeededIds, VirtualClock
from rotatord.testing.contracts.journal import JournalContract
from rotatord.testing.contracts.journal_setting import LEASE_SECONDS


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    def journal(self, clock: VirtualClock) -> Iterator[Journal]:
        journal = open_journal("memory:", clock, SeededIds(), lease_seconds=LEASE_SECONDS)
        yield journal
        journal.close()


class TestSqliteJournal(JournalContract):
    @pytest.fixture
    def journal(self, clock: VirtualClock, tmp_path: Path) -> Iterator[Journal]:
        url = f"sqlite:///{tmp_path}/journal.db"
        journal = open_journal(url, clock, SeededIds(), lease_seconds=LEASE_SECONDS)
        yield journal
        journal.close()
