"""Who and where: the user, accounts with their members, memberships and OAuth clients, and zones."""

from __future__ import annotations

from typing import Any

from rotatord.testing.cloudflare import rights
from rotatord.testing.cloudflare.answers import Json, fine
from rotatord.testing.cloudflare.asking import Ask, Operation
from rotatord.testing.cloudflare.estate import Account, Member, Zone
from rotatord.testing.cloudflare.policies import bad, only
from rotatord.testing.cloudflare.refusals import refused

_SETTINGS_READ = ("Account Settings Read", "Account Settings Write")
_SETTINGS_WRITE = ("Account Settings Write",)


# -- the user --


def user(ask: Ask) -> Json:
    _need_user(ask, "User Details Read", "User Details Write")
    mine = ask.estate.user
    return {
        "id": mine.id,
        "email": mine.email,
        "first_name": None,
        "last_name": None,
        "username": mine.email.replace("@", "-"),
        "country": None,
        "telephone": None,
        "zipcode": None,
        "two_factor_authentication_enabled": True,
        "two_factor_authentication_locked": False,
        "suspended": False,
        "betas": [],
        "organizations": [],
        "has_pro_zones": False,
        "has_business_zones": False,
        "has_enterprise_zones": False,
        "created_on": fine(next(iter(ask.estate.accounts.values())).created_on),
    }


def _need_user(ask: Ask, *names: str) -> None:
    if not ask.caller.is_user:
        raise refused("not a user")
    ask.need(names, rights.of_user(ask.estate.user.id))


def memberships(ask: Ask) -> Any:
    _need_user(ask, "Memberships Read", "Memberships Write")
    mine = ask.estate.user.id
    rows = []
    for account in ask.estate.accounts.values():
        rows += [_membership(account, one) for one in account.members.values() if one.user_id == mine]
    return ask.paged(rows)


def membership(ask: Ask) -> Json:
    _need_user(ask, "Memberships Read", "Memberships Write")
    for account in ask.estate.accounts.values():
        for one in account.members.values():
            if one.membership_id == ask.params["membership"] and one.user_id == ask.estate.user.id:
                return _membership(account, one)
    raise ask.forbidden("no such membership")


def _membership(account: Account, member: Member) -> Json:
    return {
        "id": member.membership_id,
        "status": "accepted",
        "account": _account(account),
        "api_access_enabled": member.api_access,
        "roles": [member.role],
        "permissions": {"dns_records": {"read": True, "write": True}, "zones": {"read": True, "write": True}},
    }


# -- accounts --


def accounts(ask: Ask) -> Any:
    if not ask.caller.is_user:
        raise refused("accounts of an account")
    name = ask.query.get("name")
    return ask.paged([_account(one) for one in ask.caller.accounts() if name in (None, one.name)])


def account(ask: Ask) -> Json:
    found = ask.account()
    ask.need(_SETTINGS_READ, rights.of_account(found))
    return _account(found)


def change_account(ask: Ask) -> Json:
    """Name and settings. Whether members may use the API can be said on an Enterprise plan only."""
    found = ask.account()
    ask.need(_SETTINGS_WRITE, rights.of_account(found))
    body = only(ask.body(), {"id", "name", "type", "settings"}, "the account")
    settings = only(body.get("settings", {}), set(found.settings), "settings")
    access = settings.get("api_access_enabled")
    if access is not None and found.type != "enterprise":
        raise refused("not on this plan")
    found.name = body.get("name", found.name)
    found.settings |= settings
    return _account(found)


def _account(account: Account) -> Json:
    return {
        "id": account.id,
        "name": account.name,
        "type": account.type,
        "settings": dict(account.settings),
        "created_on": fine(account.created_on),
    }


def members(ask: Ask) -> Any:
    found = ask.account()
    ask.need(_SETTINGS_READ, rights.of_account(found))
    return ask.paged([_member(one) for one in found.members.values()])


def member(ask: Ask) -> Json:
    found = ask.account()
    ask.need(_SETTINGS_READ, rights.of_account(found))
    return _member(_one_member(ask, found))


def change_member(ask: Ask) -> Json:
    """A member's roles, and whether that member may use the API whatever the account says."""
    found = ask.account()
    ask.need(_SETTINGS_WRITE, rights.of_account(found))
    one = _one_member(ask, found)
    allowed = {"id", "email", "roles", "policies", "status", "user", "api_access_enabled"}
    body = only(ask.body(), allowed, "the member")
    if "api_access_enabled" in body:
        if found.type != "enterprise":
            raise refused("not on this plan")
        if body["api_access_enabled"] not in (True, False, None):
            raise bad("api_access_enabled must be true, false or null")
        one.api_access = body["api_access_enabled"]
    return _member(one)


