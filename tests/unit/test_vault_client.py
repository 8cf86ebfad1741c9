"""Requests to Vault and what becomes of the answers, over a scripted HTTP server."""

from __future__ import annotations

import ipaddress
import json
import os
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from rotatord.clock import SystemClock
from rotatord.errors import Conflict, Denied, Invalid, NotFound, OutsideError, Retryable
from rotatord.ports import Surroundings
from rotatord.testing.loopback import Answer, Asked, Loopback, answer_json
from rotatord.vault_client import VaultClient, VaultSettings, duration_seconds, missing_rights, parse_time

Script = Callable[[Asked], Answer]
REVOKED = answer_json({"errors": ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}, 403)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as loopback:
        yield loopback


def client(server: Loopback, surroundings: Callable[..., Surroundings], tmp_path: Any, **more: Any) -> VaultClient:
    token = tmp_path / "token"
    if not token.exists():
        token.write_text("own-token")
    settings = {"address": server.url, "auth": {"token_file": str(token)}, **more}
    return VaultClient(VaultSettings.model_validate(settings), surroundings())


@pytest.mark.parametrize(
    "case",
    [
        (400, ["unknown role x"], Invalid),
        (400, ["check-and-set parameter did not match the current version"], Conflict),
        (400, ["Upgrading from non-versioned to versioned data. This backend will be unavailable"], Retryable),
        (403, ["1 error occurred:\n\t* permission denied\n\n"], Denied),
        (404, [], NotFound),
        (405, ["unsupported operation"], Invalid),
        (408, [], Retryable),
        (412, ["required index state not present"], Retryable),
        (413, [], Invalid),
        (429, ["rate limited"], Retryable),
        (472, [], Retryable),
        (473, [], Retryable),
        (500, ["internal error"], Retryable),
        (500, ["JSON string value exceeds allowed length"], Invalid),
        (502, [], Retryable),
        (503, ["Vault is sealed"], Retryable),
    ],
)
def test_every_status_has_its_error(
    server: Loopback, surroundings: Any, tmp_path: Any, case: tuple[int, list[str], type[OutsideError]]
) -> None:
    """Each status becomes one error of ours, exactly, after exactly one request."""
    status, errors, expected = case
    server.answer = lambda _: answer_json({"errors": errors}, status)
    with pytest.raises(expected) as caught:
        client(server, surroundings, tmp_path).calls().post("some/path", {"a": 1})
    assert type(caught.value) is expected
    assert len(server.asked) == 1
    assert "own-token" not in str(caught.value)


def test_a_standby_is_not_followed(server: Loopback, surroundings: Any, tmp_path: Any) -> None:
    """A redirect would carry the token to another host: it is Retryable, and the other host never hears of it."""
    with Loopback() as other:
        server.answer = lambda _: Answer(307, b"", {"Location": f"{other.url}/v1/x"})
        with pytest.raises(Retryable, match="active node"):
            client(server, surroundings, tmp_path).calls().get("x")
        assert other.asked == []


def test_retry_after_is_passed_on(server: Loopback, surroundings: Any, tmp_path: Any) -> None:
    """What Vault asks us to wait is in the error; nonsense there is not."""
    for text, seconds in (("7", 7.0), ("soon", None)):
        server.answer = lambda _, text=text: Answer(429, b"{}", {"Retry-After": text})
        with pytest.raises(Retryable) as caught:
            client(server, surroundings, tmp_path).calls().get("x")
        assert caught.value.retry_after == seconds


def test_a_dead_token_of_ours_is_replaced_and_the_request_repeated_once(
    server: Loopback, surroundings: Any, tmp_path: Any
) -> None:
    """The file holds a newer token meanwhile: the request is made again with it. Refused again, it is Denied."""
    vault = client(server, surroundings, tmp_path)
    calls = vault.calls()
    calls.get("x")

    def answer(asked: Asked) -> Answer:
        (tmp_path / "token").write_text("newer-token")
        return REVOKED if asked.headers["x-vault-token"] == "own-token" else answer_json({"data": {"ok": 1}})

    server.answer = answer
    assert calls.get("x").data == {"ok": 1}
    assert [asked.headers["x-vault-token"] for asked in server.asked] == ["own-token", "own-token", "newer-token"]
    server.answer = lambda _: REVOKED
    with pytest.raises(Denied):
        calls.get("x")
    assert len(server.asked) == 4


