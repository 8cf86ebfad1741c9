"""Requests to an API server and what becomes of its answers, over scripted servers that misbehave in every way."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from rotatord.errors import Conflict, Denied, Invalid, NotFound, OutsideError, Retryable
from rotatord.kubernetes_client import Cluster, ClusterSettings
from rotatord.kubernetes_transport import Loaded
from rotatord.testing.loopback import Answer, Asked, Loopback, answer_json
from rotatord.testing.silent import closed_port, full_port, silent_server

SECRET = {"kind": "Secret", "metadata": {"name": "app", "namespace": "shop", "uid": "u-1", "resourceVersion": "7"}}
VALUE = "planted-value-0123456789"
ENCODED = base64.b64encode(VALUE.encode()).decode()


def status(code: int, reason: str, message: str = "", **details: Any) -> Answer:
    """What an API server says when it refuses."""
    return answer_json(
        {"kind": "Status", "apiVersion": "v1", "reason": reason, "message": message, "details": details, "code": code}, code
    )


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as loopback:
        yield loopback


def kubeconfig(directory: Path, url: str, user: dict[str, Any] | None = None, namespace: str | None = None) -> Path:
    file = directory / "kubeconfig"
    context = {"cluster": "c", "user": "u", **({"namespace": namespace} if namespace else {})}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "own-token"} if user is None else user}],
        "contexts": [{"name": "main", "context": context}, {"name": "other", "context": {**context, "namespace": "elsewhere"}}],
        "current-context": "main",
    }
    file.write_text(json.dumps(document))
    return file


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters over a kubeconfig; closes them."""
    made: list[Cluster] = []

    def build(url: str, *, user: dict[str, Any] | None = None, monotonic: Any = None, **settings: Any) -> Cluster:
        known = ClusterSettings(kubeconfig=kubeconfig(tmp_path, url, user), **settings)
        made.append(Cluster(known, monotonic=monotonic))
        return made[-1]

    yield build
    for cluster in made:
        cluster.close()


@pytest.fixture
def cluster(server: Loopback, make: Callable[..., Cluster]) -> Cluster:
    return make(server.url)


