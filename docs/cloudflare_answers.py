"""What Cloudflare's API may answer, and what becomes of it: the table of the manual, and of the test that gives each of them.

Codes and words are those seen in its documentation, its SDKs and reports of users.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from rotatord.cloudflare_client import parsed
from rotatord.cloudflare_errors import Answer, error_of, verdict_of

ASKED = "GET /user/tokens"


@dataclass(frozen=True, slots=True)
class Row:
    """``ours``: the error that it is as the answer to a request of our own. ``probed``: the verdict where a token under probe
    was to be verified; "" where that is no answer to it."""

    status: int
    said: tuple[tuple[int, str], ...]
    ours: str
    probed: str
    raw: str | None = None  # the body, where it is not an error of the API's own form
    chain: tuple[tuple[int, str], ...] = ()
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> str:
        if self.raw is not None:
            return self.raw
        errors: list[dict[str, Any]] = [{"code": code, "message": message} for code, message in self.said]
        if self.chain:
            errors[0]["error_chain"] = [{"code": code, "message": message} for code, message in self.chain]
        return json.dumps({"success": False, "errors": errors, "messages": [], "result": None})

    @property
    def answer(self) -> Answer:
        wait = self.headers.get("retry-after")
        return Answer(self.status, parsed(self.body.encode()), float(wait) if wait else None)

    @property
    def shown(self) -> str:
        """In the table."""
        if self.raw is not None:
            return self.raw if len(self.raw) < 60 else f"{self.raw[:57]}..."
        return "; ".join(f"{code} {message}" for code, message in (*self.said, *self.chain))


def _says(status: int, code: int, message: str, ours: str, probed: str, **more: Any) -> Row:
    return Row(status, ((code, message),), ours, probed, **more)


def _raw(status: int, body: str, ours: str, probed: str = "inconclusive", **more: Any) -> Row:
    return Row(status, (), ours, probed, body, **more)


_WAIT = {"retry-after": "300"}
_HEADERS = "Invalid request headers"
_HTML = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_DONE = '{"success":true,"errors":[],"messages":[],'
ANSWERS: tuple[Row, ...] = (
    # who asks
    _says(401, 1000, "Invalid API Token", "Retryable", "refused"),
    _says(401, 10000, "Authentication error", "Retryable", "inconclusive"),
    _says(403, 10000, "Authentication error", "Denied", "inconclusive"),
    _says(400, 10000, "Authentication error", "Denied", "inconclusive"),
    _says(403, 9109, "Invalid access token", "Retryable", "inconclusive"),
    _says(403, 9109, "Cannot use the access token from location: 198.51.100.7", "Denied", "inconclusive"),
    _says(403, 9109, "Unauthorized to access requested resource", "Denied", "inconclusive"),
    _says(403, 9109, "Valid user-level authentication not found", "Denied", "inconclusive"),
    _says(400, 6003, _HEADERS, "Denied", "refused", chain=((6111, "Invalid format for Authorization header"),)),
    _says(400, 6003, _HEADERS, "Denied", "refused", chain=((6103, "Invalid format for X-Auth-Key header"),)),
    _says(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers", "Denied", "inconclusive"),
    _says(403, 9103, "Unknown X-Auth-Key or X-Auth-Email", "Denied", "inconclusive"),
    _says(403, 10001, "Unable to authenticate request", "Denied", "inconclusive"),
    _says(
        403,
        10002,
        "Authorization Failure: The authentication credentials are not authorized to perform the request.",
        "Denied",
        "inconclusive",
    ),
    _says(403, 10502, "Too many authentication failures. Please try again later.", "Retryable", "inconclusive"),
    # what is asked for
    _says(
        400, 1001, 'Failed common permission check against resources. (Permission group: "DNS Write")', "Denied", "inconclusive"
    ),
    _says(
        400,
        1001,
        "Must specify a zone for account owned tokens, or nest zone under specific account resource",
        "Invalid",
        "inconclusive",
    ),
    _says(400, 1001, "List accounts endpoint does not support account owned tokens.", "Invalid", "inconclusive"),
    _says(400, 1001, "Reusing existing policies is not supported by token creation", "Invalid", "inconclusive"),
    _says(400, 1001, "effect must be allow or deny", "Invalid", "inconclusive"),
    _says(400, 1002, "You have reached the maximum number of API tokens: 50", "Conflict", "inconclusive"),
    _says(403, 1002, "Account API token quota exceeded: limit of 500 tokens", "Conflict", "inconclusive"),
    _says(400, 6007, "Malformed JSON in request body", "Invalid", "inconclusive"),
    _says(400, 6006, "Request body is invalid.", "Invalid", "inconclusive"),
    _says(400, 1004, "Invalid value for per_page", "Invalid", "inconclusive"),
    _says(404, 1003, "API Token not found", "NotFound", "inconclusive"),
    _says(404, 7003, "Could not route to /user/token, perhaps your object identifier is invalid?", "Invalid", "inconclusive"),
    _says(404, 7000, "No route for that URI", "Invalid", "inconclusive"),
    _says(405, 7001, "Method PATCH not available for that URI.", "Invalid", "inconclusive"),
    _says(409, 1009, "Resource was changed by another request", "Conflict", "inconclusive"),
    _says(410, 1003, "API Token was deleted", "NotFound", "inconclusive"),
    _says(412, 1009, "Precondition failed", "Conflict", "inconclusive"),
    _says(422, 1001, "expires_on lies in the past", "Invalid", "inconclusive"),
    # too much
    _says(
        429,
        971,
        "More than 1200 requests per 300 seconds reached. Please wait and consider throttling your request speed",
        "Retryable",
        "inconclusive",
        headers=_WAIT,
    ),
    _says(429, 10429, "Rate limited. Please wait and consider throttling your request speed.", "Retryable", "inconclusive"),
    _says(400, 971, "Please wait and consider throttling your request speed", "Retryable", "inconclusive"),
    _raw(429, "error code: 1015", "Retryable", headers=_WAIT),
    # broken
    _says(408, 0, "Request timeout", "Retryable", "inconclusive"),
    _says(500, 10013, "An unknown error has occurred.", "Retryable", "inconclusive"),
    _says(503, 10013, "Service temporarily unavailable", "Retryable", "inconclusive"),
    _says(504, 10013, "The request timed out", "Retryable", "inconclusive"),
    _raw(502, _HTML, "Retryable"),
    _raw(520, "error code: 520", "Retryable"),
    _raw(403, "<html><title>Attention Required! | Cloudflare</title></html>", "Retryable"),
    _raw(404, _HTML, "Retryable"),
    _raw(301, "", "Retryable"),
    # not what was promised
    _raw(200, "", "Retryable"),
    _raw(200, _HTML, "Retryable"),
    _raw(200, '{"success":true,"result":[{"id":"0123', "Retryable"),
    _raw(200, '["success"]', "Retryable"),
    _raw(200, '{"ok":true}', "Retryable"),
    _raw(200, '{"success":"yes","result":null}', "Retryable"),
    _raw(200, '{"success":false,"errors":[],"messages":[],"result":null}', "Retryable"),
    _raw(200, '{"success":false,"errors":null,"result":null}', "Retryable"),
    _raw(
        200,
        '{"success":false,"errors":[{"code":"1000","message":"Invalid API Token"}],"result":null}',
        "Retryable",
        "inconclusive",
    ),
)
# Good by status and form, and yet not a list: of these the client itself says that it is none.
LISTS: tuple[tuple[str, str], ...] = (
    ("no list", _DONE + '"result":null}'),
    ("an object", _DONE + '"result":{"id":"00000000000000000000000000000000"}}'),
    ("rows that are none", _DONE + '"result":["a"],"result_info":{"page":1,"per_page":50,"count":1,"total_count":1}}'),
    ("rows without ids", _DONE + '"result":[{"name":"a"}],"result_info":{"page":1,"per_page":50,"count":1,"total_count":1}}'),
    ("no count", _DONE + '"result":[]}'),
    ("fewer rows than counted", _DONE + '"result":[],"result_info":{"page":1,"per_page":50,"count":2,"total_count":2}}'),
    ("fewer rows than there are", _DONE + '"result":[],"result_info":{"page":1,"per_page":50,"count":0,"total_count":2}}'),
    (
        "more rows than there are",
        _DONE + '"result":[{"id":"a"},{"id":"b"}],"result_info":{"page":1,"per_page":50,"count":2,"total_count":1}}',
    ),
    (
        "one row twice",
        _DONE + '"result":[{"id":"a"},{"id":"a"}],"result_info":{"page":1,"per_page":50,"count":2,"total_count":2}}',
    ),
)


def table() -> str:
    """The rows of the page."""
    rows = []
    for row in ANSWERS:
        sentence = str(error_of(row.answer, ASKED)).partition(f" to {ASKED}")[2].lstrip(":, ") or str(
            error_of(row.answer, ASKED)
        )
        rows.append(f"| {row.status} | {_cell(row.shown or '(empty)')} | {row.ours} | {row.probed} | {_cell(sentence)} |")
    return "\n".join(
        ["| status | answer | to us | of a token under probe | what is said of it |", "|---|---|---|---|---|", *rows]
    )


def verdict(row: Row) -> str:
    """What a probe makes of it."""
    return "refused" if type(verdict_of(row.answer, ASKED)).__name__ == "RefusedVerdict" else "inconclusive"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
