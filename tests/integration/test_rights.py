"""What the manual prints as rights is enough, and nothing of it is never used: Vault's audit device is the judge."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backends import vault
from issuers import vault_approle, vault_token
from rotatord.model import Destination, Slot
from rotatord.permission_forms import hcl
from rotatord.permissions import Grants
from rotatord.ports import MintRequest, Surroundings
from rotatord.testing.contracts.backend_setting import FIRST, MARKER, SECOND, later, put, token_of
from rotatord.testing.contracts.issuer_setting import probe, query
from tests.servers.fixtures import KV_MOUNT, Place

pytestmark = pytest.mark.vault
Used = set[tuple[str, str]]  # path, capability
MakeSurroundings = Callable[..., Surroundings]
# What every token has by Vault's own policy `default`, and what Vault answers to whoever may use the mount below it.
OF_DEFAULT = re.compile(r"auth/token/(lookup|renew|revoke)-self|sys/capabilities-self|sys/internal/ui/mounts/.*")


def granted(place: Place, own: str) -> Used:
    """The pairs of path and capability of a policy that was written as documented."""
    found = re.findall(r'^path "([^"]+)"\s+\{ capabilities = \[([^]]+)\] \}$', place.rules[own], re.MULTILINE)
    return {(path, capability.strip(' "')) for path, listed in found for capability in listed.split(",")}


def asked(place: Place, *own: str) -> tuple[Used, list[str]]:
    """What identities with these policies asked for, as the audit device saw it; and what of it was denied."""
    used: Used = set()
    denied = []
    for entry in place.server.audit():
        if not set(own) & set(entry.get("auth", {}).get("policies") or ()) or OF_DEFAULT.fullmatch(entry["request"]["path"]):
            continue
        path, operation = entry["request"]["path"].rstrip("/"), entry["request"]["operation"]
        if "permission denied" in entry.get("error", ""):
            denied.append(f"{operation} {path}")
        used.add((path, operation))
    return used, denied


def assert_exact(place: Place, *own: str, sudo: frozenset[str] = frozenset()) -> None:
    """Granted and used are the same. ``sudo``: paths that Vault itself asks it for, which a request does not show."""
    allowed = set[tuple[str, str]]().union(*(granted(place, name) for name in own))
    used, denied = asked(place, *own)
    assert denied == []
    assert used | {(path, "sudo") for path in sudo} == allowed


def request_for(place: Place, **more: Any) -> MintRequest:
    """A request of an installation of this test's own."""
    return MintRequest(
        installation=f"inst-{place.name}",
        credential="apps/reports",
        rotation=f"rot_{secrets.token_hex(4)}",
        generation=1,
        **{"scope": {"permissions": [place.name]}, "parameters": {}, "ttl": timedelta(minutes=10), **more},
    )


@pytest.fixture
def names(vault_place: Place) -> Place:
    """A corner with a policy that applications have."""
    vault_place.server.policy(vault_place.name, f'path "{KV_MOUNT}/data/{vault_place.name}" {{ capabilities = ["read"] }}')
    return vault_place


def live_as_tokens(issuer: Any, request: MintRequest) -> None:
    """Everything that an issuer of tokens is ever asked."""
    assert list(issuer.preflight(request.scope, request.parameters)) == []
    minted = issuer.mint(request, None)
    bare = issuer.mint(replace(request, parameters={**request.parameters, "default_policy": False}), None)
    for each in (minted, bare):
        probe(issuer, each.fields, request)
    assert {live.ref for live in issuer.find(query(request))} == {minted.ref, bare.ref}
    assert len(issuer.find(query(request, ref=minted.ref))) == 1
    issuer.inventory()
    if "period" in request.parameters:
        issuer.renew(minted.ref, request.parameters)
    for each in (minted, bare):
        issuer.revoke(each.ref, None, request.parameters)
        probe(issuer, each.fields, request)


def test_a_tokens_life_through_a_role_needs_the_documented_policy(names: Place, surroundings: MakeSurroundings) -> None:
    """Periodic tokens from preflight to proof of death: nothing denied, and nothing granted in vain."""
    role = {"allowed_policies": [names.name], "orphan": True, "token_type": "service", "token_period": "10m"}
    names.server.call("POST", f"auth/token/roles/{names.name}", role)
    own = names.documented_policy("rotatord-vault-token", ROLE=names.name)
    issuer = names.closing(vault_token.create(names.settings(own, role=names.name), surroundings()))
    live_as_tokens(issuer, request_for(names, parameters={"period": "10m"}, ttl=None))
    assert_exact(names, own, sudo=frozenset({"auth/token/accessors"}))


