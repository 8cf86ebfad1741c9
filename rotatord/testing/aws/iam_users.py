"""IAM's operations on users and their access keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rotatord.testing.aws.account import Holding, Key, Principal, User
from rotatord.testing.aws.asking import Ask, Operation, Target
from rotatord.testing.aws.errors import AwsError, common
from rotatord.testing.aws.paging import cut
from rotatord.testing.aws.shapes import JsonMap

_KEYS_PER_USER = 2
_TAGS = 50


# -- what calls are about --


def user_name(ask: Ask) -> str:
    """The user that is meant; without a name the signer's own."""
    if (name := ask.get("UserName")) is not None:
        return str(name)
    if ask.caller.session is not None:
        raise common("invalid", "query", "Must specify userName when calling with non-User credentials")
    return ask.caller.principal.name


def about_user(ask: Ask) -> Target:
    """The user; one that does not exist is judged by its name alone."""
    name = user_name(ask)
    user = ask.account.users.get(name)
    arn = user.arn if user else f"arn:aws:iam::{ask.account.number}:user/{name}"
    tags = user.rights.seen(ask.view, ask.now).tags if user else {}
    context: dict[str, Any] = {f"aws:ResourceTag/{key}": value for key, value in tags.items()}
    context |= {f"iam:ResourceTag/{key}": value for key, value in tags.items()}
    if user is not None and user.holding.boundary is not None:
        context["iam:PermissionsBoundary"] = user.holding.boundary
    for member, key in (("PolicyArn", "iam:PolicyARN"), ("PermissionsBoundary", "iam:PermissionsBoundary")):
        if member in ask.input:
            context[key] = ask.input[member]
    return Target(arn, f"user {name}", context | requested_tags(ask))


def requested_tags(ask: Ask) -> dict[str, Any]:
    tags = {tag["Key"]: tag["Value"] for tag in ask.get("Tags", ())}
    asked: dict[str, Any] = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    if tags:
        asked["aws:TagKeys"] = tuple(tags)
    return asked


def _about_new_user(ask: Ask) -> Target:
    name, path = ask.input["UserName"], ask.get("Path", "/")
    context = dict(requested_tags(ask))
    if "PermissionsBoundary" in ask.input:
        context["iam:PermissionsBoundary"] = ask.input["PermissionsBoundary"]
    return Target(f"arn:aws:iam::{ask.account.number}:user{path}{name}", f"user {name}", context)


def _about_key_owner(ask: Ask) -> Target:
    key = ask.account.keys.get(ask.input["AccessKeyId"])
    user = ask.account.users.get(key.user) if key else None
    shown_as = f"access key {ask.input['AccessKeyId']}"
    if key is None or user is None or key.state.newest is None:  # whoever asks: AWS does not tell whether it is someone's
        said = f"User: {ask.caller.arn} is not authorized to perform: iam:GetAccessKeyLastUsed on resource: {shown_as}"
        raise common("denied", "query", said)
    return Target(user.arn, shown_as)


# -- lists --


def shown(ask: Ask, principal: Principal) -> Holding:
    """What this replica lists."""
    return principal.shown.seen(ask.view, ask.now)


def page(ask: Ask, name: str, items: Sequence[Any]) -> JsonMap:
    """One page of a list, with the Marker of the next."""
    made_up = common("invalid", "query", "Invalid Marker.")
    rows, following = cut(items, ask.get("Marker"), ask.get("MaxItems", 100), made_up)
    return {name: rows, "IsTruncated": following is not None, "Marker": following}


def tag_list(tags: Mapping[str, str]) -> list[JsonMap]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


# -- users --


