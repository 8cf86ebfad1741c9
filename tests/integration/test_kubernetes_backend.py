"""Secrets with several owners, on a real API server: what is ours is kept and found, and nobody else's is touched."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.kubernetes import KubernetesBackend, Settings
from rotatord.errors import Conflict, Denied, Invalid, NotFound, Retryable
from rotatord.kubernetes_client import Cluster, ClusterSettings
from rotatord.model import Destination, Slot
from rotatord.ports import Surroundings
from rotatord.secret import Secret
from rotatord.testing.contracts.backend_setting import FIRST, MARKER, SECOND, later, put, token_of
from tests.servers.kubernetes import ControlPlane
from tests.servers.kubernetes_admin import APPLY
from tests.servers.kubernetes_corner import ACCOUNT, Corner, corner

__all__ = ["corner"]

pytestmark = pytest.mark.kubernetes
OTHERS = replace(MARKER, credential="contract/other", ref="ref-other")


@pytest.fixture
def backend(corner: Corner) -> KubernetesBackend:
    return corner.backend()


@pytest.fixture
def destination(corner: Corner) -> Destination:
    return corner.destination()


def secret(corner: Corner, name: str = "app-1") -> dict[str, Any]:
    status, body = corner.plane.admin.get(f"{corner.secrets}/{name}")
    assert status == 200, body
    return body


class Between:
    """A cluster to which something happens right before a write of ours, as often as there are hooks."""

    def __init__(self, cluster: Cluster, hooks: list[Callable[[], Any]]) -> None:
        self._cluster, self._hooks = cluster, hooks

    def within(self, seconds: float) -> Between:
        return Between(self._cluster.within(seconds), self._hooks)

    def __getattr__(self, name: str) -> Any:
        if name in ("create", "apply", "patch") and self._hooks:
            self._hooks.pop(0)()
        return getattr(self._cluster, name)


def meeting(corner: Corner, *hooks: Callable[[], Any]) -> KubernetesBackend:
    """Our backend, and what happens between its look and its write."""
    settings = Settings(kubeconfig=corner.kubeconfig)
    made = KubernetesBackend(settings, Between(Cluster(settings), list(hooks)))  # type: ignore[arg-type]
    corner.opened.append(made)
    return made


# --- several owners ------------------------------------------------------------------------------------------------------


def test_two_credentials_share_a_secret(corner: Corner, backend: KubernetesBackend) -> None:
    """Each has its keys, marker, slots and compare token; what one does, the other neither sees nor suffers."""
    here, there = corner.destination(1, {"A": "token"}), corner.destination(1, {"B": "token"}, "B_VERSION")
    tokens = {slot: put(backend, here, slot, FIRST) for slot in Slot}
    for slot in Slot:
        put(backend, there, slot, SECOND, OTHERS)
        assert token_of(backend, here, slot) == tokens[slot]
    assert corner.values("app-1") == {
        "A": FIRST.reveal("token"),
        "B": SECOND.reveal("token"),
        "B_VERSION": OTHERS.label,
    }
    assert (backend.read(here, Slot.CURRENT).marker, backend.read(there, Slot.CURRENT).marker) == (MARKER, OTHERS)
    theirs = {slot: token_of(backend, there, slot) for slot in Slot}
    for slot in Slot:
        backend.clear(here, slot, tokens[slot])
        assert token_of(backend, there, slot) == theirs[slot]
        held = backend.read(there, slot)
        assert (held.fields, held.marker, held.intact) == (SECOND, OTHERS, True)
    assert (
        corner.values("app-1-rotatord-pending").keys() == {"8bd4b1b5c2.token"}
        or len(corner.values("app-1-rotatord-pending")) == 1
    )


def test_they_may_begin_at_the_same_moment(corner: Corner, destination: Destination) -> None:
    """Both find no Secret; the one that comes second writes beside the first, not over it and not in vain."""
    there = corner.destination(1, {"OTHER": "token"})
    other = corner.backend()
    late = meeting(corner, lambda: put(other, there, Slot.CURRENT, SECOND, OTHERS))
    late.write(destination, Slot.CURRENT, FIRST, MARKER, "0")
    assert corner.values("app-1") == {"TOKEN": FIRST.reveal("token"), "OTHER": SECOND.reveal("token")}
    assert other.read(there, Slot.CURRENT).intact


def test_keys_of_others_are_left_alone(corner: Corner, backend: KubernetesBackend, destination: Destination) -> None:
    """A chart's Secret: its keys, labels and type survive our writes and our clear; its changes are no drift of ours."""
    made = corner.sow("app-1", {"colour": "green"}, type="example.com/settings")
    token = put(backend, destination, Slot.CURRENT, FIRST)
    corner.edit("app-1", {"colour": "blue", "size": "3"}, "helm")
    corner.plane.annotate(f"{corner.secrets}/app-1", {"meta.helm.sh/release-name": "shop"})
    assert token_of(backend, destination, Slot.CURRENT) == token
    token = backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), token)
    assert corner.values("app-1") == {"colour": "blue", "size": "3", "TOKEN": SECOND.reveal("token")}
    backend.clear(destination, Slot.CURRENT, token)
    body = secret(corner)
    assert corner.values("app-1") == {"colour": "blue", "size": "3"}
    assert (body["type"], body["metadata"]["uid"]) == ("example.com/settings", made["metadata"]["uid"])
    assert body["metadata"]["annotations"]["meta.helm.sh/release-name"] == "shop"
    assert {entry["manager"] for entry in body["metadata"]["managedFields"]} > {"helm"}


