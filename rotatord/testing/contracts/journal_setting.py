"""What the journal contract starts from: its fixtures, and the records, events and notices that it stores."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from rotatord.model import (
    ConsumerSpec,
    Destination,
    Event,
    Evidence,
    HealthSpec,
    MintIntent,
    Notice,
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
    Window,
)
from rotatord.ports import Amendment, Journal, Lease
from rotatord.testing.clock import START, VirtualClock

LEASE_SECONDS = 15.0
HOUR = timedelta(hours=1)
LATER = START + 24 * HOUR


def a_version(generation: int = 1, *, expires_at: datetime | None = None) -> Version:
    return Version(
        generation=generation,
        rotation=f"rot_{generation}",
        issuer="vault",
        ref=f"ref-{generation}",
        fingerprint=f"{generation:032x}",
        minted_at=START,
        expires_at=expires_at,
    )


def a_record(
    name: str, *, due_at: datetime | None = START, expires_at: datetime | None = None, issuer: str = "vault"
) -> Record:
    """A managed credential with a current version."""
    spec = Spec(
        name=name,
        issuer=issuer,
        policy=Policy(
            overlap=HOUR,
            windows=(Window(kind="allow", time_zone="Europe/Lisbon", cron="0 9 * * 1-4", duration=HOUR),),
        ),
        scope={"policies": ["dns"]},
        destinations=(Destination(backend="file", address={"path": f"apps/{name}"}, keys={"TOKEN": "token"}),),
        consumers=(ConsumerSpec(type="observe", name="app", health=(HealthSpec(type="tcp", settings={"port": 80}),)),),
    )
    current = a_version(expires_at=expires_at)
    return Record(name=name, spec=spec, standing=Standing.MANAGED, generation=1, current=current, due_at=due_at)


def a_rotation(plan: Spec, base: Version | None) -> Rotation:
    return Rotation(
        id="rot_2",
        reason=Reason.DUE,
        way=Way.FORWARD,
        state=State.PUBLISHED,
        plan=plan,
        base=base,
        new=a_version(2),
        intents=(MintIntent(generation=2, at=START, known=("ref-1",)),),
        since=START,
        due_at=START,
        started_at=START,
        actor="engine",
        evidence=(Evidence(check="probe", subject="app", verdict=Verdict.PASS, detail="accepted", at=START),),
    )


def an_event(id: str, *, credential: str = "a", time: datetime = START) -> Event:
    return Event(id=id, time=time, actor="engine", action="mint", credential=credential, outcome="done", evidence={"n": [1]})


def a_notice(id: str, *, at: datetime = START) -> Notice:
    return Notice(id=id, kind="halted", credential="a", text="stopped", at=at, facts={"code": "x"})


def put(journal: Journal, *records: Record) -> None:
    journal.put([Amendment(record=record) for record in records])


def held(journal: Journal, name: str) -> Lease:
    """A lease that nobody else can have."""
    lease = journal.lease(name)
    assert lease is not None
    return lease


def names_of(leases: Iterable[Lease]) -> list[str]:
    return [lease.name for lease in leases]


def side_by_side(count: int, work: Callable[[int], None]) -> None:
    """Run ``work(0) … work(count - 1)`` in threads of their own, started together; raise what one of them raised."""
    together = threading.Barrier(count)

    def run(number: int) -> None:
        together.wait(timeout=30)
        work(number)

    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(run, number) for number in range(count)]:
            done.result(timeout=60)


class JournalBase:
    """The fixtures of the contract."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        """The clock that the journal must be given."""
        return VirtualClock()

    @pytest.fixture
    def journal(self, clock: VirtualClock) -> Iterable[Journal]:
        """An empty journal on ``clock``, its leases LEASE_SECONDS long; closed afterwards."""
        raise NotImplementedError("override the journal fixture")
