"""A namespace of one test and rotatord's backend in it, under exactly the rights that it says it needs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backends.kubernetes import KubernetesBackend, create
from rotatord.model import Destination
from rotatord.ports import Surroundings
from rotatord.rights import KubernetesRight
from tests.servers.kubernetes import ControlPlane

ACCOUNT = "rotatord"


def rules(rights: Iterable[KubernetesRight]) -> list[dict[str, Any]]:
    """Rights as the rules of a Role."""
    return [
        {
            "apiGroups": [right.group],
            "resources": [right.resource],
            "verbs": list(right.verbs),
            **({"resourceNames": list(right.names)} if right.names else {}),
        }
        for right in rights
    ]


@dataclass
class Corner:
    """A namespace of one test, where we have the rights on three destinations."""

    plane: ControlPlane
    namespace: str
    surroundings: Surroundings
    opened: list[KubernetesBackend] = field(default_factory=list)
    kubeconfig: Path | None = None

    @property
    def secrets(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/secrets"

    def destination(self, number: int = 1, keys: dict[str, str] | None = None, version_key: str | None = None) -> Destination:
        address = {"namespace": self.namespace, "name": f"app-{number}"}
        return Destination(backend="cluster", address=address, keys=keys or {"TOKEN": "token"}, version_key=version_key)

    def backend(self, kubeconfig: Path | None = None, **settings: Any) -> KubernetesBackend:
        made = create({"kubeconfig": str(kubeconfig or self.kubeconfig), **settings}, self.surroundings)
        self.opened.append(made)
        return made

    def grant(self, account: str, rights: Sequence[KubernetesRight]) -> Path:
        return self.plane.grant(self.namespace, account, rules(rights))

    def values(self, name: str) -> dict[str, str]:
        _, body = self.plane.admin.get(f"{self.secrets}/{name}")
        return {key: base64.b64decode(value).decode() for key, value in (body.get("data") or {}).items()}

    def edit(self, name: str, values: dict[str, str | None], manager: str = "kubectl-edit") -> None:
        data = {key: None if value is None else base64.b64encode(value.encode()).decode() for key, value in values.items()}
        status, answer = self.plane.admin.patch(f"{self.secrets}/{name}", {"data": data}, fieldManager=manager)
        assert status == 200, answer

    def sow(self, name: str, values: dict[str, str], **more: Any) -> dict[str, Any]:
        """A Secret of somebody else's."""
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        return self.plane.admin.must(
            "POST", f"{self.secrets}?fieldManager=helm", {"metadata": {"name": name}, "data": data, **more}
        )


@pytest.fixture
def corner(control_plane: ControlPlane, namespace: str, surroundings: Callable[..., Surroundings]) -> Iterator[Corner]:
    made = Corner(control_plane, namespace, surroundings())
    told = made.backend(Path("nobody"))
    rights = [right for number in (1, 2, 3) for right in told.rights(made.destination(number), home=True)]
    made.kubeconfig = made.grant(ACCOUNT, rights)
    yield made
    for backend in made.opened:
        backend.close()
