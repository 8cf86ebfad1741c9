"""Checks of consumers: over HTTP, by a TCP connection, by a command, or by what the consumer says of itself.

``unhealthy`` is what the consumer says or plainly shows; ``unknown`` is everything that proves nothing (no answer, no
address, an answer that cannot be read). Neither passes a gate, but only the first can turn a rotation back early.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from rotatord.argv import KILL_SECONDS, Argv, environment, run
from rotatord.attest import Attest, Attested, Attestor
from rotatord.errors import OutsideError, RotatordError
from rotatord.http import OutgoingSettings, Response, check_url, shown
from rotatord.model import JsonMap
from rotatord.ports import Published, Surroundings
from rotatord.rights import no_rights

Verdict = tuple[str, str]
HEALTHY, UNHEALTHY, UNKNOWN = "healthy", "unhealthy", "unknown"
_LONGEST = 400


def unknown(error: RotatordError) -> Verdict:
    return UNKNOWN, line(str(error))


def line(text: str) -> str:
    """One line of bounded length."""
    return " ".join(text.split())[:_LONGEST]


# --- http ----------------------------------------------------------------------------------------------------------


class JsonExpectation(BaseModel):
    """A value inside a JSON answer: ``path`` with dots (``checks.0.status``), ``equals`` any scalar."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1)
    equals: str | int | float | bool | None


class HttpSettings(OutgoingSettings):
    """One request and what its answer must be like."""

    url: str
    method: Literal["GET", "HEAD", "POST"] = "GET"
    status: str = "200-299"  # numbers and ranges, separated by commas
    json_value: JsonExpectation | None = Field(default=None, alias="json")
    contains: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    bearer: JsonMap | None = None  # a reference; sent as Authorization: Bearer

    @field_validator("url")
    @classmethod
    def _good_url(cls, value: str) -> str:
        return check_url(value)

    @field_validator("headers")
    @classmethod
    def _no_secrets(cls, value: dict[str, str]) -> dict[str, str]:
        if any(name.lower() in {"authorization", "proxy-authorization", "cookie"} for name in value):
            raise ValueError("no secret belongs into headers; use bearer with a reference")
        return value

    @field_validator("status", mode="before")
    @classmethod
    def _ranges(cls, value: Any) -> str:
        parts = value if isinstance(value, list) else [value]
        text = ",".join(str(part) for part in parts)
        if not re.fullmatch(r"\s*\d{3}(\s*-\s*\d{3})?(\s*,\s*\d{3}(\s*-\s*\d{3})?)*\s*", text):
            raise ValueError("status is a number such as 200, a range such as 200-299, or several")
        return text


class HttpHealth:
    """See :class:`HttpSettings`."""

    rights = staticmethod(no_rights)

    def __init__(self, settings: HttpSettings, surroundings: Surroundings) -> None:
        self._settings = settings
        self._outgoing = settings.outgoing()
        self._secret: Callable[[JsonMap | str], str] = surroundings.secret
        self.timeout = settings.timeout + 1.0

    def check(self, published: Published) -> Verdict:  # noqa: ARG002 - the same for every version
        settings = self._settings
        headers = dict(settings.headers)
        try:
            if settings.bearer is not None:
                headers["Authorization"] = f"Bearer {self._secret(settings.bearer)}"
            response = self._outgoing.request(settings.method, settings.url, headers=headers)
        except RotatordError as error:  # a reference that cannot be read is no answer either
            return unknown(error)
        return self._judge(response)

    def _judge(self, response: Response) -> Verdict:
        settings = self._settings
        where = f"{settings.method} {shown(settings.url)}: status {response.status}"
        if not _within(response.status, settings.status):
            return UNHEALTHY, line(where)
        if settings.contains is not None and settings.contains.encode() not in response.body:
            return UNHEALTHY, line(f"{where}, but the body lacks the text asked for")
        if settings.json_value is not None:
            try:
                found = _at(json.loads(response.body), settings.json_value.path)
            except (ValueError, LookupError, RecursionError):
                return UNKNOWN, line(f"{where}, but the body has nothing at {settings.json_value.path}")
            if type(found) is not type(settings.json_value.equals) or found != settings.json_value.equals:
                return UNHEALTHY, line(f"{where}, but {settings.json_value.path} is not as asked for")
        return HEALTHY, line(where)


def _within(status: int, ranges: str) -> bool:
    for part in ranges.split(","):
        low, _, high = part.partition("-")
        if int(low) <= status <= int(high or low):
            return True
    return False


def _at(value: Any, path: str) -> Any:
    for step in path.split("."):
        if isinstance(value, list) and step.isdigit():
            value = value[int(step)]
        elif isinstance(value, dict):
            value = value[step]
        else:
            raise LookupError
    return value


# --- tcp -----------------------------------------------------------------------------------------------------------


