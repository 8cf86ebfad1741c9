"""Guarded outgoing HTTP: the one way in which plugins and notices call addresses that stand in a configuration.

A name is resolved once and the connection goes to exactly the address that was checked, so that a name server that
changes its answer in between gains nothing. Redirects are never followed, proxies of the environment never used, bodies
are cut at a size, and the whole exchange, however slowly it drips, ends at one deadline. One connection per request.
"""

from __future__ import annotations

import functools
import http.client
import io
import ipaddress
import queue
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import urllib3
from pydantic import BaseModel, ConfigDict, Field
from urllib3.connection import HTTPConnection, HTTPSConnection

from rotatord.clock import Clock, SystemClock
from rotatord.errors import Invalid, OutsideError, Retryable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolver = Callable[[str, int], Sequence[str]]

_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "::1/128", "fc00::/7")
)
# Where clouds answer credentials to whoever asks: never covered by "private", only by naming the network.
_METADATA = tuple(ipaddress.ip_network(text) for text in ("169.254.0.0/16", "100.100.100.200/32", "fd00:ec2::/32", "fe80::/10"))
_KEY_LIKE = re.compile(r"(?=[^0-9]*[0-9])(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_~.-]{16,}")
# IPv6 addresses that hold an IPv4 one in their last four bytes: NAT64, its local form, and the old compatible form.
_HOLDING_V4 = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))


class OutgoingSettings(BaseModel):
    """The settings that every plugin with an outgoing call shares; inherited by the plugin's own settings model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow_private: bool = False  # loopback, RFC 1918, shared and unique-local addresses
    allow_networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()  # anything else, by name
    allow_http: bool = False  # plain http to public addresses; to allowed private ones it is always possible
    ca_file: str | None = None
    timeout: float = Field(default=10.0, gt=0, le=60)  # seconds for the whole exchange

    def outgoing(self, *, resolver: Resolver | None = None, clock: Clock | None = None) -> Outgoing:
        """The caller that these settings describe."""
        return Outgoing(
            Guard(self.allow_private, tuple(self.allow_networks), self.allow_http),
            Limits(connect_seconds=min(5.0, self.timeout), read_seconds=self.timeout, total_seconds=self.timeout),
            resolver=resolver or resolve,
            clock=clock or SystemClock(),
            ca_file=self.ca_file,
        )


@dataclass(frozen=True, slots=True)
class Guard:
    """Which addresses may be called."""

    allow_private: bool = False
    allow_networks: tuple[Network, ...] = ()
    allow_http: bool = False

    def objection(self, address: Address, *, encrypted: bool) -> str | None:
        """Why this address must not be called, with the setting that would allow it; None when it may."""
        named = any(address.version == network.version and address in network for network in self.allow_networks)
        kind = kind_of(address)
        if kind == "special" and not named:
            return f"{address} is a link-local, metadata or reserved address; name it in allow_networks to permit it"
        if kind == "private" and not (named or self.allow_private):
            return f"{address} is a private address; set allow_private: true (or allow_networks) to permit it"
        if kind == "public" and not encrypted and not (named or self.allow_http):
            return f"{address} would be called without encryption; use https, or set allow_http: true to permit it"
        return None


def kind_of(address: Address) -> str:
    """``public``, ``private`` or ``special``; an IPv4 address inside an IPv6 one counts as the IPv4 one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and int(address) > 1 and any(address in network for network in _HOLDING_V4):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return kind_of(inner)
    if any(address.version == network.version and address in network for network in _METADATA):
        return "special"
    if any(address.version == network.version and address in network for network in _PRIVATE):
        return "private"
    return "public" if address.is_global and not address.is_multicast else "special"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one exchange. Seconds and bytes."""

    connect_seconds: float = 5.0
    read_seconds: float = 10.0
    total_seconds: float = 15.0
    body_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. ``headers`` have lower-case names; ``truncated`` says that the body was longer than the limit."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    truncated: bool = False

    @property
    def retry_after(self) -> float | None:
        """Seconds that the other side asked us to wait, where it said so in seconds."""
        text = self.headers.get("retry-after", "").strip()
        return min(float(text), 86400.0) if text.isascii() and text.isdigit() else None


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a name as the system's resolver gives them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def shown(url: str) -> str:
    """A URL as messages may show it: without user, query and fragment, and without steps of the path that look like keys
    (some services give out URLs that are all that it takes to post to them)."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(malformed URL)"
    path = "/".join("..." if _KEY_LIKE.fullmatch(step) else step for step in parts.path.split("/"))
    return f"{parts.scheme}://{parts.hostname or ''}{port}{path}"


