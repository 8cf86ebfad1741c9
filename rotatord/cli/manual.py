"""The page of commands, as the manual prints it: the help of each, at a fixed width."""

from __future__ import annotations

from typing import Any

import typer.main

from rotatord.cli.main import app

_WIDTH = 100


def commands() -> str:
    """The help of the whole and of every command, in Markdown."""
    whole: Any = typer.main.get_command(app)
    parts = [_block(whole, "rotatord", None)]
    parent = whole.make_context("rotatord", ["version"], resilient_parsing=True)
    for name, command in whole.commands.items():
        parts.append(f"## rotatord {name}\n\n{_block(command, name, parent)}")
    return "\n\n".join(parts)


def _block(command: Any, name: str, parent: Any) -> str:
    context = command.context_class(command, info_name=name, parent=parent, terminal_width=_WIDTH, max_content_width=_WIDTH)
    return f"```text\n{command.get_help(context).rstrip()}\n```"
