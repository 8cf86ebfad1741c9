"""Which records to claim: due, not leased, of an issuer that is not full, nearest deadline first.

The cost does not grow with the number of credentials. In ordinary times few are due and not yet claimed: those are
read and sorted. When more than ``FEW`` are due at once (a herd, a long stop), they are marked ``ready``, each once; an
index then holds them by issuer and deadline, and only the first of each issuer are looked at. Should even more than
``AT_ONCE`` have become due, each claim marks so many and goes by what is marked: the order is exact a few claims later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from rotatord.journal.statements import Statements

FEW = 512
AT_ONCE = 10_000  # a transaction of some 50 ms, for which other writers wait

Query = Callable[[str, dict[str, Any]], Sequence[Any]]
Write = Callable[[str, dict[str, Any]], object]
Candidate = tuple[int, int, str, str]  # deadline, due_at, name, issuer: sorts as it is claimed


class Claims:
    """Finds candidates; to be used by one thread at a time."""

    def __init__(self, statements: Statements, query: Query, write: Write) -> None:
        self._statements = statements
        self._query = query
        self._write = write

    def candidates(self, now: int, limit: int, full: AbstractSet[str], held: AbstractSet[str]) -> list[Candidate]:
        """The first ``limit`` to claim, ``held`` ones left out."""
        few = FEW + len(held)
        sleeping = self._query(self._statements.sleeping_due, {"now": now, "limit": few + 1})
        if len(sleeping) > few:
            self._promote(now)
            sleeping = []
        found = [*sleeping, *self._ready(now, limit + len(held), full)]
        return sorted(row for row in found if row[3] not in full and row[2] not in held)[:limit]

    def _promote(self, now: int) -> None:
        self._write(self._statements.promote, {"now": now, "limit": AT_ONCE})

    def _ready(self, now: int, limit: int, full: AbstractSet[str]) -> Iterator[Candidate]:
        for issuer in self._ready_issuers():
            if issuer not in full:
                yield from self._query(self._statements.ready_of_issuer, {"issuer": issuer, "now": now, "limit": limit})

    def _ready_issuers(self) -> Iterator[str]:
        issuer = ""
        while found := self._query(self._statements.next_ready_issuer, {"after": issuer, "limit": 1}):
            issuer = found[0][0]
            yield issuer
