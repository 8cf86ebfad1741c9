"""What Cloudflare calls what people name: permission groups, zones and accounts, looked up live and remembered for a while.

A name that is not known, or means several things, is refused with what comes nearest. What is remembered is asked anew when it
is old, and at once when something is missing from it: a group or zone that was made a minute ago is no mistake.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from rotatord.cloudflare_client import Calls, Family
from rotatord.cloudflare_scope import LEVELS, Grant, Permission, permission
from rotatord.errors import Denied, NotFound
from rotatord.model import JsonMap

AGAIN_AFTER = timedelta(seconds=30)  # what is missing is not asked for more often than that
_HEX = frozenset("0123456789abcdef")
_SHOWN = 3
_LEVEL_WORDS = {"zone": "Zone", "account": "Account", "user": "User", "r2": "R2", "worker": "Worker"}


@dataclass(frozen=True, slots=True)
class Group:
    """A permission group of the catalogue."""

    id: str
    name: str
    levels: tuple[str, ...]
    selectable: bool = True

    @property
    def word(self) -> str:
        """Its name as a scope may say it."""
        product, _, action = self.name.rpartition(" ")
        level = f"{_LEVEL_WORDS[self.levels[0]]}." if self.levels else ""
        if product and action in {"Read", "Write"}:
            return f"{level}{product}:{'Edit' if action == 'Write' else action}"
        return f"{level}{self.name}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource as Cloudflare names it. ``outer``: the account that it stands below, where it has to."""

    level: str
    key: str
    outer: str = ""


@dataclass(slots=True)
class Resolved:
    """A scope in Cloudflare's terms, and what kept parts of it from being put so."""

    policies: list[JsonMap] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Seen:
    at: datetime
    value: Any


