"""Kubernetes ServiceAccount tokens, each bound to a marker Secret of its own: deleting the marker ends the token.

An API server keeps no list of the tokens that it signed. What lives is therefore told by the markers: empty Secrets in the
ServiceAccount's namespace, under a few names that are known beforehand (so that our Role can name them, and finding needs no
list), annotated with whose they are. How many names there are is how many versions may live at once.

Who verifies a token with the API server (TokenReview) sees its end within seconds; who only checks the signature sees nothing
but the expiry in it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rotatord import durations
from rotatord.errors import Conflict, Denied, Invalid, OutsideError, Permanent, Retryable
from rotatord.jwt_life import claims_of
from rotatord.kubernetes_client import Cluster, ClusterSettings
from rotatord.kubernetes_own import OwnCluster
from rotatord.kubernetes_pin import pin_rights
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
from rotatord.rights import KubernetesRight
from rotatord.secret import Secret

MARKER_TYPE = "rotatord.io/token-marker"
DOMAIN = "rotatord.io"
METHOD_SECONDS = 12.0  # of all requests of one method: fits into a lease
SHORTEST_LIFE = timedelta(minutes=10)  # the API server takes no less
_DNS_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_REF = re.compile(r"(?P<namespace>[a-z0-9-]+)/(?P<name>[a-z0-9.-]+)@(?P<uid>[0-9a-f-]+)")
_WHY_LENGTH = 300

Name = Annotated[str, Field(pattern=_DNS_NAME, max_length=200)]
Length = Annotated[timedelta, BeforeValidator(lambda value: durations.parse(value) if isinstance(value, str) else value)]


class Settings(ClusterSettings):
    """Settings of an issuer of type ``kubernetes_token``."""

    namespace: Name | None = None  # of credentials that name none
    markers: int = Field(default=4, ge=2, le=20)  # how many tokens may live at once for one ServiceAccount
    ends_within: Length = timedelta(seconds=15)  # API servers remember for 10 s that a token was good
    call_settles_within: Length = timedelta(seconds=75)  # their own limit for one request is 60 s


class Parameters(BaseModel):
    """Whose tokens a credential has."""

    model_config = ConfigDict(extra="forbid")

    service_account: Name
    namespace: Name | None = None  # instead of the issuer's
    marker: Name | None = None  # how the names of its markers begin, where credentials share a ServiceAccount


class Scope(BaseModel):
    """Where a token is good: what it may do there lies on the ServiceAccount's roles, which rotatord never changes."""

    model_config = ConfigDict(extra="forbid")

    audiences: list[Annotated[str, Field(min_length=1)]] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Ref:
    """A marker: this very one, not another that came to the same name later."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}@{self.uid}"

    @classmethod
    def of(cls, marker: JsonMap) -> Ref:
        metadata = marker["metadata"]
        return cls(metadata["namespace"], metadata["name"], metadata["uid"])


class ServiceAccountTokens(OwnCluster):
    """See the module. Has the power Preflight and says its rights; thread-safe."""

    def __init__(self, settings: Settings, surroundings: Surroundings, cluster: Cluster) -> None:
        self._settings = settings
        self._now = surroundings.now
        self._cluster = cluster
        self.timeout = max(settings.timeout, min(3 * settings.timeout, METHOD_SECONDS))
        self.traits = Traits(
            fields=("token",),
            max_live=settings.markers,
            scope_proof="exact",
            expiry=True,
            shortest_life=SHORTEST_LIFE,
            propagation=settings.ends_within,
            call_settles_within=settings.call_settles_within,
            high_entropy=("token",),
            forms={"token": r"[\w-]+\.[\w-]+\.[\w-]+"},
        )

    def close(self) -> None:
        self._cluster.close()

    # --- Issuer ------------------------------------------------------------------------------------------------

    def check(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        problems = sentences(Scope, scope, "scope") + sentences(Parameters, parameters, "parameters")
        if not problems and not (parameters.get("namespace") or self._settings.namespace):
            problems.append("parameters.namespace: in which namespace is the ServiceAccount?")
        return problems

    def propose(self, request: MintRequest) -> Secret:
        raise Invalid(f"the API server chooses the values of its tokens ({request.credential})")

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        """Marker, token, and the token's end noted on the marker. Whatever is lost on the way, the marker is found."""
        if proposed is not None:
            raise Invalid("the API server chooses the values of its tokens")
        wanted, audiences = Parameters.model_validate(request.parameters), list(request.scope["audiences"])
        cluster = self._cluster.within(self.timeout)
        ref = self._marked(cluster, request)
        try:
            now = self._now()
            token = _requested(cluster, ref, wanted.service_account, audiences, request.ttl)
            # By our own clock, which is the one that renewing goes by: the API server's may differ.
            expires_at = now + _life(token)
            ends = {"metadata": {"uid": ref.uid, "annotations": {f"{DOMAIN}/expires-at": expires_at.isoformat()}}}
            cluster.patch("secrets", ref.namespace, ref.name, ends, type="merge")
        except Permanent as error:
            with contextlib.suppress(OutsideError):  # then it is found and ended as every orphan is
                cluster.delete("secrets", ref.namespace, ref.name, uid=ref.uid)
            if isinstance(error, (Denied, Invalid)):
                raise
            raise Invalid(str(error)) from None
        return Minted(ref=str(ref), fields=Secret({"token": token}), expires_at=expires_at)

    def find(self, query: Query) -> Sequence[LiveRef]:
        cluster = self._cluster.within(self.timeout)
        if query.ref is not None:
            ref = _parsed(query.ref)
            marker = cluster.get("secrets", ref.namespace, ref.name) if ref else None
            return [_live(marker)] if marker and ref == Ref.of(marker) and _is_marker(marker) else []
        namespace, names = self._markers(query.parameters)
        seen = (cluster.get("secrets", namespace, name) for name in names)
        living = [_live(marker) for marker in seen if marker is not None and _is_marker(marker)]
        return [
            live
            for live in living
            if (live.installation, live.credential) == (query.installation, query.credential)
            and query.rotation in (None, live.rotation)
        ]

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        token = fields.reveal("token")
        claims = claims_of(token)
        audiences = _audiences(claims) or list(target.get("scope", {}).get("audiences", []))
        cluster = self._cluster.within(self.timeout)
        try:
            status = cluster.review_token(token, audiences)
            if not status.get("authenticated") and _still_marked(cluster, claims):
                status = cluster.review_token(token, audiences)
        except OutsideError as error:
            return Inconclusive(f"the API server cannot be asked about the token: {error}")
        if not status.get("authenticated"):
            return RefusedVerdict(str(status.get("error") or "not authenticated").replace(token, "***")[:_WHY_LENGTH])
        if not set(audiences) <= set(status.get("audiences") or ()):
            return Inconclusive("the API server does not tell for which audiences the token is good")
        return self._accepted(claims, str(status.get("user", {}).get("username")), target)

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        place = _parsed(ref)
        if place is None:
            raise Invalid(f"{ref!r} does not name a marker: NAMESPACE/NAME@UID")
        cluster = self._cluster.within(self.timeout)
        marker = cluster.get("secrets", place.namespace, place.name)
        if marker is None or Ref.of(marker) != place:
            return
        if not _is_marker(marker):
            raise Invalid(f"Secret {place.namespace}/{place.name} is no marker of a token, and is not deleted")
        cluster.delete("secrets", place.namespace, place.name, uid=place.uid)

    # --- optional powers ----------------------------------------------------------------------------------------

    def preflight(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        cluster = self._cluster.within(self.timeout)
        problems = [problem for right in self._needed(parameters) for problem in _lacking(cluster, right)]
        if problems:
            return problems
        namespace, names = self._markers(parameters)
        seen = {name: cluster.get("secrets", namespace, name) for name in names}
        there = {name: marker for name, marker in seen.items() if marker is not None}
        foreign = [name for name, marker in there.items() if not _is_marker(marker)]
        owners = sorted({_live(marker).credential for name, marker in there.items() if name not in foreign})
        problems = [f"Secret {namespace}/{name} is not ours, but its name is needed: say parameters.marker" for name in foreign]
        if len(owners) == len(names):
            told = f"all {len(names)} markers {namespace}/{names[0]} … are taken by one token each of {', '.join(owners)}"
            problems.append(f"{told}: give each credential a parameters.marker of its own, or raise markers")
        return problems

    def rights(self, scope: JsonMap, parameters: JsonMap) -> Sequence[KubernetesRight]:
        return [*self._needed(parameters), *pin_rights(self._settings)]

    # --- ours ---------------------------------------------------------------------------------------------------

    def _needed(self, parameters: JsonMap) -> Sequence[KubernetesRight]:
        namespace, names = self._markers(parameters)
        account = Parameters.model_validate(parameters).service_account
        return [
            KubernetesRight(namespace, "", "serviceaccounts/token", ("create",), (account,), why="mint tokens"),
            KubernetesRight(
                namespace, "", "secrets", ("create",), why="make a marker for each token; cannot be limited to names"
            ),
            KubernetesRight(
                namespace, "", "secrets", ("get", "patch", "delete"), names, why="find tokens by their markers, and end them"
            ),
            KubernetesRight("", "authentication.k8s.io", "tokenreviews", ("create",), why="see whether a token is good"),
        ]

    def _markers(self, parameters: JsonMap) -> tuple[str, tuple[str, ...]]:
        """Namespace and names of all the markers that there can be."""
        wanted = Parameters.model_validate(parameters)
        namespace = wanted.namespace or self._settings.namespace
        if not namespace:
            raise Invalid("parameters.namespace: in which namespace is the ServiceAccount?")
        base = wanted.marker or wanted.service_account
        return namespace, tuple(f"{base}-rotatord-token-{number}" for number in range(1, self._settings.markers + 1))

    def _marked(self, cluster: Cluster, request: MintRequest) -> Ref:
        """A fresh marker under the first name that is free. The API server lets only one of two take it."""
        namespace, names = self._markers(request.parameters)
        for name in names:
            try:
                return Ref.of(cluster.create("secrets", namespace, _marker(name, request)))
            except Conflict:
                continue
        raise Conflict(f"all {len(names)} markers in namespace {namespace} are taken, {names[0]} and so on: none can be minted")

    def _accepted(self, claims: JsonMap, user: str, target: JsonMap) -> Accepted:
        asked, parameters = target.get("scope", {}).get("audiences", []), target.get("parameters", {})
        seen = _audiences(claims)
        scope: JsonMap = {"audiences": list(asked) if set(seen) == set(asked) else sorted(seen)}
        namespace = parameters.get("namespace") or self._settings.namespace
        if user != f"system:serviceaccount:{namespace}:{parameters.get('service_account')}":
            scope["user"] = user  # not the ServiceAccount that was meant
        bound = _bound(claims)
        ends = claims.get("exp")
        return Accepted(
            scope=scope,
            ref=str(bound) if bound else None,
            expires_at=datetime.fromtimestamp(ends, UTC) if isinstance(ends, (int, float)) else None,
        )


def create(settings: JsonMap, surroundings: Surroundings) -> ServiceAccountTokens:
    """The factory behind the entry point ``kubernetes_token``."""
    known = Settings.model_validate(settings)
    return ServiceAccountTokens(known, surroundings, Cluster(known, base_dir=surroundings.base_dir))


def _marker(name: str, request: MintRequest) -> JsonMap:
    told = {
        "installation": request.installation,
        "credential": request.credential,
        "rotation": request.rotation,
        "generation": str(request.generation),
        "owner": request.owner,
        "purpose": request.purpose,
    }
    return {
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "rotatord"},
            "annotations": {f"{DOMAIN}/{key}": value for key, value in told.items() if value},
        },
        "type": MARKER_TYPE,
    }


