"""The socket: HTTP on loopback, and the faults that only a connection can have."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
from collections.abc import Callable

from rotatord.testing.wires import CutOff, Dropped, Garbled, Hangs, Late, Reply, Slow, Wire

_MOST_BYTES = 1 << 20  # no request of these services is larger
_PIECES = 10

# The answer, and what its connection has to suffer, of which the socket knows its own part. No answer: hang up.
Answering = Callable[[Wire], tuple[Reply | None, object]]


class Server:
    """Serves a fake on a loopback port until it is stopped. ``name`` is how it calls itself where it fails."""

    def __init__(self, name: str, answering: Answering, port: int = 0) -> None:
        self.ended = threading.Event()  # wakes those who hang
        self._http = _Http(("127.0.0.1", port), name, answering, self.ended)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.ended.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)


class _Http(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], name: str, answering: Answering, ended: threading.Event) -> None:
        self.name = name
        self.answering = answering
        self.ended = ended
        self._open: set[socket.socket] = set()
        super().__init__(address, _Receiver)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        assert isinstance(request, socket.socket)
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._open):  # clients keep theirs open; their threads end with them
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asked has hung up; whatever else fails is answered with 500 and its name."""


class _Receiver(http.server.BaseHTTPRequestHandler):
    """One connection. Its server knows who answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go in two writes, and would wait for each other
    server: _Http

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MOST_BYTES:
            self._write(Reply(413, b""))
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        wire = Wire(self.command, self.path, headers, self.rfile.read(length))
        try:
            reply, fault = self.server.answering(wire)
        except Exception as error:  # noqa: BLE001 - a bug of the fake must show in the test, not hang it
            reply, fault = Reply(500, f"{self.server.name} failed: {type(error).__name__}: {error}".encode()), None
        self._answer(reply, fault)

    do_GET = do_PUT = do_PATCH = do_HEAD = do_DELETE = do_POST  # noqa: N815 - names that http.server wants

    def _answer(self, reply: Reply | None, fault: object) -> None:
        if isinstance(fault, Hangs | Late):
            self.server.ended.wait(fault.seconds if isinstance(fault, Hangs) else fault.held)
        if reply is None or isinstance(fault, Dropped | Hangs):
            self.close_connection = True
            return
        if isinstance(fault, Garbled):
            reply = Reply(fault.status, fault.body, {"Content-Type": fault.content_type})
        self._write(reply, fault)

    def _write(self, reply: Reply, fault: object = None) -> None:
        with contextlib.suppress(OSError):  # who asked may have stopped waiting
            # a fake with a clock of its own says what time it is there
            (self.send_response_only if "Date" in reply.headers else self.send_response)(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if isinstance(fault, CutOff):
                self.wfile.write(reply.body[: len(reply.body) // 2])
                self.close_connection = True
            elif isinstance(fault, Slow):
                self._drip(reply.body, fault.seconds)
            else:
                self.wfile.write(reply.body)

    def _drip(self, body: bytes, seconds: float) -> None:
        step = max(1, len(body) // _PIECES)
        for start in range(0, len(body), step):
            self.server.ended.wait(seconds / _PIECES)
            self.wfile.write(body[start : start + step])
            self.wfile.flush()

    def log_message(self, format: str, *arguments: object) -> None:
        """Tests stay quiet."""
