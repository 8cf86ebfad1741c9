"""Speaking to AWS: clients under our own identity, their timeouts, and the translation of their errors into ours.

The only module that imports the SDK, and only when the first client is asked for. It takes botocore's session, which is all
that boto3's clients are made of. Nothing is retried. Keys that are given by reference are read anew for every request that is
signed, so that a rotated one is used at once; a role is assumed again before its session ends, by the daemon's own clock.

Nothing of a request is ever shown: AWS quotes offending values in its refusals, botocore does so in its own, and its DEBUG
lines hold whole bodies. The first are struck out, the second left out, the third silenced.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rotatord.aws_errors import from_sdk
from rotatord.clock import SystemClock
from rotatord.errors import Invalid, OutsideError, Retryable
from rotatord.mistakes import form
from rotatord.model import JsonMap
from rotatord.ports import Surroundings
from rotatord.secret import Secret

Reference = JsonMap | str
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SILENCED = ("botocore", "boto3", "urllib3", "s3transfer")
_READS = 3  # of a key of ours that changes meanwhile
_SESSION_SECONDS = 3600  # of an assumed role; what every role allows
_CHAIN_SECONDS = 8.0  # that AWS's own chain may take to find credentials: three tries of two seconds, with pauses


RoleArn = Annotated[str, form(r"arn:aws[a-z-]*:iam::\d{12}:role/.+", "the ARN of a role: arn:aws:iam::ACCOUNT:role/NAME")]
POLICY_ARN = r"arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+"
PolicyArn = Annotated[str, form(POLICY_ARN, "the ARN of a policy: arn:aws:iam::ACCOUNT:policy/NAME")]


class AccessKey(BaseModel):
    """A key of our own, each part given by reference."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Reference
    secret: Reference
    session_token: Reference | None = None


