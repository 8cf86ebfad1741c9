"""AWS Systems Manager Parameter Store: readers have the parameter that they know, which holds the value and nothing of ours.

Pending and previous are registers beside it (:mod:`backends.aws_ssm_register`), whose states are destroyed by deleting them.

Parameter Store overwrites without comparing. So a third register goes before the parameter itself: each write first takes the
next number there, with the stamp of what it will write; of several of ours only one gets it. A foreign write between our look
and our write shows in the version that AWS answers, and is put back. And a write whose answer was lost may land later, over
whatever was written since: until it cannot land any more, no other value is written. That is the price of a store without
compare-and-set: after a lost answer the next value may have to wait for a quarter of an hour.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from backends import aws_ssm_register
from backends.aws_ssm_register import SERVICE, Entry, Register
from rotatord.aws_client import Aws, AwsSettings, partition_of
from rotatord.aws_own import OwnAws
from rotatord.aws_slots import SlotNames, Tags, tags_of
from rotatord.document import Stamp, check_keys, content_digest, from_document, read_stamp, to_document, write_stamp
from rotatord.errors import Conflict, Denied, Invalid, NotFound, Retryable
from rotatord.mistakes import sentences
from rotatord.model import Destination, JsonMap, Marker, Slot
from rotatord.ports import Held, Surroundings
from rotatord.rights import AwsRight
from rotatord.secret import Secret

CLEARED = "{}"  # what a retired parameter holds
LONGEST_NAME = 900  # of AWS's 1011: the registers' names are longer
LATE = timedelta(minutes=15)  # AWS refuses signatures older than five minutes, by a clock that may differ by as many
_ENCRYPTING = {  # what a tier asks of the key
    "Standard": ("kms:Encrypt",),
    "Advanced": ("kms:GenerateDataKey",),
    "Intelligent-Tiering": ("kms:Encrypt", "kms:GenerateDataKey"),
}


class Settings(AwsSettings):
    """Settings of a backend of type ``aws_ssm_parameter``."""

    slots: SlotNames = "/rotatord/{name}/{slot}"  # where the registers lie; not below anything that readers list
    kms_key_id: str | None = None
    tier: Literal["Standard", "Advanced", "Intelligent-Tiering"] | None = None
    tags: Tags = Field(default_factory=dict)  # of parameters that we make

    @field_validator("slots")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("needs a slash at the beginning")
        return value


class Address(BaseModel):
    """Which parameter. ``format``: the value of the one key and nothing else, or a JSON object with the keys."""

    model_config = ConfigDict(extra="forbid")

    name: str
    format: Literal["plain", "json"] = "plain"

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        parts = value.removeprefix("/").split("/")
        if len(value) > LONGEST_NAME or not all(re.fullmatch(r"[A-Za-z0-9_.-]+", part) for part in parts):
            raise ValueError(f"should be up to {LONGEST_NAME} letters, digits, _ . - and single slashes between them")
        if len(parts) > 1 and not value.startswith("/"):
            raise ValueError("should begin with a slash, as it has one inside")
        if parts[0].lower().startswith(("aws", "ssm")):
            raise ValueError("may not begin with aws or ssm")
        if len(parts) > 11:
            raise ValueError("has too many levels: the registers beside it need four of AWS's fifteen")
        return value


@dataclass(frozen=True, slots=True)
class Seen:
    """The parameter and the register that goes before it. ``version`` 0: there is none."""

    register: Register
    version: int = 0
    text: str = field(default="", repr=False)
    at: str = ""
    kind: str = ""

    @property
    def token(self) -> str:
        return f"{self.register.token}:{self.version}:{self.at}"

    def stamp(self) -> Stamp | None:
        """Of the write that put there what lies there."""
        for entry in self.register.entries:
            stamp = read_stamp(entry.content.get("stamp"))
            if stamp and self.version > entry.content.get("base", 0) and stamp.fits({"": self.text}):
                return stamp
        return None


class ParameterStore(OwnAws):
    """See the module. Has the power BackendPreflight and says its rights; thread-safe."""

    def __init__(self, settings: Settings, surroundings: Surroundings) -> None:
        self._settings = settings
        self._installation = surroundings.installation
        self._now = surroundings.now
        self._aws = Aws(settings, surroundings)
        self.timeout = settings.timeout

    def close(self) -> None:
        self._aws.close()

    # --- Backend -----------------------------------------------------------------------------------------------

    def check(self, destination: Destination) -> Sequence[str]:
        problems = [*check_keys(destination), *sentences(Address, destination.address)]
        if destination.address.get("format", "plain") == "plain" and (len(destination.keys) != 1 or destination.version_key):
            problems.append("a plain parameter holds one value: give one key and no version_key, or format: json")
        return problems

    def read(self, destination: Destination, slot: Slot) -> Held:
        with self._aws.calling():
            if slot is not Slot.CURRENT:
                return _slot_held(self._register(destination, slot))
            seen = self._look(destination)
            if not seen.version or seen.text == CLEARED:
                return Held(token=seen.token, empty=True)
            stamp = seen.stamp()
            found = from_document(destination, _document(destination, seen.text), stamp.fields if stamp else None)
            return Held(
                token=seen.token,
                empty=False,
                fields=Secret(found) if found else None,
                marker=stamp.marker if stamp else None,
            )

    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        with self._aws.calling():
            making = self._making(marker.credential)
            if slot is not Slot.CURRENT:
                document = fields.reveal_all()
                content = {"fields": document, "stamp": write_stamp(marker, fields.names, document)}
                return self._move_slot(destination, slot, expect, content, making)
            document = to_document(destination, fields.reveal_all(), marker.label)
            plain = _address(destination).format == "plain"
            text = next(iter(document.values())) if plain else json.dumps(document, sort_keys=True, ensure_ascii=False)
            stamp = write_stamp(marker, fields.names, {"": text})
            return self._replace(destination, expect, text, stamp, making)

    def clear(self, destination: Destination, slot: Slot, expect: str) -> str:
        with self._aws.calling():
            making = self._making(None)
            if slot is not Slot.CURRENT:
                return self._move_slot(destination, slot, expect, {}, making)
            return self._replace(destination, expect, CLEARED, "", making)

    # --- optional powers ----------------------------------------------------------------------------------------

    def preflight(self, destination: Destination, *, home: bool = True) -> Sequence[str]:
        with self._aws.calling():
            try:
                problems = self._aws.wrong_account()
                seen = self._look(destination)
                if seen.version:
                    problems += _refusals(destination, seen)
                if home:
                    for slot in (Slot.PENDING, Slot.PREVIOUS):
                        self._register(destination, slot)
            except (Denied, Invalid) as error:
                return [str(error)]
        return problems

    def rights(self, destination: Destination, *, home: bool) -> Sequence[AwsRight]:
        """To keep one destination."""
        slots = list(Slot) if home else [Slot.CURRENT]
        paths = [self._path(destination, slot) for slot in slots]
        entries = ("AddTagsToResource", "DeleteParameters", "PutParameter")
        return [
            self._right(
                ("AddTagsToResource", "GetParameter", "PutParameter"), [_name(destination)], "the parameter that readers have"
            ),
            self._right(("GetParametersByPath",), paths, "the registers: what they hold"),
            self._right(entries, [f"{path}/*" for path in paths], "the registers: to move them on"),
            *self._key_rights("kms:Decrypt", *_ENCRYPTING[self._settings.tier or "Standard"]),
        ]

    def read_rights(self, destination: Destination) -> Sequence[AwsRight]:
        """To read one place that somebody else writes."""
        return [
            self._right(("GetParameter",), [_name(destination)], "to read it"),
            self._right(("GetParametersByPath",), [self._path(destination, Slot.CURRENT)], "whose value it holds"),
            *self._key_rights("kms:Decrypt"),
        ]

    # --- slots ---------------------------------------------------------------------------------------------------

    def _path(self, destination: Destination, slot: Slot) -> str:
        name = _name(destination).removeprefix("/")
        return self._settings.slots.replace("{name}", name).replace("{slot}", slot.value)

    def _register(self, destination: Destination, slot: Slot) -> Register:
        return aws_ssm_register.look(self._aws, self._path(destination, slot))

    def _move_slot(self, destination: Destination, slot: Slot, expect: str, content: JsonMap, making: JsonMap) -> str:
        """Moves first and destroys afterwards: stopped in between, what was to be cleared still shows, and is cleared again."""
        register = self._register(destination, slot)
        _must_be(register.token, expect, destination, slot)
        entry = aws_ssm_register.move(self._aws, register, content, making)
        aws_ssm_register.destroy(self._aws, register.path, register.entries)
        return f"{entry.number}:{entry.id}"

    # --- the parameter itself ------------------------------------------------------------------------------------

    def _look(self, destination: Destination) -> Seen:
        register = self._register(destination, Slot.CURRENT)
        found = self._get(_name(destination))
        if found is None:
            return Seen(register)
        at = found.get("LastModifiedDate")
        return Seen(register, found["Version"], found["Value"], at.isoformat() if at else "", found.get("Type", ""))

    def _get(self, name: str) -> JsonMap | None:
        try:
            found = self._aws.call(SERVICE, "get_parameter", Name=name, WithDecryption=True).get("Parameter") or {}
        except NotFound:
            return None
        if not isinstance(found.get("Value"), str) or not found.get("Version"):
            raise Retryable("Parameter Store answered without a value")
        return dict(found)

    def _replace(self, destination: Destination, expect: str, text: str, stamp: str, making: JsonMap) -> str:
        seen = self._look(destination)
        _must_be(seen.token, expect, destination, Slot.CURRENT)
        if problems := _refusals(destination, seen):
            raise Invalid("; ".join(problems))
        value = _digest(text)
        self._must_be_settled(destination, seen, value)
        content: JsonMap = {"base": seen.version, "stamp": stamp, "value": value}
        entry = aws_ssm_register.move(self._aws, seen.register, content, making)
        version = self._put(destination, text, making, exists=bool(seen.version))
        self._landed(seen.register.path, entry, making)
        if seen.version and version > seen.version + 1:
            self._put_back(destination, version - 1, value, making)
        now = self._look(destination)
        if (now.version, now.register.token) != (version, f"{entry.number}:{entry.id}"):
            raise Conflict(f"{destination.id} was written again at the same moment")
        done = [old for old in seen.register.entries if not self._may_land(old)]
        aws_ssm_register.destroy(self._aws, seen.register.path, done)
        return now.token

    def _put(self, destination: Destination, text: str, making: JsonMap, *, exists: bool) -> int:
        if exists:
            making = {name: value for name, value in making.items() if name not in {"Tags", "Type"}}
        answer = self._aws.call(SERVICE, "put_parameter", Name=_name(destination), Value=text, Overwrite=exists, **making)
        return int(answer.get("Version") or 0)

    def _put_back(self, destination: Destination, version: int, value: str, making: JsonMap) -> None:
        """Somebody wrote between our look and our write, which overwrote it: theirs is written again. A late copy of ours is
        not theirs."""
        theirs = self._get(f"{_name(destination)}:{version}")
        if theirs is None or _digest(theirs["Value"]) == value:
            return
        register = self._register(destination, Slot.CURRENT)
        content = {"base": version + 1, "stamp": "theirs", "value": _digest(theirs["Value"])}
        entry = aws_ssm_register.move(self._aws, register, content, making)
        self._put(destination, theirs["Value"], making, exists=True)
        self._landed(register.path, entry, making)
        raise Conflict(f"somebody wrote {destination.id} at the same moment; theirs was put back")

    def _landed(self, path: str, entry: Entry, making: JsonMap) -> None:
        """Note that the write was answered, so that nobody waits for it."""
        aws_ssm_register.amend(self._aws, path, entry, {**entry.content, "landed": True}, making)

    def _must_be_settled(self, destination: Destination, seen: Seen, value: str) -> None:
        """Raises Retryable while an earlier write of another value may still land."""
        waiting = [entry for entry in seen.register.entries if self._may_land(entry) and entry.content.get("value") != value]
        if waiting:
            until = max(entry.at for entry in waiting) + LATE
            left = max((until - self._now()).total_seconds(), 1.0)
            said = f"an earlier write of ours to {destination.id} got no answer and may still land, until {until:%H:%M:%S}"
            raise Retryable(f"{said}; Parameter Store cannot refuse it, so nothing is written before", retry_after=left)

    def _may_land(self, entry: Entry) -> bool:
        return not entry.content.get("landed") and self._now() - entry.at < LATE

    # --- ours ---------------------------------------------------------------------------------------------------

    def _making(self, credential: str | None) -> JsonMap:
        """What a parameter of ours is made with."""
        tags = tags_of(self._installation, credential or "", self._settings.tags)
        key = {"KeyId": self._settings.kms_key_id} if self._settings.kms_key_id else {}
        tier = {"Tier": self._settings.tier} if self._settings.tier else {}
        return {"Type": "SecureString", "Tags": tags, **key, **tier}

    def _right(self, actions: Sequence[str], names: Sequence[str], why: str) -> AwsRight:
        region, account = self._settings.region or "*", self._settings.account or "*"
        start = f"arn:{partition_of(self._settings.region)}:ssm:{region}:{account}:parameter/"
        return AwsRight(
            actions=tuple(f"ssm:{action}" for action in actions),
            resources=tuple(start + name.removeprefix("/") for name in names),
            why=why,
        )

    def _key_rights(self, *actions: str) -> list[AwsRight]:
        """On a key of one's own, and only through Parameter Store."""
        key, region = self._settings.kms_key_id, self._settings.region or "*"
        if key is None:
            return []
        start = f"arn:{partition_of(self._settings.region)}:kms:{region}:{self._settings.account or '*'}:key/"
        conditions = [("StringLike", "kms:ViaService", f"ssm.{region}.amazonaws.com")]
        if "alias/" in key:
            conditions.append(("ForAnyValue:StringEquals", "kms:ResourceAliases", key[key.index("alias/") :]))
        resource = f"{start}*" if "alias/" in key else key if key.startswith("arn:") else f"{start}{key}"
        return [AwsRight(actions=actions, resources=(resource,), conditions=tuple(conditions), why="the key")]


