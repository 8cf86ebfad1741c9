"""Secrets Manager's operations on values, versions and labels."""

from __future__ import annotations

from collections.abc import Mapping

from rotatord.testing.aws.asking import Ask, Operation
from rotatord.testing.aws.errors import AwsError
from rotatord.testing.aws.paging import cut
from rotatord.testing.aws.secret_things import CURRENT, Secret, Version
from rotatord.testing.aws.secretsmanager import (
    about,
    about_new,
    asked_tags,
    check_name,
    check_tags,
    day,
    find,
    fresh_arn,
    kms,
    local_arn,
    named,
    replicate,
    replication,
    written,
)
from rotatord.testing.aws.shapes import JsonMap

_BYTES = 65536
_LABELS_AT_ONCE = 20


def _value(ask: Ask) -> tuple[str | None, bytes | None]:
    text, binary = ask.get("SecretString"), ask.get("SecretBinary")
    if text is not None and binary is not None:
        said = "You can't specify both a binary secret value and a string secret value in the same secret."
        raise AwsError("InvalidParameterException", said)
    if text is not None and len(text.encode()) > _BYTES:
        raise AwsError("InvalidParameterException", f"The secret value is larger than {_BYTES} bytes.")
    return text, binary


def _token(ask: Ask) -> str:
    token: str | None = ask.get("ClientRequestToken")
    if token is None:
        said = "You must provide a ClientRequestToken value. We recommend a UUID-type value."
        raise AwsError("InvalidParameterException", said)
    return token


def _token_taken(token: str, secret: Secret) -> AwsError:
    said = f"You can't use ClientRequestToken {token} because that value is already in use for a version of secret"
    return AwsError("ResourceExistsException", f"{said} {secret.arn}.")


def _add_version(ask: Ask, secret: Secret, labels: list[str]) -> Version:
    """The version under the request's token: as it is if the value is the same, refused if it is another one."""
    token, (text, binary) = _token(ask), _value(ask)
    known = secret.versions.get(token)
    if known is not None and known.empty:
        known.text, known.binary = text, binary
        secret.label(token, labels)
        return known
    if known is not None:
        if not known.same(text, binary):
            raise _token_taken(token, secret)
        return known
    kms(ask, secret, "kms:GenerateDataKey", secret.kms_key)
    if secret.versions:
        kms(ask, secret, "kms:Decrypt", secret.kms_key)
    version = Version(token, text, binary, ask.now, secret.kms_key)
    secret.put(version, labels, ask.now)
    if secret.sustained(ask.now):
        said = f"secret {secret.name}: written more often than every 10 minutes for 2 hours; it will run out of versions"
        ask.account.warn(said)
    return version


def _create(ask: Ask) -> JsonMap:
    name = ask.input["Name"]
    check_name(name)
    text, binary = _value(ask)
    before = find(ask, name)
    if before is not None:
        return _created_before(ask, before, text, binary)
    tags = asked_tags(ask)
    check_tags(tags)
    if tags:
        ask.require("secretsmanager:TagResource", about_new(ask))
    secret = Secret(name, fresh_arn(ask, name), ask.region, ask.now, ask.now, ask.get("Description"), ask.get("KmsKeyId"), tags)
    found: JsonMap = {"ARN": secret.arn, "Name": name}
    if text is not None or binary is not None:
        found["VersionId"] = _add_version(ask, secret, [CURRENT]).id
    if "AddReplicaRegions" in ask.input:
        ask.require("secretsmanager:ReplicateSecretToRegions", about_new(ask))
        replicate(ask, secret)
        found["ReplicationStatus"] = replication(ask, secret)
    ask.account.things("secretsmanager", ask.region)[name] = secret
    return found


def _created_before(ask: Ask, secret: Secret, text: str | None, binary: bytes | None) -> JsonMap:
    if secret.deleted is not None:
        said = "You can't create this secret because a secret with this name is already scheduled for deletion."
        raise AwsError("InvalidRequestException", said)
    version = secret.versions.get(ask.get("ClientRequestToken", ""))
    if version is None or not version.same(text, binary):
        raise AwsError("ResourceExistsException", f"The operation failed because the secret {secret.name} already exists.")
    return {"ARN": secret.arn, "Name": secret.name, "VersionId": version.id}


def _put(ask: Ask) -> JsonMap:
    secret = written(ask)
    if _value(ask) == (None, None):
        raise AwsError("InvalidRequestException", "You must provide either SecretString or SecretBinary.")
    labels = ask.get("VersionStages", [CURRENT])
    version = _add_version(ask, secret, labels)
    return {"ARN": secret.arn, "Name": secret.name, "VersionId": version.id, "VersionStages": secret.labels_of(version.id)}


