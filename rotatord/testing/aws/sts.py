"""STS: who am I, and sessions of roles."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from datetime import timedelta

from rotatord.testing.aws.account import Account, Role, Session
from rotatord.testing.aws.asking import Ask, Operation, Target
from rotatord.testing.aws.errors import AwsError, common
from rotatord.testing.aws.policies import Document, parsed, trusted
from rotatord.testing.aws.shapes import JsonMap

_HOUR = 3600
_POLICY_ARNS = 10
_PACKED = 2048  # characters of policies and tags together, before AWS packs them; what that gives it does not tell


def _identity(ask: Ask) -> JsonMap:
    return {"UserId": ask.caller.id, "Account": ask.account.number, "Arn": ask.caller.arn}


def _key_info(ask: Ask) -> JsonMap:
    named = ask.input["AccessKeyId"]
    if named not in ask.account.keys and named not in ask.account.sessions:
        raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.")
    return {"Account": ask.account.number}


def _role(ask: Ask) -> Role | None:
    arn = ask.input["RoleArn"]
    return next((role for role in ask.account.roles.values() if role.arn == arn), None)


def _about_role(ask: Ask) -> Target:
    arn = ask.input["RoleArn"]
    if not re.fullmatch(r"arn:aws:iam::\d{12}:role/.+", arn):
        raise common("invalid", "query", f"{arn} is invalid")
    return Target(arn)


def _assume(ask: Ask) -> JsonMap:
    target = _about_role(ask)
    role = _role(ask)
    let_in = role is not None and _let_in(ask, role)
    for action in _actions(ask) if let_in else ["sts:AssumeRole"]:
        ask.record(action, target, let_in)
    if role is None or not let_in:
        said = f"User: {ask.caller.arn} is not authorized to perform: sts:AssumeRole on resource: {target.arn}"
        raise common("denied", "query", said)
    seconds = ask.get("DurationSeconds", _HOUR)
    if seconds > role.max_session:
        raise common("invalid", "query", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    if ask.caller.session is not None and seconds > _HOUR:
        raise common(
            "invalid",
            "query",
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        )
    policies, packed = _session_policies(ask)
    tags = {tag["Key"]: tag["Value"] for tag in ask.get("Tags", ())}
    session = open_session(ask.account, role, ask.input["RoleSessionName"], seconds, policies, tags)
    found: JsonMap = {
        "Credentials": {
            "AccessKeyId": session.key,
            "SecretAccessKey": session.secret,
            "SessionToken": session.token,
            "Expiration": session.expires,
        },
        "AssumedRoleUser": {"AssumedRoleId": session.id, "Arn": session.arn},
    }
    if policies is not None or "Tags" in ask.input:
        found["PackedPolicySize"] = packed
    if "SourceIdentity" in ask.input:
        found["SourceIdentity"] = ask.input["SourceIdentity"]
    return found


def _actions(ask: Ask) -> list[str]:
    """What the caller and the role's trust must both allow: tags and a source identity take rights of their own."""
    beside = {"Tags": "sts:TagSession", "SourceIdentity": "sts:SetSourceIdentity"}
    return ["sts:AssumeRole", *(action for member, action in beside.items() if member in ask.input)]


def _let_in(ask: Ask, role: Role) -> bool:
    """The role's trust, and where that names only the account, the caller's own policies."""
    caller = ask.caller
    own = [caller.principal.arn, caller.arn]
    account = [f"arn:aws:iam::{ask.account.number}:root", ask.account.number]
    context = {"aws:PrincipalArn": caller.principal.arn, "aws:userid": caller.id}
    for member, key in (
        ("ExternalId", "sts:ExternalId"),
        ("RoleSessionName", "sts:RoleSessionName"),
        ("SourceIdentity", "sts:SourceIdentity"),
    ):
        if member in ask.input:
            context[key] = ask.input[member]
    context |= {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in ask.get("Tags", ())}
    document = parsed(role.name, role.trust.seen(ask.view, ask.now), kind="trust")
    actions = _actions(ask)
    verdicts = [trusted(document, action, own + account, context) for action in actions]
    if any(verdict != "allowed" for verdict in verdicts):
        return False
    named = all(trusted(document, action, own, context) == "allowed" for action in actions)
    target = Target(role.arn, context=context)
    answers = [ask.decision(action, target) for action in actions]
    return all(allowed or (named and why.startswith("because no identity-based")) for allowed, why in answers)


def _session_policies(ask: Ask) -> tuple[tuple[Document, ...] | None, int]:
    arns = [one["arn"] for one in ask.get("PolicyArns", ())]
    if len(arns) > _POLICY_ARNS:
        raise common("invalid", "query", f"The number of PolicyArns exceeds the quota of {_POLICY_ARNS}")
    documents = []
    for arn in arns:
        if arn not in ask.account.policies:
            raise AwsError("MalformedPolicyDocument", f"Policy with ARN {arn} was not found")
        documents.append(parsed(arn, ask.account.policies[arn].rights.newest.text))
    text = ask.get("Policy")
    if text is not None:
        if len(text) > _PACKED:
            raise AwsError("PackedPolicyTooLarge", f"Packed size of session policy exceeds the quota of {_PACKED} characters")
        documents.append(parsed("session policy", text))
    tags = "".join(f"{tag['Key']}={tag['Value']};" for tag in ask.get("Tags", ()))
    packed = len(zlib.compress(((text or "") + "".join(arns) + tags).encode())) * 100 // 1024
    if packed > 100:
        raise AwsError("PackedPolicyTooLarge", f"Packed size of session tags consumes {packed}% of allotted space.")
    return (tuple(documents) if documents else None), packed


def open_session(
    account: Account,
    role: Role,
    name: str,
    seconds: int,
    policies: tuple[Document, ...] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Session:
    """New temporary credentials of a role."""
    session = Session(
        key=account.new_id("ASIA"),
        secret=account.letters(40),
        token="FwoGZXIvYXdzE" + account.letters(200),
        principal=role,
        arn=f"arn:aws:sts::{account.number}:assumed-role/{role.name}/{name}",
        id=f"{role.id}:{name}",
        issued=account.now(),
        expires=account.now().replace(microsecond=0) + timedelta(seconds=seconds),
        policies=policies,
        tags=tags or {},
    )
    account.sessions[session.key] = session
    return session


OPERATIONS: Mapping[str, Operation] = {
    "GetCallerIdentity": Operation(_identity, None),
    "GetAccessKeyInfo": Operation(_key_info, lambda _: Target("*")),
    "AssumeRole": Operation(_assume, None),
}
