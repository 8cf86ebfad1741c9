"""Vault and OpenBao AppRole secret-ids: labelled by their metadata, known and destroyed by their accessor.

What a secret-id may do lies on its role, which rotatord never changes; from where it may be used lies on the secret-id.
A secret-id is probed by a look-up of our own identity: a login would cost it a use and leave a token behind.

A ref names mount, role, accessor and mint (``approle/app/ACCESSOR/ROTATION/GENERATION``), so that a version can be ended
after the configuration named another role, and its login tokens after it is gone itself: Vault copies the metadata of a
secret-id to them, and nothing else that would tell whose they are. An accessor alone, as people have it for ``adopt``, is
one of the credential's role: ``whole_ref`` looks up the rest.
"""

from __future__ import annotations

import ipaddress
import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
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

Seconds = Annotated[int, BeforeValidator(duration_seconds)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*$")]
Mount = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@/-]*[A-Za-z0-9]$")]
_REF = re.compile(
    r"(?P<mount>.+)/(?P<role>[^/]+)/(?P<accessor>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"(?:/(?P<rotation>[^/]+)/(?P<generation>\d+))?"
)
_GONE = ("failed to find accessor entry", "invalid secret id accessor")
_NO_ROLE = "does not exist"


class Settings(VaultSettings):
    """Settings of an issuer of type ``vault_approle``."""

    mount: Mount = "approle"
    role: Name | None = None
    call_settles_within: Seconds = 90  # Vault's own limit for one request


class Parameters(BaseModel):
    """What a credential may ask of its secret-ids beside scope and life."""

    model_config = ConfigDict(extra="forbid")

    role: Name | None = None  # instead of the issuer's
    mount: Mount | None = None
    num_uses: int | None = Field(default=None, gt=0)


class Scope(BaseModel):
    """``permissions`` are only compared with the role's policies; ``ip_allow`` binds the secret-id and its tokens."""

    model_config = ConfigDict(extra="forbid")

    permissions: list[str] = []
    ip_allow: list[str] = []


@dataclass(frozen=True, slots=True)
class Ref:
    """A parsed ref."""

    mount: str
    role: str
    accessor: str
    rotation: str = ""
    generation: str = ""

    def __str__(self) -> str:
        place = f"{self.mount}/{self.role}/{self.accessor}"
        return f"{place}/{self.rotation}/{self.generation}" if self.rotation else place

    @property
    def path(self) -> str:
        return f"auth/{self.mount}/role/{self.role}"


