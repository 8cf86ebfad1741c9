"""Every way into a real Vault: logged in, renewed, revoked under our feet, replaced without a refused call."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from rotatord.clock import SystemClock
from rotatord.errors import Denied
from rotatord.ports import Surroundings
from rotatord.testing.contracts.common import eventually
from rotatord.vault_client import VaultClient, VaultSettings
from tests.servers.fixtures import KV_MOUNT, Place
from tests.servers.vault import VaultServer

pytestmark = pytest.mark.vault
KEY = ec.generate_private_key(ec.SECP256R1())


def jwt(audience: str, lasts: int = 600) -> str:
    """A signed token as a cluster's API server would give a pod."""

    def packed(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    now = int(SystemClock().now().timestamp())
    claims = {"sub": "system:serviceaccount:ops:rotatord", "aud": audience, "iat": now, "exp": now + lasts}
    head = f"{packed(json.dumps({'alg': 'ES256', 'typ': 'JWT'}).encode())}.{packed(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(KEY.sign(head.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{head}.{packed(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def way(server: VaultServer, corner: Place, kind: str) -> dict[str, Any]:
    """Settings for one way in, prepared on the server: a login whose token lasts ten minutes."""
    server.policy(corner.name, f'path "{KV_MOUNT}/*" {{ capabilities = ["create", "read", "update"] }}')
    token = {"token_policies": [corner.name], "token_ttl": "10m"}
    secret = corner.directory / "secret"
    if kind in ("jwt", "kubernetes"):
        public = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        mount = f"{kind}-{corner.name}"
        server.call("POST", f"sys/auth/{mount}", {"type": "jwt"})
        server.call("POST", f"auth/{mount}/config", {"jwt_validation_pubkeys": [public.decode()]})
        bound = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"]}
        server.call("POST", f"auth/{mount}/role/ours", {**token, **bound})
        secret.write_text(jwt("vault"))
        if kind == "jwt":
            return {"jwt": {"role": "ours", "mount": mount, "jwt": {"file": str(secret)}}}
        return {"kubernetes": {"role": "ours", "mount": mount, "token_file": str(secret)}}
    if kind == "approle":
        server.call("POST", f"auth/approle/role/{corner.name}", token)
        role_id = server.call("GET", f"auth/approle/role/{corner.name}/role-id")["data"]["role_id"]
        secret.write_text(server.call("POST", f"auth/approle/role/{corner.name}/secret-id", {})["data"]["secret_id"])
        return {"approle": {"role_id": role_id, "secret_id": {"file": str(secret)}}}
    secret.write_text(server.token(corner.name, renewable=True))
    return {"token_file": str(secret)} if kind == "token_file" else {"token": {"file": str(secret)}}


def client(server: VaultServer, auth: dict[str, Any], surroundings: Surroundings, now: Callable[[], float]) -> VaultClient:
    return VaultClient(VaultSettings.model_validate({"address": server.address, "auth": auth}), surroundings, now)


def own_accessor(vault: VaultClient) -> str:
    """The accessor of the token that calls are made with."""
    accessor: str = vault.calls().get("auth/token/lookup-self").data["accessor"]
    return accessor


@pytest.mark.parametrize("kind", ["approle", "jwt", "kubernetes", "token", "token_file"])
def test_every_way_in_works_and_is_renewed(vault_place: Place, surroundings: Callable[..., Surroundings], kind: str) -> None:
    """Calls work; after two thirds of the life the same token goes on, prolonged where that is ours to do."""
    now = [1000.0]
    server = vault_place.server
    vault = vault_place.closing(client(server, way(server, vault_place, kind), surroundings(), lambda: now[0]))
    before = own_accessor(vault)
    renewals = _renewals(server)
    now[0] += 2500 if kind == "token" else 401
    assert own_accessor(vault) == before
    assert _renewals(server) - renewals == (0 if kind == "token_file" else 1)


@pytest.mark.parametrize("kind", ["approle", "jwt", "kubernetes"])
def test_a_login_that_is_revoked_is_made_again(
    vault_place: Place, surroundings: Callable[..., Surroundings], kind: str
) -> None:
    """Our token dies under our feet: the next call logs in again and succeeds."""
    server = vault_place.server
    vault = vault_place.closing(client(server, way(server, vault_place, kind), surroundings(), lambda: 0.0))
    before = own_accessor(vault)
    server.call("POST", "auth/token/revoke-accessor", {"accessor": before})
    assert own_accessor(vault) != before


def test_a_token_of_an_agent_is_taken_from_its_file_at_once(
    vault_place: Place, surroundings: Callable[..., Surroundings]
) -> None:
    """The file is replaced and the old token revoked: no call is refused. Revoked without a successor it is Denied."""
    server = vault_place.server
    auth = way(server, vault_place, "token_file")
    vault = vault_place.closing(client(server, auth, surroundings(), lambda: 0.0))
    before = own_accessor(vault)
    Path(auth["token_file"]).write_text(server.token(vault_place.name))
    server.call("POST", "auth/token/revoke-accessor", {"accessor": before})
    after = own_accessor(vault)
    assert after != before
    server.call("POST", "auth/token/revoke-accessor", {"accessor": after})
    with pytest.raises(Denied):
        own_accessor(vault)


@pytest.mark.parametrize("kind", ["approle", "jwt"])
def test_a_login_that_vault_refuses_is_denied(vault_place: Place, surroundings: Callable[..., Surroundings], kind: str) -> None:
    """A wrong secret is Denied and not shown; put right, the next call works."""
    server = vault_place.server
    auth = way(server, vault_place, kind)
    good = (vault_place.directory / "secret").read_text()
    (vault_place.directory / "secret").write_text(jwt("somebody-else") if kind == "jwt" else "wrong-secret-id")
    vault = vault_place.closing(client(server, auth, surroundings(), lambda: 0.0))
    with pytest.raises(Denied) as caught:
        own_accessor(vault)
    assert "wrong-secret-id" not in str(caught.value)
    (vault_place.directory / "secret").write_text(good)
    own_accessor(vault)


def test_closing_ends_our_login(vault_place: Place, surroundings: Callable[..., Surroundings]) -> None:
    """What we logged in for does not live on after us."""
    server = vault_place.server
    vault = client(server, way(server, vault_place, "approle"), surroundings(), lambda: 0.0)
    accessor = own_accessor(vault)
    vault.close()
    assert server.request("POST", "auth/token/lookup-accessor", {"accessor": accessor})[0] == 400


def until_each_read_anew(reads: list[int], failures: list[Exception]) -> None:
    """Two more reads of each: the second began after the last death, so no read meets two, which it need not survive."""
    enough = [count + 2 for count in reads]

    def anew() -> bool:
        return bool(failures) or all(count >= least for count, least in zip(reads, enough, strict=True))

    eventually(anew, "two more reads of each", within=30)


def test_many_threads_meet_no_gap(vault_place: Place, surroundings: Callable[..., Surroundings]) -> None:
    """Four threads read while our token is revoked again and again: not one call fails."""
    server = vault_place.server
    vault = vault_place.closing(client(server, way(server, vault_place, "approle"), surroundings(), lambda: 0.0))
    done, failures, reads = threading.Event(), [], [0] * 4

    def work(number: int) -> None:
        while not done.is_set():
            try:
                vault.calls().get(f"{KV_MOUNT}/data/{vault_place.name}", allow=(404,))
                reads[number] += 1
            except Exception as error:  # noqa: BLE001 - whatever it was is a failure
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    killed: set[str] = set()
    try:
        for _ in range(20):
            token = vault.login.token(vault.calls().send).value
            killed.add(token)
            server.call("POST", "auth/token/revoke", {"token": token})
            until_each_read_anew(reads, failures)
    finally:
        done.set()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert len(killed) > 5
    assert sum(reads) > len(killed)


def _renewals(server: VaultServer) -> int:
    return sum(
        1 for entry in server.audit() if entry["type"] == "response" and entry["request"]["path"] == "auth/token/renew-self"
    )
