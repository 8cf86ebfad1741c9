"""The contract of issuers, over tokens of a real API server, under exactly the rights that the plugin says it needs."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from issuers.kubernetes_token import MARKER_TYPE, ServiceAccountTokens, Settings, create
from rotatord.clock import SystemClock
from rotatord.errors import Conflict, Denied, Invalid, Retryable
from rotatord.kubernetes_client import Cluster
from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    Inconclusive,
    Minted,
    MintRequest,
    Preflight,
    ProbeAnswer,
    RefusedVerdict,
    Surroundings,
    Traits,
)
from rotatord.secret import Secret
from rotatord.testing.contracts.common import assert_hides, texts_of
from rotatord.testing.contracts.issuer import IssuerContract
from rotatord.testing.contracts.issuer_setting import probe, query
from rotatord.testing.silent import closed_port, silent_server
from tests.servers.kubernetes import ControlPlane
from tests.servers.kubernetes_corner import rules

pytestmark = pytest.mark.kubernetes
QUICK = {"connect_timeout": 0.4, "timeout": 0.4}
REMEMBERED_SECONDS = 10.5  # how long an API server knows a token to be good without asking again
OWN = "rotatord"
MARKERS = 4


@dataclass
class Tokens:
    """A namespace with a ServiceAccount in it, and ourselves with the least rights over its tokens."""

    plane: ControlPlane
    namespace: str
    surroundings: Surroundings
    kubeconfig: Path | None = None
    opened: list[ServiceAccountTokens] = field(default_factory=list)

    @property
    def parameters(self) -> JsonMap:
        return {"namespace": self.namespace, "service_account": "app"}

    @property
    def secrets(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/secrets"

    def issuer(self, kubeconfig: Path | None = None, *, now: timedelta = timedelta(0), **settings: Any) -> Remembering:
        """The plugin. ``now``: how far our clock is from everybody's."""
        around = replace(self.surroundings, now=lambda: SystemClock().now() + now)
        known = Settings.model_validate({"kubeconfig": str(kubeconfig or self.kubeconfig), **settings})
        made = Remembering(known, around, Cluster(known))
        self.opened.append(made)
        return made

    def markers(self) -> dict[str, JsonMap]:
        found = self.plane.admin.must("GET", self.secrets)["items"]
        return {each["metadata"]["name"]: each for each in found}

    def elsewhere(self, directory: Path, port: int) -> Path:
        """Our kubeconfig with another address."""
        assert self.kubeconfig is not None
        file = directory / f"elsewhere-{port}"
        file.write_text(self.kubeconfig.read_text().replace(self.plane.address, f"https://127.0.0.1:{port}"))
        return file


class Remembering(ServiceAccountTokens):
    """The plugin; knows when it last saw a token accepted, because API servers remember that for a while."""

    accepted_at = float("-inf")

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        answer = super().probe(fields, target)
        if isinstance(answer, Accepted):
            self.accepted_at = time.monotonic()
        return answer

    def settle(self) -> None:
        left = self.accepted_at + REMEMBERED_SECONDS - time.monotonic()
        if left > 0:
            threading.Event().wait(left)


