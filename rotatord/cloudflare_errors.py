"""What Cloudflare answers, as errors of ours and as verdicts on a token: two tables, the first row that fits decides.

Cloudflare uses one code for several things (1001, 9109, 10000), so a row may ask for words of the message too. An answer that
is not in the API's own form (a proxy's page, half a body) proves nothing, whatever its status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rotatord.errors import Conflict, Denied, Invalid, NotFound, OutsideError, Retryable
from rotatord.ports import Inconclusive, RefusedVerdict

BLOCK_SECONDS = 300.0  # so long nothing is answered once the quota is overrun
_LONGEST = 300
_CODE = re.compile(r"-?[0-9]{1,9}")
_VALUES = re.compile(r"\bcf[a-z]{1,3}_[\w-]{20,}|\b(?=[\w-]*[A-Z])(?=[\w-]*[0-9])[\w-]{40,}\b")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``body``: None where it is not in the API's form (an object with ``success``)."""

    status: int
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    retry_after: float | None = None

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300 and self.body is not None and self.body.get("success") is True

    @property
    def errors(self) -> list[tuple[int, str]]:
        """Codes and messages, those of chains included."""
        found: list[tuple[int, str]] = []
        for item in _items((self.body or {}).get("errors")):
            found.append(_plain(item))
            found += [_plain(link) for link in _items(item.get("error_chain"))]
        return found

    @property
    def words(self) -> str:
        """Cloudflare's own words, without anything that looks like a value."""
        said = "; ".join(f"{code} {message}".strip() for code, message in self.errors)
        return _VALUES.sub("***", said)[:_LONGEST]

    def has(self, codes: frozenset[int], words: str) -> bool:
        """Whether one of its errors bears one of these codes (any, where there are none) and matches these words."""
        return any(
            (not codes or code in codes) and re.search(words, message, re.IGNORECASE) for code, message in self.errors
        ) or (not codes and not words)


