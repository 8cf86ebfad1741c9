"""Our own token at an API server, as every plugin for Kubernetes shows it. Nothing of ours replaces it: the kubelet does, or
whoever writes the kubeconfig."""

from __future__ import annotations

from collections.abc import Sequence

from rotatord.jwt_life import life_of
from rotatord.kubernetes_client import Cluster
from rotatord.ports import Life


class OwnCluster:
    """The power TellsOwnLife."""

    _cluster: Cluster

    def own_life(self) -> Sequence[Life]:
        place, token = self._cluster.own_token()
        if token:
            return [life_of(place, token)]
        return [Life(place=place, unknown="it is no token: when a client certificate ends is not looked at")]
