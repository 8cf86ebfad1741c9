"""Speaking to an API server: each kind's verbs in plain JSON, complete lists, and refusals in words of ours.

Every answer is checked to be what was asked for: a 404 counts as "there is none" only where an API server says so of this
very object, and a 200 only where it holds this object. What something between us and it says is Retryable, never "empty".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from rotatord.clock import SystemClock
from rotatord.errors import Conflict, NotFound, Retryable
from rotatord.kubernetes_answers import refusal
from rotatord.kubernetes_pin import Pin
from rotatord.kubernetes_transport import SERVICE_ACCOUNT, Answer, ClusterSettings, Request, Transport
from rotatord.model import JsonMap

_JSON = "application/json"
_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_APPLY = "application/apply-patch+yaml"
_PAGE = 500
_MOST_PAGES = 200
FIELD_MANAGER = "rotatord"


@dataclass(frozen=True, slots=True)
class Kind:
    """Where objects of a kind lie."""

    resource: str
    name: str  # as ``kind`` says in their JSON
    group: str = ""
    version: str = "v1"

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        steps = [f"/{quote(step, safe='')}" for step in (name, subresource) if step]
        return f"{root}{place}/{self.resource}{''.join(steps)}"


KINDS = {
    kind.resource: kind
    for kind in (
        Kind("secrets", "Secret"),
        Kind("pods", "Pod"),
        Kind("serviceaccounts", "ServiceAccount"),
        Kind("deployments", "Deployment", "apps"),
        Kind("statefulsets", "StatefulSet", "apps"),
        Kind("daemonsets", "DaemonSet", "apps"),
        Kind("replicasets", "ReplicaSet", "apps"),
    )
}
_TOKEN_REQUEST = Kind("serviceaccounts", "TokenRequest")
_TOKEN_REVIEW = Kind("tokenreviews", "TokenReview", "authentication.k8s.io")
_ACCESS_REVIEW = Kind("selfsubjectaccessreviews", "SelfSubjectAccessReview", "authorization.k8s.io")


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as its refusals name it."""

    verb: str  # as RBAC names it
    kind: Kind
    namespace: str
    name: str = ""
    subresource: str = ""

    @property
    def path(self) -> str:
        return self.kind.path(
            self.namespace, "" if self.verb == "create" and not self.subresource else self.name, self.subresource
        )

    @property
    def resource(self) -> str:
        return f"{self.kind.resource}/{self.subresource}" if self.subresource else self.kind.resource

    def __str__(self) -> str:
        what = f"{self.resource} {self.name}".rstrip()
        return f"{self.verb} {what} in namespace {self.namespace}" if self.namespace else f"{self.verb} {what}"


