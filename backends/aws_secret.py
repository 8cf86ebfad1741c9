"""One secret of Secrets Manager as a register with compare-and-set, which it becomes by moving ``AWSCURRENT``.

A version is put under a label that nobody reads, and then ``AWSCURRENT`` is moved to it *from the version that was read*:
where that has lost the label meanwhile, AWS refuses. ``AWSPREVIOUS`` follows by itself. A version's id is derived from the
write that makes it, so that the same write repeated, or landing twice, is the same version; other content under the same id
is refused. Writes name a secret by its full ARN: one that was deleted and made anew is another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from rotatord.aws_client import Aws
from rotatord.aws_errors import code_of
from rotatord.clock import random_bytes
from rotatord.errors import Conflict, Invalid, NotFound, OutsideError, Retryable
from rotatord.model import JsonMap

SERVICE = "secretsmanager"
CURRENT, PREVIOUS = "AWSCURRENT", "AWSPREVIOUS"
WRITTEN = "rotatord-written"  # the label under which a version is put; stays on the last one that we wrote
ABSENT = "absent"  # the compare token of a secret that does not exist
_SUFFIX = 6  # random characters at the end of an ARN


@dataclass(frozen=True, slots=True)
class Seen:
    """A secret's labels at one moment. Without ``arn`` there is none, without ``current`` it never had a value."""

    name: str
    arn: str = ""
    current: str = ""
    previous: str = ""
    about: JsonMap = field(default_factory=dict, repr=False)

    @property
    def token(self) -> str:
        return f"{self.arn[-_SUFFIX:]}:{self.current}:{self.previous}" if self.arn else ABSENT


def version_id(kind: str, *parts: str) -> str:
    """The id of the version that a write makes; without parts one that nobody had before. Not derived from the content,
    since ids are no secrets."""
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32] if parts else random_bytes(16).hex()
    return f"rotatord-{kind}-{digest}"


def look(aws: Aws, name: str) -> Seen:
    """The secret's labels now."""
    try:
        about = aws.call(SERVICE, "describe_secret", SecretId=name)
    except NotFound:
        return Seen(name)
    holders = {label: version for version, labels in (about.get("VersionIdsToStages") or {}).items() for label in labels}
    return Seen(name, _part(about, "ARN"), holders.get(CURRENT, ""), holders.get(PREVIOUS, ""), about)


def must_not_be_doomed(seen: Seen) -> None:
    """Raises Invalid for a secret that somebody deleted and that AWS still keeps: it can be neither read nor written."""
    if seen.about.get("DeletedDate"):
        raise Invalid(f"the secret {seen.name} is scheduled for deletion: restore it (RestoreSecret), or wait until it is gone")


def text_of(aws: Aws, arn: str, version: str) -> str | None:
    """The text of one version; None for one that holds bytes."""
    answer = aws.call(SERVICE, "get_secret_value", SecretId=arn, VersionId=version)
    text = answer.get("SecretString")
    if text is None and "SecretBinary" not in answer:
        raise Retryable("Secrets Manager answered without a value")
    return text


def put(aws: Aws, seen: Seen, version: str, text: str, making: JsonMap) -> Seen:
    """Make a version current where ``seen`` still holds; else Conflict. ``making``: what a missing secret is made with."""
    if not seen.arn:
        made = aws.call(SERVICE, "create_secret", Name=seen.name, ClientRequestToken=version, SecretString=text, **making)
        return Seen(seen.name, _part(made, "ARN"), version)
    try:
        labels = put_beside(aws, seen.arn, version, text)
    except NotFound:
        raise Conflict(f"the secret {seen.name} was deleted meanwhile") from None
    except Conflict as error:
        if code_of(error) != "ResourceExistsException":
            raise
        version = f"{version[:-32]}{random_bytes(16).hex()}"  # an earlier try had put other words: an older release of ours
        labels = put_beside(aws, seen.arn, version, text)
    if seen.current or CURRENT not in labels:  # AWS labels the first version of a secret by itself
        _move(aws, seen, version)
    return Seen(seen.name, seen.arn, version, seen.current, seen.about)


def put_beside(aws: Aws, secret: str, version: str, text: str) -> list[str]:
    """Put a version that does not become current; returns its labels."""
    answer = aws.call(
        SERVICE,
        "put_secret_value",
        SecretId=secret,
        ClientRequestToken=version,
        SecretString=text,
        VersionStages=[WRITTEN],
    )
    return [str(label) for label in answer.get("VersionStages") or []]


def _move(aws: Aws, seen: Seen, version: str) -> None:
    holder = {"RemoveFromVersionId": seen.current} if seen.current else {}
    try:
        aws.call(
            SERVICE,
            "update_secret_version_stage",
            SecretId=seen.arn,
            VersionStage=CURRENT,
            MoveToVersionId=version,
            **holder,
        )
    except OutsideError as error:
        refused = code_of(error) in {"InvalidParameterException", "InvalidRequestException", "ResourceNotFoundException"}
        if refused and look(aws, seen.name).token != seen.token:
            raise Conflict(f"the secret {seen.name} is not any more what it was when it was read") from None
        raise


def delete(aws: Aws, name: str) -> None:
    """Destroy a whole secret, without a way back. One that does not exist is done."""
    try:
        aws.call(SERVICE, "delete_secret", SecretId=name, ForceDeleteWithoutRecovery=True)
    except NotFound:
        return


def _part(answer: JsonMap, name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise Retryable(f"Secrets Manager answered without {name}")
    return value
