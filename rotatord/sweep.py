"""Strays: what is live at an issuer under our installation's label and unknown to this journal. Reported, never touched."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rotatord.api.service import Stray
from rotatord.clock import Clock, Ids
from rotatord.errors import OutsideError, Retryable
from rotatord.model import Notice, Outcome, Record, Standing
from rotatord.ports import Inventory, Issuer, Journal, LiveRef, Plugins

FACT = "strays:"
ERROR = "strays_error:"
LOOKS = 2  # that a stray must be seen in, one after the other


class Sweep:
    """Looks through inventories. A ref is a stray only when two looks in a row saw it, so that a mint in flight is not."""

    def __init__(self, journal: Journal, clock: Clock, ids: Ids, installation: str) -> None:
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._installation = installation
        self._suspects: dict[str, set[str]] = {}
        self._looks: dict[str, int] = {}  # in a row, of this daemon
        self._looking = threading.Lock()

    def look(self, names: list[str], plugins: Plugins) -> None:
        """One look at each issuer that can list what it has."""
        with self._looking:
            for name in names:
                self._look_at(name, plugins)

    def _look_at(self, name: str, plugins: Plugins) -> None:
        try:
            issuer = plugins.issuer(name)
            live = list(issuer.inventory()) if isinstance(issuer, Inventory) else None
        except OutsideError as error:
            self._journal.set_fact(ERROR + name, str(error))
            self._looks[name] = 0
            return
        if live is not None:
            self._compare(name, [item for item in live if item.installation == self._installation], issuer)
        self._looks[name] = self._looks.get(name, 0) + 1

    def now(self, names: list[str], plugins: Plugins) -> list[Stray]:
        """What is known by now; whoever was not looked at twice yet, as a stray must be, is looked at first. Nobody is told
        that there are none before somebody looked. Of those whose last look failed see :meth:`unreached`."""
        for _ in range(LOOKS):
            self.look([name for name in names if self._looks.get(name, 0) < LOOKS], plugins)
        away = self.unreached(names)
        return self.strays([name for name in names if name not in away])

    def unreached(self, names: list[str]) -> dict[str, str]:
        """The issuers whose last look failed, and why: of them nobody can tell."""
        errors = {name: self._journal.fact(ERROR + name) for name in names}
        return {name: error for name, error in errors.items() if error}

    @staticmethod
    def unlisted(names: list[str], plugins: Plugins) -> list[str]:
        """The issuers that cannot list what they have, or whose versions bear no label that says whose they are: whether
        anything of ours lives there unknown, nobody can tell."""
        issuers = ((name, plugins.issuer(name)) for name in names)
        return [name for name, issuer in issuers if not (isinstance(issuer, Inventory) and issuer.traits.labels)]

    def _compare(self, name: str, live: list[LiveRef], issuer: Issuer) -> None:
        candidates = {item.ref: item for item in live if not self._known(item, issuer)}
        suspects = self._suspects.get(name, self._told(name))  # a restart forgets what was seen once, not what was told
        confirmed = sorted(set(candidates) & suspects)
        self._suspects[name] = set(candidates)
        strays = [_stray(name, candidates[ref]) for ref in confirmed]
        self._tell(name, strays)
        self._journal.set_fact(ERROR + name, None)

    def _known(self, item: LiveRef, issuer: Issuer) -> bool:
        return any(self._knows(record, item, issuer) for record in self._bearers(item.credential))

    def _bearers(self, credential: str) -> list[Record]:
        """Who bears this name, or bore it: labels keep the name that a version was minted under."""
        record = self._journal.get(credential)
        found = [record] if record is not None else []
        if record is not None and record.standing is not Standing.FORGOTTEN:
            return found
        after = ""
        while page := self._journal.records(after=after):
            found += [other for other in page if credential in other.formerly]
            after = page[-1].name
        return found

    def _knows(self, record: Record, item: LiveRef, issuer: Issuer) -> bool:
        if record.standing in {Standing.NEW, Standing.BEHIND}:
            return True  # the journal does not know yet what there is; what everybody uses would look like a stray
        if _minting(record) or item.rotation in _at_work(record):
            return True  # its answer may be on its way, or the ledger is searching for it
        settles = issuer.traits.call_settles_within + issuer.traits.listing_delay
        if item.created_at is not None and self._clock.now() < item.created_at + settles:
            return True
        return item.ref in _refs(record)

    def _told(self, name: str) -> set[str]:
        return {item["ref"] for item in json.loads(self._journal.fact(FACT + name) or "[]")}

    def _tell(self, name: str, strays: list[Stray]) -> None:
        before = self._journal.fact(FACT + name) or "[]"
        text = json.dumps([_plain(stray) for stray in strays], sort_keys=True)
        if text == before:
            return
        known = self._told(name)
        self._journal.set_fact(FACT + name, text)
        fresh = [stray for stray in strays if stray.ref not in known]
        if fresh:
            words = f"{len(fresh)} live at {name} under our label and unknown to the journal: " + ", ".join(
                s.ref for s in fresh
            )
            notice = Notice(id=self._ids.new("ntc"), kind="strays", credential="", text=words, at=self._clock.now())
            self._journal.record_events((), (notice,))

    def strays(self, names: list[str]) -> list[Stray]:
        """What the last looks found. Raises Retryable when one of them failed: then nobody can tell."""
        found: list[Stray] = []
        for name in names:
            if error := self._journal.fact(ERROR + name):
                raise Retryable(f"{name} could not be looked at: {error}")
            for item in json.loads(self._journal.fact(FACT + name) or "[]"):
                moments = {
                    key: datetime.fromisoformat(item[key]) if item[key] else None for key in ("created_at", "expires_at")
                }
                found.append(Stray(**{**item, **moments}))
        return found


def _minting(record: Record) -> bool:
    rotation = record.rotation
    return rotation is not None and any(intent.outcome is Outcome.OPEN for intent in rotation.intents)


def _at_work(record: Record) -> set[str]:
    """Rotations whose every version is still to be accounted for."""
    return {debt.rotation for debt in record.ledger} | ({record.rotation.id} if record.rotation is not None else set())


def _refs(record: Record) -> set[str]:
    versions = [record.current]
    if record.rotation is not None:
        versions += [record.rotation.new, record.rotation.base]
    refs = {version.ref for version in versions if version is not None}
    return refs | {owed.version.ref for debt in record.ledger for owed in debt.owed}


def _stray(issuer: str, item: LiveRef) -> Stray:
    why = f"made for {item.credential} by rotation {item.rotation}, which this journal does not know"
    return Stray(
        issuer=issuer,
        ref=item.ref,
        why=why,
        credential=item.credential,
        created_at=item.created_at,
        expires_at=item.expires_at,
    )


def _plain(stray: Stray) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(stray).items()}