def _is_marker(secret: JsonMap) -> bool:
    return secret.get("type") == MARKER_TYPE


def _live(marker: JsonMap) -> LiveRef:
    metadata = marker["metadata"]
    notes = metadata.get("annotations") or {}
    generation = str(notes.get(f"{DOMAIN}/generation", ""))
    ends = notes.get(f"{DOMAIN}/expires-at")
    return LiveRef(
        ref=str(Ref.of(marker)),
        installation=notes.get(f"{DOMAIN}/installation", ""),
        credential=notes.get(f"{DOMAIN}/credential", ""),
        rotation=notes.get(f"{DOMAIN}/rotation", ""),
        generation=int(generation) if generation.isdigit() else 0,
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        expires_at=datetime.fromisoformat(ends) if ends else None,
    )


def _parsed(ref: str) -> Ref | None:
    found = _REF.fullmatch(ref)
    return Ref(**found.groupdict()) if found else None


def _requested(cluster: Cluster, ref: Ref, account: str, audiences: list[str], ttl: timedelta | None) -> str:
    """A token that is bound to its marker; Invalid where it is not, since nobody could end it."""
    spec: JsonMap = {
        "audiences": audiences,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": ref.name, "uid": ref.uid},
    }
    if ttl is not None:
        spec["expirationSeconds"] = int(ttl.total_seconds())
    token = cluster.request_token(ref.namespace, account, spec).get("token")
    if not isinstance(token, str) or not token:
        raise Retryable("the API server's answer holds no token")
    if _bound(claims_of(token)) != ref:
        raise Invalid("the API server made a token that is not bound to its marker: it could not be revoked")
    return token


