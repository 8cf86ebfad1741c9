"""The contract of issuers, over AppRole secret-ids of a real Vault, under exactly the policies of docs/vault.md."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from issuers.vault_approle import VaultSecretIds, create
from rotatord.errors import Denied, Invalid, NotFound, Retryable
from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    Inconclusive,
    Inventory,
    MintRequest,
    Preflight,
    RefusedVerdict,
    Sessions,
    Surroundings,
    Traits,
)
from rotatord.secret import Secret
from rotatord.testing.contracts.issuer import IssuerContract
from rotatord.testing.contracts.issuer_setting import probe, query
from rotatord.testing.silent import closed_port, silent_server
from tests.servers.fixtures import Place
from tests.servers.vault import VaultServer

pytestmark = pytest.mark.vault
QUICK = {"connect_timeout": 0.5, "read_timeout": 0.5, "timeout": 1.0}
NEVER = "00000000-1111-2222-3333-444444444444"


@dataclass
class Corner:
    """What one test works with: a role, and ourselves with the least rights."""

    place: Place
    role: str
    settings: dict[str, Any]


@pytest.fixture
def corner(vault_place: Place) -> Corner:
    name = vault_place.name
    make_role(vault_place.server, name)
    policies = [
        vault_place.documented_policy("rotatord-vault-approle", MOUNT="approle", ROLE=name),
        vault_place.documented_policy("rotatord-vault-approle-sessions"),
    ]
    return Corner(vault_place, name, vault_place.settings(*policies))


def make_role(server: VaultServer, name: str, **more: Any) -> None:
    server.call("POST", f"auth/approle/role/{name}", {"token_policies": [f"{name}-app"], "token_ttl": "10m", **more})


@pytest.fixture
def issuer(corner: Corner, surroundings: Callable[..., Surroundings]) -> VaultSecretIds:
    return corner.place.closing(create({**corner.settings, "role": corner.role}, surroundings()))


@pytest.fixture
def request_(corner: Corner) -> MintRequest:
    return MintRequest(
        installation=f"inst-{corner.role}",
        credential="apps/web",
        rotation=f"rot_{secrets.token_hex(4)}",
        generation=3,
        scope={"permissions": [f"{corner.role}-app"], "ip_allow": ["127.0.0.1"]},
        parameters={"role": corner.role},
        ttl=timedelta(minutes=30),
    )


def login(server: VaultServer, fields: Secret) -> tuple[int, dict[str, Any]]:
    """Log in as the application would."""
    return server.request("POST", "auth/approle/login", fields.reveal_all(), token="")


class TestVaultAppRole(IssuerContract):
    """The suite."""

    plugin = "vault_approle"
    powers = frozenset({Inventory, Sessions, Preflight})
    traits = Traits(
        fields=("role_id", "secret_id"),
        scope_proof="exact",
        expiry=True,
        call_settles_within=timedelta(seconds=90),
        high_entropy=("secret_id",),
    )

    @pytest.fixture
    def issuer(self, issuer: VaultSecretIds) -> VaultSecretIds:
        return issuer

    @pytest.fixture
    def request_(self, request_: MintRequest) -> MintRequest:
        return request_

    @pytest.fixture
    def unknown_ref(self, corner: Corner) -> str:
        return f"approle/{corner.role}/{NEVER}/rot_0/1"

    @pytest.fixture
    def wider_scope(self, request_: MintRequest) -> JsonMap:
        return {**request_.scope, "ip_allow": ["127.0.0.0/8", "10.0.0.0/8"]}

    @pytest.fixture
    def bad_scope(self, corner: Corner) -> JsonMap:
        return {"permissions": [f"{corner.role}-unheard-of"]}

    @pytest.fixture
    def impossible(self, corner: Corner) -> tuple[JsonMap, JsonMap]:
        return {"permissions": [f"{corner.role}-unheard-of"]}, {"role": corner.role}

    @pytest.fixture
    def open_session(self, corner: Corner) -> Callable[[Secret], Callable[[], bool]]:
        def start(fields: Secret) -> Callable[[], bool]:
            token = login(corner.place.server, fields)[1]["auth"]["client_token"]
            return lambda: corner.place.server.request("GET", "auth/token/lookup-self", token=token)[0] == 200

        return start

    @pytest.fixture
    def denied(self, corner: Corner, surroundings: Callable[..., Surroundings]) -> VaultSecretIds:
        return corner.place.closing(create(corner.place.settings("default"), surroundings()))

    @pytest.fixture
    def unreachable(self, corner: Corner, surroundings: Callable[..., Surroundings]) -> Iterator[VaultSecretIds]:
        with closed_port() as port:
            yield create({**corner.settings, **QUICK, "address": f"http://127.0.0.1:{port}"}, surroundings())

    @pytest.fixture
    def hanging(self, corner: Corner, surroundings: Callable[..., Surroundings]) -> Iterator[VaultSecretIds]:
        with silent_server() as port:
            yield create({**corner.settings, **QUICK, "address": f"http://127.0.0.1:{port}"}, surroundings())


def test_both_fields_log_in_and_stop_doing_so(corner: Corner, issuer: VaultSecretIds, request_: MintRequest) -> None:
    """The application logs in with what was minted, and no more once it is revoked."""
    minted = issuer.mint(request_, None)
    status, answer = login(corner.place.server, minted.fields)
    assert status == 200
    assert answer["auth"]["policies"] == ["default", f"{corner.role}-app"]
    issuer.revoke(minted.ref, None, request_.parameters)
    assert login(corner.place.server, minted.fields)[0] == 400


def test_a_probe_costs_no_use_and_leaves_no_token(corner: Corner, issuer: VaultSecretIds, request_: MintRequest) -> None:
    """After five probes of a secret-id with two uses, two logins work and a third does not."""
    counted = replace(request_, parameters={"role": corner.role, "num_uses": 2})
    minted = issuer.mint(counted, None)
    for _ in range(5):
        assert isinstance(probe(issuer, minted.fields, counted), Accepted)
    assert issuer.end_sessions(minted.ref, counted.parameters) == 0
    assert [login(corner.place.server, minted.fields)[0] for _ in range(3)] == [200, 200, 400]
    assert isinstance(probe(issuer, minted.fields, counted), RefusedVerdict)


def test_addresses_bind_logins_and_tokens(corner: Corner, issuer: VaultSecretIds, request_: MintRequest) -> None:
    """From elsewhere a login is refused; our probe does not depend on where we are."""
    elsewhere = replace(request_, scope={"ip_allow": ["10.0.0.0/8"]})
    minted = issuer.mint(elsewhere, None)
    assert login(corner.place.server, minted.fields)[0] == 400
    answer = probe(issuer, minted.fields, elsewhere)
    assert isinstance(answer, Accepted)
    assert answer.scope == elsewhere.scope
    here = issuer.mint(request_, None)
    token = login(corner.place.server, here.fields)[1]["auth"]["client_token"]
    seen = corner.place.server.call("POST", "auth/token/lookup", {"token": token})["data"]
    assert seen["bound_cidrs"] == ["127.0.0.1"]


def test_sessions_end_also_after_the_secret_id(corner: Corner, issuer: VaultSecretIds, request_: MintRequest) -> None:
    """Destroying a secret-id leaves its tokens alive; they are found and ended afterwards, and nobody else's."""
    server = corner.place.server
    old, new = issuer.mint(request_, None), issuer.mint(replace(request_, generation=4), None)
    tokens = [login(server, fields)[1]["auth"]["client_token"] for fields in (old.fields, old.fields, new.fields)]
    issuer.revoke(old.ref, None, request_.parameters)

    def alive() -> list[bool]:
        return [server.request("GET", "auth/token/lookup-self", token=token)[0] == 200 for token in tokens]

    assert alive() == [True, True, True]
    assert issuer.end_sessions(old.ref, request_.parameters) == 2
    assert alive() == [False, False, True]


