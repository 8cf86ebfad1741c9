"""We ourselves as a consumer of our own credentials: every daemon shows which version of each it has used with success, and
before one is published, that everything could go on with it.

A version of ours that works but may not do what our credentials need would lock us out. So it is asked twice: before it is
published, with the value itself, and afterwards by every daemon that is alive, with what its references lead to by then.
What fails is tried again ever more seldom, once a minute in the end: it may fail for days, and somebody has to answer it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice

from rotatord import apply, retry
from rotatord.bugs import described
from rotatord.errors import JournalDamaged, OutsideError, Permanent, RotatordError
from rotatord.live import LivePlugins
from rotatord.model import Record, Slot, Spec, Version
from rotatord.ops import Call, Context, fields_of, holds
from rotatord.own import NAMES, needs_of, plugin_of, spelled
from rotatord.own_used import USED, Shown, Told, key_of, published_of, spec_of, told
from rotatord.ports import Empowered, Instance, Journal, Published, Secrets
from rotatord.replicas import Replicas
from rotatord.secret import Secret

ANSWER_SECONDS = 5.0  # it only looks into the journal
MOST_RECORDS, MOST_NEEDS = 5000, 200  # of what depends on a credential of ours so much is asked


@dataclass(frozen=True, slots=True)
class Rest:
    """Until when a version that could not be used is left alone. Seconds of the monotonic clock."""

    label: str
    until: float


class Ourselves:
    """Implements :class:`rotatord.ports.Consumer`. Thread-safe. ``bind`` before anything is asked."""

    evidence = "attestation"

    def __init__(self, journal: Journal, plugins: LivePlugins, replicas: Replicas, log: Callable[..., None]) -> None:
        self._journal = journal
        self._plugins = plugins
        self._replicas = replicas
        self._log = log
        self._shown: dict[str, Shown] = {}  # by credential and owner
        self._rests: dict[str, Rest] = {}  # likewise
        self._looking = threading.Lock()
        self._ctx: Context | None = None
        self._names: Sequence[str] = ()
        self.timeout = ANSWER_SECONDS
        self.hurry: Callable[[str], object] = self.look  # a daemon does that aside: it may last

    def bind(self, ctx: Context) -> None:
        """By this it is known what a slot holds."""
        self._ctx = ctx
        self._names = self.names()

    @property
    def _bound(self) -> Context:
        assert self._ctx is not None
        return self._ctx

    def _monotonic(self) -> float:
        return self._bound.clock.monotonic()

    # --- the port --------------------------------------------------------------------------------------------------

    def reload(self, published: Published) -> None:
        """Nobody needs to be told: references are read at each use, and every daemon looks by itself."""

    def instances(self, published: Published) -> Sequence[Instance]:
        self.hurry(published.credential)
        record = self._journal.get(published.credential)
        if record is None:
            return []
        spec, all_of_them = spec_of(record), self._told()
        found = []
        for daemon in sorted(self._replicas.alive()):
            for owner in spec.own_of:
                seen = all_of_them.get(daemon, {}).get(key_of(record.name, owner), Shown())
                found.append(Instance(id=f"{daemon}/{owner}", version=seen.version or None, refused=seen.refused or None))
        return found

    # --- before it is published ------------------------------------------------------------------------------------

    def trials(self, spec: Spec, fields: Secret, label: str) -> Sequence[Call]:
        """One call for each issuer and backend that would be spoken to with this version; its answer are sentences."""
        if not spec.own_of:
            return ()
        registry = self._plugins.registry
        values = registry.ownership.values(spec, registry, fields, label)
        secret = registry.ownership.with_values(values, registry.secret)
        found = []
        for owner in spec.own_of:
            plugin = plugin_of(registry, owner)
            if isinstance(plugin, Empowered):
                found.append(Call("own.works_with", partial(self._tried, plugin, owner, secret), plugin.timeout))
        return found

    def _tried(self, plugin: Empowered, owner: str, secret: Secrets) -> list[str]:
        said = plugin.works_with(secret, self._needs(owner))
        return [f"{spelled(owner)}: {sentence}" for sentence in said]

    def _needs(self, owner: str) -> list[object]:
        declared = islice(apply.declared(self._journal, damaged={}), MOST_RECORDS)
        return needs_of(owner, (record.spec for record in declared), MOST_NEEDS)

    # --- afterwards ------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The credentials that are our own."""
        return list(json.loads(self._journal.fact(NAMES) or "[]"))

    def known(self) -> Sequence[str]:
        """The same as of the last look, asking nobody."""
        return self._names

    def look_at_all(self) -> None:
        """Take up whatever is new; never raises but JournalUnavailable. For a thread of its own."""
        self._names = self.names()
        for name in self._names:
            try:
                self.look(name)
            except (OutsideError, JournalDamaged) as error:
                self._log("own credential", credential=name, error=str(error))
            except RotatordError:
                raise
            except Exception as error:  # noqa: BLE001  a plugin's bug ends no thread
                self._log("own credential", credential=name, error=f"bug: {described(error)}")

    def look(self, name: str) -> None:
        """Use the version that is published now, once, and tell the others how that went. Raises OutsideError."""
        record = self._journal.get(name)
        version = None if record is None else published_of(record)
        if record is None or version is None:
            return
        failures: list[Exception] = []
        with self._looking:
            for owner in spec_of(record).own_of:
                try:
                    self._look_at(record, version, owner)
                except Exception as error:  # noqa: BLE001  raised below, when the others were looked at and told
                    failures.append(error)
            self._tell()
        if failures:
            raise failures[0]

    def _look_at(self, record: Record, version: Version, owner: str) -> None:
        key = key_of(record.name, owner)
        seen, rest = self._shown.get(key, Shown()), self._rests.get(key)
        if seen.version == version.label or (rest and rest.label == version.label and self._monotonic() < rest.until):
            return
        try:
            found = self._used(record, version, owner, seen)
        except RotatordError as error:
            if isinstance(error, OutsideError):
                self._rest(key, version, replace(seen, refused=""), str(error), getattr(error, "retry_after", None))
            raise
        except Exception as error:
            self._rest(key, version, replace(seen, refused=""), f"bug: {described(error)}")
            raise
        if found.refused == version.label:
            self._rest(key, version, found, found.trouble)
        else:
            self._shown[key] = found
            self._rests.pop(key, None)

    def _rest(self, key: str, version: Version, shown: Shown, why: str, retry_after: float | None = None) -> None:
        ctx = self._bound
        tries = shown.tries + 1 if shown.tried == version.label else 1
        pause = retry.after_own(tries, ctx.ids.fraction(), retry_after)
        self._rests[key] = Rest(version.label, self._monotonic() + pause.total_seconds())
        again_at = f"{ctx.now() + pause:%Y-%m-%d %H:%M:%SZ}"
        self._shown[key] = replace(shown, tried=version.label, tries=tries, trouble=why, again_at=again_at)

    def _used(self, record: Record, version: Version, owner: str, seen: Shown) -> Shown:
        spec, registry, ctx = spec_of(record), self._plugins.registry, self._bound
        untried = replace(seen, tried="", tries=0, trouble="", again_at="")
        names = registry.issuer(version.issuer).traits.fields
        held = registry.backend(spec.home.backend).read(spec.home, Slot.CURRENT)
        fields = fields_of(held, names) if holds(ctx, held, version, names) else None
        if fields is None:
            return untried
        values = registry.ownership.values(spec, registry, fields, version.label)
        if registry.ownership.stale(owner, values, registry.secret):
            return untried
        plugin = plugin_of(registry, owner)
        if isinstance(plugin, Empowered) and (why := self._fails(plugin, owner)):
            self._log("own credential refused", credential=record.name, version=version.label, why=why)
            return replace(seen, refused=version.label, trouble=why)
        return Shown(version=version.label)

    def _fails(self, plugin: Empowered, owner: str) -> str:
        try:
            problems = self._tried(plugin, owner, self._plugins.registry.secret)
            if not problems:
                plugin.take_up()
        except Permanent as error:
            return str(error)
        return "; ".join(problems)

    # --- among daemons ---------------------------------------------------------------------------------------------

    def _told(self) -> Told:
        return told(self._journal.fact(USED))

    def _tell(self) -> None:
        """Say what was seen here; what daemons said that are gone is forgotten."""
        if self._told().get(self._replicas.owner) == self._shown:
            return
        with self._replicas.alone("own"):
            alive = self._replicas.alive()
            all_of_them = {daemon: shown for daemon, shown in self._told().items() if daemon in alive}
            all_of_them[self._replicas.owner] = self._shown
            plain = {daemon: {key: asdict(seen) for key, seen in shown.items()} for daemon, shown in all_of_them.items()}
            self._journal.set_fact(USED, json.dumps(plain))
