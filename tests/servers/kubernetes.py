"""The Kubernetes control plane, real: etcd, API server, controller manager, scheduler, and kwok's nodes and pods."""

from __future__ import annotations

from tests.servers.binaries import GoProgram

_VERSION = "k8s.io/component-base/version"
_STAMP = f"-s -w -X {_VERSION}.gitVersion=v1.36.3 -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36"

KUBERNETES = GoProgram(
    name="kube-apiserver",
    version="1.36.3",
    package="k8s.io/kubernetes/cmd/kube-apiserver",
    build_flags=("-trimpath", "-ldflags", _STAMP),  # without the stamp clients cannot parse the server's version
    takes="about 9 minutes on two cores",
    beside=(
        ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
        ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ),
    module="kubernetes",
)
ETCD = GoProgram(
    name="etcd",
    version="3.6.5",
    package="go.etcd.io/etcd/server/v3",
    build_flags=("-trimpath", "-ldflags", "-s -w"),
    takes="about a minute",
)
KWOK = GoProgram(
    name="kwok",
    version="0.8.0",
    package="sigs.k8s.io/kwok/cmd/kwok",
    build_flags=("-trimpath", "-ldflags", "-s -w"),
    takes="about 3 minutes on two cores",
)
