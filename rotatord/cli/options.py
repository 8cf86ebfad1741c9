"""What many commands share: where the daemon is, the form of the output, and how a command comes to its end."""

from __future__ import annotations

from typing import Annotated

import typer

from rotatord.cli.client import Place, configured_state_dir, default_config
from rotatord.cli.ending import Ending, Exit
from rotatord.cli.output import Form

Name = Annotated[str, typer.Argument(metavar="NAME", help="A credential.", show_default=False)]
Output = Annotated[Form, typer.Option("--output", "-o", metavar="FORM", help="The form of the answer: table, json or yaml.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it goes into the event log.")]
SocketPath = Annotated[
    str,
    typer.Option(
        "--socket",
        metavar="PATH",
        envvar="ROTATORD_SOCKET",
        help="The daemon's socket; else rotatord.sock in the state directory.",
    ),
]
StateDir = Annotated[
    str,
    typer.Option(
        "--state-dir",
        metavar="DIRECTORY",
        envvar="ROTATORD_STATE_DIR",
        help="The daemon's state directory; else what its configuration says.",
    ),
]
Config = Annotated[
    str,
    typer.Option(
        "--config",
        "-c",
        metavar="PATH",
        envvar="ROTATORD_CONFIG",
        help="A YAML file, or a directory of them; else rotatord.yaml here, else the one in /etc/rotatord.",
    ),
]
Api = Annotated[
    str,
    typer.Option("--api", metavar="URL", envvar="ROTATORD_API", help="The daemon's address over TCP, instead of the socket."),
]
TokenFile = Annotated[
    str, typer.Option("--token-file", metavar="PATH", envvar="ROTATORD_TOKEN_FILE", help="The file of the token for --api.")
]


def whereabouts(
    context: typer.Context,
    *,
    socket: SocketPath = "",
    state_dir: StateDir = "",
    config: Config = "",
    api: Api = "",
    token_file: TokenFile = "",
) -> None:
    """Rotate credentials, prove that their consumers run on the new one, and only then revoke the old one.

    Exit codes: 0 clean, 1 findings or a failed rotation, 2 usage or bad configuration, 3 incomplete.
    """
    config = config or default_config()
    context.obj = Place(
        state_dir=state_dir or configured_state_dir(config), socket=socket, api=api, token_file=token_file, config=config
    )


def place_of(context: typer.Context) -> Place:
    """Where the daemon is looked for."""
    place = context.find_object(Place)
    assert place is not None, "the callback of the application made it"
    return place


def pair(text: str, rule: str) -> tuple[str, str]:
    """Both sides of ``key=value``. Ends the command with the rule where they are not there."""
    key, _, value = text.partition("=")
    if not key or not value:
        raise Ending(Exit.USAGE, f"{rule}, not {text!r}")
    return key, value
