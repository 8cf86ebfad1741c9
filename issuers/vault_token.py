"""Vault and OpenBao tokens: orphan service tokens, labelled by their metadata, known and revoked by their accessor.

The scope is the token's policies (the default policy aside) and its bound addresses; both are read back exactly. Bound
addresses exist only through a token role. A token with a limited number of uses is looked at by our own identity, because
a look by itself would cost it a use.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rotatord.errors import Invalid, NotFound, Retryable
from rotatord.mistakes import sentences
from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    Inconclusive,
    LiveRef,
    Minted,
    MintRequest,
    ProbeAnswer,
    Query,
    RefusedVerdict,
    Surroundings,
    Traits,
)
from rotatord.rights import VaultRight
from rotatord.secret import Secret
from rotatord.vault_client import (
    Answer,
    Calls,
    VaultClient,
    VaultSettings,
    accepted,
    behind,
    duration_seconds,
    missing_rights,
    parse_time,
)
from rotatord.vault_labels import LABEL, as_asked, labels_of, network
from rotatord.vault_own import OwnVault

DEFAULT_POLICY = "default"
_UNLABELLED = ("", "")
_ALONE = "auth/token/create-orphan"
Seconds = Annotated[int, BeforeValidator(duration_seconds)]


class Settings(VaultSettings):
    """Settings of an issuer of type ``vault_token``."""

    role: str | None = None  # the token role that is minted through
    call_settles_within: Seconds = 90  # Vault's own limit for one request


class Parameters(BaseModel):
    """What a credential may ask of its tokens beside scope and life."""

    model_config = ConfigDict(extra="forbid")

    role: str | None = None  # instead of the issuer's
    period: Seconds | None = Field(default=None, gt=0)
    explicit_max_ttl: Seconds | None = Field(default=None, gt=0)
    num_uses: int | None = Field(default=None, gt=0)
    renewable: bool | None = None  # default: periodic tokens only
    default_policy: bool = True


class Scope(BaseModel):
    """What a token may do, and from where."""

    model_config = ConfigDict(extra="forbid")

    permissions: list[str] = Field(min_length=1)
    ip_allow: list[str] = []


class VaultTokens(OwnVault):
    """See the module. Has the powers Inventory, Renew and Preflight, and says its rights; thread-safe."""

    def __init__(self, settings: Settings, surroundings: Surroundings, vault: VaultClient | None = None) -> None:
        self._settings = settings
        self._now = surroundings.now
        self._vault = vault or VaultClient(settings, surroundings)
        self.timeout = settings.timeout
        self.traits = Traits(
            fields=("token",),
            scope_proof="exact",
            expiry=True,
            call_settles_within=timedelta(seconds=settings.call_settles_within),
            high_entropy=("token",),
        )
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[str, str]] = {}  # accessor: labels that do not change, so each is looked up once

    def close(self) -> None:
        self._vault.close()

    # --- Issuer ------------------------------------------------------------------------------------------------

    def check(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        problems = sentences(Scope, scope, "scope") + sentences(Parameters, parameters, "parameters")
        if problems:
            return problems
        for item in scope.get("ip_allow", []):
            try:
                ipaddress.ip_network(item)
            except ValueError:
                problems.append(f"scope.ip_allow: {item!r} is not an address or network")
        if "root" in scope["permissions"]:
            problems.append("scope.permissions: root is no scope")
        if scope.get("ip_allow") and self._role(parameters) is None:
            problems.append("scope.ip_allow needs a token role with token_bound_cidrs: Vault binds addresses in no other way")
        return problems

    def propose(self, request: MintRequest) -> Secret:
        raise Invalid(f"Vault chooses the values of its tokens ({request.credential})")

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        if proposed is not None:
            raise Invalid("Vault chooses the values of its tokens")
        calls = self._vault.calls()
        role = self._role(request.parameters)
        answer = calls.post(f"auth/token/create/{role}" if role else _ALONE, self._body(request))
        auth = answer.auth
        accessor = str(auth.get("accessor") or "")
        problem = _unfit(answer) or _not_periodic(answer, request.parameters)
        if problem:
            if accessor:
                calls.post("auth/token/revoke-accessor", {"accessor": accessor})
            raise Invalid(f"Vault made a token that is of no use, and it was revoked: {problem}")
        lasts = int(auth.get("lease_duration") or 0)
        expires_at = self._now() + timedelta(seconds=lasts) if lasts else None
        renew_at = self._now() + timedelta(seconds=lasts / 2) if request.parameters.get("period") and lasts else None
        return Minted(ref=accessor, fields=Secret({"token": auth["client_token"]}), expires_at=expires_at, renew_at=renew_at)

    def find(self, query: Query) -> Sequence[LiveRef]:
        calls = self._vault.calls()
        if query.ref is not None:
            found = behind(calls, query.ref)
            return [] if found is None else [_live(found)]
        candidates = []
        for accessor in self._listed(calls):
            labels = self._labels(calls, accessor)
            if labels == (query.installation, query.credential):
                candidates.append(accessor)
        living = [_live(found) for found in (behind(calls, accessor) for accessor in candidates) if found is not None]
        return [live for live in living if query.rotation in (None, live.rotation)]

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        value = fields.reveal("token")
        if not value.isascii() or not value.isprintable() or " " in value:
            return RefusedVerdict("this cannot be a token of Vault's")
        calls = self._vault.calls()
        try:
            if not target.get("parameters", {}).get("num_uses"):
                answer = calls.send("get", "auth/token/lookup-self", None, value)
                if answer.status == 200:
                    return _accepted(answer.data, target)
                if answer.token_is_dead:
                    return RefusedVerdict(answer.why)
                if answer.status != 403:
                    accepted(answer, "get", "auth/token/lookup-self")
            return _looked_at(calls, value, target)
        except Retryable as error:
            return Inconclusive(str(error))

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        answer = self._vault.calls().post("auth/token/revoke-accessor", {"accessor": ref}, allow=(400,))
        if answer.status == 400 and not any(said in answer.why for said in ("invalid accessor", "token not found")):
            accepted(answer, "post", "auth/token/revoke-accessor")

    # --- optional powers ----------------------------------------------------------------------------------------

    def inventory(self) -> Sequence[LiveRef]:
        """Labelled tokens of any installation, and orphan service tokens that something like us could have minted."""
        calls = self._vault.calls()
        looked_up = (behind(calls, accessor) for accessor in self._listed(calls))
        return [_live(found) for found in looked_up if found is not None and _could_be_ours(found)]

    def renew(self, ref: str, parameters: JsonMap) -> tuple[datetime | None, datetime | None]:
        calls = self._vault.calls()
        found = behind(calls, ref)
        if found is None:
            raise NotFound("the token to renew is gone")
        before = parse_time(found.get("expire_time"))
        if not found.get("renewable"):
            return before, None
        lasts = int(calls.post("auth/token/renew-accessor", {"accessor": ref}).auth.get("lease_duration") or 0)
        now = self._now()
        expires = now + timedelta(seconds=lasts)
        if before is not None and expires < before:
            expires = before
        period = Parameters.model_validate(parameters).period
        nears_its_end = period is None or lasts < period / 2
        return expires, None if nears_its_end else now + timedelta(seconds=lasts / 2)

    def preflight(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        calls = self._vault.calls()
        role = self._role(parameters)
        problems = missing_rights(calls, {right.path: right.capabilities for right in self.rights(scope, parameters)})
        if problems:
            return problems
        known = set(calls.keys("sys/policies/acl"))
        problems = [f"Vault has no policy {name!r}" for name in scope["permissions"] if name not in known]
        if role:
            problems += _role_problems(calls, role, scope, Parameters.model_validate(parameters).period)
        return problems

    def rights(self, scope: JsonMap, parameters: JsonMap) -> Sequence[VaultRight]:
        role, period = self._role(parameters), parameters.get("period")
        through_role = [
            VaultRight(f"auth/token/create/{role}", ("update",), why="to mint"),
            VaultRight(f"auth/token/roles/{role}", ("read",), why="whether the role makes such tokens as we mint"),
        ]
        # Without a role, Vault asks for sudo of those who want a period.
        alone = [VaultRight(_ALONE, ("update", "sudo") if period else ("update",), why="to mint")]
        renewing = [VaultRight("auth/token/renew-accessor", ("update",), why="to renew periodic tokens")]
        return [
            *(through_role if role else alone),
            VaultRight("sys/policies/acl", ("list",), why="whether the policies exist that tokens are to have"),
            VaultRight("auth/token/accessors", ("list", "sudo"), why="to find what a lost answer left behind"),
            VaultRight("auth/token/lookup-accessor", ("update",), why="whose each token is, and whether it lives"),
            VaultRight("auth/token/lookup", ("update",), why="to look at a token that may not look at itself"),
            *(renewing if period else []),
            VaultRight("auth/token/revoke-accessor", ("update",), why="to revoke"),
        ]

    def _needed(self, needs: Sequence[tuple[JsonMap, JsonMap]]) -> Sequence[VaultRight]:
        return [right for scope, parameters in needs for right in self.rights(scope, parameters)]

    def _beyond(self, calls: Calls, needs: Sequence[tuple[JsonMap, JsonMap]]) -> list[str]:
        """Without a role or sudo, Vault lets nobody give what he does not have."""
        given = {name for scope, parameters in needs if self._role(parameters) is None for name in scope["permissions"]}
        if not given or calls.capabilities([_ALONE])[_ALONE] & {"sudo", "root"}:
            return []
        lacking = given - set(calls.get("auth/token/lookup-self").data.get("policies") or [])
        said = (
            "our identity at Vault can give tokens only policies that it has itself (a token role would lift that), and lacks"
        )
        return [f"{said} {', '.join(sorted(lacking))}"] if lacking else []

    # --- ours ---------------------------------------------------------------------------------------------------

    def _role(self, parameters: JsonMap) -> str | None:
        role: str | None = parameters.get("role") or self._settings.role
        return role

    def _body(self, request: MintRequest) -> JsonMap:
        wanted = Parameters.model_validate(request.parameters)
        body: JsonMap = {
            "policies": list(request.scope["permissions"]),
            "no_default_policy": not wanted.default_policy,
            "type": "service",
            "renewable": wanted.period is not None if wanted.renewable is None else wanted.renewable,
            "display_name": f"rotatord-{request.credential}",
            "meta": labels_of(request),
        }
        if wanted.period is not None:
            if self._role(request.parameters) is None:  # a role gives its own; asking for one needs sudo
                body["period"] = f"{wanted.period}s"
        elif request.ttl is not None:
            body["ttl"] = f"{int(request.ttl.total_seconds())}s"
        if wanted.explicit_max_ttl is not None:
            body["explicit_max_ttl"] = f"{wanted.explicit_max_ttl}s"
        if wanted.num_uses is not None:
            body["num_uses"] = wanted.num_uses
        return body

    def _listed(self, calls: Calls) -> list[str]:
        accessors = calls.keys("auth/token/accessors")
        with self._lock:
            for gone in self._seen.keys() - set(accessors):
                del self._seen[gone]
        return accessors

    def _labels(self, calls: Calls, accessor: str) -> tuple[str, str]:
        """Installation and credential, remembered: a look-up cut short by the timeout goes on where it stopped."""
        with self._lock:
            known = self._seen.get(accessor)
        if known is None:
            found = behind(calls, accessor)
            if found is None:  # not remembered: its token may be about to be made
                return _UNLABELLED
            meta = found.get("meta") or {}
            known = _UNLABELLED  # one object for all of them: there may be very many
            if f"{LABEL}installation" in meta:
                known = (str(meta[f"{LABEL}installation"]), str(meta.get(f"{LABEL}credential", "")))
            with self._lock:
                self._seen[accessor] = known
        return known


def create(settings: JsonMap, surroundings: Surroundings) -> VaultTokens:
    """The factory behind the entry point ``vault_token``."""
    return VaultTokens(Settings.model_validate(settings), surroundings)


def _unfit(answer: Answer) -> str:
    """Why a fresh token must not be used; "" when it is what we mint."""
    if answer.auth.get("token_type") != "service" or not answer.auth.get("accessor"):
        return "it is a batch token, which cannot be revoked; the token role must make service tokens"
    if answer.auth.get("orphan") is not True:
        return "it is not an orphan and would die with its parent; the token role needs orphan=true"
    return next((warning for warning in answer.warnings if "does not exist" in warning), "")


def _not_periodic(answer: Answer, parameters: JsonMap) -> str:
    """A role's period shows only in how long its token lasts, which a limit may make shorter."""
    wanted, given = Parameters.model_validate(parameters).period, int(answer.auth.get("lease_duration") or 0)
    if wanted is None or 0 < given <= wanted:
        return ""
    return f"it lasts {given} s, not a period of {wanted} s; the token role needs token_period"


