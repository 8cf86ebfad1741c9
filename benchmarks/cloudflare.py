"""Ten thousand tokens of Cloudflare that are due at once, within its real limits, in virtual time: the same on every machine.

The engine, its budgets and the issuer are the real ones; the API is the strict fake, which shuts out whoever asks more than
1200 times in five minutes. An account has at most 500 tokens, and each needs a second one while it is replaced: 41 accounts.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from benchmarks.bulkhead import Pool
from benchmarks.figures import Figure
from benchmarks.outside import FINGERPRINTER, INSTALLATION, MemoryStore, Outside, managed, spec_of
from issuers.cloudflare import CloudflareTokens, Settings
from rotatord.budget import Budgets, Limit
from rotatord.cloudflare_client import QUOTA_CALLS, QUOTA_SECONDS, Cloudflare
from rotatord.engine import Engine
from rotatord.hands import Hands
from rotatord.journal.memory import MemoryJournal
from rotatord.model import Destination, JsonMap, Policy, Record, Slot, State
from rotatord.ops import Call as Asked
from rotatord.pauses import Pauses
from rotatord.ports import Amendment, Held, Lease, MintRequest, Surroundings
from rotatord.secret import Secret
from rotatord.telemetry import Telemetry
from rotatord.testing.clock import SeededIds, VirtualClock
from rotatord.testing.cloudflare import LIKE_CLOUDFLARE, Call, FakeCloudflare, Owner, Rates
from rotatord.testing.cloudflare.outgoing import InMemory
from rotatord.testing.turns import Turns

ACCOUNTS = int(os.environ.get("BENCH_ACCOUNTS", "41"))
EACH = 249  # each has two while it is replaced, an account has 500 at most, and one is our own
CALL_SECONDS = 0.3
LOOK_SECONDS = 0.1
AT_ONCE = 8
SLICE_SECONDS = 15.0  # in each of these no more may happen than a run allows: many accounts are many happenings
WATCHED_SECONDS = 2 * QUOTA_SECONDS
# Made for an hour and due again five minutes later: more is due than can be done, all the time.
POLICY = Policy(ttl=timedelta(hours=1), renew_before=timedelta(minutes=55), jitter_percent=0.0, settle=timedelta(0))
FIRST_LIVES = timedelta(minutes=50)
MINTING = ("Account API Tokens Write", "account:Account Settings Read")
UNLIMITED = Rates(most=1 << 30)
SCOPE: JsonMap = {"permissions": ["Zone.DNS:Edit"], "resources": ["zone/example.com"]}


class Store(MemoryStore):
    """Shows the value that a credential has before all this begins."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, Secret] = {}

    def read(self, destination: Destination, slot: Slot) -> Held:
        held = super().read(destination, slot)
        path = str(destination.address["path"])
        if slot is Slot.CURRENT and (path, slot) not in self._held:
            return Held(token="0", empty=False, fields=self.first[path])
        return held


