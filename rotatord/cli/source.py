"""Where reading commands read: from the daemon, or else from its journal, opened only to look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

from rotatord.cli.client import Client, NoDaemonError, Place, credential_path
from rotatord.cli.ending import Ending, Exit, unknown_name
from rotatord.cli.output import remark

JsonMap = dict[str, Any]
_PAGE = 500


class Source(Protocol):
    """The reading part of the API. ``live``: a daemon answers, so that what is planned is done."""

    @property
    def live(self) -> bool: ...

    def listing(self, what: str) -> JsonMap:
        """All pages of ``status`` or ``plan`` as one."""
        ...

    def credential(self, name: str) -> JsonMap: ...

    def why(self, name: str) -> JsonMap: ...

    def events(self, name: str | None, *, after: int = 0, tail: int | None = None) -> JsonMap: ...


class Daemon:
    """Reads from a running daemon."""

    live = True

    def __init__(self, client: Client) -> None:
        self._client = client

    def listing(self, what: str) -> JsonMap:
        return _joined(self._client.pages(f"/v1/{what}"))

    def credential(self, name: str) -> JsonMap:
        return self._client.get(credential_path(name))

    def why(self, name: str) -> JsonMap:
        return self._client.get(f"{credential_path(name)}/why")

    def events(self, name: str | None, *, after: int = 0, tail: int | None = None) -> JsonMap:
        return self._client.get("/v1/events", credential=name, after=after, tail=tail)


class Book:
    """Reads from a journal while no daemon answers, by the same functions that the daemon answers with."""

    live = False

    def __init__(self, service: Any) -> None:
        self._service = service

    def listing(self, what: str) -> JsonMap:
        from rotatord.api import pages  # noqa: PLC0415 - the pure half of the engine, needed only here

        page = pages.status if what == "status" else pages.plan

        def all_pages() -> Iterator[JsonMap]:
            after: str | None = ""
            while after is not None:
                body = page(self._service, after=after, limit=_PAGE)
                yield body
                after = body["next"]

        return _joined(all_pages())

    def credential(self, name: str) -> JsonMap:
        return self._ask("credential", name)

    def why(self, name: str) -> JsonMap:
        return self._ask("explain", name)

    def events(self, name: str | None, *, after: int = 0, tail: int | None = None) -> JsonMap:
        return self._ask("events", name, after=after, tail=tail)

    def _ask(self, what: str, name: str | None, **options: Any) -> JsonMap:
        from rotatord.api import pages  # noqa: PLC0415

        try:
            body: JsonMap = getattr(pages, what)(self._service, name, **options)
        except pages.UnknownNameError as error:
            raise unknown_name(str(error), error.suggestions) from None
        return body


def _joined(pages: Iterator[JsonMap]) -> JsonMap:
    whole = next(pages)
    for page in pages:
        whole["credentials"].extend(page["credentials"])
        whole["damaged"] = [*whole.get("damaged", ()), *page.get("damaged", ())]
    whole.pop("next", None)
    return whole


@contextmanager
def reading(place: Place) -> Iterator[Source]:
    """The daemon if it answers; else its journal, which is said on stderr; else an Ending with exit code 3."""
    client = Client(place)
    try:
        client.get("/healthz")
    except NoDaemonError as error:
        with _opened(place, str(error)) as service:
            remark(f"{error}; this is what its journal says, and nothing is being done")
            yield Book(service)
    except Ending as ending:
        if ending.code is not Exit.INCOMPLETE:
            raise
        yield Daemon(client)  # alive but not well: let the question itself be answered or not
    else:
        yield Daemon(client)


def _database(place: Place) -> Callable[[], str] | str | None:
    """The database that holds the journal, where the environment or the configuration names one."""
    from rotatord.config import journal_url, load  # noqa: PLC0415 - only where no daemon answers
    from rotatord.errors import ConfigError  # noqa: PLC0415
    from rotatord.settings import Settings  # noqa: PLC0415

    try:
        configuration = load(place.config, settings=Settings.from_environment(), credentials=False)
    except ConfigError:
        return None
    return journal_url(configuration) if configuration.database else None


@contextmanager
def _opened(place: Place, trouble: str) -> Iterator[Any]:
    path = Path(place.state_dir) / "journal.db"
    database = None if place.api else _database(place)
    if place.api or not (database or path.is_file()):
        nothing = f"{trouble}, and there is no journal to read" + ("" if place.api else f" at {path}")
        raise Ending(
            Exit.INCOMPLETE, f"{nothing}; is `rotatord run` running? --config or --state-dir before the command say where"
        )
    from rotatord.api.journal_service import JournalService  # noqa: PLC0415 - SQLAlchemy is needed only here
    from rotatord.clock import RandomIds, SystemClock  # noqa: PLC0415
    from rotatord.errors import JournalError, OutsideError, Refused  # noqa: PLC0415
    from rotatord.journal import open_journal  # noqa: PLC0415

    def accept(*_: object) -> NoReturn:
        raise Refused("only a running daemon can tell")

    clock, ids = SystemClock(), RandomIds()
    try:
        journal = open_journal(database or f"sqlite:///{path.absolute()}", clock, ids, read_only=True)
    except (JournalError, OutsideError, ValueError) as error:
        raise Ending(Exit.INCOMPLETE, f"{trouble}, and its journal cannot be read: {error}") from None
    try:
        yield JournalService(journal, clock, ids, accept, lambda: None)
    except JournalError as error:
        raise Ending(Exit.INCOMPLETE, f"its journal cannot be read: {error}") from None
    finally:
        journal.close()