def _one_member(ask: Ask, account: Account) -> Member:
    found = account.members.get(ask.params["member"])
    if found is None:
        raise ask.forbidden("no such member")
    return found


def _member(one: Member) -> Json:
    return {
        "id": one.id,
        "email": one.email,
        "status": "accepted",
        "api_access_enabled": one.api_access,
        "user": {
            "id": one.user_id,
            "email": one.email,
            "first_name": None,
            "last_name": None,
            "two_factor_authentication_enabled": True,
        },
        "roles": [{"id": one.role_id, "name": one.role, "description": one.role, "permissions": {}}],
        "policies": [],
    }


def oauth_clients(ask: Ask) -> list[Json]:
    found = ask.account()
    ask.need(_SETTINGS_READ, rights.of_account(found))
    return list(found.oauth_clients.values())


def oauth_client(ask: Ask) -> Json:
    found = ask.account()
    ask.need(_SETTINGS_READ, rights.of_account(found))
    return found.oauth_clients[_one_client(ask, found)]


def delete_oauth_client(ask: Ask) -> Json:
    found = ask.account()
    ask.need(_SETTINGS_WRITE, rights.of_account(found))
    client = _one_client(ask, found)
    del found.oauth_clients[client]
    return {"id": client}


def _one_client(ask: Ask, account: Account) -> str:
    if ask.params["client"] not in account.oauth_clients:
        raise refused("no such URI", "no such OAuth client")
    return ask.params["client"]


# -- zones --


def zones(ask: Ask) -> Any:
    """Those that the caller may read; who may read none gets none, and no error."""
    name, account = ask.query.get("name"), ask.query.get("account.id")
    rows = [
        _zone(zone)
        for zone in ask.estate.zones.values()
        if ask.caller.reaches(zone.account)
        and not ask.caller.api_off(zone.account)
        and ask.caller.may(("Zone Read", "Zone Write"), rights.of_zone(zone))
        and name in (None, zone.name)
        and account in (None, zone.account.id)
    ]
    return ask.paged(rows)


def zone(ask: Ask) -> Json:
    found = ask.zone()
    ask.need(("Zone Read", "Zone Write"), rights.of_zone(found))
    return _zone(found)


def _zone(zone: Zone) -> Json:
    return {
        "id": zone.id,
        "name": zone.name,
        "status": "active",
        "paused": False,
        "type": "full",
        "development_mode": 0,
        "name_servers": ["ada.ns.cloudflare.com", "bob.ns.cloudflare.com"],
        "original_name_servers": None,
        "original_registrar": None,
        "original_dnshost": None,
        "created_on": fine(zone.created_on),
        "modified_on": fine(zone.created_on),
        "activated_on": fine(zone.created_on),
        "meta": {"step": 2, "custom_certificate_quota": 0, "page_rule_quota": 3, "phishing_detected": False},
        "owner": {"id": None, "type": "user", "email": None},
        "account": {"id": zone.account.id, "name": zone.account.name},
        "permissions": ["#dns_records:edit", "#zone:read"],
        "plan": {
            "id": "0feeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
            "name": "Free Website",
            "price": 0,
            "currency": "USD",
            "frequency": "",
            "is_subscribed": False,
            "can_subscribe": False,
            "legacy_id": "free",
            "legacy_discount": False,
            "externally_managed": False,
        },
    }


OPERATIONS = (
    Operation("user.get", "GET", "/user", user),
    Operation("memberships.list", "GET", "/memberships", memberships),
    Operation("memberships.get", "GET", "/memberships/{membership}", membership),
    Operation("accounts.list", "GET", "/accounts", accounts),
    Operation("accounts.get", "GET", "/accounts/{account}", account),
    Operation("accounts.update", "PUT", "/accounts/{account}", change_account),
    Operation("accounts.members.list", "GET", "/accounts/{account}/members", members),
    Operation("accounts.members.get", "GET", "/accounts/{account}/members/{member}", member),
    Operation("accounts.members.update", "PUT", "/accounts/{account}/members/{member}", change_member),
    Operation("iam.oauth_clients.list", "GET", "/accounts/{account}/oauth_clients", oauth_clients),
    Operation("iam.oauth_clients.get", "GET", "/accounts/{account}/oauth_clients/{client}", oauth_client),
    Operation("iam.oauth_clients.delete", "DELETE", "/accounts/{account}/oauth_clients/{client}", delete_oauth_client),
    Operation("zones.list", "GET", "/zones", zones),
    Operation("zones.get", "GET", "/zones/{zone}", zone),
)
