"""What daemons have said of how they get on with our own credentials: a fact in the journal, and what people are told of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

from rotatord.model import JsonMap, Record, Rotation, Spec, State, Version, Way

USED = "own_used"  # fact: what each daemon showed
PUBLISHED = {State.PUBLISHED, State.RELOADED, State.VERIFIED}


@dataclass(frozen=True, slots=True)
class Shown:
    """What one daemon has seen of one credential at one issuer or backend."""

    version: str = ""  # the label that it used last with success
    refused: str = ""  # the label with which it could not go on
    tried: str = ""  # the label that could not be used, for whatever reason
    tries: int = 0  # in a row
    trouble: str = ""  # why, as a sentence
    again_at: str = ""


Told = dict[str, dict[str, Shown]]  # by daemon; by credential and owner, see :func:`key_of`


def told(text: str | None) -> Told:
    """The fact, as any version may have written it: what we do not know of it is passed over."""
    known = {field.name for field in fields(Shown)}
    said: dict[str, dict[str, JsonMap]] = json.loads(text or "{}")
    return {
        daemon: {key: Shown(**{name: value for name, value in seen.items() if name in known}) for key, seen in shown.items()}
        for daemon, shown in said.items()
    }


def key_of(name: str, owner: str) -> str:
    return f"{name} {owner}"


def spec_of(record: Record) -> Spec:
    return record.rotation.plan if record.rotation is not None else record.spec


def published_of(record: Record) -> Version | None:
    """The version that destinations hold, or are to hold, by now."""
    rotation: Rotation | None = record.rotation
    if rotation is not None and rotation.way is Way.FORWARD and rotation.state in PUBLISHED:
        return rotation.new
    return record.current


def troubles(record: Record, said: Mapping[str, Mapping[str, Shown]]) -> tuple[list[str], list[str]]:
    """What keeps daemons from going on with the version of ours that is in place now: refused, which a person has to mend,
    and what did not answer. Each a sentence; what was said of another version is over."""
    version = published_of(record)
    refused: list[str] = []
    unreached: list[str] = []
    for owner in spec_of(record).own_of if version is not None and said else ():
        for daemon, shown in sorted(said.items()):
            seen = shown.get(key_of(record.name, owner), Shown())
            if version is None or not seen.tries or seen.tried != version.label:
                continue
            times = "once" if seen.tries == 1 else f"{seen.tries} times"
            where = f"daemon {daemon} cannot speak to {owner} with {version.label}"
            sentence = f"{where} (tried {times}, again at {seen.again_at}): {seen.trouble}"
            (refused if seen.refused == version.label else unreached).append(sentence)
    return refused, unreached
