"""Credentials at the strict Cloudflare under the real engine, in virtual time and without a socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from issuers.cloudflare import CloudflareTokens, create
from rotatord.errors import Retryable
from rotatord.http import Response
from rotatord.ports import LiveRef, Surroundings
from rotatord.secret import Secret
from rotatord.testing.book import Book
from rotatord.testing.cloudflare import CutOff, Dropped, FakeCloudflare, Garbled, Hangs, Held, Weather, Wire
from rotatord.testing.simulator import INSTALLATION
from rotatord.testing.world import World
from tests.integration.every_call import Strikes

ENDPOINT = "http://127.0.0.1:1/client/v4"
ZONE = "example.com"


class Wires:
    """In place of the guarded caller: each request is handed to the fake, past the strikes where there are any."""

    def __init__(self, cloudflare: FakeCloudflare) -> None:
        self.cloudflare = cloudflare
        self.strikes: Strikes | None = None

    def request(
        self, method: str, url: str, *, body: bytes | None = None, headers: Mapping[str, str], deadline: float | None = None
    ) -> Response:
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        name = f"{method} {parts.path.partition('/client/v4')[2].partition('?')[0]}"
        sent = Wire(method, path, {key.lower(): value for key, value in headers.items()}, body or b"")
        if self.strikes is None:
            return self._exchanged(sent, name)
        answer: Response = self.strikes.send(name, lambda: self._exchanged(sent, name), effect=method != "GET")
        return answer

    def _exchanged(self, sent: Wire, name: str) -> Response:
        reply, fault = self.cloudflare.answer(sent)
        if reply is None or isinstance(fault, Dropped | CutOff | Hangs):
            raise Retryable(f"{name}: no answer in time")
        headers = {key.lower(): value for key, value in reply.headers.items()}
        if isinstance(fault, Garbled):
            return Response(fault.status, fault.body, headers)
        return Response(reply.status, reply.body, headers)


class Tokens:
    """What the fakes of a world ask of an issuer, answered by the truth of the strict Cloudflare; consumers really call it."""

    def __init__(self, cloudflare: FakeCloudflare, parent: Held, book: Book) -> None:
        self.cloudflare, self._parent, self.book = cloudflare, parent, book
        self.name = "tokens"
        self.versions: dict[str, Any] = {}
        self.down = False

    def calm(self) -> None:
        """Nothing here is ever out of order by itself."""

    def refs(self) -> list[str]:
        """All tokens that exist but our own, whatever their status."""
        return [
            self._ref(token)
            for token in self.cloudflare.estate.tokens.values()
            if token.grant is not None and token.id != self._parent.id
        ]

    def use(self, secret: Secret) -> bool:
        """Whether its consumer is let in; the weather is ours alone, so that any refusal is our doing."""
        zone, weather = self.cloudflare.zones[ZONE], self.cloudflare.weather
        self.cloudflare.weather = Weather()
        try:
            return self.cloudflare.ask("GET", f"/zones/{zone}/dns_records", token=secret.reveal("token")).status == 200
        finally:
            self.cloudflare.weather = weather

    def live(self, credential: str | None = None) -> list[LiveRef]:
        return [LiveRef(ref=ref) for ref in self.refs()]

    def ref_of(self, secret: Secret) -> str:
        value = secret.reveal("token")
        return next((self._ref(token) for token in self.cloudflare.estate.tokens.values() if token.value == value), "")

    @staticmethod
    def _ref(token: Any) -> str:
        return f"account/{token.owner.id}/{token.id}" if token.owner.kind == "account" else f"user/{token.id}"


def make(world: World, cloudflare: FakeCloudflare, kind: str, **settings: Any) -> tuple[CloudflareTokens, Tokens, Wires]:
    """An issuer of this kind in a world that has a Cloudflare, and what that world may ask of it."""
    parent = cloudflare.parent_token("Zone Read", owner=kind)  # type: ignore[arg-type]
    around = Surroundings(installation=INSTALLATION, state_dir="", now=world.clock.now, secret=str)
    whose = {"account_id": cloudflare.account_id} if kind == "account" else {"user": cloudflare.user_id}
    issuer = create({"token": parent.value, "endpoint": ENDPOINT, "allow_private": True, **whose, **settings}, around)
    wires = Wires(cloudflare)
    issuer._api._outgoing = wires  # type: ignore[assignment]
    return issuer, Tokens(cloudflare, parent, world.book), wires