@pytest.fixture
def tokens(control_plane: ControlPlane, namespace: str, surroundings: Callable[..., Surroundings]) -> Iterator[Tokens]:
    made = Tokens(control_plane, namespace, surroundings())
    control_plane.admin.must("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "app"}})
    rights = made.issuer(Path("nobody")).rights({}, made.parameters)
    inside = [right for right in rights if right.namespace]
    cluster_wide = [right for right in rights if not right.namespace]
    made.kubeconfig = control_plane.grant(namespace, OWN, rules(inside), rules(cluster_wide))
    yield made
    for plugin in made.opened:
        plugin.close()


@pytest.fixture(scope="module", autouse=True)
def what_was_asked(control_plane: ControlPlane) -> Iterator[None]:
    """Over all tests of this file: nothing that the named rights should allow was denied, and no Secret listed."""
    before = len(control_plane.audit())
    yield
    ours = [event for event in control_plane.audit()[before:] if event.user.endswith(f":{OWN}")]
    assert ours
    assert [event for event in ours if event.code in (401, 403)] == []
    assert {event.verb for event in ours if event.resource == "secrets"} == {"get", "create", "patch", "delete"}


@pytest.fixture
def issuer(tokens: Tokens) -> Remembering:
    return tokens.issuer()


@pytest.fixture
def request_(tokens: Tokens) -> MintRequest:
    return MintRequest(
        installation=f"inst-{tokens.namespace}",
        credential="apps/reports",
        rotation=f"rot_{secrets.token_hex(4)}",
        generation=3,
        scope={"audiences": ["https://reports.example"]},
        parameters=tokens.parameters,
        ttl=timedelta(minutes=30),
        owner="team-reports",
    )


def claims(minted: Minted) -> JsonMap:
    part = minted.fields.reveal("token").split(".")[1]
    found: JsonMap = json.loads(base64.urlsafe_b64decode(part + "=="))
    return found


class TestKubernetesToken(IssuerContract):
    """The suite."""

    plugin = "kubernetes_token"
    powers = frozenset({Preflight})
    traits = Traits(
        fields=("token",),
        max_live=MARKERS,
        scope_proof="exact",
        expiry=True,
        shortest_life=timedelta(minutes=10),
        propagation=timedelta(seconds=15),
        call_settles_within=timedelta(seconds=75),
        high_entropy=("token",),
        forms={"token": r"[\w-]+\.[\w-]+\.[\w-]+"},
    )

    @pytest.fixture
    def issuer(self, issuer: Remembering) -> ServiceAccountTokens:
        return issuer

    @pytest.fixture
    def settle(self, issuer: Remembering) -> Callable[[], None]:
        return issuer.settle

    @pytest.fixture
    def request_(self, request_: MintRequest) -> MintRequest:
        return request_

    @pytest.fixture
    def unknown_ref(self, tokens: Tokens) -> str:
        return f"{tokens.namespace}/app-rotatord-token-1@00000000-1111-2222-3333-444444444444"

    @pytest.fixture
    def wider_scope(self) -> JsonMap:
        return {"audiences": ["https://reports.example", "https://everything.example"]}

    @pytest.fixture
    def bad_scope(self) -> JsonMap:
        return {"audiences": []}

    @pytest.fixture
    def impossible(self, request_: MintRequest, tokens: Tokens) -> tuple[JsonMap, JsonMap]:
        return request_.scope, {**tokens.parameters, "service_account": "somebody-else"}

    @pytest.fixture
    def denied(self, tokens: Tokens) -> ServiceAccountTokens:
        return tokens.issuer(tokens.plane.grant(tokens.namespace, "nobody", []))

    @pytest.fixture
    def unreachable(self, tokens: Tokens, tmp_path: Path) -> Iterator[ServiceAccountTokens]:
        with closed_port() as port:
            yield tokens.issuer(tokens.elsewhere(tmp_path, port), **QUICK)

    @pytest.fixture
    def hanging(self, tokens: Tokens, tmp_path: Path) -> Iterator[ServiceAccountTokens]:
        with silent_server() as port:
            yield tokens.issuer(tokens.elsewhere(tmp_path, port), **QUICK)


# --- what is made --------------------------------------------------------------------------------------------------


def test_a_token_is_bound_to_a_marker_that_says_whose_it_is(tokens: Tokens, issuer: Remembering, request_: MintRequest) -> None:
    """The marker holds no data, has a type of its own, and everything that a person needs to know about the token."""
    minted = issuer.mint(request_, None)
    (marker,) = tokens.markers().values()
    assert (marker["type"], marker.get("data")) == (MARKER_TYPE, None)
    notes = marker["metadata"]["annotations"]
    assert notes["rotatord.io/rotation"] == request_.rotation
    assert notes["rotatord.io/owner"] == "team-reports"
    assert_hides(json.dumps(marker), [minted.fields])
    said = claims(minted)["kubernetes.io"]
    assert (said["secret"]["uid"], said["serviceaccount"]["name"]) == (marker["metadata"]["uid"], "app")
    assert claims(minted)["aud"] == ["https://reports.example"]


def knows(consumer: Cluster, namespace: str) -> bool:
    """Whether the API server knows who asks; what it lets them do is another matter."""
    try:
        consumer.review_access({"verb": "get", "resource": "pods", "namespace": namespace})
    except Denied as error:
        return "does not know our token" not in str(error)
    return True


def test_a_token_works_at_the_api_server_until_it_is_revoked(
    tokens: Tokens, issuer: Remembering, request_: MintRequest, tmp_path: Path
) -> None:
    """The real use: with the API server's own audience, the token logs in; once the marker is gone, it soon does not."""
    audience = "https://kubernetes.default.svc"
    minted = issuer.mint(replace(request_, scope={"audiences": [audience]}), None)
    consumer = Cluster(Settings(kubeconfig=tokens.plane.kubeconfig(tmp_path / "app", token=minted.fields.reveal("token"))))
    assert knows(consumer, tokens.namespace)
    issuer.revoke(minted.ref, None, {})
    deadline = time.monotonic() + 15
    while knows(consumer, tokens.namespace):
        assert time.monotonic() < deadline
        threading.Event().wait(0.2)
    consumer.close()


def test_a_life_is_told_by_our_own_clock(tokens: Tokens, request_: MintRequest) -> None:
    """Where the API server's clock is ten minutes from ours, a token is renewed when its life is over, not ten minutes off."""
    for wrong in (timedelta(minutes=10), timedelta(minutes=-10)):
        issuer = tokens.issuer(now=wrong)
        minted = issuer.mint(request_, None)
        assert minted.expires_at is not None
        assert abs(minted.expires_at - (datetime.now(UTC) + wrong + timedelta(minutes=30))) < timedelta(seconds=10)
        (live,) = issuer.find(query(request_, ref=minted.ref))
        assert live.expires_at == minted.expires_at


def test_without_a_life_the_api_servers_own_is_taken(issuer: Remembering, request_: MintRequest) -> None:
    """An hour by default; what it gives is what is reported."""
    minted = issuer.mint(replace(request_, ttl=None), None)
    assert minted.expires_at is not None
    assert abs(minted.expires_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=10)


# --- what is told apart --------------------------------------------------------------------------------------------


def test_credentials_and_installations_that_share_names_do_not_meet(issuer: Remembering, request_: MintRequest) -> None:
    """Each finds its own only; one's revoke leaves the other's alone; together they fill the names."""
    others = (
        replace(request_, installation=f"{request_.installation}-2"),
        replace(request_, credential=f"{request_.credential}-2"),
        replace(request_, rotation=f"{request_.rotation}-2"),
    )
    made = [issuer.mint(each, None) for each in others]
    assert [live.ref for live in issuer.find(query(request_))] == [made[2].ref]
    assert list(issuer.find(query(request_, rotation=request_.rotation))) == []
    mine = issuer.mint(request_, None)
    with pytest.raises(Conflict, match="all 4 markers"):
        issuer.mint(request_, None)
    issuer.revoke(mine.ref, None, {})
    assert [bool(issuer.find(query(each, ref=m.ref))) for each, m in zip(others, made, strict=True)] == [True] * 3


def test_other_peoples_secrets_under_our_names_are_left_alone(
    tokens: Tokens, issuer: Remembering, request_: MintRequest
) -> None:
    """They are never found, never deleted, not even when their ref is given; the next name is used, and preflight tells."""
    foreign = tokens.plane.admin.must("POST", tokens.secrets, {"metadata": {"name": "app-rotatord-token-1"}})
    ref = f"{tokens.namespace}/app-rotatord-token-1@{foreign['metadata']['uid']}"
    assert any("app-rotatord-token-1" in problem for problem in issuer.preflight(request_.scope, request_.parameters))
    minted = issuer.mint(request_, None)
    assert "app-rotatord-token-2@" in minted.ref
    assert list(issuer.find(query(request_, ref=ref))) == []
    with pytest.raises(Invalid, match="no marker"):
        issuer.revoke(ref, None, {})
    assert "app-rotatord-token-1" in tokens.markers()


def test_a_marker_made_anew_under_the_same_name_is_another_version(issuer: Remembering, request_: MintRequest) -> None:
    """The uid tells: revoking the old ref again does not touch what came after it."""
    first = issuer.mint(request_, None)
    issuer.revoke(first.ref, None, {})
    second = issuer.mint(request_, None)
    assert second.ref.partition("@")[0] == first.ref.partition("@")[0]
    issuer.revoke(first.ref, None, {})
    assert list(issuer.find(query(request_, ref=first.ref))) == []
    assert [live.ref for live in issuer.find(query(request_))] == [second.ref]


def test_credentials_may_have_names_of_their_own(tokens: Tokens, request_: MintRequest) -> None:
    """``marker`` keeps two credentials of one ServiceAccount out of each other's way, in names and in rights."""
    parameters = {**tokens.parameters, "marker": "reports"}
    rights = tokens.issuer(Path("nobody")).rights({}, parameters)
    names = next(right.names for right in rights if "delete" in right.verbs)
    assert names == tuple(f"reports-rotatord-token-{number}" for number in range(1, MARKERS + 1))


# --- what is lost on the way ---------------------------------------------------------------------------------------


class Losing:
    """A cluster that carries out one kind of call and then says that it timed out, or fails it beforehand."""

    def __init__(self, cluster: Any, method: str, error: Exception, *, done: bool) -> None:
        self._cluster, self._method, self._error, self._done = cluster, method, error, done

    def within(self, seconds: float) -> Losing:
        return Losing(self._cluster.within(seconds), self._method, self._error, done=self._done)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._cluster, name)
        if name != self._method:
            return found

        def lost(*args: Any, **kwargs: Any) -> Any:
            if self._done:
                found(*args, **kwargs)
            raise self._error

        return lost


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("method", ["create", "request_token", "patch"])
def test_a_lost_answer_leaves_a_marker_that_is_found(
    tokens: Tokens, issuer: Remembering, request_: MintRequest, method: str, *, done: bool
) -> None:
    """After Retryable at any call: what may have been made is found by its rotation, can be ended, and a new mint works."""
    issuer._cluster = Losing(issuer._cluster, method, Retryable("lost"), done=done)  # type: ignore[assignment]
    with pytest.raises(Retryable):
        issuer.mint(request_, None)
    again = tokens.issuer()
    left = list(again.find(query(request_, rotation=request_.rotation)))
    assert len(left) == (method != "create" or done)
    minted = again.mint(replace(request_, generation=4), None)
    for live in left:
        again.revoke(live.ref, None, {})
    assert [live.ref for live in again.find(query(request_))] == [minted.ref]


