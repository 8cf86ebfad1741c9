"""What an IAM user may do, as far as it is ours: asked, seen, joined for a change, and set.

Ours are the inline policies whose names begin with ``rotatord-``, and the managed policies that a scope named: a tag on the
user remembers each, so that it can be taken away again. A permissions boundary is touched only where a scope speaks of one.
Whatever else hangs on the user, or on its groups, is somebody else's: left alone, and no part of what a scope is compared with.

A scope that is empty touches nothing. One that joins an empty scope takes nothing away either (``keep_others``).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rotatord import aws_policies as policies
from rotatord.aws_client import POLICY_ARN, Aws, PolicyArn
from rotatord.errors import Conflict, Invalid, NotFound, Retryable
from rotatord.mistakes import form, sentences
from rotatord.model import JsonMap

PREFIX = "rotatord-"
TAG = "rotatord-policy-"
INLINE_CHARACTERS = 2048  # of all inline policies of a user, white space aside; no quota raises it
_QUARANTINE = "AWSCompromisedKeyQuarantine"
_ONLY = "scope"  # the name of the inline policy that ``policy`` stands for
_MOST_PAGES = 100
_NOTHING: JsonMap = {"Version": policies.VERSION, "Statement": []}
Boundary = Annotated[str, form(f"none|{POLICY_ARN}", "the ARN of a policy, arn:aws:iam::ACCOUNT:policy/NAME, or none")]
Name = Annotated[str, Field(pattern=r"^[\w+=,.@-]{1,100}$")]


class Scope(BaseModel):
    """What a user may do, as a credential asks for it."""

    model_config = ConfigDict(extra="forbid")

    policy: dict[str, Any] | None = None  # short for one inline policy
    inline: dict[Name, dict[str, Any]] = {}  # by name, which gets our prefix
    managed: list[PolicyArn] = []
    boundary: Boundary | None = None  # None: as it is
    boundary_during_change: PolicyArn | None = None


def problems(scope: JsonMap, most_managed: int) -> list[str]:
    """Static mistakes of a scope, as sentences."""
    found = sentences(Scope, scope, "scope")
    if found or not scope:
        return found
    for name, document in _documents(scope):
        found += policies.problems(document, "scope.policy" if name is None else f"scope.inline.{name}")
    if scope.get("policy") is not None and _ONLY in scope.get("inline", {}):
        found.append(f"scope.policy: is the inline policy {_ONLY!r}, which scope.inline has too: give one of them")
    if found:
        return found
    asked = plain(scope)
    return _too_much(asked, most_managed, "scope")


def plain(scope: JsonMap) -> JsonMap:
    """The form in which scopes that mean the same are equal, and in which they are seen. Empty where nothing is ours."""
    if not scope:
        return {}
    inline = {_ONLY if name is None else name: policies.plain(document) for name, document in _documents(scope)}
    found: JsonMap = {"inline": dict(sorted(inline.items())), "managed": sorted(set(scope.get("managed", ())))}
    return found | {key: scope[key] for key in ("boundary", "keep_others") if scope.get(key)}


def widened(scopes: Sequence[JsonMap], most_managed: int) -> JsonMap:
    """The smallest scope that grants everything that each of these does. Raises Invalid where AWS could not hold it."""
    asked = [plain(scope) for scope in scopes]
    if not any(asked):
        return {}
    inline = policies.covering([scope.get("inline", {}) for scope in asked])
    joined: JsonMap = {"inline": inline, "managed": sorted({arn for scope in asked for arn in scope.get("managed", ())})}
    boundary = policies.joined_boundary([{**scope, "boundary": scope.get("boundary")} for scope in scopes])
    if boundary is not None:
        joined["boundary"] = boundary
    if not all(asked) or any(scope.get("keep_others") for scope in asked):
        joined["keep_others"] = True
    if too_much := _too_much(joined, most_managed, "the old and the new scope together" if len(asked) > 1 else "scope"):
        raise Invalid("; ".join(too_much))
    return joined


def _documents(scope: JsonMap) -> Iterator[tuple[str | None, JsonMap]]:
    if scope.get("policy") is not None:
        yield None, scope["policy"]
    yield from scope.get("inline", {}).items()


def _too_much(scope: JsonMap, most_managed: int, whose: str) -> list[str]:
    found = []
    length = policies.length(scope["inline"].values())
    if length > INLINE_CHARACTERS:
        found.append(
            f"{whose}: {length} characters of inline policy, and AWS takes {INLINE_CHARACTERS} a user: "
            "put what does not change into a managed policy"
        )
    if len(scope["managed"]) > most_managed:
        found.append(
            f"{whose}: {len(scope['managed'])} managed policies, and AWS attaches {most_managed} to a user: "
            "join some, or have the quota raised and say so in managed_policies"
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What hangs on a user at the moment."""

    inline: Mapping[str, JsonMap]  # ours alone, by name without our prefix, in plain form
    attached: tuple[str, ...]  # ARNs, everybody's
    marked: tuple[str, ...]  # ARNs that our tags name
    boundary: str  # an ARN or ``none``
    foreign: tuple[str, ...] = ()  # names of inline policies that are not ours

    @property
    def quarantine(self) -> list[str]:
        """AWS's own policies for users one of whose keys was found in public."""
        return sorted(arn for arn in self.attached if _QUARANTINE in arn)


