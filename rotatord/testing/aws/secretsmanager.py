"""Secrets Manager's operations on secrets; those on versions and labels are in ``secret_versions``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from rotatord.testing.aws.asking import Ask, Operation, Target
from rotatord.testing.aws.errors import AwsError
from rotatord.testing.aws.secret_things import CURRENT, PENDING, Secret, Version
from rotatord.testing.aws.shapes import JsonMap

_NAME = re.compile(r"[\w/+=.@!-]{1,512}", re.ASCII)
_SUFFIX_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_NO_SECRET = "Secrets Manager can't find the specified secret."  # noqa: S105 - a text of AWS's
_MARKED = "You can't perform this operation on the secret because it was marked for deletion."
_FORCED_DELETION = timedelta(seconds=5)  # a forced deletion is done in the background
_TAGS = 50


# -- finding --


def find(ask: Ask, id: str) -> Secret | None:
    """By name, by ARN, or by ARN without the random suffix."""
    secrets: dict[str, Secret] = ask.account.things("secretsmanager", ask.region)
    for name, secret in list(secrets.items()):
        if secret.purged is not None and secret.purged <= ask.now:
            del secrets[name]
    name = id.split(":", 6)[6] if id.startswith("arn:") and id.count(":") >= 6 else id
    here = (one for one in secrets.values() if id in (one.name, local_arn(ask, one)) or name in (one.name, local_name(one)))
    found = next(here, None)
    return found if found is None or found.region == ask.region else found.seen_from(ask.region, ask.now)


def note_changes(ask: Ask) -> None:
    """After each operation: remember for copies elsewhere what secrets hold now."""
    for secret in ask.account.things("secretsmanager", ask.region).values():
        if secret.replicas and secret.region == ask.region:
            secret.note(ask.now)


def local_arn(ask: Ask, secret: Secret) -> str:
    """The ARN of a secret in the region that is asked; a replica's differs by its region."""
    return secret.arn.replace(f":{secret.region}:", f":{ask.region}:", 1)


def local_name(secret: Secret) -> str:
    return secret.arn.split(":", 6)[6]


def named(ask: Ask, *, marked: bool = False) -> Secret:
    """The secret that is meant. One that is marked for deletion is refused unless ``marked``."""
    secret = find(ask, ask.input["SecretId"])
    if secret is None:
        raise AwsError("ResourceNotFoundException", _NO_SECRET)
    if secret.deleted is not None and not marked:
        raise AwsError("InvalidRequestException", _MARKED)
    return secret


def written(ask: Ask) -> Secret:
    """The secret that is meant, to be changed: not through a replica."""
    secret = named(ask)
    if secret.region != ask.region:
        said = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
        raise AwsError("InvalidRequestException", said)
    return secret


def about(ask: Ask) -> Target:
    """The secret as policies see it; one that does not exist by its name, with any suffix."""
    wanted = ask.input["SecretId"]
    secret = find(ask, wanted)
    arn = local_arn(ask, secret) if secret else wanted if wanted.startswith("arn:") else fresh_arn(ask, wanted)
    context: dict[str, Any] = {"secretsmanager:SecretId": arn}
    for key, value in (secret.tags if secret else {}).items():
        context[f"aws:ResourceTag/{key}"] = context[f"secretsmanager:ResourceTag/{key}"] = value
    for member, key in _CONDITIONS.items():
        if member in ask.input:
            context[key] = ask.input[member]
    if "VersionId" not in ask.input and ask.operation == "GetSecretValue":
        context.setdefault("secretsmanager:VersionStage", "AWSCURRENT")
    return Target(arn, wanted, context | request_tags(ask))


_CONDITIONS = {
    "VersionId": "secretsmanager:VersionId",
    "VersionStage": "secretsmanager:VersionStage",
    "KmsKeyId": "secretsmanager:KmsKeyId",
    "RecoveryWindowInDays": "secretsmanager:RecoveryWindowInDays",
    "ForceDeleteWithoutRecovery": "secretsmanager:ForceDeleteWithoutRecovery",
}


def request_tags(ask: Ask) -> dict[str, Any]:
    tags = asked_tags(ask)
    asked: dict[str, Any] = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    if tags or "TagKeys" in ask.input:
        asked["aws:TagKeys"] = tuple(tags) or tuple(ask.get("TagKeys", ()))
    return asked


