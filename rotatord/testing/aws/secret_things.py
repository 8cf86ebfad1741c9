"""What Secrets Manager keeps: secrets, their versions, and the labels that sit on one version each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from rotatord.testing.aws.errors import AwsError

CURRENT, PREVIOUS, PENDING = "AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"
LABELS = 20  # on all versions of a secret together
VERSIONS = 100  # beyond this the oldest without a label are collected
_EVERY, _SUSTAINED = timedelta(minutes=10), timedelta(hours=2)
YOUNG = timedelta(hours=24)  # a version younger than this is never collected


@dataclass
class Version:
    """One value. ``text`` or ``binary``."""

    id: str
    text: str | None = field(repr=False)
    binary: bytes | None = field(repr=False)
    created: datetime
    key: str | None  # the KMS key that it is encrypted with
    read: datetime | None = None

    @property
    def empty(self) -> bool:
        """Made by RotateSecret, and not filled by the rotation function yet."""
        return self.text is None and self.binary is None

    def same(self, text: str | None, binary: bytes | None) -> bool:
        return (self.text, self.binary) == (text, binary)


@dataclass(frozen=True)
class Content:
    """What a secret held from a moment on."""

    since: datetime
    versions: dict[str, Version]
    stages: dict[str, str]

    def differs(self, other: Content) -> bool:
        return (list(self.versions), self.stages) != (list(other.versions), other.stages)


@dataclass
class Secret:
    """One secret. ``stages`` maps each label to the one version that it sits on."""

    name: str
    arn: str
    region: str
    created: datetime
    changed: datetime
    description: str | None = None
    kms_key: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    versions: dict[str, Version] = field(default_factory=dict)
    stages: dict[str, str] = field(default_factory=dict)
    read: datetime | None = None
    deleted: datetime | None = None  # when it was marked
    purged: datetime | None = None  # when it goes for good
    rotation: Mapping[str, object] | None = None
    replicas: dict[str, str | None] = field(default_factory=dict)  # region -> KMS key there
    delays: dict[str, timedelta] = field(default_factory=dict)  # region -> how late its copy is
    history: list[Content] = field(default_factory=list)
    collected: list[str] = field(default_factory=list)  # versions that were dropped, for tests

    def note(self, now: datetime) -> None:
        """Keep what copies in other regions will show later."""
        content = Content(now, dict(self.versions), dict(self.stages))
        if not self.history or self.history[-1].differs(content):
            self.history.append(content)

    def caught_up(self, region: str, now: datetime) -> bool:
        return not self.history or self.history[-1].since + self.delays[region] <= now

    def seen_from(self, region: str, now: datetime) -> Secret | None:
        """The copy in another region, as old as its delay; None while there is none."""
        arrived = [content for content in self.history if content.since + self.delays[region] <= now]
        return replace(self, versions=arrived[-1].versions, stages=arrived[-1].stages) if arrived else None

    def labels_of(self, version: str) -> list[str]:
        return sorted(label for label, holder in self.stages.items() if holder == version)

    def label(self, version: str, labels: list[str]) -> None:
        """Put labels on a version. AWSCURRENT leaves AWSPREVIOUS behind, on the version that had it."""
        self.stages = self._labelled(version, labels)

    def _labelled(self, version: str, labels: list[str]) -> dict[str, str]:
        after = dict(self.stages)
        for one in labels:
            before = after.get(one)
            after[one] = version
            if one == CURRENT and before is not None and before != version:
                after[PREVIOUS] = before
        if len(after) > LABELS:
            raise AwsError(
                "LimitExceededException", f"You can't have more than {LABELS} staging labels on the versions of a secret."
            )
        return after

    def put(self, version: Version, labels: list[str], now: datetime) -> None:
        """Keep a new version under its labels; the first one is always current."""
        after = self._labelled(version.id, labels if self.stages else sorted({*labels, CURRENT}))
        self._add(version, now)
        self.stages = after

    def sustained(self, now: datetime) -> bool:
        """Whether values were written faster, for hours, than old versions are removed."""
        return sum(now - one.created < _SUSTAINED for one in self.versions.values()) > _SUSTAINED / _EVERY

    def _add(self, version: Version, now: datetime) -> None:
        """Keep a new version; the oldest ones without a label go when there are too many."""
        unlabelled = [one for one in self.versions.values() if one.id not in self.stages.values()]
        old = [one for one in unlabelled if now - one.created >= YOUNG]
        excess = len(self.versions) + 1 - VERSIONS
        if excess > 0 and not old:
            said = f"You can't create a new version: none of the {len(self.versions)} versions of this secret can be removed."
            raise AwsError("LimitExceededException", said)
        for one in old[: max(excess, 0)]:
            del self.versions[one.id]
            self.collected.append(one.id)
        self.versions[version.id] = version
        self.changed = now