@pytest.mark.parametrize("method", ["request_token", "patch"])
def test_a_refusal_leaves_no_marker(tokens: Tokens, issuer: Remembering, request_: MintRequest, method: str) -> None:
    """Where no token can be had, its marker goes at once and its name is free."""
    issuer._cluster = Losing(issuer._cluster, method, Denied("no"), done=False)  # type: ignore[assignment]
    with pytest.raises(Denied):
        issuer.mint(request_, None)
    assert tokens.markers() == {}


def test_a_service_account_that_is_not_there_is_told(tokens: Tokens, request_: MintRequest, tmp_path: Path) -> None:
    """Invalid, with its name, and no marker stays behind."""
    gone = replace(request_, parameters={**tokens.parameters, "service_account": "ghost", "marker": "app"})
    issuer = tokens.issuer(tokens.plane.kubeconfig(tmp_path / "admin"))
    with pytest.raises(Invalid, match="ghost"):
        issuer.mint(gone, None)
    assert tokens.markers() == {}


# --- what a probe sees ---------------------------------------------------------------------------------------------


class Doubting(Losing):
    """A cluster whose API server refuses every token, as one does that cannot read its store, ``times`` times."""

    def __init__(self, cluster: Any, times: int) -> None:
        super().__init__(cluster, "", Retryable(""), done=False)
        self._left = [times]

    def within(self, seconds: float) -> Doubting:
        same = Doubting(self._cluster.within(seconds), 0)
        same._left = self._left
        return same

    def review_token(self, *args: Any) -> JsonMap:
        if self._left[0]:
            self._left[0] -= 1
            return {"error": "service account token has been invalidated"}
        answer: JsonMap = self._cluster.review_token(*args)
        return answer


