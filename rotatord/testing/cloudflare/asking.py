"""One request on its way: what it asks for, with what, and which operation that is."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from rotatord.testing.cloudflare.answers import Page
from rotatord.testing.cloudflare.book import Book
from rotatord.testing.cloudflare.estate import Account, Estate, Zone
from rotatord.testing.cloudflare.refusals import refused
from rotatord.testing.cloudflare.rights import Caller, Target
from rotatord.testing.wires import Wire

ROOT = "/client/v4"
_ID = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")
# Which words a refused token meets: each part of the API has its own.
Family = Literal["classic", "platform", "verify"]


@dataclass
class Ask:
    """What an operation is given."""

    estate: Estate
    book: Book
    caller: Caller
    edge: int
    operation: str
    family: Family
    params: Mapping[str, str]
    query: Mapping[str, str]
    wire: Wire
    tangled: str = ""  # what is to go wrong with a list: "half" or "repeats"

    @property
    def now(self) -> datetime:
        return self.estate.now()

    def body(self) -> Any:
        """The JSON that was sent."""
        kind = self.wire.headers.get("content-type", "application/json").partition(";")[0].strip()
        if kind != "application/json":
            raise refused("wrong content type")
        try:
            return json.loads(self.wire.body or b"null")
        except ValueError:
            raise refused("not json") from None

    def account(self) -> Account:
        """The account of the path, if it is the caller's."""
        account = self.estate.accounts.get(self.params["account"])
        if account is None or not self.caller.reaches(account):
            raise self.forbidden("not the caller's account")
        if self.caller.api_off(account):
            raise refused("api access off")
        return account

    def zone(self) -> Zone:
        """The zone of the path, if it is in an account of the caller's."""
        zone = self.estate.zones.get(self.params["zone"])
        if zone is None or not self.caller.reaches(zone.account):
            raise self.forbidden("not the caller's zone")
        if self.caller.api_off(zone.account):
            raise refused("api access off")
        return zone

    def need(self, names: Sequence[str], target: Target) -> None:
        """One of these groups, there."""
        if not self.caller.may(names, target):
            raise self.forbidden(f"no permission: {' or '.join(names)}")

    def forbidden(self, why: str) -> Exception:
        platform = self.family == "platform"
        return refused("no permission, platform" if platform else "no permission", why)

    def paged(self, rows: Sequence[Any], *, least: int = 5, most: int = 50, usual: int = 20) -> Page:
        """The page that is asked for."""
        page = self.number("page", 1, 1, 1 << 30)
        per_page = self.number("per_page", usual, least, most)
        start = (page - 1) * per_page
        taken = list(rows[start : start + per_page])
        if self.tangled == "half":
            taken = taken[: len(taken) // 2]
        elif self.tangled == "repeats" and start:
            taken = list(rows[start - 1 : start - 1 + per_page])  # something before it went, between two pages
        return Page(taken, page, per_page, len(rows))

    def number(self, name: str, usual: int, least: int, most: int) -> int:
        said = self.query.get(name)
        if said is None:
            return usual
        if not re.fullmatch(r"\d{1,9}(\.0+)?", said) or not least <= int(float(said)) <= most:
            raise refused("bad page", name=name)
        return int(float(said))

    def switch(self, name: str) -> bool:
        return self.query.get(name, "false").lower() == "true"


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked. ``path`` has names in braces for what varies."""

    name: str
    method: str
    path: str
    run: Callable[[Ask], Any]
    family: Family = "classic"
    anyone: bool = False  # needs no credential


def find(operations: Sequence[Operation], method: str, path: str) -> tuple[Operation, Mapping[str, str]]:
    """The operation that a request means, with the names in its path."""
    parts = path.strip("/").split("/")
    near = [(one, params) for one in operations if (params := _match(one.path, parts)) is not None]
    if not near:
        raise refused("no such URI")
    near.sort(key=lambda pair: pair[0].path.count("{"))  # tokens/verify before tokens/{token}
    closest = near[0][0].path.count("{")
    found = [(one, params) for one, params in near if one.method == method and one.path.count("{") == closest]
    if not found:
        raise refused("wrong method", method=method)
    operation, params = found[0]
    for name, value in params.items():
        fits = _NAME if name in ("script", "bucket", "client", "object") else _ID
        if not fits.fullmatch(value):
            raise refused("no route", path=path)
    return operation, params


def _match(template: str, parts: Sequence[str]) -> Mapping[str, str] | None:
    wanted = template.strip("/").split("/")
    if len(wanted) != len(parts):
        return None
    params = {}
    for want, part in zip(wanted, parts, strict=True):
        if want.startswith("{"):
            params[want[1:-1]] = urllib.parse.unquote(part)
        elif want != part:
            return None
    return params
