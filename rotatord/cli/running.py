"""The commands that run something themselves: run, demo, validate, exec, version, scanner-regex."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from rotatord.cli.ending import Ending, Exit
from rotatord.cli.options import Output, pair, place_of
from rotatord.cli.output import Form, emit, line

# Before the command or after it: where it is given last counts.
Config = Annotated[
    str, typer.Option("--config", "-c", metavar="PATH", help="A YAML file, or a directory of them; else as given before.")
]


def run(
    context: typer.Context,
    config: Config = "",
    once: Annotated[bool, typer.Option("--once", help="Do what is due now, then end; exits 1 when something failed.")] = False,
) -> None:
    """Run the daemon."""
    from rotatord.life import run as run_daemon  # noqa: PLC0415 - the engine, its SDKs and its web server

    raise typer.Exit(run_daemon(config or place_of(context).config, once=once))


def demo() -> None:
    """Rotate three times for show: built-in issuer, file backend, a real consumer; nothing to set up, loopback only."""
    from rotatord.demo import run as run_demo  # noqa: PLC0415 - the engine

    raise typer.Exit(run_demo())


def validate(context: typer.Context, config: Config = "", output: Output = Form.TABLE) -> None:
    """Check a configuration without touching anything outside. Every mistake is shown, one a line; exits 2."""
    from rotatord.config import load  # noqa: PLC0415 - pydantic, YAML and the plugins' settings
    from rotatord.errors import ConfigError  # noqa: PLC0415
    from rotatord.settings import Settings  # noqa: PLC0415

    config = config or place_of(context).config
    problems: list[str] = []
    counted = ""
    try:
        found = load(config, settings=Settings.from_environment())
        sizes = {"credential": len(found.specs), "issuer": len(found.issuers), "backend": len(found.backends)}
        counted = ", ".join(f"{size} {name}{'' if size == 1 else 's'}" for name, size in sizes.items())
    except ConfigError as error:
        problems = [str(problem) for problem in error.problems]
    if output is not Form.TABLE:
        emit({"schema": "rotatord.validate/v1", "config": config, "problems": problems}, output)
        if problems:
            raise typer.Exit(Exit.USAGE)
    elif problems:
        raise Ending(Exit.USAGE, *problems)
    else:
        line(f"{config}: fine ({counted})")


def exec_(
    context: typer.Context,
    *,
    file: Annotated[str, typer.Option("--file", metavar="PATH", help="The file that holds the secrets.")],
    form: Annotated[
        str, typer.Option("--format", metavar="FORM", help="dotenv, json or yaml; else by the name of the file.")
    ] = "",
    on_change: Annotated[
        str, typer.Option("--on-change", metavar="HOW", help="restart, or a signal such as signal:HUP.")
    ] = "restart",
    attest: Annotated[
        str, typer.Option("--attest", metavar="ADDRESS", help="Attest what the program runs on, at 127.0.0.1:PORT.")
    ] = "",
    credential: Annotated[
        str, typer.Option("--credential", metavar="NAME", help="Its name in attestations; else the file's.")
    ] = "",
    version_key: Annotated[
        str, typer.Option("--version-key", metavar="KEY", help="The key that holds the version.")
    ] = "ROTATORD_VERSION",
    prove: Annotated[
        list[str] | None, typer.Option("--prove", metavar="FIELD=KEY", help="Prove possession of this field; repeatable.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=KEY", help="Give NAME this key, not all keys; repeatable.")
    ] = None,
    grace_seconds: Annotated[
        float, typer.Option("--grace-seconds", metavar="SECONDS", min=0, help="From TERM to KILL at a restart.")
    ] = 10.0,
) -> None:
    """Run a program with its secrets in its environment; restart or signal it when they change.

    The program follows a double dash: `rotatord exec --file app.env -- CMD ARGS`.
    """
    if not context.args:
        raise Ending(Exit.USAGE, "name the program to run after --")
    from rotatord.exec import exec_command  # noqa: PLC0415

    code = exec_command(
        list(context.args),
        file=file,
        format=form or None,
        on_change=on_change,
        attest=attest or None,
        grace_seconds=grace_seconds,
        credential=credential or None,
        version_key=version_key,
        names=dict(pair(text, "--env is NAME=KEY") for text in env or []),
        possession=dict(pair(text, "--prove is FIELD=KEY") for text in prove or []),
    )
    raise typer.Exit(code)


def lambda_(
    context: typer.Context,
    config: Config = "",
    event: Annotated[
        str, typer.Option("--event", metavar="FILE", help="Carry out this one event, - for standard input, and end.")
    ] = "",
) -> None:
    """Be a rotation function of AWS Secrets Manager: Lambda starts this, and RotateSecret calls it.

    Exits 1 when the step of --event failed.
    """
    from rotatord.function.command import run as run_function  # noqa: PLC0415 - the plugins and their SDKs

    raise typer.Exit(run_function(config or place_of(context).config, event))


def version() -> None:
    """Print the version."""
    from rotatord import __version__  # noqa: PLC0415

    line(f"rotatord {__version__} on Python {sys.version.split()[0]}")


def scanner_regex(
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="The prefix that the issuer is configured with; else its default.")
    ] = "",
) -> None:
    """Print the regular expression by which secret scanners find tokens of the built-in issuer."""
    from pydantic import ValidationError  # noqa: PLC0415 - with the plugin

    from rotatord.clock import SystemClock  # noqa: PLC0415
    from rotatord.ports import Surroundings  # noqa: PLC0415
    from rotatord.registry import ISSUERS, installed  # noqa: PLC0415

    # Making a plugin does no I/O, so what surrounds it does not matter here.
    nowhere = Surroundings(installation="", state_dir="/nonexistent", now=SystemClock().now, secret=lambda _: "")
    try:
        issuer: Any = installed(ISSUERS)["builtin"]()({"prefix": prefix} if prefix else {}, nowhere)
    except ValidationError as error:
        raise Ending(Exit.USAGE, f"--prefix: {error.errors(include_input=False)[0]['msg']}") from None
    line(issuer.scanner_regex())