class TcpSettings(OutgoingSettings):
    """A port that must take connections."""

    host: str = Field(min_length=1)
    port: int = Field(gt=0, le=65535)


class TcpHealth:
    """See :class:`TcpSettings`."""

    rights = staticmethod(no_rights)

    def __init__(self, settings: TcpSettings) -> None:
        self._settings = settings
        self._outgoing = settings.outgoing()
        self.timeout = settings.timeout + 1.0

    def check(self, published: Published) -> Verdict:  # noqa: ARG002 - the same for every version
        where = f"{self._settings.host}:{self._settings.port}"
        try:
            taken = self._outgoing.reach(self._settings.host, self._settings.port)
        except OutsideError as error:
            return unknown(error)
        return (HEALTHY, f"{where} takes connections") if taken else (UNHEALTHY, f"{where} refuses connections")


# --- command -------------------------------------------------------------------------------------------------------


class CommandSettings(BaseModel):
    """A command whose exit code tells: 0 healthy, 3 unknown, anything else unhealthy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: Argv
    pass_environment: tuple[str, ...] = ()
    timeout: float = Field(default=10.0, gt=0, le=120)  # seconds


class CommandHealth:
    """See :class:`CommandSettings`."""

    def __init__(self, settings: CommandSettings, surroundings: Surroundings) -> None:
        self._settings = settings
        self._base_dir = surroundings.base_dir
        self.timeout = settings.timeout + 2 * KILL_SECONDS + 1.0

    def check(self, published: Published) -> Verdict:
        argv = self._settings.command
        facts = {"ROTATORD_CREDENTIAL": published.credential, "ROTATORD_VERSION": published.label}
        env = environment(facts, self._settings.pass_environment)
        try:
            finished = run(argv, env=env, seconds=self._settings.timeout, directory=self._base_dir)
        except OutsideError as error:
            return unknown(error)
        verdict = {0: HEALTHY, 3: UNKNOWN}.get(finished.code, UNHEALTHY if finished.code > 0 else UNKNOWN)
        how = f"exit code {finished.code}" if finished.code >= 0 else f"ended by signal {-finished.code}"
        return verdict, line(f"{argv[0]}: {how}")


# --- attestation ---------------------------------------------------------------------------------------------------


class AttestationSettings(Attest):
    """As a consumer's ``attest``, without the proof: what is proven there need not be proven here."""

    @field_validator("possession")
    @classmethod
    def _no_proof(cls, value: bool) -> bool:
        if value:
            raise ValueError("possession belongs into the consumer's attest")
        return value


class AttestationHealth:
    """Healthy when every instance says ``status: ok`` or, without a status, attests the published version."""

    rights = staticmethod(no_rights)

    def __init__(self, settings: AttestationSettings) -> None:
        self._attestor = Attestor(settings)
        self.timeout = self._attestor.timeout

    def check(self, published: Published) -> Verdict:
        try:
            found = self._attestor.ask(published)
        except OutsideError as error:
            return unknown(error)
        return summed([_of_instance(attested, published) for attested in found])


def _of_instance(attested: Attested, published: Published) -> Verdict:
    instance = attested.instance
    if instance.refused == published.label:
        return UNHEALTHY, f"{instance.id} refused {published.label}"
    if attested.status is not None:
        return (HEALTHY if attested.status == "ok" else UNHEALTHY), f"{instance.id} says {attested.status}"
    if instance.version == published.label:
        return HEALTHY, f"{instance.id} runs on {published.label}"
    return UNKNOWN, f"{instance.id} does not say how it is"


def summed(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict for all instances: the worst, with who it was."""
    for worst in (UNHEALTHY, UNKNOWN):
        said = [detail for verdict, detail in verdicts if verdict == worst]
        if said:
            return worst, line("; ".join(said))
    return (HEALTHY, f"{len(verdicts)} instance(s) well") if verdicts else (UNKNOWN, "no instance answered")


# --- factories -----------------------------------------------------------------------------------------------------


def create_http(settings: JsonMap, surroundings: Surroundings) -> HttpHealth:
    """The factory behind ``http``."""
    return HttpHealth(HttpSettings.model_validate(settings), surroundings)


def create_tcp(settings: JsonMap, surroundings: Surroundings) -> TcpHealth:  # noqa: ARG001 - the factory's signature
    """The factory behind ``tcp``."""
    return TcpHealth(TcpSettings.model_validate(settings))


def create_command(settings: JsonMap, surroundings: Surroundings) -> CommandHealth:
    """The factory behind ``command``."""
    return CommandHealth(CommandSettings.model_validate(settings), surroundings)


def create_attestation(settings: JsonMap, surroundings: Surroundings) -> AttestationHealth:  # noqa: ARG001 - the factory's signature
    """The factory behind ``attestation``."""
    return AttestationHealth(AttestationSettings.model_validate(settings))
