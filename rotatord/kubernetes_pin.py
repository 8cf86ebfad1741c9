"""The cluster that is meant, by the uid of its namespace ``kube-system``: it lives as long as the cluster; no other has it.

Kubernetes has no name for a cluster itself; this is what stands for one elsewhere, too. It is asked as ourselves, since API
servers answer nobody else: an API server that is another has then seen our token, and nothing more of ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rotatord.errors import Retryable
from rotatord.kubernetes_answers import refusal
from rotatord.kubernetes_transport import Answer, ClusterSettings, Loaded, Request
from rotatord.rights import KubernetesRight

CONFIRMED_SECONDS = 60.0  # so long a cluster that proved to be the one that is meant is believed to be it
_NAMESPACE = "kube-system"
_QUESTION = Request("GET", f"/api/v1/namespaces/{_NAMESPACE}")
SHOWN_BY = f"kubectl get namespace {_NAMESPACE} -o jsonpath='{{.metadata.uid}}'"


@dataclass(frozen=True, slots=True)
class _Look:
    """The question, as its refusals name it."""

    verb: str = "get"
    resource: str = "namespaces"
    namespace: str = ""
    name: str = _NAMESPACE

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.name}, which tells whether this is the cluster that cluster_uid means"


class Pin:
    """Whether a connection leads where ``cluster_uid`` says. Thread-safe; asks nothing where that is not set."""

    def __init__(self, settings: ClusterSettings, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._monotonic = monotonic
        self._confirmed: tuple[Loaded | None, float] = (None, -math.inf)

    def __call__(self, loaded: Loaded, send: Callable[[Request], Answer], read_anew: Callable[[], None]) -> Answer | None:
        """None where nothing speaks against asking; an answer, where our identity is not known (any more). Whatever was read
        of a configuration is confirmed for itself. Raises Retryable, or Denied without the right to look."""
        wanted = self._settings.cluster_uid
        confirmed, until = self._confirmed
        if wanted is None or (confirmed is loaded and self._monotonic() < until):
            return None
        answer = send(_QUESTION)
        if answer.status == 401:
            return answer
        if answer.status not in (200, 404):
            raise refusal(answer, _Look())
        found = _uid(answer)
        if found != wanted:
            said = f"is of cluster {found}" if found else "does not say of which cluster it is"
            way = f"the API server at {loaded.address} ({_way(self._settings)})"
            read_anew()  # what is put right in a kubeconfig counts at once
            raise Retryable(
                f"{way} {said}; cluster_uid says {wanted}: nothing is asked of it. See where that leads, or correct "
                f"cluster_uid if the cluster was made anew: {SHOWN_BY}"
            )
        self._confirmed = (loaded, self._monotonic() + CONFIRMED_SECONDS)
        return None


def pin_rights(settings: ClusterSettings) -> list[KubernetesRight]:
    """What looking takes, where it is looked. Beside the rights that a plugin's look ahead goes through: without this one it
    does not get that far."""
    if settings.cluster_uid is None:
        return []
    return [KubernetesRight("", "", "namespaces", ("get",), (_NAMESPACE,), why="see that it is the cluster that is meant")]


def _uid(answer: Answer) -> str:
    """Of the namespace; empty where the answer is no API server's about it."""
    body = answer.body or {}
    metadata = body.get("metadata")
    if body.get("kind") != "Namespace" or not isinstance(metadata, dict) or metadata.get("name") != _NAMESPACE:
        return ""
    return str(metadata.get("uid") or "")


def _way(settings: ClusterSettings) -> str:
    """By what we came there, in words of the configuration."""
    told = [f"{key} {value}" for key, value in (("kubeconfig", settings.kubeconfig), ("context", settings.context)) if value]
    return ", ".join(told) or "neither kubeconfig nor context is set"
