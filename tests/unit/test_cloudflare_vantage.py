"""A pinned token is tried from where it may be used, through a proxy that carries TLS and sees nothing of it."""

from __future__ import annotations

import http.server
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from issuers.cloudflare import CloudflareTokens, create
from rotatord.model import JsonMap
from rotatord.ports import Accepted, Inconclusive, MintRequest, Surroundings
from rotatord.testing.cloudflare import FakeCloudflare, Habits, RunningClock, Wire
from rotatord.testing.silent import closed_port, silent_server
from tests.servers.certificates import Authority

INSIDE, OUTSIDE = "203.0.113.7", "198.51.100.1"
SCOPE: JsonMap = {"permissions": ["Zone.DNS:Edit"], "resources": ["zone/example.com"], "ip_allow": ["203.0.113.0/24"]}


class Plain(http.server.BaseHTTPRequestHandler):
    """Answers for the fake, as seen from inside; as a proxy of http URLs, and behind TLS."""

    cloudflare: FakeCloudflare

    def do_GET(self) -> None:
        path = self.path if self.path.startswith("/") else "/" + self.path.split("/", 3)[3]
        headers = {name.lower(): value for name, value in self.headers.items()} | {"x-forwarded-for": INSIDE}
        reply, _ = self.cloudflare.answer(Wire("GET", path, headers, b""))
        assert reply is not None
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        """Nothing of it is for the test's output."""


class Tunnel(http.server.BaseHTTPRequestHandler):
    """A proxy that only carries bytes, and keeps them to be looked at."""

    port: int
    carried: bytearray

    def do_CONNECT(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as far:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: far, far: self.connection}
            while ready := select.select(list(ends), [], [], 5)[0]:
                for end in ready:
                    part = end.recv(65536)
                    if not part:
                        return
                    self.carried.extend(part)
                    ends[end].sendall(part)

    def log_message(self, *_: object) -> None:
        """Nothing of it is for the test's output."""


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def cloudflare() -> Iterator[FakeCloudflare]:
    with FakeCloudflare(clock=RunningClock(0), habits=Habits(verify="refuses")) as started:
        started.address = OUTSIDE
        yield started


def issuer_of(cloudflare: FakeCloudflare, **more: Any) -> CloudflareTokens:
    around = Surroundings(installation="here", state_dir="", now=cloudflare.clock.now, secret=str)
    settings = {"endpoint": cloudflare.url, "allow_private": True, "account_id": cloudflare.account_id, "timeout": 5.0}
    parent = cloudflare.parent_token("Zone Read")
    return create({**settings, "token": parent.value, **more}, around)


def minted(issuer: CloudflareTokens) -> Any:
    known: dict[str, Any] = {
        "installation": "here",
        "credential": "dns",
        "rotation": "rot_1",
        "generation": 1,
        "parameters": {},
    }
    return issuer.mint(MintRequest(**known, scope=SCOPE), None)


def test_through_a_proxy_inside_its_addresses_it_is_proven(cloudflare: FakeCloudflare) -> None:
    """From here nothing can be told of it; from there it is accepted, with the scope that it was given."""
    handler = type("Here", (Plain,), {"cloudflare": cloudflare})
    with serving(handler) as port:
        there = issuer_of(cloudflare, vantage={"proxy": f"http://127.0.0.1:{port}"})
        made = minted(there)
        here = issuer_of(cloudflare)
        here._refs = there._refs  # it, too, has seen it being made
        assert isinstance(here.probe(made.fields, {"scope": SCOPE}), Inconclusive)
        assert there.probe(made.fields, {"scope": SCOPE}) == Accepted(scope=SCOPE, ref=made.ref)


def test_the_proxy_sees_nothing_of_the_token(cloudflare: FakeCloudflare, tmp_path: Path) -> None:
    """TLS ends at Cloudflare, whose certificate is verified: with another authority nothing is sent."""
    authority = Authority(tmp_path / "ca")
    pair = authority.server("api")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    carried = bytearray()
    issuer = issuer_of(cloudflare)
    made = minted(issuer)
    plain = type("There", (Plain,), {"cloudflare": cloudflare})
    with serving(plain, context) as far:
        tunnel = type("Way", (Tunnel,), {"port": far, "carried": carried})
        with serving(tunnel) as port:
            for known in (authority, Authority(tmp_path / "other")):
                there = issuer_of(
                    cloudflare,
                    vantage={"proxy": f"http://127.0.0.1:{port}"},
                    endpoint=f"https://localhost:{far}/client/v4",
                    ca_file=str(known.file),
                )
                answer = there._vantage.send if there._vantage else None
                assert answer is not None
                path, value = f"/accounts/{cloudflare.account_id}/tokens/verify", made.fields.reveal("token")
                if known is authority:
                    assert answer(path, value).good
                else:
                    with pytest.raises(Exception, match="no answer"):
                        answer(path, value)
    assert carried
    assert value.encode() not in carried


@pytest.mark.parametrize("dead", [closed_port, silent_server])
def test_without_the_proxy_nothing_is_known(dead: Any, cloudflare: FakeCloudflare) -> None:
    """Nobody there, or nobody who answers: inconclusive within the timeout."""
    with dead() as port:
        there = issuer_of(cloudflare, vantage={"proxy": f"http://127.0.0.1:{port}"}, timeout=1.0)
        made = minted(there)
        answer = there.probe(made.fields, {"scope": SCOPE})
        assert isinstance(answer, Inconclusive)
        assert f"http://127.0.0.1:{port}" in answer.why
