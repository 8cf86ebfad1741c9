"""A way to Vault that remembers every value that Vault gave out: what a leak test has to look for.

It stands on loopback between rotatord and the server and forwards everything as it is.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import urllib3

SECRET_KEYS = ("client_token", "secret_id")
HOP_HEADERS = {"connection", "content-length", "transfer-encoding", "host", "keep-alive"}


class Recording:
    """Where rotatord finds Vault, and the values that passed, each under a name that may be shown. Thread-safe."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.address = ""
        self._lock = threading.Lock()
        self._values: dict[str, str] = {}
        self._to_lose = 0
        self.slow_seconds = 0.0  # how long each request is kept waiting

    @property
    def values(self) -> dict[str, str]:
        """Name and value of everything that was handed out so far."""
        with self._lock:
            return {name: value for value, name in self._values.items()}

    def lose_next_mint(self) -> None:
        """The next answer that hands something out never arrives: its effect stays, the caller sees a dead connection."""
        with self._lock:
            self._to_lose += 1

    def loses(self, content: bytes) -> bool:
        """Whether this answer is the one to be lost."""
        with self._lock:
            if not self._to_lose or not any(key.encode() in content for key in SECRET_KEYS):
                return False
            self._to_lose -= 1
            return True

    def note(self, content: bytes) -> None:
        """Remember what an answer hands out."""
        try:
            answer = json.loads(content)
        except ValueError:
            return
        with self._lock:
            for key, value in _handed_out(answer):
                self._values.setdefault(value, f"{key} {len(self._values) + 1}")


def _handed_out(answer: Any) -> Iterator[tuple[str, str]]:
    for part in ("auth", "data"):
        inside = answer.get(part) if isinstance(answer, dict) else None
        if isinstance(inside, dict):
            yield from ((key, inside[key]) for key in SECRET_KEYS if isinstance(inside.get(key), str) and inside[key])


@contextmanager
def recording(upstream: str) -> Iterator[Recording]:
    """A forwarder on a free port, gone when the block ends."""
    recorder = Recording(upstream)
    pool = urllib3.PoolManager(retries=False, timeout=30.0, maxsize=8)

    class Forward(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP_HEADERS}
            if recorder.slow_seconds:
                threading.Event().wait(recorder.slow_seconds)
            answer = pool.request(self.command, upstream + self.path, body=body, headers=headers, redirect=False)
            recorder.note(answer.data)
            if recorder.loses(answer.data):
                self.close_connection = True
                return
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                if key.lower() not in HOP_HEADERS:
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(answer.data)))
            self.end_headers()
            self.wfile.write(answer.data)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_LIST = _forward  # noqa: N815 -- the names that http.server calls

        def log_message(self, *_: Any) -> None:
            """Say nothing: paths are the server's to log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    server.daemon_threads = True
    recorder.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield recorder
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
        pool.clear()
