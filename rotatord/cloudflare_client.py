"""Speaking to Cloudflare's API: one request with its deadline, complete lists, and the block after too many requests.

Requests are those that Cloudflare's own SDKs send (paths, queries, bodies), made by :mod:`rotatord.http`: the SDK would cost
more memory than the whole daemon. Nothing is retried. Lists are whole or an error.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from pydantic import AfterValidator, Field, model_validator

from rotatord.clock import Clock, SystemClock
from rotatord.cloudflare_errors import NOT_UNDERSTOOD, Answer, error_of, wait_of
from rotatord.cloudflare_formats import Form, recognise
from rotatord.errors import Invalid, Retryable
from rotatord.http import Guard, Limits, Outgoing, OutgoingSettings, check_url
from rotatord.mistakes import form
from rotatord.model import JsonMap
from rotatord.ports import Surroundings

ENDPOINT = "https://api.cloudflare.com/client/v4"
QUOTA_CALLS, QUOTA_SECONDS = 1200, 300.0
MOST_BYTES = 8 * 1024 * 1024
MOST_PAGES = 200
PAGE = 50  # the most that lists give at once
_LONGEST_BLOCK = timedelta(minutes=10)  # whatever is said: clocks may have been set back
_KINDS = ("user", "account")
Id = Annotated[str, form(r"[0-9a-f]{32}", "an id of 32 hexadecimal digits")]
Query = Sequence[tuple[str, str | int]]


class CloudflareSettings(OutgoingSettings):
    """What everything at Cloudflare is configured with."""

    token: str | dict[str, Any]  # a reference; read anew for every call
    account_id: Id | None = None
    kind: Literal["account", "user"] | None = None  # of the tokens; account where account_id is given
    user: Id | None = None  # whose token ours is, where it is a user's
    endpoint: Annotated[str, AfterValidator(check_url)] = ENDPOINT
    timeout: float = Field(default=12.0, gt=0, le=60)  # seconds for all requests of one call together

    @model_validator(mode="after")
    def _whose(self) -> CloudflareSettings:
        if self.kind == "account" and self.account_id is None:
            raise ValueError("kind: account needs account_id")
        return self

    @property
    def family(self) -> Family:
        """Whose tokens are made."""
        of_account = self.account_id is not None and self.kind != "user"
        return Family(self.account_id if of_account else None)


@dataclass(frozen=True, slots=True)
class Family:
    """The tokens of one account, or of the user whose token is ours. A ref names its family: asked for among the others a
    living token would look gone. It does not name the user: ids are unique and a user sees nobody else's, so none of another
    user's can be ended. But all of ours look gone to another user, which the setting ``user`` keeps from being believed."""

    account: str | None = None

    @property
    def base(self) -> str:
        return "/user/tokens" if self.account is None else f"/accounts/{self.account}/tokens"

    @property
    def cap(self) -> int:
        return 50 if self.account is None else 500

    @property
    def kind(self) -> str:
        return "user" if self.account is None else "account"

    @property
    def minting(self) -> str:
        """The permission that makes and ends them."""
        return "API Tokens Write" if self.account is None else "Account API Tokens Write"

    def __str__(self) -> str:
        return "the user" if self.account is None else f"account {self.account}"

    def ref(self, token: str) -> str:
        return f"user/{token}" if self.account is None else f"account/{self.account}/{token}"

    def parsed(self, ref: str) -> tuple[Family, str]:
        """The family and the token's id that a ref names; one without a family is of this one. Raises Invalid."""
        parts = ref.split("/")
        match parts:
            case [token]:
                family = self
            case ["user", token]:
                family = Family()
            case ["account", account, token] if _is_id(account):
                family = Family(account)
            case _:
                token = ""
        if not _is_id(token):
            raise Invalid("a ref at Cloudflare is user/TOKEN_ID or account/ACCOUNT_ID/TOKEN_ID")
        return family, token


def _is_id(text: str) -> bool:
    return len(text) == 32 and all(letter in "0123456789abcdef" for letter in text)


