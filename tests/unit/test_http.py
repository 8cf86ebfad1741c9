"""Guarded outgoing HTTP, against real servers on loopback."""

from __future__ import annotations

import gzip
import http.server
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rotatord.errors import Invalid, Retryable
from rotatord.http import Guard, Limits, Outgoing, OutgoingSettings, check_url, kind_of, shown

LOCAL = Guard(allow_private=True)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Seen: yes\r\n\r\nok"


@contextmanager
def serving(answer: Callable[[socket.socket, bytes], None], host: str = "127.0.0.1") -> Iterator[tuple[int, list[bytes]]]:
    """A raw server: reads one request head, calls ``answer``, closes. Yields its port and the heads it saw."""
    heads: list[bytes] = []
    listener = socket.create_server((host, 0))
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    part = connection.recv(4096)
                    if not part:
                        break
                    head += part
                if head:
                    heads.append(head)
                    with suppress(OSError):
                        answer(connection, head)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], heads
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def test_an_answer_is_returned_with_lower_case_headers() -> None:
    """Status, body and headers arrive as they were sent."""
    with serving(lambda c, _: c.sendall(OK)) as (port, _):
        response = Outgoing(LOCAL).request("GET", f"http://127.0.0.1:{port}/x")
    assert (response.status, response.body, response.headers["x-seen"]) == (200, b"ok", "yes")


def test_private_addresses_are_refused_with_the_setting_that_allows_them() -> None:
    """Without allow_private nothing on loopback is called and the message names the setting."""
    with serving(lambda c, _: c.sendall(OK)) as (port, heads):
        with pytest.raises(Invalid, match="allow_private: true"):
            Outgoing(Guard()).request("GET", f"http://127.0.0.1:{port}/")
        assert heads == []


def test_a_named_network_is_allowed() -> None:
    """allow_networks permits exactly the named networks."""
    guard = Guard(allow_networks=(ipaddress.ip_network("127.0.0.0/30"),))
    with serving(lambda c, _: c.sendall(OK)) as (port, _):
        assert Outgoing(guard).request("GET", f"http://127.0.0.1:{port}/").status == 200
        assert Outgoing(guard).reach("127.0.0.1", port)
    assert guard.objection(ipaddress.ip_address("127.0.0.9"), encrypted=True)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("8.8.8.8", "public"),
        ("10.1.2.3", "private"),
        ("172.31.0.1", "private"),
        ("100.64.0.1", "private"),
        ("127.0.0.1", "private"),
        ("::1", "private"),
        ("::127.0.0.1", "private"),
        ("::169.254.169.254", "special"),
        ("64:ff9b:1::a9fe:a9fe", "special"),
        ("fd12::1", "private"),
        ("169.254.169.254", "special"),
        ("100.100.100.200", "special"),
        ("fd00:ec2::254", "special"),
        ("fe80::1", "special"),
        ("0.0.0.0", "special"),
        ("0.1.2.3", "special"),
        ("224.0.0.1", "special"),
        ("255.255.255.255", "special"),
        ("::", "special"),
        ("::ffff:127.0.0.1", "private"),
        ("::ffff:169.254.169.254", "special"),
        ("64:ff9b::a9fe:a9fe", "special"),
        ("2002:7f00:1::", "private"),
        ("ff02::1", "special"),
    ],
)
def test_addresses_are_classified(text: str, kind: str) -> None:
    """Every disguise of a private or metadata address is seen through."""
    assert kind_of(ipaddress.ip_address(text)) == kind


def test_metadata_addresses_stay_refused_when_private_ones_are_allowed() -> None:
    """allow_private does not open link-local and metadata addresses."""
    with pytest.raises(Invalid, match="allow_networks"):
        Outgoing(LOCAL).request("GET", "http://169.254.169.254/latest/meta-data/")


