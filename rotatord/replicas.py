"""One daemon among others over one journal: what only one of them may do at a time, and what all must have in common.

Over a journal that only this daemon has open everything here is as if there were nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, runtime_checkable

from rotatord import __version__, identity
from rotatord.clock import Clock, Ids
from rotatord.config import Configuration, journal_url
from rotatord.errors import Refused
from rotatord.journal import LEASE_SECONDS, open_journal
from rotatord.ports import Journal, Shared
from rotatord.secret import Fingerprinter

IN_LINE = "in_line"  # the fact that names the configuration which the journal's credentials are of
LONGEST_CALL_SECONDS = 600.0
ALONE = "this daemon"
LEAST_TURN_SECONDS = 45  # longer than a chore takes at its worst


@runtime_checkable
class OnlyHere(Protocol):
    """A plugin that may keep something where only one daemon finds it."""

    @property
    def only_here(self) -> str:
        """Why several daemons cannot share it, and what would let them; empty where they can."""
        ...


def opened(configuration: Configuration, clock: Clock, ids: Ids) -> Journal:
    """The journal of this configuration. Raises JournalUnavailable, JournalTooNew, OutsideError, or Refused for no URL."""
    alone = LONGEST_CALL_SECONDS + LEASE_SECONDS  # nobody waits for a lease of the only daemon
    seconds = configuration.lease_seconds if configuration.database else alone
    try:
        return open_journal(journal_url(configuration), clock, ids, lease_seconds=seconds)
    except ValueError as error:
        raise Refused(f"database: {error}") from None


class Replicas:
    """What a daemon asks about the others. ``join`` before anything else."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._shared = journal if isinstance(journal, Shared) else None
        self._key = ""
        self._mark = ""

    def fingerprinter(self, configuration: Configuration, state_dir: Path) -> Fingerprinter:
        """The key that is given, or this daemon's own as long as no other key is in use. Raises Refused, OutsideError or
        OSError."""
        if configuration.fingerprint_key is not None:
            return identity.given_key(configuration.fingerprint_key, configuration.base_dir)
        if self._shared and not identity.has_key(state_dir) and self._journal.fact(identity.KEY_FACT) is not None:
            raise Refused(
                "this installation's fingerprints were made with a key that is not here: several daemons need the same one, "
                "`fingerprint_key: {file: …}` or ROTATORD_FINGERPRINT_KEY; the first daemon's is "
                f"{identity.KEY_FILE} in its state directory"
            )
        return identity.fingerprinter(state_dir)

    def join(self, fingerprinter: Fingerprinter, configuration: Configuration, plugins: Iterable[tuple[str, object]]) -> None:
        """Be known to the others. Raises Refused where this daemon cannot work beside them."""
        if self._shared is None:
            return
        self._key, self._mark = fingerprinter.id, mark_of(configuration)
        others = self._others()
        if any(not mark.startswith(f"{self._key}.") for mark in others):
            raise Refused(
                "another daemon of this installation runs with another fingerprint key: they would take each other's values "
                "for foreign ones; give all of them the same `fingerprint_key`"
            )
        wrong = [
            f"{name}: {plugin.only_here}"
            for name, plugin in plugins
            if others and isinstance(plugin, OnlyHere) and plugin.only_here
        ]
        if wrong:
            raise Refused("another daemon of this installation is running; beside it, " + "; ".join(wrong))

    def _others(self) -> set[str]:
        assert self._shared is not None
        return set(self._shared.join(f"{self._key}.{short(self._mark)}"))

    def alone(self, what: str = "configuration") -> AbstractContextManager[None]:
        """While the journal is brought in line, or something else that one does at a time. Raises JournalUnavailable."""
        return self._shared.alone(what) if self._shared else nullcontext()

    def clock(self, clock: Clock) -> Clock:
        """By which waits are measured that may go on in another daemon."""
        return self._shared.common_clock() if self._shared else clock

    def watch(self, heard: Callable[[int], None]) -> None:
        """Be told of what the others do, and how many there are."""
        if self._shared:
            self._shared.watch(heard)

    def turn(self, what: str, seconds: float) -> bool:
        """Whether it is ours to do."""
        return self._shared is None or self._shared.turn(what, seconds)

    def once(self, chore: str, every: float, do: Callable[[], object]) -> Callable[[], object]:
        """A chore of the whole installation: whoever has it does it, until it is silent."""
        return lambda: do() if self.turn(chore, max(LEAST_TURN_SECONDS, 2 * every)) else None

    # --- who is there ----------------------------------------------------------------------------------------------

    @property
    def owner(self) -> str:
        """This start of this daemon, among those of the others."""
        return self._shared.owner if self._shared else ALONE

    def alive(self) -> Collection[str]:
        """Every daemon that is alive, this one always."""
        return {self.owner, *(self._shared.alive() if self._shared else ())}

    # --- the configuration in force --------------------------------------------------------------------------------

    def bound_to(self, configuration: Configuration) -> None:
        """This is what this daemon goes by from now on."""
        self._mark = mark_of(configuration)
        if self._shared and self._key:
            self._others()

    def standing_back(self) -> str:
        """Why this daemon begins nothing: what the journal declares is not what it has plugins for. Empty otherwise."""
        if self._shared is None or self._journal.fact(IN_LINE) == self._mark:
            return ""
        return (
            "another daemon has put another configuration, or version, in force: this one begins nothing until it has the same"
        )

    def left_alone(self) -> bool:
        """Whether the configuration in force is nobody's: who put it there is gone, or did not finish."""
        if self._shared is None:
            return False
        fact = self._journal.fact(IN_LINE)
        return fact != self._mark and (fact is None or not any(mark.endswith(f".{short(fact)}") for mark in self._others()))


def mark_of(configuration: Configuration) -> str:
    """Names what a configuration declares, as this version understands it."""
    return f"{__version__} {configuration.digest}"


def short(mark: str) -> str:
    """Enough to tell two apart."""
    return mark.rpartition(" ")[2][:16]
