"""Our own way into a real Vault: what can be seen of how long it lasts, and whether another one would do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from backends import vault as kv
from issuers import vault_approle, vault_token
from rotatord import references
from rotatord.model import Destination
from rotatord.ports import Life
from tests.contracts.test_vault_ways_in import way
from tests.servers.fixtures import KV_MOUNT, Place

pytestmark = pytest.mark.vault


def issuer(corner: Place, surroundings: Any, auth: dict[str, Any]) -> Any:
    settings = {"address": corner.server.address, "auth": auth}
    return corner.closing(vault_token.create(settings, surroundings()))


def given(corner: Place, **body: Any) -> dict[str, Any]:
    """A way in by a token that somebody made and put into a file."""
    made = corner.server.call("POST", body.pop("at", "auth/token/create-orphan"), {"policies": ["default"], **body})
    (corner.directory / "given").write_text(made["auth"]["client_token"])
    return {"token": {"file": str(corner.directory / "given")}}


def life(corner: Place, surroundings: Any, auth: dict[str, Any]) -> Life:
    (found,) = issuer(corner, surroundings, auth).own_life()
    assert isinstance(found, Life)
    return found


def test_the_end_of_a_token(vault_place: Place, surroundings: Any) -> None:
    """As Vault tells it; the end that no renewal moves counts, where there is one."""
    plain = life(vault_place, surroundings, given(vault_place, ttl="1h", renewable=False))
    assert (plain.place, plain.lasts, plain.renewed, plain.danger) == ("auth.token", timedelta(hours=1), False, "")
    assert plain.ends_at is not None
    assert life(vault_place, surroundings, given(vault_place, ttl="1h", renewable=True)).renewed
    limited = life(vault_place, surroundings, given(vault_place, ttl="1h", renewable=True, explicit_max_ttl="2h"))
    assert (limited.lasts, limited.renewed) == (timedelta(hours=2), False)
    assert life(vault_place, surroundings, given(vault_place, period="30m")).lasts == timedelta(minutes=30)


def test_a_token_that_has_no_end(vault_place: Place, surroundings: Any) -> None:
    """It is not taken for an unknown end."""
    (vault_place.directory / "root").write_text(vault_place.server.root_token)
    found = life(vault_place, surroundings, {"token": {"file": str(vault_place.directory / "root")}})
    assert found == Life(place="auth.token")


def test_a_dead_one_is_in_danger(vault_place: Place, surroundings: Any) -> None:
    """Somebody revoked it: that is no lack of rights."""
    auth = given(vault_place, ttl="1h")
    plugin = issuer(vault_place, surroundings, auth)
    assert plugin.own_life()[0].danger == ""
    vault_place.server.call("POST", "auth/token/revoke", {"token": (vault_place.directory / "given").read_text()})
    assert "does not know it any more" in plugin.own_life()[0].danger


def test_a_refusal_to_look_is_not_asked_for_every_minute(vault_place: Place, surroundings: Any) -> None:
    """Each is a line in Vault's audit log, which people watch."""
    vault_place.server.policy(vault_place.name, f'path "{KV_MOUNT}/*" {{ capabilities = ["read"] }}')
    auth = given(vault_place, policies=[vault_place.name], no_default_policy=True, ttl="1h")
    plugin = issuer(vault_place, surroundings, auth)
    refused = len(vault_place.server.audit())
    assert plugin.own_life()[0].unknown
    asked = len(vault_place.server.audit())
    assert asked > refused
    assert plugin.own_life()[0].unknown
    assert len(vault_place.server.audit()) == asked


def test_a_child_is_in_danger(vault_place: Place, surroundings: Any) -> None:
    """It dies with its parent, whenever that is."""
    found = life(vault_place, surroundings, given(vault_place, at="auth/token/create", ttl="1h"))
    assert "ends with its parent" in found.danger


def test_what_may_not_be_looked_at_is_unknown(vault_place: Place, surroundings: Any) -> None:
    """A token without the policy that lets it look at itself; a secret-id that its role may not look up."""
    vault_place.server.policy(vault_place.name, f'path "{KV_MOUNT}/*" {{ capabilities = ["read"] }}')
    body = {"policies": [vault_place.name], "no_default_policy": True, "ttl": "1h"}
    assert "may not look at itself" in life(vault_place, surroundings, given(vault_place, **body)).unknown
    auth = way(vault_place.server, vault_place, "approle")
    assert "may not look it up" in life(vault_place, surroundings, auth).unknown


