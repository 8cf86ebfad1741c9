"""Token introspection over HTTP (RFC 7662) for the built-in issuer: parse, authenticate the caller, answer. No decisions.

One thread per connection, bounded in number; every request has a deadline for its head and body together, and an idle
connection is closed. Nothing is logged: what comes in is secret.
"""

from __future__ import annotations

import contextlib
import hmac
import io
import json
import socket
import socketserver
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

from rotatord.clock import SystemClock
from rotatord.errors import OutsideError, Retryable
from rotatord.model import JsonMap

PATH = "/introspect"
BODY_CAP = 8 * 1024  # bytes

Introspect = Callable[[str, str | None], JsonMap]
_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may cost us."""

    request_seconds: float = 5.0  # from the first line of a request to the end of its body
    idle_seconds: float = 30.0
    connections: int = 256


class Callers:
    """Who may introspect: whoever knows the secret. It is read anew often enough to be rotated itself."""

    FRESH = timedelta(seconds=5)  # an old secret is honoured no longer than this after it was replaced
    IMPATIENT = timedelta(seconds=1)  # a wrong one makes us look again, but not more often than this

    def __init__(self, secret: Callable[[], str], now: Callable[[], datetime]) -> None:
        self._secret = secret
        self._now = now
        self._lock = threading.Lock()
        self._known: tuple[bytes, datetime] | None = None

    def allow(self, header: str | None) -> bool:
        """Raises whatever the reference raises when it cannot be read."""
        scheme, _, offered = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not offered:
            return False
        value = offered.strip().encode("utf-8", "surrogateescape")
        if hmac.compare_digest(value, self._current(self.FRESH)):
            return True
        return hmac.compare_digest(value, self._current(self.IMPATIENT))

    def _current(self, oldest: timedelta) -> bytes:
        with self._lock:
            now = self._now()
            if self._known is None or not timedelta(0) <= now - self._known[1] < oldest:
                self._known = (self._secret().encode(), now)
            return self._known[0]


class _Patient(io.RawIOBase):
    """A socket that is read until ``deadline`` and no longer, however slowly the bytes drip in."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - _CLOCK.monotonic()
        if left <= 0:
            raise TimeoutError("the request took too long")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Conversation(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one segment
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._patient = _Patient(self.connection)
        self.rfile.close()
        self.rfile = io.BufferedReader(self._patient)

    def handle_one_request(self) -> None:
        self._patient.deadline = _CLOCK.monotonic() + self.server.limits.idle_seconds
        super().handle_one_request()

    def parse_request(self) -> bool:
        self._patient.deadline = _CLOCK.monotonic() + self.server.limits.request_seconds
        return super().parse_request()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            super().handle()

    def do_GET(self) -> None:
        self.close_connection = True  # a body, if one came, is not read
        self._answer(405 if self.path == PATH else 404, {"error": "POST a form to /introspect"})

    do_PUT = do_DELETE = do_HEAD = do_PATCH = do_GET  # noqa: N815 - the names that the base class calls

    def do_POST(self) -> None:
        status, answer = self._judge()
        self._answer(status, answer)

    def _judge(self) -> tuple[int, JsonMap]:
        size = self.headers.get("Content-Length", "")
        if not size.isascii() or not size.isdigit() or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            return 411, {"error": "invalid_request"}
        if int(size) > BODY_CAP:
            self.close_connection = True
            return 413, {"error": "invalid_request"}
        body = self.rfile.read(int(size))
        if self.path != PATH:
            return 404, {"error": "POST a form to /introspect"}
        try:
            if not self.server.callers.allow(self.headers.get("Authorization")):
                return 401, {"error": "invalid_client"}
            form = parse_qs(body.decode("ascii"), max_num_fields=8)
            if len(form.get("token", ())) != 1:
                return 400, {"error": "invalid_request"}
            return 200, self.server.introspect(form["token"][0], form.get("ip", [None])[0])
        except ValueError:
            return 400, {"error": "invalid_request"}
        except OutsideError:  # our store or the caller's secret cannot be read: no answer is better than a wrong one
            return 503, {"error": "temporarily_unavailable"}

    def _answer(self, status: int, answer: JsonMap) -> None:
        body = json.dumps(answer, separators=(",", ":")).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        if status == 401:
            self.send_header("WWW-Authenticate", 'Bearer realm="introspection"')
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not logged."""


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, introspect: Introspect, callers: Callers, limits: Limits) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.introspect = introspect
        self.callers = callers
        self.limits = limits
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((host, port), _Conversation)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        with self._lock:
            if len(self._open) >= self.limits.connections:
                return False
            self._open.add(request)
            return True

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().close_request(request)

    def hang_up(self) -> None:
        """Let answers under way go out, and no further question come in."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is the client's affair, and a traceback could quote it."""


class IntrospectionServer:
    """Listens on one address until stopped."""

    def __init__(self, host: str, port: int, introspect: Introspect, callers: Callers, limits: Limits | None = None) -> None:
        try:
            self._server = _Server(host, port, introspect, callers, limits or Limits())
        except OSError as error:
            raise Retryable(f"introspection cannot listen on {host} port {port}: {error.strerror}") from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="introspection", daemon=True
        )
        self._thread.start()

    @property
    def address(self) -> str:
        """The base URL."""
        host, port = self._server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else host
        return f"http://{shown!s}:{port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join(timeout=2.0)