def create(settings: JsonMap, surroundings: Surroundings) -> ParameterStore:
    """The factory behind the entry point ``aws_ssm_parameter``."""
    return ParameterStore(Settings.model_validate(settings), surroundings)


def _address(destination: Destination) -> Address:
    return Address.model_validate(destination.address)


def _name(destination: Destination) -> str:
    return _address(destination).name


def _must_be(token: str, expect: str, destination: Destination, slot: Slot) -> None:
    if token != expect:
        raise Conflict(f"{destination.id} ({slot.value}) is not any more what it was when it was read")


def _refusals(destination: Destination, seen: Seen) -> list[str]:
    """Why a parameter must not be written."""
    if seen.version and seen.kind != "SecureString":
        return [f"{destination.id} is a {seen.kind}, which AWS keeps in clear text: make it a SecureString under another name"]
    return []


def _digest(text: str) -> str:
    """As secret as the text is guessable: it lies in SecureStrings only."""
    return content_digest({"": text})


def _document(destination: Destination, text: str) -> dict[str, str]:
    """The texts that readers find."""
    if _address(destination).format == "plain":
        return {next(iter(destination.keys)): text}
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return {key: value for key, value in document.items() if isinstance(value, str)} if isinstance(document, dict) else {}


def _slot_held(register: Register) -> Held:
    """A state without fields says cleared; as long as an earlier one is left, the clearing has not happened."""
    for entry in register.entries:
        fields = entry.content.get("fields")
        if isinstance(fields, dict):
            stamp = read_stamp(entry.content.get("stamp"))
            texts = {str(key): value for key, value in fields.items() if isinstance(value, str) and value}
            return Held(
                token=register.token,
                empty=False,
                fields=Secret(texts) if texts else None,
                marker=stamp.marker if stamp else None,
                intact=stamp is not None and stamp.fits(fields),
            )
    return Held(token=register.token, empty=True)
