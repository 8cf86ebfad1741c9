"""The cluster that is meant is named, and at no other is anything read, made, written, restarted or ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backends import kubernetes as backend
from consumers import workload
from issuers import kubernetes_token as issuer
from rotatord.errors import Denied, OutsideError, Retryable
from rotatord.kubernetes_client import Cluster, ClusterSettings
from rotatord.kubernetes_pin import CONFIRMED_SECONDS
from rotatord.model import Destination, Slot
from rotatord.ports import Inconclusive, MintRequest, Published, Query, Surroundings
from rotatord.rights import KubernetesRight
from rotatord.secret import Secret
from rotatord.testing.contracts.backend_setting import MARKER
from rotatord.testing.loopback import Answer, Asked, Loopback, answer_json

PRODUCTION, STAGING = "218fc5a9-a5f1-4b54-aa05-46717d0ab26d", "0c31e1a4-0000-4b54-aa05-000000000000"
QUESTION = "GET /api/v1/namespaces/kube-system"
LOOK = KubernetesRight("", "", "namespaces", ("get",), ("kube-system",))
Json = dict[str, Any]


def refused(code: int, reason: str, message: str = "") -> Answer:
    """What an API server says when it refuses."""
    return answer_json({"kind": "Status", "reason": reason, "message": message, "code": code}, code)


def namespace(uid: str) -> Json:
    return {"kind": "Namespace", "metadata": {"name": "kube-system", "uid": uid}}


class Place:
    """API servers, each of some cluster, and a kubeconfig that leads to one of them. ``now``: the client's clock."""

    def __init__(self, server: Loopback, other: Loopback, directory: Path) -> None:
        self.server, self.other, self.now = server, other, 0.0
        self.file = directory / "kubeconfig"
        self.knows: dict[Loopback, str] = {server: "own-token", other: "own-token"}
        self.is_a: dict[Loopback, Any] = {server: namespace(PRODUCTION), other: namespace(STAGING)}
        for each in (server, other):
            each.answer = partial(self.answer, each)
        self.lead_to(server)
        self.settings: Json = {"kubeconfig": str(self.file), "cluster_uid": PRODUCTION}
        self.cluster = Cluster(ClusterSettings.model_validate(self.settings), monotonic=lambda: self.now)

    def lead_to(self, server: Loopback, token: str = "own-token") -> None:
        """As ``kubectl config use-context`` does with the file."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server.url}}],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
            "current-context": "main",
        }
        self.file.write_text(json.dumps(document))

    def answer(self, server: Loopback, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {self.knows[server]}":
            return refused(401, "Unauthorized")
        if asked.path == QUESTION.split()[1]:
            it = self.is_a[server]
            return it if isinstance(it, Answer) else answer_json(it)
        metadata = {"name": "app", "namespace": "shop", "uid": "u-1", "resourceVersion": "7"}
        return answer_json({"kind": "Secret", "metadata": metadata})

    def look(self) -> None:
        assert self.cluster.get("secrets", "shop", "app") is not None

    def asked(self, server: Loopback | None = None) -> list[str]:
        return [f"{asked.method} {asked.path}" for asked in (server or self.server).asked]


SECRET = "GET /api/v1/namespaces/shop/secrets/app"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Loopback() as server, Loopback() as other:
        made = Place(server, other, tmp_path)
        yield made
        made.cluster.close()


def test_the_cluster_that_is_meant_is_asked_once_for_many_requests(place: Place) -> None:
    """Also under a shorter deadline, which is the same connection."""
    for _ in range(3):
        place.look()
    assert place.cluster.within(5).get("secrets", "shop", "app") is not None
    assert place.asked() == [QUESTION, *[SECRET] * 4]


def test_without_a_pin_nobody_is_asked(place: Place) -> None:
    """No right is needed that nobody asked for."""
    cluster = Cluster(ClusterSettings(kubeconfig=place.file))
    assert cluster.get("secrets", "shop", "app") is not None
    cluster.close()
    assert place.asked() == [SECRET]


@pytest.mark.parametrize(
    "other",
    [
        namespace(STAGING),
        namespace(""),
        {"kind": "Namespace", "metadata": {"name": "default", "uid": PRODUCTION}},
        {"kind": "Secret", "metadata": {"name": "kube-system", "uid": PRODUCTION}},
        {},
        Answer(200, b"<html>log in here</html>"),
        Answer(404, b"no such page"),
        refused(404, "NotFound"),
        refused(503, "ServiceUnavailable"),
        refused(429, "TooManyRequests"),
    ],
)
def test_another_one_is_asked_nothing_else(place: Place, other: Any) -> None:
    """Neither one that is another, nor one that does not say which it is; and it may pass."""
    place.is_a[place.server] = other
    with pytest.raises(Retryable):
        place.cluster.patch("secrets", "shop", "app", {"data": {"TOKEN": "c2VjcmV0"}}, type="merge")
    assert place.asked() == [QUESTION]


def test_it_is_said_in_full(place: Place) -> None:
    """What was found where, what was expected, by which setting, and how to look."""
    place.is_a[place.server] = namespace(STAGING)
    with pytest.raises(Retryable) as caught:
        place.look()
    told = str(caught.value)
    for part in (
        place.server.url,
        str(place.file),
        f"is of cluster {STAGING}",
        f"cluster_uid says {PRODUCTION}",
        "kubectl get",
    ):
        assert part in told
    assert "own-token" not in told


def test_without_the_right_to_look_the_rule_is_named(place: Place) -> None:
    """A pin that cannot be looked at holds everything up: it is no reason to go on."""
    place.is_a[place.server] = refused(403, "Forbidden", 'User "u" cannot get resource "namespaces"')
    with pytest.raises(Denied) as caught:
        place.look()
    rule = '{apiGroups: [""], resources: [namespaces], verbs: [get], resourceNames: [kube-system]}'
    assert rule in str(caught.value)
    assert "cluster_uid" in str(caught.value)
    assert place.asked() == [QUESTION]


def test_an_address_that_leads_elsewhere_one_day(place: Place) -> None:
    """Within a minute nothing is asked there any more, until it is back."""
    place.look()
    place.is_a[place.server] = namespace(STAGING)
    place.now += CONFIRMED_SECONDS
    with pytest.raises(Retryable, match=STAGING):
        place.look()
    place.is_a[place.server] = namespace(PRODUCTION)
    place.look()
    assert place.asked() == [QUESTION, SECRET, QUESTION, QUESTION, SECRET]


def test_a_kubeconfig_that_was_switched(place: Place) -> None:
    """A new configuration is confirmed for itself, however lately the one before was: what is sent again because our token was
    refused does not go to another cluster. Put right, it is good at once, without a new start."""
    place.look()
    place.knows |= {place.server: "a newer token", place.other: "other-token"}
    place.lead_to(place.other, "other-token")
    with pytest.raises(Retryable, match=STAGING):
        place.cluster.delete("secrets", "shop", "app")
    assert place.asked(place.other) == [QUESTION]
    place.lead_to(place.server, "a newer token")
    place.look()
    assert place.asked()[-2:] == [QUESTION, SECRET]


def test_a_token_that_was_replaced_is_read_anew(place: Place) -> None:
    """Where the pin itself is refused the old token, the new one asks it again, and then what was to be asked."""
    place.look()
    place.now += CONFIRMED_SECONDS
    place.knows[place.server] = "a newer token"
    place.lead_to(place.server, "a newer token")
    place.look()
    assert place.asked()[2:] == [QUESTION, QUESTION, SECRET]
    place.now += CONFIRMED_SECONDS
    place.knows[place.server] = "one that nobody gave us"
    with pytest.raises(Denied, match="does not know our token"):
        place.look()


@pytest.mark.parametrize("wrong", ["", "production", PRODUCTION.upper(), f"{PRODUCTION}\n", f" {PRODUCTION}"])
def test_what_is_no_uid_is_a_mistake_in_the_configuration(wrong: str) -> None:
    """It would hold everything up at night; it is said when the configuration is read."""
    with pytest.raises(ValidationError, match="should be the uid of the namespace kube-system"):
        ClusterSettings(cluster_uid=wrong)


# --- the plugins --------------------------------------------------------------------------------------------------------

DESTINATION = Destination(backend="cluster", address={"name": "app", "namespace": "shop"}, keys={"TOKEN": "token"})
PUBLISHED = Published(credential="c", label="1-x", rotation="r", token="r.1", at=datetime(2026, 1, 1, tzinfo=UTC))
PARAMETERS = {"service_account": "app", "namespace": "shop"}
SCOPE = {"audiences": ["x"]}
MINT = MintRequest(installation="i", credential="c", rotation="r", generation=1, scope=SCOPE, parameters=PARAMETERS)
QUERY = Query(installation="i", credential="c", rotation="r", parameters=PARAMETERS)
REF = "shop/app-rotatord-token-1@218fc5a9"
WEB = {"namespace": "shop", "name": "web"}
SET: Json = {}

ACTS: dict[str, tuple[Any, Json, Callable[[Any], Any]]] = {
    "mint": (issuer.create, SET, lambda plugin: plugin.mint(MINT, None)),
    "revoke": (issuer.create, SET, lambda plugin: plugin.revoke(REF, None, PARAMETERS)),
    "find": (issuer.create, SET, lambda plugin: plugin.find(QUERY)),
    "look before a mint": (issuer.create, SET, lambda plugin: plugin.preflight(SCOPE, PARAMETERS)),
    "read": (backend.create, SET, lambda plugin: plugin.read(DESTINATION, Slot.CURRENT)),
    "write": (backend.create, SET, lambda plugin: plugin.write(DESTINATION, Slot.CURRENT, Secret({"token": "v"}), MARKER, "0")),
    "clear": (backend.create, SET, lambda plugin: plugin.clear(DESTINATION, Slot.PENDING, "0")),
    "look before a write": (backend.create, SET, lambda plugin: plugin.preflight(DESTINATION)),
    "reload": (workload.deployment, WEB, lambda plugin: plugin.reload(PUBLISHED)),
    "instances": (workload.daemonset, WEB, lambda plugin: plugin.instances(PUBLISHED)),
    "idle": (workload.statefulset, WEB, lambda plugin: plugin.idle()),
    "look before a restart": (workload.deployment, WEB, lambda plugin: plugin.preflight()),
}


@pytest.mark.parametrize("act", ACTS)
def test_no_plugin_does_anything_at_another_cluster(place: Place, surroundings: Callable[..., Surroundings], act: str) -> None:
    """Nothing is made, written, restarted or ended; and what is not found there does not count as gone."""
    place.is_a[place.server] = namespace(STAGING)
    create, settings, do = ACTS[act]
    plugin = create({**place.settings, **settings}, surroundings())
    try:
        with pytest.raises(OutsideError, match=f"{STAGING}.*cluster_uid says {PRODUCTION}"):
            do(plugin)
    finally:
        plugin.close()
    assert set(place.asked()) == {QUESTION}


def test_a_probe_and_a_gate_cannot_tell(place: Place, surroundings: Callable[..., Surroundings]) -> None:
    """Another cluster refuses our tokens and knows no workload of ours: neither is a verdict."""
    place.is_a[place.server] = namespace(STAGING)
    tokens = issuer.create(place.settings, surroundings())
    web = workload.deployment({**place.settings, **WEB}, surroundings())
    try:
        answer = tokens.probe(Secret({"token": "a.b.c"}), {"scope": SCOPE, "parameters": PARAMETERS})
        assert isinstance(answer, Inconclusive)
        assert "cluster_uid" in answer.why
        assert web.check(PUBLISHED)[0] == "unknown"
        assert STAGING in web.check(PUBLISHED)[1]
    finally:
        tokens.close()
        web.close()
    assert set(place.asked()) == {QUESTION}


@pytest.mark.parametrize("pinned", [True, False])
def test_the_right_to_look_is_asked_for_where_it_is_needed(
    place: Place, surroundings: Callable[..., Surroundings], *, pinned: bool
) -> None:
    """And nowhere else."""
    settings = place.settings if pinned else {"kubeconfig": str(place.file)}
    tokens, store = issuer.create(settings, surroundings()), backend.create(settings, surroundings())
    web = workload.daemonset({**settings, **WEB}, surroundings())
    told = (
        tokens.rights(SCOPE, PARAMETERS),
        store.rights(DESTINATION, home=True),
        store.read_rights(DESTINATION),
        web.rights(),
    )
    for plugin in (tokens, store, web):
        plugin.close()
    assert [LOOK in rights for rights in told] == [pinned] * 4
