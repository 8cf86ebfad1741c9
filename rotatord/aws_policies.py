"""Policy documents of AWS as values: one form for all that mean the same, the smallest that covers several, their length. Pure.

A document is compared, joined and measured in its plain form: lists sorted, single items bare, statements in order. Joined
documents grant everything that each of them grants. So they have every Allow, and of the Denies only those that all of them
have: a Deny of one would take away what another grants. A statement is never taken apart, as its parts mean nothing alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rotatord.errors import Invalid
from rotatord.model import JsonMap

VERSION = "2012-10-17"
_KEYS = frozenset({"Version", "Id", "Statement"})
_STATEMENT_KEYS = frozenset({"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"})
_LISTS = ("Action", "NotAction", "Resource", "NotResource")
_SID = re.compile(r"[A-Za-z0-9]*")

Documents = Mapping[str, JsonMap]  # by name


# --- one document ----------------------------------------------------------------------------------------------------


def problems(document: Any, place: str) -> list[str]:
    """What is wrong with the form of an identity policy, as sentences."""
    if not isinstance(document, Mapping):
        return [f"{place}: should be a policy document: a mapping with Version and Statement"]
    found = [f"{place}: unknown key {key!r}" for key in sorted(document.keys() - _KEYS)]
    if document.get("Version", VERSION) != VERSION:
        found.append(f'{place}.Version: should be "{VERSION}", in which AWS knows policy variables')
    statements = _listed(document.get("Statement"))
    if not statements:
        found.append(f"{place}.Statement: needs at least one statement")
    for number, statement in enumerate(statements):
        found += _statement_problems(statement, f"{place}.Statement[{number}]")
    sids = [statement["Sid"] for statement in statements if isinstance(statement, Mapping) and statement.get("Sid")]
    found += [f"{place}: two statements have the Sid {sid!r}" for sid in sorted({sid for sid in sids if sids.count(sid) > 1})]
    return found


def _statement_problems(statement: Any, place: str) -> list[str]:
    if not isinstance(statement, Mapping):
        return [f"{place}: should be a mapping"]
    found = []
    for key in sorted(statement.keys() - _STATEMENT_KEYS):
        why = ", which has no place in the policy of a user or session" if "Principal" in key else ""
        found.append(f"{place}: unknown key {key!r}{why}")
    if statement.get("Effect") not in {"Allow", "Deny"}:
        found.append(f"{place}.Effect: should be Allow or Deny")
    for key in ("Action", "Resource"):
        given = [name for name in (key, f"Not{key}") if name in statement]
        if len(given) != 1:
            found.append(f"{place}: needs either {key} or Not{key}")
        for name in given:
            items = _listed(statement[name])
            if not items or not all(isinstance(item, str) and item for item in items):
                found.append(f"{place}.{name}: should be text, or a list of texts")
    if not _SID.fullmatch(str(statement.get("Sid", ""))):
        found.append(f"{place}.Sid: should be letters and digits")
    conditions = statement.get("Condition", {})
    if not isinstance(conditions, Mapping) or not all(isinstance(keys, Mapping) for keys in conditions.values()):
        found.append(f"{place}.Condition: should be a mapping of operators to mappings of keys")
    return found


def plain(document: JsonMap) -> JsonMap:
    """The form in which documents that mean the same are equal."""
    return _document(_once(_plain_statement(statement) for statement in _listed(document["Statement"])))


def text(document: JsonMap) -> str:
    """As short as it can be written."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def length(documents: Iterable[JsonMap]) -> int:
    """How many characters AWS counts of them."""
    return sum(len(re.sub(r"\s", "", text(document))) for document in documents)


def _document(statements: Iterable[JsonMap]) -> JsonMap:
    return {"Version": VERSION, "Statement": sorted(statements, key=_order)}


def _plain_statement(statement: JsonMap) -> JsonMap:
    found: JsonMap = {key: statement[key] for key in ("Sid", "Effect") if statement.get(key)}
    found |= {key: _bare(_listed(statement[key])) for key in _LISTS if key in statement}
    if statement.get("Condition"):
        found["Condition"] = {
            operator: {key: _bare(_listed(values)) for key, values in sorted(keys.items())}
            for operator, keys in sorted(statement["Condition"].items())
        }
    return found


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _bare(values: list[Any]) -> Any:
    """A sorted list without repetitions; a single item without its list."""
    items = sorted({str(value).lower() if isinstance(value, bool) else str(value) for value in values})
    return items[0] if len(items) == 1 else items


def _meaning(statement: JsonMap) -> str:
    """What a statement does: all but its name."""
    return json.dumps({key: value for key, value in statement.items() if key != "Sid"}, sort_keys=True)


def _order(statement: JsonMap) -> tuple[str, str]:
    return _meaning(statement), str(statement.get("Sid", ""))


# --- several together ------------------------------------------------------------------------------------------------


def covering(sets: Sequence[Documents]) -> dict[str, JsonMap]:
    """The fewest statements under which everything that each set of plain documents grants is granted, by document."""
    if len(sets) == 1:
        return dict(sets[0])
    denied = [{_meaning(item) for item in _statements(documents) if item["Effect"] == "Deny"} for documents in sets]
    common = frozenset[str].intersection(*map(frozenset, denied)) if denied else frozenset[str]()
    joined: dict[str, JsonMap] = {}
    for name in sorted({name for documents in sets for name in documents}):
        here = [item for documents in sets if name in documents for item in documents[name]["Statement"]]
        kept = [item for item in here if item["Effect"] == "Allow" or _meaning(item) in common]
        if kept:
            joined[name] = _document(_once(kept))
    return joined


def covers(wide: JsonMap, narrow: JsonMap) -> bool:
    """Whether putting plain document ``wide`` in the place of ``narrow`` takes nothing away, as far as can be told."""
    return covering([{"": wide}, {"": narrow}]) == {"": wide}


def joined_boundary(scopes: Sequence[JsonMap]) -> str | None:
    """The boundary under which each of the scopes has all of its grants: an ARN, ``none``, or None for "as it is".
    Raises Invalid where two differ and nobody said what holds meanwhile."""
    wanted = {scope.get("boundary") for scope in scopes}
    if "none" in wanted:
        return "none"
    if None in wanted:
        return None
    if len(wanted) == 1:
        return next(iter(wanted))
    meanwhile = {scope["boundary_during_change"] for scope in scopes if scope.get("boundary_during_change")}
    if len(meanwhile) == 1:
        return str(next(iter(meanwhile)))
    differing = " and ".join(sorted(map(str, wanted)))
    raise Invalid(
        f"the old and the new version need different permissions boundaries ({differing}), and AWS knows only one a user: "
        "name in scope.boundary_during_change a managed policy that both can live under while both are in use"
    )


def _statements(documents: Documents) -> Iterable[JsonMap]:
    return (statement for document in documents.values() for statement in document["Statement"])


def _once(statements: Iterable[JsonMap]) -> list[JsonMap]:
    """Each meaning once, and each Sid: a second statement of that name goes without."""
    by_meaning: dict[str, JsonMap] = {}
    for statement in sorted(statements, key=_order):
        by_meaning.setdefault(_meaning(statement), statement)
    taken: set[str] = set()
    kept = []
    for statement in by_meaning.values():
        sid = statement.get("Sid")
        kept.append({key: value for key, value in statement.items() if key != "Sid"} if sid in taken else statement)
        taken |= {sid} if sid else set()
    return kept
