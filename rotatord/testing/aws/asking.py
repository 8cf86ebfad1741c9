"""One call on its way through: who asks for what, and whether that is allowed. Every decision is written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rotatord.testing.aws.account import Account, Principal, Session
from rotatord.testing.aws.errors import common
from rotatord.testing.aws.policies import Decision, Document, Question, decide
from rotatord.testing.aws.shapes import JsonMap, Service
from rotatord.testing.aws.spread import View


@dataclass(frozen=True)
class Caller:
    """Who signed."""

    key: str
    principal: Principal
    arn: str
    id: str
    session: Session | None = None


@dataclass(frozen=True)
class Decided:
    """One question of rights and its answer, for tests of least privilege."""

    action: str
    resource: str
    caller: str
    allowed: bool


@dataclass(frozen=True)
class Target:
    """What an operation is about: its ARN for policies, how messages name it, and condition keys."""

    arn: str
    shown: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Ask:
    """One call of one operation."""

    account: Account
    service: Service
    operation: str
    input: JsonMap
    region: str
    view: View
    now: datetime
    caller: Caller
    source_ip: str
    decisions: list[Decided]

    def get(self, name: str, otherwise: Any = None) -> Any:
        return self.input.get(name, otherwise)

    def require(self, action: str, target: Target) -> None:
        """AccessDenied in AWS's words unless the caller may."""
        verdict, why = self.decision(action, target)
        self.record(action, target, verdict)
        if not verdict:
            said = f"User: {self.caller.arn} is not authorized to perform: {action} on resource: {target.shown or target.arn}"
            raise common("denied", self.service.protocol, f"{said} {why}")

    def record(self, action: str, target: Target, verdict: bool) -> None:
        """Write down a decision that was made elsewhere."""
        self.decisions.append(Decided(action, target.arn, self.caller.arn, verdict))

    def decision(self, action: str, target: Target) -> tuple[bool, str]:
        """Whether the caller may, and if not why, as the end of AWS's message."""
        question = Question(action, target.arn, {**self._context(), **target.context})
        identity, boundary = self.account.documents(self.caller.principal, self.view)
        session = self.caller.session.policies if self.caller.session else None
        return judged(question, identity, [boundary] if boundary else None, session)

    def _context(self) -> Mapping[str, str]:
        caller = self.caller
        known = {
            "aws:PrincipalArn": caller.principal.arn,
            "aws:PrincipalAccount": self.account.number,
            "aws:userid": caller.id,
            "aws:SourceIp": self.source_ip,
            "aws:SecureTransport": "true",  # loopback stands for TLS here
            "aws:RequestedRegion": self.region,
            "aws:CurrentTime": self.now.isoformat(),
        }
        if caller.session is None:
            known["aws:username"] = caller.principal.name
        else:
            known["aws:TokenIssueTime"] = caller.session.issued.isoformat()
        tags = {**caller.principal.rights.seen(self.view, self.now).tags, **(caller.session.tags if caller.session else {})}
        return known | {f"aws:PrincipalTag/{name}": value for name, value in tags.items()}


def judged(
    question: Question, identity: list[Document], boundary: list[Document] | None, session: tuple[Document, ...] | None
) -> tuple[bool, str]:
    """All kinds of policy together: a Deny anywhere wins, and every kind that is there must allow."""
    kinds: list[tuple[str, str, Decision]] = [("an", "identity-based policy", decide(identity, question)[0])]
    if boundary is not None:
        kinds.append(("a", "permissions boundary", decide(boundary, question)[0]))
    if session is not None:
        kinds.append(("a", "session policy", decide(session, question)[0]))
    for article, kind, decision in kinds:
        if decision == "explicitDeny":
            return False, f"with an explicit deny in {article} {kind}"
    for _, kind, decision in kinds:
        if decision == "implicitDeny":
            return False, f"because no {kind} allows the {question.action} action"
    return True, ""


@dataclass(frozen=True)
class Operation:
    """How an operation is done, and what it is about (None: everybody may)."""

    run: Callable[[Ask], JsonMap]
    target: Callable[[Ask], Target] | None
