"""What the daemon says about itself: structured logs and Prometheus metrics. Neither ever holds a secret value.

Everything that logs in this process, SDKs included, goes through one chain that ends in :mod:`rotatord.redaction`.
SDK loggers are never let below INFO: their DEBUG lines quote headers and bodies.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from datetime import datetime
from functools import cache
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rotatord import redaction
from rotatord.footprint import without
from rotatord.model import Event

with without("rich"):  # for tracebacks with the values of variables, which we never write: 4 MiB
    import structlog

# Roots of loggers that would write headers, bodies or addresses with secrets at DEBUG.
CAPPED = (
    "urllib3",
    "requests",
    "http",
    "hvac",
    "boto3",
    "botocore",
    "s3transfer",
    "kubernetes",
    "websocket",
    "uvicorn",
    "asyncio",
    "sqlalchemy",
    "alembic",
    "markdown_it",
)
# What these say at INFO (plugins set up, a server process started) helps nobody who reads our log at night.
CHATTY = ("alembic", "uvicorn", "asyncio")
EXPIRY_SERIES = 1000  # credentials with an expiry series of their own; beyond it only the nearest expiry is exported


class _Capped(logging.Filter):
    """Drops what talkative libraries say below INFO, or below WARNING, whatever level somebody gave their loggers."""

    def filter(self, record: logging.LogRecord) -> bool:
        root = record.name.partition(".")[0]
        if root in CHATTY and record.levelno < logging.WARNING:
            return False
        return record.levelno >= logging.INFO or root not in CAPPED


def configure_logging(
    level: str = "INFO", stream: TextIO | None = None, *, json_lines: bool | None = None, daemon: str = ""
) -> None:
    """Set up structlog and the standard library's logging, once more or for the first time.

    ``json_lines`` None: JSON unless the stream is a terminal. ``daemon``: the installation, put on every line.
    """
    out = stream if stream is not None else sys.stderr
    plain = out.isatty() if json_lines is None else not json_lines

    def named(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if daemon:  # not a context variable: worker threads start without the context of the one that set it
            event.setdefault("installation", daemon)
        return event

    shared: list[structlog.typing.Processor] = [
        named,
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,  # plain: never the local variables of a frame
        structlog.processors.UnicodeDecoder(),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
        if plain
        else structlog.processors.JSONRenderer(sort_keys=True, ensure_ascii=False)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redaction.processor, renderer],
        use_get_message=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    handler.addFilter(_Capped())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)


def logger() -> Any:
    """Where the daemon says what happens to it."""
    return structlog.get_logger("rotatord")


# --- metrics ---------------------------------------------------------------------------------------------------------

_LATENESS_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)
_PHASE_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400, 604800)
_ENDINGS = frozenset({"completed", "rolled_back", "superseded", "halted"})


class Telemetry:
    """The metrics of one daemon, in a registry of their own. Thread-safe. Labels never hold values or issuer-side ids."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._rotations = Counter("rotatord_rotation", "Rotations that ended, or halted.", ["outcome"], registry=registry)
        self._phases = Histogram(
            "rotatord_rotation_phase_duration_seconds",
            "How long rotations stayed in each state.",
            ["state", "way"],
            buckets=_PHASE_BUCKETS,
            registry=registry,
        )
        self._steps = Counter("rotatord_step", "Steps that were run.", ["step", "way", "outcome"], registry=registry)
        self._calls = Histogram(
            "rotatord_call_seconds", "Outside calls.", ["port", "plugin", "method", "outcome"], registry=registry
        )
        self._lateness = Histogram(
            "rotatord_start_lateness_seconds",
            "From the moment when work was due to the moment when it began.",
            buckets=_LATENESS_BUCKETS,
            registry=registry,
        )
        self._events = Counter("rotatord_event", "Lines of the event log.", ["action", "outcome"], registry=registry)
        self._counts = {
            name: Gauge(f"rotatord_{name}", text, registry=registry)
            for name, text in (
                ("credentials", "Credentials that the journal knows."),
                ("due", "Credentials with work that is due."),
                ("open", "Open rotations."),
                ("halted", "Rotations that wait for a person."),
                ("owed", "Credentials with versions that must still die."),
                ("overdue", "Credentials past the time by which they must have been rotated."),
            )
        }
        self._expiry = Gauge(
            "rotatord_credential_expiry_timestamp_seconds",
            "When the current version ends.",
            ["credential", "issuer"],
            registry=registry,
        )
        self._nearest = Gauge("rotatord_nearest_expiry_timestamp_seconds", "The nearest expiry of all.", registry=registry)
        self._expiring: set[tuple[str, str]] = set()
        self._endangered = Gauge(
            "rotatord_endangered", "Credentials whose version will expire before it is replaced.", registry=registry
        )
        self._progress = Gauge(
            "rotatord_last_progress_timestamp_seconds", "When this daemon last saw that work gets on.", registry=registry
        )
        self._signals = Counter("rotatord_deadman_signal", "Dead man's signals.", ["outcome"], registry=registry)
        # Finding a series by its labels costs more than counting in it, and a rotation counts a hundred times.
        self._phase = cache(self._phases.labels)
        self._call = cache(self._calls.labels)
        self._event = cache(self._events.labels)

    def step(self, step: str, way: str, outcome: str) -> None:
        """A step was run; ``outcome`` is moved, waits, retries or failed."""
        self._steps.labels(step, way, outcome).inc()

    def phase(self, state: str, way: str, seconds: float) -> None:
        """A rotation left a state after so long."""
        self._phase(state, way).observe(max(seconds, 0.0))

    def call(self, port: str, plugin: str, method: str, seconds: float, outcome: str = "ok") -> None:
        """An outside call ended; ``plugin`` is the configured name, ``outcome`` ok or the error's class."""
        self._call(port, plugin, method, outcome).observe(max(seconds, 0.0))

    def late(self, seconds: float) -> None:
        """Work began so long after it was due."""
        self._lateness.observe(max(seconds, 0.0))

    def event(self, event: Event) -> None:
        """A line was written to the event log."""
        self._event(event.action, event.outcome).inc()
        ending = event.action.removeprefix("rotation.")
        if ending in _ENDINGS:
            self._rotations.labels(ending).inc()

    def counts(self, counts: Mapping[str, int]) -> None:
        """The journal's counts; names it does not know are left out."""
        for name, gauge in self._counts.items():
            if name in counts:
                gauge.set(counts[name])

    def expiries(self, expiries: Mapping[tuple[str, str], datetime]) -> None:
        """Every known expiry by (credential, issuer); above EXPIRY_SERIES only the nearest ones keep their series."""
        shown = dict(sorted(expiries.items(), key=lambda item: item[1])[:EXPIRY_SERIES])
        for gone in self._expiring - set(shown):
            self._expiry.remove(*gone)
        for labels, end in shown.items():
            self._expiry.labels(*labels).set(end.timestamp())
        self._expiring = set(shown)
        self._nearest.set(min((end.timestamp() for end in shown.values()), default=float("inf")))

    def endangered(self, count: int) -> None:
        """So many will expire if nothing changes."""
        self._endangered.set(count)

    def progressed(self, now: datetime) -> None:
        """Work gets on."""
        self._progress.set(now.timestamp())

    def signalled(self, outcome: str) -> None:
        """A dead man's signal was sent: ok, failed, or withheld where it says that nothing gets on."""
        self._signals.labels(outcome).inc()

    def render(self) -> bytes:
        """The exposition format, for /metrics."""
        return generate_latest(self.registry)