def test_a_tokens_life_without_a_role_needs_the_documented_policy(names: Place, surroundings: MakeSurroundings) -> None:
    """The same with what the identity may hand out because it has it."""
    own = names.documented_policy("rotatord-vault-token-no-role")
    issuer = names.closing(vault_token.create(names.settings(own, names.name), surroundings()))
    live_as_tokens(issuer, request_for(names))
    assert_exact(names, own, sudo=frozenset({"auth/token/accessors"}))


def test_a_secret_ids_life_needs_the_documented_policies(names: Place, surroundings: MakeSurroundings) -> None:
    """Minting, probing, ending sessions and revoking use every right, and no other."""
    role = {"token_policies": [names.name], "token_ttl": "10m"}
    names.server.call("POST", f"auth/approle/role/{names.name}", role)
    own = names.documented_policy("rotatord-vault-approle", MOUNT="approle", ROLE=names.name)
    sessions = names.documented_policy("rotatord-vault-approle-sessions")
    issuer = names.closing(vault_approle.create(names.settings(own, sessions, role=names.name), surroundings()))
    request = request_for(names, parameters={"role": names.name})
    assert list(issuer.preflight(request.scope, request.parameters)) == []
    minted = issuer.mint(request, None)
    probe(issuer, minted.fields, request)
    assert len(issuer.find(query(request))) == len(issuer.find(query(request, ref=minted.ref))) == 1
    issuer.inventory()
    names.server.request("POST", "auth/approle/login", minted.fields.reveal_all(), token="")
    assert issuer.end_sessions(minted.ref, request.parameters) == 1
    issuer.revoke(minted.ref, None, request.parameters)
    probe(issuer, minted.fields, request)
    assert_exact(names, own, sessions, sudo=frozenset({"auth/token/accessors"}))


def kept(backend: Any, destination: Destination, *slots: Slot) -> None:
    """A slot's whole life, but for the last clear of the one that readers see."""
    for slot in slots:
        put(backend, destination, slot, FIRST)
        put(backend, destination, slot, SECOND, later(MARKER))
        assert backend.read(destination, slot).fields == SECOND
        if slot is not Slot.CURRENT:
            backend.clear(destination, slot, token_of(backend, destination, slot))


@pytest.mark.parametrize("retired", [False, True])
def test_a_homes_life_needs_the_documented_policy(names: Place, surroundings: MakeSurroundings, *, retired: bool) -> None:
    """All three slots, and with one policy more the end of the document."""
    place = {"PATH": f"{names.name}/app", "KV": KV_MOUNT}
    own = [names.documented_policy("rotatord-vault-kv", **place)]
    if retired:
        own.append(names.documented_policy("rotatord-vault-kv-retire", **place))
    backend = names.closing(vault.create(names.settings(*own), surroundings()))
    destination = Destination(backend="kv", address={"path": place["PATH"]}, keys={"TOKEN": "token"})
    kept(backend, destination, *Slot)
    assert list(backend.preflight(destination)) == []
    if retired:
        backend.clear(destination, Slot.CURRENT, token_of(backend, destination, Slot.CURRENT))
    assert_exact(names, *own)


def test_another_destination_needs_no_slots(names: Place, surroundings: MakeSurroundings) -> None:
    """Where a credential has its home elsewhere, two paths are enough, for the check beforehand too; a copy needs one."""
    destination = Destination(backend="kv", address={"path": f"{names.name}/more"}, keys={"TOKEN": "token"})
    speaking = vault.create({"address": "http://127.0.0.1:1", "auth": {"token": {"env": "NOBODY"}}}, surroundings())
    for kind, rights in (("written", speaking.rights(destination, home=False)), ("read", speaking.read_rights(destination))):
        own = f"{names.name}-{kind}"
        grants = Grants()
        for right in rights:
            grants.add(right)
        names.rules[own] = "\n".join(hcl(grants))
        names.server.policy(own, names.rules[own])
        backend = names.closing(vault.create(names.settings(own), surroundings()))
        if kind == "written":
            kept(backend, destination, Slot.CURRENT)
            assert list(backend.preflight(destination, home=False)) == []
        assert not backend.read(destination, Slot.CURRENT).empty
        assert_exact(names, own)


def test_without_sudo_no_accessors_are_listed(names: Place) -> None:
    """The one right that requests do not show is asked for by Vault."""
    for capabilities, status in (('["list"]', 403), ('["list", "sudo"]', 200)):
        names.server.policy(names.name, f'path "auth/token/accessors" {{ capabilities = {capabilities} }}')
        assert names.server.request("LIST", "auth/token/accessors", token=names.server.token(names.name))[0] == status
