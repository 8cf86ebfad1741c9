"""A strict Cloudflare on loopback or in memory, for tests of plugins: tokens of users and accounts, and what they are for.

Cloudflare's own SDK talks to it by ``base_url``. Policies, conditions, dates and caps are kept, rates counted, changes spread
late if asked to, faults planned call by call or drawn from a seed; and it tells afterwards what happened.
"""

from rotatord.testing.cloudflare.book import Book, Call, Change, Refusal
from rotatord.testing.cloudflare.catalogue import GROUPS, Group, named
from rotatord.testing.cloudflare.estate import Owner, Token
from rotatord.testing.cloudflare.fake import Answered, FakeCloudflare, GlobalKey, Held, NoAnswer
from rotatord.testing.cloudflare.faults import Doubled, Fails, Faults, HalfPage, Refuse, Repeats, Weather, throttled
from rotatord.testing.cloudflare.habits import AT_ONCE, LIKE_CLOUDFLARE, Habits, Lags
from rotatord.testing.cloudflare.limits import Rates
from rotatord.testing.cloudflare.refusals import SAID, Said
from rotatord.testing.running import Clock, RunningClock
from rotatord.testing.wires import CutOff, Dropped, Garbled, Hangs, Late, Slow, Wire

__all__ = [
    "AT_ONCE",
    "GROUPS",
    "LIKE_CLOUDFLARE",
    "SAID",
    "Answered",
    "Book",
    "Call",
    "Change",
    "Clock",
    "CutOff",
    "Doubled",
    "Dropped",
    "Fails",
    "FakeCloudflare",
    "Faults",
    "Garbled",
    "GlobalKey",
    "Group",
    "Habits",
    "HalfPage",
    "Hangs",
    "Held",
    "Lags",
    "Late",
    "NoAnswer",
    "Owner",
    "Rates",
    "Refusal",
    "Refuse",
    "Repeats",
    "RunningClock",
    "Said",
    "Slow",
    "Token",
    "Weather",
    "Wire",
    "named",
    "throttled",
]
