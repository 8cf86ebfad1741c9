"""Trying a value at Cloudflare: what it is by its looks, and what the API says of it where tokens of its kind are verified.

An account's token is called invalid where a user's are verified, and the other way round. That is no refusal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from rotatord.cloudflare_client import Calls, Family
from rotatord.cloudflare_errors import Answer, error_of, verdict_of
from rotatord.cloudflare_formats import recognise
from rotatord.cloudflare_scope import time_of
from rotatord.cloudflare_tokens import ACTIVE
from rotatord.errors import Retryable
from rotatord.ports import Accepted, Inconclusive, ProbeAnswer, RefusedVerdict

Send = Callable[[str, str], Answer]  # a GET of this path, with this token


@dataclass(frozen=True, slots=True)
class Verify:
    """For tokens of one family. ``account``: the configured one, also where tokens of a user are made; "" for none."""

    family: Family
    account: str = ""

    def by_looks(self, value: str) -> ProbeAnswer | None:
        """What a value's looks alone say, where that is enough."""
        if not value.isascii() or not value.isprintable() or " " in value:
            return RefusedVerdict("this cannot be a token of Cloudflare's")
        kind = recognise(value).kind
        if kind in {"user", "account"} and kind != self.family.kind:
            return self._of_others(kind)
        return None

    def ask(self, calls: Calls, value: str, send: Send | None) -> ProbeAnswer:
        """What Cloudflare says of it; the ref is the token's bare id. ``send``: how to ask, if not directly."""
        direct: Send = lambda path, token: calls.send("GET", path, token=token)  # noqa: E731
        answer = _at(self.family, value, send or direct)
        if isinstance(answer, RefusedVerdict) and recognise(value).kind == "token":  # an old form, which tells no kind
            for other in self._others():
                if isinstance(_at(other, value, send or direct), Accepted):
                    return self._of_others(other.kind)
        return answer

    def _others(self) -> list[Family]:
        if self.family.account is not None:
            return [Family()]
        return [Family(self.account)] if self.account else []

    def _of_others(self, kind: str) -> Inconclusive:
        whose = "an account's" if kind == "account" else "a user's"
        return Inconclusive(f"it is {whose} token, which says nothing among those of {self.family}: another issuer is for it")


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
    return RefusedVerdict(f"it is {result.get('status')}")