def asked_tags(ask: Ask) -> dict[str, str]:
    if any("Key" not in tag for tag in ask.get("Tags", ())):
        raise AwsError("InvalidParameterException", "You must provide a key for each tag.")
    return {tag["Key"]: tag.get("Value", "") for tag in ask.get("Tags", ())}


def fresh_arn(ask: Ask, name: str) -> str:
    suffix = ask.account.letters(6, _SUFFIX_LETTERS)
    return f"arn:aws:secretsmanager:{ask.region}:{ask.account.number}:secret:{name}-{suffix}"


def about_new(ask: Ask) -> Target:
    name = ask.input["Name"]
    context = {"secretsmanager:Name": name, **request_tags(ask)}
    return Target(f"arn:aws:secretsmanager:{ask.region}:{ask.account.number}:secret:{name}-AbCdEf", name, context)


def kms(ask: Ask, secret: Secret, action: str, key: str | None) -> None:
    """A customer's key needs rights of the caller's own on it; the one of AWS does not."""
    if key is None or key in ("alias/aws/secretsmanager", "aws/secretsmanager"):
        return
    arn = (
        key if key.startswith("arn:") else f"arn:aws:kms:{ask.region}:{ask.account.number}:{'' if '/' in key else 'key/'}{key}"
    )
    context = {"kms:ViaService": f"secretsmanager.{ask.region}.amazonaws.com", "kms:EncryptionContext:SecretARN": secret.arn}
    try:
        ask.require(action, Target(arn, arn, context))
    except AwsError:
        raise AwsError("AccessDeniedException", "Access to KMS is not allowed") from None


# -- secrets --


def _describe(ask: Ask) -> JsonMap:
    secret = named(ask, marked=True)
    found: JsonMap = {
        "ARN": local_arn(ask, secret),
        "Name": secret.name,
        "Description": secret.description,
        "KmsKeyId": secret.kms_key,
        "RotationEnabled": True if secret.rotation else None,
        "LastChangedDate": secret.changed,
        "LastAccessedDate": day(secret.read),
        "DeletedDate": secret.purged,
        "Tags": [{"Key": key, "Value": value} for key, value in secret.tags.items()] or None,
        "VersionIdsToStages": {one: secret.labels_of(one) for one in secret.versions if secret.labels_of(one)} or None,
        "CreatedDate": secret.created,
    }
    if secret.rotation:
        found |= secret.rotation
    if secret.replicas:
        found |= {"PrimaryRegion": secret.region, "ReplicationStatus": replication(ask, secret)}
    return found


