"""What Parameter Store keeps: parameters, their numbered versions, and labels that sit on one version each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime

from rotatord.testing.aws.errors import AwsError

VERSIONS = 100
LABELS = 10  # on one version
SIZES = {"Standard": 4096, "Advanced": 8192}
_NAME = re.compile(r"[\w./-]+", re.ASCII)
_LABEL = re.compile(r"[A-Za-z_.-][\w.-]{0,99}", re.ASCII)
_LEVELS = 15
_LONGEST = 1011  # of the whole name


@dataclass
class ParameterVersion:
    """One value of a parameter."""

    number: int
    value: str = field(repr=False)
    type: str
    key: str | None
    tier: str
    created: datetime
    user: str
    description: str | None = None
    pattern: str | None = None
    labels: list[str] = field(default_factory=list)


@dataclass
class Parameter:
    """A parameter, newest version last."""

    name: str
    arn: str
    versions: list[ParameterVersion] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def newest(self) -> ParameterVersion:
        return self.versions[-1]

    def numbered(self, number: int) -> ParameterVersion | None:
        return next((one for one in self.versions if one.number == number), None)

    def labelled(self, label: str) -> ParameterVersion | None:
        return next((one for one in self.versions if label in one.labels), None)

    def add(self, version: ParameterVersion) -> None:
        """Keep a new version. The oldest goes when there are too many, unless a label holds it."""
        if len(self.versions) >= VERSIONS:
            oldest = self.versions[0]
            if oldest.labels:
                raise _held(self.name, oldest.number)
            del self.versions[0]
        self.versions.append(version)

    def label(self, version: ParameterVersion, labels: list[str]) -> list[str]:
        """Move labels to a version; returns those that no label may be called."""
        invalid = [one for one in labels if not _fit(one)]
        fit = [one for one in dict.fromkeys(labels) if _fit(one)]
        if len({*version.labels, *fit}) > LABELS:
            said = f"A parameter version can have a maximum of {LABELS} labels."
            raise AwsError("ParameterVersionLabelLimitExceeded", said)
        for one in fit:
            holder = self.labelled(one)
            if holder is not None:
                holder.labels.remove(one)
            version.labels.append(one)
        return invalid


def _held(name: str, number: int) -> AwsError:
    said = f"You attempted to create a new version of {name} by calling the PutParameter API with the overwrite flag."
    said = f"{said} Version {number}, the oldest version, can't be deleted because it has a label associated with it."
    said = f"{said} Move the label to another version of the parameter, and try again."
    return AwsError("ParameterMaxVersionLimitExceeded", said)


def _fit(label: str) -> bool:
    return bool(_LABEL.fullmatch(label)) and not label.lower().startswith(("aws", "ssm"))


def check_name(name: str) -> None:
    """Refuse a name that no parameter may have."""
    parts = name.strip("/").split("/")
    if parts[0].lower().startswith(("aws", "ssm")):
        said = 'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive).'
        raise AwsError("ValidationException", said)
    if not _NAME.fullmatch(name) or len(name) > _LONGEST or "//" in name or (name.endswith("/") and name != "/"):
        said = 'Parameter name: can\'t be prefixed with "aws" or "ssm" (case-insensitive), and can include only'
        raise AwsError("ValidationException", f"{said} a-zA-Z0-9_.-/ (a fully qualified name starts with /).")
    if "/" in name and not name.startswith("/"):
        raise AwsError("ValidationException", "Parameter name must be a fully qualified name.")
    if len(parts) > _LEVELS:
        said = f"A parameter name can have at most {_LEVELS} levels separated by a forward slash."
        raise AwsError("HierarchyLevelLimitExceededException", said)
