"""One HTTP exchange with an API server: where it is, how we prove who we are, and when we give up.

The only module that imports the Kubernetes SDK, and only when the first request is made. Of the SDK it takes what knows the
world's kubeconfigs and service accounts (the configuration and the connection pool that is made from it), and none of its
models: they cost 26 MiB and most of a second, and the answers of an API server are JSON already.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
import urllib3.connection
import urllib3.poolmanager
from pydantic import BaseModel, ConfigDict, Field, field_validator

from rotatord.clock import SystemClock
from rotatord.errors import Invalid, Retryable
from rotatord.http import BoundedResponse
from rotatord.model import JsonMap

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_LARGEST_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_LEAST_SECONDS = 0.05
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ClusterSettings(BaseModel):
    """How the API server is reached; plugins add their own settings. With neither ``kubeconfig`` nor ``context``: the
    pod's own service account where there is one, else the default kubeconfig of this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kubeconfig: Path | None = None
    context: str | None = None
    # The uid of the namespace kube-system of the cluster that is meant: nothing is read, written or ended at another.
    cluster_uid: str | None = None
    connect_timeout: float = Field(default=3.0, gt=0)
    timeout: float = Field(default=10.0, gt=0)  # seconds of one request, from the first byte to the last

    @field_validator("cluster_uid")
    @classmethod
    def _is_a_uid(cls, value: str | None) -> str | None:
        if value is not None and not _UID.fullmatch(value):
            raise ValueError("should be the uid of the namespace kube-system, such as 218fc5a9-a5f1-4b54-aa05-46717d0ab26d")
        return value


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. The path holds the query too."""

    method: str
    path: str
    body: Any = field(default=None, repr=False)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered. ``body`` is None where it is no JSON object."""

    status: int
    body: JsonMap | None = field(default=None, repr=False)
    header_seconds: float | None = None
    at: datetime | None = None  # by the clock of who answered

    @property
    def retry_after(self) -> float | None:
        """What the server asked us to wait, by header or in its Status."""
        told = self.details.get("retryAfterSeconds")
        return float(told) if self.header_seconds is None and isinstance(told, int) and told > 0 else self.header_seconds

    @property
    def is_status(self) -> bool:
        """A Kubernetes Status: an API server said so, and not something between us and it."""
        return self.body is not None and self.body.get("kind") == "Status"

    @property
    def why(self) -> str:
        """The API server's own words, on one line."""
        message = (self.body or {}).get("message") if self.is_status else None
        return " ".join(str(message).split()) if message else ""

    @property
    def details(self) -> JsonMap:
        details = (self.body or {}).get("details") if self.is_status else None
        return details if isinstance(details, dict) else {}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration as it was read: the pool of connections made from it, and the header that says who we are."""

    configuration: Any = field(repr=False)
    pool: Any = field(repr=False)

    @property
    def address(self) -> str:
        return str(self.configuration.host).rstrip("/")

    def headers(self) -> dict[str, str]:
        """Read at each request: the SDK reads a service account's token anew once a minute."""
        try:
            ways = self.configuration.auth_settings().values()
        except Exception as error:  # noqa: BLE001  the SDK reads files here, and lets plugins of the kubeconfig run
            raise Retryable(f"our token for the API server cannot be read ({type(error).__name__})") from None
        found = {str(way["key"]): str(way["value"]) for way in ways if way.get("in") == "header" and way.get("value")}
        headers = {name: value.strip() for name, value in found.items()}
        if any(not value.isprintable() or not value.isascii() for value in headers.values()):
            raise Invalid("the token for the API server is not one that could be sent")
        return headers


# Whether what was loaded leads to the cluster that is meant. It is given what asks there, and what makes the next request
# load anew; returns None, or the answer of who does not know us. Raises OutsideError where it leads elsewhere.
Confirm = Callable[[Loaded, Callable[[Request], Answer], Callable[[], None]], Answer | None]


