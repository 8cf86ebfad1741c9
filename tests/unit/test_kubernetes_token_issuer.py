"""The token issuer over an API server in memory: what it makes of odd answers, and of clocks, that a real one does not give."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuers.kubernetes_token import MARKER_TYPE, ServiceAccountTokens, Settings, _bound, _parsed
from rotatord.errors import Conflict, Invalid, OutsideError, Retryable
from rotatord.jwt_life import claims_of
from rotatord.model import JsonMap
from rotatord.ports import Accepted, Inconclusive, MintRequest, RefusedVerdict, Surroundings
from rotatord.secret import Secret
from rotatord.testing.contracts.issuer_setting import probe, query

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AUDIENCE = "https://reports.example"
PARAMETERS: JsonMap = {"namespace": "shop", "service_account": "app"}


def token_of(claims: Any) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{body}.c2lnbmF0dXJl"


@dataclass
class Server:
    """Secrets, and tokens that die with them. ``says`` changes what a fresh token claims."""

    secrets: dict[str, JsonMap] = field(default_factory=dict)
    says: Callable[[JsonMap], JsonMap] = lambda claims: claims
    reviews: list[JsonMap | OutsideError] = field(default_factory=list)  # answers before the true ones
    gone: list[str] = field(default_factory=list)
    asked: list[JsonMap] = field(default_factory=list)
    number: int = 0

    def within(self, _: float) -> Server:
        return self

    def close(self) -> None:
        """Nothing to close."""

    def get(self, _: str, __: str, name: str) -> JsonMap | None:
        return self.secrets.get(name)

    def create(self, _: str, namespace: str, body: JsonMap) -> JsonMap:
        name = body["metadata"]["name"]
        if name in self.secrets:
            raise Conflict("AlreadyExists")
        self.number += 1
        about = {"namespace": namespace, "uid": f"0000-{self.number}", "creationTimestamp": "2026-03-01T12:00:00Z"}
        self.secrets[name] = {**body, "metadata": {**body["metadata"], **about}}
        return self.secrets[name]

    def patch(self, _: str, __: str, name: str, body: JsonMap, *, type: str) -> JsonMap:
        metadata = self.secrets[name]["metadata"]
        assert (type, body["metadata"]["uid"]) == ("merge", metadata["uid"])
        metadata["annotations"].update(body["metadata"]["annotations"])
        return self.secrets[name]

    def delete(self, _: str, __: str, name: str, *, uid: str) -> None:
        if name in self.secrets and self.secrets[name]["metadata"]["uid"] == uid:
            del self.secrets[name]

    def request_token(self, namespace: str, account: str, spec: JsonMap) -> JsonMap:
        self.asked.append(spec)
        bound = {key: spec["boundObjectRef"][key] for key in ("name", "uid")}
        about = {"namespace": namespace, "serviceaccount": {"name": account}, "secret": bound}
        begins = int(NOW.timestamp()) + 600  # its clock goes ten minutes fast
        ends = begins + spec.get("expirationSeconds", 3600)
        claims = {"aud": spec["audiences"], "iat": begins, "exp": ends, "kubernetes.io": about}
        return {"token": token_of(self.says(claims))}

    def review_token(self, token: str, audiences: list[str]) -> JsonMap:
        if self.reviews:
            answer = self.reviews.pop(0)
            if isinstance(answer, OutsideError):
                raise answer
            return answer
        claims = claims_of(token)
        bound = _bound(claims)
        if bound is None or self.secrets.get(bound.name, {"metadata": {"uid": ""}})["metadata"]["uid"] != bound.uid:
            return {"authenticated": False, "error": f"no such token {token}"}
        user = f"system:serviceaccount:shop:{claims['kubernetes.io']['serviceaccount']['name']}"
        return {"authenticated": True, "user": {"username": user}, "audiences": [a for a in audiences if a in claims["aud"]]}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def issuer(server: Server) -> ServiceAccountTokens:
    around = Surroundings(installation="i", state_dir="", now=lambda: NOW, secret=str)
    return ServiceAccountTokens(Settings(kubeconfig=Path("/nowhere")), around, server)  # type: ignore[arg-type]


@pytest.fixture
def request_() -> MintRequest:
    return MintRequest(
        installation="i",
        credential="apps/reports",
        rotation="rot_1",
        generation=1,
        scope={"audiences": [AUDIENCE]},
        parameters=PARAMETERS,
        ttl=timedelta(minutes=30),
    )


def test_the_end_is_reckoned_by_our_clock(issuer: ServiceAccountTokens, request_: MintRequest) -> None:
    """Ten minutes between the clocks do not move it, in what is minted and in what is found."""
    minted = issuer.mint(request_, None)
    assert minted.expires_at == NOW + timedelta(minutes=30)
    assert issuer.find(query(request_))[0].expires_at == minted.expires_at


@pytest.mark.parametrize("seconds", [600, 86_400])
def test_the_api_server_decides_about_the_life(
    issuer: ServiceAccountTokens, server: Server, request_: MintRequest, seconds: int
) -> None:
    """Less or more than was asked for: what it says counts."""
    server.says = lambda claims: {**claims, "exp": claims["iat"] + seconds}
    assert issuer.mint(request_, None).expires_at == NOW + timedelta(seconds=seconds)
    assert server.asked[0]["expirationSeconds"] == 1800


def test_no_life_asked_for_none_sent(issuer: ServiceAccountTokens, server: Server, request_: MintRequest) -> None:
    """Without a ttl the API server's default is taken."""
    issuer.mint(replace(request_, ttl=None), None)
    assert "expirationSeconds" not in server.asked[0]