def test_a_connection_that_ends_in_the_handshake_is_no_matter_of_trust(make: Callable[..., Cluster]) -> None:
    """A network that is cut, or a server that goes away, sends nobody to look at certificates."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1024)

        thread = threading.Thread(target=hang_up)
        thread.start()
        cluster = make(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(Retryable, match="ended the connection before TLS"):
            cluster.get("secrets", "shop", "app")
        thread.join(10)


def calls(cluster: Cluster) -> dict[str, Callable[[], Any]]:
    """Every kind of request."""
    body = {"metadata": {"name": "app", "namespace": "shop"}, "data": {"TOKEN": ENCODED}}
    return {
        "get": lambda: cluster.get("secrets", "shop", "app"),
        "create": lambda: cluster.create("secrets", "shop", body),
        "apply": lambda: cluster.apply("secrets", "shop", "app", body, manager="rotatord", force=True),
        "patch": lambda: cluster.patch("secrets", "shop", "app", body, type="merge"),
        "delete": lambda: cluster.delete("secrets", "shop", "app", uid="u-1"),
        "list": lambda: cluster.list("pods", "shop", labels="app=x"),
        "request_token": lambda: cluster.request_token("shop", "robot", {"audiences": ["x"]}),
        "review_token": lambda: cluster.review_token(VALUE),
        "review_access": lambda: cluster.review_access({"verb": "get", "resource": "secrets"}),
    }


ALL = tuple(calls(Cluster(ClusterSettings())))


@pytest.mark.parametrize("call", ALL)
@pytest.mark.parametrize(
    "case",
    [
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", Denied),
        (403, "Forbidden", Denied),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", Conflict),
        (410, "Expired", Retryable),
        (413, "RequestEntityTooLarge", Invalid),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", Retryable),
        (500, "InternalError", Retryable),
        (503, "ServiceUnavailable", Retryable),
        (504, "Timeout", Retryable),
    ],
    ids=lambda case: f"{case[0]}-{case[1]}",
)
def test_every_refusal_has_its_error(server: Loopback, cluster: Cluster, call: str, case: tuple[int, str, Any]) -> None:
    """Each status becomes one error of ours, exactly, after exactly one request, and no value is quoted."""
    code, reason, expected = case
    server.answer = lambda _: status(code, reason, f"because of {VALUE} ({ENCODED})")
    with pytest.raises(expected) as caught:
        calls(cluster)[call]()
    assert type(caught.value) is expected
    assert len(server.asked) == 1
    text = str(caught.value)
    assert "own-token" not in text
    if call in ("create", "apply", "patch", "review_token"):
        assert VALUE not in text
        assert ENCODED not in text


def test_a_missing_rule_is_named(server: Loopback, cluster: Cluster) -> None:
    """A 403 of RBAC says which rule the Role lacks, by name where a rule can be limited to one."""
    why = 'secrets "app" is forbidden: User "system:serviceaccount:a:b" cannot get resource "secrets" in API group ""'
    server.answer = lambda _: status(403, "Forbidden", why)
    expected = {
        "get": '{apiGroups: [""], resources: [secrets], verbs: [get], resourceNames: [app]}',
        "create": '{apiGroups: [""], resources: [secrets], verbs: [create]}',
        "list": '{apiGroups: [""], resources: [pods], verbs: [list]}',
        "apply": '{apiGroups: [""], resources: [secrets], verbs: [patch], resourceNames: [app]}',
        "request_token": '{apiGroups: [""], resources: [serviceaccounts/token], verbs: [create], resourceNames: [robot]}',
    }
    for call, rule in expected.items():
        with pytest.raises(Denied) as caught:
            calls(cluster)[call]()
        assert rule in str(caught.value)
        assert "namespace shop" in str(caught.value)
        assert "system:serviceaccount:a:b" in str(caught.value)


def test_a_quota_and_an_admission_are_no_missing_rule(server: Loopback, cluster: Cluster) -> None:
    """Kubernetes says 403 for both; neither is mended by a Role."""
    server.answer = lambda _: status(403, "Forbidden", 'secrets "app" is forbidden: exceeded quota: small, used: secrets=3')
    with pytest.raises(Invalid, match="exceeded quota") as caught:
        calls(cluster)["create"]()
    assert "rule" not in str(caught.value)
    server.answer = lambda _: status(403, "Forbidden", "admission webhook denied the request: no")
    with pytest.raises(Denied, match="webhook denied") as caught_too:
        calls(cluster)["create"]()
    assert "lacks the rule" not in str(caught_too.value)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(404, "NotFound", "not found", name="app", kind="secrets"), None),
        (status(404, "NotFound", "not found", name="shop", kind="namespaces"), NotFound),
        (status(404, "NotFound", "the server could not find the requested resource"), Invalid),
        (Answer(404, b"404 page not found\n"), Retryable),
        (Answer(404, b"<html>no such host here</html>", {"Content-Type": "text/html"}), Retryable),
        (answer_json({"message": "no Route matched"}, 404), Retryable),
        (status(404, "NotFound", "not found", name="other", kind="secrets"), NotFound),
    ],
    ids=["missing", "no namespace", "unknown API", "text", "html", "a gateway's JSON", "another object"],
)
def test_only_an_api_servers_word_says_that_there_is_none(
    server: Loopback, cluster: Cluster, answer: Answer, expected: type[OutsideError] | None
) -> None:
    """A 404 of anything else is an error: taken for "empty", it would make us write over what we cannot see."""
    server.answer = lambda _: answer
    if expected is None:
        assert cluster.get("secrets", "shop", "app") is None
        cluster.delete("secrets", "shop", "app")  # gone is done
        with pytest.raises(NotFound):
            calls(cluster)["apply"]()
        return
    for call in ("get", "delete", "create"):
        with pytest.raises(expected):
            calls(cluster)[call]()


@pytest.mark.parametrize("call", ALL)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>login</html>",
        b"[]",
        b"{}",
        b"null",
        b'{"kind": "Status", "status": "Success"}',
        b'{"kind": "Secret", "metadata": {"name": "other", "namespace": "shop", "uid": "u"}}',
        b'{"kind": "Secret", "metadata": {"name": "app", "namespace": "mall", "uid": "u"}}',
        b'{"kind": "PodList", "items": []}',
        b"\xff\xfe garbage",
        b"[" * 100_000,
        b'{"kind": "PodList", "metadata": {}, "items": {"a": 1}}',
        b'{"kind": "Status", "details": ["x"], "message": {"y": 1}}',
    ],
    ids=lambda body: body[:30].decode(errors="replace"),
)
def test_an_answer_that_is_not_about_this_is_no_answer(server: Loopback, cluster: Cluster, call: str, body: bytes) -> None:
    """A 200 without the object that was asked for is Retryable; only a delete has nothing to show."""
    server.answer = lambda _: Answer(200, body)
    if call == "delete" and body.startswith((b'{"kind": "Secret', b'{"kind": "Status')):
        calls(cluster)[call]()
        return
    with pytest.raises(Retryable):
        calls(cluster)[call]()


def test_an_object_is_given_as_it_came(server: Loopback, cluster: Cluster) -> None:
    """Plain JSON in and out, with our field manager and the force that was asked for in the query."""
    server.answer = lambda _: answer_json(SECRET)
    assert cluster.get("secrets", "shop", "app") == SECRET
    assert calls(cluster)["apply"]() == SECRET
    read, applied = server.asked
    assert (read.method, read.path) == ("GET", "/api/v1/namespaces/shop/secrets/app")
    assert (applied.method, applied.headers["content-type"]) == ("PATCH", "application/apply-patch+yaml")
    assert applied.path == "/api/v1/namespaces/shop/secrets/app?fieldManager=rotatord&force=true"
    assert applied.headers["authorization"] == "Bearer own-token"
    assert json.loads(applied.body)["kind"] == "Secret"


def test_another_uid_is_a_conflict(server: Loopback, cluster: Cluster) -> None:
    """The API server calls a compare-and-set on another object of that name invalid; it is a conflict. A delete of what has
    another uid by now is done."""
    server.answer = lambda _: status(
        422, "Invalid", 'Secret "app" is invalid: metadata.uid: Invalid value: "u": field is immutable'
    )
    with pytest.raises(Conflict):
        calls(cluster)["apply"]()
    server.answer = lambda _: status(
        409, "Conflict", "the UID in the precondition (u-1) does not match the UID in record (u-2)"
    )
    with pytest.raises(Conflict):
        cluster.delete("secrets", "shop", "app")
    server.answer = lambda _: status(409, "Conflict", "Precondition failed: UID in precondition: u-1, UID in object meta: u-2")
    cluster.delete("secrets", "shop", "app", uid="u-1")


def test_a_list_is_complete_or_an_error(server: Loopback, cluster: Cluster) -> None:
    """Page after page; a page that fails, that is none, or a list without an end, and there is no list at all."""

    def page(asked: Asked) -> Answer:
        last = "continue=next" in asked.path
        items = [{"metadata": {"name": "b" if last else "a"}}]
        return answer_json({"kind": "PodList", "metadata": {} if last else {"continue": "next"}, "items": items})

    server.answer = page
    assert [pod["metadata"]["name"] for pod in cluster.list("pods", "shop", labels="app=x")] == ["a", "b"]
    assert all("limit=500" in asked.path and "labelSelector=app%3Dx" in asked.path for asked in server.asked)
    for second in (status(410, "Expired"), Answer(200, b"{}"), status(500, "InternalError")):
        server.answer = lambda asked, second=second: second if "continue" in asked.path else page(asked)
        with pytest.raises(Retryable):
            cluster.list("pods", "shop")
    server.answer = lambda _: answer_json({"kind": "PodList", "metadata": {"continue": "next"}, "items": []})
    with pytest.raises(Retryable, match="no end"):
        cluster.list("pods", "shop")


def test_reviews_and_tokens_show_their_status(server: Loopback, cluster: Cluster) -> None:
    """What a subresource or a review says is given as it came; only a plain True is an allowance."""
    kinds = {"serviceaccounts": "TokenRequest", "tokenreviews": "TokenReview", "selfsubject": "SelfSubjectAccessReview"}

    def answer(asked: Asked) -> Answer:
        kind = next(kind for word, kind in kinds.items() if word in asked.path)
        return answer_json(
            {"kind": kind, "metadata": {}, "status": {"token": "t", "authenticated": True, "allowed": "yes"}}, 201
        )

    server.answer = answer
    assert cluster.request_token("shop", "robot", {})["token"] == "t"
    assert cluster.review_token("t")["authenticated"] is True
    assert cluster.review_access({"verb": "get"}) is False
    assert server.asked[0].path == "/api/v1/namespaces/shop/serviceaccounts/robot/token"


def test_a_missing_service_account_says_what_to_do(server: Loopback, cluster: Cluster) -> None:
    """Another thing that is missing, such as what the token is bound to, is told as it came."""
    missing = ("robot", "serviceaccounts")

    def answer(_: Asked) -> Answer:
        name, kind = missing
        return status(404, "NotFound", f'{kind} "{name}" not found', name=name, kind=kind)

    server.answer = answer
    with pytest.raises(NotFound, match="create it, or correct `service_account`"):
        cluster.request_token("shop", "robot", {})
    missing = ("marker", "secrets")
    with pytest.raises(NotFound) as caught:
        cluster.request_token("shop", "robot", {})
    assert "create it" not in str(caught.value)


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("soon", 3.0), ("", 3.0)])
def test_what_the_server_asks_us_to_wait_is_passed_on(server: Loopback, cluster: Cluster, header: str, seconds: float) -> None:
    """By the header, or by the Status where that says nothing that can be understood."""
    body = json.dumps({"kind": "Status", "reason": "TooManyRequests", "details": {"retryAfterSeconds": 3}}).encode()
    server.answer = lambda _: Answer(429, body, {"Retry-After": header})
    with pytest.raises(Retryable) as caught:
        cluster.get("secrets", "shop", "app")
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("header", "moment"), [("Mon, 05 Jan 2026 12:00:00 GMT", "2026-01-05T12:00:00+00:00"), ("later", None)]
)
def test_the_servers_clock_is_told(server: Loopback, cluster: Cluster, header: str, moment: str | None) -> None:
    """As its last answer to this caller shows it; None where that says nothing that can be understood."""
    body = json.dumps({"kind": "Status", "reason": "NotFound", "details": {"name": "app", "kind": "secrets"}}).encode()
    server.answer = lambda _: Answer(404, body, {"Date": header})
    mine = cluster.within(5)
    assert mine.server_time is None
    mine.get("secrets", "shop", "app")
    assert mine.server_time == (datetime.fromisoformat(moment) if moment else None)
    assert mine.within(5).server_time is None


def test_a_redirect_is_not_followed(server: Loopback, cluster: Cluster) -> None:
    """It would carry our token to another host, which never hears of it."""
    with Loopback() as other:
        server.answer = lambda _: Answer(307, b"", {"Location": f"{other.url}/api/v1/namespaces/shop/secrets/app"})
        for call in calls(cluster).values():
            with pytest.raises(Retryable):
                call()
        assert other.asked == []


# --- who we are ---------------------------------------------------------------------------------------------------------


def test_a_token_file_is_read_anew_when_the_token_is_refused(
    server: Loopback, make: Callable[..., Cluster], tmp_path: Path
) -> None:
    """A kubeconfig's token file may be rotated: the refused request is made once more, with the newer token."""
    file = tmp_path / "token"
    file.write_text("first-token")
    cluster = make(server.url, user={"tokenFile": str(file)})
    server.answer = lambda _: answer_json(SECRET)
    cluster.get("secrets", "shop", "app")
    file.write_text("second-token")
    server.answer = lambda asked: (
        answer_json(SECRET) if asked.headers["authorization"].endswith("second-token") else status(401, "Unauthorized")
    )
    assert cluster.get("secrets", "shop", "app") == SECRET
    assert [asked.headers["authorization"].split()[1] for asked in server.asked] == [
        "first-token",
        "first-token",
        "second-token",
    ]
    server.answer = lambda _: status(401, "Unauthorized")
    with pytest.raises(Denied, match="does not know our token"):
        cluster.get("secrets", "shop", "app")
    assert len(server.asked) == 4