class VaultSecretIds(OwnVault):
    """See the module. Has the powers Inventory, Sessions and Preflight, and says its rights; thread-safe."""

    def __init__(self, settings: Settings, surroundings: Surroundings, vault: VaultClient | None = None) -> None:
        self._settings = settings
        self._now = surroundings.now
        self._vault = vault or VaultClient(settings, surroundings)
        self.timeout = settings.timeout
        self.traits = Traits(
            fields=("role_id", "secret_id"),
            scope_proof="exact",
            expiry=True,
            call_settles_within=timedelta(seconds=settings.call_settles_within),
            high_entropy=("secret_id",),
        )
        self._lock = threading.Lock()
        self._seen: dict[str, JsonMap] = {}  # login tokens' accessors and their metadata, which does not change

    def close(self) -> None:
        self._vault.close()

    # --- Issuer ------------------------------------------------------------------------------------------------

    def check(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        problems = sentences(Scope, scope, "scope") + sentences(Parameters, parameters, "parameters")
        if problems:
            return problems
        if not (parameters.get("role") or self._settings.role):
            problems.append("parameters.role: which AppRole role?")
        for item in scope.get("ip_allow", []):
            try:
                ipaddress.ip_network(item)
            except ValueError:
                problems.append(f"scope.ip_allow: {item!r} is not an address or network")
        return problems

    def propose(self, request: MintRequest) -> Secret:
        raise Invalid(f"Vault chooses the values of secret-ids ({request.credential})")

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        if proposed is not None:
            raise Invalid("Vault chooses the values of secret-ids")
        role = self._role(request.parameters)
        calls = self._vault.calls()
        problems = _role_problems(calls, role, request.scope)
        if problems:
            raise Invalid("; ".join(problems))
        role_id = calls.get(f"{role.path}/role-id").data["role_id"]
        body: JsonMap = {"metadata": json.dumps(labels_of(request))}
        networks = [network(item) for item in request.scope.get("ip_allow", [])]
        if networks:
            body |= {"cidr_list": networks, "token_bound_cidrs": networks}
        if request.ttl is not None:
            body["ttl"] = f"{int(request.ttl.total_seconds())}s"
        if request.parameters.get("num_uses"):
            body["num_uses"] = request.parameters["num_uses"]
        made = calls.post(f"{role.path}/secret-id", body).data
        lasts = int(made.get("secret_id_ttl") or 0)
        ref = Ref(role.mount, role.role, made["secret_id_accessor"], request.rotation, str(request.generation))
        return Minted(
            ref=str(ref),
            fields=Secret({"role_id": role_id, "secret_id": made["secret_id"]}),
            expires_at=self._now() + timedelta(seconds=lasts) if lasts else None,
        )

    def find(self, query: Query) -> Sequence[LiveRef]:
        calls = self._vault.calls()
        if query.ref is not None:
            ref = self._parsed(query.ref, query.parameters)
            found = _lookup(calls, ref)
            return [] if found is None else [_live(ref, found, query.ref)]
        return [
            live
            for live in self._living(calls, self._role(query.parameters))
            if (live.installation, live.credential) == (query.installation, query.credential)
            and query.rotation in (None, live.rotation)
        ]

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        role = self._role(target.get("parameters", {}))
        calls = self._vault.calls()
        try:
            answer = calls.get(f"{role.path}/role-id", allow=(404,))
            if answer.status == 404 and not answer.why:  # with a reason, it is the mount that is missing
                return RefusedVerdict("there is no such role")
            if accepted(answer, "get", role.path).data["role_id"] != fields.reveal("role_id"):
                return RefusedVerdict("the role has another role_id")
            answer = calls.post(f"{role.path}/secret-id/lookup", {"secret_id": fields.reveal("secret_id")})
            if not answer.data.get("secret_id_accessor"):
                return RefusedVerdict("the role has no such secret-id")
            found = calls.get(role.path).data
        except Retryable as error:
            return Inconclusive(str(error))
        return _accepted(role, answer.data, found, target.get("scope", {}))

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        place = self._parsed(ref, parameters)
        path = f"{place.path}/secret-id-accessor/destroy"
        answer = self._vault.calls().post(path, {"secret_id_accessor": place.accessor}, allow=(404, 500))
        if not _says_gone(answer):
            accepted(answer, "post", path)

    # --- optional powers ----------------------------------------------------------------------------------------

    def inventory(self) -> Sequence[LiveRef]:
        """Every secret-id of the issuer's role, or of all roles of its mount where it names none."""
        calls = self._vault.calls()
        roles = [self._settings.role] if self._settings.role else calls.keys(f"auth/{self._settings.mount}/role")
        return [live for role in roles for live in self._living(calls, Ref(self._settings.mount, role, ""))]

    def whole_ref(self, ref: str, parameters: JsonMap) -> str:
        """People have the accessor; whether the secret-id bears labels, which are part of its ref, only Vault knows."""
        place = self._parsed(ref, parameters)
        found = None if place.rotation else _lookup(self._vault.calls(), place)
        return ref if found is None else _live(place, found).ref

    def end_sessions(self, ref: str, parameters: JsonMap) -> int:
        """Revoke the login tokens that were made with this secret-id."""
        calls = self._vault.calls()
        place = self._parsed(ref, parameters)
        if place.rotation:
            marks = {f"{LABEL}rotation": place.rotation, f"{LABEL}generation": place.generation}
        else:
            marks = (_lookup(calls, place) or {}).get("metadata") or {}
        if not marks:
            raise Invalid("the secret-id has no labels, so the tokens made with it cannot be told from others")
        marks = {**marks, "role_name": place.role}
        ended = 0
        for accessor in self._listed(calls):
            meta = self._meta(calls, accessor, f"auth/{place.mount}/login")
            if marks.items() <= meta.items():
                done = calls.post("auth/token/revoke-accessor", {"accessor": accessor}, allow=(400,))
                ended += done.status == 204
        return ended

    def preflight(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        calls = self._vault.calls()
        role = self._role(parameters)
        problems = missing_rights(calls, {right.path: right.capabilities for right in self.rights(scope, parameters)})
        return problems or _role_problems(calls, role, scope)

    def rights(self, scope: JsonMap, parameters: JsonMap) -> Sequence[VaultRight]:
        path = self._role(parameters).path
        return [
            VaultRight(path, ("read",), why="whether the role has the policies that scope.permissions names"),
            VaultRight(f"{path}/role-id", ("read",), why="the field role_id"),
            VaultRight(f"{path}/secret-id", ("update", "list"), why="to mint, and to find what a lost answer left behind"),
            VaultRight(f"{path}/secret-id/lookup", ("update",), why="to probe without a login"),
            VaultRight(f"{path}/secret-id-accessor/lookup", ("update",), why="whose each secret-id is, and whether it lives"),
            VaultRight(f"{path}/secret-id-accessor/destroy", ("update",), why="to revoke"),
        ]

    def session_rights(self, scope: JsonMap, parameters: JsonMap) -> Sequence[VaultRight]:
        return [
            VaultRight("auth/token/accessors", ("list", "sudo"), why="to find login tokens"),
            VaultRight("auth/token/lookup-accessor", ("update",), why="which secret-id each was made with"),
            VaultRight("auth/token/revoke-accessor", ("update",), why="to end them"),
        ]

    def _needed(self, needs: Sequence[tuple[JsonMap, JsonMap]]) -> Sequence[VaultRight]:
        return [right for scope, parameters in needs for right in self.rights(scope, parameters)]

    # --- ours ---------------------------------------------------------------------------------------------------

    def _role(self, parameters: JsonMap) -> Ref:
        role = parameters.get("role") or self._settings.role
        if not role:
            raise Invalid("parameters.role: which AppRole role?")
        return Ref(parameters.get("mount") or self._settings.mount, role, "")

    def _parsed(self, ref: str, parameters: JsonMap) -> Ref:
        whole = _REF.fullmatch(ref)
        if whole:
            return Ref(**whole.groupdict(""))
        role = self._role(parameters)
        return Ref(role.mount, role.role, ref)

    def _living(self, calls: Calls, role: Ref) -> list[LiveRef]:
        living = []
        try:
            accessors = calls.keys(f"{role.path}/secret-id")
        except Invalid as error:
            if _NO_ROLE in str(error):
                return []  # a deleted role has taken its secret-ids along
            raise
        for accessor in accessors:
            ref = Ref(role.mount, role.role, accessor)
            found = _lookup(calls, ref)
            if found is not None:
                living.append(_live(ref, found))
        return living

    def _listed(self, calls: Calls) -> list[str]:
        accessors = calls.keys("auth/token/accessors")
        with self._lock:
            for gone in self._seen.keys() - set(accessors):
                del self._seen[gone]
        return accessors

    def _meta(self, calls: Calls, accessor: str, path: str) -> JsonMap:
        """The metadata of a login token of ``path``, remembered: a look-up cut short goes on where it stopped."""
        with self._lock:
            known = self._seen.get(accessor)
        if known is None:
            found = behind(calls, accessor)
            if found is None:  # not remembered: its token may be about to be made
                return {}
            known = {"path": found.get("path"), "meta": found.get("meta") or {}}
            with self._lock:
                self._seen[accessor] = known
        meta: JsonMap = known["meta"] if known["path"] == path else {}
        return meta


def create(settings: JsonMap, surroundings: Surroundings) -> VaultSecretIds:
    """The factory behind the entry point ``vault_approle``."""
    return VaultSecretIds(Settings.model_validate(settings), surroundings)


def _says_gone(answer: Answer) -> bool:
    return any(words in answer.why for words in (*_GONE, _NO_ROLE))


def _lookup(calls: Calls, ref: Ref) -> JsonMap | None:
    """What Vault knows of a secret-id; None when it, or its whole role, is gone."""
    path = f"{ref.path}/secret-id-accessor/lookup"
    answer = calls.post(path, {"secret_id_accessor": ref.accessor}, allow=(404, 500))
    if answer.status in (200, 204):
        return answer.data or None
    if _says_gone(answer):
        return None
    accepted(answer, "post", path)
    raise AssertionError("an answer is accepted or raises")


def _live(ref: Ref, data: JsonMap, spelled: str | None = None) -> LiveRef:
    meta = data.get("metadata") or {}
    rotation, generation = meta.get(f"{LABEL}rotation", ""), meta.get(f"{LABEL}generation", "")
    return LiveRef(
        ref=spelled or str(Ref(ref.mount, ref.role, ref.accessor, rotation, generation)),
        installation=meta.get(f"{LABEL}installation", ""),
        credential=meta.get(f"{LABEL}credential", ""),
        rotation=rotation,
        generation=int(generation) if generation.isdigit() else 0,
        created_at=parse_time(data.get("creation_time")),
        expires_at=parse_time(data.get("expiration_time")),
    )


def _accepted(role: Ref, data: JsonMap, found: JsonMap, asked: JsonMap) -> Accepted:
    bound = {network(item) for item in data.get("cidr_list") or []}
    if {network(item) for item in data.get("token_bound_cidrs") or []} != bound:
        return Accepted(scope={"ip_allow": ["the secret-id and its tokens are bound differently"]})
    scope: JsonMap = {}
    if bound or "ip_allow" in asked:
        scope["ip_allow"] = as_asked(sorted(bound), asked.get("ip_allow", []), network)
    if "permissions" in asked:
        scope["permissions"] = as_asked(found.get("token_policies") or [], asked["permissions"], str)
    live = _live(Ref(role.mount, role.role, data["secret_id_accessor"]), data)
    return Accepted(scope=scope, ref=live.ref, expires_at=live.expires_at)


def _role_problems(calls: Calls, role: Ref, scope: JsonMap) -> list[str]:
    try:
        found = calls.get(role.path).data
    except NotFound:
        return [f"Vault has no AppRole role {role.role!r} at {role.mount}"]
    problems = []
    if not found.get("bind_secret_id"):
        problems.append(f"role {role.role!r} asks for no secret-id: rotating it would protect nothing")
    has, wanted = set(found.get("token_policies") or []), set(scope.get("permissions", []))
    if wanted and has != wanted:
        problems.append(f"role {role.role!r} has the policies {sorted(has)}, not scope.permissions")
    return problems
