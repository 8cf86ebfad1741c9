"""Sessions of an IAM role: leased versions, which nobody can list or end. They end by themselves, 15 minutes to 12 hours later.

So nothing is revoked here: a replaced session lives on until its end, and the ledger waits for it. Who must end one sooner
denies the role everything that was issued before now (``aws:TokenIssueTime``), for all its sessions alike: a person's decision.

The session's name carries rotation, generation and a digest of installation and credential, so that CloudTrail tells whose it
is. A ref is the role's id with that name, and the end: ``AROA…:rotatord.rot_1f….3.9c0ffee1.app@2026-11-22T09:00:00Z``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rotatord import aws_policies as policies
from rotatord.aws_client import Aws, AwsSettings, PolicyArn, RoleArn
from rotatord.aws_errors import code_of
from rotatord.aws_identity import Who, who_is
from rotatord.aws_own import OwnAws
from rotatord.durations import parse
from rotatord.errors import Denied, Invalid, Permanent
from rotatord.mistakes import sentences
from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    LiveRef,
    Minted,
    MintRequest,
    ProbeAnswer,
    Query,
    RefusedVerdict,
    Surroundings,
    Traits,
)
from rotatord.rights import AwsRight
from rotatord.secret import Secret

SHORTEST, LONGEST = timedelta(minutes=15), timedelta(hours=12)
ALWAYS_ALLOWED = timedelta(hours=1)  # by every role, and to sessions that ask for a session
CLOCKS_DIFFER = timedelta(minutes=6)  # by our clock a session is over only so long after its end
POLICY_CHARACTERS = 2048
POLICY_ARNS = 10
NAME_CHARACTERS = 64
_KEY_ID = re.compile(r"\w{16,128}", re.ASCII)
_REF = re.compile(
    r"(?P<id>[A-Z0-9]{16,128}:rotatord\.(?P<rotation>[^.]+)\.(?P<generation>\d+)\.(?P<digest>[0-9a-f]{8})\.[\w+=,.@-]*)"
    r"@(?P<end>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)",
    re.ASCII,
)
_TOO_LONG = re.compile(r"MaxSessionDuration|1 hour session limit", re.IGNORECASE)
Length = Annotated[timedelta, BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)]
TagText = Annotated[str, Field(pattern=r"^[\w .:/=+@-]*$", max_length=256)]


class Settings(AwsSettings):
    """Settings of an issuer of type ``aws_sts``."""

    propagation: Length = timedelta(0)
    call_settles_within: Length = timedelta(seconds=60)


class Parameters(BaseModel):
    """Which role's sessions they are."""

    model_config = ConfigDict(extra="forbid")

    role: RoleArn
    external_id: str | None = Field(default=None, pattern=r"^[\w+=,.@:/-]+$", min_length=2, max_length=1224)
    source_identity: str | None = Field(default=None, pattern=r"^[\w+=,.@-]{2,64}$")


class Scope(BaseModel):
    """What a session may do: what its role may, cut down to these."""

    model_config = ConfigDict(extra="forbid")

    policy: dict[str, Any] | None = None
    managed: list[PolicyArn] = Field(default=[], max_length=POLICY_ARNS)
    tags: dict[TagText, TagText] = Field(default={}, max_length=50)


