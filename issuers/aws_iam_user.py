"""Access keys of IAM users: two at most, without a name or an end, and with whatever rights their user has.

A key carries nothing that says whose it is. So the user must be ours alone (``exclusive``): what was there before our own mint
is never ours, nor what was made before it. What a key may do is set on the user: see :mod:`rotatord.aws_grants`.

A fresh key is unknown for a while in places, and an ended one still known; each answer is AWS's in one place. Hence a probe
asks several times and is inconclusive unless all answers agree.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rotatord import aws_grants as grants
from rotatord.aws_client import Aws, AwsSettings, partition_of
from rotatord.aws_grants import Grants
from rotatord.aws_identity import Who, who_is
from rotatord.aws_own import OwnAws
from rotatord.durations import parse, spell
from rotatord.errors import Denied, Invalid, NotFound
from rotatord.mistakes import sentences
from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    LiveRef,
    Minted,
    MintRequest,
    ProbeAnswer,
    Query,
    RefusedVerdict,
    Surroundings,
    Traits,
)
from rotatord.rights import AwsRight
from rotatord.secret import Secret

KEYS_A_USER = 2
OUR_PROBE = timedelta(seconds=65)  # IAM tells last uses to the minute
REMEMBERED_PROBES = 10_000
_KEY_ID = re.compile(r"\w{16,128}", re.ASCII)
Length = Annotated[timedelta, BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)]
UserName = Annotated[str, Field(pattern=r"^[\w+=,.@-]{1,64}$")]


class Settings(AwsSettings):
    """Settings of an issuer of type ``aws_iam_user``."""

    exclusive: bool = True  # nobody else makes keys for these users
    users: tuple[UserName, ...] = ()  # whose keys the inventory lists, beside those of users that it has met
    managed_policies: int = Field(default=10, ge=0, le=20)  # the account's quota per user
    agreeing_answers: int = Field(default=3, ge=1, le=10)  # of a probe
    propagation: Length = timedelta(seconds=30)
    listing_delay: Length = timedelta(seconds=30)
    last_used_delay: Length = timedelta(hours=4)
    call_settles_within: Length = timedelta(seconds=60)


class Parameters(BaseModel):
    """Whose keys they are."""

    model_config = ConfigDict(extra="forbid")

    user: UserName
    path: str = Field(default="/", pattern=r"^/([\x21-\x7e]+/)?$", max_length=512)  # of the user; a part of its ARN


class IamUserKeys(OwnAws):
    """See the module. Has the powers Suspend, LastUsed, Inventory, Preflight and PrincipalScope; thread-safe."""

    def __init__(self, settings: Settings, surroundings: Surroundings, aws: Aws | None = None) -> None:
        self._settings = settings
        self._now = surroundings.now
        self._aws = aws or Aws(settings, surroundings)
        self._grants = Grants(self._aws)
        self.timeout = settings.timeout
        self.traits = Traits(
            fields=("access_key_id", "secret_access_key"),
            max_live=KEYS_A_USER,
            scope_on="principal",
            scope_proof="exact",
            labels=False,
            exclusive=settings.exclusive,
            propagation=settings.propagation,
            listing_delay=settings.listing_delay,
            last_used_delay=settings.last_used_delay,
            call_settles_within=settings.call_settles_within,
            high_entropy=("secret_access_key",),
            forms={"access_key_id": r"\w{16,128}", "secret_access_key": r"[A-Za-z0-9/+]{40,}"},
            names=("access_key_id",),
        )
        self._lock = threading.Lock()
        self._met: set[str] = set()  # users
        self._probed: OrderedDict[str, tuple[datetime | None, datetime]] = OrderedDict()  # key: its use before, our probe

    def close(self) -> None:
        self._aws.close()

    # --- Issuer ------------------------------------------------------------------------------------------------

    def check(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        found = sentences(Parameters, parameters, "parameters")
        return found + grants.problems(scope, self._settings.managed_policies)

    def principal(self, parameters: JsonMap) -> object:
        """Whose keys they are, for whoever looks for two credentials of one user; AWS does not tell users apart by case."""
        ways = {"profile", "access_key", "assume_role", "endpoint_url"}
        account = self._settings.account or self._settings.model_dump(mode="json", include=ways)
        return [account, str(parameters["user"]).lower()]

    def propose(self, request: MintRequest) -> Secret:
        raise Invalid(f"AWS chooses the values of its keys ({request.credential})")

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        if proposed is not None:
            raise Invalid("AWS chooses the values of its keys")
        user = self._user(request.parameters)
        with self._aws.calling():
            if quarantine := self._grants.quarantine(user):
                raise Invalid(_quarantined(user, quarantine))
            key = self._aws.call("iam", "create_access_key", UserName=user)["AccessKey"]
        fields = Secret({"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]})
        return Minted(ref=key["AccessKeyId"], fields=fields)

    def find(self, query: Query) -> Sequence[LiveRef]:
        keys = self._keys(self._user(query.parameters))
        if query.ref is not None:
            return [key for key in keys if key.ref == query.ref]
        # IAM tells whole seconds: a key of the second of our intent may be ours.
        since = query.since.replace(microsecond=0) if query.since is not None else None
        fresh = (key for key in keys if since is None or (key.created_at is not None and key.created_at >= since))
        return [key for key in fresh if key.ref not in query.known]

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        key = fields.reveal("access_key_id")
        if not _KEY_ID.fullmatch(key):
            return RefusedVerdict("this cannot be the id of an access key")
        user = self._user(target["parameters"])
        with self._aws.calling():
            before = self._use_before(key)
            answer = who_is(self._aws, fields, self._settings.agreeing_answers)
            self._remember(key, before)
            if not isinstance(answer, Who):
                return answer
            if answer.user != user.lower():
                return Accepted(ref=f"{key} of {answer.arn}")
            scope = self._grants.seen(user, target.get("scope", {}))
        return Accepted(scope=scope, ref=key)

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        user = self._user(parameters)
        with self._aws.calling():
            try:
                self._set(user, ref, "Inactive")
                self._aws.call("iam", "delete_access_key", UserName=user, AccessKeyId=ref)
            except NotFound:
                return

    # --- optional powers ----------------------------------------------------------------------------------------

    def suspend(self, ref: str, parameters: JsonMap) -> None:
        self._set(self._user(parameters), ref, "Inactive")

    def resume(self, ref: str, parameters: JsonMap) -> None:
        self._set(self._user(parameters), ref, "Active")

    def last_used(self, ref: str, parameters: JsonMap) -> datetime | None:
        self._user(parameters)
        with self._aws.calling():
            return self._use_by_others(ref)

    def inventory(self) -> Sequence[LiveRef]:
        """The keys of all users that are configured or were asked about. None can say whose it is."""
        with self._lock:
            users = sorted({*self._settings.users, *self._met})
        with self._aws.calling():
            return [key for user in users for key in self._keys(user)]

    def widen(self, scopes: Sequence[JsonMap]) -> JsonMap:
        return grants.widened(scopes, self._settings.managed_policies)

    def set_scope(self, scope: JsonMap, parameters: JsonMap) -> None:
        self._grants.set(self._user(parameters), scope)

    def preflight(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        user = self._user(parameters)
        with self._aws.calling():
            if wrong := self._aws.wrong_account():
                return wrong
            try:
                about = self._aws.call("iam", "get_user", UserName=user)["User"]
            except NotFound:
                return [f"AWS has no IAM user {user!r}: create it, or name another in parameters.user"]
            found = [] if _in_path(about, parameters) else [_elsewhere(about, parameters)]
            if quarantine := self._grants.quarantine(user):
                found.append(_quarantined(user, quarantine))
            keys = self._keys(user)
            if len(keys) >= KEYS_A_USER:
                found.append(self._full(user, keys))
            return found + self._missing(scope)

    def remarks(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        """Where the scope is ours to set: what others have given the user beside it."""
        user = self._user(parameters)
        others = self._grants.others(user, scope) if scope else []
        if not others:
            return []
        many = f"{len(others)} policies that are" if len(others) > 1 else "a policy that is"
        told = f"user {user} has {many} not ours ({', '.join(others)}): left alone, and each of its keys may do what is"
        return [f"{told} allowed there, whatever its scope says"]

    # --- rights -------------------------------------------------------------------------------------------------

    def rights(self, scope: JsonMap, parameters: JsonMap) -> Sequence[AwsRight]:
        """What the calls of this class need; for a change of scope, those of the old one too."""
        asked = Parameters.model_validate(parameters)
        partition, account = partition_of(self._settings.region), self._settings.account or "*"
        user = (f"arn:{partition}:iam::{account}:user{asked.path}{asked.user}",)
        keys = ("CreateAccessKey", "DeleteAccessKey", "GetAccessKeyLastUsed", "ListAccessKeys", "UpdateAccessKey")
        look = ("GetUser", "ListAttachedUserPolicies")
        found = [AwsRight(_iam(*keys), user, why="to make, find, disable and end access keys")]
        found.append(AwsRight(_iam(*look), user, why="to see a quarantine, and what is attached"))
        return found + (_rights_to_set(grants.plain(scope), scope, user) if scope else [])

    # --- ours ---------------------------------------------------------------------------------------------------

    def _user(self, parameters: JsonMap) -> str:
        user: str = parameters["user"]
        with self._lock:
            self._met.add(user)
        return user

    def _keys(self, user: str) -> list[LiveRef]:
        """All keys of a user. One that is not there has none, once it is sure that we look at the right account."""
        try:
            rows = self._grants.pages("list_access_keys", "AccessKeyMetadata", UserName=user)
        except NotFound as error:
            if self._settings.account is None:
                raise NotFound(f"{error}; to let a deleted user be told from another account, set account") from None
            if wrong := self._aws.wrong_account():
                raise Denied(wrong[0]) from None
            return []
        return [_live(row) for row in rows]

    def _set(self, user: str, ref: str, status: str) -> None:
        self._aws.call("iam", "update_access_key", UserName=user, AccessKeyId=ref, Status=status)

    def _use_by_others(self, ref: str) -> datetime | None:
        """What IAM says, but for our own probes: of those it tells the use before, as long as this process remembers it."""
        told = self._aws.call("iam", "get_access_key_last_used", AccessKeyId=ref)["AccessKeyLastUsed"]
        used = told["LastUsedDate"].astimezone(UTC) if told.get("LastUsedDate") else None
        with self._lock:
            before, probed = self._probed.get(ref, (None, None))
        ours = probed is not None and used is not None and told.get("ServiceName") == "sts" and abs(used - probed) <= OUR_PROBE
        return before if ours else used

    def _use_before(self, ref: str) -> datetime | None:
        try:
            return self._use_by_others(ref)
        except (NotFound, Denied):
            return None  # IAM says either of keys that it does not know

    def _remember(self, ref: str, before: datetime | None) -> None:
        with self._lock:
            self._probed[ref] = before, self._now()
            self._probed.move_to_end(ref)
            while len(self._probed) > REMEMBERED_PROBES:
                self._probed.popitem(last=False)

    def _full(self, user: str, keys: Sequence[LiveRef]) -> str:
        """Both keys in words, for who has to decide which of them goes."""
        words = []
        for key in keys:
            used = self._use_before(key.ref)
            age = spell(self._now() - key.created_at) if key.created_at else "?"
            state = "inactive" if key.suspended else "active"
            last = f"last used {spell(self._now() - used)} ago" if used is not None else "no use known"
            words.append(f"{key.ref} ({state}, {age} old, {last})")
        return (
            f"user {user} has {len(keys)} access keys and AWS allows no more: {' and '.join(words)}. While a rotation is open "
            "that is as it should be. Else delete the one that nobody uses, or adopt the one in use and delete the other"
        )

    def _missing(self, scope: JsonMap) -> list[str]:
        """Managed policies that a scope names and AWS does not have."""
        asked = grants.plain(scope)
        named = [*asked.get("managed", ()), *(scope[key] for key in ("boundary", "boundary_during_change") if scope.get(key))]
        found = []
        for arn in dict.fromkeys(arn for arn in named if arn != "none"):
            try:
                self._aws.call("iam", "get_policy", PolicyArn=arn)
            except NotFound:
                found.append(f"AWS has no managed policy {arn}, which the scope names")
        return found


def create(settings: JsonMap, surroundings: Surroundings) -> IamUserKeys:
    """The factory behind the entry point ``aws_iam_user``."""
    return IamUserKeys(Settings.model_validate(settings), surroundings)


def _live(row: Mapping[str, Any]) -> LiveRef:
    made = row["CreateDate"].astimezone(UTC)
    return LiveRef(ref=row["AccessKeyId"], created_at=made, suspended=row["Status"] != "Active")


def _in_path(about: Mapping[str, Any], parameters: JsonMap) -> bool:
    return bool(about["Path"] == parameters.get("path", "/"))


def _elsewhere(about: Mapping[str, Any], parameters: JsonMap) -> str:
    return f"user {about['UserName']} has the path {about['Path']}, not {parameters.get('path', '/')}: correct parameters.path"


def _quarantined(user: str, names: Sequence[str]) -> str:
    return (
        f"AWS has put user {user} into quarantine ({', '.join(names)}): one of its keys was found in public. No further key is "
        "made for it. Find out which leaked, disable it, undo what it was used for, detach the policy, then rotate"
    )


def _iam(*actions: str) -> tuple[str, ...]:
    return tuple(f"iam:{action}" for action in sorted(actions))


def _rights_to_set(asked: JsonMap, scope: JsonMap, user: tuple[str, ...]) -> list[AwsRight]:
    inline = _iam("DeleteUserPolicy", "GetUserPolicy", "ListUserPolicies", "PutUserPolicy")
    found = [AwsRight(inline, user, why="to set the inline policies that are ours")]
    for arn in asked["managed"]:
        only = (("ArnEquals", "iam:PolicyARN", arn),)
        found.append(AwsRight(_iam("AttachUserPolicy", "DetachUserPolicy"), user, only, why="to set a managed policy"))
        found.append(AwsRight(_iam("GetPolicy"), (arn,), why="to see that it exists"))
    if asked["managed"]:
        tags = (("ForAllValues:StringLike", "aws:TagKeys", f"{grants.TAG}*"),)
        found.append(AwsRight(_iam("TagUser", "UntagUser"), user, tags, why="to remember what we attached"))
    for arn in dict.fromkeys(scope[key] for key in ("boundary", "boundary_during_change") if scope.get(key)):
        if arn == "none":
            found.append(AwsRight(_iam("DeleteUserPermissionsBoundary"), user, why="to take the boundary away"))
            continue
        only = (("ArnEquals", "iam:PermissionsBoundary", arn),)
        found.append(AwsRight(_iam("PutUserPermissionsBoundary"), user, only, why="to set the boundary"))
        found.append(AwsRight(_iam("GetPolicy"), (arn,), why="to see that it exists"))
    return found