def test_the_api_server_knows_what_is_ours(corner: Corner, backend: KubernetesBackend, destination: Destination) -> None:
    """Somebody who applies another value for our key is stopped by the API server, unless they force it; then it is drift, and
    writing ours back takes the key over again, and no other."""
    put(backend, destination, Slot.CURRENT, FIRST)
    put(backend, destination, Slot.CURRENT, SECOND, later(MARKER))
    theirs = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "app-1"},
        "data": {key: base64.b64encode(b"theirs").decode() for key in ("TOKEN", "MORE")},
    }
    path = f"{corner.secrets}/app-1"
    status, answer = corner.plane.admin.patch(path, theirs, APPLY, fieldManager="kubectl", force="false")
    assert (status, "conflict with" in answer["message"]) == (409, True)
    assert backend.read(destination, Slot.CURRENT).fields == SECOND
    assert corner.plane.admin.patch(path, theirs, APPLY, fieldManager="kubectl", force="true")[0] == 200
    held = backend.read(destination, Slot.CURRENT)
    assert (held.intact, held.marker) == (False, later(MARKER))
    backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), held.token)
    assert corner.values("app-1") == {"TOKEN": SECOND.reveal("token"), "MORE": "theirs"}
    owned: dict[str, set[str]] = {}
    for entry in secret(corner)["metadata"]["managedFields"]:
        owned.setdefault(entry["manager"], set()).update(entry["fieldsV1"].get("f:data", {}).keys() - {"."})
    assert owned.pop("kubectl") == {"f:MORE"}
    assert list(owned.values()) == [{"f:TOKEN"}]


@pytest.mark.parametrize("how", ["edited", "taken away", "edited and put back", "blanked", "made unreadable"])
def test_what_somebody_does_to_our_key_is_seen(
    corner: Corner, backend: KubernetesBackend, destination: Destination, how: str
) -> None:
    """Each change moves the token and shows; a value that is put back exactly is ours again."""
    token = put(backend, destination, Slot.CURRENT, FIRST)
    if how == "made unreadable":
        corner.plane.admin.patch(f"{corner.secrets}/app-1", {"data": {"TOKEN": "/w=="}}, fieldManager="kubectl-edit")
    else:
        corner.edit("app-1", {"TOKEN": {"taken away": None, "blanked": ""}.get(how, "by hand")})
    if how == "edited and put back":
        corner.edit("app-1", {"TOKEN": FIRST.reveal("token")})
        held = backend.read(destination, Slot.CURRENT)
        assert (held.token, held.intact, held.fields) == (token, True, FIRST)
        return
    held = backend.read(destination, Slot.CURRENT)
    assert held.token != token
    assert held.empty == (how in ("taken away", "blanked"))
    assert held.empty or not held.intact
    with pytest.raises(Conflict):
        backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), token)
    backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), held.token)
    assert backend.read(destination, Slot.CURRENT).fields == SECOND


def test_a_marker_that_somebody_damages_is_none(corner: Corner, backend: KubernetesBackend, destination: Destination) -> None:
    """Whatever they write into the annotation: the value is shown as not ours, and can be written under its token."""
    put(backend, destination, Slot.CURRENT, FIRST)
    name = next(name for name in secret(corner)["metadata"]["annotations"] if name.startswith("rotatord.io/"))
    for text in ("", "{}", "[]", "null", '{"keys": 3}', '{"keys": [], "manager": 1, "once": null, "marker": {"ref": 1}}', "{"):
        corner.plane.annotate(f"{corner.secrets}/app-1", {name: text})
        held = backend.read(destination, Slot.CURRENT)
        assert (held.empty, held.marker, held.fields) == (False, None, FIRST)
    backend.write(destination, Slot.CURRENT, FIRST, MARKER, held.token)
    assert backend.read(destination, Slot.CURRENT).marker == MARKER


