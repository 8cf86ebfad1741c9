"""Tiny plugins for the tests of the registry and the configuration."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from rotatord.model import Destination, JsonMap
from rotatord.ports import Factory, Published, Surroundings, Traits


class Settings(BaseModel):
    """Settings of the fake issuer."""

    model_config = ConfigDict(extra="forbid")

    address: str = "https://issuer"
    token: dict[str, str] | None = None
    strategy: str = "overlapping"
    expiry: bool = True
    labels: bool = True


class FakeIssuer:
    """Knows the permissions read and write, and no parameters but role."""

    timeout = 1.0

    def __init__(self, settings: JsonMap, surroundings: Surroundings) -> None:
        self.settings = Settings.model_validate(settings)
        self.surroundings = surroundings
        self.closed = 0
        self.traits = Traits(
            fields=("user", "password") if self.settings.strategy == "alternating" else ("token",),
            strategy=self.settings.strategy,
            expiry=self.settings.expiry,
            labels=self.settings.labels,
        )

    def check(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        return [f"unknown permission {name!r}" for name in scope.get("permissions", ()) if name not in {"read", "write"}]

    def token(self) -> str:
        return self.surroundings.secret(self.settings.token or {})

    def close(self) -> None:
        self.closed += 1


class FakeBackend:
    """Refuses relative paths."""

    timeout = 1.0

    def __init__(self, settings: JsonMap, surroundings: Surroundings) -> None:
        self.documents: dict[tuple[str, str], str] = dict(settings.get("documents", {}))
        self.per_key = settings.get("per_key", False)

    def check(self, destination: Destination) -> Sequence[str]:
        return [] if str(destination.address.get("path", "")).startswith("/") else ["path should be absolute"]

    def resolve(self, path: str, key: str) -> str:
        return f"value of {path} {key}"


class Recovering(FakeBackend):
    """Can give every field back, whatever the keys."""

    recovers = True


class FakeConsumer:
    """Gives evidence when told to."""

    timeout = 1.0

    def __init__(self, settings: JsonMap, surroundings: Surroundings) -> None:
        unknown = set(settings) - {"evidence", "refresh_within", "number"}
        if unknown:
            raise ValueError(f"unknown key {min(unknown)!r}")
        self.evidence = settings.get("evidence", "polling" if "refresh_within" in settings else "none")


class FakeRollout(FakeConsumer):
    """Tells its own health."""

    def check(self, published: Published) -> tuple[str, str]:
        return ("healthy", "all pods are new")


class FakeHealth:
    """A check with one setting."""

    timeout = 1.0

    def __init__(self, settings: JsonMap, surroundings: Surroundings) -> None:
        if set(settings) != {"url"}:
            raise ValueError("needs exactly a url")


def missing_module() -> Factory:
    raise ModuleNotFoundError("No module named 'hvac'", name="hvac")


GROUPS: dict[str, dict[str, Any]] = {
    "rotatord.issuers": {"fake": lambda: FakeIssuer, "vault_token": missing_module},
    "rotatord.backends": {"fake": lambda: FakeBackend, "recovering": lambda: Recovering, "vault": lambda: FakeBackend},
    "rotatord.consumers": {"fake": lambda: FakeConsumer, "observe": lambda: FakeConsumer, "rollout": lambda: FakeRollout},
    "rotatord.health": {"http": lambda: FakeHealth},
}


def find(group: str) -> Mapping[str, Callable[[], Factory]]:
    """The fake plugins in place of installed ones."""
    return GROUPS[group]
