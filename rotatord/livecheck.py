"""``rotatord check`` and ``rotatord plan NAME``: preflight of declared credentials against the live systems, and what would be
sent to make the next version. Reads only; says what it cannot tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

from rotatord.api.service import Finding
from rotatord.errors import OutsideError, Retryable
from rotatord.model import ConsumerSpec, Destination, JsonMap, Record, Slot, Spec
from rotatord.own import spelled
from rotatord.own_life import Own, used_by
from rotatord.ports import (
    BackendPreflight,
    ConsumerPreflight,
    Health,
    Idles,
    MintRequest,
    Plugins,
    Preflight,
    Preview,
    Published,
    Remarks,
    Surveys,
)
from rotatord.steps.preflight import UNTIL_IT_RUNS

_EPOCH = datetime.fromtimestamp(0, UTC)


def check(specs: Iterable[Spec], plugins: Plugins, own: Sequence[Own] = ()) -> list[Finding]:
    """One finding per issuer, destination, consumer and health check of each credential. First what we ourselves speak to
    these issuers and backends with, then the credentials of which that is made."""
    ordered = sorted(specs, key=lambda spec: not spec.own_of)
    used = set[str]().union(*map(used_by, ordered))
    ours = [_ours(each) for each in own if each.of in used]
    return [*ours, *_surveys(ordered, plugins), *(finding for spec in ordered for finding in _of(spec, plugins))]


def _ours(own: Own) -> Finding:
    """What can never be told is said, and is no failure to look."""
    subject = f"own credential of {spelled(own.of)} ({own.life.place})"
    return Finding(subject=subject, ok=None if own.failed else not (own.ended or own.life.danger), detail=own.words)


def preview(record: Record, plugins: Plugins, installation: str) -> JsonMap:
    """What a mint of the next version would send: under ``request``, or why that cannot be shown, under ``cannot_show``. The
    rotation, which has no id yet, is called ROTATION."""
    spec = record.spec
    shown: JsonMap = {"issuer": spec.issuer}
    try:
        issuer = plugins.issuer(spec.issuer)
        if not isinstance(issuer, Preview):
            return shown | {"cannot_show": f"issuer {spec.issuer} does not tell what it would send"}
        request = MintRequest(
            installation=installation,
            credential=record.name,
            rotation="ROTATION",
            generation=record.generation + 1,
            scope=spec.scope,
            parameters=spec.parameters,
            ttl=spec.policy.ttl,
            owner=spec.owner,
            purpose=spec.purpose,
        )
        return shown | {"request": issuer.preview(request)}
    except OutsideError as error:
        return shown | {"cannot_show": str(error)}


def _surveys(specs: Sequence[Spec], plugins: Plugins) -> Iterator[Finding]:
    """Who else may act at the issuers of these: said once for each of them."""
    for name in dict.fromkeys(spec.issuer for spec in specs):
        with suppress(OutsideError):  # who cannot be made has a finding of its own
            issuer = plugins.issuer(name)
            if isinstance(issuer, Surveys):
                yield from _surveyed(f"others at issuer {name}", issuer)


def _surveyed(subject: str, issuer: Surveys) -> Iterator[Finding]:
    try:
        yield from (Finding(subject=subject, ok=True, detail=sentence) for sentence in issuer.survey())
    except OutsideError as error:
        yield Finding(subject=subject, ok=None, detail=str(error))


def _of(spec: Spec, plugins: Plugins) -> Iterator[Finding]:
    yield _look(f"{spec.name}: issuer {spec.issuer}", lambda: _issuer(spec, plugins))
    yield from _remarks(spec, plugins)
    for destination in spec.destinations:
        yield _look(
            f"{spec.name}: destination {destination.id}", partial(_place, plugins, destination, home=destination == spec.home)
        )
    published = Published(credential=spec.name, label="", rotation="", token="look", at=_EPOCH)  # noqa: S106
    for consumer in spec.consumers:
        yield from _before(spec, consumer, plugins)
        if _has_instances(consumer, plugins):
            yield _look(f"{spec.name}: consumer {consumer.name}", partial(_instances, plugins, consumer, published))
        yield from _healths(spec, consumer, plugins, published)


def _remarks(spec: Spec, plugins: Plugins) -> Iterator[Finding]:
    """What should be known, and is nothing to be done about; who cannot be asked has a finding of its own already."""
    with suppress(OutsideError):
        issuer = plugins.issuer(spec.issuer)
        if isinstance(issuer, Remarks):
            for sentence in issuer.remarks(spec.scope, spec.parameters):
                yield Finding(subject=f"{spec.name}: note of {spec.issuer}", ok=True, detail=sentence)


def _before(spec: Spec, consumer: ConsumerSpec, plugins: Plugins) -> Iterator[Finding]:
    """Whether a reload could be proven at all, and whether the copies that it reads can be read."""
    try:
        plugin = plugins.consumer(consumer)
    except OutsideError as error:
        yield Finding(subject=f"{spec.name}: consumer {consumer.name}", ok=False, detail=str(error))
        return
    if isinstance(plugin, ConsumerPreflight):
        yield _look(f"{spec.name}: reload of {consumer.name}", plugin.preflight)
    if isinstance(plugin, Idles) and spec.policy.idle == "hold":
        yield _look(f"{spec.name}: whether {consumer.name} is to run", partial(_idle, plugin))
    for copy in consumer.copies:
        yield _look(f"{spec.name}: copy {copy.id}", partial(_copy, plugins, copy))


def _has_instances(consumer: ConsumerSpec, plugins: Plugins) -> bool:
    """Whether it can be asked for its instances; True where it cannot be made, so that the finding says why."""
    try:
        return plugins.consumer(consumer).evidence not in {"none", "polling"}
    except OutsideError:
        return True


def _healths(spec: Spec, consumer: ConsumerSpec, plugins: Plugins, published: Published) -> Iterator[Finding]:
    try:
        checks = plugins.health(consumer)
    except OutsideError as error:
        yield Finding(subject=f"{spec.name}: health {consumer.name}", ok=False, detail=str(error))
        return
    for name, health in checks:
        yield _healthy(f"{spec.name}: health {consumer.name}/{name}", health, published)


def _healthy(subject: str, health: Health, published: Published) -> Finding:
    try:
        state, detail = health.check(published)
    except OutsideError as error:
        return Finding(subject=subject, ok=None, detail=str(error))
    except Exception as error:  # noqa: BLE001  a plugin's bug hides no other finding
        return _bug(subject, error)
    return Finding(subject=subject, ok={"healthy": True, "unhealthy": False}.get(state), detail=detail)


def _copy(plugins: Plugins, copy: Destination) -> Sequence[str]:
    held = plugins.backend(copy.backend).read(copy, Slot.CURRENT)
    return ["nobody has filled it yet"] if held.empty else []


def _place(plugins: Plugins, destination: Destination, *, home: bool) -> Sequence[str]:
    backend = plugins.backend(destination.backend)
    backend.read(destination, Slot.CURRENT)
    return list(backend.preflight(destination, home=home)) if isinstance(backend, BackendPreflight) else []


def _instances(plugins: Plugins, consumer: ConsumerSpec, published: Published) -> Sequence[str]:
    return [] if plugins.consumer(consumer).instances(published) else ["no instance runs"]


def _idle(plugin: Idles) -> Sequence[str]:
    return [f"{why}; {UNTIL_IT_RUNS}"] if (why := plugin.idle()) else []


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
        return Finding(subject=subject, ok=None, detail=str(error))
    except OutsideError as error:
        return Finding(subject=subject, ok=False, detail=str(error))
    except Exception as error:  # noqa: BLE001  a plugin's bug hides no other finding
        return _bug(subject, error)
    return Finding(subject=subject, ok=not problems, detail="; ".join(problems) or "fine")


def _bug(subject: str, error: Exception) -> Finding:
    """Its words are not ours to show: nobody has looked whether they hold a value."""
    return Finding(subject=subject, ok=None, detail=f"{type(error).__name__} in the plugin")