def test_a_service_account_is_found_and_its_token_read_anew(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pod: address from the environment, authority, token and namespace from the mounted files."""
    for name, text in {"token": "pod-token\n", "ca.crt": "unused", "namespace": "home\n"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
    cluster = Cluster(ClusterSettings(connect_timeout=0.5, timeout=0.5), service_account=tmp_path)
    assert cluster.namespace == "home"
    with pytest.raises(Retryable) as caught:  # the server speaks no TLS, or the authority is none
        cluster.get("secrets", "shop", "app")
    assert "pod-token" not in str(caught.value)
    (tmp_path / "token").write_text("")
    with pytest.raises(Retryable, match="service account"):
        Cluster(ClusterSettings(), service_account=tmp_path).get("secrets", "shop", "app")
    assert server.asked == []


@pytest.mark.parametrize("text", ["", "{", "a: [", "kind: Config", "\x00", "current-context: nowhere"])
def test_a_damaged_kubeconfig_is_told_without_quoting_it(tmp_path: Path, text: str) -> None:
    """It may be being written just now: Retryable, with its name and nothing of its content."""
    file = tmp_path / "kubeconfig"
    file.write_text(f"{text}\n# {VALUE}")
    with pytest.raises(Retryable, match="kubeconfig") as caught:
        Cluster(ClusterSettings(kubeconfig=file)).get("secrets", "shop", "app")
    assert VALUE not in str(caught.value)
    assert Cluster(ClusterSettings(kubeconfig=file)).namespace is None


def test_a_missing_kubeconfig_is_told(tmp_path: Path) -> None:
    """By its name; a relative path counts from the directory that is given."""
    with pytest.raises(Retryable, match="nowhere"):
        Cluster(ClusterSettings(kubeconfig=Path("nowhere")), base_dir=str(tmp_path)).get("secrets", "shop", "app")


@pytest.mark.parametrize(
    ("cluster", "what"),
    [
        ({"server": "http://10.0.0.1:8080"}, "without TLS"),
        ({"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}, "proves itself"),
    ],
)
def test_nobody_in_between_gets_our_token(tmp_path: Path, cluster: dict[str, Any], what: str) -> None:
    """A kubeconfig that gives up TLS, or its verification, is refused before anything is sent."""
    file = kubeconfig(tmp_path, "unused")
    document = json.loads(file.read_text())
    document["clusters"][0]["cluster"] = cluster
    file.write_text(json.dumps(document))
    with pytest.raises(Invalid, match=what):
        Cluster(ClusterSettings(kubeconfig=file)).get("secrets", "shop", "app")


def test_contexts_have_their_namespaces(server: Loopback, tmp_path: Path) -> None:
    """Ours is the context's, the current one's where none is named; no request is made for it."""
    file = kubeconfig(tmp_path, server.url, namespace="mine")
    assert Cluster(ClusterSettings(kubeconfig=file)).namespace == "mine"
    assert Cluster(ClusterSettings(kubeconfig=file, context="other")).namespace == "elsewhere"
    assert Cluster(ClusterSettings(kubeconfig=Path(file.name)), base_dir=str(tmp_path)).namespace == "mine"
    assert server.asked == []


def test_a_token_that_cannot_be_sent_is_not_quoted(server: Loopback, make: Callable[..., Cluster]) -> None:
    """A line break in a header would be refused by a library that quotes it."""
    with pytest.raises(Invalid) as caught:
        make(server.url, user={"token": f"{VALUE}\nsecond line"}).get("secrets", "shop", "app")
    assert VALUE not in str(caught.value)
    assert server.asked == []


def test_a_token_that_cannot_be_read_anew_is_waited_for() -> None:
    """The SDK reads a service account's token again while we work; it may be empty for a moment, or the disk in trouble."""

    class Torn:
        host = "https://127.0.0.1:1"

        def auth_settings(self) -> dict[str, Any]:
            raise RuntimeError(VALUE)

    with pytest.raises(Retryable) as caught:
        Loaded(Torn(), None).headers()
    assert VALUE not in str(caught.value)


# --- when it gives up ---------------------------------------------------------------------------------------------------


@contextmanager
def raw_server(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Takes one connection after the other and lets ``answer`` do what it likes, until the test is over."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        for _ in range(20):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                try:
                    answer(connection, over)
                except OSError:
                    continue

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        assert not thread.is_alive()


def drip(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        if over.wait(0.02):
            return
        connection.sendall(b" ")


def drip_headers(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1000):
        if over.wait(0.02):
            return
        connection.sendall(b"a: b\r\n")


def stall(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"kind": ')
    over.wait(20)


def cut(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"kind": ')


def nonsense(connection: socket.socket, over: threading.Event) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


@pytest.mark.parametrize("answer", [drip, drip_headers, stall, cut, nonsense], ids=lambda answer: answer.__name__)
def test_an_answer_that_does_not_end_is_given_up(
    make: Callable[..., Cluster], answer: Callable[[socket.socket, threading.Event], None]
) -> None:
    """Slow, half-open, cut off or not even HTTP: Retryable, within the time of a request."""
    from rotatord.clock import SystemClock

    with raw_server(answer) as url:
        cluster = make(url, connect_timeout=0.3, timeout=0.3)
        began = SystemClock().monotonic()
        with pytest.raises(Retryable):
            cluster.get("secrets", "shop", "app")
        assert SystemClock().monotonic() - began < 1


@pytest.mark.parametrize("nobody", [silent_server, closed_port, full_port], ids=lambda server: server.__name__)
def test_nobody_there_is_retryable(make: Callable[..., Cluster], nobody: Any) -> None:
    """Silent, closed, or too busy to take a call."""
    with nobody() as port:
        cluster = make(f"http://127.0.0.1:{port}", connect_timeout=0.2, timeout=0.2)
        for call in calls(cluster).values():
            with pytest.raises(Retryable):
                call()


def test_calls_that_share_a_deadline_end_with_it(server: Loopback, make: Callable[..., Cluster]) -> None:
    """After the time is over nothing is asked any more; the unbounded cluster goes on."""
    now = [0.0]
    cluster = make(server.url, monotonic=lambda: now[0])
    server.answer = lambda _: answer_json(SECRET)
    bounded = cluster.within(5).within(60)
    assert bounded.get("secrets", "shop", "app") == SECRET
    now[0] = 5.0
    with pytest.raises(Retryable, match="in time"):
        bounded.get("secrets", "shop", "app")
    assert len(server.asked) == 1
    assert cluster.get("secrets", "shop", "app") == SECRET


def test_an_endless_answer_is_not_kept(server: Loopback, cluster: Cluster) -> None:
    """There is an end to what is read into memory."""
    server.answer = lambda _: Answer(200, b" " * (33 * 1024 * 1024))
    with pytest.raises(Invalid, match="more than"):
        cluster.get("secrets", "shop", "app")


# --- what it costs ------------------------------------------------------------------------------------------------------


def test_nothing_of_the_sdk_is_loaded_before_the_first_request() -> None:
    """The module alone loads nothing; a request loads no model of it (they are most of its memory)."""
    script = """
import sys
from backends.kubernetes import create
from rotatord.kubernetes_client import Cluster, ClusterSettings
from rotatord.kubernetes_transport import Loaded
assert not [name for name in sys.modules if name.split(".")[0] == "kubernetes"]
from rotatord.errors import Retryable
try:
    Cluster(ClusterSettings(kubeconfig="/nowhere")).get("secrets", "a", "b")
except Retryable:
    pass
import kubernetes
assert "site-packages" in kubernetes.__file__ or "dist-packages" in kubernetes.__file__
if int(kubernetes.__version__.split(".")[0]) >= 37:  # before, importing the package was importing all of them
    assert not [name for name in sys.modules if name.startswith("kubernetes.client.models.")]
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
