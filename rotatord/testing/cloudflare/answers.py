"""Envelopes: everything is ``{success, errors, messages, result}``, lists have ``result_info``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rotatord.testing.cloudflare.refusals import Refused
from rotatord.testing.wires import Reply

JSON = "application/json"
Json = dict[str, Any]
VALID = {"code": 10000, "message": "This API Token is valid and active", "type": None}


class Page:
    """Some of a list, and where in the list that is."""

    def __init__(self, rows: Sequence[Any], page: int, per_page: int, total: int) -> None:
        self.rows = list(rows)
        self.info = {
            "page": page,
            "per_page": per_page,
            "count": len(self.rows),
            "total_count": total,
            "total_pages": -(-total // per_page),
        }

    def of(self, shown: Callable[[Any], Any]) -> Page:
        """The same page, of what its rows look like."""
        self.rows = [shown(row) for row in self.rows]
        return self


class Cursored:
    """Some of a list, and where it goes on."""

    def __init__(self, rows: Sequence[Any], after: str | None) -> None:
        self.rows = list(rows)
        self.info = {"count": len(self.rows), "cursors": {"after": after} if after else {}}


class Bare:
    """An answer without an envelope."""

    def __init__(self, body: Json) -> None:
        self.body = body


class Noted:
    """A result with messages beside it."""

    def __init__(self, result: Any, messages: Sequence[Json]) -> None:
        self.result = result
        self.messages = list(messages)


def success(result: Any) -> Reply:
    """A result in its envelope."""
    if isinstance(result, Bare):
        return written(200, result.body)
    body: Json = {"result": result, "success": True, "errors": [], "messages": []}
    if isinstance(result, Noted):
        body |= {"result": result.result, "messages": result.messages}
    elif isinstance(result, Page | Cursored):
        body |= {"result": result.rows, "result_info": result.info}
    return written(200, body)


def failure(error: Refused) -> Reply:
    """An error in its envelope."""
    said = error.said
    top: Json = {"code": said.code, "message": said.message}
    if said.chain:
        top["error_chain"] = [{"code": code, "message": message} for code, message in said.chain]
    errors = [top]
    if said.code == 7003:
        errors.append({"code": 7000, "message": "No route for that URI"})
    return written(said.status, {"success": False, "errors": errors, "messages": [], "result": None}, error.headers)


def written(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"Content-Type": JSON, **(headers or {})})


def moment(at: datetime) -> str:
    """UTC to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def fine(at: datetime) -> str:
    """UTC to the microsecond, as zones, accounts and records have it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
