"""AWS Secrets Manager: readers have the secret that they know, whose ``AWSCURRENT`` moves by compare-and-set.

Its versions hold the document, with our stamp as a key of its own; or, for a secret that is plain text, with the stamp in a
secret beside it, under the same version id. ``AWSPREVIOUS`` is moved by AWS. Our own pending and previous slots lie in secrets
of their own, so that what they held can be destroyed: see :mod:`backends.aws_secret_slots`. What ``AWSCURRENT`` once named
stays readable by its version id until AWS collects it; that cannot be helped, and by then it is dead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from backends import aws_secret
from backends.aws_secret import Seen, version_id
from backends.aws_secret_slots import Slots
from rotatord.aws_client import Aws, AwsSettings, partition_of
from rotatord.aws_own import OwnAws
from rotatord.aws_slots import SlotNames, Tags, tags_of
from rotatord.document import MARKER_KEY, Stamp, check_keys, from_document, read_stamp, to_document, write_stamp
from rotatord.errors import Conflict, Denied, Invalid, NotFound
from rotatord.mistakes import sentences
from rotatord.model import Destination, JsonMap, Marker, Slot
from rotatord.ports import Held, Surroundings
from rotatord.rights import AwsRight
from rotatord.secret import Secret

CLEARED = "{}"  # what a retired secret holds
LONGEST_NAME = 400  # of AWS's 512: the slots' names are longer
CROWDED = 90  # versions within a day, of the 100 that AWS keeps and the few more that it allows


class Settings(AwsSettings):
    """Settings of a backend of type ``aws_secrets_manager``."""

    slots: SlotNames = "rotatord/{name}/{slot}"  # where pending and previous lie, and the stamps of plain secrets
    kms_key_id: str | None = None  # of secrets that we make
    tags: Tags = Field(default_factory=dict)  # likewise
    replica_regions: tuple[str, ...] = ()
    rotation_function: str | None = None  # the ARN of our own rotation function, which may be set on the secrets


class Address(BaseModel):
    """Which secret. ``format``: a JSON object with the keys, or the value of the one key and nothing else."""

    model_config = ConfigDict(extra="forbid")

    name: str
    format: Literal["json", "plain"] = "json"

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if value.startswith("arn:"):
            raise ValueError("should be the secret's name, not its ARN")
        if not re.fullmatch(rf"[A-Za-z0-9/_+=.@-]{{1,{LONGEST_NAME}}}", value):
            raise ValueError(f"should be up to {LONGEST_NAME} letters, digits and / _ + = . @ -")
        if re.search(r"-[A-Za-z0-9]{6}$", value):
            raise ValueError("ends like the random part of an ARN, so that AWS may take it for another secret")
        return value


class AwsSecrets(OwnAws):
    """See the module. Has the power BackendPreflight and says its rights; thread-safe."""

    def __init__(self, settings: Settings, surroundings: Surroundings) -> None:
        self._settings = settings
        self._installation = surroundings.installation
        self._now = surroundings.now
        self._aws = Aws(settings, surroundings)
        self._slots = Slots(self._aws, surroundings.now)
        self.timeout = settings.timeout

    def close(self) -> None:
        self._aws.close()

    # --- Backend -----------------------------------------------------------------------------------------------

    def check(self, destination: Destination) -> Sequence[str]:
        problems = [*check_keys(destination), *sentences(Address, destination.address)]
        if destination.address.get("format") == "plain" and (len(destination.keys) != 1 or destination.version_key):
            problems.append("a plain secret holds one value: give one key, and no version_key")
        return problems

    def read(self, destination: Destination, slot: Slot) -> Held:
        address = _address(destination)
        with self._aws.calling():
            if slot is not Slot.CURRENT:
                head = self._slots.look(self._slot_name(address, slot.value))
                text = self._slots.text(head)
                if text is None:
                    return Held(token=head.seen.token, empty=not head.foreign)
                return _held(_verbatim(destination), head.seen.token, text, None)
            seen = aws_secret.look(self._aws, address.name)
            aws_secret.must_not_be_doomed(seen)
            if not seen.current:
                return Held(token=seen.token, empty=True)
            text = aws_secret.text_of(self._aws, seen.arn, seen.current)
            if text == CLEARED:
                return Held(token=seen.token, empty=True)
            beside = self._stamp_beside(address, seen.current) if address.format == "plain" else None
            return _held(destination, seen.token, text, beside)

    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        address = _address(destination)
        shown = destination if slot is Slot.CURRENT else _verbatim(destination)
        document = to_document(shown, fields.reveal_all(), marker.label)
        stamp = write_stamp(marker, fields.names, document)
        with self._aws.calling():
            making = self._making(marker.credential)
            if slot is not Slot.CURRENT:
                head = self._slots.look(self._slot_name(address, slot.value))
                _must_be(head.seen, expect, destination, slot)
                return self._slots.write(head, _dumps({**document, MARKER_KEY: stamp}), making)
            seen = self._to_be_written(destination, address, expect)
            if address.format == "json":
                version = version_id("write", address.name, expect, marker.write, marker.fingerprint)
                return self._put(seen, version, _dumps({**document, MARKER_KEY: stamp}), making).token
            version = version_id("write")
            self._put_stamp(address, version, stamp, making)
            return self._put(seen, version, next(iter(document.values())), making).token

    def clear(self, destination: Destination, slot: Slot, expect: str) -> str:
        address = _address(destination)
        with self._aws.calling():
            if slot is not Slot.CURRENT:
                head = self._slots.look(self._slot_name(address, slot.value))
                _must_be(head.seen, expect, destination, slot)
                return self._slots.clear(head, self._making(None))
            seen = self._to_be_written(destination, address, expect)
            return self._put(seen, version_id("clear", address.name, expect), CLEARED, self._making(None)).token

    # --- optional powers ----------------------------------------------------------------------------------------

    def preflight(self, destination: Destination, *, home: bool = True) -> Sequence[str]:
        address = _address(destination)
        with self._aws.calling():
            try:
                problems = self._aws.wrong_account()
                seen = aws_secret.look(self._aws, address.name)
                if seen.arn:
                    problems += self._problems(seen)
                names = [slot.value for slot in (Slot.PENDING, Slot.PREVIOUS) if home]
                names += ["stamp"] if address.format == "plain" else []
                for name in names:
                    beside = aws_secret.look(self._aws, self._slot_name(address, name))
                    if beside.about.get("DeletedDate"):
                        problems.append(f"the secret {beside.name} is scheduled for deletion: restore it")
            except (Denied, Invalid) as error:
                return [str(error)]
        return problems

    def rights(self, destination: Destination, *, home: bool) -> Sequence[AwsRight]:
        """To keep one destination."""
        address = _address(destination)
        actions = ["CreateSecret", "DescribeSecret", "GetSecretValue", "ListSecretVersionIds", "PutSecretValue"]
        actions += ["TagResource", "UpdateSecretVersionStage"]
        actions += ["ReplicateSecretToRegions"] if self._settings.replica_regions else []
        found = [self._right(actions, [address.name], "the secret that readers have")]
        beside = ["CreateSecret", "DescribeSecret", "GetSecretValue", "PutSecretValue", "TagResource"]
        if address.format == "plain":
            found.append(self._right(beside, [self._slot_name(address, "stamp")], "whose value a plain secret holds"))
        if home:
            heads = [self._slot_name(address, slot.value) for slot in (Slot.PENDING, Slot.PREVIOUS)]
            found.append(self._right([*beside, "UpdateSecretVersionStage"], heads, "the slots"))
            values = [f"{head}/*" for head in heads]
            actions = ["CreateSecret", "DeleteSecret", "GetSecretValue", "TagResource"]
            found.append(self._right(actions, values, "the values in the slots"))
        return [*found, *self._key_rights(("kms:Decrypt", "kms:GenerateDataKey"))]

    def read_rights(self, destination: Destination) -> Sequence[AwsRight]:
        """To read one place that somebody else writes."""
        address = _address(destination)
        found = [self._right(["DescribeSecret", "GetSecretValue"], [address.name], "to read it")]
        if address.format == "plain":
            found.append(self._right(["GetSecretValue"], [self._slot_name(address, "stamp")], "whose value it holds"))
        return [*found, *self._key_rights(("kms:Decrypt",))]

    # --- ours ---------------------------------------------------------------------------------------------------

    def _slot_name(self, address: Address, slot: str) -> str:
        return self._settings.slots.replace("{name}", address.name).replace("{slot}", slot)

    def _to_be_written(self, destination: Destination, address: Address, expect: str) -> Seen:
        seen = aws_secret.look(self._aws, address.name)
        _must_be(seen, expect, destination, Slot.CURRENT)
        if refusal := self._refusals(seen):
            raise Invalid("; ".join(refusal))
        return seen

    def _put(self, seen: Seen, version: str, text: str, making: JsonMap) -> Seen:
        written = aws_secret.put(self._aws, seen, version, text, making)
        there = {each.get("Region") for each in seen.about.get("ReplicationStatus") or []}
        missing = [{"Region": region} for region in self._settings.replica_regions if region not in there]
        if missing:
            self._aws.call(aws_secret.SERVICE, "replicate_secret_to_regions", SecretId=written.arn, AddReplicaRegions=missing)
        return written

    def _making(self, credential: str | None) -> JsonMap:
        """What a secret of ours is made with."""
        tags = tags_of(self._installation, credential or "", self._settings.tags)
        key = {"KmsKeyId": self._settings.kms_key_id} if self._settings.kms_key_id else {}
        return {"Tags": tags, **key}

    def _put_stamp(self, address: Address, version: str, stamp: str, making: JsonMap) -> None:
        """Before the plain value: a value whose stamp is missing would be taken for somebody else's."""
        name = self._slot_name(address, "stamp")
        if not aws_secret.look(self._aws, name).arn:
            try:
                aws_secret.put(self._aws, Seen(name), version, stamp, making)
            except Conflict:  # made at the same moment
                pass
            else:
                return
        aws_secret.put_beside(self._aws, name, version, stamp)

    def _stamp_beside(self, address: Address, version: str) -> Stamp | None:
        try:
            return read_stamp(aws_secret.text_of(self._aws, self._slot_name(address, "stamp"), version))
        except NotFound:
            return None

    def _refusals(self, seen: Seen) -> list[str]:
        """Why a secret must not be written."""
        about, found = seen.about, []
        if about.get("DeletedDate"):
            found.append(f"the secret {seen.name} is scheduled for deletion: restore it, or wait until it is gone")
        if about.get("RotationEnabled") and about.get("RotationLambdaARN") != (self._settings.rotation_function or "none"):
            found.append(f"the secret {seen.name} is rotated by a function of AWS, against which we would work: cancel that")
        if about.get("OwningService"):
            found.append(f"the secret {seen.name} is kept by {about['OwningService']}, and only that may write it")
        primary = about.get("PrimaryRegion")
        if primary and primary != self._aws.region():
            found.append(f"the secret {seen.name} is a replica here: configure the region of the original, {primary}")
        return found

    def _problems(self, seen: Seen) -> list[str]:
        """Why a secret cannot be kept well."""
        found = self._refusals(seen)
        key, wanted = str(seen.about.get("KmsKeyId") or "the account's own key"), self._settings.kms_key_id
        if wanted and wanted.rpartition("/")[2] != key.rpartition("/")[2]:
            found.append(f"the secret {seen.name} is encrypted with {key}, not with {wanted}")
        states = {each.get("Region"): each for each in seen.about.get("ReplicationStatus") or []}
        for region in self._settings.replica_regions:
            state = states.get(region, {}).get("Status", "not there")
            if state not in {"InSync", "InProgress"}:
                found.append(
                    f"the replica of {seen.name} in {region} is {state}: {states.get(region, {}).get('StatusMessage')}"
                )
        fresh = self._fresh_versions(seen) if not found else 0
        if fresh >= CROWDED:
            found.append(f"the secret {seen.name} got {fresh} versions within a day: something writes it too often")
        return found

    def _fresh_versions(self, seen: Seen) -> int:
        """Versions that are too young for AWS to collect; one page tells enough."""
        answer = self._aws.call(
            aws_secret.SERVICE, "list_secret_version_ids", SecretId=seen.arn, IncludeDeprecated=True, MaxResults=100
        )
        since = self._now() - timedelta(days=1)
        return sum(1 for each in answer.get("Versions") or [] if each.get("CreatedDate") and each["CreatedDate"] > since)

    def _right(self, actions: Sequence[str], names: Sequence[str], why: str) -> AwsRight:
        region, account = self._settings.region or "*", self._settings.account or "*"
        start = f"arn:{partition_of(self._settings.region)}:secretsmanager:{region}:{account}:secret:"
        return AwsRight(
            actions=tuple(f"secretsmanager:{action}" for action in sorted(actions)),
            resources=tuple(start + (name if name.endswith("*") else f"{name}-??????") for name in names),
            why=why,
        )

    def _key_rights(self, actions: tuple[str, ...]) -> list[AwsRight]:
        """On a key of one's own, and only through Secrets Manager."""
        key, region = self._settings.kms_key_id, self._settings.region or "*"
        if key is None:
            return []
        start = f"arn:{partition_of(self._settings.region)}:kms:{region}:{self._settings.account or '*'}:key/"
        conditions = [("StringLike", "kms:ViaService", f"secretsmanager.{region}.amazonaws.com")]
        if "alias/" in key:
            alias = key[key.index("alias/") :]
            conditions.append(("ForAnyValue:StringEquals", "kms:ResourceAliases", alias))
        resource = f"{start}*" if "alias/" in key else key if key.startswith("arn:") else f"{start}{key}"
        return [AwsRight(actions=actions, resources=(resource,), conditions=tuple(conditions), why="the key of the secrets")]


