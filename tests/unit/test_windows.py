"""Windows: what they mean on the wall clock, and that clock changes neither double nor lose an opening."""

from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rotatord import windows
from rotatord.model import Window

ZONES = (
    "UTC",
    "Europe/Lisbon",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour of daylight saving
    "America/Havana",  # changes at midnight
    "Pacific/Apia",  # dropped a whole day in 2011
    "Africa/Casablanca",
    "Asia/Kathmandu",
)
MOMENTS = st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1))  # noqa: DTZ001  hypothesis adds the zone later


def allow(text: str, zone: str = "Europe/Lisbon", duration: timedelta | None = None) -> Window:
    return windows.parse(text, kind="allow", time_zone=zone, duration=duration)


def deny(text: str, zone: str = "Europe/Lisbon", duration: timedelta | None = None) -> Window:
    return windows.parse(text, kind="deny", time_zone=zone, duration=duration)


def local(zone: str, *parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "cron", "hours"),
    [
        ("Mon-Thu 09:00-16:00", "0 9 * * MON,TUE,WED,THU", 7),
        ("Fri 22:00-02:00", "0 22 * * FRI", 4),
        ("Mon,Wed 09:00-10:00", "0 9 * * MON,WED", 1),
        ("Sat-Mon 00:00-24:00", "0 0 * * SAT,SUN,MON", 24),
        ("monday - tuesday 9:30-10:30", "30 9 * * MON,TUE", 1),
        ("09:00-10:00", "0 9 * * *", 1),
    ],
)
def test_weekday_ranges_are_translated(text: str, cron: str, hours: int) -> None:
    """A weekday range becomes a cron start and a duration."""
    window = allow(text)
    assert (window.cron, window.duration) == (cron, timedelta(hours=hours))


@pytest.mark.parametrize(
    ("text", "duration", "complaint"),
    [
        ("Mon-Thx 09:00-16:00", None, "not a weekday"),
        ("Mon 09:00-09:00", None, "empty"),
        ("Mon 25:00-26:00", None, "not a time of day"),
        ("0 0 30 2 *", timedelta(hours=1), "never happens"),
        ("61 * * * *", timedelta(hours=1), "cron"),
        ("0 9 * * MON", None, "needs a duration"),
        ("Mon 09:00-10:00", timedelta(hours=1), "leave duration out"),
        ("sometimes", None, "weekday range such as"),
        ("0 9 * * MON", timedelta(0), "between"),
    ],
)
def test_bad_windows_say_what_is_wrong(text: str, duration: timedelta | None, complaint: str) -> None:
    """A window that cannot be read or never happens is refused in words."""
    with pytest.raises(ValueError, match=complaint):
        allow(text, duration=duration)


def test_an_unknown_zone_is_refused() -> None:
    """Only IANA names are zones."""
    with pytest.raises(ValueError, match="no time zone 'Europe/Lissabon'"):
        allow("Mon 09:00-10:00", "Europe/Lissabon")


def test_a_window_is_open_from_its_start_until_just_before_its_end() -> None:
    """The start belongs to the window, the end does not."""
    office = (allow("Mon-Thu 09:00-16:00"),)
    monday = (2026, 7, 6)
    assert windows.is_open(office, local("Europe/Lisbon", *monday, 9, 0))
    assert windows.is_open(office, local("Europe/Lisbon", *monday, 15, 59, 59))
    assert not windows.is_open(office, local("Europe/Lisbon", *monday, 16, 0))
    assert not windows.is_open(office, local("Europe/Lisbon", *monday, 8, 59, 59))
    assert windows.next_open(office, local("Europe/Lisbon", 2026, 7, 9, 16, 0)) == local("Europe/Lisbon", 2026, 7, 13, 9, 0)


def test_a_window_may_cross_midnight() -> None:
    """Friday night reaches into Saturday and no further."""
    night = (allow("Fri 22:00-02:00"),)
    assert windows.is_open(night, local("Europe/Lisbon", 2026, 7, 11, 1, 59))
    assert not windows.is_open(night, local("Europe/Lisbon", 2026, 7, 11, 2, 0))
    assert not windows.is_open(night, local("Europe/Lisbon", 2026, 7, 10, 1, 0))


def test_no_windows_are_always_open() -> None:
    """Without any window nothing has to wait."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert windows.is_open((), now)
    assert windows.next_open((), now) == now


def test_deny_beats_allow_and_alone_allows_the_rest() -> None:
    """A denied time is closed even where it is allowed; with denying windows only, everything else is open."""
    noon = local("Europe/Lisbon", 2026, 7, 6, 12, 0)
    lunch = deny("12:00-13:00")
    assert not windows.is_open((allow("Mon-Fri 09:00-16:00"), lunch), noon)
    assert windows.next_open((allow("Mon-Fri 09:00-16:00"), lunch), noon) == noon + timedelta(hours=1)
    assert windows.is_open((lunch,), noon - timedelta(minutes=1))
    assert windows.next_open((lunch,), noon) == noon + timedelta(hours=1)


def test_a_deny_that_covers_all_allowed_time_never_opens() -> None:
    """Such a set is found impossible; a harmless one is not."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert windows.problems((allow("Mon 09:00-10:00"), deny("Mon 08:00-11:00")), now)
    assert windows.problems((deny("00:00-24:00"),), now)
    assert windows.problems((deny("* * * * *", duration=timedelta(hours=1)),), now)
    assert not windows.problems((allow("Mon 09:00-10:00"), deny("Mon 08:00-09:30")), now)
    assert not windows.problems((), now)