class RoleSessions(OwnAws):
    """See the module. Has no optional powers; thread-safe."""

    def __init__(self, settings: Settings, surroundings: Surroundings, aws: Aws | None = None) -> None:
        self._now = surroundings.now
        self._aws = aws or Aws(settings, surroundings)
        self.timeout = settings.timeout
        self.traits = Traits(
            fields=("access_key_id", "secret_access_key", "session_token", "expiration"),
            strategy="leased",
            expiry=True,
            revocable=False,
            shortest_life=SHORTEST,
            propagation=settings.propagation,
            listing_delay=LONGEST,
            call_settles_within=settings.call_settles_within,
            high_entropy=("secret_access_key", "session_token"),
            forms={"access_key_id": r"\w{16,128}", "secret_access_key": r"[A-Za-z0-9/+]{40,}"},
            names=("access_key_id", "expiration"),
        )

    def close(self) -> None:
        self._aws.close()

    def check(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        found = sentences(Parameters, parameters, "parameters") + sentences(Scope, scope, "scope")
        if found or scope.get("policy") is None:
            return found
        found = policies.problems(scope["policy"], "scope.policy")
        length = 0 if found else len(policies.text(policies.plain(scope["policy"])))
        if length > POLICY_CHARACTERS:
            found.append(f"scope.policy: {length} characters, and AWS takes {POLICY_CHARACTERS} of a session's policy")
        return found

    def propose(self, request: MintRequest) -> Secret:
        raise Invalid(f"AWS chooses the values of its sessions ({request.credential})")

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        if proposed is not None:
            raise Invalid("AWS chooses the values of its sessions")
        life = ALWAYS_ALLOWED if request.ttl is None else min(request.ttl, LONGEST)
        if life < SHORTEST:
            raise Invalid(f"a session lasts 15m at least, not {life.total_seconds():g} s: make the policy's ttl longer")
        asked = _asked(request)
        with self._aws.calling():
            try:
                answer = self._assume(asked, life)
            except Invalid as error:
                if life <= ALWAYS_ALLOWED or not _TOO_LONG.search(str(error)):
                    raise
                answer = self._assume(asked, ALWAYS_ALLOWED)  # it was refused, so this is no second session
        given, who = answer["Credentials"], answer["AssumedRoleUser"]["AssumedRoleId"]
        end: datetime = given["Expiration"].astimezone(UTC).replace(microsecond=0)
        fields = {
            "access_key_id": given["AccessKeyId"],
            "secret_access_key": given["SecretAccessKey"],
            "session_token": given["SessionToken"],
            "expiration": _text(end),
        }
        return Minted(ref=f"{who}@{_text(end)}", fields=Secret(fields), expires_at=end)

    def find(self, query: Query) -> Sequence[LiveRef]:
        """By ref alone: nobody can list sessions. One lives until its end."""
        found = _REF.fullmatch(query.ref or "")
        if found is None or found["digest"] != _digest(query.installation, query.credential):
            return []
        end = datetime.fromisoformat(found["end"])
        if self._now() >= end + CLOCKS_DIFFER:
            return []
        live = LiveRef(
            ref=found[0],
            installation=query.installation,
            credential=query.credential,
            rotation=found["rotation"],
            generation=int(found["generation"]),
            expires_at=end,
        )
        return [live]

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        if not _KEY_ID.fullmatch(fields.reveal("access_key_id")):
            return RefusedVerdict("this cannot be the id of a session's key")
        with self._aws.calling():
            answer = who_is(self._aws, fields)
        if not isinstance(answer, Who):
            return answer
        return Accepted(ref=f"{answer.id}@{fields.reveal('expiration')}", expires_at=_end(fields.reveal("expiration")))

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        """Nothing: a session ends by itself, and in no other way."""

    def rights(self, scope: JsonMap, parameters: JsonMap) -> Sequence[AwsRight]:
        actions = ["sts:AssumeRole"]
        actions += ["sts:SetSourceIdentity"] if parameters.get("source_identity") else []
        actions += ["sts:TagSession"] if scope.get("tags") else []
        return [
            AwsRight(tuple(actions), (parameters["role"],), why="to open sessions of the role; its trust policy must allow it")
        ]

    def _assume(self, asked: JsonMap, life: timedelta) -> JsonMap:
        try:
            return self._aws.call("sts", "assume_role", DurationSeconds=int(life.total_seconds()), **asked)
        except Permanent as error:
            refused = code_of(error) != ""  # by AWS itself: it made no session
            if not isinstance(error, Denied):
                raise type(error)(str(error), made_nothing=refused) from None
            raise Denied(
                f"{error}. The trust policy of {asked['RoleArn']} must allow us sts:AssumeRole, with the external id if any "
                "(and sts:TagSession where the scope has tags), and so must our own policy",
                made_nothing=refused,
            ) from None


def create(settings: JsonMap, surroundings: Surroundings) -> RoleSessions:
    """The factory behind the entry point ``aws_sts``."""
    return RoleSessions(Settings.model_validate(settings), surroundings)


def _asked(request: MintRequest) -> JsonMap:
    parameters, scope = Parameters.model_validate(request.parameters), Scope.model_validate(request.scope)
    asked: JsonMap = {"RoleArn": parameters.role, "RoleSessionName": session_name(request)}
    if parameters.external_id is not None:
        asked["ExternalId"] = parameters.external_id
    if parameters.source_identity is not None:
        asked["SourceIdentity"] = parameters.source_identity
    if scope.policy is not None:
        asked["Policy"] = policies.text(policies.plain(scope.policy))
    if scope.managed:
        asked["PolicyArns"] = [{"arn": arn} for arn in sorted(set(scope.managed))]
    if scope.tags:
        asked["Tags"] = [{"Key": key, "Value": value} for key, value in sorted(scope.tags.items())]
    return asked


def session_name(request: MintRequest) -> str:
    """By which CloudTrail, and a ref, tell whose session it is."""
    rotation = re.sub(r"[^\w-]", "-", request.rotation, flags=re.ASCII)[:32]
    start = f"rotatord.{rotation}.{request.generation}.{_digest(request.installation, request.credential)}."
    return (start + re.sub(r"[^\w+=,.@-]", "-", request.credential, flags=re.ASCII))[:NAME_CHARACTERS]


def _digest(installation: str, credential: str) -> str:
    return hashlib.sha256(f"{installation}\n{credential}".encode()).hexdigest()[:8]


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _end(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
