"""How Cloudflare says no: status, code and words, as they were seen in the wild.

Where nobody has written down what the real one answers, the entry says so: ``guessed``. Nothing should hang on those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """One answer of the API. ``chain``: codes below the one on top, as older services send them."""

    status: int
    code: int
    message: str
    chain: tuple[tuple[int, str], ...] = ()
    guessed: bool = False


class Refused(Exception):
    """The answer to a request is an error. ``why`` is the truth, which the caller is not told."""

    def __init__(self, said: Said, why: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{said.status} {said.code}: {said.message}")
        self.said = said
        self.why = why or said.message
        self.headers = dict(headers or {})


_HEADERS = "Invalid request headers"

SAID: Mapping[str, Said] = {
    # who are you
    "no credentials": Said(400, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers"),
    "no credentials, verify": Said(400, 1001, 'Missing "Authorization" header'),
    "malformed token": Said(400, 6003, _HEADERS, ((6111, "Invalid format for Authorization header"),)),
    "malformed email": Said(400, 6003, _HEADERS, ((6102, "Invalid format for X-Auth-Email header"),)),
    "malformed key": Said(400, 6003, _HEADERS, ((6103, "Invalid format for X-Auth-Key header"),)),
    "malformed email and key": Said(
        400,
        6003,
        _HEADERS,
        ((6102, "Invalid format for X-Auth-Email header"), (6103, "Invalid format for X-Auth-Key header")),
    ),
    "unknown key": Said(403, 9103, "Unknown X-Auth-Key or X-Auth-Email"),
    "invalid token, verify": Said(401, 1000, "Invalid API Token"),
    "invalid token": Said(403, 9109, "Invalid access token"),
    "invalid token, platform": Said(401, 10000, "Authentication error"),
    "unable to authenticate": Said(403, 10001, "Unable to authenticate request"),
    "authentication failed": Said(400, 9106, "Authentication failed (status: 400)"),
    "too many failures": Said(403, 10502, "Too many authentication failures. Please try again later."),
    # not with this one
    "wrong address": Said(403, 9109, "Cannot use the access token from location: {address}"),
    "not a user": Said(403, 9109, "Valid user-level authentication not found"),
    "no permission": Said(403, 9109, "Unauthorized to access requested resource"),
    "no permission, platform": Said(403, 10000, "Authentication error"),
    "authorization failure": Said(
        403,
        10002,
        "Authorization Failure: The authentication credentials are not authorized to perform the request.",
    ),
    "accounts of an account": Said(400, 1001, "List accounts endpoint does not support account owned tokens."),
    "page rules of an account": Said(400, 1011, "Page Rules endpoint does not support account owned tokens"),
    "api access off": Said(403, 9109, "API access is disabled for this account", guessed=True),
    "not on this plan": Said(403, 1015, "This setting needs an Enterprise account", guessed=True),
    # what is asked of tokens
    "reused policy": Said(400, 1001, "Reusing existing policies is not supported by token creation"),
    "not nested": Said(400, 1001, "Must specify a zone for account owned tokens, or nest zone under specific account resource"),
    "not in common": Said(400, 1001, 'Failed common permission check against resources. (Permission group: "{group}")'),
    "bad input": Said(400, 1001, "{problem}", guessed=True),
    "quota": Said(400, 1002, "You have reached the maximum number of API tokens: {most}", guessed=True),
    "no such token": Said(404, 1003, "API Token not found", guessed=True),
    # anywhere
    "no route": Said(404, 7003, "Could not route to {path}, perhaps your object identifier is invalid?"),
    "no such URI": Said(404, 7000, "No route for that URI"),
    "wrong method": Said(405, 7001, "Method {method} not available for that URI."),
    "not json": Said(400, 6007, "Malformed JSON in request body"),
    "wrong content type": Said(400, 6006, "Request body is invalid."),
    "bad page": Said(400, 1004, "Invalid value for {name}", guessed=True),
    # products
    "no such record": Said(404, 81044, "Record does not exist."),
    "same record": Said(400, 81058, "An identical record already exists."),
    "invalid record": Said(400, 1004, "DNS Validation Error", ((9005, "Content for A record is invalid."),)),
    "no such script": Said(404, 10007, "This Worker does not exist on your account."),
    "no such bucket": Said(404, 10006, "The specified bucket does not exist."),
    "storage is off": Said(403, 10042, "Please enable R2 through the Cloudflare Dashboard."),
    "bad purge": Said(400, 1012, 'Request must contain one of "purge_everything" or "files" or "tags"'),
    # too much, or broken
    "too many requests": Said(
        429,
        971,
        "More than {most} requests per {seconds} seconds reached. Please wait and consider throttling your request speed",
    ),
    "rate limited": Said(429, 10429, "Rate limited. Please wait and consider throttling your request speed."),
    "internal": Said(500, 10013, "An unknown error has occurred."),
    "unavailable": Said(503, 10013, "Service temporarily unavailable"),
    "timed out": Said(504, 10013, "The request timed out"),
}


def refused(what: str, why: str = "", **words: object) -> Refused:
    """The refusal of this name, with its words filled in."""
    said = SAID[what]
    message = said.message.format(**words) if words else said.message
    return Refused(Said(said.status, said.code, message, said.chain, said.guessed), why or what)
