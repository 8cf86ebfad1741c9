"""The gate: a list of named checks, each returning evidence. Verify and authorise pass on evidence only.

A gate is composed, so that tests can build the engine with one check left out and show that something then breaks;
nothing in configuration, environment or a release can leave one out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from rotatord.clock import elapsed
from rotatord.durations import spell
from rotatord.errors import NotFound
from rotatord.model import ConsumerSpec, Evidence, JsonMap, Reason, Record, Rotation, Slot, Verdict, Version, Way
from rotatord.moves import mint_kills_base
from rotatord.ops import Context, Op, ask, holds, open_rotation, parameters_of, passed, read, tell
from rotatord.ports import Idles, Instance, LastUsed, Published
from rotatord.steps.copies import lagging
from rotatord.steps.publish import last_written
from rotatord.steps.reload import describe, fact_of, seen_of
from rotatord.steps.slots import kind

Found = Generator[Op, Any, list[Evidence]]
CheckFunction = Callable[[Context, Record], Found]


@dataclass(frozen=True, slots=True)
class Check:
    """One named question."""

    name: str
    ask: CheckFunction


@dataclass(frozen=True, slots=True)
class Gate:
    """The checks of verify, and the further ones of authorise."""

    verify: tuple[Check, ...]
    authorise: tuple[Check, ...]

    def without(self, name: str) -> Gate:
        """For tests: the same gate with one check left out."""
        verify = tuple(check for check in self.verify if check.name != name)
        authorise = tuple(check for check in self.authorise if check.name != name)
        assert (verify, authorise) != (self.verify, self.authorise), f"no check {name!r}"
        return Gate(verify, authorise)


def evaluate(ctx: Context, record: Record, checks: tuple[Check, ...]) -> Found:
    """All evidence of all checks; none is left out because an earlier one did not pass, so that `why` shows everything."""
    evidence: list[Evidence] = []
    for check in checks:
        evidence.extend((yield from check.ask(ctx, record)))
    return evidence


def verdict(evidence: list[Evidence]) -> Verdict:
    """The worst of all. No evidence at all is not a pass."""
    verdicts = {item.verdict for item in evidence}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.PASS if verdicts == {Verdict.PASS} else Verdict.WAIT


def _subject(record: Record) -> tuple[Rotation, Version]:
    rotation = open_rotation(record)
    assert rotation.subject is not None
    return rotation, rotation.subject


def _evidence(ctx: Context, check: str, subject: str, result: Verdict, detail: str, facts: JsonMap | None = None) -> Evidence:
    return Evidence(check=check, subject=subject, verdict=result, detail=detail, at=ctx.now(), facts=facts or {})


def destinations_hold(ctx: Context, record: Record) -> Found:
    """Every destination of the waves so far still holds the subject."""
    rotation, subject = _subject(record)
    waves = rotation.plan.waves[: rotation.wave + 1]
    names = ctx.plugins.issuer(subject.issuer).traits.fields
    found: list[Evidence] = []
    for destination in rotation.plan.destinations:
        if destination.wave not in waves:
            continue
        held = yield from read(ctx.plugins.backend(destination.backend), destination, Slot.CURRENT)
        good = holds(ctx, held, subject, names)
        seen = "" if good else kind(ctx, record, held, names).value
        detail = f"holds {subject.label}" if good else f"does not hold {subject.label} any more: {seen}"
        found.append(
            _evidence(ctx, "destinations_hold", destination.id, Verdict.PASS if good else Verdict.WAIT, detail, {"holds": seen})
        )
    return found


def _consumers(record: Record) -> list[ConsumerSpec]:
    rotation = open_rotation(record)
    waves = rotation.plan.waves[: rotation.wave + 1]
    return [consumer for consumer in rotation.plan.consumers if consumer.wave in waves]


def copies_hold(ctx: Context, record: Record) -> Found:
    """Every place that somebody else fills from a destination, and that a consumer reads, still holds the subject."""
    _, subject = _subject(record)
    facts = {consumer.name: fact_of(record, consumer) for consumer in _consumers(record)}
    skipped = {name for name, fact in facts.items() if fact is not None and fact.skipped}
    late = yield from lagging(ctx, record, [each for each in _consumers(record) if each.name not in skipped], subject)
    found: list[Evidence] = []
    for name, is_late in late.items():
        detail = f"does not hold {subject.label}: whatever fills it is late or stopped" if is_late else f"holds {subject.label}"
        found.append(_evidence(ctx, "copies_hold", f"copy {name}", Verdict.WAIT if is_late else Verdict.PASS, detail))
    return found


def consumers_proven(ctx: Context, record: Record) -> Found:
    """Every instance of every consumer runs on the subject: it attests it, started after it was published, or polls."""
    rotation, subject = _subject(record)
    found: list[Evidence] = []
    if not rotation.plan.consumers:
        found.append(_unproven(ctx, record, "no consumers are declared", "credential"))
    for consumer in _consumers(record):
        fact = fact_of(record, consumer)
        if fact is not None and fact.skipped:
            detail = f"skipped by a person: {fact.skipped}"
            found.append(_evidence(ctx, "consumers_proven", consumer.name, Verdict.PASS, detail, {"override": True}))
            continue
        plugin = ctx.plugins.consumer(consumer)
        if plugin.evidence == "none":
            found.append(_unproven(ctx, record, "its reload gives no evidence", consumer.name))
            continue
        published: Published = yield from describe(ctx, record, plugin, subject)
        look = partial(plugin.instances, published)
        instances: list[Instance] = list((yield from tell(plugin, "consumer.instances", look, name=consumer.name)))
        if not instances:
            found.append((yield from _nobody(ctx, record, consumer)))
        found.extend(_judge_one(ctx, record, consumer, plugin.evidence, published, each) for each in instances)
    return found


def _unproven(ctx: Context, record: Record, why: str, name: str) -> Evidence:
    """Without evidence only what the policy says passes, after its overlap, and it is recorded as such."""
    rotation = open_rotation(record)
    overlap = rotation.plan.policy.unproven_overlap
    written = last_written(record)
    if overlap is None:
        return _evidence(ctx, "consumers_proven", name, Verdict.WAIT, f"{why}, and the policy has no `unproven`")
    if written is None or not passed(ctx, written.instant, overlap)[0]:
        return _evidence(ctx, "consumers_proven", name, Verdict.WAIT, f"{why}; the policy waits {spell(overlap)} instead")
    return _evidence(
        ctx, "consumers_proven", name, Verdict.PASS, f"unproven: {why}; waited {spell(overlap)}", {"unproven": True}
    )


def _nobody(ctx: Context, record: Record, consumer: ConsumerSpec) -> Generator[Op, Any, Evidence]:
    """None runs, so none runs on another version; whether that is enough the policy says."""
    enough = yield from _enough(ctx, record, consumer)
    detail = f"no instance runs ({enough})" if enough else "no instance runs, and the policy says `idle: hold`: start one"
    return _evidence(ctx, "consumers_proven", consumer.name, Verdict.PASS if enough else Verdict.WAIT, detail)


def _enough(ctx: Context, record: Record, consumer: ConsumerSpec) -> Generator[Op, Any, str]:
    """Why it is enough that nobody runs; "" where it is not. On the way back it is for a consumer that is to run nothing: it
    would keep the rotation from ever coming back, and has left the version that is to be discarded. For a repair likewise."""
    rotation, plugin = open_rotation(record), ctx.plugins.consumer(consumer)
    if rotation.plan.policy.idle == "pass":
        return "idle: pass"
    if rotation.way is not Way.FORWARD and isinstance(plugin, Idles):
        why: str = yield from tell(plugin, "consumer.idle", plugin.idle, name=consumer.name)
        return why
    return ""


def _judge_one(
    ctx: Context, record: Record, consumer: ConsumerSpec, proof: str, published: Published, instance: Instance
) -> Evidence:
    name = f"{consumer.name}/{instance.id}"
    facts: JsonMap = {"version": instance.version, "wanted": published.label, "proof": proof}
    result, detail = Verdict.WAIT, "does not say which version it runs on"
    if instance.refused == published.label:
        result, detail = Verdict.FAIL, f"says that it could not load {published.label}"
    elif instance.version == published.label and not instance.terminating:
        result, detail = Verdict.PASS, f"attests {published.label}"
    elif instance.version is not None:
        detail = f"runs on {instance.version}, not yet on {published.label}"
    elif proof == "rollout":
        before = seen_of(record, consumer)
        if before is not None and instance.id not in before.instances and not instance.terminating:
            result, detail = Verdict.PASS, "started after the destination was read back"
        else:
            detail = "started before the destination was read back and may still hold the old version"
    elif proof == "polling" and consumer.refresh_within is not None:
        written = last_written(record)
        gone = written is not None and passed(ctx, written.instant, consumer.refresh_within)[0]
        result = Verdict.PASS if gone else Verdict.WAIT
        detail = f"reads again within {spell(consumer.refresh_within)}" + (", which has passed (weak)" if gone else "")
    return _evidence(ctx, "consumers_proven", name, result, detail, facts)


def consumers_healthy(ctx: Context, record: Record) -> Found:
    """Every health check is healthy. Unknown is not healthy; a base that was unhealthy before is not asked for more."""
    rotation, subject = _subject(record)
    found: list[Evidence] = []
    for consumer in _consumers(record):
        fact = fact_of(record, consumer)
        if fact is not None and fact.skipped:
            continue
        for name, health in ctx.plugins.health(consumer):
            published = yield from describe(ctx, record, None, subject, seen_of(record, consumer))
            state, detail = yield from tell(health, "health.check", partial(health.check, published))
            if state != "healthy" and (enough := (yield from _scaled_to_zero(ctx, record, consumer, published))):
                idle = f"no instance runs ({enough})"
                found.append(_evidence(ctx, "consumers_healthy", f"{consumer.name}/{name}", Verdict.PASS, idle))
                continue
            found.append(_health_evidence(ctx, rotation, f"{consumer.name}/{name}", state, detail))
    return found


def _scaled_to_zero(ctx: Context, record: Record, consumer: ConsumerSpec, published: Published) -> Generator[Op, Any, str]:
    """Why it is fine that nothing runs that could be healthy; "" where something runs, or it is not."""
    plugin = ctx.plugins.consumer(consumer)
    if plugin.evidence == "none" or not (enough := (yield from _enough(ctx, record, consumer))):
        return ""
    return "" if (yield from tell(plugin, "consumer.instances", partial(plugin.instances, published))) else enough


def _health_evidence(ctx: Context, rotation: Rotation, name: str, state: str, detail: str) -> Evidence:
    if state == "healthy":
        return _evidence(ctx, "consumers_healthy", name, Verdict.PASS, f"healthy: {detail}")
    if rotation.way is not Way.FORWARD and rotation.base_healthy is False:
        return _evidence(ctx, "consumers_healthy", name, Verdict.PASS, f"{state}, as it was before the rotation: {detail}")
    final = state == "unhealthy" and rotation.unhealthy + 1 >= rotation.plan.policy.unhealthy_after
    return _evidence(
        ctx, "consumers_healthy", name, Verdict.FAIL if final else Verdict.WAIT, f"{state}: {detail}", {"state": state}
    )


def overlap_passed(ctx: Context, record: Record) -> Found:
    """Both versions have worked side by side for the policy's overlap, on both clocks."""
    rotation, _ = _subject(record)
    if rotation.base is not None and any(mark.generation == rotation.base.generation for mark in record.leaks):
        return [_evidence(ctx, "overlap_passed", "overlap", Verdict.PASS, "the base is compromised: no overlap")]
        yield  # a generator, like every check
    if rotation.base is None:
        return [_evidence(ctx, "overlap_passed", "overlap", Verdict.PASS, "there is no version to overlap with")]
    overlap = rotation.plan.policy.overlap
    passed = rotation.timer is not None and elapsed(rotation.timer, ctx.instant(), overlap)
    detail = f"the overlap of {spell(overlap)} has " + ("passed" if passed else "not passed")
    return [_evidence(ctx, "overlap_passed", "overlap", Verdict.PASS if passed else Verdict.WAIT, detail)]