@pytest.mark.parametrize(("times", "verdict"), [(1, Accepted), (2, RefusedVerdict)])
def test_a_refusal_counts_only_when_it_is_repeated(
    issuer: Remembering, request_: MintRequest, times: int, verdict: type
) -> None:
    """API servers refuse all tokens while they cannot read Secrets: as long as the marker is there, they are asked twice."""
    minted = issuer.mint(request_, None)
    issuer._cluster = Doubting(issuer._cluster, times)  # type: ignore[assignment]
    assert isinstance(probe(issuer, minted.fields, request_), verdict)


def test_without_the_right_to_review_a_probe_says_nothing(tokens: Tokens, issuer: Remembering, request_: MintRequest) -> None:
    """Not being allowed to look is no refusal of the token; preflight names the rule that is missing."""
    minted = issuer.mint(request_, None)
    inside = [right for right in issuer.rights({}, tokens.parameters) if right.namespace]
    blind = tokens.issuer(tokens.plane.grant(tokens.namespace, "blind", rules(inside)))
    assert isinstance(probe(blind, minted.fields, request_), Inconclusive)
    (problem,) = blind.preflight(request_.scope, tokens.parameters)
    assert "ClusterRole" in problem
    assert "tokenreviews" in problem


def test_tokens_of_others_are_seen_to_be_others(tokens: Tokens, issuer: Remembering, request_: MintRequest) -> None:
    """Another ServiceAccount's token, or one for other audiences, is accepted as what it is, and never as what was asked."""
    for account, audience in (("default", "https://reports.example"), ("app", "https://elsewhere.example")):
        value = tokens.plane.token(tokens.namespace, account, audiences=[audience])
        answer = probe(issuer, Secret({"token": value}), request_)
        assert isinstance(answer, Accepted)
        assert answer.scope != request_.scope
        assert answer.ref is None


