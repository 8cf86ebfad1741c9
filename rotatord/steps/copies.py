"""Copies: places that something of theirs (External Secrets Operator, a CSI driver, ...) fills from a destination, and that
the consumer reads in its stead. Nothing restarts, and nothing counts as proof, before the copy was read back too."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from rotatord.model import ConsumerSpec, Destination, Record, Slot, Version, Written
from rotatord.ops import Context, Op, open_rotation, read
from rotatord.ops import with_rotation as changed
from rotatord.ports import Held
from rotatord.secret import Secret
from rotatord.steps.slots import find_fields


def copy_id(copy: Destination) -> str:
    """Names a copy among the places that a rotation has read back."""
    return f"copy {copy.id}"


def shows(held: Held, fields: Secret) -> bool:
    """Whether a copy holds this value, as far as it has keys for its fields: nobody marks what a copier writes."""
    if held.empty or held.fields is None:
        return False
    return all(name in fields.names and held.fields.reveal(name) == fields.reveal(name) for name in held.fields.names)


def lagging(
    ctx: Context, record: Record, consumers: Iterable[ConsumerSpec], version: Version
) -> Generator[Op, Any, dict[str, bool]]:
    """The copies of these consumers, by id: whether each is still without ``version``."""
    places = {copy.id: copy for consumer in consumers for copy in consumer.copies}
    if not places:
        return {}
    fields: Secret | None = yield from find_fields(ctx, open_rotation(record).plan, version)
    late: dict[str, bool] = {}
    for name, copy in places.items():
        held = yield from read(ctx.plugins.backend(copy.backend), copy, Slot.CURRENT)
        late[name] = fields is None or not shows(held, fields)
    return late


def noted(ctx: Context, record: Record, consumers: Iterable[ConsumerSpec]) -> Record:
    """The record with each copy's read-back: what polls it counts from here, not from the destination's write."""
    rotation = open_rotation(record)
    known = {fact.destination for fact in rotation.written if fact.leg == rotation.leg}
    fresh = {copy_id(copy) for consumer in consumers for copy in consumer.copies} - known
    facts = tuple(Written(destination=name, leg=rotation.leg, at=ctx.now(), instant=ctx.instant()) for name in sorted(fresh))
    return changed(record, written=(*rotation.written, *facts)) if facts else record


def waiting_for(late: dict[str, bool]) -> str:
    """What is said while copies lag; "" when none does."""
    names = ", ".join(name for name, is_late in late.items() if is_late)
    return f"the copy {names} does not hold it yet: whatever fills it is late or stopped" if names else ""