class AssumeRole(BaseModel):
    """The role in which everything is done."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    arn: RoleArn
    external_id: str | None = None
    session_name: str = Field(default="rotatord", pattern=r"^[\w+=,.@-]{2,64}$")


class AwsSettings(BaseModel):
    """What every plugin for AWS is configured with; plugins add their own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: Annotated[str, form(r"[a-z]{2}(-[a-z]+)+-\d+", "the name of a region, such as eu-west-1")] | None = None
    account: Annotated[str, form(r"\d{12}", "the twelve digits of an account")] | None = (
        None  # whose resources these are; named in rights, and checked
    )
    endpoint_url: str | None = None
    profile: str | None = None
    access_key: AccessKey | None = None
    assume_role: AssumeRole | None = None
    plain_http: bool = False
    connect_timeout: float = Field(default=3.0, gt=0)
    read_timeout: float = Field(default=5.0, gt=0)
    timeout: float = Field(default=20.0, gt=0)  # of one method of a plugin, all its calls together

    @field_validator("endpoint_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "https://none")
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ValueError("should look like https://vpce-0123.secretsmanager.eu-west-1.vpce.amazonaws.com")
        return value

    @model_validator(mode="after")
    def _fits(self) -> AwsSettings:
        parts = urlsplit(self.endpoint_url or "https://none")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not self.plain_http:
            raise ValueError("endpoint_url is http:// to another machine: use https://, or say plain_http: true")
        if self.profile and self.access_key:
            raise ValueError("profile and access_key are two identities: give one of them")
        if self.connect_timeout + self.read_timeout > self.for_calls:
            chain = "" if self.access_key else f", of which AWS's own chain of credentials may take {_CHAIN_SECONDS:g} s"
            raise ValueError(f"connect_timeout and read_timeout together are longer than timeout{chain}")
        return self

    @property
    def for_calls(self) -> float:
        """Seconds that the calls of one method may take, all together."""
        return self.timeout if self.access_key else self.timeout - _CHAIN_SECONDS


class Keys(NamedTuple):
    """What a request is signed with, in the shape that botocore asks of frozen credentials."""

    access_key: str
    secret_key: str
    token: str | None = None
    account_id: str | None = None

    def __repr__(self) -> str:
        return "Keys(***)"


class _ByReference:
    """Credentials whose parts are read anew for every request that is signed."""

    method = "rotatord"
    account_id = None

    def __init__(self, read: Callable[[], Keys]) -> None:
        self.get_frozen_credentials = read

    def __repr__(self) -> str:
        return "_ByReference(***)"

    def get_deferred_property(self, name: str) -> Callable[[], str | None]:
        return lambda: getattr(self.get_frozen_credentials(), name, None)


class Aws:
    """One identity of ours at AWS. Thread-safe. Makes no call, and imports nothing, before the first one is asked."""

    def __init__(self, settings: AwsSettings, surroundings: Surroundings, monotonic: Callable[[], float] | None = None) -> None:
        self.settings = self._settings = settings
        self._surroundings = surroundings
        self._monotonic = monotonic or SystemClock().monotonic
        self._lock = threading.RLock()
        self._sessions: dict[bool, Any] = {}  # by: within the assumed role?
        self._clients: dict[tuple[str, str, bool], Any] = {}
        self._method = threading.local()

    def close(self) -> None:
        """Close the connections; never fails."""
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
            self._sessions.clear()

    # --- what plugins use ----------------------------------------------------------------------------------------

    def client(self, service: str, *, credentials: Secret | None = None, region: str | None = None) -> Any:
        """The SDK's client of one service, cached. ``credentials``: a client that signs with this version's own fields
        (``access_key_id``, ``secret_access_key``, perhaps ``session_token``); made anew, to be closed by the caller."""
        with self.calling():
            if credentials is not None:
                return self._make(self._session(assumed=False), service, region, keys=_keys_of(credentials))
            return self._cached(service, region, assumed=self._settings.assume_role is not None)

    def call(self, service: str, operation: str, *, region: str | None = None, **parameters: Any) -> JsonMap:
        """One call as ourselves: ``call("sts", "get_caller_identity")``. Raises our errors (``aws_errors.code_of``)."""
        with self.calling():
            answer: JsonMap = getattr(self.client(service, region=region), operation)(**parameters)
        answer.pop("ResponseMetadata", None)
        return answer

    @contextmanager
    def calling(self) -> Iterator[None]:
        """Around all the calls of one method of a plugin: they share its deadline, and every error becomes one of ours.
        May be nested, to catch the error of one call; the deadline is the outermost one's."""
        outermost = not hasattr(self._method, "deadline")
        if outermost:
            self._method.deadline = self._monotonic() + self._settings.for_calls
        try:
            yield
        except OutsideError:
            raise
        except Exception as error:
            translated = from_sdk(error)
            if translated is None:
                raise
            raise translated from None
        finally:
            if outermost:
                del self._method.deadline

    def region(self) -> str:
        """The region of our calls. Raises Invalid where none is configured anywhere."""
        with self.calling():
            session = self._session(assumed=False)
            found = self._settings.region or session.get_config_variable("region") or os.environ.get("AWS_REGION")
        if not found:
            raise Invalid("no AWS region is configured: set region in the plugin's settings, or AWS_REGION")
        return str(found)

    def wrong_account(self) -> list[str]:
        """A sentence if ``account`` is configured and our identity belongs to another one. Needs no right."""
        if self._settings.account is None:
            return []
        who = self.call("sts", "get_caller_identity")
        if who.get("Account") == self._settings.account:
            return []
        return [f"we are {who.get('Arn')}, which is not of account {self._settings.account}: check our identity and account"]

    # --- our own key ----------------------------------------------------------------------------------------------

    def own_keys(self, secret: Callable[[Reference], str] | None = None) -> Keys:
        """What our references lead to, or what ``secret`` makes of them. Its parts are read one after the other: what was
        replaced meanwhile is read again. Raises OutsideError."""
        key, read = self._settings.access_key, secret or self._surroundings.secret
        assert key is not None, "asked only where a key is configured"
        for _ in range(_READS):
            found = Keys(read(key.id), read(key.secret), read(key.session_token) if key.session_token else None)
            if read(key.id) == found.access_key:
                return found
        raise Retryable("our key for AWS is replaced faster than it can be read")

    def take_up(self) -> None:
        """Assume the role anew at the next call. A key itself is read for each request anyway; nobody's call is cut off."""
        with self._lock:
            self._sessions.pop(True, None)
            self._clients = {key: client for key, client in self._clients.items() if not key[2]}

    def assumable(self, fields: Secret) -> None:
        """Whether these fields may assume our role, where there is one. Raises OutsideError."""
        if self._settings.assume_role is None:
            return
        with self.calling():
            client = self.client("sts", credentials=fields)
            try:
                client.assume_role(**self._role())
            finally:
                client.close()

    # --- ours ----------------------------------------------------------------------------------------------------

    def _cached(self, service: str, region: str | None, *, assumed: bool) -> Any:
        key = (service, region or "", assumed)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._make(self._session(assumed=assumed), service, region)
            return self._clients[key]

    def _make(self, session: Any, service: str, region: str | None, keys: Keys | None = None) -> Any:
        with self._lock:  # making clients of one session is not thread-safe
            return session.create_client(
                service,
                region_name=region or self.region(),
                endpoint_url=self._settings.endpoint_url,
                aws_access_key_id=keys.access_key if keys else None,
                aws_secret_access_key=keys.secret_key if keys else None,
                aws_session_token=keys.token if keys else None,
            )

    def _session(self, *, assumed: bool) -> Any:
        with self._lock:
            if assumed not in self._sessions:
                self._sessions[assumed] = self._new_session(assumed=assumed)
            return self._sessions[assumed]

    def _new_session(self, *, assumed: bool) -> Any:
        from botocore.session import Session  # noqa: PLC0415

        for name in _SILENCED:  # whatever level the root has: their DEBUG lines hold bodies
            logger = logging.getLogger(name)
            logger.setLevel(max(logger.level, logging.INFO))
        session = Session(profile=self._settings.profile)
        session.register_component("data_loader", _loader())
        session.set_default_client_config(self._config())
        session.register("before-send", self._in_time)
        if assumed:
            session._credentials = self._assumed()  # noqa: SLF001 - the only way in that leaves the loader's chain alone
        elif self._settings.access_key is not None:
            session._credentials = _ByReference(self.own_keys)  # noqa: SLF001
        return session

    def _config(self) -> Any:
        from botocore.config import Config  # noqa: PLC0415

        local = urlsplit(self._settings.endpoint_url or "").hostname in _LOOPBACK
        return Config(
            connect_timeout=self._settings.connect_timeout,
            read_timeout=self._settings.read_timeout,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=16,
            user_agent_extra="rotatord",
            proxies={} if local else None,
        )

    def _in_time(self, **_: Any) -> None:
        """Before each request that is sent, those for our own credentials included."""
        deadline = getattr(self._method, "deadline", None)
        longest = self._settings.connect_timeout + self._settings.read_timeout
        if deadline is not None and deadline - self._monotonic() < longest:
            raise Retryable(f"AWS did not answer everything within {self._settings.for_calls:g} s")

    def _assumed(self) -> Any:
        from botocore.credentials import DeferredRefreshableCredentials  # noqa: PLC0415

        return DeferredRefreshableCredentials(self._assume, "assume-role", time_fetcher=self._surroundings.now)

    def _assume(self) -> Mapping[str, str]:
        got = self._cached("sts", None, assumed=False).assume_role(**self._role())["Credentials"]
        end: datetime = got["Expiration"]
        return {
            "access_key": got["AccessKeyId"],
            "secret_key": got["SecretAccessKey"],
            "token": got["SessionToken"],
            "expiry_time": end.isoformat(),
        }

    def _role(self) -> JsonMap:
        role = self._settings.assume_role
        assert role is not None, "asked only where a role is configured"
        extra = {"ExternalId": role.external_id} if role.external_id else {}
        return {"RoleArn": role.arn, "RoleSessionName": role.session_name, "DurationSeconds": _SESSION_SECONDS, **extra}


def partition_of(region: str | None) -> str:
    """The first part of ARNs there."""
    for start, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov")):
        if region and region.startswith(start):
            return partition
    return "aws"


def _keys_of(fields: Secret) -> Keys:
    token = fields.reveal("session_token") if "session_token" in fields.names else None
    return Keys(fields.reveal("access_key_id"), fields.reveal("secret_access_key"), token)


@functools.cache
def _loader() -> Any:
    """One for all sessions: what it has read of the services' descriptions is large."""
    from botocore.loaders import create_loader  # noqa: PLC0415

    return create_loader()
