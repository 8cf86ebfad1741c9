"""The contract of backends, over KV version 2 of a real Vault, under exactly the policies of docs/vault.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backends.vault import VaultBackend, create
from rotatord.document import MARKER_KEY
from rotatord.errors import Conflict, Denied, Invalid, NotFound, Retryable
from rotatord.model import Destination, Slot
from rotatord.ports import Surroundings
from rotatord.testing.contracts.backend import BackendContract
from rotatord.testing.contracts.backend_setting import FIRST, MARKER, SECOND, Placing, later, put, token_of
from rotatord.testing.silent import closed_port, silent_server
from tests.servers.fixtures import KV_MOUNT, Place
from tests.servers.vault import VaultServer

pytestmark = pytest.mark.vault
QUICK = {"connect_timeout": 0.5, "read_timeout": 0.5, "timeout": 1.0}
POLICIES = ("rotatord-vault-kv", "rotatord-vault-kv-retire")


@pytest.fixture
def settings(vault_place: Place) -> dict[str, Any]:
    """Ourselves, with rights on ``NAME/1`` to ``NAME/3`` only."""
    for number in (1, 2, 3):
        names = [vault_place.documented_policy(name, PATH=f"{vault_place.name}/{number}", KV=KV_MOUNT) for name in POLICIES]
    return vault_place.settings(*names)


@pytest.fixture
def backend(settings: dict[str, Any], vault_place: Place, surroundings: Callable[..., Surroundings]) -> VaultBackend:
    return vault_place.closing(create(settings, surroundings()))


@pytest.fixture
def place(vault_place: Place) -> Placing:
    """The paths that we have rights on, one after the other."""
    numbers = iter((1, 2, 3))

    def make(keys: dict[str, str] | None = None, version_key: str | None = None) -> Destination:
        address = {"path": f"{vault_place.name}/{next(numbers)}"}
        return Destination(backend="kv", address=address, keys=keys or {"TOKEN": "token"}, version_key=version_key)

    return make


@pytest.fixture
def destination(place: Placing) -> Destination:
    return place()


def data_path(destination: Destination, slot: Slot = Slot.CURRENT, kind: str = "data") -> str:
    suffix = "" if slot is Slot.CURRENT else f".rotatord/{slot.value}"
    return f"{KV_MOUNT}/{kind}/{destination.address['path']}{suffix}"


class TestVaultKv(BackendContract):
    """The suite."""

    plugin = "vault"

    @pytest.fixture
    def backend(self, backend: VaultBackend) -> VaultBackend:
        return backend

    @pytest.fixture
    def place(self, place: Placing) -> Placing:
        return place

    @pytest.fixture
    def reopened(
        self, settings: dict[str, Any], vault_place: Place, surroundings: Callable[..., Surroundings]
    ) -> Callable[[], VaultBackend]:
        return lambda: vault_place.closing(create(settings, surroundings()))

    @pytest.fixture
    def raw_bytes(self, vault_place: Place) -> Callable[[], bytes]:
        return lambda: everything(vault_place.server, vault_place.name)

    @pytest.fixture
    def reader(self, vault_place: Place) -> Callable[[Destination], dict[str, str]]:
        def read(destination: Destination) -> dict[str, str]:
            data: dict[str, str] = vault_place.server.call("GET", data_path(destination))["data"]["data"]
            return {key: value for key, value in data.items() if key != MARKER_KEY}

        return read

    @pytest.fixture
    def tamper(self, vault_place: Place) -> Callable[[Destination], None]:
        def change(destination: Destination) -> None:
            data = vault_place.server.call("GET", data_path(destination))["data"]["data"]
            vault_place.server.call("POST", data_path(destination), {"data": {**data, "TOKEN": "by hand"}})

        return change

    @pytest.fixture
    def plant(self, vault_place: Place) -> Callable[[Destination], None]:
        return lambda destination: foreign(vault_place.server, destination)

    @pytest.fixture
    def denied(self, vault_place: Place, surroundings: Callable[..., Surroundings]) -> VaultBackend:
        return vault_place.closing(create(vault_place.settings("default"), surroundings()))

    @pytest.fixture
    def unreachable(self, settings: dict[str, Any], surroundings: Callable[..., Surroundings]) -> Iterator[VaultBackend]:
        with closed_port() as port:
            yield create({**settings, **QUICK, "address": f"http://127.0.0.1:{port}"}, surroundings())

    @pytest.fixture
    def hanging(self, settings: dict[str, Any], surroundings: Callable[..., Surroundings]) -> Iterator[VaultBackend]:
        with silent_server() as port:
            yield create({**settings, **QUICK, "address": f"http://127.0.0.1:{port}"}, surroundings())


def foreign(server: VaultServer, destination: Destination) -> None:
    server.call("POST", data_path(destination), {"data": {"TOKEN": "somebody else's"}})


def everything(server: VaultServer, prefix: str) -> bytes:
    """Every readable version of every document below a prefix, as root sees them."""
    found: list[Any] = []
    folders = [prefix]
    while folders:
        folder = folders.pop()
        for key in server.request("LIST", f"{KV_MOUNT}/metadata/{folder}")[1].get("data", {}).get("keys", []):
            path = f"{folder}/{key}"
            if key.endswith("/"):
                folders.append(path.rstrip("/"))
                continue
            versions = server.call("GET", f"{KV_MOUNT}/metadata/{path}")["data"]["versions"]
            found += [server.request("GET", f"{KV_MOUNT}/data/{path}?version={version}")[1] for version in versions]
    return json.dumps(found).encode()


@pytest.mark.parametrize("how", ["delete", "destroy", "delete all metadata"])
def test_what_somebody_deletes_reads_as_empty_and_can_be_written(
    backend: VaultBackend, vault_place: Place, destination: Destination, how: str
) -> None:
    """Soft-deleted, destroyed or forgotten altogether: empty, with a token that a write accepts and an older one not."""
    first = put(backend, destination, Slot.CURRENT, FIRST)
    server = vault_place.server
    if how == "delete":
        server.call("DELETE", data_path(destination))
    elif how == "destroy":
        server.call("PUT", data_path(destination, kind="destroy"), {"versions": [1]})
    else:
        server.call("DELETE", data_path(destination, kind="metadata"))
    held = backend.read(destination, Slot.CURRENT)
    assert held.empty
    if how == "delete all metadata":
        with pytest.raises(Conflict):
            backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), first)
    backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), held.token)
    assert backend.read(destination, Slot.CURRENT).fields == SECOND


def test_a_mount_made_anew_is_another_document(
    own_vault: VaultServer, tmp_path: Any, surroundings: Callable[..., Surroundings]
) -> None:
    """Version 1 of a new mount is not version 1 of the old one: the token differs, and a write under the old one loses."""
    backend = create(Place(own_vault, "anew", tmp_path).settings("root"), surroundings())
    destination = Destination(backend="kv", address={"path": "apps/x"}, keys={"TOKEN": "token"})
    old = put(backend, destination, Slot.CURRENT, FIRST)
    own_vault.call("DELETE", f"sys/mounts/{KV_MOUNT}")
    with pytest.raises(NotFound, match=f"no mount {KV_MOUNT}"):
        backend.read(destination, Slot.CURRENT)
    own_vault.call("POST", f"sys/mounts/{KV_MOUNT}", {"type": "kv", "options": {"version": "2"}})
    own_vault.until_upgraded(KV_MOUNT)
    foreign(own_vault, destination)
    assert token_of(backend, destination, Slot.CURRENT) != old
    with pytest.raises(Conflict):
        backend.write(destination, Slot.CURRENT, SECOND, later(MARKER), old)
    backend.close()


def test_kv_version_1_and_other_engines_are_refused(
    own_vault: VaultServer, tmp_path: Any, surroundings: Callable[..., Surroundings]
) -> None:
    """A mount that is not KV version 2 is Invalid before anything is written, and preflight says so."""
    own_vault.call("POST", "sys/mounts/old", {"type": "kv", "options": {"version": "1"}})
    backend = create(Place(own_vault, "v1", tmp_path).settings("root"), surroundings())
    for mount in ("old", "cubbyhole"):
        destination = Destination(backend="kv", address={"path": "apps/x", "mount": mount}, keys={"TOKEN": "token"})
        with pytest.raises(Invalid, match="not KV version 2"):
            backend.write(destination, Slot.CURRENT, FIRST, MARKER, "0")
        assert any("not KV version 2" in problem for problem in backend.preflight(destination))
    assert own_vault.request("LIST", "old/")[0] == 404
    backend.close()


@pytest.mark.parametrize("slot", [Slot.PENDING, Slot.PREVIOUS])
def test_a_slot_keeps_only_its_latest_version(
    backend: VaultBackend, vault_place: Place, destination: Destination, slot: Slot
) -> None:
    """After each write the versions before it are destroyed, also when there are more than a document keeps."""
    secrets = [f"turn-{number}-0123456789" for number in range(13)]
    for number, value in enumerate(secrets):
        put(backend, destination, slot, type(FIRST)({"token": value}), later(MARKER, number))
    stored = everything(vault_place.server, vault_place.name)
    assert [value for value in secrets if value.encode() in stored] == secrets[-1:]


def test_a_clear_that_died_after_destroying_can_be_repeated(
    backend: VaultBackend, vault_place: Place, destination: Destination
) -> None:
    """Stopped between destroying and moving the token, the slot reads empty and clears under the same token."""
    token = put(backend, destination, Slot.PENDING, FIRST)
    vault_place.server.call("PUT", data_path(destination, Slot.PENDING, "destroy"), {"versions": [1]})
    held = backend.read(destination, Slot.PENDING)
    assert (held.empty, held.token) == (True, token)
    assert backend.clear(destination, Slot.PENDING, token) != token


@pytest.mark.parametrize("metadata", [{"cas_required": True}, {"max_versions": 1}, {"max_versions": 1, "cas_required": True}])
def test_strict_documents_work(
    backend: VaultBackend, vault_place: Place, destination: Destination, metadata: dict[str, Any]
) -> None:
    """Required check-and-set and a single kept version change nothing for us."""
    for slot in Slot:
        vault_place.server.call("POST", data_path(destination, slot, "metadata"), metadata)
        put(backend, destination, slot, FIRST)
        token = put(backend, destination, slot, SECOND, later(MARKER))
        assert backend.read(destination, slot).fields == SECOND
        backend.clear(destination, slot, token)
        assert backend.read(destination, slot).empty


def test_values_that_would_vanish_are_refused(
    backend: VaultBackend, vault_place: Place, destination: Destination, settings: dict[str, Any], surroundings: Any
) -> None:
    """Where KV deletes versions by itself, the first write of a rotation (to pending) is Invalid, and preflight says why."""
    vault_place.server.call("POST", data_path(destination, Slot.PENDING, "metadata"), {"delete_version_after": "1h"})
    with pytest.raises(Invalid, match="delete_version_after"):
        put(backend, destination, Slot.PENDING, FIRST)
    vault_place.server.call("POST", data_path(destination, kind="metadata"), {"delete_version_after": "1h"})
    assert any("delete_version_after" in problem for problem in backend.preflight(destination))


def test_other_peoples_json_is_no_error(backend: VaultBackend, vault_place: Place, destination: Destination) -> None:
    """Numbers, lists and objects in a document are read as a foreign document, and are replaced only as a whole."""
    vault_place.server.call("POST", data_path(destination), {"data": {"TOKEN": 7, "more": {"a": [1]}, MARKER_KEY: {"x": 1}}})
    held = backend.read(destination, Slot.CURRENT)
    assert (held.empty, held.fields, held.marker) == (False, None, None)


def test_paths_may_have_blanks_and_other_alphabets(
    own_vault: VaultServer, tmp_path: Any, surroundings: Callable[..., Surroundings]
) -> None:
    """Signs that mean something in addresses are part of the name, not of the address."""
    backend = create(Place(own_vault, "p", tmp_path).settings("root"), surroundings())
    for path in ("apps/dé mo", "apps/a?version=1", "apps/b#c", "apps/100%25", "apps/d+e&f"):
        destination = Destination(backend="kv", address={"path": path}, keys={"TOKEN": "token"})
        assert list(backend.check(destination)) == []
        put(backend, destination, Slot.CURRENT, FIRST)
        assert backend.read(destination, Slot.CURRENT).fields == FIRST
    assert set(own_vault.call("LIST", f"{KV_MOUNT}/metadata/apps")["data"]["keys"]) == {
        "dé mo",
        "a?version=1",
        "b#c",
        "100%25",
        "d+e&f",
    }
    backend.close()


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/./b", "a\nb"])
def test_bad_paths_are_told(path: str, surroundings: Callable[..., Surroundings]) -> None:
    """Paths that would name something else are problems before anything is asked."""
    backend = create({"address": "http://127.0.0.1:1", "auth": {"token": {"env": "NOBODY"}}}, surroundings())
    assert list(backend.check(Destination(backend="kv", address={"path": path}, keys={"TOKEN": "token"})))
    assert list(backend.check(Destination(backend="kv", address={"path": "a", "paht": "b"}, keys={})))


def test_a_value_too_long_for_vault_is_an_error_without_the_value(backend: VaultBackend, destination: Destination) -> None:
    """What Vault cannot take raises, says so and shows nothing."""
    with pytest.raises(Invalid) as caught:
        put(backend, destination, Slot.CURRENT, type(FIRST)({"token": "x" * 1_200_000}))
    assert "xxx" not in str(caught.value)
    assert backend.read(destination, Slot.CURRENT).empty


def test_references_are_resolved(backend: VaultBackend, vault_place: Place, destination: Destination) -> None:
    """One key of a document; what is missing, or is not text, is NotFound."""
    path = destination.address["path"]
    vault_place.server.call("POST", data_path(destination), {"data": {"a": "b", "n": 3}})
    assert backend.resolve(path, "a") == "b"
    for key in ("n", "c"):
        with pytest.raises(NotFound):
            backend.resolve(path, key)


def test_rights_that_are_missing_are_named(vault_place: Place, surroundings: Callable[..., Surroundings]) -> None:
    """Preflight names each path; without the slots' rights a home cannot be used."""
    server, path = vault_place.server, f"{vault_place.name}/1"
    server.policy(vault_place.name, f'path "{KV_MOUNT}/data/{path}" {{ capabilities = ["create", "read", "update"] }}')
    backend = vault_place.closing(create(vault_place.settings(vault_place.name), surroundings()))
    destination = Destination(backend="kv", address={"path": path}, keys={"TOKEN": "token"})
    problems = list(backend.preflight(destination))
    assert len(problems) == 7
    assert any(f"destroy/{path}.rotatord/pending" in problem for problem in problems)
    with pytest.raises(Denied):
        backend.read(destination, Slot.PENDING)


def test_sealed_and_unsealed(own_vault: VaultServer, tmp_path: Any, surroundings: Callable[..., Surroundings]) -> None:
    """While sealed everything is Retryable; afterwards the token is what it was."""
    backend = create(Place(own_vault, "s", tmp_path).settings("root"), surroundings())
    destination = Destination(backend="kv", address={"path": "apps/x"}, keys={"TOKEN": "token"})
    token = put(backend, destination, Slot.CURRENT, FIRST)
    own_vault.seal()
    for call in (
        lambda: backend.read(destination, Slot.CURRENT),
        lambda: backend.write(destination, Slot.CURRENT, SECOND, MARKER, token),
        lambda: backend.clear(destination, Slot.CURRENT, token),
        lambda: backend.preflight(destination),
        lambda: backend.resolve("apps/x", "TOKEN"),
    ):
        with pytest.raises(Retryable, match="sealed"):
            call()
    own_vault.unseal()
    assert token_of(backend, destination, Slot.CURRENT) == token
    backend.close()