class Cluster:
    """One API server under one identity of ours. Thread-safe; nothing is read or connected before the first call.

    Each method is one request (``list``: one a page) within ``settings.timeout`` seconds. :meth:`within` gives the same
    methods under a deadline that they share. Raises Denied (401, 403), NotFound, Conflict, Invalid or Retryable.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        base_dir: str = ".",
        service_account: Path = SERVICE_ACCOUNT,
        monotonic: Callable[[], float] | None = None,
    ) -> None:
        if settings.kubeconfig is not None:  # relative paths count from the configuration's directory
            settings = settings.model_copy(update={"kubeconfig": Path(base_dir, settings.kubeconfig.expanduser())})
        self._settings = settings
        monotonic = monotonic or SystemClock().monotonic
        pin = Pin(settings, monotonic)
        self._transport = Transport(settings, confirm=pin, service_account=service_account, monotonic=monotonic)
        self._deadline = float("inf")
        # The API server's clock at its last answer; None before the first, and where something in between takes it away.
        self.server_time: datetime | None = None

    def within(self, seconds: float) -> Cluster:
        """The same cluster, its calls ending together no later than ``seconds`` from now."""
        bounded = object.__new__(Cluster)
        bounded._settings, bounded._transport = self._settings, self._transport
        bounded._deadline = min(self._deadline, self._transport.monotonic() + seconds)
        bounded.server_time = None
        return bounded

    @property
    def namespace(self) -> str | None:
        """Our own namespace: the service account's, or the one that the kubeconfig's context names."""
        return self._transport.namespace

    def own_token(self) -> tuple[str, str]:
        """Where our token comes from, and the token; "" where it is none. Raises OutsideError."""
        place = "service account" if self._transport.in_cluster else "kubeconfig"
        return place, self._transport.identity().get("authorization", "").removeprefix("Bearer ")

    def close(self) -> None:
        """End the connections. Never fails."""
        self._transport.close()

    # --- objects ------------------------------------------------------------------------------------------------

    def get(self, kind: str, namespace: str, name: str) -> JsonMap | None:
        """The object as it is now (never from a cache); None where there is none."""
        call = Call("get", KINDS[kind], namespace, name)
        answer = self._ask("GET", call, allow=lambda answer: _is_missing(answer, call))
        return None if answer.status == 404 else _object(answer, call)

    def create(
        self, kind: str, namespace: str, body: JsonMap, *, manager: str = FIELD_MANAGER, dry_run: bool = False
    ) -> JsonMap:
        """Conflict where one of that name exists."""
        call = Call("create", KINDS[kind], namespace, body["metadata"].get("name", ""))
        query = {"fieldManager": manager, **_dry(dry_run)}
        return _object(self._ask("POST", call, _typed(call, body), query=query), call)

    def apply(
        self,
        kind: str,
        namespace: str,
        name: str,
        body: JsonMap,
        *,
        manager: str,
        force: bool = False,
        dry_run: bool = False,
    ) -> JsonMap:
        """Server-side apply. With ``metadata.uid`` and ``resourceVersion`` in the body it is a compare-and-set: Conflict
        where the object is another one or gone."""
        call = Call("patch", KINDS[kind], namespace, name)
        query = {"fieldManager": manager, "force": "true" if force else "false", **_dry(dry_run)}
        return _object(self._ask("PATCH", call, _typed(call, body), query=query, content_type=_APPLY), call)

    def patch(
        self,
        kind: str,
        namespace: str,
        name: str,
        body: Any,
        *,
        type: Literal["merge", "json", "strategic"],
        manager: str = FIELD_MANAGER,
        dry_run: bool = False,
    ) -> JsonMap:
        """With ``metadata.uid`` and ``resourceVersion`` in a merge patch it is a compare-and-set too."""
        call = Call("patch", KINDS[kind], namespace, name)
        query = {"fieldManager": manager, **_dry(dry_run)}
        return _object(self._ask("PATCH", call, body, query=query, content_type=_PATCHES[type]), call)

    def delete(self, kind: str, namespace: str, name: str, *, uid: str | None = None) -> None:
        """What is gone is done; so is what has another uid by now: it is not the one that was meant."""
        call = Call("delete", KINDS[kind], namespace, name)
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}} if uid else None

        def gone(answer: Answer) -> bool:
            other = uid is not None and re.search("UID in (the )?precondition", answer.why)
            return bool(answer.status == 409 and other) or _is_missing(answer, call)

        said = _json(self._ask("DELETE", call, body, allow=gone), call)
        if said.get("kind") not in ("Status", call.kind.name):
            raise _nonsense(call)

    def list(self, kind: str, namespace: str, *, labels: str = "") -> list[JsonMap]:
        """All objects that ``labels`` selects, page by page under one version; complete or an error."""
        call = Call("list", KINDS[kind], namespace)
        found: list[JsonMap] = []
        token = ""
        for _ in range(_MOST_PAGES):
            query = {
                "limit": str(_PAGE),
                **({"labelSelector": labels} if labels else {}),
                **({"continue": token} if token else {}),
            }
            body = _json(self._ask("GET", call, query=query), call)
            items, metadata = body.get("items") or [], body.get("metadata")
            if body.get("kind") != f"{call.kind.name}List" or not isinstance(metadata, dict) or not isinstance(items, list):
                raise _nonsense(call)
            found += items
            token = metadata.get("continue") or ""
            if not token:
                return found
        raise Retryable(f"cannot {call}: the list has no end")

    # --- identities ---------------------------------------------------------------------------------------------

    def request_token(self, namespace: str, service_account: str, spec: JsonMap) -> JsonMap:
        """The status of a TokenRequest: ``token`` and ``expirationTimestamp``."""
        call = Call("create", _TOKEN_REQUEST, namespace, service_account, "token")
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            return _status(_json(self._ask("POST", call, request), call), call)
        except NotFound as error:
            if f'serviceaccounts "{service_account}" not found' not in str(error):
                raise
            raise NotFound(f"{error}: create it, or correct `service_account` and `namespace`") from None

    def review_token(self, token: str, audiences: Sequence[str] = ()) -> JsonMap:
        """The status of a TokenReview: ``authenticated``, ``user``, ``audiences``, ``error``."""
        spec: JsonMap = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
        call = Call("create", _TOKEN_REVIEW, "")
        return _status(_json(self._ask("POST", call, _typed(call, {"spec": spec})), call), call)

    def review_access(self, attributes: JsonMap) -> bool:
        """Whether we may do what ``attributes`` say (``namespace, verb, group, resource, subresource, name``)."""
        call = Call("create", _ACCESS_REVIEW, "")
        answer = self._ask("POST", call, _typed(call, {"spec": {"resourceAttributes": attributes}}))
        return _status(_json(answer, call), call).get("allowed") is True

    # --- ours ---------------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        call: Call,
        body: Any = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = _JSON,
        allow: Callable[[Answer], bool] = lambda _: False,
    ) -> Answer:
        """One request. ``allow`` says which refusals are answers."""
        path = call.path + (f"?{urlencode(query)}" if query else "")
        deadline = min(self._deadline, self._transport.monotonic() + self._settings.timeout)
        answer = self._transport.exchange(Request(method, path, body, content_type), deadline)
        self.server_time = answer.at
        if answer.status in (200, 201, 202) or allow(answer):
            return answer
        if answer.status == 422 and "metadata.uid" in answer.why and "immutable" in answer.why:
            raise Conflict(f"cannot {call}: it is another object of the same name by now")
        raise refusal(answer, call, body, self._transport.address)


def _json(answer: Answer, call: Call) -> JsonMap:
    if answer.body is None:
        raise _nonsense(call)
    return answer.body


def _object(answer: Answer, call: Call) -> JsonMap:
    """The object that was asked for, and no other."""
    body = _json(answer, call)
    metadata = body.get("metadata")
    if not isinstance(metadata, dict) or (body.get("kind"), metadata.get("namespace")) != (call.kind.name, call.namespace):
        raise _nonsense(call)
    if (call.name and metadata.get("name") != call.name) or not metadata.get("uid"):
        raise _nonsense(call)
    return body


def _status(body: JsonMap, call: Call) -> JsonMap:
    status = body.get("status")
    if body.get("kind") != call.kind.name or not isinstance(status, dict):
        raise _nonsense(call)
    return status


def _nonsense(call: Call) -> Retryable:
    return Retryable(f"cannot {call}: what answered is not an API server's answer to that")


def _is_missing(answer: Answer, call: Call) -> bool:
    """An API server's word that this very object does not exist. Not: a proxy's 404, an unknown API, a missing namespace."""
    if answer.status != 404 or not answer.is_status or (answer.body or {}).get("reason") != "NotFound" or not call.name:
        return False
    return (answer.details.get("name"), answer.details.get("kind")) == (call.name, call.kind.resource)


def _typed(call: Call, body: JsonMap) -> JsonMap:
    return {"apiVersion": call.kind.api_version, "kind": call.kind.name, **body}


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


__all__ = ["FIELD_MANAGER", "KINDS", "Cluster", "ClusterSettings"]