@pytest.mark.parametrize(
    "says",
    [
        lambda claims: {**claims, "kubernetes.io": {"namespace": "shop"}},
        lambda claims: {key: value for key, value in claims.items() if key != "kubernetes.io"},
        lambda claims: {key: value for key, value in claims.items() if key != "exp"},
        lambda claims: [claims],
    ],
)
def test_a_token_that_could_not_be_ended_is_not_taken(
    issuer: ServiceAccountTokens, server: Server, request_: MintRequest, says: Callable[[JsonMap], JsonMap]
) -> None:
    """Bound to nothing, or without an end: Invalid, and its marker goes."""
    server.says = says
    with pytest.raises(Invalid):
        issuer.mint(request_, None)
    assert server.secrets == {}


def test_an_answer_without_a_token_may_mean_one(issuer: ServiceAccountTokens, server: Server, request_: MintRequest) -> None:
    """Then the marker stays, to be found and ended as a lost answer's."""
    server.request_token = lambda *_: {}  # type: ignore[method-assign]
    with pytest.raises(Retryable):
        issuer.mint(request_, None)
    assert [live.rotation for live in issuer.find(query(request_))] == ["rot_1"]
    assert issuer.find(query(request_))[0].expires_at is None


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([{"error": "[invalid bearer token]"}], Accepted),
        ([{"error": "[invalid bearer token]"}, {"error": "[invalid bearer token]"}], RefusedVerdict),
        ([Retryable("busy")], Inconclusive),
        ([{"error": "no"}, Retryable("busy")], Inconclusive),
        ([{"authenticated": True, "user": {}}], Inconclusive),
    ],
)
def test_what_a_review_may_answer(
    issuer: ServiceAccountTokens, server: Server, request_: MintRequest, answers: list[Any], expected: type
) -> None:
    """One refusal of a token whose marker lives is asked again; an answer without audiences says nothing."""
    minted = issuer.mint(request_, None)
    server.reviews = answers
    assert isinstance(probe(issuer, minted.fields, request_), expected)


def test_a_refusal_does_not_quote_the_token(issuer: ServiceAccountTokens, request_: MintRequest) -> None:
    """Whatever the API server repeats of what it was asked."""
    minted = issuer.mint(request_, None)
    issuer.revoke(minted.ref, None, {})
    answer = probe(issuer, minted.fields, request_)
    assert isinstance(answer, RefusedVerdict)
    assert minted.fields.reveal("token") not in answer.why


def test_when_every_marker_is_somebody_elses_it_is_told_before(
    issuer: ServiceAccountTokens, server: Server, request_: MintRequest
) -> None:
    """Four credentials with one token each leave no room for a fifth, nor for a rotation of theirs."""
    server.review_access = lambda _: True  # type: ignore[attr-defined]
    for number in range(4):
        assert list(issuer.preflight(request_.scope, PARAMETERS)) == []
        issuer.mint(replace(request_, credential=f"c{number}"), None)
    (problem,) = issuer.preflight(request_.scope, PARAMETERS)
    assert "c0, c1, c2, c3" in problem
    server.secrets["app-rotatord-token-1"]["type"] = "Opaque"
    assert any("not ours" in each for each in issuer.preflight(request_.scope, PARAMETERS))


def test_one_credential_may_fill_them_all(issuer: ServiceAccountTokens, server: Server, request_: MintRequest) -> None:
    """Its own owed versions are no mistake: it waits for the ledger."""
    server.review_access = lambda _: True  # type: ignore[attr-defined]
    for _ in range(4):
        issuer.mint(request_, None)
    assert list(issuer.preflight(request_.scope, PARAMETERS)) == []
    with pytest.raises(Conflict):
        issuer.mint(request_, None)


def test_only_markers_are_ever_deleted(issuer: ServiceAccountTokens, server: Server) -> None:
    """A ref that leads to any other Secret is refused."""
    made = server.create("secrets", "shop", {"metadata": {"name": "prod-db"}, "type": "Opaque"})
    with pytest.raises(Invalid, match="no marker"):
        issuer.revoke(f"shop/prod-db@{made['metadata']['uid']}", None, {})
    assert "prod-db" in server.secrets


def test_a_marker_says_nothing_secret(issuer: ServiceAccountTokens, server: Server, request_: MintRequest) -> None:
    """It has a type of its own and no data."""
    minted = issuer.mint(request_, None)
    (marker,) = server.secrets.values()
    assert marker["type"] == MARKER_TYPE
    assert "data" not in marker
    assert minted.fields.reveal("token") not in json.dumps(marker)


@given(st.text())
def test_any_text_may_be_probed(text: str) -> None:
    """Claims of what is no token are none; refs that are none are none."""
    assert isinstance(claims_of(text), dict)
    assert _bound(claims_of(text)) is None
    assert _parsed(text) is None or str(_parsed(text)) == text


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_claims_may_be_read(claims: Any) -> None:
    """Whatever somebody signed or forged."""
    value = token_of({"kubernetes.io": claims, "aud": claims, "exp": claims})
    _bound(claims_of(value))
    server = Server(reviews=[{"authenticated": False}])
    around = Surroundings(installation="i", state_dir="", now=lambda: NOW, secret=str)
    plugin = ServiceAccountTokens(Settings(), around, server)  # type: ignore[arg-type]
    answer = plugin.probe(Secret({"token": value}), {"scope": {"audiences": ["a"]}, "parameters": PARAMETERS})
    assert isinstance(answer, RefusedVerdict)
