"""Times in which rotations may or may not start. Pure: a window and a moment in, a decision out.

A window opens at each tick of a cron expression read on the wall clock of its zone and closes when that wall clock has
moved on by its duration. Daylight saving, by rule:

- A start that the clock skips (spring) opens when the skipped stretch ends, and then lasts its whole duration.
- A start that the clock shows twice (autumn) opens the first time only.
- An end that is shown twice closes an allowing window the first time and a denying one the second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from rotatord.model import Window

ALLOW, DENY = "allow", "deny"
HORIZON = timedelta(days=400)
LONGEST = timedelta(days=366)
# Ticks looked at in one question. Windows that change more often than this within the horizon are refused at validation.
_MOST_HOPS = 5000
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_RANGE = re.compile(r"(?:(?P<days>[A-Za-z,\- ]+?)\s+)?(?P<from>\d{1,2}:\d{2})\s*-\s*(?P<to>\d{1,2}:\d{2})")


def parse(text: str, *, kind: str, time_zone: str, duration: timedelta | None = None) -> Window:
    """A weekday range (``Mon-Thu 09:00-16:00``, ``Fri 22:00-02:00``, ``09:00-10:00``) or a cron start with ``duration``.

    Raises ValueError with a sentence that says what would be right.
    """
    _zone_checked(time_zone)
    match = _RANGE.fullmatch(text.strip())
    if match is not None:
        if duration is not None:
            raise ValueError("a weekday range says its end itself: leave duration out")
        cron, length = _from_range(match)
        return Window(kind=kind, time_zone=time_zone, cron=cron, duration=length)
    if len(text.split()) != 5:
        raise ValueError('should be a weekday range such as "Mon-Thu 09:00-16:00" or a cron start such as "0 9 * * MON-THU"')
    try:
        CronSim(text, datetime(2024, 1, 1))  # noqa: DTZ001  only the form is checked
    except CronSimError as error:
        raise ValueError(f"never happens or cannot be read as cron: {str(error).lower()}") from None
    if duration is None:
        raise ValueError("a cron start needs a duration, such as 2h")
    if not timedelta(minutes=1) <= duration <= LONGEST:
        raise ValueError("duration should lie between 1m and 366d")
    return Window(kind=kind, time_zone=time_zone, cron=" ".join(text.split()), duration=duration)


def is_open(windows: Sequence[Window], now: datetime) -> bool:
    """Inside an allowing window, if there is any, and outside all denying ones."""
    return _denied_until(windows, now) is None and _allowed(windows, now)


def next_open(windows: Sequence[Window], now: datetime, horizon: timedelta = HORIZON) -> datetime | None:
    """The first moment from ``now`` on at which :func:`is_open`; None if there is none within ``horizon``."""
    moment = now
    for _ in range(_MOST_HOPS):
        if moment > now + horizon:
            return None
        denied_until = _denied_until(windows, moment)
        if denied_until is not None:
            moment = denied_until
        elif _allowed(windows, moment):
            return moment
        else:
            starts = [start for window in windows if window.kind == ALLOW if (start := _next_start(window, moment)) is not None]
            if not starts:
                return None
            moment = min(starts)
    return None


def problems(windows: Sequence[Window], now: datetime) -> list[str]:
    """What makes a set of windows impossible, as sentences."""
    if next_open(windows, now) is not None:
        return []
    denied = " that no denying one covers" if any(window.kind == DENY for window in windows) else ""
    return [f"never opens: there is no allowed time{denied} in the next {HORIZON.days} days"]


def openings(window: Window, after: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The stretches (start, end) of one window that start after ``after``, in order, in UTC."""
    zone = _zone(window.time_zone)
    for tick in _ticks(window.cron, after.astimezone(zone).replace(tzinfo=None)):
        start, end = _stretch(window, zone, tick)
        if start > after:
            yield start, end


def _allowed(windows: Sequence[Window], moment: datetime) -> bool:
    allowing = [window for window in windows if window.kind == ALLOW]
    return not allowing or any(_covered_until(window, moment) is not None for window in allowing)


