"""The four steps. Each may run any number of times, after a crash at any point of an earlier run: it first looks what is there.

Nothing is remembered but what AWS knows: the version that Secrets Manager made for this rotation, its labels, and what lives at
the issuer. So this proves less than the daemon does: not who reads the secret, and nothing of the overlap but its length. The
version before the present one is ended when the next rotation begins, never earlier.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rotatord.clock import Clock
from rotatord.durations import spell
from rotatord.errors import Conflict, Denied, Invalid, NotFound, Permanent, Retryable
from rotatord.function.staged import CURRENT, PENDING, PREVIOUS, Labels, Staged, Value
from rotatord.model import JsonMap, Spec, Version
from rotatord.ports import (
    Inconclusive,
    Issuer,
    LastUsed,
    LiveRef,
    MintRequest,
    Preflight,
    PrincipalScope,
    Query,
    RefusedVerdict,
    Suspend,
)
from rotatord.secret import Secret
from rotatord.steps.prove import parity

TAKE_OVER = "rotation-function"  # the credential's label that lets a daemon's secret be taken over, with the value take-over
_TOKEN = re.compile(r"[A-Za-z0-9-]{32,64}")


@dataclass(frozen=True, slots=True)
class Event:
    """What Secrets Manager asks for."""

    secret: str
    token: str
    step: str
    rotation_token: str = ""

    @classmethod
    def of(cls, event: object) -> Event:
        """Raises Invalid for anything that is not an event of a rotation."""
        if not isinstance(event, Mapping):
            raise Invalid("the event should be a JSON object with Step, SecretId and ClientRequestToken")
        lacking = [name for name in ("Step", "SecretId", "ClientRequestToken") if not isinstance(event.get(name), str)]
        if lacking:
            raise Invalid(f"the event has no {', '.join(lacking)}: only Secrets Manager's rotations may call this function")
        step = event["Step"].replace("_", "").lower()
        if step not in _STEPS:
            raise Invalid(f"{event['Step']!r} is no step of a rotation: createSecret, setSecret, testSecret, finishSecret")
        if not _TOKEN.fullmatch(event["ClientRequestToken"]):
            raise Invalid("ClientRequestToken should be 32 to 64 letters, digits and dashes")
        return cls(event["SecretId"], event["ClientRequestToken"], step, str(event.get("RotationToken") or ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """One credential's rotation under one token."""

    spec: Spec
    issuer: Issuer
    staged: Staged
    token: str
    installation: str
    clock: Clock
    seconds_left: Callable[[], float]  # until this run is cut off

    @property
    def id(self) -> str:
        """The rotation's id in labels at the issuer."""
        return f"fn-{self.token}"

    @property
    def _overlap(self) -> timedelta:
        """Nothing is proven of consumers here, so what the policy says of unproven ones counts too."""
        return max(self.spec.policy.overlap, self.spec.policy.unproven_overlap or timedelta(0))

    def run(self, step: str) -> str:
        """Carry out a step; what was done, in words."""
        labels = self.staged.labels()
        if not labels.rotating:
            raise Invalid("rotation is not switched on for this secret: RotateSecret does, with this function")
        if CURRENT in labels.of(self.token):
            return "this version is current already"
        if PENDING not in labels.of(self.token):
            raise Invalid(f"version {self.token} is not {PENDING}: this rotation was cancelled, or is another one's")
        return _STEPS[step](self, labels)

    # --- createSecret --------------------------------------------------------------------------------------------

    def create(self, labels: Labels) -> str:
        """Mint, and put what was minted into the pending version."""
        if self.staged.read(self.token) is not None:
            return "the pending version has its value already"
        current = self._current(labels)
        if not self._end_lost(labels):
            return "the value of an earlier run has arrived"
        self._end_previous(labels, current)
        if isinstance(self.issuer, Preflight) and (problems := self.issuer.preflight(self.spec.scope, self.spec.parameters)):
            raise Invalid("; ".join(problems))
        self._come_after_it_began()
        minted = self.issuer.mint(self._request(), None)
        try:
            self.staged.put(self.token, minted.fields, current, self.token[:8])
        except Permanent as error:  # nothing was written; after a Retryable it may have been
            return self._not_put(minted.ref, error)
        return f"minted {minted.ref}"

    def _not_put(self, ref: str, error: Permanent) -> str:
        pending = self.staged.read(self.token) if isinstance(error, Conflict) else None
        held = self.staged.fields(pending, self.issuer.traits.fields) if pending is not None else None
        if held is None or self._ref_of(held) != ref:
            self._end(ref)
        if pending is None:
            raise error
        return "an earlier run had put a value already; what this one minted was ended again"

    def _current(self, labels: Labels) -> Value | None:
        holder = labels.holders.get(CURRENT)
        current = self.staged.read(holder) if holder else None
        if current is None:
            return None
        keeper = self.staged.installation(current)
        if keeper and self.spec.labels.get(TAKE_OVER) != "take-over":
            raise Denied(
                f"this secret is kept by the rotatord installation {keeper!r}, which rotates it: cancel its rotation by AWS, "
                f"or remove it from that configuration and give this credential the label `{TAKE_OVER}: take-over`"
            )
        return current

    def _end_lost(self, labels: Labels) -> bool:
        """End what a run of this rotation minted whose answer, or whose value, was lost: no version holds it. False where a
        value came late meanwhile, and is the pending version's now."""
        traits = self.issuer.traits
        if not traits.revocable:
            return True
        query = Query(
            installation=self.installation,
            credential=self.spec.name,
            rotation=self.id if traits.labels else None,
            parameters=self.spec.parameters,
            scope=self.spec.scope,
        )
        held = self._held_refs(labels)
        lost = [live for live in self.issuer.find(query) if live.ref not in held]
        if not traits.labels:
            lost = self._surely_ours(lost)
        made = max((live.created_at for live in lost if live.created_at is not None), default=None)
        if made is not None:
            self._wait_until(made + traits.call_settles_within, "what an earlier run began may still arrive")
        if lost and self.staged.read(self.token) is not None:
            return False
        for live in lost:
            self._end(live.ref)
        self._wait_for_room(bool(lost))
        return True

    def _wait_for_room(self, ended: bool) -> None:
        """Where only so many may live, the issuer needs a while to know of the place that was made."""
        if ended and self.issuer.traits.max_live is not None:
            self._wait_until(self.clock.now() + self.issuer.traits.listing_delay, "an ended version may still be counted")

    def _come_after_it_began(self) -> None:
        """Let the second go by in which this rotation began: issuers tell a whole one of what they made, and what was made in
        that very second could be somebody else's."""
        began = None if self.issuer.traits.labels else self.staged.made_at(self.token)
        if began is not None:
            self._wait_until(
                began.replace(microsecond=0) + timedelta(seconds=1), "a version made in this second could be anybody's"
            )

    def _surely_ours(self, unknown: list[LiveRef]) -> list[LiveRef]:
        """Of what no version holds, what was made after this rotation began; nobody else makes any (``exclusive``)."""
        began = self.staged.made_at(self.token) if unknown else None
        ours = [live for live in unknown if began and live.created_at and live.created_at >= began]
        others = [live.ref for live in unknown if live not in ours]
        most = self.issuer.traits.max_live
        if others and most is not None and len(others) + 1 >= most:
            raise Conflict(
                f"live at the issuer, in no version of the secret, and made before this rotation began: {', '.join(others)}. "
                "They are left alone, and leave no room for a new one: find out who uses them, and delete what nobody does"
            )
        return ours

    def _held_refs(self, labels: Labels) -> set[str]:
        """The refs of all values that any label is on."""
        held = set()
        for version in set(labels.holders.values()):
            value = self.staged.read(version)
            fields = self.staged.fields(value, self.issuer.traits.fields) if value is not None else None
            if fields is not None:
                held.add(self._ref_of(fields))
        return held

    def _end_previous(self, labels: Labels, current: Value | None) -> None:
        """End the version before the present one. It has lived on since the present one became current."""
        holder = labels.holders.get(PREVIOUS)
        if holder is None or current is None or holder == current.version or not self.issuer.traits.revocable:
            return
        value = self.staged.read(holder)
        fields = self.staged.fields(value, self.issuer.traits.fields) if value is not None else None
        now = self.staged.fields(current, self.issuer.traits.fields)
        if fields is None or now is None or fields == now:
            return
        ref = self._ref_of(fields)
        if not ref or not self.issuer.find(self._by_ref(ref)):
            return
        overlap = self._overlap
        over = max(current.created, labels.rotated_at or current.created) + overlap
        if self.clock.now() < over:
            raise Retryable(
                f"the overlap of {spell(overlap)} is not over: the version before may be ended from {over.isoformat()}"
            )
        self._must_be_idle(ref, over)
        self._end(ref)
        self._wait_for_room(ended=True)

    def _must_be_idle(self, ref: str, since: datetime) -> None:
        if self.spec.policy.still_used != "hold" or not isinstance(self.issuer, LastUsed):
            return
        used = self.issuer.last_used(ref, self.spec.parameters)
        if used is not None and used > since:
            raise Retryable(f"{ref} was used at {used.isoformat()}, after its overlap: find out who still has it")

    def _end(self, ref: str) -> None:
        if isinstance(self.issuer, Suspend):
            try:
                self.issuer.suspend(ref, self.spec.parameters)
            except NotFound:
                return
        self.issuer.revoke(ref, None, self.spec.parameters)

    # --- the other three -----------------------------------------------------------------------------------------

    def set(self, _labels: Labels) -> str:
        """Where the scope sits on a principal, set it; for everything else there is nothing to do."""
        self._pending()
        if not isinstance(self.issuer, PrincipalScope) or self.issuer.traits.scope_on != "principal":
            return "nothing to set: the issuer knows the version since it was minted"
        self.issuer.set_scope(self.issuer.widen([self.spec.scope]), self.spec.parameters)
        return "set what the principal may do"

    def test(self, _labels: Labels) -> str:
        """The issuer accepts the version, with the scope that was asked for."""
        value, fields = self._pending()
        traits = self.issuer.traits
        self._wait_until(self._made_at(fields, value) + traits.propagation, "the issuer's answers do not count")
        target = {"scope": self._expected(), "parameters": self.spec.parameters}
        answer = self.issuer.probe(fields, target)
        if isinstance(answer, RefusedVerdict):
            raise Retryable(
                f"the issuer refuses the new version: {answer.why}. If it goes on so, cancel the rotation, take {PENDING} from "
                f"version {self.token}, and rotate anew"
            )
        if isinstance(answer, Inconclusive):
            raise Retryable(f"whether the new version works cannot be told: {answer.why}")
        version = Version(
            generation=0,
            rotation=self.id,
            issuer=self.spec.issuer,
            ref=self._ref_of(fields) if traits.names else "",
            fingerprint="",
            minted_at=value.created,
        )
        if problem := parity(self._expected(), answer, self.issuer, version):
            raise Invalid(problem)
        return "the new version works"

    def _made_at(self, fields: Secret, value: Value) -> datetime:
        """When the version was minted, as far as the issuer tells (the secret's own version is older): a moment ago, where it
        does not list it yet."""
        traits = self.issuer.traits
        if not traits.propagation or not traits.names:
            return value.created
        found = self.issuer.find(self._by_ref(self._ref_of(fields)))
        if not found:
            return self.clock.now()
        return max([value.created, *(live.created_at for live in found if live.created_at is not None)])

    def finish(self, labels: Labels) -> str:
        """Make the pending version current, if what was current when it was looked at still is."""
        self._pending()
        self.staged.make_current(self.token, labels.holders.get(CURRENT))
        return "the new version is current"

    # --- shared --------------------------------------------------------------------------------------------------

    def _pending(self) -> tuple[Value, Secret]:
        value = self.staged.read(self.token)
        fields = self.staged.fields(value, self.issuer.traits.fields) if value is not None else None
        if value is None or fields is None:
            raise Invalid(
                f"the pending version {self.token} does not hold the fields of the credential: createSecret comes first"
            )
        return value, fields

    def _expected(self) -> JsonMap:
        return self.issuer.widen([self.spec.scope]) if isinstance(self.issuer, PrincipalScope) else self.spec.scope

    def _wait_until(self, moment: datetime, why: str) -> None:
        """Wait; a run that would be cut off before then leaves it to the next one."""
        left = (moment - self.clock.now()).total_seconds()
        if left <= 0:
            return
        if left + self.issuer.timeout > self.seconds_left():
            raise Retryable(f"{why} until {moment.isoformat()}, and this run ends before: the next one looks again")
        self.clock.wait(threading.Event(), left)

    def _ref_of(self, fields: Secret) -> str:
        traits = self.issuer.traits
        if traits.names:
            return fields.reveal(traits.names[0])
        answer = self.issuer.probe(fields, {"scope": self._expected(), "parameters": self.spec.parameters})
        ref = getattr(answer, "ref", None)
        if isinstance(answer, Inconclusive):
            raise Retryable(f"whose value it is cannot be told now: {answer.why}")
        return str(ref or "")

    def _by_ref(self, ref: str) -> Query:
        return Query(
            installation=self.installation,
            credential=self.spec.name,
            ref=ref,
            parameters=self.spec.parameters,
            scope=self.spec.scope,
        )

    def _request(self) -> MintRequest:
        return MintRequest(
            installation=self.installation,
            credential=self.spec.name,
            rotation=self.id,
            generation=1,
            scope=self.spec.scope,
            parameters=self.spec.parameters,
            ttl=self.spec.policy.ttl,
            owner=self.spec.owner,
            purpose=self.spec.purpose,
        )


_STEPS: dict[str, Callable[[Rotation, Labels], str]] = {
    "createsecret": Rotation.create,
    "setsecret": Rotation.set,
    "testsecret": Rotation.test,
    "finishsecret": Rotation.finish,
}


def unfit(issuer: Issuer, spec: Spec) -> list[str]:
    """Why a credential cannot be kept by a rotation function, as sentences."""
    traits, found = issuer.traits, []
    if traits.strategy not in {"overlapping", "leased"} or traits.value_origin != "issuer":
        found.append("its issuer needs a memory of its own between the steps, which a rotation function has not got")
    if not traits.labels and not (traits.exclusive and traits.names):
        found.append("its issuer neither labels what it mints nor names it in a field")
    if len(spec.destinations) > 1:
        found.append("a rotation function keeps one secret, and it has several destinations")
    return found