def _get(ask: Ask) -> JsonMap:
    secret = named(ask)
    wanted, label = ask.get("VersionId"), ask.get("VersionStage")
    if wanted is None:
        holder = secret.stages.get(label or CURRENT)
        said = f"Secrets Manager can't find the specified secret value for staging label: {label or CURRENT}"
    else:
        holder, said = wanted, f"Secrets Manager can't find the specified secret value for VersionId: {wanted}"
    version = secret.versions.get(holder or "")
    if version is None or version.empty:
        raise AwsError("ResourceNotFoundException", said)
    if wanted is not None and label is not None and secret.stages.get(label) != wanted:
        said = "You provided a VersionStage that is not associated to the provided VersionId."
        raise AwsError("InvalidRequestException", said)
    kms(ask, secret, "kms:Decrypt", version.key)
    secret.read = version.read = ask.now
    return {
        "ARN": local_arn(ask, secret),
        "Name": secret.name,
        "VersionId": version.id,
        "SecretString": version.text,
        "SecretBinary": version.binary,
        "VersionStages": secret.labels_of(version.id),
        "CreatedDate": version.created,
    }


def _move_label(ask: Ask) -> JsonMap:
    secret = written(ask)
    label, to, away = ask.input["VersionStage"], ask.get("MoveToVersionId"), ask.get("RemoveFromVersionId")
    holder = secret.stages.get(label)
    if to is None and away is None:
        said = "You must specify at least one of MoveToVersionId and RemoveFromVersionId."
        raise AwsError("InvalidParameterException", said)
    for named_id in (to, away):
        if named_id is not None and named_id not in secret.versions:
            raise AwsError("ResourceNotFoundException", f"Secrets Manager can't find the specified secret version: {named_id}")
    if away is not None and holder != away:
        said = f"The parameter RemoveFromVersionId is {away}, but staging label {label} is not attached to that version."
        raise AwsError("InvalidParameterException", said)
    if to is None:
        if label == CURRENT:
            said = f"You can only move staging label {CURRENT} to a different secret version. It can't be completely removed."
            raise AwsError("InvalidParameterException", said)
        secret.stages = {one: version for one, version in secret.stages.items() if one != label}
    elif to != holder:
        if holder is not None and away is None:
            said = f"The parameter RemoveFromVersionId can't be empty. Staging label {label} is currently attached to version"
            said = f"{said} {holder}, so you must explicitly reference that version in RemoveFromVersionId."
            raise AwsError("InvalidParameterException", said)
        secret.label(to, [label])
    secret.changed = ask.now
    return {"ARN": secret.arn, "Name": secret.name}


def _update(ask: Ask) -> JsonMap:
    secret = written(ask)
    text, binary = _value(ask)
    token = ask.get("ClientRequestToken", "")
    version = None
    if text is not None or binary is not None:
        if token in secret.versions:  # unlike PutSecretValue it takes no value twice
            raise _token_taken(token, secret)
        if "KmsKeyId" in ask.input:
            secret.kms_key = ask.input["KmsKeyId"]
        version = _add_version(ask, secret, [CURRENT])
    if "KmsKeyId" in ask.input:
        secret.kms_key = ask.input["KmsKeyId"]
    if "Description" in ask.input:
        secret.description = ask.input["Description"]
    secret.changed = ask.now
    return {"ARN": secret.arn, "Name": secret.name, "VersionId": version.id if version else None}


def _list_versions(ask: Ask) -> JsonMap:
    secret = named(ask, marked=True)
    deprecated = ask.get("IncludeDeprecated", False)
    rows: list[JsonMap] = [
        {
            "VersionId": version.id,
            "VersionStages": secret.labels_of(version.id) or None,
            "LastAccessedDate": day(version.read),
            "CreatedDate": version.created,
            "KmsKeyIds": [version.key or "DefaultEncryptionKey"],
        }
        for version in secret.versions.values()
        if deprecated or secret.labels_of(version.id)
    ]
    made_up = AwsError("InvalidNextTokenException", "The NextToken value is invalid.")
    shown, following = cut(rows, ask.get("NextToken"), ask.get("MaxResults", 100), made_up)
    return {"ARN": local_arn(ask, secret), "Name": secret.name, "Versions": shown, "NextToken": following}


OPERATIONS: Mapping[str, Operation] = {
    "CreateSecret": Operation(_create, about_new),
    "PutSecretValue": Operation(_put, about),
    "GetSecretValue": Operation(_get, about),
    "UpdateSecretVersionStage": Operation(_move_label, about),
    "UpdateSecret": Operation(_update, about),
    "ListSecretVersionIds": Operation(_list_versions, about),
}
