"""discard: the end of the way back. Pending is cleared, and everything this rotation minted is left to the ledger."""

from __future__ import annotations

from rotatord import moves
from rotatord.model import Record, Slot
from rotatord.ops import Context, Done, Unit, clear, commit, open_rotation, read
from rotatord.steps.slots import clear_previous


def discard(ctx: Context, record: Record) -> Unit:
    """From ``discarding`` to ``rolled_back``. Clearing moves the compare tokens, so that late writes are refused."""
    rotation = open_rotation(record)
    home = rotation.plan.home
    backend = ctx.plugins.backend(home.backend)
    if rotation.intents:
        held = yield from read(backend, home, Slot.PENDING)
        yield from clear(backend, home, Slot.PENDING, held.token)
    traits = ctx.plugins.issuer(rotation.plan.issuer).traits
    if rotation.base is not None and rotation.intents:
        yield from clear_previous(ctx, rotation.plan, rotation.base, empty=True)
    why = rotation.rollback or rotation.error
    event = ctx.event(record, "rotation.rolled_back", "done", rotation.new, why=why)
    notice = ctx.notice(record, "rolled_back", f"{record.name}: rolled back: {why}", rotation=rotation.id)
    after = moves.discarded(record, traits, ctx.now())
    notices = [notice]
    if after.held_for_person and after.held_for_person != record.held_for_person:
        notices.append(ctx.notice(record, "halted", f"{record.name}: {after.held_for_person}", code="rolled_back"))
    return Done((yield from commit(after, event, notices=tuple(notices))))
