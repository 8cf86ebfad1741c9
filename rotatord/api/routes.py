"""The routes of the API, the rights they need, and its errors. What it serves comes from a :class:`Service` and the views.

Imported with the first request: FastAPI costs memory that an idle daemon, and time that the command line, must not pay.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from rotatord import views
from rotatord.api import pages
from rotatord.api.access import Actor
from rotatord.api.rotate import RotateSelection, rotate
from rotatord.api.service import Service
from rotatord.commands import VERBS, CommandError, Right, parse, right_of
from rotatord.errors import JournalError, Refused, Retryable
from rotatord.model import JsonMap

log = logging.getLogger(__name__)

COMMAND_SCHEMA = "rotatord.command/v1"

Name = Annotated[str, Path(max_length=500)]
Text = Annotated[str, Query(max_length=500)]
Limit = Annotated[int, Query(ge=1, le=1000)]
After = Annotated[int, Query(ge=0, le=2**53)]


class Problem(Exception):
    """An error answer: HTTP status, code, sentence, and facts beside them."""

    def __init__(self, status: int, code: str, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "error": message, **facts}


def needs(right: Right) -> Callable[[Request], Actor]:
    """A dependency that lets only actors with this right pass."""

    def check(request: Request) -> Actor:
        return permitted(request, right)

    return check


def permitted(request: Request, right: Right) -> Actor:
    """The actor of the request, if they have ``right``. Raises Problem 403."""
    actor: Actor = request.scope["state"]["actor"]
    if right not in actor.rights:
        raise Problem(403, "denied", f"{actor.name} does not have the right {right.value!r}", right=right.value)
    return actor


Reader = Annotated[Actor, Depends(needs(Right.READ))]


def create_routes(service: Service) -> FastAPI:
    """The whole API over one service; who is asking stands in the scope's state, put there by the server."""
    app = FastAPI(title="rotatord", docs_url=None, redoc_url=None, openapi_url=None)
    _reading_routes(app, service)
    _asking_routes(app, service)
    _errors(app)

    @app.get("/v1/openapi.json")
    def openapi(_: Reader) -> JSONResponse:
        return JSONResponse(app.openapi())

    return app


def _reading_routes(app: FastAPI, service: Service) -> None:
    @app.get("/v1/status")
    def status(_: Reader, after: Text = "", limit: Limit = 500) -> JSONResponse:
        return JSONResponse(pages.status(service, after=after, limit=limit))

    @app.get("/v1/plan")
    def plan(_: Reader, after: Text = "", limit: Limit = 500) -> JSONResponse:
        return JSONResponse(pages.plan(service, after=after, limit=limit))

    @app.get("/v1/events")
    def events(
        _: Reader, credential: Text | None = None, after: After = 0, limit: Limit = 500, tail: Limit | None = None
    ) -> JSONResponse:
        return JSONResponse(pages.events(service, credential, after=after, limit=limit, tail=tail))

    @app.get("/v1/strays")
    def strays(_: Reader) -> JSONResponse:
        return JSONResponse(pages.strays(service))

    @app.get("/v1/check")
    def check(_: Reader, name: Annotated[list[str] | None, Query()] = None) -> JSONResponse:
        return JSONResponse(pages.check(service, name or []))

    @app.get("/v1/credentials/{name:path}/why")
    def explain(_: Reader, name: Name) -> JSONResponse:
        return JSONResponse(pages.explain(service, name))

    @app.get("/v1/credentials/{name:path}/plan")
    def plan_one(_: Reader, name: Name) -> JSONResponse:
        return JSONResponse(pages.plan_one(service, name))

    @app.get("/v1/credentials/{name:path}")
    def credential(_: Reader, name: Name) -> JSONResponse:
        return JSONResponse(pages.credential(service, name))


def _asking_routes(app: FastAPI, service: Service) -> None:
    @app.post("/v1/reload")
    def reload(actor: Annotated[Actor, Depends(needs(Right.POLICY))]) -> JSONResponse:
        problems = list(service.reload())
        log.info("configuration loaded anew", extra={"actor": actor.name, "problems": len(problems)})
        return JSONResponse({"schema": COMMAND_SCHEMA, "problems": problems}, 422 if problems else 200)

    @app.post("/v1/rotate")
    def rotate_many(request: Request, selection: RotateSelection) -> JSONResponse:
        actor = permitted(request, right_of("rotate", {"reason": selection.reason}))
        for name in selection.names:
            pages.known(service, name)
        return JSONResponse(rotate(service, actor.name, selection))

    @app.post("/v1/credentials/{name:path}/commands/{verb}")
    def ask(request: Request, name: Name, verb: str, arguments: dict[str, Any] | None = None) -> JSONResponse:
        actor = allowed(request, verb, arguments or {})
        pages.known(service, name)
        record = service.request(parse(verb, name, actor.name, arguments or {}))
        facts = {"schema": COMMAND_SCHEMA, "verb": verb, "accepted": True}
        return JSONResponse(facts | {"credential": views.status(record, service.now()) if record else None}, 202)

    @app.post("/v1/installation/commands/{verb}")
    def ask_all(request: Request, verb: str, arguments: dict[str, Any] | None = None) -> JSONResponse:
        actor = allowed(request, verb, arguments or {})
        service.request(parse(verb, "", actor.name, arguments or {}))
        facts = {"schema": COMMAND_SCHEMA, "verb": verb, "accepted": True}
        return JSONResponse(facts | {"pause": views.plain(service.facts().pause)}, 202)


def allowed(request: Request, verb: str, arguments: JsonMap) -> Actor:
    """The actor, if they may use this verb so. Raises Problem 404 for an unknown verb, 403 without the right."""
    if verb not in VERBS:
        raise Problem(404, "unknown_verb", f"there is no verb {verb!r}", suggestions=difflib.get_close_matches(verb, VERBS))
    return permitted(request, right_of(verb, arguments))


def _errors(app: FastAPI) -> None:
    def answer(status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **facts: Any) -> JSONResponse:
        return JSONResponse({"code": code, "error": message, **facts}, status, dict(headers or {}))

    @app.exception_handler(Problem)
    def problem(_: Request, error: Problem) -> JSONResponse:
        return JSONResponse(error.body, error.status)

    @app.exception_handler(pages.UnknownNameError)
    def unknown(_: Request, error: pages.UnknownNameError) -> JSONResponse:
        return answer(404, "unknown_name", str(error), suggestions=list(error.suggestions))

    @app.exception_handler(CommandError)
    def command(_: Request, error: CommandError) -> JSONResponse:
        return answer(400, "bad_command", str(error))

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        mistakes = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        return answer(400, "bad_request", "; ".join(mistakes))

    @app.exception_handler(Refused)
    def refused(_: Request, error: Refused) -> JSONResponse:
        return answer(409, "refused", str(error))

    @app.exception_handler(JournalError)
    def journal(_: Request, error: JournalError) -> JSONResponse:
        return answer(503, "journal", str(error))

    @app.exception_handler(Retryable)
    def later(_: Request, error: Retryable) -> JSONResponse:
        wait = {} if error.retry_after is None else {"Retry-After": str(max(1, round(error.retry_after)))}
        return answer(503, "incomplete", str(error), wait)

    @app.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> JSONResponse:
        return answer(error.status_code, "http", str(error.detail), error.headers)

    @app.exception_handler(Exception)
    def bug(_: Request, error: Exception) -> JSONResponse:
        return answer(500, "internal", f"a bug: {type(error).__name__}; the log of the daemon has more")