def day(moment: datetime | None) -> datetime | None:
    """Last access is told by the day."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) if moment else None


def replication(ask: Ask, secret: Secret) -> list[JsonMap]:
    found = []
    for region, key in secret.replicas.items():
        row: JsonMap = {"Region": region, "KmsKeyId": key or "alias/aws/secretsmanager"}
        if secret.caught_up(region, ask.now):
            found.append(row | {"Status": "InSync", "StatusMessage": "Replication succeeded"})
        else:
            found.append(row | {"Status": "InProgress"})
    return found


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        said = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
        raise AwsError("ValidationException", said)


def check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > _TAGS:
        raise AwsError("InvalidParameterException", f"You can't have more than {_TAGS} tags on a secret.")
    if any(key.lower().startswith("aws:") for key in tags):
        raise AwsError("InvalidParameterException", "Tag keys can't begin with aws:.")


def _delete(ask: Ask) -> JsonMap:
    forced, window = ask.get("ForceDeleteWithoutRecovery", False), ask.get("RecoveryWindowInDays")
    if forced and window is not None:
        said = "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays."
        raise AwsError("InvalidParameterException", said)
    if window is not None and not 7 <= window <= 30:
        raise AwsError("InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
    wanted = ask.input["SecretId"]
    if forced and find(ask, wanted) is None:  # AWS reports a forced deletion of nothing as done
        return {"ARN": fresh_arn(ask, wanted), "Name": wanted, "DeletionDate": ask.now}
    secret = named(ask, marked=True)
    if secret.deleted is not None and not forced:
        said = "You can't perform this operation on the secret because it was already scheduled for deletion."
        raise AwsError("InvalidRequestException", said)
    if secret.replicas:
        raise AwsError("InvalidRequestException", f"You can't delete secret {secret.name} that still has replica regions")
    secret.deleted = ask.now
    secret.purged = ask.now + (_FORCED_DELETION if forced else timedelta(days=window or 30))
    return {"ARN": secret.arn, "Name": secret.name, "DeletionDate": secret.purged}


def _restore(ask: Ask) -> JsonMap:
    secret = named(ask, marked=True)
    secret.deleted = secret.purged = None
    return {"ARN": secret.arn, "Name": secret.name}


def _tag(ask: Ask) -> JsonMap:
    secret = written(ask)
    after = {**secret.tags, **asked_tags(ask)}
    check_tags(after)
    secret.tags = after
    return {}


def _untag(ask: Ask) -> JsonMap:
    secret = written(ask)
    secret.tags = {key: value for key, value in secret.tags.items() if key not in ask.input["TagKeys"]}
    return {}


def _rotate(ask: Ask) -> JsonMap:
    secret = written(ask)
    function = ask.get("RotationLambdaARN") or (secret.rotation or {}).get("RotationLambdaARN")
    if function is None:
        said = "No Lambda rotation function ARN is associated with this secret."
        raise AwsError("InvalidRequestException", said)
    secret.rotation = {"RotationLambdaARN": function, "RotationRules": ask.get("RotationRules", {"AutomaticallyAfterDays": 30})}
    pending, token = secret.stages.get(PENDING), ask.get("ClientRequestToken")
    if pending is not None and pending != secret.stages.get(CURRENT):
        raise AwsError("InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
    if token is not None and ask.get("RotateImmediately", True):
        secret.put(Version(token, None, None, ask.now, secret.kms_key), [PENDING], ask.now)  # for the function to fill
    return {"ARN": secret.arn, "Name": secret.name, "VersionId": ask.get("ClientRequestToken")}


def _cancel_rotation(ask: Ask) -> JsonMap:
    secret = written(ask)
    secret.rotation = None
    return {"ARN": secret.arn, "Name": secret.name}


def _replicate(ask: Ask) -> JsonMap:
    secret = written(ask)
    replicate(ask, secret)
    return {"ARN": secret.arn, "ReplicationStatus": replication(ask, secret)}


def replicate(ask: Ask, secret: Secret) -> None:
    """Keep the secret in other regions too."""
    for one in ask.input["AddReplicaRegions"]:
        region = one.get("Region")
        if region is None or region == secret.region:
            raise AwsError("InvalidParameterException", "Invalid replica region.")
        there = ask.account.things("secretsmanager", region)
        if secret.name in there and there[secret.name] is not secret and not ask.get("ForceOverwriteReplicaSecret"):
            raise AwsError("InvalidRequestException", f"Secret {secret.name} already exists in region {region}.")
        secret.replicas[region] = one.get("KmsKeyId")
        delay = ask.account.spread.lags.replication * (0.5 + 0.5 * ask.account.fraction())
        secret.delays[region] = timedelta(seconds=delay)
        there[secret.name] = secret


def _remove_replicas(ask: Ask) -> JsonMap:
    secret = written(ask)
    for region in ask.input["RemoveReplicaRegions"]:
        if region not in secret.replicas:
            raise AwsError("InvalidParameterException", f"Secret is not replicated to {region}.")
        del secret.replicas[region]
        del ask.account.things("secretsmanager", region)[secret.name]
    return {"ARN": secret.arn, "ReplicationStatus": replication(ask, secret)}


OPERATIONS: Mapping[str, Operation] = {
    "DescribeSecret": Operation(_describe, about),
    "DeleteSecret": Operation(_delete, about),
    "RestoreSecret": Operation(_restore, about),
    "TagResource": Operation(_tag, about),
    "UntagResource": Operation(_untag, about),
    "RotateSecret": Operation(_rotate, about),
    "CancelRotateSecret": Operation(_cancel_rotation, about),
    "ReplicateSecretToRegions": Operation(_replicate, about),
    "RemoveRegionsFromReplication": Operation(_remove_replicas, about),
}