def _looked_at(calls: Calls, value: str, target: JsonMap) -> ProbeAnswer:
    """Our own look at the value: costs it no use, and is not stopped by the value's own policies or addresses."""
    answer = calls.post("auth/token/lookup", {"token": value}, allow=(403, 404))
    if answer.status == 200:
        if answer.data.get("bound_cidrs") and not target.get("parameters", {}).get("num_uses"):
            return Inconclusive("it lives, but cannot be tried from here: we are outside its allowed addresses")
        return _accepted(answer.data, target)
    if "bad token" in answer.why or answer.status == 404:
        return RefusedVerdict(answer.why)
    return Inconclusive(f"our identity may not look at tokens: {answer.why}")


def _accepted(data: JsonMap, target: JsonMap) -> Accepted:
    asked = target.get("scope", {})
    wanted = asked.get("permissions", [])
    seen = {*(data.get("policies") or []), *(data.get("identity_policies") or [])}
    if target.get("parameters", {}).get("default_policy", True) and DEFAULT_POLICY not in wanted:
        seen -= {DEFAULT_POLICY}
    scope: JsonMap = {"permissions": as_asked(sorted(seen), wanted, str)}
    bound = data.get("bound_cidrs") or []
    if bound or "ip_allow" in asked:
        scope["ip_allow"] = as_asked(bound, asked.get("ip_allow", []), network)
    return Accepted(scope=scope, ref=data.get("accessor") or None, expires_at=parse_time(data.get("expire_time")))