def test_a_start_that_spring_skips_opens_late_and_lasts_its_duration() -> None:
    """New York skips 02:00-03:00 on 8 March 2026: a window at 02:30 opens at 03:00 for its whole hour."""
    zone = "America/New_York"
    window = (allow("02:30-03:30", zone),)
    opened = windows.next_open(window, local(zone, 2026, 3, 8, 0, 0))
    assert opened == local(zone, 2026, 3, 8, 3, 0)
    assert windows.is_open(window, local(zone, 2026, 3, 8, 3, 59))
    assert not windows.is_open(window, local(zone, 2026, 3, 8, 4, 0))


def test_an_end_that_spring_skips_closes_when_the_clock_jumps() -> None:
    """A window until 02:30 is over at 03:00, which follows 01:59."""
    zone = "America/New_York"
    window = (allow("01:00-02:30", zone),)
    assert windows.is_open(window, local(zone, 2026, 3, 8, 1, 59))
    assert not windows.is_open(window, local(zone, 2026, 3, 8, 3, 0))


def test_an_hour_that_autumn_repeats_opens_once_and_is_denied_twice() -> None:
    """On 1 November 2026 New York shows 01:00-02:00 twice."""
    zone = "America/New_York"
    first, second = local(zone, 2026, 11, 1, 1, 10), local(zone, 2026, 11, 1, 1, 10, fold=1)
    assert second - first == timedelta(hours=1)
    allowed, denied = (allow("01:00-01:30", zone),), (deny("01:00-01:30", zone),)
    assert windows.is_open(allowed, first)
    assert not windows.is_open(allowed, second)
    assert not windows.is_open(denied, first)
    assert not windows.is_open(denied, second)
    late = (allow("01:30-02:30", zone),)
    assert windows.is_open(late, second), "open since the first 01:30, until 02:30"


@settings(max_examples=80, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    day=st.dates(date(2008, 1, 1), date(2030, 12, 31)),
    minute=st.integers(0, 24 * 60 - 1),
    length=st.integers(1, 600),
)
def test_daily_openings_are_neither_doubled_nor_lost(zone: str, day: date, minute: int, length: int) -> None:
    """For thirty days, each local day that exists has one opening, at the right wall time or where the gap ends."""
    window = allow(f"{minute % 60} {minute // 60} * * *", zone, timedelta(minutes=length))
    tz = ZoneInfo(zone)
    start = datetime(day.year, day.month, day.day, tzinfo=tz)
    stop = start + timedelta(days=30)
    found = [
        begin
        for begin, _ in takewhile(lambda stretch: stretch[0] < stop, windows.openings(window, start - timedelta(seconds=1)))
    ]
    expected = []
    for offset in range(30):
        wall = datetime(day.year, day.month, day.day) + timedelta(days=offset, minutes=minute)  # noqa: DTZ001
        moment = wall.replace(tzinfo=tz).astimezone(UTC)
        exact = moment.astimezone(tz).replace(tzinfo=None) == wall
        expected.append((wall, moment, exact))
    inside = [entry for entry in expected if start <= entry[1] < stop or not entry[2]]
    assert len(found) >= len([entry for entry in inside if entry[2]])
    for begin in found:
        wall = begin.astimezone(tz).replace(tzinfo=None)
        matches = [entry for entry in expected if entry[0] == wall]
        if matches:
            assert begin == matches[0][1], "the first of a doubled hour"
        else:
            before = (begin - timedelta(seconds=1)).astimezone(tz).replace(tzinfo=None)
            assert any(before < entry[0] < wall for entry in expected if not entry[2]), "only at the end of a gap"


@settings(max_examples=120, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    moment=MOMENTS,
    start=st.integers(0, 24 * 60 - 1),
    length=st.integers(1, 24 * 60),
    kind=st.sampled_from(["allow", "deny"]),
)
def test_open_and_next_open_agree(zone: str, moment: datetime, start: int, length: int, kind: str) -> None:
    """Where it is open, the next opening is now; else it is later, open then, and closed a second before."""
    window = windows.parse(f"{start % 60} {start // 60} * * *", kind=kind, time_zone=zone, duration=timedelta(minutes=length))
    now = moment.replace(tzinfo=UTC, microsecond=0)
    opens = windows.next_open((window,), now)
    if windows.is_open((window,), now):
        assert opens == now
    elif opens is None:
        assert (kind, length) == ("deny", 24 * 60)
    else:
        assert opens > now
        assert windows.is_open((window,), opens)
        assert not windows.is_open((window,), opens - timedelta(seconds=1))


@settings(max_examples=60, deadline=None)
@given(zone=st.sampled_from(ZONES), moment=MOMENTS, length=st.integers(1, 2000))
def test_openings_and_is_open_agree(zone: str, moment: datetime, length: int) -> None:
    """Every stretch that is listed is open at its first second."""
    window = allow("15 */7 * * *", zone, timedelta(minutes=length))
    now = moment.replace(tzinfo=UTC)
    for _, (begin, end) in zip(range(5), windows.openings(window, now), strict=False):
        assert begin < end
        assert windows.is_open((window,), begin)


def test_apia_lost_a_day_and_no_window() -> None:
    """Samoa had no 30 December 2011: that day's window opens when the 31st begins."""
    zone = "Pacific/Apia"
    window = allow("09:00-10:00", zone)
    starts = windows.openings(window, local(zone, 2011, 12, 29, 12, 0))
    assert [next(starts)[0], next(starts)[0]] == [local(zone, 2011, 12, 31, 0, 0), local(zone, 2011, 12, 31, 9, 0)]
