"""What tokens are for: records, caches, scripts, buckets and analytics. Just enough of each to see who may do what."""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime
from typing import Any

from rotatord.testing.cloudflare import rights
from rotatord.testing.cloudflare.answers import Bare, Json, fine
from rotatord.testing.cloudflare.asking import Ask, Operation
from rotatord.testing.cloudflare.estate import Account
from rotatord.testing.cloudflare.policies import only
from rotatord.testing.cloudflare.refusals import refused

_DNS_READ, _DNS_WRITE = ("DNS Read", "DNS Write"), ("DNS Write",)
_SCRIPTS_READ, _SCRIPTS_WRITE = ("Workers Scripts Read", "Workers Scripts Write"), ("Workers Scripts Write",)
_WORKER_EDIT, _WORKER_END = ("Individual Workers Editor", "Individual Workers Admin"), ("Individual Workers Admin",)
_R2_READ, _R2_WRITE = ("Workers R2 Storage Read", "Workers R2 Storage Write"), ("Workers R2 Storage Write",)
_ITEM_READ = ("Workers R2 Storage Bucket Item Read", "Workers R2 Storage Bucket Item Write")
_ITEM_WRITE = ("Workers R2 Storage Bucket Item Write",)
_RECORD = {"name", "type", "content", "ttl", "proxied", "comment", "tags", "priority", "data", "settings"}
_PURGES = {"purge_everything", "files", "tags", "hosts", "prefixes"}
_ZONE_TAG = re.compile(r"""["']?zoneTag(?:_in)?["']?\s*:\s*\[?\s*["']([0-9a-f]{32})""")


# -- DNS --


def page_rules(ask: Ask) -> list[Json]:
    """One of the products that do not know tokens of accounts."""
    if not ask.caller.is_user:
        raise refused("page rules of an account")
    ask.need(("Page Rules Read", "Page Rules Write"), rights.of_zone(ask.zone()))
    return []


def records(ask: Ask) -> Any:
    zone = ask.zone()
    ask.need(_DNS_READ, rights.of_zone(zone))
    kind, name = ask.query.get("type"), ask.query.get("name") or ask.query.get("name.exact")
    rows = [one for one in zone.records.values() if kind in (None, one["type"]) and name in (None, one["name"])]
    return ask.paged(rows, least=1, most=5_000_000, usual=100)


def record(ask: Ask) -> Json:
    zone = ask.zone()
    ask.need(_DNS_READ, rights.of_zone(zone))
    return zone.records[_one_record(ask, zone.records)]


def add_record(ask: Ask) -> Json:
    zone = ask.zone()
    ask.need(_DNS_WRITE, rights.of_zone(zone))
    body = only(ask.body(), _RECORD, "the record")
    name, kind, content = body.get("name", ""), body.get("type"), body.get("content")
    if kind not in ("A", "AAAA", "CNAME", "TXT", "MX") or not isinstance(content, str) or not name:
        raise refused("invalid record")
    if kind in ("A", "AAAA") and not _address(kind, content):
        raise refused("invalid record")
    full = name if name == zone.name or name.endswith(f".{zone.name}") else f"{name}.{zone.name}"
    if any((one["name"], one["type"], one["content"]) == (full, kind, content) for one in zone.records.values()):
        raise refused("same record")
    now = fine(ask.now)
    made: Json = {
        "id": ask.estate.new_id(),
        "name": full,
        "type": kind,
        "content": content,
        "proxiable": kind in ("A", "AAAA", "CNAME"),
        "proxied": bool(body.get("proxied", False)),
        "ttl": body.get("ttl", 1),
        "settings": {},
        "meta": {},
        "comment": body.get("comment"),
        "tags": body.get("tags", []),
        "created_on": now,
        "modified_on": now,
    }
    if kind == "MX":
        made["priority"] = body.get("priority", 10)
    zone.records[made["id"]] = made
    return made


def _address(kind: str, content: str) -> bool:
    try:
        return ipaddress.ip_address(content).version == (4 if kind == "A" else 6)
    except ValueError:
        return False


def delete_record(ask: Ask) -> Json:
    zone = ask.zone()
    ask.need(_DNS_WRITE, rights.of_zone(zone))
    found = _one_record(ask, zone.records)
    del zone.records[found]
    return {"id": found}


def _one_record(ask: Ask, records: dict[str, Json]) -> str:
    if ask.params["record"] not in records:
        raise refused("no such record")
    return ask.params["record"]


def purge(ask: Ask) -> Json:
    zone = ask.zone()
    ask.need(("Cache Purge",), rights.of_zone(zone))
    body = only(ask.body(), _PURGES, "the purge")
    if len(body) != 1 or body.get("purge_everything") is False:
        raise refused("bad purge")
    zone.purges.append(body)
    return {"id": zone.id}


def analytics(ask: Ask) -> Any:
    """GraphQL: its errors are of another form, and come with 200."""
    query = only(ask.body(), {"query", "variables", "operationName"}, "the query")
    text = f"{query.get('query')} {query.get('variables')}"
    tag = _ZONE_TAG.search(text)
    zone = ask.estate.zones.get(tag[1]) if tag else None
    if zone is None or not ask.caller.reaches(zone.account) or not ask.caller.may(("Analytics Read",), rights.of_zone(zone)):
        denied = {"message": "zone does not have access to the path", "path": None, "extensions": {"code": "authz"}}
        return Bare({"data": None, "errors": [denied]})
    return Bare({"data": {"viewer": {"zones": [{"httpRequests1dGroups": [{"sum": {"requests": 42}}]}]}}, "errors": None})


# -- Workers --


def scripts(ask: Ask) -> Any:
    account = ask.account()
    ask.need(_SCRIPTS_READ, rights.of_account(account))
    return list(account.scripts.values())