class Cloudflare:
    """The API under one token of ours. Thread-safe; keeps no connection, and the token not either."""

    def __init__(
        self,
        settings: CloudflareSettings,
        surroundings: Surroundings,
        clock: Clock | None = None,
        outgoing: Outgoing | None = None,
    ) -> None:
        self._settings = settings
        self._secret = surroundings.secret
        self._clock = clock or SystemClock()
        self._now = surroundings.now
        self._outgoing = outgoing or Outgoing(
            Guard(settings.allow_private, tuple(settings.allow_networks), settings.allow_http),
            Limits(
                connect_seconds=min(5.0, settings.timeout),
                read_seconds=settings.timeout,
                total_seconds=settings.timeout,
                body_bytes=MOST_BYTES,
            ),
            clock=self._clock,
            ca_file=settings.ca_file,
        )
        self._lock = threading.Lock()
        self._blocked: tuple[datetime, datetime] | None = None  # since, until
        self._sent = 0
        self._kind = ""  # of our own token when it was used last: user, account, or "" where that is not known

    def under(self, surroundings: Surroundings) -> Cloudflare:
        """The same API under another token."""
        return Cloudflare(self._settings, surroundings, self._clock, self._outgoing)

    def principal(self) -> str:
        """Whose quota our requests use. All that a user does counts together, and few tokens are told which user theirs is: all
        those that are not configured are taken for one, and a token for a user's until it is seen to be an account's."""
        if self._kind == "account" and self._settings.account_id is not None:
            return f"cloudflare account {self._settings.account_id}"
        return f"cloudflare user {self._settings.user or 'unnamed'}"

    def seen(self, family: Family) -> None:
        """Our own token is one of these."""
        self._kind = family.kind

    def mark(self) -> str:
        """By which our own token is known again, without keeping it."""
        return hashlib.sha256(self._own().encode()).hexdigest()

    def form(self) -> Form:
        """What our own token is by its looks."""
        return recognise(self._own())

    def calls(self) -> Calls:
        """The requests of one method of a plugin: together they stay below ``timeout`` seconds."""
        return Calls(self, self._clock.monotonic() + self._settings.timeout)

    def sent(self) -> int:
        """How many requests were counted against our quota since this was asked last."""
        with self._lock:
            count, self._sent = self._sent, 0
            return count

    def exchange(
        self, method: str, path: str, query: Query, body: JsonMap | None, token: str | None, deadline: float
    ) -> Answer:
        """One request with this token, or with ours (None); the answer as it is. Raises Retryable when none came, and while
        Cloudflare is known to answer nothing."""
        ours = token is None
        counts = ours or self._settings.family.account is None  # all tokens of one user share one quota
        if counts:
            self._refuse_while_blocked()
        value = self._own() if token is None else token
        if ours and (kind := recognise(value).kind) in _KINDS:
            self._kind = kind
        headers = {"Authorization": f"Bearer {value}", "Accept": "application/json"}
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, separators=(",", ":")).encode()
        url = self._settings.endpoint.rstrip("/") + quote(path, safe="/") + (f"?{urlencode(query)}" if query else "")
        if deadline - self._clock.monotonic() < 0.02:
            raise Retryable(f"Cloudflare did not answer everything within {self._settings.timeout:g} s")
        with self._lock:
            self._sent += counts
        response = self._outgoing.request(method, url, body=data, headers=headers, deadline=deadline)
        answer = Answer(response.status, None if response.truncated else parsed(response.body), response.retry_after)
        if answer.status == 429 and counts:
            self._block(answer)
        return answer

    def _own(self) -> str:
        value = self._secret(self._settings.token).strip()
        if not value.isascii() or not value.isprintable() or " " in value or not value:
            raise Invalid("the token that rotatord itself uses at Cloudflare is empty, or holds what no token holds")
        return value

    def _refuse_while_blocked(self) -> None:
        now = self._now()
        with self._lock:
            blocked = self._blocked
        if blocked is not None and blocked[0] <= now < blocked[1]:
            left = (blocked[1] - now).total_seconds()
            raise Retryable(
                f"Cloudflare's quota is overrun: it answers nothing for {left:.0f} s, and is not asked", retry_after=left
            )

    def _block(self, answer: Answer) -> None:
        now = self._now()
        asked = timedelta(seconds=wait_of(answer) or 0.0)
        with self._lock:
            self._blocked = now, now + min(asked, _LONGEST_BLOCK)


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests that share one deadline."""

    client: Cloudflare
    deadline: float

    def send(self, method: str, path: str, query: Query = (), body: JsonMap | None = None, token: str | None = None) -> Answer:
        """The answer as it is."""
        return self.client.exchange(method, path, query, body, token, self.deadline)

    def ask(self, method: str, path: str, query: Query = (), body: JsonMap | None = None) -> Any:
        """The result, as ourselves. Raises our errors."""
        return _result(self.send(method, path, query, body), f"{method} {path}")

    def get(self, path: str, query: Query = ()) -> JsonMap:
        return self.thing("GET", path, query)

    def thing(self, method: str, path: str, query: Query = (), body: JsonMap | None = None) -> JsonMap:
        """A result that is one object with an id. Raises Retryable for anything else: what was done is not known then."""
        return thing_of(self.send(method, path, query, body), f"{method} {path}")

    def single(self, path: str, query: Query = ()) -> list[JsonMap]:
        """A list that comes as one page, whatever its length."""
        page = _page(self.send("GET", path, query), path)
        if page.total is not None and page.total != len(page.rows):
            raise Retryable(f"Cloudflare gave {len(page.rows)} of {page.total} to GET {path}: {NOT_UNDERSTOOD}")
        return page.rows

    def some(self, path: str, query: Query = ()) -> list[JsonMap]:
        """The first page, for who only needs examples."""
        return _page(self.send("GET", path, (*query, ("per_page", PAGE))), path).rows

    def pages(self, path: str, query: Query = ()) -> list[JsonMap]:
        """A whole list, newest first. That order tells whether it is whole although it changes meanwhile: what is made comes
        in front and pushes a row to the next page, where it is seen twice; what is ended makes the total smaller. Where both
        happen they cancel out, and no row of before is missed. Raises Retryable for anything but a whole list."""
        found: dict[str, JsonMap] = {}
        first: int | None = None
        for number in range(1, MOST_PAGES + 1):
            asked = (*query, ("direction", "desc"), ("page", number), ("per_page", PAGE))
            page = _page(self.send("GET", path, asked), path)
            if page.total is None:
                raise Retryable(f"Cloudflare did not say how many there are at GET {path}: {NOT_UNDERSTOOD}")
            before = len(found)
            found.update({str(row["id"]): row for row in page.rows})
            if first not in (None, page.total) or len(found) != before + len(page.rows):
                raise Retryable(f"the list at GET {path} changed while it was read; it is read again")
            first = page.total
            if len(found) >= page.total:
                break
            if len(page.rows) < page.size:
                raise Retryable(f"Cloudflare gave {len(found)} of {page.total} to GET {path}: {NOT_UNDERSTOOD}")
        if len(found) != first:
            raise Retryable(f"Cloudflare gave {len(found)} of {first} to GET {path}, more or less than it said")
        return list(found.values())

    def total(self, path: str) -> int:
        """How many there are, by asking for the smallest page."""
        page = _page(self.send("GET", path, (("page", 1), ("per_page", 5))), path)
        if page.total is None:
            raise Retryable(f"Cloudflare did not say how many there are at GET {path}: {NOT_UNDERSTOOD}")
        return page.total


def _result(answer: Answer, what: str) -> Any:
    if not answer.good or answer.body is None:
        raise error_of(answer, what)
    return answer.body.get("result")


def thing_of(answer: Answer, what: str) -> JsonMap:
    """One object with an id. Raises our errors, Retryable for anything else: what was done is not known then."""
    result = _result(answer, what)
    if not isinstance(result, Mapping) or not isinstance(result.get("id"), str) or not result["id"]:
        raise Retryable(f"Cloudflare's answer to {what} has no id: {NOT_UNDERSTOOD}")
    return dict(result)


@dataclass(frozen=True, slots=True)
class _Page:
    """``total``: how many there are in all, where that is said. ``size``: the most that a page holds."""

    rows: list[JsonMap]
    total: int | None
    size: int


def _page(answer: Answer, path: str) -> _Page:
    """One page of a list. Raises our errors."""
    if not answer.good or answer.body is None:
        raise error_of(answer, f"GET {path}")
    rows, info = answer.body.get("result"), answer.body.get("result_info") or {}
    if (
        not isinstance(rows, list)
        or not all(isinstance(row, dict) and row.get("id") for row in rows)
        or not isinstance(info, dict)
    ):
        raise Retryable(f"Cloudflare gave no list to GET {path}: {NOT_UNDERSTOOD}")
    count, size, total = (
        value if isinstance(value := info.get(key), int) else None for key in ("count", "per_page", "total_count")
    )
    if count is not None and count != len(rows):
        raise Retryable(f"Cloudflare gave {len(rows)} rows of a page of {count} to GET {path}: {NOT_UNDERSTOOD}")
    return _Page(rows, total, size or PAGE)


def parsed(body: bytes) -> Mapping[str, Any] | None:
    """An answer's body; None where it is not in the API's form."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("success"), bool) else None