class Outgoing:
    """Makes guarded calls. Thread-safe; keeps no connection."""

    def __init__(
        self,
        guard: Guard,
        limits: Limits | None = None,
        *,
        resolver: Resolver = resolve,
        clock: Clock | None = None,
        ca_file: str | None = None,
    ) -> None:
        self._guard = guard
        self._limits = limits or Limits()
        self._resolver = resolver
        self._clock = clock or SystemClock()
        self._ca_file = ca_file

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
        """One exchange. Any status is an answer, a redirect too. ``address``: one of the name's addresses, to ask just that
        one; ``deadline``: an earlier end, in seconds of the monotonic clock. Raises Invalid for a URL or an address that
        must not be called and Retryable for anything that kept an answer from arriving in time."""
        parts = _checked(url)
        encrypted = parts.scheme == "https"
        port = parts.port or (443 if encrypted else 80)
        host = parts.hostname or ""
        own = self._clock.monotonic() + self._limits.total_seconds
        deadline = own if deadline is None else min(own, deadline)
        trouble = "no address"
        for place in self.addresses(address or host, port, encrypted=encrypted):
            connection = self._connection(place, host, port, encrypted=encrypted, deadline=deadline)
            try:
                try:
                    connection.connect()
                except (OSError, urllib3.exceptions.HTTPError) as error:
                    trouble = _reason(error)
                    continue  # nothing was sent: the next address of the name may answer
                return self._exchange(connection, method, parts, body=body, headers=headers or {}, deadline=deadline)
            except (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException) as error:
                raise Retryable(f"{method} {shown(url)}: {_reason(error)}") from None
            except ValueError:  # its text would quote the header: a bearer token with a line break in it, say
                raise Invalid(f"{method} {shown(url)}: a header or the URL holds characters that HTTP does not allow") from None
            finally:
                connection.close()
        raise Retryable(f"{method} {shown(url)}: {trouble}")

    def reach(self, host: str, port: int) -> bool:
        """Open and close one TCP connection: True when it was taken, False when every address refused it. Raises Invalid
        where it must not be tried, Retryable where nothing answered."""
        end = self._clock.monotonic() + self._limits.total_seconds
        refused = 0
        places = self.addresses(host, port, encrypted=True)
        for address in places:
            seconds = max(0.01, min(self._limits.connect_seconds, end - self._clock.monotonic()))
            try:
                with socket.create_connection((address, port), timeout=seconds):
                    return True
            except ConnectionRefusedError:
                refused += 1
            except OSError as error:
                trouble = _reason(error)
        if refused == len(places):
            return False
        raise Retryable(f"tcp {host}:{port}: {trouble}")

    def addresses(self, host: str, port: int, *, encrypted: bool) -> list[str]:
        """The addresses of a name that may be called, resolved once. Raises Invalid if there is none among them."""
        found = [ipaddress.ip_address(text.split("%")[0]) for text in self._resolved(host, port)]
        objections = {address: self._guard.objection(address, encrypted=encrypted) for address in found}
        allowed = [str(address) for address, objection in objections.items() if objection is None]
        if not allowed:
            raise Invalid(f"{host}: " + "; ".join(str(objection) for objection in objections.values()))
        return allowed

    def _resolved(self, host: str, port: int) -> Sequence[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        # The system's resolver knows no timeout, so it works in a thread that we stop waiting for.
        answers: queue.Queue[Sequence[str] | OSError | UnicodeError] = queue.Queue()

        def ask() -> None:
            try:
                answers.put(self._resolver(host, port))
            except (OSError, UnicodeError) as error:
                answers.put(error)

        threading.Thread(target=ask, name="resolve", daemon=True).start()
        try:
            answer = answers.get(timeout=self._limits.connect_seconds)
        except queue.Empty:
            raise Retryable(f"{host}: the name was not resolved in time") from None
        if isinstance(answer, (OSError, UnicodeError)) or not answer:
            raise Retryable(f"{host}: the name cannot be resolved")
        return answer

    def _connection(self, address: str, host: str, port: int, *, encrypted: bool, deadline: float) -> HTTPConnection:
        seconds = min(self._limits.connect_seconds, max(0.01, deadline - self._clock.monotonic()))
        if not encrypted:
            return HTTPConnection(address, port, timeout=seconds)
        context = _context(self._ca_file, _modified(self._ca_file))
        return HTTPSConnection(address, port, timeout=seconds, server_hostname=host, ssl_context=context)

    def _exchange(
        self,
        connection: HTTPConnection,
        method: str,
        parts: SplitResult,
        *,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
    ) -> Response:
        def left() -> float:
            return min(self._limits.read_seconds, deadline - self._clock.monotonic())

        connection.timeout = max(0.01, left())
        connection.response_class = functools.partial(BoundedResponse, left)  # type: ignore[assignment]
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Host": parts.netloc, "Accept-Encoding": "identity", "User-Agent": "rotatord", "Connection": "close", **headers}
        connection.request(method, target, body=body, headers=sent, preload_content=False, decode_content=False)
        answer = connection.getresponse()
        kept = b""
        wanted = self._limits.body_bytes + 1
        # To the very end: only the empty read there says whether less came than was promised.
        while len(kept) < wanted and (part := answer.read(wanted - len(kept), decode_content=False)):
            kept += part
        return Response(
            status=answer.status,
            body=kept[: self._limits.body_bytes],
            headers={name.lower(): value for name, value in answer.headers.items()},
            truncated=len(kept) > self._limits.body_bytes,
        )


class BoundedResponse(http.client.HTTPResponse):
    """Reads status, headers and body through a stream that asks before every receive how many seconds are left."""

    def __init__(self, left: Callable[[], float], sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        buffered: Any = self.fp
        self.fp = io.BufferedReader(_BoundedStream(sock, buffered.detach(), left))


class _BoundedStream(io.RawIOBase):
    def __init__(self, sock: socket.socket, raw: io.RawIOBase, left: Callable[[], float]) -> None:
        self._sock = sock
        self._raw = raw  # keeps the socket open until the body was read
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        seconds = self._left()
        if seconds <= 0:
            raise TimeoutError("the answer did not end in time")
        self._sock.settimeout(seconds)
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _checked(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise Invalid(f"should be an http or https URL, not {shown(url)}")
    if parts.username is not None or parts.password is not None:
        raise Invalid(f"should be a URL without user and password: {shown(url)}")
    return parts


def check_url(url: str) -> str:
    """For settings models: the URL itself, or ValueError saying what is wrong with it."""
    try:
        _checked(url)
    except OutsideError as error:
        raise ValueError(str(error)) from None
    return url


def _reason(error: BaseException) -> str:
    """What went wrong, without anything that was sent or received."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted ({error.verify_message})"
    if isinstance(error.__cause__, OSError):
        return _reason(error.__cause__)  # urllib3 calls a refused connection a timeout
    if isinstance(error, (TimeoutError, urllib3.exceptions.TimeoutError)):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def _modified(path: str | None) -> int:
    try:
        return Path(path).stat().st_mtime_ns if path else 0
    except OSError as error:
        raise Invalid(f"ca_file {path}: {error.strerror}") from None


@functools.lru_cache(maxsize=32)
def _context(ca_file: str | None, modified: int) -> ssl.SSLContext:  # noqa: ARG001 - a new file makes a new context
    try:
        return ssl.create_default_context(cafile=ca_file)  # tens of milliseconds each, hence kept
    except (OSError, ssl.SSLError):
        raise Invalid(f"ca_file {ca_file}: no certificates can be read from it") from None