# --- between the look and the write -----------------------------------------------------------------------------------------


def test_a_change_of_others_in_between_is_written_beside(corner: Corner, destination: Destination) -> None:
    """The Secret's resourceVersion moved for no reason of ours: the write is made over what is there now."""
    first = corner.backend()
    token = put(first, destination, Slot.CURRENT, FIRST)
    meeting(corner, lambda: corner.edit("app-1", {"more": "x"})).write(destination, Slot.CURRENT, SECOND, later(MARKER), token)
    assert corner.values("app-1") == {"TOKEN": SECOND.reveal("token"), "more": "x"}
    restless = [lambda number=number: corner.edit("app-1", {"more": str(number)}) for number in range(9)]  # type: ignore[misc]
    with pytest.raises(Retryable, match="by others all the time"):
        put(meeting(corner, *restless), destination, Slot.CURRENT, FIRST)
    assert first.read(destination, Slot.CURRENT).fields == SECOND


def test_a_change_of_ours_in_between_is_a_conflict(corner: Corner, destination: Destination) -> None:
    """What somebody writes into our key right before our write is not lost."""
    token = put(corner.backend(), destination, Slot.CURRENT, FIRST)
    for call in (
        lambda backend: backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), token),
        lambda backend: backend.clear(destination, Slot.CURRENT, token),
    ):
        with pytest.raises(Conflict):
            call(meeting(corner, lambda: corner.edit("app-1", {"TOKEN": "by hand"})))
        assert corner.values("app-1") == {"TOKEN": "by hand"}
        corner.edit("app-1", {"TOKEN": FIRST.reveal("token")})


@pytest.mark.parametrize("again", [False, True], ids=["deleted", "deleted and made anew"])
def test_a_secret_deleted_in_between_is_not_made_by_accident(corner: Corner, destination: Destination, again: bool) -> None:
    """An apply to what is gone would silently create it: our write is refused, and what came instead is untouched."""
    token = put(corner.backend(), destination, Slot.CURRENT, FIRST)

    def gone() -> None:
        corner.plane.admin.delete(f"{corner.secrets}/app-1")
        if again:
            corner.sow("app-1", {"TOKEN": "somebody else's"})

    backend = meeting(corner, gone)
    with pytest.raises(Conflict):
        backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), token)
    assert corner.values("app-1") == ({"TOKEN": "somebody else's"} if again else {})
    held = backend.read(destination, Slot.CURRENT)
    assert held.empty is not again
    backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), held.token)
    assert backend.read(destination, Slot.CURRENT).fields == SECOND


def test_a_secret_made_in_between_is_not_written_over(corner: Corner, destination: Destination) -> None:
    """We saw none; somebody creates one with our key: theirs stays."""
    backend = meeting(corner, lambda: corner.sow("app-1", {"TOKEN": "somebody else's"}))
    with pytest.raises(Conflict):
        backend.write(destination, Slot.CURRENT, FIRST, MARKER, "0")
    assert corner.values("app-1") == {"TOKEN": "somebody else's"}


def test_what_the_compare_and_set_rests_on(corner: Corner) -> None:
    """Facts of the API server: a resourceVersion alone does not keep an apply from creating; with the uid it does."""
    admin, path = corner.plane.admin, f"{corner.secrets}/facts"
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "facts", "resourceVersion": "5"}}
    guarded = {**body, "metadata": {**body["metadata"], "uid": "6a0f2b5e-0000-4000-8000-000000000000"}}
    assert admin.patch(path, guarded, APPLY, fieldManager="x", force="true")[0] == 409
    assert admin.get(path)[0] == 404
    assert admin.patch(path, body, APPLY, fieldManager="x", force="true")[0] == 201
    metadata = secret(corner, "facts")["metadata"]
    stale = {**body, "metadata": {"name": "facts", "uid": metadata["uid"], "resourceVersion": "5"}}
    assert admin.patch(path, stale, APPLY, fieldManager="x", force="true")[0] == 409
    other = {**guarded, "metadata": {**guarded["metadata"], "resourceVersion": metadata["resourceVersion"]}}
    status, answer = admin.patch(path, other, APPLY, fieldManager="x", force="true")
    assert (status, "metadata.uid" in answer["message"]) == (422, True)  # which our client calls a conflict


class Lost:
    """A cluster whose write loses its answer: done now, or only when :meth:`land` is called."""

    def __init__(self, cluster: Cluster, *, late: bool) -> None:
        self._cluster, self._late = cluster, late
        self.waiting: list[Callable[[], Any]] = []

    def within(self, seconds: float) -> Lost:
        return self

    def land(self) -> None:
        self.waiting.pop()()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cluster, name)
        if name not in ("create", "apply", "patch"):
            return method

        def lose(*arguments: Any, **named: Any) -> Any:
            if self._late:
                self.waiting.append(lambda: method(*arguments, **named))
            else:
                method(*arguments, **named)
            raise Retryable("no answer")

        return lose