def _life(token: str) -> timedelta:
    """How long a token lasts, which may be less or more than was asked for."""
    claims = claims_of(token)
    begins, ends = claims.get("iat"), claims.get("exp")
    if not isinstance(begins, (int, float)) or not isinstance(ends, (int, float)) or ends <= begins:
        raise Invalid("the API server made a token without an end")
    return timedelta(seconds=ends - begins)


def _audiences(claims: JsonMap) -> list[str]:
    told = claims.get("aud")
    return [told] if isinstance(told, str) else [str(each) for each in told] if isinstance(told, list) else []


def _bound(claims: JsonMap) -> Ref | None:
    """The marker that a token is bound to."""
    about = claims.get("kubernetes.io")
    secret = about.get("secret") if isinstance(about, Mapping) else None
    if not isinstance(about, Mapping) or not isinstance(secret, Mapping):
        return None
    return Ref(str(about.get("namespace")), str(secret.get("name")), str(secret.get("uid")))


def _still_marked(cluster: Cluster, claims: JsonMap) -> bool:
    """Whether the marker of a refused token is there. An API server that cannot read its store refuses every token, so the
    refusal of one that should live counts only when it is repeated after a read that worked."""
    bound = _bound(claims)
    if bound is None:
        return False
    marker = cluster.get("secrets", bound.namespace, bound.name)
    return marker is not None and Ref.of(marker) == bound


def _lacking(cluster: Cluster, right: KubernetesRight) -> list[str]:
    """A sentence for each verb that we lack; none where the API server does not tell."""
    resource, _, subresource = right.resource.partition("/")
    where = f"Role in namespace {right.namespace}" if right.namespace else "ClusterRole"
    problems = []
    for name in right.names or ("",):
        about = {"namespace": right.namespace, "group": right.group, "resource": resource, "subresource": subresource}
        asked = {key: value for key, value in {**about, "name": name}.items() if value}
        try:
            lacking = [verb for verb in right.verbs if not cluster.review_access({**asked, "verb": verb})]
        except Denied:
            return []  # then the call itself says so
        if lacking:
            names = f", resourceNames: [{name}]" if name else ""
            rule = f'{{apiGroups: ["{right.group}"], resources: [{right.resource}], verbs: [{", ".join(lacking)}]{names}}}'
            problems.append(f"our {where} lacks the rule {rule} (to {right.why})")
    return problems
