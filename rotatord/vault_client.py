"""Speaking to Vault or OpenBao: one request with its timeouts, its translation into our errors, and our own identity.

The only module that imports hvac, and only when it is used first. Of hvac it takes the adapter, not the client: the
client reads ``VAULT_*`` and the token file of the machine, and keeps one token, where every request here names its own.
Nothing is retried, with one exception that belongs to authentication: where Vault said that *our* token is not one any
more, nothing has happened, so the request is repeated once with a new token.
"""

from __future__ import annotations

import contextlib
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rotatord import durations
from rotatord.clock import SystemClock
from rotatord.errors import Conflict, Denied, Invalid, NotFound, OutsideError, Retryable
from rotatord.model import JsonMap
from rotatord.ports import Surroundings
from rotatord.vault_login import AuthSettings, Login

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SECRET_KEYS = frozenset({"token", "secret_id", "jwt", "data"})
_TRANSIENT = frozenset({408, 412, 425, 429, 472, 473})
_LEAST_SECONDS = 0.05
CONFIRMED_SECONDS = 60.0  # so long a cluster that proved to be the one that is meant is believed to be it


class TlsSettings(BaseModel):
    """How the server proves itself, and we to it. Verification cannot be switched off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


class VaultSettings(BaseModel):
    """What every plugin for Vault is configured with; plugins add their own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str
    auth: AuthSettings
    namespace: str | None = None
    cluster_id: str | None = None  # the Vault that is meant: nothing is read or written at another
    tls: TlsSettings = TlsSettings()
    plain_http: bool = False
    connect_timeout: float = Field(default=3.0, gt=0)
    read_timeout: float = Field(default=10.0, gt=0)
    timeout: float = Field(default=12.0, gt=0)  # fits into a lease of 15 seconds: see docs/operations.md

    @model_validator(mode="after")
    def _address_is_usable(self) -> VaultSettings:
        parts = urlsplit(self.address)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("address must look like https://vault.example:8200")
        if parts.username or parts.query or parts.fragment:
            raise ValueError("address holds more than a scheme, a host, a port and a path")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not self.plain_http:
            raise ValueError("address is http:// to another machine: use https://, or say plain_http: true")
        return self


@dataclass(frozen=True, slots=True)
class Answer:
    """What Vault answered."""

    status: int
    body: JsonMap = field(default_factory=dict, repr=False)
    retry_after: float | None = None

    @property
    def data(self) -> JsonMap:
        return self.body.get("data") or {}

    @property
    def auth(self) -> JsonMap:
        return self.body.get("auth") or {}

    @property
    def warnings(self) -> list[str]:
        return [str(warning) for warning in self.body.get("warnings") or []]

    @property
    def why(self) -> str:
        """Vault's own words, on one line."""
        errors = self.body.get("errors") or []
        if self.body.get("data") and "error" in self.data:
            errors = [*errors, self.data["error"]]
        lines = [line.strip(" \t*") for error in errors for line in str(error).splitlines()]
        return "; ".join(line for line in lines if line and not re.fullmatch(r"\d+ errors? occurred:", line))

    @property
    def token_is_dead(self) -> bool:
        """Vault refused before doing anything, because the token that asked is not (any more) one."""
        return self.status == 403 and "invalid token" in self.why