def test_a_name_is_resolved_once_and_the_checked_address_is_the_one_called() -> None:
    """A name server that answers differently the second time is not asked a second time."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return answers.pop(0)

    guard = Guard(allow_networks=(ipaddress.ip_network("127.0.0.1/32"),))
    with serving(lambda c, _: c.sendall(OK)) as (port, heads):
        caller = Outgoing(guard, resolver=rebinding)
        assert caller.request("GET", f"http://service.example:{port}/a?b=c").status == 200
        assert asked == ["service.example"]
        assert heads[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
        assert f"Host: service.example:{port}\r\n".encode() in heads[0]
        with pytest.raises(Invalid, match=r"127\.0\.0\.2"):
            caller.request("GET", f"http://service.example:{port}/")


def test_a_public_name_with_a_private_address_is_refused() -> None:
    """A public name that points inside is refused by its address."""
    with pytest.raises(Invalid, match="private address"):
        Outgoing(Guard(), resolver=lambda _h, _p: ["10.0.0.5"]).request("GET", "https://public.example/")


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    """A name with a dead first address still works."""
    with serving(lambda c, _: c.sendall(OK)) as (port, _):
        caller = Outgoing(LOCAL, resolver=lambda _h, _p: ["::1", "127.0.0.1"])
        assert caller.request("GET", f"http://both.example:{port}/").status == 200


def test_redirects_are_not_followed() -> None:
    """A redirect is an answer like any other."""
    with serving(lambda c, _: c.sendall(b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")) as (
        port,
        heads,
    ):
        assert Outgoing(LOCAL).request("GET", f"http://127.0.0.1:{port}/").status == 302
        assert len(heads) == 1


def test_plain_http_to_public_addresses_is_refused() -> None:
    """Without allow_http, http goes to allowed private addresses only."""
    with pytest.raises(Invalid, match="allow_http: true"):
        Outgoing(LOCAL).request("GET", "http://8.8.8.8/")


def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY changes nothing."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(lambda c, _: c.sendall(OK)) as (port, _):
        assert Outgoing(LOCAL).request("GET", f"http://127.0.0.1:{port}/").status == 200


def test_an_oversized_body_is_cut() -> None:
    """The body ends at the limit and the response says so."""
    body = b"x" * 5000
    with serving(lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + body)) as (port, _):
        response = Outgoing(LOCAL, Limits(body_bytes=100)).request("GET", f"http://127.0.0.1:{port}/")
    assert response.truncated
    assert len(response.body) == 100


def test_a_body_in_chunks_is_put_together() -> None:
    """Chunks are joined, however small, and the last one ends the body."""
    chunks = b"".join(b"3\r\nab%d\r\n" % n for n in range(9)) + b"0\r\n\r\n"
    with serving(lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)) as (port, _):
        response = Outgoing(LOCAL).request("GET", f"http://127.0.0.1:{port}/")
    assert response.body == b"".join(b"ab%d" % n for n in range(9))


def test_a_body_that_ends_early_is_retryable() -> None:
    """Less than was promised is trouble, not an answer."""
    with (
        serving(lambda c, _: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")) as (port, _),
        pytest.raises(Retryable),
    ):
        Outgoing(LOCAL).request("GET", f"http://127.0.0.1:{port}/")


def test_a_compressed_body_is_not_unpacked() -> None:
    """A small body cannot become a large one."""
    packed = gzip.compress(b"x" * 100_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with serving(lambda c, _: c.sendall(head + packed)) as (port, _):
        assert Outgoing(LOCAL).request("GET", f"http://127.0.0.1:{port}/").body == packed


def drip(what: bytes) -> Callable[[socket.socket, bytes], None]:
    def answer(connection: socket.socket, _head: bytes) -> None:
        never = threading.Event()
        connection.sendall(what)
        for _ in range(200):
            connection.sendall(b"x")
            never.wait(0.05)

    return answer


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_dripping_answer_ends_at_the_deadline(start: bytes) -> None:
    """Each byte comes in time, the whole does not: body and headers alike are bounded by the total."""
    with serving(drip(start)) as (port, _):
        caller = Outgoing(LOCAL, Limits(read_seconds=0.4, total_seconds=0.5))
        with pytest.raises(Retryable, match="in time"):
            caller.request("GET", f"http://127.0.0.1:{port}/")


def test_a_silent_server_is_retryable() -> None:
    """A read timeout is trouble, not an answer."""
    never = threading.Event()
    with serving(lambda _c, _h: never.wait(1.0) and None) as (port, _), pytest.raises(Retryable, match="in time"):
        Outgoing(LOCAL, Limits(read_seconds=0.2)).request("GET", f"http://127.0.0.1:{port}/")


def test_a_refused_connection_is_retryable() -> None:
    """Nobody listening may go away by itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(Retryable, match="refused"):
        Outgoing(LOCAL).request("GET", f"http://127.0.0.1:{port}/")
    assert Outgoing(LOCAL).reach("127.0.0.1", port) is False