class Catalogue:
    """One family's names. Thread-safe. ``account``: the one that is meant where none is named; "" where there is none."""

    def __init__(self, family: Family, account: str, now: Callable[[], datetime], age: timedelta) -> None:
        self._family = family
        self._account = account
        self._now = now
        self._age = age
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}

    def resolve(self, calls: Calls, grants: Sequence[Grant]) -> Resolved:
        """The policies to send. Raises what the look-ups raise."""
        found = Resolved()
        parts: dict[tuple[str, str, tuple[Resource, ...]], list[str]] = {}
        for grant in grants:
            resources = [item for word in grant.resources if (item := self._resource(calls, word, found.problems))]
            if len(resources) < len(grant.resources):
                continue  # said already
            unused = set(resources)
            for word in grant.permissions:
                group = self._group(calls, word, {item.level for item in resources}, found.problems)
                if group is None:
                    continue
                levels = {permission(word).level} if permission(word).level else {*group.levels}
                fitting = [item for item in resources if item.level in levels & {*group.levels}]
                unused -= set(fitting)
                if not fitting:
                    found.problems.append(_misfit(word, group, grant.resources))
                for nested in (False, True):
                    if some := tuple(item for item in fitting if bool(item.outer) is nested):
                        ids = parts.setdefault((grant.effect, "nested" if nested else "", some), [])
                        ids += [group.id] if group.id not in ids else []
            if unused and not found.problems:
                words = [word for word, item in zip(grant.resources, resources, strict=True) if item in unused]
                found.problems.append(f"none of the permissions is for {', '.join(words)}")
        found.policies = [_policy(effect, ids, resources) for (effect, _, resources), ids in parts.items()]
        found.problems = list(dict.fromkeys(found.problems))
        return found

    def groups(self, calls: Calls, *, missing: bool = False) -> dict[str, Group]:
        """The catalogue by id. ``missing``: something is not in what is remembered."""
        path = f"{self._family.base}/permission_groups"
        groups: dict[str, Group] = self._remembered("groups", lambda: _groups(calls.single(path)), missing=missing)
        return groups

    def words(self, calls: Calls, policies: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[str], list[str]]]:
        """Effect, permissions and resources of policies, in words as far as there are any."""
        known = self.groups(calls)
        found = []
        for policy in policies:
            groups = [
                known[group["id"]].word if group.get("id") in known else str(group.get("name") or group.get("id"))
                for group in policy.get("permission_groups") or []
            ]
            found.append((str(policy.get("effect")), sorted(groups), sorted(self._shown(policy.get("resources") or {}))))
        return sorted(found)

    # --- permissions ----------------------------------------------------------------------------------------------------------

    def _group(self, calls: Calls, word: str, levels: set[str], problems: list[str]) -> Group | None:
        asked = permission(word)
        found = _matching(asked, self.groups(calls), levels)
        if not found:
            found = _matching(asked, self.groups(calls, missing=True), levels)
        if len(found) == 1 and found[0].selectable:
            return found[0]
        problems.append(self._not_one(calls, word, found))
        return None

    def _not_one(self, calls: Calls, word: str, found: Sequence[Group]) -> str:
        if len(found) == 1:
            return f"permission {word!r} cannot be given to tokens of {self._family}: Cloudflare does not let it be selected"
        if found:
            choices = ", ".join(f"{group.word} ({group.id})" for group in found)
            return f"permission {word!r} means several: {choices}; name one by its id"
        known = {group.word: group for group in self.groups(calls).values()}
        near = _nearest(word, [*known, *(group.name for group in known.values())])
        return f"Cloudflare has no permission {word!r} for {self._family}'s tokens{near}"

    # --- resources ------------------------------------------------------------------------------------------------------------

    def _resource(self, calls: Calls, word: str, problems: list[str]) -> Resource | None:
        kind, _, rest = word.partition("/")
        try:
            return self._of_kind(calls, kind, rest)
        except NotFound as error:
            problems.append(str(error))
        except Denied as error:
            problems.append(f"{word} cannot be looked up ({error}); name it by its id, or let rotatord's token read it")
        return None

    def _of_kind(self, calls: Calls, kind: str, rest: str) -> Resource:
        if kind == "user":
            return Resource("user", f"{LEVELS['user']}.{self._user(calls)}")
        if kind == "r2":
            jurisdiction, _, bucket = rest.rpartition("/")
            place = f"{self._account_id(calls, '')}_{jurisdiction or 'default'}_{bucket}"
            return Resource("r2", f"{LEVELS['r2']}.{place}")
        if kind == "worker":
            return Resource("worker", f"{LEVELS['worker']}.{self._worker(calls, rest)}", f"{LEVELS['account']}.{self._account}")
        if kind == "zone" and rest != "*":
            return Resource("zone", f"{LEVELS['zone']}.{self._zone(calls, rest)}")
        every = f"{LEVELS['zone']}.*"
        if kind == "zone":
            below = bool(self._account)
            return Resource("zone", every, f"{LEVELS['account']}.{self._account}" if below else "")
        name, zones, _ = rest.partition("/zone/*")
        if name == "*" and not zones:
            if self._family.account is not None:
                raise NotFound("account/*: a token of one account has that account only; write account")
            return Resource("account", f"{LEVELS['account']}.*")
        account = f"{LEVELS['account']}.{self._account_id(calls, name)}"
        return Resource("zone", every, account) if zones else Resource("account", account)

    def _zone(self, calls: Calls, name: str) -> str:
        if _is_id(name):
            return name
        found = self._zones(calls, name.lower())
        if not found:
            found = self._zones(calls, name.lower(), missing=True)
        if len(found) == 1:
            return next(iter(found))
        if found:
            choices = ", ".join(f"{zone} (account {account})" for zone, account in found.items())
            raise NotFound(f"zone {name!r} is in several accounts: {choices}; name one by its id")
        examples = [str(row.get("name")) for row in calls.some("/zones", self._of_account())]
        raise NotFound(f"Cloudflare has no zone {name!r} that rotatord's token can see{_nearest(name, examples)}")

    def _zones(self, calls: Calls, name: str, *, missing: bool = False) -> dict[str, str]:
        """Ids of the zones of this name, with the names of their accounts."""

        def look() -> dict[str, str]:
            rows = calls.pages("/zones", (*self._of_account(), ("name", name)))
            same = [row for row in rows if str(row.get("name", "")).lower() == name]
            return {
                row["id"]: str((row.get("account") or {}).get("name") or (row.get("account") or {}).get("id")) for row in same
            }

        zones: dict[str, str] = self._remembered(f"zone {name}", look, missing=missing)
        return zones

    def _worker(self, calls: Calls, name: str) -> str:
        """The tag of a Worker, which stays the same for as long as it is not deleted."""
        if self._family.account is None:
            raise NotFound(f"worker/{name}: only tokens of an account can be limited to single Workers")
        if _is_id(name):
            return name
        path = f"/accounts/{self._family.account}/workers/scripts"

        def look() -> dict[str, str]:
            return {row["id"]: str(row["tag"]) for row in calls.single(path) if row.get("tag")}

        for missing in (False, True):
            tags: dict[str, str] = self._remembered("workers", look, missing=missing)
            if name in tags:
                return tags[name]
        raise NotFound(f"Cloudflare has no Worker {name!r} in {self._family}: upload it first{_nearest(name, [*tags])}")

    def _of_account(self) -> tuple[tuple[str, str], ...]:
        return (("account.id", self._account),) if self._account else ()

    def _account_id(self, calls: Calls, name: str) -> str:
        if _is_id(name) and self._family.account in (None, name):
            return name
        if not name or name == self._account:
            if not self._account:
                raise NotFound("no account is meant: set account_id, or write account/NAME")
            return self._account
        if self._family.account is not None:  # it can see no other: the API refuses to list accounts to an account's token
            own = self._family.account
            known = str(self._remembered("account", lambda: calls.get(f"/accounts/{own}").get("name", "")))
            if known.lower() != name.lower():
                raise NotFound(f"tokens of account {own} ({known}) cannot have account {name!r}; write account")
            return own
        rows = self._remembered(f"account {name}", lambda: calls.pages("/accounts", (("name", name),)))
        same = [row["id"] for row in rows if str(row.get("name", "")).lower() == name.lower()]
        if len(same) != 1:
            near = _nearest(name, [str(row.get("name")) for row in calls.some("/accounts")])
            what = f"no account {name!r} that rotatord's token can see{near}" if not same else f"several accounts {name!r}"
            raise NotFound(f"Cloudflare has {what}")
        return str(same[0])

    def _user(self, calls: Calls) -> str:
        if self._family.account is not None:
            raise NotFound("user: a token of an account is nobody's; kind: user makes tokens of a user")
        return str(self._remembered("user", lambda: calls.get("/user")["id"]))

    def _shown(self, resources: Mapping[str, Any]) -> list[str]:
        """Resources in words; zones and Workers by name where one was asked for by it."""
        with self._lock:
            seen = dict(self._seen)
        names = {zone: key.removeprefix("zone ") for key in seen if key.startswith("zone ") for zone in seen[key].value}
        names |= {tag: name for name, tag in (seen["workers"].value if "workers" in seen else {}).items()}
        found = []
        for key, value in resources.items():
            if isinstance(value, Mapping):
                found += [_below(key.rpartition(".")[2], _plain(inner, names)) for inner in value]
            else:
                found.append(_plain(key, names))
        return found

    def _remembered(self, key: str, look: Callable[[], Any], *, missing: bool = False) -> Any:
        """What was seen not too long ago, or is seen now."""
        now = self._now()
        with self._lock:
            seen = self._seen.get(key)
        if seen is not None and timedelta(0) <= now - seen.at < (AGAIN_AFTER if missing else self._age):
            return seen.value
        value = look()
        with self._lock:
            self._seen[key] = _Seen(now, value)
        return value


