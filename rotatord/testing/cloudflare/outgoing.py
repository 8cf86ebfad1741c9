"""Calls of our own clients without a socket: an issuer in a simulation, on the fake's clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from rotatord.errors import Retryable
from rotatord.http import Guard, Outgoing, Response, shown
from rotatord.testing.cloudflare.faults import Fault
from rotatord.testing.wires import CutOff, Dropped, Garbled, Reply, Wire


class InMemory(Outgoing):
    """Asks a fake where others would ask an address: ``answering`` is :meth:`FakeCloudflare.answer`."""

    def __init__(self, answering: Callable[[Wire], tuple[Reply | None, Fault | None]]) -> None:
        super().__init__(Guard())
        self._answering = answering

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        address: str | None = None,
        deadline: float | None = None,
    ) -> Response:
        parts = urlsplit(url)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        reply, fault = self._answering(Wire(method, path, sent, body or b""))
        if reply is None or isinstance(fault, Dropped | CutOff):
            raise Retryable(f"{method} {shown(url)}: no answer ({type(fault).__name__})")
        if isinstance(fault, Garbled):
            reply = Reply(fault.status, fault.body, {"Content-Type": fault.content_type})
        return Response(reply.status, reply.body, {name.lower(): value for name, value in reply.headers.items()})
