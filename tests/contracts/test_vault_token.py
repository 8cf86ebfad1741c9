"""The contract of issuers, over real tokens of a real Vault, under exactly the policies of docs/vault.md."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from issuers.vault_token import Settings, VaultTokens, create
from rotatord.errors import Denied, Invalid, NotFound, Retryable
from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    Inconclusive,
    Inventory,
    MintRequest,
    Preflight,
    Query,
    RefusedVerdict,
    Renew,
    Surroundings,
    Traits,
)
from rotatord.secret import Secret
from rotatord.testing.contracts.common import assert_hides
from rotatord.testing.contracts.issuer import IssuerContract
from rotatord.testing.contracts.issuer_setting import probe, query
from rotatord.testing.loopback import Answer, Asked, Loopback, answer_json
from rotatord.testing.silent import closed_port, silent_server
from rotatord.vault_client import VaultClient
from rotatord.vault_labels import LABEL
from tests.servers.fixtures import Place
from tests.servers.vault import VaultServer

pytestmark = pytest.mark.vault
UNKNOWN = "AbCdEfGhIjKlMnOpQrStUvWx"
QUICK = {"connect_timeout": 0.5, "read_timeout": 0.5, "timeout": 1.0}


@dataclass
class Corner:
    """What one test works with: two policies, a role that may hand them out, and ourselves with the least rights."""

    place: Place
    role: str
    narrow: str
    wide: str
    settings: dict[str, Any]


@pytest.fixture
def corner(vault_place: Place) -> Corner:
    server, name = vault_place.server, vault_place.name
    narrow, wide = f"{name}-narrow", f"{name}-wide"
    server.policy(narrow, f'path "secret/data/{name}/a" {{ capabilities = ["read"] }}')
    server.policy(wide, f'path "secret/data/{name}/*" {{ capabilities = ["read"] }}')
    role(server, name, [narrow, wide])
    policy = vault_place.documented_policy("rotatord-vault-token", ROLE=name)
    return Corner(vault_place, name, narrow, wide, vault_place.settings(policy, role=name))


def role(server: VaultServer, name: str, policies: list[str], **more: Any) -> None:
    body = {"allowed_policies": policies, "orphan": True, "renewable": True, "token_type": "service", **more}
    server.call("POST", f"auth/token/roles/{name}", body)


def periodic(corner: Corner, request: MintRequest, **more: Any) -> MintRequest:
    """The request for a periodic token, and a role that gives such tokens."""
    name = f"{corner.role}-periodic"
    role(corner.place.server, name, [corner.narrow], token_period="10m", **more)
    corner.place.documented_policy("rotatord-vault-token", ROLE=name)
    return replace(request, parameters={"period": "10m", "role": name}, ttl=None)


@pytest.fixture
def issuer(corner: Corner, surroundings: Callable[..., Surroundings]) -> VaultTokens:
    return corner.place.closing(create(corner.settings, surroundings()))


@pytest.fixture
def request_(corner: Corner) -> MintRequest:
    return MintRequest(
        installation=f"inst-{corner.role}",
        credential="apps/reports",
        rotation=f"rot_{secrets.token_hex(4)}",
        generation=3,
        scope={"permissions": [corner.narrow]},
        parameters={},
        ttl=timedelta(minutes=30),
        owner="team-reports",
    )


class TestVaultToken(IssuerContract):
    """The suite."""

    plugin = "vault_token"
    powers = frozenset({Inventory, Renew, Preflight})
    traits = Traits(
        fields=("token",), scope_proof="exact", expiry=True, call_settles_within=timedelta(seconds=90), high_entropy=("token",)
    )

    @pytest.fixture
    def issuer(self, issuer: VaultTokens) -> VaultTokens:
        return issuer

    @pytest.fixture
    def request_(self, request_: MintRequest) -> MintRequest:
        return request_

    @pytest.fixture
    def unknown_ref(self) -> str:
        return UNKNOWN

    @pytest.fixture
    def wider_scope(self, corner: Corner) -> JsonMap:
        return {"permissions": [corner.wide, corner.narrow]}

    @pytest.fixture
    def bad_scope(self, corner: Corner) -> JsonMap:
        return {"permissions": [f"{corner.role}-unheard-of"]}

    @pytest.fixture
    def impossible(self, corner: Corner) -> tuple[JsonMap, JsonMap]:
        return {"permissions": [f"{corner.role}-unheard-of"]}, {}

    @pytest.fixture
    def renewable_request(self, corner: Corner, request_: MintRequest) -> MintRequest:
        return periodic(corner, request_)

    @pytest.fixture
    def denied(self, corner: Corner, surroundings: Callable[..., Surroundings]) -> VaultTokens:
        return corner.place.closing(create(corner.place.settings("default", role=corner.role), surroundings()))

    @pytest.fixture
    def unreachable(self, corner: Corner, surroundings: Callable[..., Surroundings]) -> Iterator[VaultTokens]:
        with closed_port() as port:
            yield create({**corner.settings, **QUICK, "address": f"http://127.0.0.1:{port}"}, surroundings())

    @pytest.fixture
    def hanging(self, corner: Corner, surroundings: Callable[..., Surroundings]) -> Iterator[VaultTokens]:
        with silent_server() as port:
            yield create({**corner.settings, **QUICK, "address": f"http://127.0.0.1:{port}"}, surroundings())


def test_tokens_are_labelled_orphan_service_tokens(issuer: VaultTokens, request_: MintRequest, corner: Corner) -> None:
    """A token has no parent, is named after its credential, and does not let its holder prolong it."""
    minted = issuer.mint(request_, None)
    seen = corner.place.server.call("POST", "auth/token/lookup-accessor", {"accessor": minted.ref})["data"]
    assert (seen["orphan"], seen["type"], seen["renewable"]) == (True, "service", False)
    assert seen["meta"]["rotatord_owner"] == "team-reports"
    assert seen["meta"]["rotatord_generation"] == "3"


def test_without_a_role_the_minter_hands_out_what_it_has(
    corner: Corner, request_: MintRequest, surroundings: Callable[..., Surroundings]
) -> None:
    """Under the policy for minting without a role: its own policies work, others are Invalid, unknown ones are revoked."""
    server = corner.place.server
    policy = corner.place.documented_policy("rotatord-vault-token-no-role")
    issuer = corner.place.closing(create(corner.place.settings(policy, corner.narrow), surroundings()))
    assert list(issuer.preflight(request_.scope, {})) == []
    minted = issuer.mint(request_, None)
    assert isinstance(probe(issuer, minted.fields, request_), Accepted)
    with pytest.raises(Invalid):
        issuer.mint(replace(request_, scope={"permissions": [corner.wide]}), None)
    root = corner.place.closing(create(corner.place.settings("root"), surroundings()))
    ghost = replace(request_, rotation="rot_ghost", scope={"permissions": [f"{corner.role}-ghost"]})
    with pytest.raises(Invalid, match="does not exist"):
        root.mint(ghost, None)
    assert list(root.find(query(ghost, rotation="rot_ghost"))) == []
    assert server.request("POST", "auth/token/lookup-accessor", {"accessor": minted.ref})[0] == 200


@pytest.mark.parametrize(
    ("more", "why"), [({"orphan": False}, "orphan"), ({"token_type": "batch", "renewable": False}, "batch")]
)
def test_a_role_that_makes_other_tokens_is_refused(
    corner: Corner, issuer: VaultTokens, request_: MintRequest, more: dict[str, Any], why: str
) -> None:
    """Children and batch tokens are refused beforehand, and at mint, and nothing of ours stays alive."""
    role(corner.place.server, corner.role, [corner.narrow, corner.wide], **more)
    assert any(why in problem for problem in issuer.preflight(request_.scope, {}))
    with pytest.raises(Invalid, match=why):
        issuer.mint(request_, None)
    assert list(issuer.find(query(request_))) == []


def test_addresses_are_bound_through_the_role(corner: Corner, issuer: VaultTokens, request_: MintRequest) -> None:
    """ip_allow must be what the role binds; seen back in the spelling that was asked for."""
    role(corner.place.server, corner.role, [corner.narrow], token_bound_cidrs=["127.0.0.1/32", "10.0.0.0/8"])
    scope = {"permissions": [corner.narrow], "ip_allow": ["10.0.0.0/8", "127.0.0.1/32"]}
    bound = replace(request_, scope=scope)
    assert list(issuer.preflight(scope, {})) == []
    assert any("binds" in problem for problem in issuer.preflight(request_.scope, {}))
    answer = probe(issuer, issuer.mint(bound, None).fields, bound)
    assert isinstance(answer, Accepted)
    assert answer.scope == scope


def test_from_outside_its_addresses_a_probe_says_nothing(corner: Corner, issuer: VaultTokens, request_: MintRequest) -> None:
    """A token that lives but is bound elsewhere is inconclusive, and refused only once it is revoked."""
    role(corner.place.server, corner.role, [corner.narrow], token_bound_cidrs=["10.0.0.0/8"])
    bound = replace(request_, scope={"permissions": [corner.narrow], "ip_allow": ["10.0.0.0/8"]})
    minted = issuer.mint(bound, None)
    assert isinstance(probe(issuer, minted.fields, bound), Inconclusive)
    issuer.revoke(minted.ref, None, {})
    assert isinstance(probe(issuer, minted.fields, bound), RefusedVerdict)


def test_a_token_that_may_not_look_at_itself_is_accepted(corner: Corner, issuer: VaultTokens, request_: MintRequest) -> None:
    """Without the default policy a look at itself is refused; ours shows that it lives, with its exact scope."""
    bare = replace(request_, parameters={"default_policy": False})
    minted = issuer.mint(bare, None)
    answer = probe(issuer, minted.fields, bare)
    assert isinstance(answer, Accepted)
    assert answer.scope == {"permissions": [corner.narrow]}
    assert answer.ref == minted.ref


def test_probing_costs_no_use(corner: Corner, issuer: VaultTokens, request_: MintRequest) -> None:
    """A token with two uses still has both after five probes, and is refused once they are spent."""
    counted = replace(request_, parameters={"num_uses": 2})
    minted = issuer.mint(counted, None)
    for _ in range(5):
        assert isinstance(probe(issuer, minted.fields, counted), Accepted)
    token = minted.fields.reveal("token")
    assert [corner.place.server.request("GET", "auth/token/lookup-self", token=token)[0] for _ in range(3)] == [200, 200, 403]
    assert isinstance(probe(issuer, minted.fields, counted), RefusedVerdict)


def test_periodic_tokens_are_renewed_until_their_limit(corner: Corner, issuer: VaultTokens, request_: MintRequest) -> None:
    """A period comes with a time to renew; a limit that nears ends the renewing; a token that is gone is NotFound."""
    lasting = periodic(corner, request_)
    assert list(issuer.preflight(lasting.scope, lasting.parameters)) == []
    minted = issuer.mint(lasting, None)
    assert minted.expires_at is not None
    assert minted.renew_at is not None
    assert minted.renew_at < minted.expires_at
    expires, again = issuer.renew(minted.ref, lasting.parameters)
    assert expires is not None
    assert again is not None
    issuer.revoke(minted.ref, None, {})
    with pytest.raises(NotFound):
        issuer.renew(minted.ref, lasting.parameters)
    limited = periodic(corner, request_, token_explicit_max_ttl="4m")
    _, never = issuer.renew(issuer.mint(limited, None).ref, limited.parameters)
    assert never is None
    assert issuer.renew(issuer.mint(request_, None).ref, {})[1] is None


def test_a_period_comes_from_the_role_or_from_sudo(
    corner: Corner, issuer: VaultTokens, request_: MintRequest, surroundings: Callable[..., Surroundings]
) -> None:
    """A role with another period is found beforehand and its token revoked; without a role the right is asked for."""
    wrong = replace(request_, parameters={"period": "7m"}, ttl=None)
    assert any("period" in problem for problem in issuer.preflight(wrong.scope, wrong.parameters))
    with pytest.raises(Invalid, match="period"):
        issuer.mint(wrong, None)
    assert list(issuer.find(query(wrong))) == []
    policy = corner.place.documented_policy("rotatord-vault-token-no-role")
    bare = corner.place.closing(create(corner.place.settings(policy, corner.narrow), surroundings()))
    assert any("sudo" in problem for problem in bare.preflight(wrong.scope, wrong.parameters))
    root = corner.place.closing(create(corner.place.settings("root"), surroundings()))
    assert root.mint(wrong, None).renew_at is not None


def test_garbage_of_any_form_is_refused(issuer: VaultTokens, request_: MintRequest) -> None:
    """Line breaks, blanks, other alphabets and great lengths are refused, never sent as headers that break."""
    for value in ("a\r\nX-Evil: 1", " ", "tökén", "hvs." + "A" * 600, "s.0123456789abcdef01234567"):
        assert isinstance(probe(issuer, Secret({"token": value}), request_), RefusedVerdict)


@pytest.mark.parametrize(
    ("scope", "parameters", "word"),
    [
        ({}, {}, "permissions"),
        ({"permissions": []}, {}, "permissions"),
        ({"permissions": ["a"], "resources": ["x"]}, {}, "resources"),
        ({"permissions": ["root"]}, {}, "root"),
        ({"permissions": ["a"], "ip_allow": ["10.0.0.1/8"]}, {}, "10.0.0.1/8"),
        ({"permissions": ["a"]}, {"period": "soon"}, "period"),
        ({"permissions": ["a"]}, {"uses": 3}, "uses"),
    ],
)
def test_mistakes_are_told_without_asking_vault(scope: JsonMap, parameters: JsonMap, word: str, surroundings: Any) -> None:
    """Static problems are sentences that name what is wrong; nothing is contacted."""
    issuer = create({"address": "http://127.0.0.1:1", "auth": {"token": {"env": "NOBODY"}}, "role": "r"}, surroundings())
    problems = list(issuer.check(scope, parameters))
    assert problems
    assert any(word in problem for problem in problems)


def test_two_installations_do_not_see_each_other(corner: Corner, issuer: VaultTokens, request_: MintRequest) -> None:
    """Both are in the inventory under their own installation; find shows only one's own."""
    mine = issuer.mint(request_, None)
    other = replace(request_, installation=f"other-{corner.role}")
    theirs = issuer.mint(other, None)
    assert [live.ref for live in issuer.find(query(request_))] == [mine.ref]
    assert [live.ref for live in issuer.find(query(other))] == [theirs.ref]
    labels = {live.ref: live.installation for live in issuer.inventory()}
    assert (labels[mine.ref], labels[theirs.ref]) == (request_.installation, other.installation)