def create(settings: JsonMap, surroundings: Surroundings) -> AwsSecrets:
    """The factory behind the entry point ``aws_secrets_manager``."""
    return AwsSecrets(Settings.model_validate(settings), surroundings)


def _address(destination: Destination) -> Address:
    return Address.model_validate(destination.address)


def _verbatim(destination: Destination) -> Destination:
    return replace(destination, keys={}, version_key=None, address={**destination.address, "format": "json"})


def _must_be(seen: Seen, expect: str, destination: Destination, slot: Slot) -> None:
    if seen.token != expect:
        raise Conflict(f"{destination.id} ({slot.value}) is not any more what it was when it was read")


def _dumps(document: JsonMap) -> str:
    return json.dumps(document, sort_keys=True, ensure_ascii=False)


def _held(destination: Destination, token: str, text: str | None, beside: Stamp | None) -> Held:
    """What a text shows. None, or what is not an object of JSON, is somebody else's."""
    if destination.address.get("format") == "plain":
        document: JsonMap = {} if text is None else {next(iter(destination.keys)): text}
        stamp = beside
    else:
        document = _loads(text)
        stamp = read_stamp(document.get(MARKER_KEY))
    texts = {key: value for key, value in document.items() if isinstance(value, str)}
    found = from_document(destination, texts, stamp.fields if stamp else None)
    return Held(
        token=token,
        empty=False,
        fields=Secret(found) if found else None,
        marker=stamp.marker if stamp else None,
        intact=stamp is None or stamp.fits(document),
    )


def _loads(text: str | None) -> JsonMap:
    try:
        document = json.loads(text or "")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