def test_sessions_of_an_unlabelled_secret_id_are_left_alone(
    corner: Corner, issuer: VaultSecretIds, request_: MintRequest
) -> None:
    """A secret-id of somebody else can be found and adopted by its ref, but its tokens cannot be told from others."""
    made = corner.place.server.call("POST", f"auth/approle/role/{corner.role}/secret-id", {})["data"]
    ref = f"approle/{corner.role}/{made['secret_id_accessor']}"
    assert [live.ref for live in issuer.inventory()] == [ref]
    assert [live.ref for live in issuer.find(query(request_, ref=ref))] == [ref]
    assert list(issuer.find(query(request_))) == []
    with pytest.raises(Invalid, match="labels"):
        issuer.end_sessions(ref, request_.parameters)
    issuer.revoke(ref, None, request_.parameters)
    assert list(issuer.inventory()) == []


def test_an_accessor_is_enough_to_name_one(corner: Corner, issuer: VaultSecretIds, request_: MintRequest) -> None:
    """What a person has, of a secret-id of theirs and of one of ours, becomes what the probe of its value tells; what is whole,
    or not there, stays what it is."""
    made = corner.place.server.call("POST", f"auth/approle/role/{corner.role}/secret-id", {})["data"]
    accessor, ours = made["secret_id_accessor"], issuer.mint(request_, None)
    theirs = f"approle/{corner.role}/{accessor}"
    gone = str(uuid.UUID(int=7))
    for given, whole in (
        (accessor, theirs),
        (theirs, theirs),
        (ours.ref.split("/")[2], ours.ref),
        ("/".join(ours.ref.split("/")[:3]), ours.ref),
        (ours.ref, ours.ref),
        (gone, gone),
    ):
        assert issuer.whole_ref(given, request_.parameters) == whole
    answer = probe(issuer, ours.fields, request_)
    assert isinstance(answer, Accepted)
    assert answer.ref == ours.ref


