"""Asking consumers which version they run on: ``GET /.well-known/rotatord``, for every consumer and check that does so.

An answer maps credentials to a label, to an object with more facts, or to a list of such objects (one per instance):
``{"dns-writer": "7-1f0c9a2e"}`` · ``{"dns-writer": {"version": "7-1f0c9a2e", "refused": "8-…", "instance": "web-1",
"status": "ok", "proof": "<hex>"}}``. What is missing or malformed counts as unknown, never as a version.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import field_validator, model_validator

from rotatord.clock import Clock, Ids, RandomIds, SystemClock
from rotatord.errors import Retryable
from rotatord.http import Outgoing, OutgoingSettings, Resolver, check_url, resolve, shown
from rotatord.ports import Instance, Published

WELL_KNOWN = "/.well-known/rotatord"
MAX_INSTANCES = 512
_AT_ONCE = 16
_LABEL_LENGTH = 200


class Attest(OutgoingSettings):
    """The ``attest`` setting: a URL, or an object that says where every instance answers. ``timeout``: seconds for all."""

    url: str | None = None  # one instance
    urls: tuple[str, ...] = ()  # one each
    resolve: str | None = None  # a URL whose name has one address per instance (a headless service)
    credential: str | None = None  # the name in the answers, where it is not the credential's own
    possession: bool = False  # a version counts only with proof that the instance holds the secret

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @field_validator("url", "resolve")
    @classmethod
    def _good_url(cls, value: str | None) -> str | None:
        return None if value is None else check_url(value)

    @field_validator("urls")
    @classmethod
    def _good_urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_url(url) for url in value)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum((self.url is not None, bool(self.urls), self.resolve is not None)) != 1:
            raise ValueError("say where to ask with exactly one of url, urls and resolve")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """What one instance said of one credential."""

    instance: Instance
    status: str | None = None  # "ok", or what is wrong
    proof: str = ""


class Attestor:
    """Asks all instances at once. Thread-safe; read-only."""

    def __init__(
        self, settings: Attest, *, resolver: Resolver = resolve, clock: Clock | None = None, ids: Ids | None = None
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._outgoing: Outgoing = settings.outgoing(resolver=resolver, clock=self._clock)
        self.possession = settings.possession
        self.timeout = settings.timeout + 1.0  # the settings bound all answers together; a little for our own work

    def instances(self, published: Published) -> list[Instance]:
        """Every instance with what it attests. Raises Retryable if one of them cannot be asked."""
        return [attested.instance for attested in self.ask(published)]

    def ask(self, published: Published) -> list[Attested]:
        """As :meth:`instances`, with the status that each reports."""
        nonce = self._ids.new("nonce").encode() if self.possession else b""
        deadline = self._clock.monotonic() + self._settings.timeout
        places = self._places()

        def one(place: tuple[str, str | None]) -> list[Attested]:
            return self._ask_one(place[0], place[1], published, nonce, deadline)

        if len(places) == 1:
            answers = [one(places[0])]
        else:
            with ThreadPoolExecutor(min(_AT_ONCE, len(places)), thread_name_prefix="attest") as pool:
                answers = list(pool.map(one, places))
        return distinct([attested for answer in answers for attested in answer])

    def _places(self) -> list[tuple[str, str | None]]:
        settings = self._settings
        if settings.resolve is None:
            return [(url, None) for url in settings.urls or (settings.url or "",)]
        parts = urlsplit(settings.resolve)
        encrypted = parts.scheme == "https"
        port = parts.port or (443 if encrypted else 80)
        addresses = self._outgoing.addresses(parts.hostname or "", port, encrypted=encrypted)
        if len(addresses) > MAX_INSTANCES:
            raise Retryable(f"{parts.hostname} has {len(addresses)} addresses; at most {MAX_INSTANCES} are asked")
        return [(settings.resolve, address) for address in addresses]

    def _ask_one(self, url: str, address: str | None, published: Published, nonce: bytes, deadline: float) -> list[Attested]:
        target = endpoint(url, nonce)
        place = address or urlsplit(url).netloc
        if self._clock.monotonic() >= deadline:
            raise Retryable(f"{shown(url)}: not all instances answered in time")
        response = self._outgoing.request("GET", target, address=address, deadline=deadline)
        if response.status != 200 or response.truncated:
            what = "a longer answer than is read" if response.truncated else f"status {response.status}"
            raise Retryable(f"GET {shown(target)}: {what}", retry_after=response.retry_after)
        try:
            answer = json.loads(response.body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise Retryable(f"GET {shown(target)}: the answer is not a JSON object")
        entry = answer.get(self._settings.credential or published.credential)
        found = parse(entry, place)
        return [replace(one, instance=self._proven(one, published, nonce)) for one in found]

    def _proven(self, attested: Attested, published: Published, nonce: bytes) -> Instance:
        """The instance, its version withdrawn where it names the published one without proof that it holds it."""
        instance = attested.instance
        if not self.possession or instance.version != published.label:
            return instance
        expected = published.possession(nonce) if published.possession else ""
        if expected and hmac.compare_digest(attested.proof.encode(), expected.encode()):
            return instance
        return replace(instance, version=None)


def endpoint(url: str, nonce: bytes = b"") -> str:
    """Where to ask: the URL itself, with the well-known path where it has none, and the nonce where there is one."""
    parts = urlsplit(url)
    path = parts.path if parts.path not in {"", "/"} else WELL_KNOWN
    query = "&".join(part for part in (parts.query, f"nonce={nonce.hex()}" if nonce else "") if part)
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def parse(entry: Any, place: str) -> list[Attested]:
    """What an answer says of one credential. Never empty but for an empty list: who cannot tell is unknown."""
    if isinstance(entry, list):
        return [_one(item, f"{place}#{number}") for number, item in enumerate(entry[:MAX_INSTANCES], start=1)]
    return [_one(entry, place)]


def distinct(found: Sequence[Attested]) -> list[Attested]:
    """The same with ids made distinct, so that two copies that call themselves alike are not taken for one."""
    seen: dict[str, int] = {}
    result = []
    for attested in found:
        name = attested.instance.id
        seen[name] = seen.get(name, 0) + 1
        fresh = name if seen[name] == 1 else f"{name}#{seen[name]}"
        result.append(replace(attested, instance=replace(attested.instance, id=fresh)))
    return result


def _one(entry: Any, place: str) -> Attested:
    if isinstance(entry, str):
        entry = {"version": entry}
    if not isinstance(entry, dict):
        return Attested(instance=Instance(id=place))
    instance = Instance(
        id=_text(entry.get("instance")) or place, version=_text(entry.get("version")), refused=_text(entry.get("refused"))
    )
    return Attested(instance=instance, status=_text(entry.get("status")), proof=_text(entry.get("proof")) or "")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LABEL_LENGTH and value.isprintable() else None