class Transport:
    """Connections to one API server under one identity. Thread-safe; makes no call before the first one is asked."""

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        confirm: Confirm,
        service_account: Path = SERVICE_ACCOUNT,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        self._settings = settings
        self._confirm = confirm
        self._service_account = service_account
        self._lock = threading.Lock()
        self._loaded: Loaded | None = None
        self._thread = threading.local()  # the deadline of the request that this thread makes
        self.monotonic = monotonic or SystemClock().monotonic

    @property
    def in_cluster(self) -> bool:
        """Whether the pod's own service account is used."""
        told = self._settings.kubeconfig is not None or self._settings.context is not None
        return not told and "KUBERNETES_SERVICE_HOST" in os.environ and (self._service_account / "token").is_file()

    @property
    def namespace(self) -> str | None:
        """The namespace of the service account, or of the kubeconfig's context; reads files, asks nobody."""
        if self.in_cluster:
            try:
                return (self._service_account / "namespace").read_text().strip() or None
            except OSError:
                return None
        config: Any = importlib.import_module("kubernetes.config")
        try:
            known, active = config.list_kube_config_contexts(_file(self._settings))
        except Exception:  # noqa: BLE001  whatever is wrong with the file is said, better, by the first request
            return None
        wanted = next((one for one in known if one["name"] == self._settings.context), active)
        return str(wanted["context"].get("namespace") or "") or None

    @property
    def address(self) -> str:
        return self._current().address

    def identity(self) -> Mapping[str, str]:
        """The headers that say who we are, by names in lower case. Raises OutsideError."""
        return {name.lower(): value for name, value in self._current().headers().items()}

    def close(self) -> None:
        """End the connections; the next request makes new ones."""
        with self._lock:
            if self._loaded is not None:
                self._loaded.pool.clear()
                self._loaded = None

    def exchange(self, request: Request, deadline: float) -> Answer:
        """The request's answer, of any status. Raises Retryable where none came.

        Nothing is repeated, with one exception that belongs to authentication: a 401 says that nothing was done, so where
        the configuration, read anew, has another credential (a rotated token file, a kubeconfig written again), the
        request is made once more with it.
        """
        loaded = self._current()
        sent = loaded.headers()
        answer = self._send_where_meant(loaded, sent, request, deadline)
        if answer.status != 401:
            return answer
        fresh = self._reread(loaded)
        headers = fresh.headers()
        if headers == sent:
            return answer
        return self._send_where_meant(fresh, headers, request, deadline)

    def _send_where_meant(self, loaded: Loaded, identity: Mapping[str, str], request: Request, deadline: float) -> Answer:
        unknown = self._confirm(loaded, lambda question: self._send(loaded, identity, question, deadline), self.close)
        return self._send(loaded, identity, request, deadline) if unknown is None else unknown

    def _send(self, loaded: Loaded, identity: Mapping[str, str], request: Request, deadline: float) -> Answer:
        self._thread.deadline = deadline
        left = self._left()
        if left < _LEAST_SECONDS:
            raise Retryable(f"the API server at {loaded.address} did not answer everything in time")
        headers = {"Accept": "application/json", "User-Agent": "rotatord", **identity}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        try:
            response = loaded.pool.request(
                request.method,
                loaded.address + request.path,
                body=None if request.body is None else json.dumps(request.body).encode(),
                headers=headers,
                timeout=urllib3.Timeout(connect=min(self._settings.connect_timeout, left), read=left),
                retries=False,
                redirect=False,  # it would carry our token to another host
                preload_content=False,
            )
            return _understood(response)
        except urllib3.exceptions.SSLError as error:
            self._reread(loaded)  # the authority's certificate, or our own, may be a new one
            if any(isinstance(cause, ssl.SSLEOFError) for cause in error.args):
                raise Retryable(f"the API server at {loaded.address} ended the connection before TLS was agreed on") from None
            raise Retryable(f"the API server at {loaded.address} and we do not trust each other by TLS") from None
        except (urllib3.exceptions.TimeoutError, TimeoutError):
            raise Retryable(f"the API server at {loaded.address} did not answer in time") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Retryable(f"the API server at {loaded.address} is unreachable ({type(error).__name__})") from None

    def _left(self) -> float:
        left: float = self._thread.deadline - self.monotonic()
        return left

    def _current(self) -> Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _reread(self, stale: Loaded) -> Loaded:
        """The configuration as it is now; read once however many requests found it stale."""
        with self._lock:
            if self._loaded is stale or self._loaded is None:
                self._loaded = self._load()
                stale.pool.clear()
            return self._loaded

    def _load(self) -> Loaded:
        loaded = _load(self._settings, self._service_account if self.in_cluster else None)
        if loaded.pool.pool_classes_by_scheme is urllib3.poolmanager.pool_classes_by_scheme:  # and not those of a SOCKS proxy
            loaded.pool.pool_classes_by_scheme = _bounded_pools(self._left)
        return loaded


