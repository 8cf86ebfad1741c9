"""What many commands share: where the daemon is, the form of the output, and how a command comes to its end."""

from __future__ import annotations

from typing import Annotated

import typer

from rotatord.cli.client import DEFAULT_STATE_DIR, Place
from rotatord.cli.output import Form

Name = Annotated[str, typer.Argument(metavar="NAME", help="A credential.", show_default=False)]
Output = Annotated[Form, typer.Option("--output", "-o", help="The form of the answer.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it goes into the event log.")]
SocketPath = Annotated[
    str,
    typer.Option("--socket", envvar="ROTATORD_SOCKET", help="The daemon's socket; else rotatord.sock in the state directory."),
]
StateDir = Annotated[str, typer.Option("--state-dir", envvar="ROTATORD_STATE_DIR", help="The daemon's state directory.")]
Api = Annotated[str, typer.Option("--api", envvar="ROTATORD_API", help="The daemon's address over TCP, instead of the socket.")]
TokenFile = Annotated[str, typer.Option("--token-file", envvar="ROTATORD_TOKEN_FILE", help="The file of the token for --api.")]


def whereabouts(
    context: typer.Context,
    socket: SocketPath = "",
    state_dir: StateDir = DEFAULT_STATE_DIR,
    api: Api = "",
    token_file: TokenFile = "",
) -> None:
    """Rotate credentials, prove that their consumers run on the new one, and only then revoke the old one.

    Exit codes: 0 clean, 1 findings or a failed rotation, 2 usage or bad configuration, 3 incomplete.
    """
    context.obj = Place(state_dir=state_dir, socket=socket, api=api, token_file=token_file)


def place_of(context: typer.Context) -> Place:
    """Where the daemon is looked for."""
    place = context.find_object(Place)
    assert place is not None, "the callback of the application made it"
    return place
