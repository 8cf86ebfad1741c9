"""Audit log, version 2: what changed and by which credential. Reads are not in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rotatord.testing.cloudflare import rights
from rotatord.testing.cloudflare.answers import Cursored, Json, fine
from rotatord.testing.cloudflare.asking import Ask, Operation
from rotatord.testing.cloudflare.refusals import refused

_KEPT = timedelta(days=548)  # 18 months
_ACTIONS: Mapping[str, str] = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
_KNOWN = {"since", "before", "cursor", "limit", "direction"}
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, as the log has it."""

    at: datetime
    account: str | None  # the account that it was in; None: the user's own things
    shown: Json


def entry(ask: Ask, status: int, ray: str) -> Entry:
    """What the log says of a call."""
    caller, now = ask.caller, ask.now
    actor: Json = {"id": None, "type": "account", "context": "api_token", "ip_address": caller.address}
    if caller.is_user:
        actor |= {"id": ask.estate.user.id, "type": "user", "email": ask.estate.user.email}
    if caller.token is None:
        actor["context"] = "api_key"
    else:
        actor |= {"token_id": caller.token.id, "token_name": caller.token.name}
    zone = ask.estate.zones.get(ask.params.get("zone", ""))
    account = zone.account.id if zone is not None else ask.params.get("account")
    shown: Json = {
        "id": ask.estate.new_id(),
        "account": {"id": account, "name": ask.estate.accounts[account].name if account in ask.estate.accounts else None},
        "action": {"time": fine(now), "type": _ACTIONS[ask.wire.method], "result": "success" if status < 400 else "failure"},
        "actor": actor,
        "raw": {
            "cf_ray_id": ray,
            "method": ask.wire.method,
            "status_code": status,
            "uri": ask.wire.path.partition("?")[0],
            "user_agent": caller.agent,
        },
        "resource": {"product": ask.operation.partition(".")[0], "type": ask.operation.rpartition(".")[0]},
    }
    if zone is not None:
        shown["zone"] = {"id": zone.id, "name": zone.name}
    return Entry(now, account, shown)


def listed(ask: Ask) -> Any:
    account = ask.account()
    ask.need(("Account Settings Read", "Account Settings Write"), rights.of_account(account))
    if unknown := sorted(set(ask.query) - _KNOWN):
        raise refused("bad page", name=unknown[0])
    since, before = _day(ask, "since", 0), _day(ask, "before", 1)
    least = max(since, ask.now - _KEPT)
    found = [one.shown for one in ask.book.audit if one.account == account.id and least <= one.at < before]
    if ask.query.get("direction", "desc") == "desc":
        found.reverse()
    limit, start = ask.number("limit", 100, 1, _MOST), ask.number("cursor", 0, 0, 1 << 30)
    taken = found[start : start + limit]
    return Cursored(taken, str(start + limit) if start + limit < len(found) else None)


def _day(ask: Ask, name: str, days: int) -> datetime:
    """A day, or a moment; ``before`` a day means its end."""
    said = ask.query.get(name, "")
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        raise refused("bad page", name=name) from None
    whole = re.fullmatch(r"\d{4}-\d\d-\d\d", said) is not None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return at + timedelta(days=days) if whole else at


OPERATIONS = (Operation("accounts.logs.audit.list", "GET", "/accounts/{account}/logs/audit", listed),)