def test_the_end_of_a_secret_id(vault_place: Place, surroundings: Any) -> None:
    """Where its role may look at it; and how many logins are left."""
    server, name = vault_place.server, vault_place.name
    auth = way(server, vault_place, "approle")
    server.policy(name, f'path "auth/approle/role/{name}/secret-id/lookup" {{ capabilities = ["update"] }}')
    made = server.call("POST", f"auth/approle/role/{name}/secret-id", {"ttl": "1h", "num_uses": 9})["data"]
    (vault_place.directory / "ours").write_text(made["secret_id"])
    auth["approle"]["secret_id"] = {"file": str(vault_place.directory / "ours")}
    found = life(vault_place, surroundings, auth)
    assert found.lasts == timedelta(hours=1)
    assert "8 more logins" in found.danger


@pytest.mark.parametrize("kind", ["jwt", "kubernetes"])
def test_the_end_of_a_signed_token(vault_place: Place, surroundings: Any, kind: str) -> None:
    """It says so itself; somebody else keeps it fresh."""
    found = life(vault_place, surroundings, way(vault_place.server, vault_place, kind))
    assert (found.lasts, found.renewed) == (timedelta(minutes=10), True)


def test_whether_another_token_would_do(vault_place: Place, surroundings: Any) -> None:
    """Asked with that one: all rights that minting for these credentials needs, and the policies that it is to hand out."""
    server, name = vault_place.server, vault_place.name
    server.policy(name, f'path "{KV_MOUNT}/*" {{ capabilities = ["read"] }}')
    own = vault_place.documented_policy("rotatord-vault-token-no-role")
    plugin = issuer(vault_place, surroundings, given(vault_place, policies=[own, name], ttl="1h"))
    needs = [({"permissions": [name]}, {})]
    for policies, wanted in (
        ([own, name], ""),
        ([name], "needs update on auth/token/create-orphan"),
        ([own], f"lacks {name}"),
    ):
        token = server.token(*policies)
        said = "; ".join(plugin.works_with(lambda _, token=token: token, needs))
        assert wanted in said
        assert bool(wanted) == bool(said)
    assert "invalid token" in plugin.works_with(lambda _: "hvs.never-was-one", needs)[0]


def test_whether_another_login_would_do(vault_place: Place, surroundings: Any) -> None:
    """It is logged in with, and that login is ended again; taken up, everything is done with it."""
    server, name = vault_place.server, vault_place.name
    auth = way(server, vault_place, "approle")
    path = vault_place.documented_policy("rotatord-vault-kv", KV=KV_MOUNT, PATH=f"{name}/app")
    server.call("POST", f"auth/approle/role/{name}", {"token_policies": [path], "token_ttl": "10m"})
    settings = {"address": server.address, "auth": auth, "mount": KV_MOUNT}
    backend = vault_place.closing(kv.create(settings, surroundings()))
    place = Destination(backend="kv", address={"path": f"{name}/app"}, keys={"TOKEN": "token"})
    other = Destination(backend="kv", address={"path": f"{name}/other"}, keys={"TOKEN": "token"})
    backend.preflight(place)
    before = set(server.call("LIST", "auth/token/accessors")["data"]["keys"])
    assert backend.works_with(references.resolve, [(place, True)]) == []
    assert (
        f"needs create, read, update on {KV_MOUNT}/data/{name}/other"
        in backend.works_with(references.resolve, [(other, False)])[0]
    )
    assert set(server.call("LIST", "auth/token/accessors")["data"]["keys"]) <= before
    assert "refuses our login" in backend.works_with(lambda _: "never-was-one", [(place, True)])[0]
    backend.take_up()
    assert backend.preflight(place) == []


def test_a_secret_id_of_its_own(vault_place: Place, surroundings: Any) -> None:
    """The issuer of secret-ids that logs in with one of them, from one document."""
    server, name = vault_place.server, vault_place.name
    way(server, vault_place, "approle")
    own = vault_place.documented_policy("rotatord-vault-approle", MOUNT="approle", ROLE=name)
    server.call("POST", f"auth/approle/role/{name}", {"token_policies": [own], "token_ttl": "10m"})
    role_id = server.call("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
    secret_id = server.call("POST", f"auth/approle/role/{name}/secret-id")["data"]["secret_id"]
    file = vault_place.directory / "login.json"
    file.write_text(json.dumps({"role_id": role_id, "secret_id": secret_id}))
    where = {key: {"file": str(file), "key": key} for key in ("role_id", "secret_id")}
    settings = {"address": server.address, "auth": {"approle": where}, "role": name}
    plugin = vault_place.closing(vault_approle.create(settings, replace(surroundings(), secret=references.resolve)))
    assert plugin.works_with(references.resolve, [({}, {})]) == []
    (found,) = plugin.own_life()
    assert found == Life(place="auth.approle.secret_id")
