"""``rotatord check``: preflight of declared credentials against the live systems. Reads only; says what it cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

from rotatord.api.service import Finding
from rotatord.errors import OutsideError, Retryable
from rotatord.model import Destination, Slot, Spec
from rotatord.ports import Backend, BackendPreflight, Consumer, Plugins, Preflight, Published

_EPOCH = datetime.fromtimestamp(0, UTC)


def check(specs: Sequence[Spec], plugins: Plugins) -> list[Finding]:
    """One finding per issuer, destination, consumer and health check of each credential."""
    return [finding for spec in specs for finding in _of(spec, plugins)]


def _of(spec: Spec, plugins: Plugins) -> Iterator[Finding]:
    yield _look(f"{spec.name}: issuer {spec.issuer}", lambda: _issuer(spec, plugins))
    for destination in spec.destinations:
        backend = plugins.backend(destination.backend)
        yield _look(f"{spec.name}: destination {destination.id}", partial(_place, backend, destination))
    for consumer in spec.consumers:
        published = Published(credential=spec.name, label="", rotation="", token="look", at=_EPOCH)  # noqa: S106
        plugin = plugins.consumer(consumer)
        if plugin.evidence not in {"none", "polling"}:
            yield _look(
                f"{spec.name}: consumer {consumer.name}",
                partial(_instances, plugin, published),
            )
        for name, health in plugins.health(consumer):
            state, detail = health.check(published)
            ok = {"healthy": True, "unhealthy": False}.get(state)
            yield Finding(subject=f"{spec.name}: health {consumer.name}/{name}", ok=ok, detail=detail)


def _place(backend: Backend, destination: Destination) -> Sequence[str]:
    backend.read(destination, Slot.CURRENT)
    return list(backend.preflight(destination)) if isinstance(backend, BackendPreflight) else []


def _instances(consumer: Consumer, published: Published) -> Sequence[str]:
    return [] if consumer.instances(published) else ["no instance runs"]


def _issuer(spec: Spec, plugins: Plugins) -> Sequence[str]:
    issuer = plugins.issuer(spec.issuer)
    problems = list(issuer.check(spec.scope, spec.parameters))
    if isinstance(issuer, Preflight):
        problems += issuer.preflight(spec.scope, spec.parameters)
    return problems


def _look(subject: str, look: Callable[[], Sequence[str]]) -> Finding:
    try:
        problems = look()
    except Retryable as error:
        return Finding(subject=subject, ok=None, detail=f"cannot tell: {error}")
    except OutsideError as error:
        return Finding(subject=subject, ok=False, detail=str(error))
    return Finding(subject=subject, ok=not problems, detail="; ".join(problems) or "fine")
