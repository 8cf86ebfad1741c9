"""IAM's operations on policies: inline, managed, attached, and as boundaries."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from dataclasses import replace

from rotatord.testing.aws.account import Policy, PolicyVersion, Versions
from rotatord.testing.aws.asking import Ask, Operation, Target, judged
from rotatord.testing.aws.errors import AwsError
from rotatord.testing.aws.iam_users import about_user, page, requested_tags, shown, tag_list
from rotatord.testing.aws.policies import Question, decide, parsed, size
from rotatord.testing.aws.shapes import JsonMap

_INLINE_SIZE = 2048  # of all inline policies of a user together
_MANAGED_SIZE = 6144
_ATTACHED = 10
_VERSIONS = 5


def _about_policy(ask: Ask) -> Target:
    return Target(ask.input["PolicyArn"], f"policy {ask.input['PolicyArn']}")


def _about_new_policy(ask: Ask) -> Target:
    name, path = ask.input["PolicyName"], ask.get("Path", "/")
    return Target(f"arn:aws:iam::{ask.account.number}:policy{path}{name}", f"policy {name}", requested_tags(ask))


def _encoded(document: str) -> str:
    """IAM gives documents back percent-encoded."""
    return urllib.parse.quote(document, safe="")


# -- inline --


def _put_inline(ask: Ask) -> JsonMap:
    user, name, text = ask.account.user(ask.input["UserName"]), ask.input["PolicyName"], ask.input["PolicyDocument"]
    parsed(name, text)
    inline = {**user.holding.inline, name: text}
    if sum(size(one) for one in inline.values()) > _INLINE_SIZE:
        raise AwsError("LimitExceeded", f"Maximum policy size of {_INLINE_SIZE} bytes exceeded for user {user.name}")
    ask.account.change(user, inline=inline)
    return {}


def _no_inline(name: str) -> AwsError:
    return AwsError("NoSuchEntity", f"The user policy with name {name} cannot be found.")


def _get_inline(ask: Ask) -> JsonMap:
    user, name = ask.account.user(ask.input["UserName"]), ask.input["PolicyName"]
    inline = shown(ask, user).inline
    if name not in inline:
        raise _no_inline(name)
    return {"UserName": user.name, "PolicyName": name, "PolicyDocument": _encoded(inline[name])}


def _delete_inline(ask: Ask) -> JsonMap:
    user, name = ask.account.user(ask.input["UserName"]), ask.input["PolicyName"]
    if name not in user.holding.inline:
        raise _no_inline(name)
    ask.account.change(user, inline={key: text for key, text in user.holding.inline.items() if key != name})
    return {}


def _list_inline(ask: Ask) -> JsonMap:
    return page(ask, "PolicyNames", sorted(shown(ask, ask.account.user(ask.input["UserName"])).inline))


# -- attachments and boundaries --


def _attachable(ask: Ask, arn: str) -> None:
    if arn not in ask.account.policies:
        raise AwsError("NoSuchEntity", f"Policy {arn} does not exist or is not attachable.")


def _attach(ask: Ask) -> JsonMap:
    user, arn = ask.account.user(ask.input["UserName"]), ask.input["PolicyArn"]
    _attachable(ask, arn)
    if arn in user.holding.attached:
        return {}
    if len(user.holding.attached) >= _ATTACHED:
        raise AwsError("LimitExceeded", f"Cannot exceed quota for PoliciesPerUser: {_ATTACHED}")
    ask.account.change(user, attached=(*user.holding.attached, arn))
    return {}


def _detach(ask: Ask) -> JsonMap:
    user, arn = ask.account.user(ask.input["UserName"]), ask.input["PolicyArn"]
    if arn not in user.holding.attached:
        raise AwsError("NoSuchEntity", f"Policy {arn} was not found.")
    ask.account.change(user, attached=tuple(one for one in user.holding.attached if one != arn))
    return {}


def _list_attached(ask: Ask) -> JsonMap:
    arns = shown(ask, ask.account.user(ask.input["UserName"])).attached
    prefix = ask.get("PathPrefix", "/")
    policies = [ask.account.policies[arn] for arn in arns if arn in ask.account.policies]
    rows = [{"PolicyName": one.name, "PolicyArn": one.arn} for one in policies if one.path.startswith(prefix)]
    return page(ask, "AttachedPolicies", rows)


def _put_boundary(ask: Ask) -> JsonMap:
    user, arn = ask.account.user(ask.input["UserName"]), ask.input["PermissionsBoundary"]
    _attachable(ask, arn)
    ask.account.change(user, boundary=arn)
    return {}


def _delete_boundary(ask: Ask) -> JsonMap:
    user = ask.account.user(ask.input["UserName"])
    if user.holding.boundary is None:
        raise AwsError("NoSuchEntity", f"The user {user.name} does not have a permissions boundary.")
    ask.account.change(user, boundary=None)
    return {}


# -- managed policies --


def _policy(ask: Ask) -> Policy:
    arn = ask.input["PolicyArn"]
    if arn not in ask.account.policies:
        raise AwsError("NoSuchEntity", f"Policy {arn} was not found.")
    return ask.account.policies[arn]


def _own_policy(ask: Ask) -> Policy:
    policy = _policy(ask)
    if policy.arn.startswith("arn:aws:iam::aws:"):
        raise AwsError("AccessDenied", "Policy is outside your own account.")
    return policy


def _managed_text(ask: Ask, name: str) -> str:
    text: str = ask.input["PolicyDocument"]
    parsed(name, text)
    if size(text) > _MANAGED_SIZE:
        raise AwsError("LimitExceeded", f"Cannot exceed quota for PolicySize: {_MANAGED_SIZE}")
    return text


def _policy_view(ask: Ask, policy: Policy, versions: Versions) -> JsonMap:
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": versions.default,
        "AttachmentCount": sum(policy.arn in user.holding.attached for user in ask.account.users.values()),
        "PermissionsBoundaryUsageCount": sum(policy.arn == user.holding.boundary for user in ask.account.users.values()),
        "IsAttachable": True,
        "CreateDate": policy.created,
        "UpdateDate": versions.all[-1].created,
        "Description": policy.description,
        "Tags": tag_list(policy.tags) or None,
    }


def _create_policy(ask: Ask) -> JsonMap:
    name, path = ask.input["PolicyName"], ask.get("Path", "/")
    text = _managed_text(ask, name)
    taken = {one.name.lower() for one in ask.account.policies.values() if not one.arn.startswith("arn:aws:iam::aws:")}
    if name.lower() in taken:
        raise AwsError("EntityAlreadyExists", f"A policy called {name} already exists. Duplicate names are not allowed.")
    if "Tags" in ask.input:
        ask.require("iam:TagPolicy", _about_new_policy(ask))
    policy = ask.account.add_policy(name, text, path)
    policy.tags = {tag["Key"]: tag["Value"] for tag in ask.get("Tags", ())}
    policy.description = ask.get("Description")
    return {"Policy": _policy_view(ask, policy, policy.shown.newest)}


def _get_policy(ask: Ask) -> JsonMap:
    policy = _policy(ask)
    return {"Policy": _policy_view(ask, policy, policy.shown.seen(ask.view, ask.now))}


def _version_view(version: PolicyVersion, versions: Versions, *, document: bool) -> JsonMap:
    found = {"VersionId": version.id, "IsDefaultVersion": version.id == versions.default, "CreateDate": version.created}
    return found | ({"Document": _encoded(version.text)} if document else {})


def _version(policy: Policy, versions: Versions, id: str) -> PolicyVersion:
    found = versions.named(id)
    if found is None:
        raise AwsError("NoSuchEntity", f"Policy {policy.arn} version {id} does not exist or is not attachable.")
    return found


def _create_version(ask: Ask) -> JsonMap:
    policy = _own_policy(ask)
    text, before = _managed_text(ask, policy.name), policy.shown.newest
    if len(before.all) >= _VERSIONS:
        said = f"A managed policy can have up to {_VERSIONS} versions. Before you create a new version, you must delete an"
        raise AwsError("LimitExceeded", f"{said} existing version.")
    fresh = PolicyVersion(f"v{before.ever + 1}", text, ask.now)
    default = fresh.id if ask.get("SetAsDefault") else before.default
    after = Versions((*before.all, fresh), default, before.ever + 1)
    ask.account.change_versions(policy, after)
    return {"PolicyVersion": _version_view(fresh, after, document=False)}


def _get_version(ask: Ask) -> JsonMap:
    policy = _policy(ask)
    versions = policy.shown.seen(ask.view, ask.now)
    return {"PolicyVersion": _version_view(_version(policy, versions, ask.input["VersionId"]), versions, document=True)}


def _list_versions(ask: Ask) -> JsonMap:
    versions = _policy(ask).shown.seen(ask.view, ask.now)
    return page(ask, "Versions", [_version_view(one, versions, document=False) for one in reversed(versions.all)])


def _set_default(ask: Ask) -> JsonMap:
    policy = _own_policy(ask)
    before = policy.shown.newest
    ask.account.change_versions(policy, replace(before, default=_version(policy, before, ask.input["VersionId"]).id))
    return {}


def _delete_version(ask: Ask) -> JsonMap:
    policy = _own_policy(ask)
    before = policy.shown.newest
    ended = _version(policy, before, ask.input["VersionId"])
    if ended.id == before.default:
        raise AwsError("DeleteConflict", "Cannot delete the default version of a policy.")
    ask.account.change_versions(policy, replace(before, all=tuple(one for one in before.all if one.id != ended.id)))
    return {}


# -- simulation --


def _about_source(ask: Ask) -> Target:
    return Target(ask.input["PolicySourceArn"])


def _simulate(ask: Ask) -> JsonMap:
    arn = ask.input["PolicySourceArn"]
    principals = [*ask.account.users.values(), *ask.account.roles.values()]
    principal = next((one for one in principals if one.arn == arn), None)
    if principal is None:
        raise AwsError("NoSuchEntity", f"The principal {arn} cannot be found.")
    identity, boundary = ask.account.documents(principal, ask.view)
    extra = [parsed(f"PolicyInputList.{number}", text) for number, text in enumerate(ask.get("PolicyInputList", ()), 1)]
    context = {one["ContextKeyName"]: one["ContextKeyValues"] for one in ask.get("ContextEntries", ())}
    results = []
    for action in ask.input["ActionNames"]:
        for resource in ask.get("ResourceArns", ["*"]):
            question = Question(action, resource, {"aws:PrincipalArn": arn, **context})
            allowed, _ = judged(question, identity + extra, [boundary] if boundary else None, None)
            denied = "explicitDeny" in (
                decide(identity + extra, question)[0],
                decide([boundary] if boundary else [], question)[0],
            )
            verdict = "allowed" if allowed else "explicitDeny" if denied else "implicitDeny"
            row: JsonMap = {"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": verdict}
            results.append(row | {"MatchedStatements": [], "MissingContextValues": []})
    return page(ask, "EvaluationResults", results)


OPERATIONS: Mapping[str, Operation] = {
    "PutUserPolicy": Operation(_put_inline, about_user),
    "GetUserPolicy": Operation(_get_inline, about_user),
    "DeleteUserPolicy": Operation(_delete_inline, about_user),
    "ListUserPolicies": Operation(_list_inline, about_user),
    "AttachUserPolicy": Operation(_attach, about_user),
    "DetachUserPolicy": Operation(_detach, about_user),
    "ListAttachedUserPolicies": Operation(_list_attached, about_user),
    "PutUserPermissionsBoundary": Operation(_put_boundary, about_user),
    "DeleteUserPermissionsBoundary": Operation(_delete_boundary, about_user),
    "CreatePolicy": Operation(_create_policy, _about_new_policy),
    "GetPolicy": Operation(_get_policy, _about_policy),
    "CreatePolicyVersion": Operation(_create_version, _about_policy),
    "GetPolicyVersion": Operation(_get_version, _about_policy),
    "ListPolicyVersions": Operation(_list_versions, _about_policy),
    "SetDefaultPolicyVersion": Operation(_set_default, _about_policy),
    "DeletePolicyVersion": Operation(_delete_version, _about_policy),
    "SimulatePrincipalPolicy": Operation(_simulate, _about_source),
}