def _need_script(ask: Ask, account: Account, names: tuple[str, ...]) -> None:
    """A permission for this Worker, which has to be there already, or for all of the account's."""
    script = account.scripts.get(ask.params["script"])
    if script is None or not ask.caller.may(names, rights.of_worker(account, script["tag"])):
        ask.need(_SCRIPTS_WRITE, rights.of_account(account))


def put_script(ask: Ask) -> Json:
    account = ask.account()
    _need_script(ask, account, _WORKER_EDIT)
    kind = ask.wire.headers.get("content-type", "").partition(";")[0]
    if kind not in ("multipart/form-data", "application/javascript", "application/json") or not ask.wire.body:
        raise refused("wrong content type")
    name = ask.params["script"]
    before = account.scripts.get(name) or {"tag": ask.estate.new_id()}
    account.scripts[name] = script(name, ask.wire.body, ask.now, before)
    return {**account.scripts[name], "startup_time_ms": 1}


def script(name: str, code: bytes, now: datetime, before: Json) -> Json:
    """A Worker as it is shown. ``before``: what it was, which is its tag at least."""
    return {
        "id": name,
        "tag": before["tag"],
        "etag": f"{len(code):064x}",
        "handlers": ["fetch"],
        "has_assets": False,
        "has_modules": True,
        "logpush": False,
        "created_on": before.get("created_on", fine(now)),
        "modified_on": fine(now),
        "usage_model": "standard",
    }


def delete_script(ask: Ask) -> None:
    account = ask.account()
    _need_script(ask, account, _WORKER_END)
    if ask.params["script"] not in account.scripts:
        raise refused("no such script")
    del account.scripts[ask.params["script"]]


# -- R2 --


def _jurisdiction(ask: Ask) -> str:
    return ask.wire.headers.get("cf-r2-jurisdiction", "default")


def _storage(ask: Ask) -> Account:
    account = ask.account()
    if not account.stores:
        raise refused("storage is off")
    return account


def buckets(ask: Ask) -> Json:
    account = _storage(ask)
    ask.need(_R2_READ, rights.of_account(account))
    where = _jurisdiction(ask)
    return {
        "buckets": [_bucket(account, jurisdiction, name) for jurisdiction, name in account.buckets if jurisdiction == where]
    }


def bucket(ask: Ask) -> Json:
    account = _storage(ask)
    ask.need(_R2_READ, rights.of_account(account))
    return _bucket(account, *_one_bucket(ask, account))


def add_bucket(ask: Ask) -> Json:
    account = _storage(ask)
    ask.need(_R2_WRITE, rights.of_account(account))
    body = only(ask.body(), {"name", "locationHint", "storageClass"}, "the bucket")
    key = (_jurisdiction(ask), str(body.get("name")))
    account.buckets.setdefault(key, ask.now)
    return _bucket(account, *key)


def objects(ask: Ask) -> list[Json]:
    """What is in a bucket: the account's group will do, and the bucket's own."""
    account = _storage(ask)
    key = _one_bucket(ask, account)
    if not ask.caller.may(_R2_READ, rights.of_account(account)):
        ask.need(_ITEM_READ, rights.of_bucket(account, *key))
    return []


def put_object(ask: Ask) -> Json:
    account = _storage(ask)
    key = _one_bucket(ask, account)
    if not ask.caller.may(_R2_WRITE, rights.of_account(account)):
        ask.need(_ITEM_WRITE, rights.of_bucket(account, *key))
    return {"key": ask.params["object"], "size": str(len(ask.wire.body))}


def _one_bucket(ask: Ask, account: Account) -> tuple[str, str]:
    key = (_jurisdiction(ask), ask.params["bucket"])
    if key not in account.buckets:
        raise refused("no such bucket")
    return key


def _bucket(account: Account, jurisdiction: str, name: str) -> Json:
    made = fine(account.buckets[jurisdiction, name])
    return {
        "name": name,
        "creation_date": made,
        "location": "weur",
        "storage_class": "Standard",
        "jurisdiction": jurisdiction,
    }


_SCRIPT = "/accounts/{account}/workers/scripts"
_BUCKETS = "/accounts/{account}/r2/buckets"
OPERATIONS = (
    Operation("dns.records.list", "GET", "/zones/{zone}/dns_records", records),
    Operation("dns.records.create", "POST", "/zones/{zone}/dns_records", add_record),
    Operation("dns.records.get", "GET", "/zones/{zone}/dns_records/{record}", record),
    Operation("dns.records.delete", "DELETE", "/zones/{zone}/dns_records/{record}", delete_record),
    Operation("cache.purge", "POST", "/zones/{zone}/purge_cache", purge),
    Operation("page_rules.list", "GET", "/zones/{zone}/pagerules", page_rules),
    Operation("graphql", "POST", "/graphql", analytics, "platform"),
    Operation("workers.scripts.list", "GET", _SCRIPT, scripts, "platform"),
    Operation("workers.scripts.update", "PUT", _SCRIPT + "/{script}", put_script, "platform"),
    Operation("workers.scripts.delete", "DELETE", _SCRIPT + "/{script}", delete_script, "platform"),
    Operation("r2.buckets.list", "GET", _BUCKETS, buckets, "platform"),
    Operation("r2.buckets.create", "POST", _BUCKETS, add_bucket, "platform"),
    Operation("r2.buckets.get", "GET", _BUCKETS + "/{bucket}", bucket, "platform"),
    Operation("r2.objects.list", "GET", _BUCKETS + "/{bucket}/objects", objects, "platform"),
    Operation("r2.objects.update", "PUT", _BUCKETS + "/{bucket}/objects/{object}", put_object, "platform"),
)
