"""What every journal must do. Subclass :class:`JournalContract` and override its ``journal`` fixture."""

from __future__ import annotations

from rotatord.testing.contracts.journal_events import EventContract
from rotatord.testing.contracts.journal_leases import LeaseContract
from rotatord.testing.contracts.journal_records import RecordContract


class JournalContract(RecordContract, LeaseContract, EventContract):
    """Everything that :class:`rotatord.ports.Journal` promises."""