def test_a_ref_is_ended_at_the_role_that_made_it(corner: Corner, issuer: VaultSecretIds, request_: MintRequest) -> None:
    """After the configuration names another role, an old ref is still looked for and destroyed at its own."""
    other = f"{corner.role}-other"
    make_role(corner.place.server, other)
    corner.place.documented_policy("rotatord-vault-approle", MOUNT="approle", ROLE=other)
    minted = issuer.mint(request_, None)
    moved = {"role": other}
    assert [live.ref for live in issuer.find(replace(query(request_, ref=minted.ref), parameters=moved))] == [minted.ref]
    issuer.revoke(minted.ref, None, moved)
    assert login(corner.place.server, minted.fields)[0] == 400
    assert list(issuer.find(replace(query(request_, ref=minted.ref), parameters=moved))) == []


def test_a_deleted_role_takes_its_secret_ids_along(corner: Corner, issuer: VaultSecretIds, request_: MintRequest) -> None:
    """No role: what it had is refused and gone, ending it succeeds, minting says what is missing."""
    minted = issuer.mint(request_, None)
    corner.place.server.call("DELETE", f"auth/approle/role/{corner.role}")
    assert isinstance(probe(issuer, minted.fields, request_), RefusedVerdict)
    assert list(issuer.find(query(request_, ref=minted.ref))) == []
    issuer.revoke(minted.ref, None, request_.parameters)
    assert any("no AppRole role" in problem for problem in issuer.preflight(request_.scope, request_.parameters))
    with pytest.raises(Invalid, match="no AppRole role"):
        issuer.mint(request_, None)


def test_a_missing_mount_is_no_verdict(
    corner: Corner, request_: MintRequest, surroundings: Callable[..., Surroundings]
) -> None:
    """A mount that is not there is an error for every call: a wrong name must not prove that anything is dead."""
    lost = corner.place.closing(create({**corner.place.settings("root"), "mount": "nowhere"}, surroundings()))
    fields = Secret({"role_id": "a", "secret_id": "b"})
    for call in (
        lambda: probe(lost, fields, request_),
        lambda: lost.find(query(request_)),
        lambda: lost.find(query(request_, ref=NEVER)),
        lambda: lost.revoke(NEVER, None, request_.parameters),
    ):
        with pytest.raises(NotFound, match="no handler"):
            call()