@pytest.mark.parametrize("late", [False, True], ids=["lost", "late"])
@pytest.mark.parametrize("slot", list(Slot))
@pytest.mark.parametrize("what", ["create", "write", "clear"])
def test_an_answer_that_is_lost(corner: Corner, destination: Destination, what: str, slot: Slot, late: bool) -> None:
    """Done and not told: what lies there shows it, and the old token is no longer good. Not done yet: another write of
    ours goes first, and the one that lands afterwards is refused and changes nothing."""
    backend = corner.backend()
    before = "0" if what == "create" else put(backend, destination, slot, FIRST)
    lost = Lost(Cluster(ClusterSettings(kubeconfig=corner.kubeconfig)), late=late)
    losing = KubernetesBackend(Settings(kubeconfig=corner.kubeconfig), lost)  # type: ignore[arg-type]
    calls = {"clear": lambda: losing.clear(destination, slot, before)}
    with pytest.raises(Retryable):
        calls.get(what, lambda: losing.write(destination, slot, SECOND, later(MARKER), before))()
    if late:
        token = backend.write(destination, slot, FIRST, later(MARKER, 2), before)
        with pytest.raises(Conflict):
            lost.land()
        held = backend.read(destination, slot)
        assert (held.token, held.fields, held.intact) == (token, FIRST, True)
    else:
        with pytest.raises(Conflict):
            backend.write(destination, slot, FIRST, later(MARKER, 2), before)
        held = backend.read(destination, slot)
        assert held.empty if what == "clear" else (held.fields, held.marker) == (SECOND, later(MARKER))


# --- other keys than before -------------------------------------------------------------------------------------------------


def test_a_destination_may_get_another_key(corner: Corner, backend: KubernetesBackend) -> None:
    """Its value is found under the old keys' marker; the next write has the new keys, one marker, and nothing left behind."""
    pair = Secret({"id": "AKIACONTRACT", "key": "contract-key-1"})
    before, after = corner.destination(1, {"ID": "id", "KEY": "key"}), corner.destination(1, {"ID": "id", "SECRET": "key"})
    put(backend, before, Slot.CURRENT, pair)
    held = backend.read(after, Slot.CURRENT)
    assert (held.empty, held.marker, held.fields, held.intact) == (False, MARKER, None, True)
    backend.write(after, Slot.CURRENT, pair, later(MARKER), held.token)
    assert corner.values("app-1") == {"ID": "AKIACONTRACT", "SECRET": "contract-key-1"}
    assert len([name for name in secret(corner)["metadata"]["annotations"] if name.startswith("rotatord.io/")]) == 1
    assert backend.read(after, Slot.CURRENT).fields == pair


def test_a_key_that_somebody_took_over_stays_theirs(corner: Corner, backend: KubernetesBackend) -> None:
    """We no longer name it, and it has an owner: it is not taken away."""
    pair = Secret({"id": "AKIACONTRACT", "key": "contract-key-1"})
    put(backend, corner.destination(1, {"ID": "id", "KEY": "key"}), Slot.CURRENT, pair)
    corner.edit("app-1", {"ID": "theirs now"})
    after = corner.destination(1, {"KEY": "key"})
    backend.clear(after, Slot.CURRENT, token_of(backend, after, Slot.CURRENT))
    assert corner.values("app-1") == {"ID": "theirs now"}
    put(backend, corner.destination(1, {"ID": "id", "KEY": "key"}), Slot.CURRENT, pair)
    corner.edit("app-1", {"ID": "theirs now"})
    put(backend, after, Slot.CURRENT, pair, later(MARKER))
    assert corner.values("app-1") == {"ID": "theirs now", "KEY": "contract-key-1"}


def test_a_slot_has_the_fields_of_its_last_write_only(
    corner: Corner, backend: KubernetesBackend, destination: Destination
) -> None:
    """Fields of an earlier version do not stay beside those of a later one."""
    put(backend, destination, Slot.PENDING, Secret({"token": "t-1", "more": "m-1"}))
    put(backend, destination, Slot.PENDING, FIRST, later(MARKER))
    assert backend.read(destination, Slot.PENDING).fields == FIRST
    assert list(corner.values("app-1-rotatord-pending").values()) == [FIRST.reveal("token")]
    assert secret(corner, "app-1-rotatord-pending")["metadata"]["labels"]["rotatord.io/slot"] == "pending"


