"""Our own identity at Vault: how a token is had, renewed at two thirds of its life, and replaced without a gap.

While a token still works, one caller renews or replaces it and the others go on with it. Secrets of a login are
references and read anew for each login.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from rotatord.errors import Denied, NotFound, OutsideError, Retryable
from rotatord.model import JsonMap
from rotatord.references import problems

log = logging.getLogger("rotatord.vault")
_RENEW_AFTER = 2 / 3  # of the life
_TRY_AGAIN_SECONDS = 5.0
_MARGIN_SECONDS = 1.0
_RETIRED_SECONDS = 60.0  # longer than any call


def _reference(value: dict[str, Any]) -> dict[str, Any]:
    if not value.keys() <= {"file", "env", "key"} or len(value.keys() & {"file", "env"}) != 1 or problems(value):
        raise ValueError(
            "give {file: PATH}, {file: PATH.json, key: NAME} or {env: NAME}: our way into Vault cannot lie in Vault"
        )
    return value


Reference = Annotated[dict[str, Any], AfterValidator(_reference)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AppRoleAuth(_Settings):
    """Log in with a role id (not secret) and a secret id."""

    role_id: str | Reference
    secret_id: Reference
    mount: str = "approle"


class JwtAuth(_Settings):
    """Log in with a JWT that somebody else keeps fresh."""

    role: str
    jwt: Reference
    mount: str = "jwt"


class KubernetesAuth(_Settings):
    """Log in with the pod's service account token."""

    role: str
    token_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105  (a path)
    mount: str = "kubernetes"


class AuthSettings(_Settings):
    """Exactly one way in."""

    token: Reference | None = None
    token_file: str | None = None
    approle: AppRoleAuth | None = None
    jwt: JwtAuth | None = None
    kubernetes: KubernetesAuth | None = None

    @model_validator(mode="after")
    def _one_way(self) -> AuthSettings:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("auth needs exactly one of token, token_file, approle, jwt, kubernetes")
        return self


class Reply(Protocol):
    """As much of an answer as a login needs."""

    @property
    def status(self) -> int: ...
    @property
    def auth(self) -> JsonMap: ...
    @property
    def data(self) -> JsonMap: ...
    @property
    def why(self) -> str: ...


Send = Callable[[str, str, JsonMap | None, str | None], Reply]


@dataclass(frozen=True, slots=True)
class OwnToken:
    """A token of ours. ``lasts`` seconds from ``since``; 0 lasts for ever."""

    value: str
    renewable: bool
    since: float
    lasts: float
    full: float  # how long it lasted when it was new: a renewal that gives far less nears its end

    def __repr__(self) -> str:
        return f"OwnToken(***, lasts={self.lasts:g})"

    def fades(self, now: float) -> bool:
        return self.lasts > 0 and now >= self.since + self.lasts * _RENEW_AFTER

    def over(self, now: float) -> bool:
        return self.lasts > 0 and now >= self.since + self.lasts - min(_MARGIN_SECONDS, self.lasts / 10)