@dataclass(frozen=True, slots=True)
class Row:
    """``kind``: the error. An answer fits by status (a whole class by its first digit), codes and words, as far as given."""

    name: str
    kind: type[OutsideError]
    says: str
    statuses: frozenset[int] = frozenset()
    codes: frozenset[int] = frozenset()
    words: str = ""

    def fits(self, answer: Answer) -> bool:
        by_status = not self.statuses or bool(self.statuses & {answer.status, answer.status // 100})
        return by_status and answer.has(self.codes, self.words)


def _row(name: str, kind: type[OutsideError], says: str, *numbers: int, words: str = "") -> Row:
    """``numbers`` below 600 are statuses (or their first digit), the others codes."""
    statuses, codes = (frozenset(n for n in numbers if (n < 600) is low) for low in (True, False))
    return Row(name, kind, says, statuses, codes, words)


_QUOTA = "one token of one user or account may ask 1200 times in five minutes, and is then answered nothing for five more"
_OWN = "check the token that rotatord itself uses"
ERRORS: tuple[Row, ...] = (
    _row("rate limit", Retryable, _QUOTA, 429),
    _row("rate limit, by its words", Retryable, _QUOTA, 971, words="throttling|rate limit"),
    _row("redirect", Retryable, "an API answers by itself; check endpoint", 3),
    _row("timeout", Retryable, "Cloudflare waited too long for the request or what it needs", 408, 425, 504, 522, 524),
    _row("fault of Cloudflare's", Retryable, "Cloudflare is in trouble; https://www.cloudflarestatus.com tells", 5),
    _row("shut out for a while", Retryable, f"Cloudflare saw too many wrong credentials from here; {_OWN}", 10502),
    _row(
        "not its own to hand on",
        Denied,
        "a token cannot hand on what it does not hold itself: give rotatord's token this permission on the same resource",
        1001,
        words="common permission check",
    ),
    _row(
        "outside its addresses",
        Denied,
        "rotatord's token is pinned to addresses, and this daemon calls from another: add that one, or unpin it",
        9109,
        words="from location",
    ),
    _row("token unknown", Retryable, f"Cloudflare does not know rotatord's own token (yet, or any more); {_OWN}", 401),
    _row(
        "token unknown, by its words",
        Retryable,
        f"Cloudflare does not know rotatord's own token (yet, or any more); {_OWN}",
        1000,
        9109,
        words="invalid (api|access) token",
    ),
    _row("header malformed", Denied, f"rotatord's token is not one that Cloudflare can read; {_OWN}", 6003, 6111, 9106, 9107),
    _row("key unknown", Denied, f"it was taken for a Global API Key, which rotatord does not use; {_OWN}", 9103),
    _row(
        "cap reached",
        Conflict,
        "a user has 50 tokens at most and an account 500: delete some, or move credentials to another account",
        400,
        403,
        409,
        422,
        words=r"(maximum|limit|quota|too many).*\btokens?\b|\btokens?\b.*(maximum|limit|quota|too many)",
    ),
    _row(
        "not for account tokens",
        Invalid,
        "this cannot be asked with an account-owned token",
        1001,
        words="does not support account owned tokens",
    ),
    _row("zones not nested", Invalid, "all zones of an account-owned token stand below their account", 1001, words="nest"),
    _row("not permitted", Denied, f"rotatord's token lacks a permission or the resource: `rotatord rights`; {_OWN}", 403),
    _row(
        "not permitted, by its code",
        Denied,
        f"rotatord's token lacks a permission or the resource: `rotatord rights`; {_OWN}",
        10000,
        9109,
        10001,
    ),
    _row("no such route", Invalid, "the API has no such place: check endpoint and account_id", 7000, 7003),
    _row("method unknown", Invalid, "the API does not do this there: check endpoint", 405),
    _row("not there", NotFound, "Cloudflare has no such thing (any more)", 404, 410),
    _row("in the way", Conflict, "something else was changed at the same time, or bears this name already", 409, 412),
    _row("refused as it is", Invalid, "Cloudflare does not take the request as it is", 1001),
    _row("refused", Invalid, "Cloudflare does not take the request", 4),
    _row("neither done nor refused", Retryable, "whether it was done is not known", 2),
)
# Of a token under probe, asked for at the endpoint of its own kind. What fits no row proves nothing.
REFUSALS: tuple[Row, ...] = (
    _row("invalid", NotFound, "Cloudflare does not know it (any more)", 401, 1000, words="invalid api token"),
    _row("malformed", Invalid, "it is not a token that Cloudflare can read", 400, 6003, 6111, words="header"),
)
NOT_UNDERSTOOD = "that is not an answer of its API: something in between gave it, or only half of it arrived"


def error_of(answer: Answer, what: str) -> OutsideError:
    """The error that an answer to one of our own requests stands for. ``what``: the request, in words."""
    if answer.body is None and answer.status // 100 in {2, 4} and answer.status != 429:
        return Retryable(f"Cloudflare's answer {answer.status} to {what} cannot be understood: {NOT_UNDERSTOOD}")
    row = next(row for row in ERRORS if row.fits(answer))
    message = f"{heard(answer, what)}: {row.says}"
    if row.kind is Retryable:
        return Retryable(message, retry_after=wait_of(answer))
    return row.kind(message)


def wait_of(answer: Answer) -> float | None:
    """Seconds that Cloudflare wants to be left alone; after an overrun of the quota the whole block, where it does not say."""
    return answer.retry_after or (BLOCK_SECONDS if answer.status == 429 else None)


def verdict_of(answer: Answer, what: str) -> RefusedVerdict | Inconclusive:
    """What a refusal of a token under probe proves. Being asked from outside its addresses, at the endpoint of another kind or
    without its permission proves nothing."""
    row = next((row for row in REFUSALS if answer.body is not None and row.fits(answer)), None)
    if row is not None:
        return RefusedVerdict(f"{heard(answer, what)}: {row.says}")
    if answer.has(frozenset({9109}), "from location"):
        return Inconclusive("it may not be used from this address, so it cannot be tried from here")
    return Inconclusive(f"{heard(answer, what)}, which proves nothing")


def heard(answer: Answer, what: str) -> str:
    """The answer in words."""
    said = f" ({answer.words})" if answer.words else ""
    return f"Cloudflare answered {answer.status}{said} to {what}"


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _plain(item: Mapping[str, Any]) -> tuple[int, str]:
    code = str(item.get("code"))
    return int(code) if _CODE.fullmatch(code) else 0, str(item.get("message") or "")
