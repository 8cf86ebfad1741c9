"""Notices to people: journaled messages posted to webhooks, signed, at least once, until answered or three days old.

What has been delivered to whom is kept in the journal, so a restart repeats at most the call it interrupted. Receivers tell
a repetition by ``webhook-id``, which is the notice's own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from rotatord import retry, signing
from rotatord.clock import Clock, Ids
from rotatord.errors import OutsideError
from rotatord.http import Outgoing, shown
from rotatord.model import Event, JsonMap, Notice
from rotatord.ports import Journal
from rotatord.views import plain

log = logging.getLogger(__name__)

SCHEMA = "rotatord.notice/v1"
KINDS = frozenset({"halted", "rolled_back", "expiring", "overdue", "strays", "drift", "leaked", "read_only", "paused"})
_BATCH = 50
_ROUND_SECONDS = 20.0
_GONE = 410  # the receiver says that it does not want any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One webhook. ``secrets`` gives its signing secrets, read anew at each use: more than one while one is replaced."""

    name: str
    url: str
    outgoing: Outgoing
    secrets: Callable[[], Sequence[str]]
    kinds: frozenset[str] = frozenset()  # empty: all

    def wants(self, notice: Notice) -> bool:
        return not self.kinds or notice.kind in self.kinds


class Webhook(Protocol):
    """The part of a configured webhook that delivery needs."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def secret(self) -> JsonMap | None: ...
    @property
    def kinds(self) -> Sequence[str]: ...
    def outgoing(self) -> Outgoing: ...


def receivers(webhooks: Sequence[Webhook], secret: Callable[[JsonMap], str]) -> tuple[Receiver, ...]:
    """The configured webhooks. A reference may lead to several signing secrets, separated by white space: each signs.
    Raises ValueError for a webhook without one, as nothing is sent that a receiver cannot check."""

    def one(webhook: Webhook) -> Receiver:
        reference = webhook.secret
        if reference is None:
            raise ValueError(f"webhook {webhook.name!r} has no signing secret")
        return Receiver(
            name=webhook.name,
            url=webhook.url,
            outgoing=webhook.outgoing(),
            secrets=lambda: secret(reference).split(),
            kinds=frozenset(webhook.kinds),
        )

    return tuple(one(webhook) for webhook in webhooks)


def body_of(notice: Notice, installation: str) -> JsonMap:
    """What is posted; documented in docs/notices.md."""
    return {
        "type": f"rotatord.{notice.kind}",
        "timestamp": plain(notice.at),
        "data": {
            "schema": SCHEMA,
            "id": notice.id,
            "installation": installation,
            "kind": notice.kind,
            "credential": notice.credential or None,
            "text": notice.text,
            "facts": plain(notice.facts),
        },
    }


@dataclass(frozen=True, slots=True)
class _Answer:
    """How one post ended. ``error`` empty: delivered. ``final``: trying again is pointless."""

    error: str = ""
    final: bool = False
    retry_after: float | None = None


class Notices:
    """Delivers what the journal holds. For one thread; blocks as long as the receivers' timeouts let it."""

    def __init__(self, journal: Journal, clock: Clock, ids: Ids, installation: str, receivers: Sequence[Receiver]) -> None:
        self._journal = journal
        self._clock = clock
        self._ids = ids
        self._installation = installation
        self.receivers = tuple(receivers)  # may be exchanged when the configuration is loaded anew

    def deliver(self, limit: int = _BATCH) -> int:
        """Try what is due, oldest first; how many notices were settled. Raises JournalUnavailable."""
        silent: set[str] = set()  # a receiver that does not answer costs one timeout a round, not one a notice
        settled, until = 0, self._clock.monotonic() + _ROUND_SECONDS
        for notice in self._journal.notices(self._clock.now(), limit):
            settled += self._try(notice, silent)
            if self._clock.monotonic() >= until:
                break  # slow receivers must not keep the caller from its other work
        return settled

    def _try(self, notice: Notice, silent: set[str]) -> bool:
        key = f"delivered:{notice.id}"
        settled: set[str] = set(json.loads(self._journal.fact(key) or "[]"))
        failed: dict[str, _Answer] = {}
        chosen = self.receivers
        for receiver in chosen:
            if receiver.name in settled or not receiver.wants(notice):
                continue
            answer = self._post(receiver, notice, silent)
            if answer.error and not answer.final:
                failed[receiver.name] = answer
                continue
            settled.add(receiver.name)
            if answer.final:
                self._give_up(notice, {receiver.name: answer.error})
            if len(chosen) > 1:
                self._journal.set_fact(key, json.dumps(sorted(settled)))
        if not failed:
            return self._settle(notice, key)
        attempt = notice.attempts + 1
        wait = retry.after_notice(attempt, self._ids.fraction())
        if wait is None:
            self._give_up(notice, {name: answer.error for name, answer in failed.items()})
            return self._settle(notice, key)
        asked = max((answer.retry_after or 0.0 for answer in failed.values()), default=0.0)
        again_at = self._clock.now() + max(wait, min(timedelta(seconds=asked), retry.LONGEST_ASKED))
        self._log_failures(notice, failed, again_at)
        self._journal.notice_again(notice.id, again_at)
        return False

    def _settle(self, notice: Notice, key: str) -> bool:
        self._journal.notice_done(notice.id)
        if self._journal.fact(key) is not None:
            self._journal.set_fact(key, None)
        return True

    def _post(self, receiver: Receiver, notice: Notice, silent: set[str]) -> _Answer:
        if receiver.name in silent:
            return _Answer("it did not answer a moment ago")
        body = json.dumps(body_of(notice, self._installation), ensure_ascii=False).encode()
        try:
            headers = signing.sign(notice.id, self._clock.now(), body, receiver.secrets())
            headers["content-type"] = "application/json"
            answer = receiver.outgoing.request("POST", receiver.url, body=body, headers=headers)
        except (OutsideError, ValueError) as error:  # ValueError: a signing secret that is none
            silent.add(receiver.name)
            return _Answer(str(error))
        if 200 <= answer.status < 300:
            log.info("notice delivered", extra={"notice": notice.id, "kind": notice.kind, "receiver": receiver.name})
            return _Answer()
        words = f"{shown(receiver.url)} answered {answer.status}"
        return _Answer(words, final=answer.status == _GONE, retry_after=answer.retry_after)

    def _log_failures(self, notice: Notice, failed: dict[str, _Answer], again_at: datetime) -> None:
        for name, answer in failed.items():
            log.warning(
                "notice not delivered",
                extra={"notice": notice.id, "receiver": name, "error": answer.error, "again_at": again_at.isoformat()},
            )

    def _give_up(self, notice: Notice, errors: dict[str, str]) -> None:
        log.error("notice given up", extra={"notice": notice.id, "kind": notice.kind, "errors": errors})
        event = Event(
            id=self._ids.new("evt"),
            time=self._clock.now(),
            actor="rotatord",
            action="notify",
            credential=notice.credential,
            outcome="failed",
            reason=notice.kind,
            evidence={"notice": notice.id, "attempts": notice.attempts + 1, "errors": errors},
        )
        self._journal.record_events([event])