# --- what a Secret may not be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "keys"),
    [
        ("kubernetes.io/tls", {"tls.crt": "crt", "tls.key": "key"}),
        ("kubernetes.io/basic-auth", {"username": "crt", "password": "key"}),
        ("kubernetes.io/ssh-auth", {"ssh-privatekey": "key"}),
        (
            "kubernetes.io/dockerconfigjson",
            {".dockerconfigjson": '{"auths": {"r": {"username": "{crt}", "password": "{key}"}}}'},
        ),
    ],
)
def test_typed_secrets_are_made_and_emptied(
    corner: Corner, backend: KubernetesBackend, type_: str, keys: dict[str, str]
) -> None:
    """Created with the type that was asked for; what the API server insists on stays with nothing in it, and reads as empty."""
    plain = corner.destination(1, keys)
    destination = replace(plain, address={**plain.address, "type": type_})
    fields = Secret({"crt": "contract-crt-1", "key": "contract-key-1"})
    assert list(backend.check(destination)) == []
    assert list(backend.preflight(destination)) == []
    put(backend, destination, Slot.CURRENT, fields)
    assert secret(corner)["type"] == type_
    assert backend.read(destination, Slot.CURRENT).intact
    token = backend.clear(destination, Slot.CURRENT, token_of(backend, destination, Slot.CURRENT))
    held = backend.read(destination, Slot.CURRENT)
    assert (held.empty, held.marker, held.token) == (True, None, token)
    assert "contract" not in json.dumps(corner.values("app-1"))
    backend.write(destination, Slot.CURRENT, fields, later(MARKER), token)
    assert backend.read(destination, Slot.CURRENT).marker == later(MARKER)


@pytest.mark.parametrize("type_", ["kubernetes.io/service-account-token", "bootstrap.kubernetes.io/token"])
def test_identities_of_the_cluster_are_refused(
    corner: Corner, backend: KubernetesBackend, destination: Destination, type_: str
) -> None:
    """Configured or found: never written, never read."""
    assert any(
        "identity" in problem for problem in backend.check(replace(destination, address={**destination.address, "type": type_}))
    )
    corner.sow("app-1", {}, type=type_) if type_.startswith("boot") else corner.plane.admin.must(
        "POST",
        corner.secrets,
        {"metadata": {"name": "app-1", "annotations": {"kubernetes.io/service-account.name": "default"}}, "type": type_},
    )
    for call in (
        lambda: backend.read(destination, Slot.CURRENT),
        lambda: backend.write(destination, Slot.CURRENT, FIRST, MARKER, "0"),
        lambda: backend.clear(destination, Slot.CURRENT, "0"),
    ):
        with pytest.raises(Invalid, match="identity of the cluster"):
            call()
    assert any("identity" in problem for problem in backend.preflight(destination))


def test_an_immutable_secret_is_refused(corner: Corner, backend: KubernetesBackend, destination: Destination) -> None:
    """With a sentence, and before the API server is asked."""
    corner.sow("app-1", {"TOKEN": "x"}, immutable=True)
    with pytest.raises(Invalid, match="is immutable"):
        put(backend, destination, Slot.CURRENT, FIRST)
    assert any("is immutable" in problem for problem in backend.preflight(destination))


def test_a_secret_that_is_being_deleted_is_waited_for(
    corner: Corner, backend: KubernetesBackend, destination: Destination
) -> None:
    """Held by a finalizer, it would take our value with it when it goes."""
    corner.sow("app-1", {"TOKEN": "x"})
    path = f"{corner.secrets}/app-1"
    corner.plane.admin.patch(path, {"metadata": {"finalizers": ["example.com/wait"]}})
    corner.plane.admin.delete(path)
    with pytest.raises(Retryable, match="being deleted"):
        put(backend, destination, Slot.CURRENT, FIRST)
    corner.plane.admin.patch(path, {"metadata": {"finalizers": None}})
    put(backend, destination, Slot.CURRENT, FIRST)
    assert backend.read(destination, Slot.CURRENT).fields == FIRST


def test_what_does_not_fit_is_refused_before_it_is_sent(
    corner: Corner, backend: KubernetesBackend, destination: Destination
) -> None:
    """1 MiB is for all keys together, those of others included; to the byte, and without showing a value."""
    corner.sow("app-1", {"big": "b" * 1024 * 1000})
    room = 1024 * 1024 - 1024 * 1000
    with pytest.raises(Invalid, match="larger than") as caught:
        put(backend, destination, Slot.CURRENT, Secret({"token": "x" * (room + 1)}))
    assert "xxx" not in str(caught.value)
    put(backend, destination, Slot.CURRENT, Secret({"token": "x" * room}))


