"""The way of a request: who signed it, what it asks, whether that is allowed, whether something is planned to go wrong.

Everything is written down on the way: the fake is its own judge.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from rotatord.clock import SystemClock
from rotatord.testing.aws import (
    iam_policies,
    iam_users,
    parameter_paths,
    parameters,
    secret_versions,
    secretsmanager,
    sts,
    web_identity,
)
from rotatord.testing.aws.account import Account, Use
from rotatord.testing.aws.answers import failure, success
from rotatord.testing.aws.asking import Ask, Caller, Decided, Operation
from rotatord.testing.aws.errors import INVALID_TOKEN, AwsError, common
from rotatord.testing.aws.faults import Fails, Fault, Faults, Refuse
from rotatord.testing.aws.quotas import Quotas
from rotatord.testing.aws.shapes import SERVICES, JsonMap, Service, operation_of, service, understand
from rotatord.testing.aws.signature import MISMATCH, Signature, key_id, read, scope, verify
from rotatord.testing.aws.spread import View
from rotatord.testing.wires import Hangs, Late, Reply, Wire

OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    "iam": {**iam_users.OPERATIONS, **iam_policies.OPERATIONS},
    "sts": {**sts.OPERATIONS, **web_identity.OPERATIONS},
    "ssm": {**parameters.OPERATIONS, **parameter_paths.OPERATIONS},
    "secretsmanager": {**secretsmanager.OPERATIONS, **secret_versions.OPERATIONS},
}


@dataclass(frozen=True)
class Call:
    """One request, as it ended. ``outcome`` is ``ok`` or the error's code; ``landed`` is false while a late call waits."""

    at: datetime
    operation: str  # service:Operation
    region: str
    key: str
    caller: str
    resource: str
    allowed: bool
    outcome: str
    fault: Fault | None = None
    landed: bool = True


@dataclass(frozen=True)
class Refusal:
    """A call that was refused although its key was valid once: what a consumer would have suffered."""

    at: datetime
    operation: str
    key: str
    why: str
    code: str


@dataclass
class _Waiting:
    """A late call: what is left to do, and when."""

    due: datetime
    land: Callable[[], None]


@dataclass
class _Request:
    """What is known of a request so far, for the record of it."""

    service: Service
    operation: str = ""
    region: str = ""
    key: str = ""
    caller: str = ""
    resource: str = ""
    allowed: bool = False