def no_hold(ctx: Context, record: Record) -> Found:
    """No person holds this credential, and the installation is not paused. Read live, in the same pass as the pivot."""
    rotation, now = open_rotation(record), ctx.now()
    found: list[Evidence] = []
    for hold in record.holds:
        if hold.until > now:
            detail = f"held by {hold.owner} until {hold.until.isoformat()}: {hold.reason}"
            found.append(_evidence(ctx, "no_hold", hold.owner, Verdict.WAIT, detail))
    urgent = rotation.reason is Reason.COMPROMISED
    pause = ctx.paused()
    if pause is not None and urgent:
        detail = f"compromised: bypassed ({pause.why})"
        found.append(_evidence(ctx, "no_hold", "installation", Verdict.PASS, detail, {"override": True}))
    elif pause is not None:
        found.append(_evidence(ctx, "no_hold", "installation", Verdict.WAIT, pause.why))
    return found or [_evidence(ctx, "no_hold", "holds", Verdict.PASS, "nobody holds it")]
    yield  # a generator, like every check


def base_idle(ctx: Context, record: Record) -> Found:
    """Nobody but us has used the base since the last reload, for longer than the issuer's evidence is late."""
    rotation, _ = _subject(record)
    base, policy = rotation.base, rotation.plan.policy
    if base is None or not base.ref or policy.still_used == "ignore":
        return []
    if mint_kills_base(rotation, ctx.plugins.issuer(rotation.plan.issuer).traits):
        return []
    issuer = ctx.plugins.issuer(base.issuer)
    if not isinstance(issuer, LastUsed):
        return [_evidence(ctx, "base_idle", base.label, Verdict.PASS, "the issuer cannot tell when it was last used")]
    look = issuer.last_used
    parameters = parameters_of(base, rotation.plan)
    try:
        used = yield from ask(base.issuer, issuer, "last_used", lambda: look(base.ref, parameters))
    except NotFound:
        return [_evidence(ctx, "base_idle", base.label, Verdict.PASS, "the issuer does not know it any more")]
    # Only whether the issuer's word changes is asked, never how its clock compares with ours.
    told = used.isoformat() if used is not None else "never"
    facts: JsonMap = {"last_used": told}
    quiet = max(policy.idle_for + issuer.traits.last_used_delay, timedelta(seconds=1))
    unchanged = rotation.base_quiet is not None and told == rotation.base_used
    if unchanged and passed(ctx, rotation.base_quiet, quiet)[0]:
        return [_evidence(ctx, "base_idle", base.label, Verdict.PASS, f"not used by others for {spell(quiet)}", facts)]
    verified_long = rotation.timer is not None and passed(ctx, rotation.timer, policy.still_used_limit)[0]
    if policy.still_used == "revoke_after" and verified_long:
        detail = f"still used ({told}), but the policy's limit of {spell(policy.still_used_limit)} has passed"
        return [_evidence(ctx, "base_idle", base.label, Verdict.PASS, detail, {**facts, "override": True})]
    detail = f"last used: {told}; it must not be used for {spell(quiet)}"
    return [_evidence(ctx, "base_idle", base.label, Verdict.WAIT, detail, facts)]


VERIFY = (
    Check("destinations_hold", destinations_hold),
    Check("copies_hold", copies_hold),
    Check("consumers_proven", consumers_proven),
    Check("consumers_healthy", consumers_healthy),
)
AUTHORISE = (
    *VERIFY,
    Check("overlap_passed", overlap_passed),
    Check("base_idle", base_idle),
    Check("no_hold", no_hold),
)
GATE = Gate(VERIFY, AUTHORISE)
