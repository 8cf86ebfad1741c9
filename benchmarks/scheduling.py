"""When work begins: how late among very many credentials, beside an issuer that hangs, within a quota, and in a herd."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from benchmarks.engine import engine_over, sqlite_journal
from benchmarks.figures import Figure, percentile
from benchmarks.outside import MONTH, MemoryIssuer, Outside, Quota, managed, spec_of
from rotatord import policy
from rotatord.budget import Limit
from rotatord.model import Policy, Record, State, Version
from rotatord.ports import Amendment, Journal

SIZES = tuple(int(size) for size in os.environ.get("BENCH_SIZES", "100000").split(","))  # 1000000 takes some minutes
DUE_A_SECOND = 10
WATCHED_SECONDS = 20
CHUNK = 5000
PATIENCE_SECONDS = 120.0


# --- lateness --------------------------------------------------------------------------------------------------------


def fill(journal: Journal, size: int) -> None:
    """Quiet ones, that become due in the month after tomorrow."""
    later = datetime.now(UTC) + timedelta(days=1)
    for first in range(0, size, CHUNK):
        numbers = range(first, min(first + CHUNK, size))
        journal.put([Amendment(record=managed(spec_of(f"c{n:07}"), later + n * MONTH / size)) for n in numbers])


def lateness(size: int) -> Iterable[Figure]:
    """From the moment a credential is due to the first outside call for it; a bare timer wakes beside it."""
    due = DUE_A_SECOND * WATCHED_SECONDS
    with sqlite_journal() as journal:
        fill(journal, size)
        first_due = datetime.now(UTC) + timedelta(seconds=4)
        names = [f"c{size + number:07}" for number in range(due)]
        dues = [first_due + timedelta(seconds=number / DUE_A_SECOND) for number in range(due)]
        journal.put([Amendment(record=managed(spec_of(name), at)) for name, at in zip(names, dues, strict=True)])
        outside = Outside()
        engine = engine_over(journal, outside)
        offset = time.monotonic() - datetime.now(UTC).timestamp()
        engine.start()
        bare = []
        for at in dues:
            threading.Event().wait(max(0.0, (at - datetime.now(UTC)).total_seconds()))
            bare.append((datetime.now(UTC) - at).total_seconds() * 1000)
        threading.Event().wait(2.0)
        engine.stop()
    seen = outside.store.first_seen
    late = [(seen[name] - offset - at.timestamp()) * 1000 for name, at in zip(names, dues, strict=True) if name in seen]
    note = f"{DUE_A_SECOND} due a second for {WATCHED_SECONDS} s; {due - len(late)} not begun; bare: a timer beside it"
    for percent, goal in ((50, 50.0), (99, 250.0)):
        yield Figure(
            name=f"start lateness p{percent} at {size:,} credentials",
            value=percentile(late, percent),
            unit="ms",
            goal=goal,
            bare=percentile(bare, percent),
            note=note,
            facts={"count": len(late), "not_begun": due - len(late)},
        )


# --- bulkhead --------------------------------------------------------------------------------------------------------

NEIGHBOURS = 4
CALL_SECONDS = 0.01
BULKHEAD_A_SECOND = 5
BULKHEAD_ROTATIONS = 100


def durations(*, hang: bool) -> list[float]:
    """Seconds of each rotation at the healthy issuers, from due to completed, while another one hangs or does not."""
    outside = Outside(CALL_SECONDS)
    outside.issuers = {name: MemoryIssuer(CALL_SECONDS) for name in ["stuck", *(f"fine-{n}" for n in range(NEIGHBOURS))]}
    free = threading.Event()
    if hang:
        outside.issuers["stuck"].hanging = free
    limits = {name: Limit(at_once=8) for name in outside.issuers}
    with sqlite_journal() as journal:
        start = datetime.now(UTC) + timedelta(seconds=2)
        healthy = [f"c{number}" for number in range(BULKHEAD_ROTATIONS)]
        dues = {name: start + timedelta(seconds=number / BULKHEAD_A_SECOND) for number, name in enumerate(healthy)}
        rows = [managed(spec_of(name, issuer=f"fine-{n % NEIGHBOURS}"), dues[name]) for n, name in enumerate(healthy)]
        rows += [managed(spec_of(f"cs{number}", issuer="stuck"), start) for number in range(32)]
        journal.put([Amendment(record=row) for row in rows])
        engine = engine_over(journal, outside, limits)
        engine.start()
        _until_completed(journal, healthy)
        free.set()
        engine.stop()
        ended = {name: record.last for name in healthy if (record := journal.get(name)) is not None}
    return [(last.finished_at - dues[name]).total_seconds() for name, last in ended.items() if last is not None]


def _until_completed(journal: Journal, names: list[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    left = list(names)
    while left and time.monotonic() < deadline:
        threading.Event().wait(0.5)
        left = [name for name in left if (record := journal.get(name)) is None or record.last is None or record.ledger]


def bulkhead() -> Iterable[Figure]:
    """The neighbours of a hanging issuer, beside the same without it."""
    bare, beside = durations(hang=False), durations(hang=True)
    plain = percentile(bare, 99)
    yield Figure(
        name="p99 of rotations beside a hanging issuer, ratio to without",
        value=percentile(beside, 99) / plain,
        unit="x",
        goal=1.10,
        bare=1.0,
        note=f"{plain * 1000:.0f} ms without; p50 {percentile(bare, 50) * 1000:.0f} and {percentile(beside, 50) * 1000:.0f} ms",
        facts={"count": len(beside)},
    )


# --- quota -----------------------------------------------------------------------------------------------------------

QUOTA_CALLS = 300
QUOTA_SECONDS = 5.0
QUOTA_ROTATIONS = 300


def quota(seed: int) -> Iterable[Figure]:
    """More is due than the issuer lets one do: how much of its quota is used, what it refuses, and who comes first."""
    outside = Outside()
    counted = Quota(QUOTA_CALLS, QUOTA_SECONDS)
    outside.issuers = {"issuer": MemoryIssuer(0.02, counted)}
    order = list(range(QUOTA_ROTATIONS))
    random.Random(seed).shuffle(order)
    with sqlite_journal() as journal:
        now = datetime.now(UTC)
        rows = []
        for place, number in enumerate(order):
            record = managed(spec_of(f"c{number}"), now - timedelta(seconds=1))
            assert record.current is not None
            ends = replace(record.current, expires_at=now + timedelta(days=1, minutes=place))  # before it is far past its age
            rows.append(replace(record, current=ends))
        journal.put([Amendment(record=row) for row in rows])
        at_once = 8
        engine = engine_over(
            journal, outside, {"issuer": Limit(at_once=at_once, calls=QUOTA_CALLS, seconds=QUOTA_SECONDS)}, workers=at_once
        )
        engine.start()
        began = time.monotonic()
        issuer = outside.issuers["issuer"]
        while len(issuer.minted) < QUOTA_ROTATIONS and time.monotonic() - began < PATIENCE_SECONDS:
            threading.Event().wait(0.1)
        seconds = time.monotonic() - began
        used = counted.total
        _until_completed(journal, [f"c{number}" for number in order])
        engine.stop()
        ended = [record.last for number in order if (record := journal.get(f"c{number}")) is not None]
    failed = sum(last is None or last.state is not State.COMPLETED for last in ended)
    position = {f"c{number}": place for place, number in enumerate(order)}
    strayed = [abs(position[name] - place) for place, (name, _) in enumerate(issuer.minted)]
    note = f"{QUOTA_CALLS} calls in {QUOTA_SECONDS:.0f} s; {counted.refused} answers of 429 on the way"
    share = 100 * used / (QUOTA_CALLS * seconds / QUOTA_SECONDS)
    yield Figure(name="share of an issuer's quota used", value=share, unit="%", goal=90.0, at_most=False, bare=100.0, note=note)
    yield Figure(name="rotations failed by 429", value=failed, unit="", goal=0, note=f"of {QUOTA_ROTATIONS}")
    yield Figure(
        name="nearest expiry first: farthest from its place",
        value=max(strayed, default=0),
        unit="places",
        goal=at_once,
        note=f"{at_once} are worked on at once",
    )


# --- herd ------------------------------------------------------------------------------------------------------------

HERD = 10_000
SLICES = 100


def herd() -> Iterable[Figure]:
    """When the policy lets each of so many credentials start that expire in one second."""
    minted = datetime(2040, 1, 1, tzinfo=UTC)
    rules = Policy(renew_before=timedelta(days=7))
    base = managed(spec_of("c0"), minted)
    assert base.current is not None

    def member(number: int) -> Record:
        name = f"credential-{number}"
        assert base.current is not None
        version: Version = replace(base.current, minted_at=minted, expires_at=minted + MONTH)
        return replace(base, name=name, spec=replace(base.spec, name=name, policy=rules), current=version)

    starts = [due.at for number in range(HERD) if (due := policy.due(member(number), minted)).at is not None]
    first, last = min(starts), max(starts)
    width = (last - first) / SLICES
    counts = Counter(min(int((at - first) / width), SLICES - 1) for at in starts)
    yield Figure(
        name=f"busiest hundredth of the window of {HERD:,} with one expiry, ratio to the mean",
        value=max(counts.values()) / (HERD / SLICES),
        unit="x",
        goal=2.0,
        bare=float(SLICES),
        note=f"spread over {(last - first).total_seconds() / 3600:.1f} h by the policy; bare: without jitter",
    )


def measure(seed: int) -> Iterable[Figure]:
    yield from herd()
    yield from quota(seed)
    yield from bulkhead()
    for size in SIZES:
        yield from lateness(size)
