"""The strict AWS as tests hold it: what to make, what to break, what to ask afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from rotatord.testing.aws import sts
from rotatord.testing.aws.account import Account, Key, KeyRow, Policy, Principal, Role, Use, User
from rotatord.testing.aws.asking import Decided
from rotatord.testing.aws.client import REGION, Credentials, client
from rotatord.testing.aws.faults import Faults
from rotatord.testing.aws.gateway import Call, Gateway, Refusal
from rotatord.testing.aws.parameter_things import Parameter
from rotatord.testing.aws.policies import parsed
from rotatord.testing.aws.quotas import Quotas
from rotatord.testing.aws.secret_things import Secret
from rotatord.testing.aws.spread import AT_ONCE, Lags
from rotatord.testing.running import Clock, RunningClock
from rotatord.testing.served import Server


def allow(actions: str | Sequence[str], resources: str | Sequence[str] = "*", **condition: Any) -> str:
    """A policy document with one Allow."""
    statement: dict[str, Any] = {"Effect": "Allow", "Action": actions, "Resource": resources}
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


class FakeAws:
    """One account behind one endpoint. Everything but the clock is repeatable from ``seed``."""

    def __init__(
        self,
        *,
        seed: int = 0,
        clock: Clock | None = None,
        lags: Lags = AT_ONCE,
        replicas: int = 3,
        account: str = "123456789012",
        port: int = 0,
    ) -> None:
        self.clock: Clock = clock or RunningClock()
        self.account = Account(account, seed, lags, replicas, self.clock.now)
        self.faults = Faults()
        self.quotas = Quotas(real=isinstance(self.clock, RunningClock))
        self.gateway = Gateway(self.account, self.faults, self.quotas)
        self._server: Server | None = None
        self._port = port
        self.admin = self.key(self.user("admin", attached=("AdministratorAccess",)).name)

    # -- running --

    def start(self) -> str:
        """Listen on loopback; returns the endpoint for all services."""
        self._server = Server("the strict AWS", self.gateway.answer, self._port)
        self._server.start()
        return self._server.url

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        assert self._server is not None, "the strict AWS is not started"
        return self._server.url

    def client(self, service: str, credentials: Credentials | None = None, *, region: str = REGION, **config: Any) -> Any:
        """A boto3 client without retries, of the administrator unless told otherwise."""
        return client(self.url, service, credentials or self.admin, region=region, **config)

    # -- making, known everywhere at once --

    def user(self, name: str, policy: str | None = None, *, path: str = "/", attached: Sequence[str] = ()) -> User:
        """A user with an inline policy (a document) and AWS's own policies by name."""
        with self.gateway.lock:
            user = self.account.add_user(name, path)
            arns = tuple(one if one.startswith("arn:") else f"arn:aws:iam::aws:policy/{one}" for one in attached)
            inline = {} if policy is None else {"policy": parsed("policy", policy).text}
            self.account.change(user, at_once=True, inline=inline, attached=arns)
            return user

    def role(self, name: str, trust: str, policy: str | None = None, *, path: str = "/", max_session: int = 3600) -> Role:
        """A role with a trust document and an inline policy."""
        with self.gateway.lock:
            role = self.account.add_role(name, parsed("trust", trust, kind="trust").text, path, max_session)
            self.account.change(role, at_once=True, inline={} if policy is None else {"policy": policy})
            return role

    def policy(self, name: str, document: str) -> Policy:
        """A managed policy of the account's own."""
        with self.gateway.lock:
            return self.account.add_policy(name, parsed(name, document).text)

    def key(self, user: str) -> Credentials:
        """An access key, known everywhere already."""
        with self.gateway.lock:
            key = self.account.add_key(self.account.user(user), at_once=True)
            return Credentials(key.id, key.secret)

    def identity(self, name: str, policy: str) -> Credentials:
        """A user with exactly this policy, and a key of it: who the daemon runs as."""
        self.user(name, policy)
        return self.key(name)

    def session(self, role: Role, name: str = "test", seconds: int = 3600) -> Credentials:
        """A session of a role, as AssumeRole would give it, without asking anybody."""
        with self.gateway.lock:
            made = sts.open_session(self.account, role, name, seconds)
            return Credentials(made.key, made.secret, made.token)

    def believe(self, read: Callable[[str], Mapping[str, Any] | None]) -> None:
        """Take tokens of another issuer for AssumeRoleWithWebIdentity: ``read`` gives the claims of one that it believes."""
        with self.gateway.lock:
            self.account.web_identity = read

    # -- what others do meanwhile --

    def quarantine(self, user: str, version: str = "V3") -> None:
        """What AWS does when it finds a key in public: deny the user what harms most. At once."""
        with self.gateway.lock:
            principal = self.account.user(user)
            arn = f"arn:aws:iam::aws:policy/AWSCompromisedKeyQuarantine{version}"
            self.account.change(principal, at_once=True, attached=(*principal.holding.attached, arn))

    def set_policy(self, principal: Principal, document: str | None, *, name: str = "policy") -> None:
        """Someone changes an inline policy. At once."""
        with self.gateway.lock:
            inline = {key: text for key, text in principal.holding.inline.items() if key != name}
            if document is not None:
                inline[name] = parsed(name, document).text
            self.account.change(principal, at_once=True, inline=inline)

    def advance(self, seconds: float) -> None:
        """Let time pass for the account: changes spread, sessions end, late calls land."""
        with self.gateway.lock:
            self.clock.advance(seconds)
            self.gateway.land_due()

    def settle(self) -> None:
        """Let everything spread."""
        self.advance(self.account.spread.lags.longest + 0.001)

    # -- judging --

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """Nothing moves meanwhile, and what is due has landed."""
        with self.gateway.lock:
            self.gateway.land_due()
            yield

    @property
    def calls(self) -> list[Call]:
        """Every call in the order in which it ended."""
        with self._looking():
            return list(self.gateway.calls)

    @property
    def decisions(self) -> list[Decided]:
        """Every question of rights, those on KMS keys too."""
        with self._looking():
            return list(self.gateway.decisions)

    @property
    def refusals(self) -> list[Refusal]:
        """Calls refused although their key was valid once: by key, time and the true reason."""
        with self._looking():
            return list(self.gateway.refusals)

    @property
    def warnings(self) -> list[str]:
        """What AWS takes for now and advises against."""
        with self._looking():
            return list(self.account.warnings)

    def used(self, access_key_id: str) -> list[Use]:
        """Every call that this key signed and that was let in, told or not by GetAccessKeyLastUsed."""
        with self._looking():
            return list(self.account.keys[access_key_id].uses)

    def keys(self, user: str) -> list[KeyRow]:
        """The keys that the user has in truth."""
        with self._looking():
            return list(self.account.user(user).holding.keys)

    def most_keys(self, user: str) -> int:
        """The most keys that the user ever had at one time."""
        with self._looking():
            return self.account.most_keys.get(user, 0)

    def find_key(self, access_key_id: str) -> Key:
        """A key, gone or not, with the secret that it has."""
        return self.account.keys[access_key_id]

    def secret(self, name: str, region: str = REGION) -> Secret:
        """A secret with its versions and labels; KeyError if there is none."""
        with self._looking():
            found: Secret = self.account.things("secretsmanager", region)[name]
            return found

    def parameter(self, name: str, region: str = REGION) -> Parameter:
        """A parameter with its versions and labels; KeyError if there is none."""
        with self._looking():
            found = self.account.things("ssm", region)[name]
            if not isinstance(found, Parameter):
                raise KeyError(name)
            return found

    def allowed(self, caller: str | None = None) -> set[str]:
        """The actions that were asked for and allowed: what of a policy is in use."""
        return {one.action for one in self.decisions if one.allowed and caller in (None, one.caller)}

    def denied(self, caller: str | None = None) -> set[str]:
        """The actions that were asked for and denied: what a policy lacks."""
        return {one.action for one in self.decisions if not one.allowed and caller in (None, one.caller)}


def granted(document: str) -> Mapping[str, Sequence[str]]:
    """The actions that a document allows, with their resources, to be held against :meth:`FakeAws.allowed`."""
    found: dict[str, list[str]] = {}
    for statement in parsed("granted", document).statements:
        if statement["Effect"] == "Allow":
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            for action in actions:
                found.setdefault(action, []).extend(resources)
    return found