class VaultClient:
    """A connection to one Vault under one identity of ours. Thread-safe. Makes no call before the first one is asked."""

    def __init__(
        self, settings: VaultSettings, surroundings: Surroundings, monotonic: Callable[[], float] | None = None
    ) -> None:
        self.settings = self._settings = settings
        self.monotonic = self._monotonic = monotonic or SystemClock().monotonic
        self._lock = threading.Lock()
        self._adapter: Any = None
        self._index: str | None = None
        self._confirmed_until = -math.inf
        self.login = Login(settings.auth, surroundings.secret, self._monotonic)

    def calls(self, login: Login | None = None) -> Calls:
        """The calls of one method of a plugin: together they stay below ``timeout`` seconds. ``login``: another than ours."""
        return Calls(self, self._monotonic() + self._settings.timeout, login or self.login)

    def take_up(self) -> None:
        """Log in anew, with what the references lead to now; where that does not work the former login is kept."""
        calls = self.calls()
        self.confirm(calls.send)
        self.login.take_up(calls.send)

    def close(self) -> None:
        """End the login token, where we made it, and the connections; never fails."""
        if self._adapter is None:
            return
        for value in self.login.forget():
            with contextlib.suppress(OutsideError):  # it expires by itself
                self.calls().send("post", "auth/token/revoke-self", {}, value)
        with self._lock:
            self._adapter.close()
            self._adapter = None

    def confirm(self, send: Callable[[str, str, JsonMap | None, str | None], Answer]) -> None:
        """Whether this is the cluster that is meant, asked before our identity is shown and now and then after: a name that
        leads elsewhere one day must not carry what belongs here to another environment. Raises Retryable."""
        wanted = self._settings.cluster_id
        if wanted is None or self._monotonic() < self._confirmed_until:
            return
        answer = send("get", "sys/health", None, None)
        found = answer.body.get("cluster_id")
        if found != wanted:
            if answer.body.get("sealed"):
                raise Retryable("Vault is sealed")
            said = f"is cluster {found}" if found else "does not say which cluster it is"
            raise Retryable(f"Vault at {self._settings.address} {said}; cluster_id says {wanted}: nothing is asked of it")
        self._confirmed_until = self._monotonic() + CONFIRMED_SECONDS

    def seconds_left(self, deadline: float) -> float:
        """What remains of a method's time. Raises Retryable where that is nothing."""
        left = deadline - self._monotonic()
        if left < _LEAST_SECONDS:
            raise Retryable(f"Vault did not answer everything within {self._settings.timeout:g} s")
        return left

    def transmit(self, method: str, path: str, body: JsonMap | None, token: str | None, left: float) -> Answer:
        """One HTTP exchange. Raises Retryable when no answer came; answers of any status are returned."""
        import requests  # noqa: PLC0415  (comes with hvac; imported on first use)

        headers = {}
        if self._index:  # a standby that is behind our own last write then answers 412 instead of something old
            headers["X-Vault-Index"] = self._index
        if token:
            headers["X-Vault-Token"] = token
        try:
            response = self._connected().request(
                method,
                f"/v1/{quote(path, safe='/')}",
                headers=headers,
                json=body,
                raise_exception=False,
                timeout=(min(self._settings.connect_timeout, left), min(self._settings.read_timeout, left)),
            )
            return self._understood(response)
        except requests.exceptions.InvalidHeader:
            raise Invalid("the token is not one that could be sent to Vault") from None
        except requests.exceptions.SSLError:
            raise Retryable(f"Vault at {self._settings.address} does not prove itself by TLS") from None
        except requests.exceptions.Timeout:
            raise Retryable(f"Vault at {self._settings.address} did not answer in time") from None
        except (requests.exceptions.RequestException, OSError) as error:
            raise Retryable(f"Vault at {self._settings.address} is unreachable ({type(error).__name__})") from None

    def _understood(self, response: Any) -> Answer:
        self._index = response.headers.get("X-Vault-Index", self._index)
        try:
            body = response.json() if response.content.strip() else {}
        except ValueError:
            body = {}
        wait = response.headers.get("Retry-After", "")
        return Answer(response.status_code, body if isinstance(body, dict) else {}, float(wait) if wait.isdigit() else None)

    def _connected(self) -> Any:
        with self._lock:
            if self._adapter is None:
                self._adapter = _adapter(self._settings)
            return self._adapter


def _adapter(settings: VaultSettings) -> Any:
    import requests  # noqa: PLC0415
    from hvac.adapters import RawAdapter  # noqa: PLC0415

    session = requests.Session()
    session.trust_env = False  # no proxy, certificate bundle or .netrc of this machine
    session.verify = settings.tls.ca_file or True
    if settings.tls.cert_file:
        session.cert = (settings.tls.cert_file, settings.tls.key_file) if settings.tls.key_file else settings.tls.cert_file
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=16, max_retries=0))
    return RawAdapter(
        base_uri=settings.address,
        namespace=settings.namespace,
        session=session,
        allow_redirects=False,  # a redirect would carry the token to another host
        strict_http=True,
    )


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests that share one deadline. All raise our errors; ``allow`` names statuses that are answers instead."""

    client: VaultClient
    deadline: float
    login: Login

    def get(self, path: str, allow: tuple[int, ...] = ()) -> Answer:
        return self.request("get", path, None, allow)

    def keys(self, path: str) -> list[str]:
        """What a LIST shows. Vault's 404 without a reason is an empty list; one with a reason is an error."""
        answer = self.request("list", path, None, (404,))
        if answer.status == 404 and answer.why:
            accepted(answer, "list", path)
        return [str(key) for key in answer.data.get("keys") or []]

    def post(self, path: str, body: JsonMap, allow: tuple[int, ...] = ()) -> Answer:
        return self.request("post", path, body, allow)

    def request(self, method: str, path: str, body: JsonMap | None, allow: tuple[int, ...] = ()) -> Answer:
        """As ourselves."""
        self.client.confirm(self.send)
        token = self.login.token(self.send)
        answer = self.send(method, path, body, token.value)
        if answer.token_is_dead:
            other = self.login.after_refusal(token, self.send)
            if other is not None:
                answer = self.send(method, path, body, other.value)
        return accepted(answer, method, path, body, allow)

    def send(self, method: str, path: str, body: JsonMap | None, token: str | None) -> Answer:
        """With this token, or none; the answer as it is."""
        return self.client.transmit(method, path, body, token, self.client.seconds_left(self.deadline))

    def capabilities(self, paths: Iterable[str]) -> dict[str, frozenset[str]]:
        """What we may do on each path."""
        wanted = list(paths)
        data = self.post("sys/capabilities-self", {"paths": wanted}).data
        return {path: frozenset(data.get(path, ["deny"])) for path in wanted}


