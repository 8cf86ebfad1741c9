"""The command that moves the journal from one database to another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rotatord.cli.ending import Ending, Exit
from rotatord.cli.options import place_of
from rotatord.cli.output import line, remark
from rotatord.cli.running import Config

if TYPE_CHECKING:
    from rotatord.config import Configuration
    from rotatord.journal.moving import Place

SQLITE = "sqlite"


def move_journal(
    context: typer.Context,
    config: Config = "",
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="WHERE",
            help="sqlite (in the state directory), or PostgreSQL: file:PATH or env:NAME of a URL, or one without password.",
        ),
    ],
) -> None:
    """Move the journal to another database, whole. Every daemon must be stopped. Again after a crash: it goes on.

    From where the configuration says that it lies; afterwards the configuration has to name the new place.
    """
    from rotatord import identity  # noqa: PLC0415 - the engine's parts, only for this
    from rotatord.clock import RandomIds, SystemClock  # noqa: PLC0415
    from rotatord.config import load  # noqa: PLC0415
    from rotatord.errors import ConfigError, JournalError, OutsideError, Refused  # noqa: PLC0415
    from rotatord.journal.moving import moving  # noqa: PLC0415
    from rotatord.settings import Settings  # noqa: PLC0415

    try:
        found = load(config or place_of(context).config, settings=Settings.from_environment(), credentials=False)
        identity.prepare(Path(found.state_dir))
        source, target = _source(found), _target(found, to)
        for stage in moving(source, target, actor=_actor(), now=SystemClock().now(), ids=RandomIds()):
            line(stage)
    except ConfigError as error:
        raise Ending(Exit.USAGE, *(str(problem) for problem in error.problems)) from None
    except (Refused, ValueError) as error:
        raise Ending(Exit.USAGE, f"{error}; nothing was moved") from None
    except (JournalError, OutsideError, OSError) as error:
        raise Ending(Exit.INCOMPLETE, f"{error}. The move has not ended: run the same command again") from None
    for text in _what_next(found, to):
        remark(text)


def _source(found: Configuration) -> Place:
    from rotatord.config import journal_of, journal_url  # noqa: PLC0415
    from rotatord.journal.moving import postgresql_place, sqlite_place  # noqa: PLC0415

    url = journal_url(found)
    if found.database is None:
        return sqlite_place(journal_of(found), exists=True)
    return postgresql_place(url if callable(url) else lambda: url)


def _target(found: Configuration, to: str) -> Place:
    """Raises Refused for a place that is none, or the one where it is already."""
    from rotatord import references  # noqa: PLC0415
    from rotatord.config import journal_of  # noqa: PLC0415
    from rotatord.configuration.values import database_url  # noqa: PLC0415
    from rotatord.errors import Refused  # noqa: PLC0415
    from rotatord.journal.moving import postgresql_place, sqlite_place  # noqa: PLC0415
    from rotatord.settings import reference_of  # noqa: PLC0415

    if to == SQLITE:
        if found.database is None:
            raise Refused("the journal lies in the state directory already")
        return sqlite_place(journal_of(found))
    reference = reference_of(to) or {}
    if not reference.keys() & {"file", "env"}:
        try:
            reference = database_url(to)
        except ValueError as error:
            raise Refused(f"--to: {error}") from None
    if reference == found.database:
        raise Refused("the journal lies there already")
    url = reference.get("url")
    return postgresql_place(lambda: url or references.resolve(dict(reference), base_dir="."))


def _what_next(found: Configuration, to: str) -> list[str]:
    """What a person has to do, and what goes along by hand."""
    state = Path(found.state_dir)
    if to == SQLITE:
        said = [
            "Take `database: {url: …}` out of the configuration (and ROTATORD_DATABASE_URL out of the environment), then start."
        ]
    else:
        shown = to if to.startswith("postgres") else "{" + to.replace(":", ": ", 1) + "}"
        said = [f"Write `database: {{url: {shown}}}` into the configuration (or set ROTATORD_DATABASE_URL), then start."]
    if found.fingerprint_key is None:
        said.append(
            f"The fingerprint key stays in {state / 'fingerprint.key'}: a daemon with another state directory needs it "
            "(`fingerprint_key: {file: …}`). The identity went along in the journal."
        )
    else:
        said.append("The fingerprint key is where the configuration says, as before; the identity went along in the journal.")
    return said


def _actor() -> str:
    import os  # noqa: PLC0415
    import pwd  # noqa: PLC0415

    try:
        return f"uid:{os.getuid()}({pwd.getpwuid(os.getuid()).pw_name})"
    except KeyError:
        return f"uid:{os.getuid()}"