def _load(settings: ClusterSettings, service_account: Path | None) -> Loaded:
    """Read the configuration. Raises Retryable where it cannot be read (files are written again, and mounted late), Invalid
    where it is not safe; with a sentence that shows nothing of it."""
    config: Any = importlib.import_module("kubernetes.config")
    configuration: Any = importlib.import_module("kubernetes.client.configuration").Configuration()
    rest: Any = importlib.import_module("kubernetes.client.rest")
    configuration.connection_pool_maxsize = 16
    where = "the service account" if service_account else f"kubeconfig {settings.kubeconfig or 'of this machine'}"
    try:
        if service_account:
            files = (str(service_account / "token"), str(service_account / "ca.crt"))
            config.incluster_config.InClusterConfigLoader(*files).load_and_set(configuration)
        else:
            config.load_kube_config(_file(settings), settings.context, configuration, persist_config=False)
        pool = rest.RESTClientObject(configuration).pool_manager
    except config.ConfigException as error:
        raise Retryable(f"{where} cannot be used: {' '.join(str(error).split())[:200]}") from None
    except Exception as error:  # noqa: BLE001  YAML's errors quote the file, and it may be mistaken in any way
        raise Retryable(f"{where} cannot be read ({type(error).__name__})") from None
    host = urlsplit(str(configuration.host))
    if host.scheme != "https" and host.hostname not in _LOOPBACK:
        raise Invalid(f"{where} names an API server without TLS on another machine: everybody in between would have our token")
    if host.scheme == "https" and not configuration.verify_ssl:
        raise Invalid(f"{where} switches off that the API server proves itself: name its certificate-authority instead")
    return Loaded(configuration, pool)


def _bounded_pools(left: Callable[[], float]) -> dict[str, type[Any]]:
    """Connections on which no answer lasts longer than there is time ``left``, however slowly it drips: the timeout of
    urllib3 begins anew with each receive."""

    def pool_of(pool: type[Any], connection: type[Any]) -> type[Any]:
        response = staticmethod(functools.partial(BoundedResponse, left))
        bounded = type(connection.__name__, (connection,), {"response_class": response})
        return type(pool.__name__, (pool,), {"ConnectionCls": bounded})

    return {
        "http": pool_of(urllib3.HTTPConnectionPool, urllib3.connection.HTTPConnection),
        "https": pool_of(urllib3.HTTPSConnectionPool, urllib3.connection.HTTPSConnection),
    }


def _file(settings: ClusterSettings) -> str | None:
    return str(settings.kubeconfig) if settings.kubeconfig else None


def _understood(response: Any) -> Answer:
    kept = bytearray()
    whole = False
    try:
        while len(kept) <= _LARGEST_BYTES:
            part = response.read1(_CHUNK_BYTES)
            if not part:
                whole = True
                break
            kept += part
    finally:
        if whole:
            response.release_conn()
        else:
            response.close()  # what is left of it must not be taken for the next answer
    if not whole:
        raise Invalid(f"the API server answered with more than {_LARGEST_BYTES} bytes")
    try:
        body = json.loads(kept)
    except (ValueError, RecursionError):
        body = None
    body = body if isinstance(body, dict) else None
    return Answer(response.status, body, _seconds(response.headers.get("Retry-After")), _moment(response.headers.get("Date")))


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isdigit() else None


def _moment(header: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None
