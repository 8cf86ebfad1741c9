"""STS for programs that have a token of someone else's: how a pod of a cluster takes a role, without any key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from rotatord.testing.aws.account import Principal, Role
from rotatord.testing.aws.asking import Ask, Caller, Operation
from rotatord.testing.aws.errors import AwsError, common
from rotatord.testing.aws.policies import parsed, trusted
from rotatord.testing.aws.shapes import JsonMap
from rotatord.testing.aws.sts import open_session

_ACTION = "sts:AssumeRoleWithWebIdentity"
_HOUR = 3600
NOBODY = Caller("", Principal("", "/", "", "anonymous", datetime.min.replace(tzinfo=UTC)), "anonymous", "")


def meant(service: str, operation: str) -> bool:
    """Whether a request is for the one operation that needs no signature."""
    return f"{service}:{operation}" == _ACTION


def _assume(ask: Ask) -> JsonMap:
    claims = ask.account.web_identity(ask.input["WebIdentityToken"])
    if claims is None:
        raise AwsError("InvalidIdentityToken", "No OpenIDConnect provider found in your account for the token")
    if "exp" in claims and datetime.fromtimestamp(float(claims["exp"]), UTC) <= ask.now:
        raise AwsError("ExpiredTokenException", "Token expired: current date/time must be before the expiration date/time")
    host = str(claims["iss"]).removeprefix("https://")
    provider = f"arn:aws:iam::{ask.account.number}:oidc-provider/{host}"
    arn = ask.input["RoleArn"]
    role = next((one for one in ask.account.roles.values() if one.arn == arn), None)
    if role is None or not _let_in(ask, role, provider, {f"{host}:sub": str(claims["sub"]), f"{host}:aud": str(claims["aud"])}):
        raise common("denied", "query", f"Not authorized to perform {_ACTION}")
    seconds = ask.get("DurationSeconds", _HOUR)
    if seconds > role.max_session:
        raise common("invalid", "query", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    session = open_session(ask.account, role, ask.input["RoleSessionName"], seconds)
    return {
        "Credentials": {
            "AccessKeyId": session.key,
            "SecretAccessKey": session.secret,
            "SessionToken": session.token,
            "Expiration": session.expires,
        },
        "SubjectFromWebIdentityToken": str(claims["sub"]),
        "AssumedRoleUser": {"AssumedRoleId": session.id, "Arn": session.arn},
        "Provider": provider,
        "Audience": str(claims["aud"]),
    }


def _let_in(ask: Ask, role: Role, provider: str, context: Mapping[str, str]) -> bool:
    document = parsed(role.name, role.trust.seen(ask.view, ask.now), kind="trust")
    return trusted(document, _ACTION, [provider], context) == "allowed"


OPERATIONS: Mapping[str, Operation] = {"AssumeRoleWithWebIdentity": Operation(_assume, None)}
