"""Consumers that are told over HTTP: one signed message (Standard Webhooks) says that there is a new version to read.

Two kinds of message, both without any secret. ``rotatord.credential.published`` asks to read anew; its ``webhook-id`` is the
same however often it is sent, so that receivers act once. ``rotatord.credential.check`` (only with ``attest: answer``) asks
which version runs; its answer is what ``GET /.well-known/rotatord`` would say of one credential, or ``{"instances": […]}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, field_validator

from rotatord.attest import Attest, Attestor, distinct, parse
from rotatord.clock import Ids, RandomIds
from rotatord.errors import Denied, Invalid, NotFound, OutsideError, Retryable
from rotatord.http import OutgoingSettings, Response, check_url, shown
from rotatord.model import JsonMap
from rotatord.ports import Instance, Published, Surroundings
from rotatord.rights import no_rights
from rotatord.signing import sign

PUBLISHED = "rotatord.credential.published"
CHECK = "rotatord.credential.check"


class Settings(OutgoingSettings):
    """Where to send, and with which secrets to sign: one reference, or several while the signing secret is replaced."""

    url: str
    secret: JsonMap | list[JsonMap]
    attest: Attest | Literal["answer"] | None = Field(default=None, union_mode="left_to_right")
    refresh_within: Any = None  # its value is the engine's; here only whether there is one

    @field_validator("url")
    @classmethod
    def _good_url(cls, value: str) -> str:
        return check_url(value)

    @field_validator("attest", mode="before")
    @classmethod
    def _answer_is_a_word(cls, value: Any) -> Any:
        return Attest.model_validate(value) if value not in (None, "answer") else value

    @field_validator("secret")
    @classmethod
    def _at_least_one(cls, value: JsonMap | list[JsonMap]) -> JsonMap | list[JsonMap]:
        if not value:
            raise ValueError("secret is a reference such as {file: path}, or a list of them")
        return value


class WebhookConsumer:
    """One receiver. Thread-safe; repeats nothing by itself."""

    rights = staticmethod(no_rights)

    def __init__(self, settings: Settings, surroundings: Surroundings, *, ids: Ids | None = None) -> None:
        self._settings = settings
        self._outgoing = settings.outgoing()
        self._resolve_secret: Callable[[JsonMap | str], str] = surroundings.secret
        self._now: Callable[[], datetime] = surroundings.now
        self._ids = ids or RandomIds()
        self._attestor = Attestor(settings.attest) if isinstance(settings.attest, Attest) else None
        self.possession = self._attestor is not None and self._attestor.possession
        self.timeout = max(settings.timeout + 1.0, self._attestor.timeout if self._attestor else 0.0)
        self.evidence = "attestation" if settings.attest else "polling" if settings.refresh_within else "none"

    def reload(self, published: Published) -> None:
        self._send(PUBLISHED, published.token, published)

    def instances(self, published: Published) -> Sequence[Instance]:
        if self._attestor:
            return self._attestor.instances(published)
        if self._settings.attest is None:
            return [Instance(id=shown(self._settings.url))]
        response = self._send(CHECK, self._ids.new("msg"), published)
        return read_answer(response, shown(self._settings.url))

    def _send(self, kind: str, id: str, published: Published) -> Response:
        now = self._now()
        data = {
            "credential": published.credential,
            "version": published.label,
            "rotation": published.rotation,
            "published_at": published.at.isoformat(),
        }
        body = json.dumps({"type": kind, "timestamp": now.isoformat(), "data": data}, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", **sign_with(id, now, body, self._secrets())}
        response = self._outgoing.request("POST", self._settings.url, body=body, headers=headers)
        if not 200 <= response.status < 300:
            raise refusal(response, shown(self._settings.url))
        return response

    def _secrets(self) -> list[str]:
        given = self._settings.secret
        return [self._resolve_secret(reference) for reference in (given if isinstance(given, list) else [given])]


def sign_with(id: str, now: datetime, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """The signature's headers; Invalid, without the value, where a secret is malformed."""
    try:
        return sign(id, now, body, secrets)
    except ValueError as error:
        raise Invalid(str(error)) from None


def refusal(response: Response, where: str) -> OutsideError:
    """The error for an answer that is not a success."""
    status = response.status
    what = f"POST {where}: status {status}"
    if status >= 500 or status in {408, 425, 429}:
        return Retryable(what, retry_after=response.retry_after)
    if status in {401, 403}:
        return Denied(what)
    if status in {404, 410}:
        return NotFound(what)
    return Invalid(f"{what}, a redirect, which is not followed" if 300 <= status < 400 else what)


def read_answer(response: Response, where: str) -> list[Instance]:
    """The instances in the answer to a check. Anything that does not tell is one instance that is unknown."""
    try:
        answer = None if response.truncated else json.loads(response.body)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("instances"), list):
        answer = answer["instances"]
    return [attested.instance for attested in distinct(parse(answer, where))]


def create(settings: JsonMap, surroundings: Surroundings) -> WebhookConsumer:
    """The factory behind the entry point."""
    return WebhookConsumer(Settings.model_validate(settings), surroundings)
