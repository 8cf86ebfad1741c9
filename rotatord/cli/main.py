"""The command line: which commands there are, and how every one of them ends.

Nothing heavy is imported here: ``--help`` must come at once, and each command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from rotatord.cli import asking, granting, moving, reading, running
from rotatord.cli.client import NoDaemonError
from rotatord.cli.ending import Ending, Exit
from rotatord.cli.options import whereabouts
from rotatord.cli.output import printable, remark

# Markup would cost half of the time that --help may take; locals in a traceback could hold anything.
app = typer.Typer(
    name="rotatord",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(whereabouts)

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": running.demo,
    "run": running.run,
    "validate": running.validate,
    "check": reading.check,
    "rights": granting.rights,
    "plan": reading.plan,
    "status": reading.status,
    "why": reading.why,
    "log": reading.log,
    "strays": reading.strays,
    "rotate": asking.rotate,
    "rollback": asking.rollback,
    "pause": asking.pause,
    "unpause": asking.unpause,
    "hold": asking.hold,
    "release": asking.release,
    "resume": asking.resume,
    "repair": asking.repair,
    "inspect": asking.inspect,
    "adopt": asking.adopt,
    "retire": asking.retire,
    "contain": asking.contain,
    "revoke": asking.revoke,
    "rebuild": asking.rebuild,
    "move-journal": moving.move_journal,
    "exec": running.exec_,
    "lambda": running.lambda_,
    "scanner-regex": running.scanner_regex,
    "version": running.version,
}
# Everything after the double dash is the program's own.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

for _name, _command in COMMANDS.items():
    app.command(
        _name,
        short_help=(_command.__doc__ or "").split(". ")[0].split(".\n")[0].removesuffix("."),
        context_settings=_PASS_ON if _name == "exec" else {},
    )(_command)


def run(arguments: list[str] | None = None) -> int:
    """Carry out one command line; returns its exit code and lets no exception of ours out."""
    try:
        app(args=arguments, prog_name="rotatord")
    except Ending as ending:
        for text in ending.lines:
            remark(printable(text))
        return int(ending.code)
    except NoDaemonError as error:
        remark(f"{error}; is `rotatord run` running? --socket and --state-dir say where it is looked for")
        return int(Exit.INCOMPLETE)
    except BrokenPipeError:
        # Whoever read our output has left; nothing more can be said there, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.INCOMPLETE)
    except KeyboardInterrupt:
        return 130
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return int(Exit.CLEAN)


def main() -> None:
    """The entry point."""
    sys.exit(run())