def test_labels_and_annotations_of_the_address_are_kept_on_the_secret(
    corner: Corner, backend: KubernetesBackend, destination: Destination
) -> None:
    """Put there with each write; somebody else's label of another value is left to them, and preflight says so."""
    wanted = {"labels": {"team": "edge"}, "annotations": {"reloader.stakater.com/ignore": "true"}}
    labelled = replace(destination, address={**destination.address, **wanted})
    assert list(backend.check(labelled)) == []
    put(backend, labelled, Slot.CURRENT, FIRST)
    put(backend, labelled, Slot.CURRENT, SECOND, later(MARKER))
    metadata = secret(corner)["metadata"]
    assert metadata["labels"] == {"team": "edge"}
    assert metadata["annotations"]["reloader.stakater.com/ignore"] == "true"
    corner.plane.admin.patch(f"{corner.secrets}/app-1", {"metadata": {"labels": {"team": "core"}}}, fieldManager="helm")
    with pytest.raises(Invalid, match="label team is helm's"):
        put(backend, labelled, Slot.CURRENT, FIRST)
    assert any("label team is helm's" in problem for problem in backend.preflight(labelled))


@pytest.mark.parametrize(
    "address",
    [
        {},
        {"name": "Upper"},
        {"name": "a/b"},
        {"name": "a", "namespace": "x y"},
        {"name": "a", "nmae": "b"},
        {"name": "a", "labels": {"rotatord.io/x": "y"}},
        {"name": "a", "annotations": {"kubernetes.io/service-account.name": "default"}},
        {"name": "a", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        {"name": "a", "labels": {"x.k8s.io/y": "z"}},
        {"name": "a", "labels": {"team": "a b"}},
        {"name": "a", "labels": {"team": "x" * 64}},
        {"name": "a", "labels": {"te am": "x"}},
        {"name": "a", "annotations": {"": "x"}},
        {"name": "a" * 240},
        {"name": "a", "type": "kubernetes.io/tls"},
        {"name": "a", "type": "kubernetes.io/basic-auth"},
    ],
)
def test_bad_addresses_are_told(surroundings: Callable[..., Surroundings], address: dict[str, Any]) -> None:
    """As sentences, before anything is asked."""
    backend = KubernetesBackend(Settings(kubeconfig=Path("nowhere")), Cluster(ClusterSettings(kubeconfig=Path("nowhere"))))
    assert list(backend.check(Destination(backend="c", address=address, keys={"TOKEN": "token"})))
    for keys in ({}, {"with blank": "token"}, {"a/b": "token"}):
        assert list(backend.check(Destination(backend="c", address={"name": "a"}, keys=keys)))
    with pytest.raises(Invalid, match="no namespace is named"):
        backend.rights(Destination(backend="c", address={"name": "a"}, keys={"TOKEN": "token"}), home=True)


def test_nothing_of_a_value_is_beside_it(corner: Corner, backend: KubernetesBackend, destination: Destination) -> None:
    """Not in annotations, labels or the bookkeeping of fields, and no `last-applied-configuration`; equal values at two
    places have nothing in common there."""
    put(backend, destination, Slot.CURRENT, FIRST)
    put(backend, corner.destination(2), Slot.CURRENT, FIRST)
    one, two = (secret(corner, name)["metadata"] for name in ("app-1", "app-2"))
    for metadata in (one, two):
        assert FIRST.reveal("token") not in json.dumps(metadata)
        assert base64.b64encode(FIRST.reveal("token").encode()).decode() not in json.dumps(metadata)
        assert list(metadata["annotations"]) == [name for name in metadata["annotations"] if name.startswith("rotatord.io/")]
    notes = [json.loads(next(iter(metadata["annotations"].values()))) for metadata in (one, two)]
    assert notes[0]["content"] != notes[1]["content"]


# --- rights -----------------------------------------------------------------------------------------------------------------


def test_exactly_what_is_granted_is_used(corner: Corner, destination: Destination) -> None:
    """A whole life of a home under ``rights(home=True)``, of another destination under ``home=False``, of a copy under
    ``read_rights``: nothing denied, and nothing granted that is not used."""
    told = corner.backend()
    away, copy = corner.destination(2), corner.destination(3)
    home = corner.backend(corner.grant("home", told.rights(destination, home=True)))
    for slot in Slot:
        backend_cycle(home, destination, slot)
    assert list(home.preflight(destination)) == []
    other = corner.backend(corner.grant("other", told.rights(away, home=False)))
    backend_cycle(other, away, Slot.CURRENT)
    assert list(other.preflight(away, home=False)) == []
    corner.sow("app-3", {"TOKEN": "copied-value"})
    reader = corner.backend(corner.grant("reader", told.read_rights(copy)))
    assert reader.read(copy, Slot.CURRENT).fields == Secret({"token": "copied-value"})
    for account, rights in (
        ("home", told.rights(destination, home=True)),
        ("other", told.rights(away, home=False)),
        ("reader", told.read_rights(copy)),
    ):
        events = corner.plane.audit(user=f"system:serviceaccount:{corner.namespace}:{account}")
        assert [event for event in events if event.code in (401, 403)] == []
        granted = {(verb, name) for right in rights for verb in right.verbs for name in right.names or ("",)}
        used = {(event.verb, "" if event.verb == "create" else event.name) for event in events if event.resource == "secrets"}
        assert used == granted, account


def backend_cycle(backend: KubernetesBackend, destination: Destination, slot: Slot) -> None:
    """Made, written and emptied."""
    token = put(backend, destination, slot, FIRST)
    token = backend.write(destination, slot, SECOND, later(MARKER), token)
    backend.clear(destination, slot, token)


def test_each_missing_rule_is_named(corner: Corner, destination: Destination) -> None:
    """Preflight says which rule is missing, as it is written in a Role, and in which namespace."""
    rights = corner.backend().rights(destination, home=True)
    some, create = rights
    poor = corner.backend(corner.grant("poor", [replace(some, verbs=("get",))]))
    problems = list(poor.preflight(destination))
    assert len(problems) == 4
    assert any("verbs: [create]" in problem and corner.namespace in problem for problem in problems)
    assert any("verbs: [patch], resourceNames: [app-1-rotatord-previous]" in problem for problem in problems)
    assert (
        list(
            corner.backend(corner.grant("away", corner.backend().rights(destination, home=False))).preflight(
                destination, home=False
            )
        )
        == []
    )
    with pytest.raises(Denied, match=r"verbs: \[create\]"):
        put(poor, destination, Slot.CURRENT, FIRST)
    unable = corner.backend(corner.grant("unable", [create]))
    with pytest.raises(Denied, match=r"verbs: \[get\], resourceNames: \[app-1\]"):
        unable.read(destination, Slot.CURRENT)


def test_a_namespace_that_is_missing_or_full_is_told(
    corner: Corner, control_plane: ControlPlane, destination: Destination
) -> None:
    """The dry run finds what no look at rules can: no such namespace, and a quota that leaves no room."""
    cluster_wide = control_plane.kubeconfig(control_plane.directory / f"admin-{corner.namespace}")
    nowhere = replace(destination, address={"name": "app", "namespace": "no-such-namespace"})
    problems = list(corner.backend(cluster_wide).preflight(nowhere))
    assert problems
    assert all("there is no namespace no-such-namespace" in problem for problem in problems)
    with pytest.raises(NotFound, match="no namespace"):
        put(corner.backend(cluster_wide), nowhere, Slot.CURRENT, FIRST)
    path = f"/api/v1/namespaces/{corner.namespace}/resourcequotas"
    control_plane.admin.must("POST", path, {"metadata": {"name": "small"}, "spec": {"hard": {"secrets": "0"}}})
    control_plane.admin.until(f"{path}/small", lambda body: body.get("status", {}).get("hard"), "the quota counted")
    assert any("exceeded quota" in problem for problem in corner.backend().preflight(destination))
    with pytest.raises(Invalid, match="exceeded quota") as caught:
        put(corner.backend(), destination, Slot.CURRENT, FIRST)
    assert FIRST.reveal("token") not in str(caught.value)


def test_our_own_namespace_is_the_default(
    corner: Corner, control_plane: ControlPlane, destination: Destination, tmp_path: Path
) -> None:
    """The setting's, else the context's of the kubeconfig; the address may say another."""
    assert corner.kubeconfig is not None
    plain = replace(destination, address={"name": "app-1"})
    put(corner.backend(namespace=corner.namespace), plain, Slot.CURRENT, FIRST)
    document = json.loads(corner.kubeconfig.read_text())
    document["contexts"][0]["context"]["namespace"] = corner.namespace
    file = tmp_path / "with-namespace"
    file.write_text(json.dumps(document))
    assert corner.backend(file).read(plain, Slot.CURRENT).fields == FIRST


# --- the API server goes, and comes back ------------------------------------------------------------------------------------


def test_a_token_in_a_file_may_be_rotated(corner: Corner, destination: Destination, tmp_path: Path) -> None:
    """The API server refuses the old one; the new one in the file is found without anybody's help."""
    assert corner.kubeconfig is not None
    document = json.loads(corner.kubeconfig.read_text())
    token = document["users"][0]["user"].pop("token")
    file = tmp_path / "token"
    file.write_text("expired")
    document["users"][0]["user"]["tokenFile"] = str(file)
    config = tmp_path / "with-token-file"
    config.write_text(json.dumps(document))
    backend = corner.backend(config)
    with pytest.raises(Denied, match="does not know our token"):
        backend.read(destination, Slot.CURRENT)
    file.write_text(token)
    put(backend, destination, Slot.CURRENT, FIRST)
    assert backend.read(destination, Slot.CURRENT).fields == FIRST


def test_a_pod_uses_its_service_account(
    corner: Corner, destination: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Address from the environment; authority, token and namespace from the mounted files. The kubelet rotates the token."""
    assert corner.kubeconfig is not None
    document = json.loads(corner.kubeconfig.read_text())
    authority = document["clusters"][0]["cluster"]["certificate-authority-data"]
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(authority))
    (tmp_path / "namespace").write_text(corner.namespace)
    (tmp_path / "token").write_text("expired")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", corner.plane.address.rpartition(":")[2])
    backend = KubernetesBackend(Settings(), Cluster(Settings(), service_account=tmp_path))
    here = replace(destination, address={"name": "app-1"})
    with pytest.raises(Denied, match="does not know our token"):
        backend.read(here, Slot.CURRENT)
    (tmp_path / "token").write_text(document["users"][0]["user"]["token"])
    put(backend, here, Slot.CURRENT, FIRST)
    assert corner.backend().read(destination, Slot.CURRENT).fields == FIRST
    (tmp_path / "ca.crt").write_text((Path(__file__).parents[1] / "servers" / "kubernetes_corner.py").read_text())
    backend.close()
    with pytest.raises(Retryable):
        backend.read(here, Slot.CURRENT)
    backend.close()


def test_an_api_server_may_restart(own_control_plane: ControlPlane, surroundings: Callable[..., Surroundings]) -> None:
    """While it is away every call is Retryable; afterwards values, markers and tokens are what they were."""
    namespace = own_control_plane.namespace("shop")
    corner = Corner(own_control_plane, namespace, surroundings())
    told = corner.backend(Path("nobody"))
    destination = corner.destination()
    corner.kubeconfig = corner.grant(ACCOUNT, told.rights(destination, home=True))
    backend = corner.backend(timeout=5)
    tokens = {slot: put(backend, destination, slot, FIRST) for slot in Slot}
    own_control_plane.kill("kube-apiserver")
    for call in (
        lambda: backend.read(destination, Slot.CURRENT),
        lambda: backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), tokens[Slot.CURRENT]),
        lambda: backend.clear(destination, Slot.PENDING, tokens[Slot.PENDING]),
    ):
        with pytest.raises(Retryable):
            call()
    own_control_plane.revive("kube-apiserver")
    for slot in Slot:
        held = backend.read(destination, slot)
        assert (held.token, held.fields, held.marker, held.intact) == (tokens[slot], FIRST, MARKER, True)
    backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), tokens[Slot.CURRENT])
    backend.close()


def test_the_clients_other_calls(corner: Corner, control_plane: ControlPlane) -> None:
    """Against the real server: delete by uid, complete lists, tokens and their review."""
    cluster = Cluster(ClusterSettings(kubeconfig=control_plane.kubeconfig(control_plane.directory / f"c-{corner.namespace}")))
    made = cluster.create("secrets", corner.namespace, {"metadata": {"name": "mine"}})
    cluster.delete("secrets", corner.namespace, "mine", uid="6a0f2b5e-0000-4000-8000-000000000000")
    assert cluster.get("secrets", corner.namespace, "mine") is not None
    with pytest.raises(Conflict):
        cluster.create("secrets", corner.namespace, {"metadata": {"name": "mine"}})
    cluster.delete("secrets", corner.namespace, "mine", uid=made["metadata"]["uid"])
    cluster.delete("secrets", corner.namespace, "mine")
    assert cluster.get("secrets", corner.namespace, "mine") is None
    assert cluster.list("pods", corner.namespace) == []
    names = {account["metadata"]["name"] for account in cluster.list("serviceaccounts", corner.namespace)}
    assert names == {"default", ACCOUNT}
    token = cluster.request_token(corner.namespace, "default", {"expirationSeconds": 600})["token"]
    assert cluster.review_token(token)["authenticated"] is True
    assert not cluster.review_token("nonsense").get("authenticated")
    with pytest.raises(NotFound):
        cluster.request_token(corner.namespace, "nobody", {"expirationSeconds": 600})
    with pytest.raises(NotFound, match="no namespace"):
        cluster.create("secrets", "no-such-namespace", {"metadata": {"name": "mine"}})
    cluster.close()
