"""The small HTTP server that the demo's two services are made of: GET requests, JSON answers, loopback only."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from urllib.parse import parse_qs, urlsplit

from rotatord.model import JsonMap

Answer = tuple[int, JsonMap]
Route = Callable[[str, dict[str, str]], Answer]  # the Authorization header and the query

_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 30.0
    server: Web

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        route = self.server.routes.get(parts.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        status, answer = route(self.headers.get("Authorization", ""), query) if route else (404, {"error": "not found"})
        body = json.dumps(answer).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Web(ThreadingMixIn, TCPServer):
    """Serves ``routes`` on a free loopback port, one thread a connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, routes: dict[str, Route]) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.routes = routes

    @property
    def address(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def begin(self) -> None:
        """Serve in a thread of its own."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever hung up has hung up."""


def say(line: str) -> None:
    """To whoever started us."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def hear_signals() -> None:
    """Keep signals for :func:`until_told`. Before any thread is started, which would else be ended by them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def until_told(on_reload: Callable[[], None] | None = None) -> None:
    """Block until SIGTERM, or until whoever started us is gone (our standard input ends). SIGHUP: ``on_reload``."""

    def watch() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    while signal.sigwait(_SIGNALS) == signal.SIGHUP:
        if on_reload is not None:
            on_reload()
