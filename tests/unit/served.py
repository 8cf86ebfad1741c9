"""Shared by the tests of views, API and command line: records in every condition, and a served journal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rotatord.api.access import Access
from rotatord.api.app import create_app
from rotatord.api.journal_service import JournalService
from rotatord.api.server import ApiServer
from rotatord.api.settings import ApiSettings
from rotatord.journal.memory import MemoryJournal
from rotatord.model import (
    ConsumerSpec,
    Debt,
    Destination,
    Evidence,
    Halt,
    OwedVersion,
    Policy,
    Reason,
    Record,
    Rotation,
    Spec,
    Standing,
    State,
    Verdict,
    Version,
    Way,
)
from rotatord.ports import Amendment, Traits
from rotatord.react import Accept
from rotatord.testing.clock import START, SeededIds, VirtualClock

HOUR = timedelta(hours=1)
TRAITS = Traits(fields=("token",))


def version(generation: int = 3, **changes: Any) -> Version:
    known: dict[str, Any] = {
        "generation": generation,
        "rotation": f"rot_{generation}",
        "issuer": "cf",
        "ref": f"ref-{generation}",
        "fingerprint": f"{generation:032x}",
        "minted_at": START - HOUR,
        "digests": {"token": "not-to-be-shown"},
    }
    return Version(**(known | changes))


def spec(name: str = "dns", **changes: Any) -> Spec:
    known: dict[str, Any] = {
        "name": name,
        "issuer": "cf",
        "owner": "team-edge",
        "labels": {"tier": "gold"},
        "policy": Policy(name="production", overlap=HOUR, max_age=timedelta(days=30), jitter_percent=0.0),
        "destinations": (Destination(backend="file", address={"path": "/tmp/x"}, keys={"TOKEN": "token"}),),
        "consumers": (ConsumerSpec(type="observe", name="web"),),
    }
    return Spec(**(known | changes))


def record(name: str = "dns", **changes: Any) -> Record:
    known: dict[str, Any] = {
        "name": name,
        "spec": spec(name),
        "standing": Standing.MANAGED,
        "generation": 3,
        "current": version(),
        "inspected_at": START,
    }
    return Record(**(known | changes))


def rotation(state: State = State.PUBLISHED, way: Way = Way.FORWARD, **changes: Any) -> Rotation:
    known: dict[str, Any] = {
        "id": "rot_4",
        "reason": Reason.DUE,
        "way": way,
        "state": state,
        "plan": spec(),
        "base": version(3),
        "new": version(4),
        "since": START,
        "due_at": START,
        "started_at": START,
        "actor": "rotatord",
        "evidence": (Evidence(check="instances", subject="web", verdict=Verdict.WAIT, detail="1 of 2 on 4", at=START),),
    }
    return Rotation(**(known | changes))


def halted(state: State = State.PUBLISHED, way: Way = Way.BACK) -> Record:
    return record(rotation=rotation(state, way, halt=Halt(code="verify_failed", message="the base is unhealthy", at=START)))


def owing(**changes: Any) -> Debt:
    known: dict[str, Any] = {
        "rotation": "rot_3",
        "issuer": "cf",
        "owed": (OwedVersion(version=version(2), reason="replaced"),),
        "opened_at": START,
        "due_at": START + HOUR,
    }
    return Debt(**(known | changes))


class Served:
    """A journal with a service over it, on a clock of its own; ``woken`` counts how often the daemon was woken."""

    def __init__(self, *records: Record, **lent: Any) -> None:
        self.clock = VirtualClock()
        self.ids = SeededIds()
        self.journal = MemoryJournal(self.clock, self.ids)
        self.journal.put([Amendment(record=item) for item in records])
        self.woken = 0
        self.service = JournalService(
            self.journal, self.clock, self.ids, Accept(lambda _: TRAITS), self._wake, **({"version": "0.0-test"} | lent)
        )

    def _wake(self) -> None:
        self.woken += 1


@contextmanager
def listening(served: Served, state_dir: Path, access: Access | None = None, **settings: Any) -> Iterator[ApiServer]:
    """The API over a served journal, on a real socket in ``state_dir``."""
    api = ApiServer(create_app(served.service), access or Access(), ApiSettings(**settings), str(state_dir))
    api.start()
    try:
        yield api
    finally:
        api.stop()