def _is_id(text: str) -> bool:
    return len(text) == 32 and set(text) <= _HEX


def _groups(rows: Sequence[JsonMap]) -> dict[str, Group]:
    levels = {key: level for level, key in LEVELS.items()}
    return {
        row["id"]: Group(
            row["id"],
            str(row.get("name", "")),
            tuple(levels[key] for key in row.get("scopes") or () if key in levels),
            row.get("is_selectable") is not False,
        )
        for row in rows
    }


def _matching(asked: Permission, groups: Mapping[str, Group], levels: set[str]) -> list[Group]:
    """The groups that a word may mean: of the level it names, else of those that its resources have, else any."""
    if asked.id is not None:
        return [groups[asked.id]] if asked.id in groups else []
    for name in asked.names:
        named = [group for group in groups.values() if group.name.lower() == name.lower()]
        for wanted in ({asked.level},) if asked.level else (levels, {*LEVELS}):
            if found := [group for group in named if wanted & {*group.levels}]:
                return found
    return []


def _misfit(word: str, group: Group, resources: Sequence[str]) -> str:
    wanted = " or ".join(f"{level}/..." for level in group.levels)
    return f"permission {word!r} is for {wanted}, and none of {', '.join(resources)} is that"


def _policy(effect: str, groups: Sequence[str], resources: Sequence[Resource]) -> JsonMap:
    held: JsonMap = {}
    for item in resources:
        if item.outer:
            held.setdefault(item.outer, {})[item.key] = "*"
        else:
            held[item.key] = "*"
    return {"effect": effect, "permission_groups": [{"id": group} for group in groups], "resources": held}


def _nearest(word: str, known: Sequence[str]) -> str:
    """What comes nearest, as the end of a sentence."""
    folded = {name.lower(): name for name in known}
    bare = word.lower()
    close = difflib.get_close_matches(bare, folded, n=_SHOWN, cutoff=0.6)
    close += [name for name in folded if bare in name and name not in close][: _SHOWN - len(close)]
    return f"; did you mean {' or '.join(folded[name] for name in close)}?" if close else ""


def _below(account: str, word: str) -> str:
    """A resource that stands below its account, in words; Workers are those of the configured one."""
    return word if word.startswith("worker/") else f"account/{account}/{word}"


def _plain(key: str, names: Mapping[str, str]) -> str:
    """One resource in words."""
    for level, prefix in sorted(LEVELS.items(), key=lambda item: -len(item[1])):
        if key.startswith(f"{prefix}."):
            name = key.removeprefix(f"{prefix}.")
            if level == "r2":
                parts = name.split("_", 2)
                return f"r2/{'/'.join(parts[2:] if parts[1:2] == ['default'] else parts[1:])}"
            return f"{level}/{names.get(name, name)}"
    return key