def _denied_until(windows: Sequence[Window], moment: datetime) -> datetime | None:
    ends = [end for window in windows if window.kind == DENY if (end := _covered_until(window, moment)) is not None]
    return max(ends, default=None)


def _covered_until(window: Window, moment: datetime) -> datetime | None:
    """When the stretch that covers ``moment`` ends, or None where none does."""
    zone = _zone(window.time_zone)
    local = moment.astimezone(zone)
    again = local.replace(fold=0).astimezone(UTC)
    # While the clock shows an hour for the second time, ticks that it will show "later" have been already.
    newest = local.replace(tzinfo=None) + (moment - again if local.fold else timedelta(0))
    oldest = local.replace(tzinfo=None) - window.duration - _widest_gap(zone, moment - window.duration, moment)
    for tick in _ticks(window.cron, newest + timedelta(seconds=1), backwards=True):
        if tick < oldest:
            return None
        start, end = _stretch(window, zone, tick)
        if start <= moment < end:
            return end
    return None


def _next_start(window: Window, moment: datetime) -> datetime | None:
    return next((start for start, _ in openings(window, moment)), None)


def _stretch(window: Window, zone: ZoneInfo, tick: datetime) -> tuple[datetime, datetime]:
    start = _instant(tick, zone)
    if _skipped(tick, zone):
        return start, start + window.duration
    return start, _instant(tick + window.duration, zone, fold=1 if window.kind == DENY else 0)


def _instant(wall: datetime, zone: ZoneInfo, fold: int = 0) -> datetime:
    """The UTC moment at which the zone's clock shows ``wall``; for a skipped time, the end of what is skipped."""
    if not _skipped(wall, zone):
        return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    after = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


def _skipped(wall: datetime, zone: ZoneInfo) -> bool:
    return wall.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != wall


def _widest_gap(zone: ZoneInfo, start: datetime, end: datetime) -> timedelta:
    """By how much the clock jumped forward between two moments; with the odd zone that drops a day, up to a day."""
    first, last = start.astimezone(zone).utcoffset(), end.astimezone(zone).utcoffset()
    jumped = (last or timedelta(0)) - (first or timedelta(0))
    return max(jumped, timedelta(hours=1))


def _ticks(cron: str, start: datetime, *, backwards: bool = False) -> Iterator[datetime]:
    """Wall-clock times without a zone: the clock changes are ours to judge, not the cron library's."""
    return iter(CronSim(cron, start, reverse=backwards))


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _zone_checked(name: str) -> None:
    try:
        _zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}: IANA names such as Europe/Lisbon or UTC") from None


def _from_range(match: re.Match[str]) -> tuple[str, timedelta]:
    start, end = _minutes(match["from"]), _minutes(match["to"])
    if start == 24 * 60:
        raise ValueError("a range cannot start at 24:00: use 00:00 of the next day")
    if start == end:
        raise ValueError("a range that ends when it starts is empty: 00:00-24:00 is the whole day")
    days = _weekdays(match["days"])
    length = timedelta(minutes=(end - start) % (24 * 60) or 24 * 60)
    return f"{start % 60} {start // 60} * * {days}", length


def _minutes(clock: str) -> int:
    hours, minutes = (int(part) for part in clock.split(":"))
    if hours * 60 + minutes > 24 * 60 or minutes > 59:
        raise ValueError(f"{clock} is not a time of day")
    return hours * 60 + minutes


def _weekdays(text: str | None) -> str:
    if text is None:
        return "*"
    chosen: list[str] = []
    for part in text.replace(" ", "").lower().split(","):
        first, _, last = part.partition("-")
        begin, finish = _weekday(first), _weekday(last or first)
        span = (finish - begin) % 7
        chosen.extend(_DAYS[(begin + step) % 7][:3].upper() for step in range(span + 1))
    return ",".join(dict.fromkeys(chosen))


def _weekday(text: str) -> int:
    for index, day in enumerate(_DAYS):
        if len(text) >= 3 and day.startswith(text):
            return index
    raise ValueError(f"{text!r} is not a weekday: Mon, Tue, Wed, Thu, Fri, Sat, Sun")