class Login:
    """Keeps one token of ours alive. Thread-safe."""

    def __init__(self, auth: AuthSettings, secret: Callable[[JsonMap | str], str], monotonic: Callable[[], float]) -> None:
        self._auth = auth
        self._secret = secret
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._token: OwnToken | None = None
        self._former: OwnToken | None = None  # what was given to us before the one in use
        self._retired: list[tuple[str, float]] = []  # of logins before, and until when calls with them may be on their way
        self._quiet_until = 0.0

    @property
    def given(self) -> bool:
        """Whether the token is handed to us rather than made by a login of ours."""
        return self._auth.token is not None or self._auth.token_file is not None

    def token(self, send: Send) -> OwnToken:
        """A token that works, as far as can be known without asking. Raises Denied or Retryable."""
        now = self._monotonic()
        self._end_retired(now, send)
        token = self._token
        if token is None or token.over(now):
            return self._obtain_instead_of(token, send)
        if self._replaced(token):
            newer = self._obtain_instead_of(token, send)
            self._former = token
            return newer
        if token.fades(now) and now >= self._quiet_until and self._lock.acquire(blocking=False):
            try:
                if self._token is token:
                    self._token = self._refreshed(token, send)
            except OutsideError as error:
                self._quiet_until = now + _TRY_AGAIN_SECONDS
                log.warning("our token at Vault could not be renewed yet: %s", error)
            finally:
                self._lock.release()
        return self._token or token

    def after_refusal(self, refused: OwnToken, send: Send) -> OwnToken | None:
        """Another token than the one that Vault does not know any more; None where there is no other. One that was given
        to us and is dead is not the end while the one before still lives: with that, the way back is open."""
        newer = self._obtain_instead_of(refused, send)
        if newer.value != refused.value:
            return newer
        former, self._former = self._former, None
        if former is None or former.value == refused.value or former.over(self._monotonic()):
            return None
        if send("get", "auth/token/lookup-self", None, former.value).status == 200:
            self._former = former
        return self._former

    def take_up(self, send: Send) -> None:
        """Use what the references lead to now. Where that cannot be had the former is kept. Raises OutsideError."""
        with self._lock:
            former, self._token = self._token, self._obtain(send)
            current = self._token
        if former is None or former.value == current.value:
            return
        if self.given:
            self._former = former
        else:
            self._retired.append((former.value, self._monotonic() + _RETIRED_SECONDS))

    def _end_retired(self, now: float, send: Send) -> None:
        """End what nobody uses any more."""
        if not self._retired or not self._lock.acquire(blocking=False):
            return
        try:
            over = [value for value, until in self._retired if until <= now]
            self._retired = [each for each in self._retired if each[1] > now]
        finally:
            self._lock.release()
        for value in over:
            with contextlib.suppress(OutsideError):  # it expires by itself
                send("post", "auth/token/revoke-self", {}, value)

    def forget(self) -> list[str]:
        """Forget our tokens; returns those that were ours to end."""
        with self._lock:
            token, self._token = self._token, None
            retired, self._retired = self._retired, []
        made = [token.value] if token is not None and not self.given else []
        return made + [value for value, _ in retired]

    def _replaced(self, token: OwnToken) -> bool:
        return self.given and self.read(self._given_reference()) != token.value

    def _obtain_instead_of(self, old: OwnToken | None, send: Send) -> OwnToken:
        with self._lock:
            if self._token is not None and self._token is not old:
                return self._token  # somebody was faster
            self._token = self._obtain(send)
            return self._token

    def _refreshed(self, token: OwnToken, send: Send) -> OwnToken:
        if token.renewable:
            now = self._monotonic()
            answer = send("post", "auth/token/renew-self", {}, token.value)
            lasts = float(answer.auth.get("lease_duration", 0))
            if answer.status == 200 and lasts > token.full / 2:
                return OwnToken(token.value, bool(answer.auth.get("renewable")), now, lasts, token.full)
        if self.given:
            return OwnToken(token.value, False, token.since, token.lasts, token.full)
        return self._obtain(send)

    def _obtain(self, send: Send) -> OwnToken:
        now = self._monotonic()
        if self.given:
            return self._look_at(self.read(self._given_reference()), now, send)
        path, body = self._login_request()
        answer = send("post", path, body, None)
        value = answer.auth.get("client_token")
        if answer.status != 200 or not value:
            if answer.status >= 500 or answer.status in (408, 412, 429, 472, 473):
                raise Retryable(
                    "Vault is sealed" if "sealed" in answer.why else f"the login at {path} answered {answer.status}"
                )
            raise Denied(f"Vault refuses our login at {path} ({answer.status}): {answer.why[:200]}")
        lasts = float(answer.auth.get("lease_duration", 0))
        return OwnToken(value, bool(answer.auth.get("renewable")), now, lasts, lasts)

    def _look_at(self, value: str, now: float, send: Send) -> OwnToken:
        """A token that was given to us: how long it lasts, where it may tell."""
        if self._auth.token_file is not None:  # whoever writes the file renews it
            return OwnToken(value, False, now, 0, 0)
        answer = send("get", "auth/token/lookup-self", None, value)
        _later(answer)
        if answer.status != 200:  # it may not look at itself; whether it works shows when it is used
            return OwnToken(value, False, now, 0, 0)
        lasts = float(answer.data.get("ttl", 0))
        return OwnToken(value, bool(answer.data.get("renewable")), now, lasts, float(answer.data.get("creation_ttl", 0)))

    def _login_request(self) -> tuple[str, JsonMap]:
        if self._auth.approle is not None:
            approle = self._auth.approle
            role_id = approle.role_id if isinstance(approle.role_id, str) else self.read(approle.role_id)
            return f"auth/{approle.mount}/login", {"role_id": role_id, "secret_id": self.read(approle.secret_id)}
        if self._auth.jwt is not None:
            return f"auth/{self._auth.jwt.mount}/login", {"role": self._auth.jwt.role, "jwt": self.read(self._auth.jwt.jwt)}
        if self._auth.kubernetes is None:
            raise AssertionError("settings allow no other way")
        kubernetes = self._auth.kubernetes
        jwt = self.read({"file": kubernetes.token_file})
        return f"auth/{kubernetes.mount}/login", {"role": kubernetes.role, "jwt": jwt}

    def _given_reference(self) -> JsonMap:
        return self._auth.token if self._auth.token is not None else {"file": self._auth.token_file}

    def read(self, reference: JsonMap) -> str:
        """What a reference leads to now. Raises Retryable."""
        try:
            return self._secret(reference).strip()
        except (NotFound, OSError) as error:  # perhaps it is being written; and nothing at Vault was "not found"
            raise Retryable(f"what we log in to Vault with cannot be read: {error}") from None


def _later(answer: Reply) -> None:
    if answer.status >= 500 or answer.status in (408, 412, 429, 472, 473) or 300 <= answer.status < 400:
        raise Retryable("Vault is sealed" if "sealed" in answer.why else f"Vault answered {answer.status} to our login")
