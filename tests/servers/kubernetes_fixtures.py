"""Fixtures over the real control plane: one a session, a namespace for every test. Mark such tests ``kubernetes``."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.binaries import find_one
from tests.servers.fixtures import need
from tests.servers.helm import HELM, KUBECTL
from tests.servers.kubernetes import ETCD, KUBERNETES, KWOK, ControlPlane
from tests.servers.tool import Tool


def control_plane_binaries() -> dict[str, Path]:
    """The path of every component, or a skip with the remedy."""
    found: dict[str, Path] = {}
    for program in (KUBERNETES, ETCD, KWOK):
        need(program)
        for name in program.names:
            path = find_one(program, name)
            assert path is not None, name
            found[name] = path
    return found


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A cluster for the whole session. Never stop or kill a component of this one."""
    plane = ControlPlane(control_plane_binaries(), tmp_path_factory.mktemp("control-plane"))
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


@pytest.fixture
def own_control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    """A cluster for one test, whose components may be killed, paused and revived."""
    plane = ControlPlane(control_plane_binaries(), tmp_path / "control-plane")
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A namespace for one test in the shared cluster; it goes afterwards, and nobody waits for that."""
    name = control_plane.namespace(f"t{secrets.token_hex(5)}")
    yield name
    control_plane.admin.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def helm(tmp_path: Path) -> Tool:
    """helm, with a home of this test's own; ``helm.to(kubeconfig)`` for one that talks to a cluster."""
    return Tool(need(HELM), tmp_path / "helm-home")


@pytest.fixture
def kubectl(tmp_path: Path) -> Tool:
    """kubectl, likewise."""
    return Tool(need(KUBECTL), tmp_path / "kubectl-home")
