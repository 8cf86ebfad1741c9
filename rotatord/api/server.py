"""The listeners of the API: one thread, one event loop, one uvicorn server per socket.

Who is at the other end is settled here, before any route is looked up, and handed on in the scope's state.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import json
import logging
import os
import socket
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rotatord.api.access import Access, Actor, peer_of
from rotatord.api.app import PROBES
from rotatord.api.settings import Address, ApiSettings, Tls
from rotatord.errors import Refused

log = logging.getLogger(__name__)

BODY_BYTES = 256 * 1024
REQUEST_SECONDS = 30
WORKER_THREADS = 4
_STOP_SECONDS = 3
_NOBODY = Actor("nobody", frozenset())


class PeerProtocol(H11Protocol):
    """HTTP/1.1 that asks the kernel who connected, and hangs up on who connects and says nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {"peer": peer_of(transport.get_extra_info("socket"))}
        self.loop.call_later(REQUEST_SECONDS, self._still_silent)

    def _still_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class _Server(uvicorn.Server):
    """A server that sleeps until told to stop, instead of waking ten times a second to look."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopped = asyncio.Event()

    async def main_loop(self) -> None:
        await self.stopped.wait()


@dataclass(frozen=True, slots=True)
class Door:
    """One listening socket. ``probes_only``: nothing but health and metrics is served there."""

    socket: socket.socket
    tls: Tls | None = None
    probes_only: bool = False


class Gatekeeper:
    """ASGI: lets no request reach a route before it has an actor, and no body that is larger than any command."""

    def __init__(self, app: Any, access: Access, *, probes_only: bool) -> None:
        self._app = app
        self._access = access
        self._probes_only = probes_only

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        actor = self._actor(scope)
        if actor is None:
            await _answer(send, 401, "unauthenticated", "a bearer token that is known here is needed")
            return
        if self._probes_only and scope["path"] not in PROBES:
            await _answer(send, 404, "not_here", "this address serves health and metrics only")
            return
        try:
            body = await asyncio.wait_for(_body(receive), REQUEST_SECONDS)
        except TimeoutError:
            await _answer(send, 408, "too_slow", f"a request is complete within {REQUEST_SECONDS} seconds")
            return
        if body is None:
            await _answer(send, 413, "too_large", f"a request has at most {BODY_BYTES} bytes")
            return
        scope["state"]["actor"] = actor
        await self._app(scope, _once(body, receive), send)

    def _actor(self, scope: Any) -> Actor | None:
        peer = scope["state"].get("peer")
        if peer is not None:
            return self._access.of_peer(peer)
        if self._probes_only:
            return _NOBODY
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        return self._access.of_headers(headers)


async def _body(receive: Any) -> bytes | None:
    """The whole body; None when it is too large."""
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        found += message.get("body", b"")
        if len(found) > BODY_BYTES:
            return None
        if not message.get("more_body"):
            return bytes(found)


def _once(body: bytes, receive: Any) -> Any:
    sent = False

    async def again() -> Any:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _answer(send: Any, status: int, code: str, message: str) -> None:
    body = json.dumps({"code": code, "error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class ApiServer:
    """Serves ``app`` until stopped. ``start`` binds at once, so that a taken address is an error of the caller."""

    def __init__(self, app: Any, access: Access, settings: ApiSettings, state_dir: str) -> None:
        self._app = app
        self._access = access
        self._settings = settings
        self.path = Path(settings.socket or Path(state_dir) / "rotatord.sock")
        self._doors: list[Door] = []
        self._servers: list[_Server] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._up = threading.Event()
        self._identity: tuple[int, int] | None = None

    def start(self) -> None:
        """Bind and serve; returns when requests are answered. Raises OSError or Refused when an address cannot be had."""
        try:
            self._doors = [Door(self._bind_unix())]
            if self._settings.listen is not None:
                self._doors.append(Door(_bind_tcp(self._settings.listen), tls=self._settings.tls))
            if self._settings.probes is not None:
                self._doors.append(Door(_bind_tcp(self._settings.probes), probes_only=True))
        except BaseException:
            self._close()
            raise
        self._thread = threading.Thread(target=self._run, name="api", daemon=True)
        self._thread.start()
        self._up.wait(timeout=10)

    def addresses(self) -> list[Any]:
        """Where it listens: the path of the Unix socket first, then ``(host, port)`` of the others."""
        return [door.socket.getsockname() for door in self._doors]

    def stop(self) -> None:
        """Stop answering; requests in flight get a moment. Idempotent."""
        loop, thread = self._loop, self._thread
        if loop is not None and thread is not None and thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop ended between the question and the call
                loop.call_soon_threadsafe(self._leave)
            thread.join(timeout=_STOP_SECONDS + 2)
        self._close()

    def _leave(self) -> None:
        for server in self._servers:
            server.stopped.set()

    def _close(self) -> None:
        for door in self._doors:
            door.socket.close()
        with contextlib.suppress(OSError):
            seen = self.path.lstat()
            if (seen.st_dev, seen.st_ino) == self._identity:  # a successor may have bound its own by now
                self.path.unlink()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:
            log.exception("the API stopped")
        finally:
            self._up.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        anyio.to_thread.current_default_thread_limiter().total_tokens = WORKER_THREADS
        self._servers = [_Server(self._config(door)) for door in self._doors]
        self._up.set()
        await asyncio.gather(*(server.serve([door.socket]) for server, door in zip(self._servers, self._doors, strict=True)))

    def _config(self, door: Door) -> uvicorn.Config:
        return uvicorn.Config(
            Gatekeeper(self._app, self._access, probes_only=door.probes_only),
            http=PeerProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=_STOP_SECONDS,
            limit_concurrency=64,
            ssl_certfile=door.tls.certificate if door.tls else None,
            ssl_keyfile=door.tls.key if door.tls else None,
        )

    def _bind_unix(self) -> socket.socket:
        _remove_dead_socket(self.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Nobody can connect before listen(), so tightening the mode after bind() opens no gap.
            listener.bind(str(self.path))
            self.path.chmod(int(self._settings.socket_mode, 8))
            if self._settings.socket_group is not None:
                os.chown(self.path, -1, grp.getgrnam(self._settings.socket_group).gr_gid)
            seen = self.path.lstat()
            self._identity = (seen.st_dev, seen.st_ino)
            listener.listen(64)
            listener.setblocking(False)
        except KeyError:
            listener.close()
            raise Refused(f"there is no group {self._settings.socket_group!r} for the socket") from None
        except BaseException:
            listener.close()
            raise
        return listener


def _remove_dead_socket(path: Path) -> None:
    """A socket left by a crash is removed; a living one, or any other file, is somebody's. Raises Refused."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Refused(f"{path} is there and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
        knock.settimeout(1)
        try:
            knock.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise Refused(f"{path} is there and does not answer: {error}") from None
    raise Refused(f"another daemon listens on {path}")


def _bind_tcp(address: Address) -> socket.socket:
    listener = socket.create_server(
        (address.host, address.port), family=socket.AF_INET6 if ":" in address.host else socket.AF_INET, backlog=64
    )
    listener.setblocking(False)
    return listener
