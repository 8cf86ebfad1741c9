"""preflight: everything that can be known to be wrong before anything is touched. Reads only."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

from rotatord.model import Reason, Record, Slot
from rotatord.ops import Call, Context, Failed, Op, Stop, Wait, ask, open_rotation, read, soon, tell
from rotatord.ops import with_rotation as changed
from rotatord.ports import BackendPreflight, ConsumerPreflight, Idles, Issuer, Preflight, Published
from rotatord.steps.copies import lagging
from rotatord.steps.inspect import behind
from rotatord.steps.slots import Kind, find_fields, kind

DRIFT_WAIT_SECONDS = 60.0
CAP_WAIT_SECONDS = 10.0
CONSUMER_WAIT_SECONDS = 15.0
UNTIL_IT_RUNS = "nothing is made until it runs (scale it up, or let the policy say `idle: pass`)"


def preflight(ctx: Context, record: Record, issuer: Issuer) -> Generator[Op, Any, Record | Wait | Failed | Stop]:
    """The record to go on with (whether the base was healthy is noted in it), or why not."""
    rotation = open_rotation(record)
    if (pause := ctx.paused()) is not None and rotation.reason is not Reason.COMPROMISED:
        return Wait(record, soon(ctx, DRIFT_WAIT_SECONDS), pause.why)
    problems: list[str] = []
    if isinstance(issuer, Preflight):
        look = issuer.preflight
        answer = yield from ask(
            rotation.plan.issuer, issuer, "preflight", lambda: look(rotation.plan.scope, rotation.plan.parameters)
        )
        problems.extend(answer)
    stopped = yield from _destinations(ctx, record, issuer, problems)
    if stopped is not None:
        return stopped
    if full := _cap_reached(record, issuer):  # first: what we owe there may be what the issuer complains of
        return Wait(record, soon(ctx, CAP_WAIT_SECONDS), full)
    if problems:
        return Failed(record, "preflight: " + "; ".join(problems))
    if rotation.reason is not Reason.COMPROMISED and (why := (yield from _consumers(ctx, record))):
        return Wait(record, soon(ctx, CONSUMER_WAIT_SECONDS), why)
    if rotation.base is not None and rotation.base_healthy is None:
        healthy = yield from _base_healthy(ctx, record)
        record = changed(record, base_healthy=healthy)
    return record


def _destinations(ctx: Context, record: Record, issuer: Issuer, problems: list[str]) -> Generator[Op, Any, Wait | Stop | None]:
    plan = open_rotation(record).plan
    for number, destination in enumerate(plan.destinations):
        backend = ctx.plugins.backend(destination.backend)
        if isinstance(backend, BackendPreflight):
            look = partial(backend.preflight, destination, home=number == 0)
            answer = yield Call("backend.preflight", look, backend.timeout)
            problems.extend(answer)
        held = yield from read(backend, destination, Slot.CURRENT)
        seen = kind(ctx, record, held, issuer.traits.fields)
        if seen is Kind.NEWER:
            return behind(ctx, record, destination.id)
        if seen is Kind.OTHER:
            problems.append(f"{destination.id} belongs to another installation")
        if seen is Kind.FOREIGN and plan.policy.on_drift == "hold" and not open_rotation(record).overwrites:
            why = f"{destination.id} was changed by somebody else: `repair` writes ours back, `adopt` takes over theirs"
            return Wait(record, soon(ctx, DRIFT_WAIT_SECONDS), why)
    return None


def _consumers(ctx: Context, record: Record) -> Generator[Op, Any, str]:
    """Why no rotation could be proven at the consumers as they are now; "" when one could. What copies for them is asked
    for the base: what does not even hold that will not bring the new version either."""
    rotation = open_rotation(record)
    problems: list[str] = []
    for consumer in rotation.plan.consumers:
        plugin = ctx.plugins.consumer(consumer)
        if isinstance(plugin, ConsumerPreflight):
            answer = yield from tell(plugin, "consumer.preflight", plugin.preflight, name=consumer.name)
            problems.extend(f"consumer {consumer.name}: {sentence}" for sentence in answer)
        if rotation.plan.policy.idle == "hold" and isinstance(plugin, Idles):
            why = yield from tell(plugin, "consumer.idle", plugin.idle, name=consumer.name)
            problems.extend([f"consumer {consumer.name}: {why}; {UNTIL_IT_RUNS}"] if why else [])
    # A base that no slot holds any more can be compared with nothing, and nothing but a mint brings a value back.
    if rotation.base is not None and (yield from find_fields(ctx, rotation.plan, rotation.base)) is not None:
        late = yield from lagging(ctx, record, rotation.plan.consumers, rotation.base)
        problems.extend(
            f"the copy {name} does not hold the current version: whatever fills it is late or stopped"
            for name, is_late in late.items()
            if is_late
        )
    return "; ".join(problems)


def _cap_reached(record: Record, issuer: Issuer) -> str:
    """At an issuer that allows only so many versions, mint waits until the ledger has paid."""
    cap = issuer.traits.max_live or (2 if issuer.traits.strategy == "alternating" else None)
    if cap is None or issuer.traits.strategy == "in_place":
        return ""
    name = open_rotation(record).plan.issuer
    owed = sum(len(debt.owed) for debt in record.ledger if debt.issuer == name)
    unsettled = sum(1 for debt in record.ledger if debt.issuer == name and debt.sweep_until and not debt.owed)
    live = owed + unsettled + (1 if record.current is not None and record.current.issuer == name else 0)
    if live < cap:
        return ""
    return f"{live} of {cap} versions live at the issuer; waiting until the owed ones are proven dead"


def _base_healthy(ctx: Context, record: Record) -> Generator[Op, Any, bool | None]:
    """Whether every check is healthy before we touch anything: a base that was unhealthy is not asked to be healthier."""
    rotation = open_rotation(record)
    assert rotation.base is not None
    published = Published(
        credential=record.name, label=rotation.base.label, rotation=rotation.id, token=f"{rotation.id}.look", at=ctx.now()
    )
    states: list[str] = []
    for consumer in rotation.plan.consumers:
        for _, health in ctx.plugins.health(consumer):
            state, _ = yield from tell(health, "health.check", partial(health.check, published))
            states.append(state)
    if "unhealthy" in states:
        return False
    return True if states and all(state == "healthy" for state in states) else None