def test_a_sealed_vault_is_retryable_and_no_verdict(
    own_vault: VaultServer, tmp_path: Any, surroundings: Callable[..., Surroundings], request_: MintRequest
) -> None:
    """Sealed: every call is Retryable and a probe inconclusive; unsealed: everything goes on."""
    own_vault.policy(request_.scope["permissions"][0], 'path "secret/*" { capabilities = ["read"] }')
    corner = Place(own_vault, "sealed", tmp_path)
    issuer = create(corner.settings("root"), surroundings())
    minted = issuer.mint(request_, None)
    own_vault.seal()
    for call in (
        lambda: issuer.mint(request_, None),
        lambda: issuer.find(query(request_)),
        lambda: issuer.revoke(minted.ref, None, {}),
        lambda: issuer.preflight(request_.scope, {}),
    ):
        with pytest.raises(Retryable):
            call()
    assert isinstance(probe(issuer, minted.fields, request_), Inconclusive)
    own_vault.unseal()
    assert isinstance(probe(issuer, minted.fields, request_), Accepted)
    issuer.close()


def test_preflight_names_each_right_that_is_missing(corner: Corner, surroundings: Callable[..., Surroundings]) -> None:
    """One sentence for each path, so that a person can write the policy from it."""
    nobody = corner.place.closing(create(corner.place.settings("default", role=corner.role), surroundings()))
    problems = list(nobody.preflight({"permissions": [corner.narrow]}, {}))
    wanted = {"accessors", "lookup-accessor", "revoke-accessor", f"create/{corner.role}"}
    assert {path for path in wanted if any(path in problem for problem in problems)} == wanted


