"""The contract of backends, over Secrets of a real API server, under exactly the rights that the plugin says it needs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from backends.kubernetes import KubernetesBackend
from rotatord.model import Destination
from rotatord.testing.contracts.backend import BackendContract
from rotatord.testing.contracts.backend_setting import Placing
from rotatord.testing.silent import closed_port, silent_server
from tests.servers.kubernetes import ControlPlane
from tests.servers.kubernetes_corner import ACCOUNT, Corner, corner

__all__ = ["corner"]

pytestmark = pytest.mark.kubernetes
QUICK = {"connect_timeout": 0.4, "timeout": 0.4}


@pytest.fixture(scope="module", autouse=True)
def nothing_was_denied(control_plane: ControlPlane) -> Iterator[None]:
    """Of all that these tests do with the rights that the plugin names, the API server refuses nothing."""
    before = len(control_plane.audit())
    yield
    ours = [event for event in control_plane.audit()[before:] if event.user.endswith(f":{ACCOUNT}")]
    assert ours
    assert [event for event in ours if event.code in (401, 403)] == []
    assert {event.verb for event in ours if event.resource == "secrets"} == {"get", "create", "patch"}


class TestKubernetesSecret(BackendContract):
    """The suite."""

    plugin: ClassVar[str] = "kubernetes"

    @pytest.fixture
    def backend(self, corner: Corner) -> KubernetesBackend:
        return corner.backend()

    @pytest.fixture
    def place(self, corner: Corner) -> Placing:
        numbers = iter((1, 2, 3))

        def make(keys: dict[str, str] | None = None, version_key: str | None = None) -> Destination:
            return corner.destination(next(numbers), keys, version_key)

        return make

    @pytest.fixture
    def reopened(self, corner: Corner) -> Callable[[], KubernetesBackend]:
        return corner.backend

    @pytest.fixture
    def raw_bytes(self, corner: Corner) -> Callable[[], bytes]:
        def everything() -> bytes:
            items = corner.plane.admin.must("GET", corner.secrets)["items"]
            return json.dumps(items).encode() + b"".join(
                base64.b64decode(value) for item in items for value in (item.get("data") or {}).values()
            )

        return everything

    @pytest.fixture
    def reader(self, corner: Corner) -> Callable[[Destination], dict[str, str]]:
        return lambda destination: corner.values(destination.address["name"])

    @pytest.fixture
    def tamper(self, corner: Corner) -> Callable[[Destination], None]:
        return lambda destination: corner.edit(destination.address["name"], {"TOKEN": "by hand"})

    @pytest.fixture
    def plant(self, corner: Corner) -> Callable[[Destination], None]:
        def sow(destination: Destination) -> None:
            corner.sow(destination.address["name"], {"TOKEN": "somebody else's"})

        return sow

    @pytest.fixture
    def denied(self, corner: Corner) -> KubernetesBackend:
        return corner.backend(corner.grant("nobody", []))

    @pytest.fixture
    def unreachable(self, corner: Corner, tmp_path: Path) -> Iterator[KubernetesBackend]:
        with closed_port() as port:
            yield corner.backend(elsewhere(corner, tmp_path, port), **QUICK)

    @pytest.fixture
    def hanging(self, corner: Corner, tmp_path: Path) -> Iterator[KubernetesBackend]:
        with silent_server() as port:
            yield corner.backend(elsewhere(corner, tmp_path, port), **QUICK)


def elsewhere(corner: Corner, directory: Path, port: int) -> Path:
    """Our kubeconfig with another address."""
    assert corner.kubeconfig is not None
    file = directory / f"elsewhere-{port}"
    file.write_text(corner.kubeconfig.read_text().replace(corner.plane.address, f"https://127.0.0.1:{port}"))
    return file
