"""The daemon: configuration, journal, engine, chores and API put together, started, reloaded and stopped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from rotatord import __version__, apply, identity, pauses, react
from rotatord.api.access import Access
from rotatord.api.journal_service import JournalService
from rotatord.api.service import Finding
from rotatord.beat import Beat
from rotatord.budget import Budgets, Limit
from rotatord.chores import Aside, Chore, Chores
from rotatord.clock import Clock, Ids, RandomIds, SystemClock
from rotatord.config import Configuration, limits_of, load, stamp, surroundings
from rotatord.damage import amended
from rotatord.engine import Engine
from rotatord.errors import ConfigError, JournalError, Problem, RotatordError
from rotatord.events.notices import Notices, Receiver, receivers
from rotatord.gates import GATE
from rotatord.hands import Hands
from rotatord.jumps import Jumps
from rotatord.live import LivePlugins
from rotatord.livecheck import check, preview
from rotatord.machine import Step
from rotatord.model import Asked, Event, JsonMap, Record
from rotatord.ops import Context
from rotatord.ourselves import Ourselves
from rotatord.own import NAMES, names_of
from rotatord.own_life import OwnLives
from rotatord.ports import Acts, Amendment, Journal, Metered, Serves
from rotatord.pulse import Pulse, signal_of
from rotatord.registry import Registry
from rotatord.replicas import IN_LINE, Replicas, mark_of, opened
from rotatord.settings import Settings
from rotatord.sweep import Sweep
from rotatord.telemetry import Telemetry, logger
from rotatord.watchdog import Watchdog

KEEP_EVENTS = timedelta(days=396)  # 13 months
INSPECT_EVERY = timedelta(hours=6)
INSPECT_AT_ONCE = 20
PRUNE_AT_ONCE = 5000
STALLED_SECONDS = 120.0
TOO_EARLY_SECONDS = 60.0  # until a configuration that came too early is tried again
_STEPS = frozenset(step.value for step in Step)


class Daemon:
    """One running rotatord. ``start`` and ``stop`` once each; everything else from any thread."""

    def __init__(
        self, configuration: Configuration, path: str | Path, *, clock: Clock | None = None, ids: Ids | None = None
    ) -> None:
        """Opens the journal and brings it in line. Raises RotatordError or OSError; nothing outside is touched."""
        self.configuration = configuration
        self.clock = clock or SystemClock()
        self.ids = ids or RandomIds()
        self._path = Path(path)
        self._log = logger().info
        self._reloading = threading.Lock()
        self._seen = configuration.stamp
        self._try_again_at: float | None = None
        self._replaced: list[tuple[Collection[Future[None]], Registry]] = []
        self.failures = 0  # rotations that halted or rolled back since the start
        state = Path(configuration.state_dir)
        identity.prepare(state)
        self.journal: Journal = opened(configuration, self.clock, self.ids)
        self.replicas = Replicas(self.journal)
        try:
            with self.replicas.alone():
                self._assemble(configuration, state, self.replicas.fingerprinter(configuration, state))
        except BaseException:
            self.journal.close()
            raise

    def _assemble(self, configuration: Configuration, state: Path, fingerprinter: Any) -> None:
        self.installation = identity.installation(configuration.installation, state, self.journal, self.ids)
        self._logger = logger().bind(installation=self.installation)
        self._log = self._logger.info
        around = surroundings(configuration.state_dir, configuration.base_dir, self.installation)
        self.plugins = LivePlugins(Registry(configuration, around))
        self.own_lives = OwnLives(self.journal, self.clock, self.ids, self.plugins)
        self.ourselves = self.plugins.registry.ourselves = Ourselves(self.journal, self.plugins, self.replicas, self._log)
        named = [(name, self.plugins.issuer(name)) for name in configuration.issuers]
        stores = [(name, self.plugins.backend(name)) for name in configuration.backends]
        self.replicas.join(fingerprinter, configuration, [*named, *stores])
        self.configuration = self._bring_in_line(configuration)
        self.telemetry = Telemetry()
        self.budgets = Budgets(self.clock, self._limits(configuration))
        self.budgets.turn = self.replicas.turn
        context = Context(
            installation=self.installation,
            plugins=self.plugins,
            clock=self.replicas.clock(self.clock),
            ids=self.ids,
            fingerprinter=fingerprinter,
            paused=pauses.live(self.journal, self.clock.now),
            rekeyed=identity.rekeyed(self.journal, fingerprinter),
            gate=GATE,
            trials=self.ourselves.trials,
        )
        self.ourselves.bind(context)
        self.ourselves.hurry = Aside("own credentials", self.ourselves.look_at_all, self._log)
        hands = Hands(self.journal, self.clock, self.telemetry, spend=self.budgets.spend, sent=self._sent, heard=self._heard)
        self.engine = Engine(
            self.journal,
            context,
            self.telemetry,
            self.budgets,
            workers=configuration.limits.threads,
            hands=hands,
            standing_back=self.replicas.standing_back,
            first=self.ourselves.known,
            log=self._log,
        )
        self.accept = react.Accept(lambda name: self.plugins.issuer(name).traits, self.plugins.own_of)
        self.sweep = Sweep(self.journal, self.clock, self.ids, self.installation)
        self.service = self._service()
        self.chores = Chores(self.clock, self._chores(), self._log)
        self._served: list[Serves] = []
        self._api: Any = None

    def _limits(self, configuration: Configuration) -> dict[str, Limit]:
        """The budgets: what is configured, else what issuers say that they answer to one identity of ours."""
        ones = {name: self.plugins.issuer(name) for name in configuration.issuers}
        quotas = {name: quota for name, one in ones.items() if (quota := one.traits.quota) is not None}
        return limits_of(configuration, quotas, {name: one.principal for name, one in ones.items() if isinstance(one, Acts)})

    def _sent(self, issuer: str) -> int | None:
        return plugin.sent() if isinstance(plugin := self.plugins.issuer(issuer), Metered) else None

    def _bring_in_line(self, configuration: Configuration) -> Configuration:
        """What is to be remembered of it: the credentials are the journal's from here on, there may be very many of them.
        Nothing is compared when the journal was brought in line with these very files before."""
        known = self.journal.fact(NAMES) is not None  # an earlier version did not look which of them are our own
        if not configuration.complete and not (known and self.journal.fact(IN_LINE) == mark_of(configuration)):
            configuration = load(self._path, settings=Settings.from_environment())
        counts: dict[str, int] = {}
        if configuration.complete:
            problems = apply.refusals(
                self.journal, configuration.issuers, configuration.backends, configuration.specs, configuration.renames
            )
            if problems:
                raise ConfigError(problems)
            self.journal.set_fact(IN_LINE, None)  # of no configuration, while it is half of one and half of another
            counts = apply.apply(self.journal, configuration.specs, configuration.renames, self.clock.now(), self.ids)
            self.journal.set_fact(NAMES, names_of(configuration.specs))
            self.journal.set_fact(IN_LINE, mark_of(configuration))
        self.replicas.bound_to(configuration)
        self._log("configuration in force", **counts)
        return replace(configuration, specs={}, renames={})

    def _service(self) -> JournalService:
        return JournalService(
            self.journal,
            self.clock,
            self.ids,
            self.accept,
            self.engine.wake,
            version=__version__,
            check=self._check,
            preview=lambda name: preview(self.service.record(name), self.plugins, self.installation),
            strays=lambda: self.sweep.now(sorted(self.configuration.issuers), self.plugins),
            unlisted=lambda: self.sweep.unlisted(sorted(self.configuration.issuers), self.plugins),
            unreached=lambda: self.sweep.unreached(sorted(self.configuration.issuers)),
            reload=self.reload,
            alive=self._alive,
            metrics=self._metrics,
        )

    def _heard(self, event: Event) -> None:
        self.telemetry.event(event)
        if event.action in _STEPS:
            self.telemetry.step(event.action, str(event.evidence.get("way", "forward")), event.outcome)
        facts = {"version": event.version, "rotation": event.rotation, "why": event.evidence.get("why", "")}
        shown = {key: value for key, value in facts.items() if value}
        weight = logging.ERROR if event.action == "rotation.halted" else logging.INFO
        if event.outcome == "failed" or event.action == "rotation.rolled_back":
            weight = logging.WARNING
        said = f"{event.action} {event.outcome}"
        self._logger.log(weight, said, credential=event.credential, actor=event.actor, **shown)
        if event.action in {"rotation.halted", "rotation.rolled_back"}:
            self.failures += 1

    # --- life ------------------------------------------------------------------------------------------------------

    def start(self, *, api: bool = True) -> None:
        """Serve what issuers serve, then the API, then begin to work. Raises OSError or Refused for an address taken."""
        self._serve_issuers()
        if api:
            from rotatord.api.app import create_app  # noqa: PLC0415 - only a daemon needs a web server
            from rotatord.api.server import ApiServer  # noqa: PLC0415

            settings = self.configuration.api
            access = Access(settings.grants, settings.tokens, self.plugins.registry.secret)
            self._api = ApiServer(create_app(self.service), access, settings, self.configuration.state_dir)
            self._api.start()
        self.chores.start()
        self.engine.start()
        self.replicas.watch(self.engine.heard)
        self._log("started", version=__version__, socket=str(self._api.path) if self._api else "")

    def run_once(self) -> None:
        """Do what is due, without API and chores."""
        self._serve_issuers()
        self.ourselves.hurry = self.ourselves.look  # nobody comes back to what is done aside
        self.engine.run_once()

    def _serve_issuers(self) -> None:
        wanted = [self.plugins.issuer(name) for name in sorted(self.configuration.issuers)]
        serving = [issuer for issuer in wanted if isinstance(issuer, Serves)]
        for gone in [served for served in self._served if not any(served is issuer for issuer in serving)]:
            gone.stop()  # first, so that its successor can have the address
            self._served.remove(gone)
        for issuer in serving:
            if not any(issuer is served for served in self._served):
                issuer.start()
                self._served.append(issuer)

    def unfinished(self) -> list[str]:
        """What could not be done for the time being, and why."""
        found = []
        for record in apply.declared(self.journal):
            errors = [trouble.error for trouble in record.troubles] or ([record.rotation.error] if record.rotation else [])
            found += [f"{record.name}: {error}" for error in errors if error]
        return found

    def stop(self) -> bool:
        """Claim nothing more, let calls in flight end, close everything. False when something was left behind, which is as
        safe as a crash."""
        self.chores.stop()
        if not (drained := self.engine.stop()):
            self._log("stopping with work in flight; it goes on at the next start")
        if self._api is not None:
            self._api.stop()
        for served in self._served:
            served.stop()
        for _, registry in self._replaced:
            registry.close()
        self.plugins.registry.close()
        self.journal.close()
        return drained

    def reload(self) -> Sequence[str]:
        """Load the configuration anew; its problems, and then the old one stays in force. One that is right and comes too
        early is tried again by itself."""
        with self._reloading:
            self._try_again_at = None
            try:
                fresh = load(self._path, settings=Settings.from_environment())
                self._refuse_moves(fresh)
            except ConfigError as error:
                return self._stays([str(problem) for problem in error.problems])
            try:
                problems = apply.refusals(self.journal, fresh.issuers, fresh.backends, fresh.specs, fresh.renames)
                if problems:
                    raise ConfigError(problems)
                self._take_up(fresh)
            except (ConfigError, JournalError) as error:
                self._try_again_at = self.clock.monotonic() + TOO_EARLY_SECONDS
                return self._stays(str(error).splitlines())
            try:
                self._serve_issuers()
            except (OSError, RotatordError) as error:
                said = f"the configuration is in force, but what an issuer serves is not: {error}"
                self._log(said)
                return [said]
            finally:
                self.engine.wake()
        return ()

    def _stays(self, problems: Sequence[str]) -> Sequence[str]:
        for problem in problems:
            self._log("configuration refused; the old one stays in force", problem=problem)
        return problems

    def _take_up(self, fresh: Configuration) -> None:
        """Swap the plugins and bring the journal in line; where that fails, swap them back."""
        self._swap(fresh)
        try:
            with self.replicas.alone():
                self.configuration = self._bring_in_line(fresh)
        except BaseException:
            self._swap(self.configuration)
            raise
        self._seen = fresh.stamp
        self.budgets.set(self._limits(fresh))
        self.notices.receivers = self._receivers(fresh)
        self.pulse.signal = signal_of(fresh.deadman, self._secret)

    def _swap(self, configuration: Configuration) -> None:
        """Plugins of this configuration from now on; those replaced are closed when what is at work with them has ended."""
        old = self.plugins.registry
        around = surroundings(configuration.state_dir, configuration.base_dir, self.installation)
        self.plugins.registry = Registry(configuration, around, previous=old)
        self._replaced.append((self.engine.in_flight(), old))

    def _close_replaced(self) -> None:
        over = [item for item in self._replaced if all(future.done() for future in item[0])]
        for item in over:
            self._replaced.remove(item)
            item[1].close()

    def _refuse_moves(self, fresh: Configuration) -> None:
        if fresh.state_dir != self.configuration.state_dir:
            raise ConfigError([Problem(str(self._path), "state_dir changes only with a restart")])
        if fresh.installation not in {None, self.installation}:
            raise ConfigError([Problem(str(self._path), "installation never changes under a journal")])
        kept = ("database", "lease_seconds", "fingerprint_key")
        if any(getattr(fresh, name) != getattr(self.configuration, name) for name in kept):
            raise ConfigError([Problem(str(self._path), "database and fingerprint_key change only with a restart")])

    # --- chores ----------------------------------------------------------------------------------------------------

    def _chores(self) -> list[Chore]:
        self.notices = Notices(self.journal, self.clock, self.ids, self.installation, self._receivers(self.configuration))
        self.beat = Beat(self.journal, self.clock, self.ids, self.telemetry)
        self.pulse = Pulse(self.journal, self.clock, self.engine, self.replicas, self.telemetry)
        self.pulse.signal = signal_of(self.configuration.deadman, self._secret)

        def once(name: str, seconds: int, do: Callable[[], object]) -> Chore:  # by one of all daemons
            return Chore(name, seconds, self.replicas.once(name, seconds, do))

        return [
            Chore("clock", 5, Jumps(self.journal, self.clock, self.ids, self.engine.wake).look),
            once("notices", 2, self.notices.deliver),
            Chore("configuration", 10, self._reload_if_changed),
            once("drift", 60, self._inspect_some),
            once("sweep", 300, lambda: self.sweep.look(sorted(self.configuration.issuers), self.plugins)),
            once("watchdog", 60, self._watch),
            once("own lives", 60, Aside("own lives", self.own_lives.look, self._log)),
            Chore("own credentials", 5, lambda: self.ourselves.hurry("")),
            once("prune", 3600, lambda: self.journal.prune(self.clock.now() - KEEP_EVENTS, PRUNE_AT_ONCE)),
            Chore("heartbeat", 30, self._beat),
            Chore("pulse", 5, Aside("pulse", self.pulse.look, self._log)),
        ]

    def _secret(self, reference: JsonMap) -> str:
        return self.plugins.registry.secret(reference)  # of the registry in force when it is asked

    def _receivers(self, configuration: Configuration) -> tuple[Receiver, ...]:
        return receivers(configuration.notices, self._secret)

    def _reload_if_changed(self) -> None:
        seen = stamp(self._path)
        again = self._try_again_at is not None and self.clock.monotonic() >= self._try_again_at
        again = again or self.replicas.left_alone()
        if seen != self._seen or again:
            self._seen = seen  # a bad new file is reported once, not every ten seconds
            self.reload()
        with self._reloading:
            self._close_replaced()
            self._serve_issuers()  # what could not begin to serve at a reload

    def _inspect_some(self) -> None:
        """Mark the credentials that were not looked at for longest; a fixed number a minute, however many there are."""
        for name in self.journal.least_recently_inspected(self.clock.now() - INSPECT_EVERY, INSPECT_AT_ONCE):
            amended(self.journal, name, self._ask_look)
        self.engine.wake()

    def _ask_look(self, record: Record) -> Amendment | None:
        if record.asked is not None or record.rotation is not None:
            return None
        now = self.clock.now()
        return Amendment(record=replace(record, asked=Asked(verb="inspect", actor="rotatord", at=now), due_at=now))

    def _watch(self) -> None:
        """Says so when something is past the time by which it must have been done, whatever the engine believes."""
        self.telemetry.counts(Watchdog(self.journal, self.clock, self.ids).look())
        self.engine.review()  # what kept us read only may be declared no longer

    def _beat(self) -> None:
        self.beat.look()
        self._log("heartbeat", journal=self.engine.journal_away or "fine", work=self.engine.stands_back or "fine")

    # --- what the API asks -----------------------------------------------------------------------------------------

    def _check(self, names: Sequence[str]) -> Sequence[Finding]:
        records = [self.journal.get(name) for name in names] if names else apply.declared(self.journal)
        chosen = [record.spec for record in records if record is not None]
        return check(chosen, self.plugins, self.own_lives.found())

    def _alive(self) -> Sequence[Finding]:
        now = self.clock.monotonic()
        turns = (("engine", self.engine.turned_at), ("chores", self.chores.ticked_at))
        return [
            Finding(subject=name, ok=now - at < STALLED_SECONDS, detail=f"turned {now - at:.0f} s ago") for name, at in turns
        ]

    def _metrics(self) -> bytes:
        self.telemetry.counts(self.journal.counts(self.clock.now()))
        return self.telemetry.render()