def _live(data: JsonMap) -> LiveRef:
    meta = data.get("meta") or {}
    generation = str(meta.get(f"{LABEL}generation", ""))
    created = data.get("creation_time")
    return LiveRef(
        ref=data["accessor"],
        installation=meta.get(f"{LABEL}installation", ""),
        credential=meta.get(f"{LABEL}credential", ""),
        rotation=meta.get(f"{LABEL}rotation", ""),
        generation=int(generation) if generation.isdigit() else 0,
        created_at=datetime.fromtimestamp(created, UTC) if created else None,
        expires_at=parse_time(data.get("expire_time")),
    )


def _could_be_ours(data: JsonMap) -> bool:
    path = str(data.get("path", ""))
    return bool(data.get("orphan")) and (path == "auth/token/create-orphan" or path.startswith("auth/token/create/"))


def _role_problems(calls: Calls, role: str, scope: JsonMap, period: int | None) -> list[str]:
    try:
        found = calls.get(f"auth/token/roles/{role}").data
    except NotFound:
        return [f"Vault has no token role {role!r}"]
    problems = []
    if not found.get("orphan"):
        problems.append(f"token role {role!r} does not make orphans: its tokens would die with their parent")
    if "batch" in str(found.get("token_type")) and found.get("token_type") != "default-service":
        problems.append(f"token role {role!r} makes batch tokens, which cannot be revoked")
    gives = int(found.get("token_period") or found.get("period") or 0)
    if gives != (period or 0):
        problems.append(
            f"token role {role!r} gives a period of {gives} s (token_period), not {period or 0} s (parameters.period)"
        )
    bound = found.get("token_bound_cidrs") or found.get("bound_cidrs") or []
    if {network(each) for each in bound} != {network(each) for each in scope.get("ip_allow", [])}:
        problems.append(f"token role {role!r} binds tokens to {bound or 'no address'}, not to scope.ip_allow")
    return problems