def test_a_forged_token_is_refused(issuer: Remembering, request_: MintRequest) -> None:
    """Claims that nobody signed are believed by nobody."""
    minted = issuer.mint(request_, None)
    head, _, signature = minted.fields.reveal("token").split(".")
    said = {**claims(minted), "aud": ["https://everything.example"]}
    body = base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
    for value in (f"{head}.{body}.{signature}", f"{head}.e30.{signature}", f"{head}..{signature}", "a.b.c"):
        assert isinstance(probe(issuer, Secret({"token": value}), request_), RefusedVerdict)


def test_no_error_shows_a_token(tokens: Tokens, issuer: Remembering, request_: MintRequest) -> None:
    """Not even where the API server is asked about it by somebody who may not ask."""
    minted = issuer.mint(request_, None)
    nobody = tokens.issuer(tokens.plane.grant(tokens.namespace, "nobody", []))
    assert_hides(repr(probe(nobody, minted.fields, request_)), [minted.fields])
    with pytest.raises(Denied) as caught:
        nobody.mint(request_, None)
    assert_hides(texts_of(caught.value), [minted.fields])


# --- what is wrong before anything is asked ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "parameters", "word"),
    [
        ({}, {"service_account": "app", "namespace": "n"}, "audiences"),
        ({"audiences": [""]}, {"service_account": "app", "namespace": "n"}, "audiences"),
        ({"audiences": ["a"], "permissions": ["x"]}, {"service_account": "app", "namespace": "n"}, "permissions"),
        ({"audiences": ["a"]}, {"namespace": "n"}, "service_account"),
        ({"audiences": ["a"]}, {"service_account": "app"}, "namespace"),
        ({"audiences": ["a"]}, {"service_account": "App", "namespace": "n"}, "service_account"),
        ({"audiences": ["a"]}, {"service_account": "app", "namespace": "n", "ttl": "1h"}, "ttl"),
    ],
)
def test_mistakes_are_told_without_asking(surroundings: Any, scope: JsonMap, parameters: JsonMap, word: str) -> None:
    """Each as a sentence that names the place."""
    problems = list(create({}, surroundings()).check(scope, parameters))
    assert any(word in problem for problem in problems)


def test_a_ref_that_is_none_is_invalid(surroundings: Any) -> None:
    """What cannot have been ours is not taken for something that is gone already."""
    with pytest.raises(Invalid, match="NAMESPACE/NAME@UID"):
        create({}, surroundings()).revoke("sa/app", None, {})
