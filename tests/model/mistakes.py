"""Mistakes planted in the model, each a safeguard that is left out: the search must find every one, or it proves nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.model.search import Size


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is left out, and in which size of the model it shows."""

    what: str
    switches: tuple[str, ...]
    size: Size = field(default_factory=dict)

    def sizes(self) -> Size:
        return {"CREDENTIALS": 1, "CRASHES": 2, **self.size, **dict.fromkeys(self.switches, 1)}


MISTAKES = (
    Mistake("a commit asks nobody for the fence", ("NO_FENCE",)),
    Mistake("a commit overwrites what people asked meanwhile", ("NO_SEQUENCE",)),
    Mistake("calls are started without a look at the lease", ("NO_LEASE_LOOK",)),
    Mistake("no intent before the mint", ("NO_MINT_INTENT",)),
    Mistake("an unanswered mint is forgotten, and made again", ("MINTS_AGAIN",)),
    Mistake("what an unanswered mint made is not searched for", ("NO_SWEEP",)),
    Mistake("a search does not wait for mints that land late", ("NO_WAIT_FOR_LATE_MINTS",)),
    Mistake("a search takes what others minted", ("SWEEPS_STRAYS",)),
    Mistake(
        "pending is not rewritten before an orphan is owed, and taken for what it holds", ("NO_CLEAR", "RECOGNISES_ANYTHING")
    ),
    Mistake("writes compare nothing", ("NO_COMPARE",)),
    Mistake("a write is taken for done, and nobody reads it back", ("NO_READ_BACK",)),
    Mistake("what looks right is not written again after a change of way", ("NO_REWRITE",)),
    Mistake("the gate asks no consumer", ("NO_GATE",)),
    Mistake("the way back restores nothing", ("RESTORES_NOTHING",)),
    Mistake("what is replaced is not kept in previous", ("NO_PREVIOUS",)),
    Mistake("the way back owes nothing", ("DISCARDS_WITHOUT_OWING",)),
    Mistake("the ledger takes the new one", ("OWES_THE_NEW",)),
    Mistake("destinations are not read before a death", ("NO_LOOK_BEFORE_DEATH",), {"CRASHES": 0, "FIRST": 1, "FAILURES": 1}),
    Mistake("the intent of a death is taken for a death", ("TAKES_INTENTS_FOR_DEATHS",)),
    Mistake("a hold is not read", ("NO_HOLD",), {"HOLDS": 1}),
    Mistake("an end of a suspension does not wait for one that lands late", ("NO_WAIT_FOR_LATE_SUSPENSION",), {"SUSPENDS": 1}),
    Mistake(
        "what was given up unproven dies before anybody proved that it was left",
        ("NO_WAIT_FOR_UNPROVEN",),
        {"CRASHES": 0, "FIRST": 1, "FAILURES": 1},
    ),
)
