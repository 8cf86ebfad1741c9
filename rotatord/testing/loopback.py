"""A real HTTP server on loopback for tests of plugins: it records what it was asked and answers as it is told."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. ``path`` includes the query."""

    method: str
    path: str
    headers: Mapping[str, str]  # lower-case names
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_json(value: Any, status: int = 200) -> Answer:
    """An answer with a JSON body."""
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


class Loopback:
    """Serves while it is entered. ``answer`` may be exchanged at any time; it runs in the server's threads."""

    def __init__(self, answer: Callable[[Asked], Answer] = lambda _: Answer(), host: str = "127.0.0.1", port: int = 0) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self._server = http.server.ThreadingHTTPServer((host, port), self._receiver())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{self._server.server_address[0]!s}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _receiver(self) -> type[http.server.BaseHTTPRequestHandler]:
        outer = self

        class Receiver(http.server.BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body)
                outer.asked.append(asked)
                answer = outer.answer(asked)
                dated = "Date" in answer.headers  # a clock of the test's own
                (self.send_response_only if dated else self.send_response)(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked may have stopped waiting
                    self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _any  # noqa: N815 - names that http.server wants

            def log_message(self, format: str, *arguments: object) -> None:
                """Tests stay quiet."""

        return Receiver
