"""Who else may act in an account of Cloudflare's: Global API keys in use, OAuth applications, and members with API access.

Reads only, and no values: the audit log, the applications that are registered, and the members with their settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rotatord.cloudflare_client import Calls
from rotatord.cloudflare_errors import NOT_UNDERSTOOD, error_of
from rotatord.cloudflare_scope import spelled, time_of
from rotatord.errors import Denied, Retryable
from rotatord.model import JsonMap

LOOKED_BACK = timedelta(days=7)
_ENTRIES, _MOST_PAGES = 1000, 5
_SHOWN = 10
_MAY_GRANT = (
    "members may let public OAuth applications act for them in this account (the dashboard keeps new ones out: Manage Account, "
    "Members, Settings, Public OAuth App access)"
)


@dataclass(frozen=True, slots=True)
class _Uses:
    """Changes by one actor in one way."""

    count: int
    last: str


def survey(calls: Calls, account: str, now: datetime) -> list[str]:
    """Sentences; what may not be looked at is one too. Raises Retryable where it cannot be told now."""
    found: list[str] = []
    for part in (_keys_in_use, _applications, _api_access):
        try:
            found += part(calls, account, now)
        except Denied as error:
            found.append(f"{part.__name__.strip('_').replace('_', ' ')} cannot be looked at: {error}")
    return found


def _keys_in_use(calls: Calls, account: str, now: datetime) -> list[str]:
    entries, all_of_them = _audited(calls, account, now)
    found = [
        f"the Global API key of {who} made {_times(uses)}: it may do everything that this user may, from anywhere; use a token"
        for who, uses in _by(entries, "api_key").items()
    ]
    found += [f"an OAuth grant of {who} made {_times(uses)}" for who, uses in _by(entries, "oauth").items()]
    if not all_of_them:
        found.append(f"of the audit log only the latest {len(entries)} entries were looked at")
    return found


def _times(uses: _Uses) -> str:
    return (
        f"{uses.count} change{'s' if uses.count > 1 else ''} in the last {LOOKED_BACK.days} days, the last one at {uses.last}"
    )


def _by(entries: Sequence[Mapping[str, Any]], context: str) -> dict[str, _Uses]:
    """Changes in one way, by who made them; the newest entries come first."""
    found: dict[str, _Uses] = {}
    for entry in entries:
        actor = entry.get("actor") or {}
        if actor.get("context") != context:
            continue
        who = str(actor.get("email") or actor.get("id") or "somebody")
        moment = time_of((entry.get("action") or {}).get("time"))
        known = found.get(who)
        last = known.last if known else spelled(moment) if moment else "an unknown time"
        found[who] = _Uses((known.count if known else 0) + 1, last)
    return found


def _audited(calls: Calls, account: str, now: datetime) -> tuple[list[JsonMap], bool]:
    """The latest entries of the audit log, newest first, and whether those are all since then."""
    path = f"/accounts/{account}/logs/audit"
    asked = (("since", spelled(now - LOOKED_BACK)), ("before", spelled(now + timedelta(minutes=1))), ("direction", "desc"))
    entries: list[JsonMap] = []
    after = ""
    for _ in range(_MOST_PAGES):
        answer = calls.send("GET", path, (*asked, ("limit", _ENTRIES), *((("cursor", after),) if after else ())))
        if not answer.good or answer.body is None:
            raise error_of(answer, f"GET {path}")
        rows = answer.body.get("result")
        if not isinstance(rows, list):
            raise Retryable(f"Cloudflare gave no list to GET {path}: {NOT_UNDERSTOOD}")
        entries += [row for row in rows if isinstance(row, dict)]
        info = answer.body.get("result_info") or {}
        after = str(info.get("cursor") or (info.get("cursors") or {}).get("after") or "")
        if not after or not rows:
            return entries, True
    return entries, False


def _applications(calls: Calls, account: str, _: datetime) -> list[str]:
    path = f"/accounts/{account}/oauth_clients"
    answer = calls.send("GET", path)
    if not answer.good or answer.body is None:
        raise error_of(answer, f"GET {path}")
    rows = [row for row in answer.body.get("result") or [] if isinstance(row, dict)]
    return [
        f"the OAuth application {row.get('client_name') or row.get('client_id')} is registered, and may be granted "
        f"{', '.join(row.get('scopes') or ['nothing yet'])}"
        for row in rows
    ]


def _api_access(calls: Calls, account: str, _: datetime) -> list[str]:
    """What the account lets its members do by themselves. Only on an Enterprise plan can their API access be switched. That and
    the other switch are the dashboard's: the API documents no way to set them, and need not show them."""
    about = calls.get(f"/accounts/{account}")
    settings = about.get("settings") or {}
    found = [_MAY_GRANT] if settings.get("oauth_app_access_enabled") is True else []
    members = calls.pages(f"/accounts/{account}/members")
    if "api_access_enabled" not in settings and about.get("type") == "enterprise":
        return [*found, "whether members have API access cannot be told: Cloudflare does not show it here, its dashboard does"]
    if settings.get("api_access_enabled") is False:
        return found + _excepted(members)
    may = [row for row in members if row.get("api_access_enabled") is not False]
    plan = "" if about.get("type") == "enterprise" else "; it can be switched off on an Enterprise plan"
    who = f"API access is on: {len(may)} members may make keys and tokens of their own ({_named(may)}){plan}"
    return found + ([who] if may else [])


def _excepted(members: Sequence[Mapping[str, Any]]) -> list[str]:
    """Who has API access in an account that has not."""
    if any("api_access_enabled" not in row for row in members):
        return ["API access is off for the account; which members have it all the same is not shown here, the dashboard does"]
    who = _named([row for row in members if row["api_access_enabled"] is True])
    return [f"API access is off for the account, and on for {who}"] if who else []


def _named(rows: Sequence[Mapping[str, Any]]) -> str:
    names = sorted(str(row.get("email") or (row.get("user") or {}).get("email") or row.get("id")) for row in rows)
    return ", ".join([*names[:_SHOWN], *([f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else [])])
