"""The API as an ASGI application: probes at once and cheaply, everything else by routes that are loaded when first asked for.

A daemon that nobody asks anything but "are you well" never pays for a web framework (about 8 MiB).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import anyio.to_thread

from rotatord.api.service import Finding, Service
from rotatord.errors import JournalError
from rotatord.views import plain

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Api:
    """The whole API over one service; who is asking stands in the scope's state, put there by the server."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._routes: Any = None
        self._loading = threading.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] in PROBES and scope["method"] in {"GET", "HEAD"}:
            status, kind, body = await anyio.to_thread.run_sync(self._probe, scope["path"])
            headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
            return
        routes = self._routes or await anyio.to_thread.run_sync(self._loaded)
        await routes(scope, receive, send)

    def _probe(self, path: str) -> tuple[int, str, bytes]:
        try:
            if path == "/metrics":
                return 200, _PROMETHEUS, self._service.metrics()
            found = self._service.alive() if path == "/healthz" else self._service.ready()
        except JournalError as error:
            found = (Finding(subject="journal", ok=False, detail=str(error)),)
        return _verdict(found)

    def _loaded(self) -> Any:
        with self._loading:
            if self._routes is None:
                from rotatord.api.routes import create_routes  # noqa: PLC0415 - the point of this module

                self._routes = create_routes(self._service)
        return self._routes


def _verdict(found: Sequence[Finding]) -> tuple[int, str, bytes]:
    ok = all(finding.ok for finding in found)
    return 200 if ok else 503, _JSON, json.dumps({"ok": ok, "findings": plain(found)}).encode()


def create_app(service: Service) -> Api:
    """The API over a service."""
    return Api(service)
