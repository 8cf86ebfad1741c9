"""Trying a value at Cloudflare: what it is by its looks, and what the API says of it where tokens of its kind are verified.

An account's token is called invalid where a user's are verified, and the other way round. That is no refusal: it is asked for
where it belongs, so that whatever a destination holds can be taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from rotatord.cloudflare_client import Family
from rotatord.cloudflare_errors import Answer, error_of, verdict_of
from rotatord.cloudflare_formats import recognise
from rotatord.cloudflare_scope import time_of
from rotatord.cloudflare_tokens import ACTIVE, DISABLED, EXPIRED, REVOKED
from rotatord.errors import Retryable
from rotatord.ports import Accepted, Inconclusive, ProbeAnswer, RefusedVerdict

Send = Callable[[str, str], Answer]  # a GET of this path, with this token
# Cloudflare calls them malformed where tokens are verified. They may do more than any token, and live.
_KEYS = {"global_key": "a Global API Key", "origin_ca_key": "an Origin CA key"}


@dataclass(frozen=True, slots=True)
class Verify:
    """Tries values, first among the tokens of one family. ``account``: the configured one; "" for none."""

    family: Family
    account: str = ""

    def ask(self, value: str, send: Send) -> tuple[ProbeAnswer, Family]:
        """What Cloudflare says of a value, and whose token it is; the ref is the token's bare id."""
        if not value.isascii() or not value.isprintable() or " " in value:
            return RefusedVerdict("this cannot be a token of Cloudflare's"), self.family
        kind = recognise(value).kind
        if kind in _KEYS:
            return Inconclusive(f"it is {_KEYS[kind]}, which is no token: whether it works cannot be told here"), self.family
        families = self._families(kind)
        if not families:
            return Inconclusive("it is an account's token: only an issuer with its account_id can tell"), self.family
        answers = []
        for family in families:
            answer = _at(family, value, send)
            if isinstance(answer, Accepted):
                return answer, family
            answers.append((answer, family))
        return next((each for each in answers if isinstance(each[0], Inconclusive)), answers[0])

    def _families(self, kind: str) -> list[Family]:
        """Where it may be known. An old value does not say of which kind it is."""
        all_of_them = dict.fromkeys((self.family, Family(), *([Family(self.account)] if self.account else [])))
        return [family for family in all_of_them if kind not in {"user", "account"} or family.kind == kind]


def _at(family: Family, value: str, send: Send) -> ProbeAnswer:
    path = f"{family.base}/verify"
    try:
        answer = send(path, value)
    except Retryable as error:
        return Inconclusive(str(error))
    what = f"GET {path}"
    if not answer.good or answer.body is None:
        verdict = verdict_of(answer, what)
        warning = recognise(value).warning
        return replace(verdict, why=f"{verdict.why}; {warning}") if warning else verdict
    result = answer.body.get("result")
    if not isinstance(result, Mapping) or not isinstance(result.get("id"), str) or not result["id"]:
        return Inconclusive(str(error_of(Answer(answer.status, None), what)))
    if result.get("status") == ACTIVE:
        return Accepted(ref=result["id"], expires_at=time_of(result.get("expires_on")))
    if result.get("status") in {DISABLED, EXPIRED, REVOKED}:
        return RefusedVerdict(f"it is {result['status']}")
    return Inconclusive(f"Cloudflare says that its status is {result.get('status')!r}, which rotatord does not know")
