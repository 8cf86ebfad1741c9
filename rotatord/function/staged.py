"""One secret as its rotation function sees it: labels, the values under them, and the one write of each kind that it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rotatord.aws_client import Aws
from rotatord.document import MARKER_KEY, from_document, read_stamp, to_document
from rotatord.errors import Conflict, Invalid, NotFound, Retryable
from rotatord.model import Destination, JsonMap
from rotatord.rights import AwsRight
from rotatord.secret import Secret

SERVICE = "secretsmanager"
CURRENT, PREVIOUS, PENDING = "AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"
_MOST_PAGES = 20


@dataclass(frozen=True, slots=True)
class Value:
    """What one version holds."""

    version: str
    text: str = field(repr=False)
    created: datetime


@dataclass(frozen=True, slots=True)
class Labels:
    """Where the labels of a secret are."""

    rotating: bool
    rotated_at: datetime | None  # when a rotation last came to its end
    holders: Mapping[str, str]  # by label

    def of(self, version: str) -> list[str]:
        return sorted(label for label, holder in self.holders.items() if holder == version)


def rights(arn: str) -> AwsRight:
    """What the function needs at its secret, beside its issuer's rights."""
    actions = ("DescribeSecret", "GetSecretValue", "ListSecretVersionIds", "PutSecretValue", "UpdateSecretVersionStage")
    return AwsRight(tuple(f"{SERVICE}:{action}" for action in actions), (arn,), why="to rotate the secret")


class Staged:
    """A secret of Secrets Manager, named by its ARN. All methods raise errors of ours."""

    def __init__(self, aws: Aws, arn: str, destination: Destination, rotation_token: str = "") -> None:
        self._aws = aws
        self._arn = arn
        self._destination = destination
        self._rotation_token = rotation_token

    def labels(self) -> Labels:
        """Where they are now."""
        about = self._aws.call(SERVICE, "describe_secret", SecretId=self._arn)
        if about.get("DeletedDate"):
            raise Invalid(f"{self._arn} is scheduled for deletion: restore it, or cancel its rotation")
        stages = about.get("VersionIdsToStages") or {}
        holders = {label: version for version, labels in stages.items() for label in labels}
        return Labels(bool(about.get("RotationEnabled")), about.get("LastRotatedDate"), holders)

    def read(self, version: str) -> Value | None:
        """The version's value; None where it has none yet."""
        try:
            answer = self._aws.call(SERVICE, "get_secret_value", SecretId=self._arn, VersionId=version)
        except NotFound:
            return None
        text = answer.get("SecretString")
        if not isinstance(text, str):
            raise Invalid(f"{self._arn}: version {version} holds bytes, not text")
        return Value(version, text, answer["CreatedDate"])

    def made_at(self, version: str) -> datetime | None:
        """When a version was made, also one without a value; None where AWS does not tell."""
        token: JsonMap = {}
        for _ in range(_MOST_PAGES):
            answer = self._aws.call(SERVICE, "list_secret_version_ids", SecretId=self._arn, **token)
            for row in answer.get("Versions", ()):
                if row["VersionId"] == version:
                    made: datetime | None = row.get("CreatedDate")
                    return made
            if not answer.get("NextToken"):
                return None
            token = {"NextToken": answer["NextToken"]}
        raise Retryable(f"{self._arn}: the list of its versions does not come to an end")

    def put(self, version: str, fields: Secret, over: Value | None, label: str) -> None:
        """Give the pending version its value. What else the secret holds is kept. Raises Conflict where it has one already."""
        more: JsonMap = {"RotationToken": self._rotation_token} if self._rotation_token else {}
        text = self._text(fields, over, label)
        self._aws.call(
            SERVICE,
            "put_secret_value",
            SecretId=self._arn,
            ClientRequestToken=version,
            SecretString=text,
            VersionStages=[PENDING],
            **more,
        )

    def make_current(self, version: str, holder: str | None) -> None:
        """Move AWSCURRENT from its holder, if it still is that. Raises Conflict."""
        away = {"RemoveFromVersionId": holder} if holder else {}
        try:
            self._aws.call(
                SERVICE,
                "update_secret_version_stage",
                SecretId=self._arn,
                VersionStage=CURRENT,
                MoveToVersionId=version,
                **away,
            )
        except Invalid:
            if self.labels().holders.get(CURRENT) == holder:
                raise
            raise Conflict(f"{self._arn}: somebody moved {CURRENT} meanwhile; the next try looks again") from None

    def fields(self, value: Value, names: tuple[str, ...]) -> Secret | None:
        """The fields that a value holds; None where they cannot all be read from it."""
        found = from_document(self._destination, self._document(value), names)
        return Secret(found) if found is not None else None

    def installation(self, value: Value) -> str:
        """Whose daemon wrote it; "" for anybody else."""
        stamp = read_stamp(self._document(value).get(MARKER_KEY))
        return stamp.marker.installation if stamp is not None else ""

    # --- ours ---------------------------------------------------------------------------------------------------

    @property
    def _is_plain(self) -> bool:
        return bool(self._destination.address.get("format") == "plain")

    def _document(self, value: Value) -> dict[str, str]:
        if self._is_plain:
            return dict.fromkeys(self._destination.keys, value.text)
        return {key: item if isinstance(item, str) else json.dumps(item) for key, item in self._loaded(value).items()}

    def _loaded(self, value: Value) -> dict[str, Any]:
        try:
            found = json.loads(value.text)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Invalid(f"{self._arn}: version {value.version} is not a JSON object; its format may be plain")
        return found

    def _text(self, fields: Secret, over: Value | None, label: str) -> str:
        document = to_document(self._destination, fields.reveal_all(), label)
        if self._is_plain:
            return next(iter(document.values()))
        kept = self._loaded(over) if over is not None else {}
        kept.pop(MARKER_KEY, None)
        return json.dumps({**kept, **document}, separators=(",", ":"))