def test_a_role_that_asks_for_no_secret_id_is_refused(corner: Corner, issuer: VaultSecretIds, request_: MintRequest) -> None:
    """Where logging in needs no secret-id, rotating one would be theatre."""
    body = {"bind_secret_id": False, "secret_id_bound_cidrs": [], "token_bound_cidrs": ["127.0.0.1/32"]}
    make_role(corner.place.server, corner.role, **body)
    assert any("no secret-id" in problem for problem in issuer.preflight(request_.scope, request_.parameters))
    with pytest.raises(Invalid, match="no secret-id"):
        issuer.mint(request_, None)


def test_another_role_id_is_refused(corner: Corner, issuer: VaultSecretIds, request_: MintRequest) -> None:
    """A role_id that the role has not got (any more) cannot log in, so the pair is refused."""
    minted = issuer.mint(request_, None)
    corner.place.server.call("POST", f"auth/approle/role/{corner.role}/role-id", {"role_id": f"new-{corner.role}"})
    assert login(corner.place.server, minted.fields)[0] == 400
    assert isinstance(probe(issuer, minted.fields, request_), RefusedVerdict)


def test_the_inventory_of_a_whole_mount(
    corner: Corner, issuer: VaultSecretIds, request_: MintRequest, surroundings: Callable[..., Surroundings]
) -> None:
    """An issuer that names no role lists the secret-ids of all roles."""
    minted = issuer.mint(request_, None)
    everywhere = corner.place.closing(create(corner.place.settings("root"), surroundings()))
    assert minted.ref in {live.ref for live in everywhere.inventory()}


@pytest.mark.parametrize(
    ("scope", "parameters", "word"),
    [
        ({}, {}, "role"),
        ({"resources": []}, {"role": "a"}, "resources"),
        ({"ip_allow": ["10.0.0.1/8"]}, {"role": "a"}, "10.0.0.1/8"),
        ({}, {"role": "../a"}, "role"),
        ({}, {"role": "a", "num_uses": 0}, "num_uses"),
    ],
)
def test_mistakes_are_told_without_asking_vault(scope: JsonMap, parameters: JsonMap, word: str, surroundings: Any) -> None:
    """Static problems are sentences that name what is wrong; nothing is contacted."""
    issuer = create({"address": "http://127.0.0.1:1", "auth": {"token": {"env": "NOBODY"}}}, surroundings())
    problems = list(issuer.check(scope, parameters))
    assert problems
    assert any(word in problem for problem in problems)


def test_without_the_rights_to_end_sessions_it_is_denied(
    corner: Corner, issuer: VaultSecretIds, request_: MintRequest, surroundings: Callable[..., Surroundings]
) -> None:
    """The policy for secret-ids alone is enough for everything but ending sessions, and that is told, not passed over."""
    minted = issuer.mint(request_, None)
    policy = f"rotatord-vault-approle-{corner.place.name}"
    less = corner.place.closing(create(corner.place.settings(policy), surroundings()))
    assert list(less.preflight(request_.scope, request_.parameters)) == []
    assert isinstance(probe(less, minted.fields, request_), Accepted)
    with pytest.raises(Denied):
        less.end_sessions(minted.ref, request_.parameters)


def test_a_sealed_vault_is_retryable_and_no_verdict(
    own_vault: VaultServer, tmp_path: Any, surroundings: Callable[..., Surroundings]
) -> None:
    """Sealed: every call is Retryable and a probe inconclusive; nothing is taken for gone."""
    make_role(own_vault, "web")
    issuer = create(Place(own_vault, "sealed", tmp_path).settings("root", role="web"), surroundings())
    request = MintRequest(
        installation="i", credential="c", rotation="rot_1", generation=1, scope={}, parameters={"role": "web"}
    )
    minted = issuer.mint(request, None)
    own_vault.seal()
    for call in (
        lambda: issuer.mint(request, None),
        lambda: issuer.find(query(request)),
        lambda: issuer.find(query(request, ref=minted.ref)),
        lambda: issuer.revoke(minted.ref, None, {}),
        lambda: issuer.end_sessions(minted.ref, {}),
    ):
        with pytest.raises(Retryable):
            call()
    assert isinstance(probe(issuer, minted.fields, request), Inconclusive)
    own_vault.unseal()
    assert isinstance(probe(issuer, minted.fields, request), Accepted)
    issuer.close()