def test_garbage_instead_of_http_is_retryable() -> None:
    """A server that speaks something else is trouble in our words."""
    with serving(lambda c, _: c.sendall(b"SSH-2.0-x\r\n\r\n")) as (port, _), pytest.raises(Retryable):
        Outgoing(LOCAL).request("GET", f"http://127.0.0.1:{port}/")


def test_an_unresolvable_name_is_retryable() -> None:
    """A name that nobody knows now may be known later."""

    def unknown(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(Retryable, match="cannot be resolved"):
        Outgoing(LOCAL, resolver=unknown).request("GET", "https://nowhere.example/")


def test_a_hanging_resolver_is_bounded() -> None:
    """The system's resolver knows no timeout; we do."""
    never = threading.Event()

    def hanging(_host: str, _port: int) -> list[str]:
        never.wait(5)
        return []

    with pytest.raises(Retryable, match="not resolved in time"):
        Outgoing(LOCAL, Limits(connect_seconds=0.1), resolver=hanging).request("GET", "https://nowhere.example/")
    never.set()


@pytest.mark.parametrize("url", ["ftp://a/b", "file:///etc/passwd", "http://", "http://a:99999/", "nonsense", "http://u:p@a/"])
def test_other_urls_are_invalid(url: str) -> None:
    """Only http and https, with a host and without a user."""
    with pytest.raises(Invalid):
        Outgoing(LOCAL).request("GET", url)
    with pytest.raises(ValueError, match="URL"):
        check_url(url)


def test_messages_show_no_query_and_no_user() -> None:
    """What may hold a secret is left out of what is shown."""
    assert shown("https://user:word@host.example:8443/path?token=abc#x") == "https://host.example:8443/path"
    assert shown("https://hooks.example/services/T01/x8Jk2mQp4Lz7Rt9Wv1") == "https://hooks.example/services/T01/..."
    assert shown("http://host/.well-known/rotatord") == "http://host/.well-known/rotatord"
    assert shown("http://[::1]:80000/") == "(malformed URL)"


def test_settings_make_a_caller() -> None:
    """The shared settings describe guard and limits."""
    settings = OutgoingSettings.model_validate({"allow_private": True, "allow_networks": ["203.0.113.0/24"], "timeout": 1})
    with serving(lambda c, _: c.sendall(OK)) as (port, _):
        assert settings.outgoing().request("GET", f"http://127.0.0.1:{port}/").status == 200


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime(2020, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = directory / "cert.pem", directory / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


def test_tls_is_held_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    """The server sees the name in SNI, its certificate must be for that name, and another name is refused."""
    pem, private = certificate(tmp_path, "service.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    seen: list[str | None] = []
    context.sni_callback = lambda _s, name, _c: seen.append(name)

    class Server(http.server.HTTPServer):
        def get_request(self) -> tuple[ssl.SSLSocket, object]:
            connection, peer = super().get_request()
            return context.wrap_socket(connection, server_side=True), peer

    server = Server(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.RequestHandlerClass = Quiet
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    port = server.server_address[1]
    try:
        caller = Outgoing(LOCAL, resolver=lambda _h, _p: ["127.0.0.1"], ca_file=str(pem))
        assert caller.request("GET", f"https://service.example:{port}/").status == 204
        assert seen == ["service.example"]
        with pytest.raises(Retryable, match="certificate"):
            caller.request("GET", f"https://other.example:{port}/")
        stranger = Outgoing(LOCAL, resolver=lambda _h, _p: ["127.0.0.1"])
        with pytest.raises(Retryable, match="certificate"):
            stranger.request("GET", f"https://service.example:{port}/")
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class Quiet(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("value", ["hidden\nvalue", "hidden-\u20ac-value"])
def test_a_header_that_cannot_be_sent_is_not_quoted(value: str) -> None:
    """A token with a line break or a foreign letter in it is a wrong setting; neither the error nor its causes show it."""
    with serving(lambda c, _: c.sendall(OK)) as (port, _), pytest.raises(Invalid, match="does not allow") as caught:
        Outgoing(LOCAL).request("GET", f"http://127.0.0.1:{port}/", headers={"Authorization": f"Bearer {value}"})
    assert "hidden" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_missing_ca_file_is_said() -> None:
    """A CA file that is not there is a wrong setting, not trouble outside."""
    with pytest.raises(Invalid, match="ca_file"):
        Outgoing(LOCAL, ca_file="/nonexistent/ca.pem").request("GET", "https://127.0.0.1:9/")