def test_denied_never_looks_like_gone(
    corner: Corner, surroundings: Callable[..., Surroundings], issuer: VaultTokens, request_: MintRequest
) -> None:
    """An identity without rights gets Denied for a ref that lives and for one that does not; its probe proves nothing."""
    nobody = corner.place.closing(create(corner.place.settings("default", role=corner.role), surroundings()))
    minted = issuer.mint(request_, None)
    for ref in (minted.ref, UNKNOWN):
        with pytest.raises(Denied):
            nobody.find(query(request_, ref=ref))
    counted = replace(request_, parameters={"num_uses": 1})
    assert isinstance(probe(nobody, minted.fields, counted), Inconclusive)


def test_nothing_reaches_the_logs(
    corner: Corner, issuer: VaultTokens, request_: MintRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG, with the libraries' own loggers, neither the value nor our own token is written."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="urllib3")  # which whoever speaks to AWS has silenced
    minted = issuer.mint(request_, None)
    probe(issuer, minted.fields, request_)
    issuer.revoke(minted.ref, minted.fields, {})
    own = Secret({"token": Path(corner.settings["auth"]["token"]["file"]).read_text()})
    assert "/v1/auth/token/create" in caplog.text, "the libraries do log"
    assert_hides(caplog.text, [minted.fields, own])


def test_a_long_search_goes_on_where_it_stopped(surroundings: Callable[..., Surroundings], tmp_path: Path) -> None:
    """A search that runs out of time is Retryable, never a part; the next one looks up only what is new."""
    now = [0.0]
    ours = {f"{LABEL}installation": "i", f"{LABEL}credential": "c", f"{LABEL}rotation": "r", f"{LABEL}generation": "2"}

    def answer(asked: Asked) -> Answer:
        now[0] += 1.0
        if "accessors" in asked.path:
            return answer_json({"data": {"keys": [f"acc-{number}" for number in range(16)]}})
        accessor = json.loads(asked.body)["accessor"]
        return answer_json({"data": {"accessor": accessor, "meta": ours if accessor == "acc-15" else None}})

    (tmp_path / "token").write_text("own-token")
    with Loopback(answer) as server:
        settings = Settings.model_validate({"address": server.url, "auth": {"token_file": str(tmp_path / "token")}})
        vault = VaultTokens(settings, surroundings(), VaultClient(settings, surroundings(), lambda: now[0]))
        wanted = Query(installation="i", credential="c")
        with pytest.raises(Retryable, match="within 12 s"):
            vault.find(wanted)
        assert [(live.ref, live.generation) for live in vault.find(wanted)] == [("acc-15", 2)]
        before = len(server.asked)
        assert len(vault.find(wanted)) == 1
        assert len(server.asked) - before == 2