class Grants:
    """Reads and sets what is ours. Thread-safe. All methods raise Denied, NotFound, Invalid or Retryable."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._lock = threading.Lock()
        # What we added, by user: IAM's lists may not show it yet when it is to be taken away again.
        self._added: dict[str, set[tuple[str, str]]] = {}

    def pages(self, operation: str, name: str, **parameters: Any) -> list[Any]:
        """All items of a list of IAM's."""
        found: list[Any] = []
        for _ in range(_MOST_PAGES):
            answer = self._aws.call("iam", operation, **parameters)
            found += answer.get(name, [])
            if not answer.get("IsTruncated"):
                return found
            parameters["Marker"] = answer["Marker"]
        raise Retryable(f"IAM's answer to {operation} does not come to an end")

    def quarantine(self, user: str) -> list[str]:
        """Names of AWS's quarantine policies on a user."""
        attached = self.pages("list_attached_user_policies", "AttachedPolicies", UserName=user)
        return sorted(item["PolicyName"] for item in attached if _QUARANTINE in item["PolicyName"])

    def others(self, user: str, scope: JsonMap) -> list[str]:
        """Names of the policies on a user that are neither ours nor asked for; AWS's quarantine has words of its own."""
        held, wanted = self.read(user), plain(scope)
        ours = {*held.marked, *wanted.get("managed", ())}
        attached = [arn for arn in held.attached if arn not in ours and arn not in held.quarantine]
        return [*held.foreign, *(arn.rpartition("/")[2] for arn in attached)]

    def read(self, user: str) -> Holding:
        """What hangs on the user."""
        with self._aws.calling():
            about = self._aws.call("iam", "get_user", UserName=user)["User"]
            names = self.pages("list_user_policies", "PolicyNames", UserName=user)
            inline = {name.removeprefix(PREFIX): self._inline(user, name) for name in names if name.startswith(PREFIX)}
            attached = self.pages("list_attached_user_policies", "AttachedPolicies", UserName=user)
        tags = {tag["Key"]: tag["Value"] for tag in about.get("Tags", ())}
        return Holding(
            inline={name: document for name, document in inline.items() if document is not None},
            attached=tuple(item["PolicyArn"] for item in attached),
            marked=tuple(sorted(value for key, value in tags.items() if key.startswith(TAG))),
            boundary=about.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn") or "none",
            foreign=tuple(name for name in names if not name.startswith(PREFIX)),
        )

    def seen(self, user: str, expected: JsonMap) -> JsonMap:
        """The part of what the user may do that a scope speaks of, in plain form; a quarantine shows as what it is."""
        wanted = plain(expected)
        if not wanted:
            quarantine = self.quarantine(user)
            return {"quarantine": quarantine} if quarantine else {}
        held = self.read(user)
        ours = {*held.marked, *wanted["managed"]}
        found: JsonMap = {"inline": dict(sorted(held.inline.items())), "managed": sorted(ours.intersection(held.attached))}
        if wanted.get("keep_others"):
            found = {"inline": _at_least(held.inline, wanted["inline"]), "keep_others": True} | {
                "managed": sorted(set(wanted["managed"]).intersection(held.attached))
            }
        if "boundary" in wanted:
            found["boundary"] = held.boundary
        return found | ({"quarantine": held.quarantine} if held.quarantine else {})

    def set(self, user: str, scope: JsonMap) -> None:
        """Give the user exactly this. What widens comes before what narrows; done again it changes nothing."""
        wanted = plain(scope)
        if not wanted:
            return
        with self._aws.calling():
            held = self.read(user)
            keep = bool(wanted.get("keep_others"))
            inline = wanted["inline"]
            if keep:
                inline = {name: policies.covering([{name: doc}, _of(held.inline, name)])[name] for name, doc in inline.items()}
            self._bound(user, wanted.get("boundary"), held.boundary)
            widening = [name for name, doc in inline.items() if policies.covers(doc, held.inline.get(name, _NOTHING))]
            self._put(user, {name: inline[name] for name in widening})
            self._attach(user, wanted["managed"], held.marked)
            self._put(user, {name: doc for name, doc in inline.items() if name not in widening})
            if not keep:
                self._remove(user, inline, wanted["managed"], held)

    # --- ours ---------------------------------------------------------------------------------------------------

    def _inline(self, user: str, name: str) -> JsonMap | None:
        try:
            found = self._aws.call("iam", "get_user_policy", UserName=user, PolicyName=name)
        except NotFound:
            return None  # listed still, and gone already
        return policies.plain(found["PolicyDocument"])

    def _bound(self, user: str, wanted: str | None, held: str) -> None:
        if wanted is None or (wanted == held == "none"):
            return
        if wanted == "none":
            _unless_gone(lambda: self._aws.call("iam", "delete_user_permissions_boundary", UserName=user))
        else:
            self._aws.call("iam", "put_user_permissions_boundary", UserName=user, PermissionsBoundary=wanted)

    def _put(self, user: str, documents: Mapping[str, JsonMap]) -> None:
        for name, document in documents.items():
            self._note(user, "inline", name)
            try:
                text = policies.text(document)
                self._aws.call("iam", "put_user_policy", UserName=user, PolicyName=PREFIX + name, PolicyDocument=text)
            except Conflict as error:
                raise Invalid(f"{error}; inline policies of others on user {user!r} count too") from None

    def _attach(self, user: str, arns: Sequence[str], marked: Sequence[str]) -> None:
        for arn in arns:
            self._note(user, "managed", arn)
            if arn not in marked:
                self._aws.call("iam", "tag_user", UserName=user, Tags=[{"Key": tag_of(arn), "Value": arn}])
            try:
                self._aws.call("iam", "attach_user_policy", UserName=user, PolicyArn=arn)
            except Conflict as error:
                raise Invalid(f"{error}; managed policies of others on user {user!r} count too") from None

    def _remove(self, user: str, inline: Mapping[str, JsonMap], managed: Sequence[str], held: Holding) -> None:
        with self._lock:
            added = set(self._added.get(user, ()))
        for name in sorted(({*held.inline} | {name for kind, name in added if kind == "inline"}) - inline.keys()):
            self._gone(user, "inline", name, operation="delete_user_policy", PolicyName=PREFIX + name)
        for arn in sorted(({*held.marked} | {arn for kind, arn in added if kind == "managed"}) - set(managed)):
            self._gone(user, "managed", arn, operation="detach_user_policy", PolicyArn=arn)
            self._aws.call("iam", "untag_user", UserName=user, TagKeys=[tag_of(arn)])

    def _gone(self, user: str, kind: str, name: str, *, operation: str, **parameters: str) -> None:
        _unless_gone(lambda: self._aws.call("iam", operation, UserName=user, **parameters))
        with self._lock:
            self._added.get(user, set()).discard((kind, name))

    def _note(self, user: str, kind: str, name: str) -> None:
        with self._lock:
            self._added.setdefault(user, set()).add((kind, name))


def tag_of(arn: str) -> str:
    """The key of the tag that says that we attached this policy."""
    return TAG + hashlib.sha256(arn.encode()).hexdigest()[:16]


def _of(inline: Mapping[str, JsonMap], name: str) -> dict[str, JsonMap]:
    return {name: inline[name]} if name in inline else {}


def _at_least(held: Mapping[str, JsonMap], wanted: Mapping[str, JsonMap]) -> JsonMap:
    """What was wanted where it is there, alone or among more; else what is there."""
    shown = {}
    for name, document in wanted.items():
        if name in held:
            shown[name] = document if policies.covers(held[name], document) else held[name]
    return shown


def _unless_gone(call: Callable[[], Any]) -> None:
    try:
        call()
    except NotFound:
        return