def _user_view(user: User, holding: Holding) -> JsonMap:
    found: JsonMap = {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.id,
        "Arn": user.arn,
        "CreateDate": user.created,
    }
    if holding.boundary is not None:
        boundary = {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": holding.boundary}
        found["PermissionsBoundary"] = boundary
    if holding.tags:
        found["Tags"] = tag_list(holding.tags)
    return found


def _create_user(ask: Ask) -> JsonMap:
    name = ask.input["UserName"]
    taken = {known.lower() for known in ask.account.users}
    if name.lower() in taken:
        raise AwsError("EntityAlreadyExists", f"User with name {name} already exists.")
    if len(name) > 64:
        limit = "Member must have length less than or equal to 64"
        found = f"1 validation error detected: Value '{name}' at 'userName' failed to satisfy constraint: {limit}"
        raise common("invalid", "query", found)
    boundary = ask.get("PermissionsBoundary")
    if boundary is not None and boundary not in ask.account.policies:
        raise AwsError("NoSuchEntity", f"Scope ARN: {boundary} does not exist or is not attachable.")
    if "Tags" in ask.input:
        ask.require("iam:TagUser", _about_new_user(ask))
    user = ask.account.add_user(name, ask.get("Path", "/"))
    ask.account.change(user, at_once=True, tags=_merged(Holding(), ask.get("Tags", [])))
    if boundary is not None:
        ask.account.change(user, boundary=boundary, tags=user.holding.tags)
    return {"User": _user_view(user, user.holding)}


def _get_user(ask: Ask) -> JsonMap:
    user = ask.account.user(user_name(ask))
    return {"User": _user_view(user, shown(ask, user))}


def _merged(holding: Holding, tags: Sequence[JsonMap]) -> Mapping[str, str]:
    folded = [tag["Key"].lower() for tag in tags]
    if len(set(folded)) != len(folded):
        raise AwsError("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
    kept = {key: value for key, value in holding.tags.items() if key.lower() not in folded}
    merged = kept | {tag["Key"]: tag["Value"] for tag in tags}
    if len(merged) > _TAGS:
        raise AwsError("LimitExceeded", f"Cannot exceed quota for TagsPerUser: {_TAGS}")
    return merged


def _tag_user(ask: Ask) -> JsonMap:
    user = ask.account.user(ask.input["UserName"])
    ask.account.change(user, tags=_merged(user.holding, ask.input["Tags"]))
    return {}


def _untag_user(ask: Ask) -> JsonMap:
    user = ask.account.user(ask.input["UserName"])
    ended = {key.lower() for key in ask.input["TagKeys"]}
    ask.account.change(user, tags={key: value for key, value in user.holding.tags.items() if key.lower() not in ended})
    return {}


def _list_user_tags(ask: Ask) -> JsonMap:
    user = ask.account.user(ask.input["UserName"])
    return page(ask, "Tags", tag_list(shown(ask, user).tags))


# -- keys --


def _create_key(ask: Ask) -> JsonMap:
    user = ask.account.user(user_name(ask))
    known = shown(ask, user) if ask.account.loose_key_quota else user.holding
    if len(known.keys) >= _KEYS_PER_USER:
        raise AwsError("LimitExceeded", f"Cannot exceed quota for AccessKeysPerUser: {_KEYS_PER_USER}")
    key = ask.account.add_key(user)
    found = {"UserName": user.name, "AccessKeyId": key.id, "Status": "Active"}
    return {"AccessKey": found | {"SecretAccessKey": key.secret, "CreateDate": key.created}}


def _list_keys(ask: Ask) -> JsonMap:
    user = ask.account.user(user_name(ask))
    rows = [
        {"UserName": user.name, "AccessKeyId": row.id, "Status": row.status, "CreateDate": row.created}
        for row in shown(ask, user).keys
    ]
    return page(ask, "AccessKeyMetadata", rows)


def _own_key(ask: Ask) -> tuple[User, Key]:
    user = ask.account.user(user_name(ask))
    named = ask.input["AccessKeyId"]
    if not any(row.id == named for row in user.holding.keys):
        raise AwsError("NoSuchEntity", f"The Access Key with id {named} cannot be found.")
    return user, ask.account.keys[named]


def _update_key(ask: Ask) -> JsonMap:
    user, key = _own_key(ask)
    status = ask.input["Status"]
    if status == "Expired":
        raise common("invalid", "query", "The status of an access key can be set to Active or Inactive only.")
    rows = tuple(replace(row, status=status) if row.id == key.id else row for row in user.holding.keys)
    ask.account.change(user, keys=rows)
    if key.state.newest != status:
        ask.account.key_state(key, status)
    return {}


def _delete_key(ask: Ask) -> JsonMap:
    user, key = _own_key(ask)
    ask.account.change(user, keys=tuple(row for row in user.holding.keys if row.id != key.id))
    ask.account.key_state(key, None)
    return {}


def _key_last_used(ask: Ask) -> JsonMap:
    key = ask.account.keys[ask.input["AccessKeyId"]]
    use = ask.account.last_use(key)
    used: JsonMap = {"ServiceName": "N/A", "Region": "N/A"}
    if use is not None:
        used = {"LastUsedDate": use.at, "ServiceName": use.service, "Region": use.region}
    return {"UserName": key.user, "AccessKeyLastUsed": used}


OPERATIONS: Mapping[str, Operation] = {
    "CreateUser": Operation(_create_user, _about_new_user),
    "GetUser": Operation(_get_user, about_user),
    "TagUser": Operation(_tag_user, about_user),
    "UntagUser": Operation(_untag_user, about_user),
    "ListUserTags": Operation(_list_user_tags, about_user),
    "CreateAccessKey": Operation(_create_key, about_user),
    "ListAccessKeys": Operation(_list_keys, about_user),
    "UpdateAccessKey": Operation(_update_key, about_user),
    "DeleteAccessKey": Operation(_delete_key, about_user),
    "GetAccessKeyLastUsed": Operation(_key_last_used, _about_key_owner),
}
