"""A daemon's life as a person starts it: mistakes in words, signals, and the exit codes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from rotatord.bugs import described
from rotatord.config import load_for_start
from rotatord.daemon import Daemon
from rotatord.errors import ConfigError, JournalError, RotatordError
from rotatord.footprint import give_back
from rotatord.hardening import harden
from rotatord.settings import Settings
from rotatord.telemetry import configure_logging

EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE, EXIT_INCOMPLETE = 0, 1, 2, 3


def run(path: str | Path, *, once: bool = False) -> int:
    """Run until SIGTERM or SIGINT; the exit code. Every mistake of the configuration is printed, one a line."""
    configure_logging()
    give_back()
    try:
        configuration = load_for_start(path, settings=Settings.from_environment())
    except ConfigError as error:
        return _refused(error)
    json_lines = {"json": True, "text": False}.get(configuration.log.format)
    configure_logging(configuration.log.level, json_lines=json_lines)
    threading.excepthook = _thread_ended
    for measure in harden():
        logging.getLogger("rotatord").debug("%s", measure)
    try:
        daemon = Daemon(configuration, path)
    except (OSError, RotatordError) as error:
        return _refused(error)
    configure_logging(configuration.log.level, json_lines=json_lines, daemon=daemon.installation)
    del configuration  # the daemon keeps what it needs, and that is not all the credentials
    return _once(daemon) if once else _forever(daemon)


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    """A thread that ended by a bug is told like any other bug: the interpreter's own way would quote the error's text."""
    if ended.exc_value is not None and not isinstance(ended.exc_value, SystemExit):
        logging.getLogger("rotatord").error("a thread ended: bug: %s", described(ended.exc_value))


def _refused(error: OSError | RotatordError) -> int:
    """Say why there is no daemon; every mistake of a configuration is a line."""
    said = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
    for line in error.problems if isinstance(error, ConfigError) else [f"rotatord: {said}"]:
        print(line, file=sys.stderr)  # noqa: T201 - the command line's own answer
    return EXIT_USAGE


def _once(daemon: Daemon) -> int:
    try:
        daemon.run_once()
        unfinished = daemon.unfinished()
    except (OSError, RotatordError) as error:
        usage = _refused(error)
        return EXIT_INCOMPLETE if isinstance(error, JournalError) else usage
    finally:
        daemon.stop()
    for line in unfinished:
        print(f"rotatord: {line}", file=sys.stderr)  # noqa: T201 - the command line's own answer
    if daemon.failures:
        return EXIT_FINDINGS
    return EXIT_INCOMPLETE if unfinished else EXIT_CLEAN


def _forever(daemon: Daemon) -> int:
    # Signals are read from a pipe, not handled: a handler could run inside a lock that it needs. They are not blocked
    # either, because our children would inherit that.
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    try:
        daemon.start()
    except (OSError, RotatordError) as error:
        daemon.stop()
        return _refused(error)
    while os.read(told, 1)[0] == signal.SIGHUP:
        daemon.reload()
    if not daemon.stop():
        # A call that hangs would keep its thread, and the thread the interpreter. What is left is as safe as a crash.
        logging.shutdown()
        os._exit(EXIT_CLEAN)
    return EXIT_CLEAN
