"""renew: prolong periodic versions; contain: stop a leaked one before its replacement exists."""

from __future__ import annotations

from datetime import timedelta

from rotatord.errors import NotFound
from rotatord.model import LeakMark, Record, Spec, Version, Way
from rotatord.ops import Context, Done, Unit, ask, commit, parameters_of
from rotatord.ops import with_rotation as changed
from rotatord.ports import Renew, Suspend
from rotatord.replacing import replace

SHORTEST = timedelta(seconds=5)  # between two renewals, whatever the issuer says


def _spec(record: Record) -> Spec:
    return record.rotation.plan if record.rotation is not None else record.spec


def renew(ctx: Context, record: Record, version: Version) -> Unit:
    """Prolong one version: the current one, or the new one of an open rotation."""
    issuer = ctx.plugins.issuer(version.issuer)
    if not isinstance(issuer, Renew):
        return Done((yield from commit(_with(record, replace(version, renew_at=None)))))
    prolong, parameters = issuer.renew, parameters_of(version, _spec(record))
    expires_at, renew_at = yield from ask(
        version.issuer, issuer, "renew", lambda: prolong(version.ref, parameters), effect=True
    )
    if expires_at is not None and version.expires_at is not None and expires_at <= version.expires_at:
        renew_at = None  # it has reached the end of its life: from here on it is one that expires, and is replaced in time
    elif renew_at is not None:
        renew_at = max(renew_at, ctx.now() + SHORTEST)
    renewed = replace(version, expires_at=expires_at, renew_at=renew_at)
    record = _with(record, renewed)
    return Done((yield from commit(record, ctx.event(record, "renew", "done", renewed))))


def _with(record: Record, version: Version) -> Record:
    """The record with this version wherever it stands."""
    if record.current is not None and record.current.generation == version.generation:
        record = replace(record, current=version)
    rotation = record.rotation
    if rotation is not None:
        if rotation.new is not None and rotation.new.generation == version.generation:
            record = changed(record, new=version)
        if rotation.base is not None and rotation.base.generation == version.generation:
            record = changed(record, base=version)
    return record


def contain(ctx: Context, record: Record, mark: LeakMark) -> Unit:
    """Suspend a leaked version, or revoke it where it cannot be suspended, before anything replaces it: asked for by a
    person or a policy, and recorded as the exception to invariants 1 and 2 that it is."""
    version = _marked(record, mark)
    now = ctx.now()
    marks = tuple(replace(item, contained_at=now) if item.generation == mark.generation else item for item in record.leaks)
    contained = replace(record, leaks=marks)
    if version is None or not version.ref:
        return Done((yield from commit(contained, ctx.event(record, "contain", "failed", why="no id to end it by"))))
    issuer = ctx.plugins.issuer(version.issuer)
    parameters = parameters_of(version, _spec(record))
    record = yield from commit(record, ctx.event(record, "contain", "intended", version, by=mark.actor))
    contained = replace(record, leaks=marks)
    if isinstance(issuer, Suspend) and not _may_be_resumed(record, version):
        suspend = issuer.suspend
        try:
            yield from ask(version.issuer, issuer, "suspend", lambda: suspend(version.ref, parameters), effect=True)
            how = "suspended"
        except NotFound:
            how = "gone already"
    else:
        yield from ask(version.issuer, issuer, "revoke", lambda: issuer.revoke(version.ref, None, parameters), effect=True)
        how = "revoked"
    event = ctx.event(contained, "contain", "done", version, how=how, by=mark.actor, exception="invariants 1 and 2")
    return Done((yield from commit(contained, event)))


def _may_be_resumed(record: Record, version: Version) -> bool:
    """Whether a way back has begun to resume this very version: an unanswered call may land after a suspension, and would
    undo it. Then only revoking contains it. (The mark itself has turned the way by now.)"""
    rotation = record.rotation
    if rotation is None or rotation.suspension is None or rotation.base is None:
        return False
    turned = rotation.way is Way.BACK or (rotation.leg > 0 and rotation.suspension.done_at is None)
    return turned and rotation.base.generation == version.generation


def _marked(record: Record, mark: LeakMark) -> Version | None:
    rotation = record.rotation
    versions = [record.current, rotation.new if rotation else None]
    return next((item for item in versions if item is not None and item.generation == mark.generation), None)