class Gateway:
    """Answers requests, one at a time."""

    def __init__(self, account: Account, faults: Faults, quotas: Quotas) -> None:
        self.account = account
        self.faults = faults
        self.quotas = quotas
        self._wall = SystemClock()  # what the signatures of real clients are held against
        self.skew = timedelta(0)  # how far our clock is ahead of the true one
        self.source_ip = "127.0.0.1"
        self.calls: list[Call] = []
        self.decisions: list[Decided] = []
        self.refusals: list[Refusal] = []
        self.lock = threading.RLock()
        self._waiting: list[_Waiting] = []
        self._number = 0

    def answer(self, wire: Wire) -> tuple[Reply | None, Fault | None]:
        """The answer, and the fault that the connection has to suffer. No answer: hang up."""
        found = scope(wire)
        name, region = found or (_guess(wire), "us-east-1")
        if name not in SERVICES:
            return Reply(404, b"the strict AWS has no such service"), None
        request = _Request(service(name), region=region)
        try:
            if found is None and b"WebIdentityToken" not in wire.body:
                read(wire, request.service.protocol)
            request.operation = operation_of(name, wire.headers, wire.body)
        except AwsError as error:
            return failure(request.service, "", error, self._request_id()), None
        fault = self.faults.strike(f"{name}:{request.operation}")
        request.key = key_id(wire)
        if isinstance(fault, Hangs):
            with self.lock:
                self.calls.append(self._call(request, "hung", fault))
            return None, fault
        with self.lock:
            self.land_due()
            return self._reply(wire, request, fault), fault

    def _reply(self, wire: Wire, request: _Request, fault: Fault | None) -> Reply | None:
        number, outcome = self._request_id(), "ok"
        try:
            if isinstance(fault, Refuse):
                raise AwsError(fault.code, fault.message, fault.status, headers=fault.headers)
            body = self._do(wire, request, fault, number)
        except AwsError as error:
            outcome = error.code
            body = failure(request.service, request.operation, error, number)
        self.calls.append(self._call(request, outcome, fault))
        if isinstance(fault, Fails) and outcome == "ok":  # done all the same
            hidden = AwsError(fault.code, fault.message, fault.status)
            return failure(request.service, request.operation, hidden, number)
        return body

    def _call(self, request: _Request, outcome: str, fault: Fault | None) -> Call:
        landed = not (isinstance(fault, Late) and outcome == "ok")
        name = f"{request.service.name}:{request.operation}"
        now, known = self.account.now(), request
        allowed = known.allowed and not outcome.startswith("AccessDenied")
        return Call(now, name, known.region, known.key, known.caller, known.resource, allowed, outcome, fault, landed)

    def _do(self, wire: Wire, request: _Request, fault: Fault | None, number: str) -> Reply | None:
        known, name = request.service, request.service.name
        view: View = (name, self.account.spread.replica())
        if web_identity.meant(name, request.operation):
            caller = web_identity.NOBODY
        else:
            caller = self._authenticated(wire, read(wire, known.protocol), view, request)
        request.caller = caller.arn
        operation = OPERATIONS[name].get(request.operation)
        known.operation(request.operation)
        if operation is None:
            raise common("no such operation", known.protocol, f"the strict AWS does not have {name}:{request.operation}")
        self.quotas.draw(name, request.operation, self.account.now())
        asked = understand(name, request.operation, wire.body)
        now = self.account.now()
        ask = Ask(
            self.account,
            known,
            request.operation,
            asked.input,
            request.region,
            view,
            now,
            caller,
            self.source_ip,
            self.decisions,
        )
        if operation.target is not None:
            target = operation.target(ask)
            request.resource = target.arn
            ask.require(f"{name}:{request.operation}", target)
        request.allowed = True
        if isinstance(fault, Late):
            self._waiting.append(_Waiting(now + timedelta(seconds=fault.seconds), lambda: self._land(ask, operation)))
            return None
        output = self._run(ask, operation)
        return success(known, request.operation, output, number)

    def _run(self, ask: Ask, operation: Operation) -> JsonMap:
        output = operation.run(ask)
        if ask.service.name == "secretsmanager":
            secretsmanager.note_changes(ask)
        return output

    # -- who --

    def _authenticated(self, wire: Wire, signature: Signature, view: View, request: _Request) -> Caller:
        """Who signed. Refusals of what was valid once are kept with the reason that the caller is not told."""
        protocol, now = request.service.protocol, self.account.now()
        try:
            if signature.key in self.account.sessions:
                return self._session(wire, signature, request, now)
            key = self.account.keys.get(signature.key)
            state = key.state.seen(view, now) if key else None
            if key is None or state != "Active":
                why = "unknown" if key is None else _why(state, key.state.newest)
                if why.startswith("not yet") and self.account.spread.mistaken():
                    raise _Unfit(why, common("wrong signature", protocol, MISMATCH))
                raise _Unfit(why, common("unknown key", protocol, INVALID_TOKEN))
            if signature.token is not None:
                raise _Unfit("a session token with a long-term key", common("unknown key", protocol, INVALID_TOKEN))
            self._verify(wire, signature, key.secret, request)
            key.uses.append(Use(now, request.service.name, request.region))
            user = self.account.users[key.user]
            return Caller(key.id, user, user.arn, user.id)
        except _Unfit as unfit:
            if signature.key in self.account.keys or signature.key in self.account.sessions:
                name = f"{request.service.name}:{request.operation}"
                self.refusals.append(Refusal(now, name, signature.key, unfit.why, unfit.error.code))
            raise unfit.error from None

    def _session(self, wire: Wire, signature: Signature, request: _Request, now: datetime) -> Caller:
        protocol, session = request.service.protocol, self.account.sessions[signature.key]
        if signature.token != session.token:
            raise _Unfit("another session token", common("unknown key", protocol, INVALID_TOKEN))
        if now >= session.expires:
            said = "The security token included in the request is expired"
            raise _Unfit("expired", common("expired", protocol, said))
        self._verify(wire, signature, session.secret, request)
        return Caller(session.key, session.principal, session.arn, session.id, session)

    def _verify(self, wire: Wire, signature: Signature, secret: str, request: _Request) -> None:
        try:
            verify(wire, signature, secret, self._wall.now() + self.skew, request.service.protocol)
        except AwsError as error:
            raise _Unfit("signature", error) from None

    # -- late calls --

    def land_due(self) -> None:
        """Let the late calls land whose time has come, in order."""
        now = self.account.now()
        due = sorted((one for one in self._waiting if one.due <= now), key=lambda one: one.due)
        self._waiting = [one for one in self._waiting if one.due > now]
        for one in due:
            one.land()

    def _land(self, ask: Ask, operation: Operation) -> None:
        ask.now = self.account.now()
        outcome = "ok"
        try:
            self._run(ask, operation)
        except AwsError as error:  # nobody is left to be told
            outcome = error.code
        name = f"{ask.service.name}:{ask.operation}"
        self.calls.append(Call(ask.now, name, ask.region, ask.caller.key, ask.caller.arn, "", True, outcome))

    def _request_id(self) -> str:
        with self.lock:
            self._number += 1
            return f"00000000-0000-4000-8000-{self._number:012x}"


class _Unfit(Exception):
    """Credentials that are refused: what is told, and why really."""

    def __init__(self, why: str, error: AwsError) -> None:
        super().__init__(why)
        self.why = why
        self.error = error


def _why(seen: str | None, newest: str | None) -> str:
    if newest == "Active":
        return "not yet known here" if seen is None else "not yet active again here"
    return "deleted" if newest is None else "inactive"


def _guess(wire: Wire) -> str:
    """The service that an unsigned request means."""
    target = wire.headers.get("x-amz-target", "")
    return next((name for name in SERVICES if target and service(name).target == target.partition(".")[0]), "sts")
