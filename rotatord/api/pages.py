"""The answers of the reading part of the API, over any service: the daemon's own, or one over a journal opened to look."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from rotatord import views
from rotatord.api.service import Service
from rotatord.damage import WAY_OUT
from rotatord.errors import Refused, RotatordError
from rotatord.model import Event, JsonMap, Record, Standing
from rotatord.own_used import troubles
from rotatord.views import plain
from rotatord.why import why

EVENTS_SCHEMA = "rotatord.events/v1"
STRAYS_SCHEMA = "rotatord.strays/v1"
CHECK_SCHEMA = "rotatord.check/v1"
_HISTORY = 200  # events since the last rotation was planned that ``why`` shows
_LOOK_BACK = 1000  # among so many of the credential's latest
_PAGE = 1000


class UnknownNameError(RotatordError):
    """There is no credential of this name; ``suggestions`` are the nearest that exist."""

    def __init__(self, name: str, suggestions: Sequence[str]) -> None:
        super().__init__(f"there is no credential {name!r}")
        self.suggestions = tuple(suggestions)


def known(service: Service, name: str) -> Record:
    """The record of this name. Raises UnknownNameError."""
    try:
        return service.record(name)
    except KeyError:
        raise UnknownNameError(name, difflib.get_close_matches(name, service.names(), n=3, cutoff=0.6)) from None


def status(service: Service, *, after: str = "", limit: int = 500) -> JsonMap:
    """A page of ``rotatord.status/v1``; ``next`` is where the next page starts, None on the last. ``damaged``: the names on it
    of which nobody can tell anything, each with why."""
    damaged: dict[str, str] = {}
    page, following = service.page(after, limit, damaged)
    facts = service.facts()
    body = views.status_page(page, service.now(), plain(facts), facts.pause, facts.own_used)
    return body | {"damaged": _cannot_tell(damaged), "next": following}


def credential(service: Service, name: str) -> JsonMap:
    """``rotatord.status/v1`` with one credential. Raises UnknownNameError."""
    record, facts = known(service, name), service.facts()
    return views.status_page([record], service.now(), plain(facts), facts.pause, facts.own_used) | {"next": None}


def plan(service: Service, *, after: str = "", limit: int = 500) -> JsonMap:
    """A page of ``rotatord.plan/v1``, by name like ``status``; within a page what is next comes first."""
    damaged: dict[str, str] = {}
    page, following = service.page(after, limit, damaged)
    facts = service.facts()
    body = views.plan_page(page, service.now(), plain(facts), facts.pause)
    return body | {"damaged": _cannot_tell(damaged), "next": following}


def _cannot_tell(damaged: Mapping[str, str]) -> list[JsonMap]:
    return [{"name": name, "error": f"{why}: {WAY_OUT}"} for name, why in sorted(damaged.items())]


def plan_one(service: Service, name: str) -> JsonMap:
    """``rotatord.plan/v1`` with one credential, and under ``mint`` what would be sent to make its next version. Raises
    UnknownNameError."""
    record, facts = known(service, name), service.facts()
    body = views.plan_page([record], service.now(), plain(facts), facts.pause)
    return body | {"next": None, "mint": service.preview(name)}


def explain(service: Service, name: str) -> JsonMap:
    """``rotatord.why/v1``. Raises UnknownNameError."""
    record = known(service, name)
    facts = service.facts()
    found = why(record, service.now(), service.attempt, history(service, record), facts.pause)
    found["status"] = views.with_troubles(found["status"], record, facts.own_used)
    found["beside"] += [sentence for kind in troubles(record, facts.own_used) for sentence in kind]
    return found | {"read_only": facts.read_only, "paused": facts.paused, "pause": plain(facts.pause)}


def events(service: Service, name: str | None, *, after: int = 0, limit: int = 500, tail: int | None = None) -> JsonMap:
    """``rotatord.events/v1``: what follows ``after``, or the last ``tail``. ``last``: pass it as ``after`` to go on."""
    if name is not None:
        known(service, name)
    found = latest(service, name, tail) if tail is not None else list(service.events(name, after=after, limit=limit))
    reached = found[-1].seq if found else last_seq(service) if tail is not None else after
    return {"schema": EVENTS_SCHEMA, "events": plain(found), "last": reached}


def strays(service: Service) -> JsonMap:
    """``rotatord.strays/v1``; ``unlisted`` and ``unreached``: the issuers of which nobody can tell. Raises Retryable."""
    found = {"strays": plain(service.strays()), "unlisted": list(service.unlisted())}
    unreached = [{"issuer": name, "error": error} for name, error in sorted(service.unreached().items())]
    return {"schema": STRAYS_SCHEMA, **found, "unreached": unreached}


def check(service: Service, names: Sequence[str]) -> JsonMap:
    """``rotatord.check/v1``. Raises UnknownNameError, and Refused for one that the configuration does not declare."""
    for name in names:
        if known(service, name).standing in {Standing.FORGOTTEN, Standing.RETIRED}:
            raise Refused(f"{name} is not declared any more: there is nothing to check")
    return {"schema": CHECK_SCHEMA, "findings": plain(service.check(names))}


def history(service: Service, record: Record) -> list[Event]:
    """What happened since the open or last rotation was planned, oldest first: a rotation that has ended, and the death of
    what it replaced, live on in the events."""
    wanted = record.rotation.id if record.rotation else record.last.id if record.last else None
    if wanted is None:
        return []
    found = latest(service, record.name, _LOOK_BACK)
    first = next((place for place, event in enumerate(found) if event.rotation == wanted), len(found))
    return found[first:][:_HISTORY]


def latest(service: Service, name: str | None, count: int) -> list[Event]:
    """The last ``count`` events. The log is read forwards only, so look at an ever longer end of it until that is enough."""
    last, span = last_seq(service), max(count, 1)
    while True:
        after = max(0, last - span)
        found: list[Event] = []
        position = after
        while page := service.events(name, after=position, limit=_PAGE):
            found = [*found, *page][-count:] if count else []
            position = page[-1].seq
        if len(found) >= count or after == 0:
            return found
        span *= 4


def last_seq(service: Service) -> int:
    """The number of the newest event, 0 when there is none: the smallest that nothing follows, found by halving."""
    low, high = 0, 1
    while service.events(None, after=high, limit=1):
        low, high = high + 1, high * 2
    while low < high:
        middle = (low + high) // 2
        if service.events(None, after=middle, limit=1):
            low = middle + 1
        else:
            high = middle
    return low