class SlowHands(Hands):
    """Calls take their time."""

    def __init__(self, turns: Turns, pool: Pool, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._turns, self._pool = turns, pool

    def call(self, lease: Lease, call: Asked) -> Any:
        self._turns.sleep(self._pool.tasks[lease.name], CALL_SECONDS)
        return super().call(lease, call)


@dataclass(frozen=True)
class Run:
    """What came of it."""

    share: float  # of the quota that was used, of all accounts together, in percent
    shut_out: int  # how often Cloudflare answered nothing for five minutes
    refused: int  # answers of 429
    failed: int  # rotations that turned back
    rotations: int
    strayed: int  # the farthest that one was made from its place in the order of expiry, the first time
    most: int  # tokens of an account at one time


class Account:
    """One account of Cloudflare, its issuer and the credentials there. ``user``: who else's tokens make all the tokens, as one
    of the issuers that act as the same user."""

    def __init__(self, number: int, seed: int, clock: VirtualClock, user: FakeCloudflare | None = None) -> None:
        self.name = f"account-{number:02}"
        self.fake = user or FakeCloudflare(seed=seed * 1000 + number, clock=clock, lags=LIKE_CLOUDFLARE, rates=UNLIMITED)
        parent = self.fake.parent_token("Zone Read", *MINTING, owner="user") if user else self.fake.parent_token("Zone Read")
        self.parent, self.owner, self.before = parent.id, Owner("account", self.fake.account_id), (0, 0)
        settings = Settings(
            token=parent.value,  # type: ignore[arg-type]
            account_id=self.fake.account_id,
            endpoint="https://api.cloudflare.example/client/v4",
        )
        around = Surroundings(installation=INSTALLATION, state_dir="", now=clock.now, secret=str)
        api = Cloudflare(settings, around, clock, InMemory(self.fake.answer))
        self.issuer = CloudflareTokens(settings, around, api)

    def credential(self, name: str, due: datetime, lives: timedelta, store: Store) -> Record:
        """One that has a token already."""
        usual = spec_of(name, issuer=self.name)
        spec = replace(usual, scope=SCOPE, policy=POLICY)
        request = MintRequest(
            installation=INSTALLATION,
            credential=name,
            rotation="rot_first",
            generation=1,
            scope=SCOPE,
            parameters={},
            ttl=lives,
        )
        minted = self.issuer.mint(request, None)
        store.first[name] = minted.fields
        record = replace(managed(usual, due), spec=spec)
        assert record.current is not None
        fingerprint = FINGERPRINTER.fingerprint(minted.fields)
        return replace(
            record,
            current=replace(record.current, scope=SCOPE, ref=minted.ref, fingerprint=fingerprint, expires_at=minted.expires_at),
        )

    def limit(self) -> None:
        """From now on the limits are the real ones."""
        self.issuer.sent()
        self.fake.limits.rates = Rates()
        self.before = len(self.fake.book.calls), len(self.fake.book.changes)

    def made(self) -> list[str]:
        """Which credentials got another token, in order."""
        changes = self.fake.book.changes[self.before[1] :]
        names = (change.name.split(":")[2] for change in changes if change.what == "minted")
        return [name for name in names if name.startswith(f"c{self.name}-")]

    def asked(self) -> list[Call]:
        """What was asked by the token that the quota is of."""
        return [call for call in self.fake.book.calls[self.before[0] :] if call.caller == self.parent]


def run(seed: int, accounts: int, each: int = EACH, *, budget: bool = True, one_user: bool = False) -> Run:
    """All are due at once, and again five minutes after they were made. ``one_user``: of one account, by so many issuers that
    all act as the same user and so have one quota together."""
    clock, ids = VirtualClock(), SeededIds(seed)
    turns = Turns(clock, ids.fraction)
    journal, pool, outside, store = MemoryJournal(clock, ids, lease_seconds=120.0), Pool(turns), Outside(), Store()
    user = FakeCloudflare(seed=seed, clock=clock, lags=LIKE_CLOUDFLARE, rates=UNLIMITED) if one_user else None
    corners = [Account(number, seed, clock, user) for number in range(accounts)]
    outside.store = store
    outside.issuers = {corner.name: corner.issuer for corner in corners}  # type: ignore[misc]
    start = clock.now() + timedelta(seconds=QUOTA_SECONDS + 1)
    places: dict[str, int] = {}
    for corner in corners:
        order = list(range(each))
        random.Random(seed).shuffle(order)
        for place, number in enumerate(order):
            name = f"c{corner.name}-{number:04}"
            places[name] = place
            row = corner.credential(name, start, FIRST_LIVES + timedelta(seconds=place), store)
            journal.put([Amendment(record=row)])
    for corner in corners:
        corner.limit()
    limit = Limit(at_once=AT_ONCE, calls=QUOTA_CALLS if budget else 0, seconds=QUOTA_SECONDS)
    budgets = Budgets(clock, {corner.name: replace(limit, of=corner.issuer.principal) for corner in corners})
    ctx = replace(outside.context(ids), clock=clock, paused=Pauses(lambda: None, clock.now))
    sent = {corner.name: corner.issuer.sent for corner in corners}
    hands = SlowHands(
        turns, pool, journal, clock, Telemetry(), spend=budgets.spend, sent=lambda name: sent[name]() if name in sent else None
    )
    engine = Engine(journal, ctx, Telemetry(), budgets, workers=AT_ONCE * accounts, hands=hands, pool=pool)

    def look() -> None:
        engine.claim()
        turns.after(LOOK_SECONDS, look)

    clock.advance_to(start)
    turns.after(0.0, look)
    for _ in range(round(WATCHED_SECONDS / SLICE_SECONDS)):
        turns.happened = 0
        turns.run(SLICE_SECONDS)
    turns.close()
    made = [corner.made() for corner in corners]
    asked = [call for corner in corners for call in corner.asked()]
    lasts = [record.last for record in journal.records(limit=accounts * each + 1) if record.last is not None]
    return Run(
        share=100 * len(asked) / ((1 if one_user else accounts) * QUOTA_CALLS * WATCHED_SECONDS / QUOTA_SECONDS),
        shut_out=sum(len(corner.fake.limits.blocks) for corner in corners),
        refused=sum(call.status == 429 for call in asked),
        failed=sum(last.state is not State.COMPLETED for last in lasts),
        rotations=sum(map(len, made)),
        strayed=max(abs(places[name] - place) for rows in made for place, name in enumerate(dict.fromkeys(rows))),
        most=max(corner.fake.book.most(corner.owner) for corner in corners),
    )


def measure(seed: int) -> Iterable[Figure]:
    found = run(seed, ACCOUNTS)
    note = f"{ACCOUNTS * EACH:,} tokens in {ACCOUNTS} accounts, {found.rotations:,} rotations in {WATCHED_SECONDS / 60:.0f} min"
    yield Figure(
        name="Cloudflare: share of the quota used", value=found.share, unit="%", goal=90.0, at_most=False, bare=100.0, note=note
    )
    yield Figure(name="Cloudflare: rotations that turned back", value=found.failed, unit="", goal=0)
    yield Figure(name="Cloudflare: answers of 429", value=found.refused, unit="", goal=0)
    yield Figure(name="Cloudflare: times that an account was shut out", value=found.shut_out, unit="", goal=0)
    yield Figure(name="Cloudflare: most tokens of an account", value=found.most, unit="", goal=500)
    yield Figure(
        name="Cloudflare: nearest expiry first, farthest from its place",
        value=found.strayed,
        unit="places",
        goal=AT_ONCE,
        note=f"{AT_ONCE} of an account are worked on at once",
    )