def test_a_refusal_for_want_of_rights_is_not_repeated(server: Loopback, surroundings: Any, tmp_path: Any) -> None:
    """Denied is Denied: one request."""
    server.answer = lambda _: answer_json({"errors": ["permission denied"]}, 403)
    with pytest.raises(Denied):
        client(server, surroundings, tmp_path).calls().get("x")
    assert len(server.asked) == 1


def test_values_in_errors_are_struck_out(server: Loopback, surroundings: Any, tmp_path: Any) -> None:
    """A server that repeats what it was sent cannot make us show it."""
    server.answer = lambda asked: answer_json({"errors": [f"cannot take {asked.body.decode()}"]}, 400)
    with pytest.raises(Invalid) as caught:
        client(server, surroundings, tmp_path).calls().post("x", {"data": {"TOKEN": "s3cr3t-value", "n": [1]}, "role": "web"})
    assert "s3cr3t-value" not in str(caught.value)
    assert "web" in str(caught.value)


def test_the_machines_environment_is_ignored(
    server: Loopback, surroundings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VAULT_* variables, proxies and the token file of the home directory change nothing."""
    monkeypatch.setenv("VAULT_ADDR", "http://127.0.0.1:1")
    monkeypatch.setenv("VAULT_TOKEN", "environment-token")
    monkeypatch.setenv("VAULT_NAMESPACE", "elsewhere")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".vault-token").write_text("home-token")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password netrc-password\n")
    client(server, surroundings, tmp_path).calls().get("x")
    (asked,) = server.asked
    assert asked.headers["x-vault-token"] == "own-token"
    assert "authorization" not in asked.headers
    assert "x-vault-namespace" not in asked.headers
    assert os.environ["VAULT_TOKEN"] == "environment-token"


def test_namespace_index_and_address_path_are_sent(server: Loopback, surroundings: Any, tmp_path: Any) -> None:
    """The namespace is a header; a standby is told how far our last write was; the address may have a path."""
    server.answer = lambda _: Answer(200, b"{}", {"X-Vault-Index": "v1:abc"})
    vault = client(server, surroundings, tmp_path, namespace="team/a", address=f"{server.url}/proxied")
    vault.calls().get("x y")
    vault.calls().get("x")
    first, second = server.asked
    assert first.headers["x-vault-namespace"] == "team/a"
    assert first.path == "/proxied/v1/x%20y"
    assert "x-vault-index" not in first.headers
    assert second.headers["x-vault-index"] == "v1:abc"


def test_an_answer_that_is_not_json_is_no_crash(server: Loopback, surroundings: Any, tmp_path: Any) -> None:
    """A proxy's page is an error by its status, and an empty answer otherwise."""
    vault = client(server, surroundings, tmp_path)
    for body in (b"<html>", b"[]", b'"x"', b"\xff"):
        server.answer = lambda _, body=body: Answer(502, body, {"Content-Type": "text/html"})
        with pytest.raises(Retryable):
            vault.calls().get("x")
        server.answer = lambda _, body=body: Answer(200, body)
        assert vault.calls().get("x").data == {}


def test_all_calls_of_a_method_share_its_time(server: Loopback, surroundings: Any, tmp_path: Any) -> None:
    """When the time of a method is used up, its next call does not start."""
    now = [0.0]
    settings = {"address": server.url, "auth": {"token_file": str(tmp_path / "token")}, "timeout": 30}
    (tmp_path / "token").write_text("own-token")
    calls = VaultClient(VaultSettings.model_validate(settings), surroundings(), lambda: now[0]).calls()
    calls.get("x")
    now[0] = 29.99
    with pytest.raises(Retryable, match="within 30 s"):
        calls.get("x")
    assert len(server.asked) == 1


def test_closing_ends_only_a_login_of_ours(server: Loopback, surroundings: Any, tmp_path: Any) -> None:
    """A token that we made by logging in is revoked; one that we were given is not; closing twice is fine."""
    (tmp_path / "sid").write_text("sid")
    made = {"auth": {"client_token": "login-token", "lease_duration": 60, "renewable": True}}
    server.answer = lambda asked: answer_json(made if asked.path.endswith("/login") else {})
    vault = client(
        server, surroundings, tmp_path, auth={"approle": {"role_id": "r", "secret_id": {"file": str(tmp_path / "sid")}}}
    )
    vault.close()
    assert server.asked == []
    vault.calls().get("x")
    vault.close()
    vault.close()
    assert [asked.path for asked in server.asked] == ["/v1/auth/approle/login", "/v1/x", "/v1/auth/token/revoke-self"]
    assert server.asked[-1].headers["x-vault-token"] == "login-token"
    given = client(server, surroundings, tmp_path)
    given.calls().get("x")
    given.close()
    assert len(server.asked) == 4


def test_rights_are_compared_path_by_path(server: Loopback, surroundings: Any, tmp_path: Any) -> None:
    """A missing right is named with its path; root has them all."""
    server.answer = lambda asked: answer_json(
        {"data": {path: {"a": ["read"], "b": ["root"]}.get(path, ["deny"]) for path in json.loads(asked.body)["paths"]}}
    )
    calls = client(server, surroundings, tmp_path).calls()
    problems = missing_rights(calls, {"a": ("read", "update"), "b": ("sudo",), "c": ("read",)})
    assert [("update" in problem, problem.rpartition(" ")[2]) for problem in problems] == [(True, "a"), (False, "c")]


@pytest.mark.parametrize(
    "address", ["vault:8200", "ftp://vault", "http://vault:8200", "https://user:pw@vault", "https://vault?x=1", ""]
)
def test_unusable_addresses_are_refused(address: str) -> None:
    """No scheme, another one, plain HTTP to another machine, or secrets in the address."""
    with pytest.raises(ValidationError):
        VaultSettings.model_validate({"address": address, "auth": {"token": {"env": "X"}}})
    VaultSettings.model_validate({"address": "http://vault:8200", "plain_http": True, "auth": {"token": {"env": "X"}}})


def test_times_and_durations() -> None:
    """Vault's times have nanoseconds and a zero of their own; durations are seconds or as people write them."""
    parsed = parse_time("2026-11-22T06:15:43.461888989Z")
    assert parsed is not None
    assert (parsed.tzinfo is not None, parsed.microsecond) == (True, 461888)
    assert [parse_time(text) for text in (None, "", "0001-01-01T00:00:00Z", 3)] == [None] * 4
    assert [duration_seconds(value) for value in (90, "90", "1h30m", "2d")] == [90, 90, 5400, 172800]
    for bad in (True, -1, "soon", None, "1y", 1.5):
        with pytest.raises(ValueError, match="length of time"):
            duration_seconds(bad)


def test_the_server_must_prove_itself(surroundings: Any, tmp_path: Any) -> None:
    """A certificate that no known authority signed is Retryable; with ca_file it is trusted, for its own name only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vault.test")])
    now = SystemClock().now()
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "both.pem").write_bytes(private + certificate.public_bytes(pem))
    (tmp_path / "ca.pem").write_bytes(certificate.public_bytes(pem))
    (tmp_path / "token").write_text("own-token")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    with Loopback() as server:
        server._server.socket = context.wrap_socket(server._server.socket, server_side=True)

        def ask(host: str, **tls: str) -> None:
            address = f"https://{host}:{server.port}"
            client(server, surroundings, tmp_path, address=address, tls=tls).calls().get("x")

        with pytest.raises(Retryable, match="prove itself"):
            ask("127.0.0.1")
        ask("127.0.0.1", ca_file=str(tmp_path / "ca.pem"))
        with pytest.raises(Retryable, match="prove itself"):
            ask("localhost", ca_file=str(tmp_path / "ca.pem"))
        assert len(server.asked) == 1