def accepted(answer: Answer, method: str, path: str, body: JsonMap | None = None, allow: tuple[int, ...] = ()) -> Answer:
    """The answer, or the error that it stands for."""
    if answer.status in (200, 204) or answer.status in allow:
        return answer
    why = _without_values(answer.why, body)
    raise _error(answer, f"Vault answered {answer.status} to {method.upper()} {path}" + (f": {why}" if why else ""), why)


def _error(answer: Answer, message: str, why: str) -> OutsideError:
    if answer.status == 503 and "sealed" in why:
        return Retryable("Vault is sealed", retry_after=answer.retry_after)
    if 300 <= answer.status < 400:
        return Retryable(f"{message}: a standby sends us elsewhere; set address to the active node or a balancer of them")
    if "exceeds allowed length" in why:  # a 500 of Vault's that no repetition mends
        return Invalid(message)
    if answer.status in _TRANSIENT or answer.status >= 500 or "Upgrading from non-versioned" in why:
        return Retryable(message, retry_after=answer.retry_after)
    if answer.status in (401, 403):
        return Denied(message)
    if answer.status == 404:
        return NotFound(message)
    if answer.status == 400 and "check-and-set parameter did not match" in why:
        return Conflict(message)
    return Invalid(message)


def _without_values(text: str, body: JsonMap | None) -> str:
    """Vault does not repeat values in its errors; this makes sure of it."""
    for value in _values(body or {}, secret=False):
        text = text.replace(value, "***")
    return text[:500]


def behind(calls: Calls, accessor: str) -> JsonMap | None:
    """What Vault knows of the token behind an accessor; None when there is none any more (also while we list), or yet.

    A Vault that is killed while it makes or ends a token keeps listing its accessor, until somebody runs `auth/token/tidy`,
    and answers as to one without the right to look. Nothing is accepted that such an accessor stands for.
    """
    path = "auth/token/lookup-accessor"
    answer = calls.post(path, {"accessor": accessor}, allow=(400, 403))
    refused = answer.status == 403 and not missing_rights(calls, {path: ("update",)})
    if refused:  # once more, since we may have been given the right only after the refusal
        answer = calls.post(path, {"accessor": accessor}, allow=(400, 403))
    if answer.status == 200:
        return answer.data
    if "invalid accessor" in answer.why or (refused and answer.status == 403):
        return None
    accepted(answer, "post", path)
    raise AssertionError("an answer is accepted or raises")


def missing_rights(calls: Calls, needed: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A sentence for each path on which we may not do what is needed."""
    have = calls.capabilities(needed)
    lacking = {path: [each for each in wanted if not have[path] & {each, "root"}] for path, wanted in needed.items()}
    return [f"our identity at Vault needs {', '.join(what)} on {path}" for path, what in lacking.items() if what]


def _values(node: object, *, secret: bool) -> Iterator[str]:
    if isinstance(node, str) and secret and len(node) > 3:
        yield node
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _values(value, secret=secret or key in _SECRET_KEYS)


def parse_time(text: object) -> datetime | None:
    """An RFC 3339 time of Vault's; None for none and for Go's zero time."""
    if not isinstance(text, str) or not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text)


def duration_seconds(value: object) -> int:
    """Whole seconds of ``90`` or ``"1h30m"``. Raises ValueError with a sentence."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        return int(durations.parse(f"{value}s" if value.isdigit() else value).total_seconds())
    raise ValueError("should be a length of time such as 90s, 15m or 24h")
