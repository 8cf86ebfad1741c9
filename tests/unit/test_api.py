"""The API over real sockets: who may do what, what it answers, and that nonsense never gets through or breaks it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from served import START, Served, listening, record, rotation

from rotatord.api import pages
from rotatord.api.access import Access, Grant, Peer, TokenGrant, peer_of
from rotatord.api.app import PROBES
from rotatord.api.routes import create_routes
from rotatord.api.server import BODY_BYTES
from rotatord.api.service import Finding, Stray
from rotatord.api.settings import ApiSettings
from rotatord.commands import VERBS, Right
from rotatord.errors import JournalUnavailable, Refused, Retryable
from rotatord.model import Event, Standing

JsonMap = dict[str, Any]
TOKEN = "a-token-of-sufficient-length"


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path | str) -> None:
        super().__init__("localhost", timeout=10)
        self.path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """One exchange; the body is decoded where it is JSON."""
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, content, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        text = answer.read()
        is_json = (answer.getheader("content-type") or "").startswith("application/json")
        return answer.status, json.loads(text) if is_json and text else text
    finally:
        connection.close()


@pytest.fixture
def served() -> Served:
    return Served(
        record("dns"),
        record("team/dns"),
        record("rotating", rotation=rotation()),
        record("foreign", standing=Standing.UNMANAGED),
    )


@pytest.fixture
def path(served: Served, tmp_path: Path) -> Iterator[Path]:
    with listening(served, tmp_path) as api:
        yield api.path


def get(path: Path, url: str) -> tuple[int, Any]:
    return ask(Unix(path), "GET", url)


def post(path: Path, url: str, body: Any = None) -> tuple[int, Any]:
    return ask(Unix(path), "POST", url, body)


# --- reading -------------------------------------------------------------------------------------------------------


def test_status_pages_through_all_credentials(path: Path) -> None:
    """A page says where the next one starts, and the last one says that there is none."""
    status, first = get(path, "/v1/status?limit=3")
    assert (status, first["schema"], first["version"]) == (200, "rotatord.status/v1", "0.0-test")
    assert [row["name"] for row in first["credentials"]] == ["dns", "foreign", "rotating"]
    _, second = get(path, f"/v1/status?limit=3&after={first['next']}")
    assert ([row["name"] for row in second["credentials"]], second["next"]) == (["team/dns"], None)


def test_names_may_hold_slashes(path: Path) -> None:
    """A credential is found under its whole name, for reading and for asking."""
    assert get(path, "/v1/credentials/team/dns")[1]["credentials"][0]["name"] == "team/dns"
    assert get(path, "/v1/credentials/team/dns/why")[1]["name"] == "team/dns"
    assert post(path, "/v1/credentials/team/dns/commands/rotate", {})[0] == 202


def test_an_unknown_name_is_answered_with_the_nearest(path: Path) -> None:
    """A slip of the finger costs one look."""
    for url in ("/v1/credentials/dms", "/v1/credentials/dms/why", "/v1/events?credential=dms", "/v1/check?name=dms"):
        status, body = get(path, url)
        assert (status, body["code"], body["suggestions"]) == (404, "unknown_name", ["dns"]), url
    assert post(path, "/v1/credentials/dms/commands/rotate", {})[0] == 404
    assert post(path, "/v1/rotate", {"names": ["dns", "dms"]})[0] == 404


def test_plan_why_check_and_strays_answer_in_their_schemas(tmp_path: Path) -> None:
    """Every reading answer names its schema and version."""
    stray = Stray(issuer="cf", ref="x", why="no label", created_at=START)
    finding = Finding(subject="vault", ok=None, detail="sealed")
    served = Served(record(), strays=lambda: [stray], check=lambda _names: [finding])
    with listening(served, tmp_path) as api:
        assert get(api.path, "/v1/plan")[1]["schema"] == "rotatord.plan/v1"
        assert get(api.path, "/v1/credentials/dns/why")[1]["schema"] == "rotatord.why/v1"
        assert get(api.path, "/v1/strays")[1]["strays"][0]["why"] == "no label"
        assert get(api.path, "/v1/check")[1]["findings"] == [{"subject": "vault", "ok": None, "detail": "sealed"}]


def test_what_is_no_longer_declared_cannot_be_checked(tmp_path: Path) -> None:
    """A remembered credential is refused with the reason."""
    with listening(Served(record(standing=Standing.FORGOTTEN)), tmp_path) as api:
        assert get(api.path, "/v1/check?name=dns")[0] == 409


def test_a_look_that_failed_is_not_an_empty_answer(tmp_path: Path) -> None:
    """When nobody can tell whether there are strays, the answer is an error, with the time to wait."""

    def fail() -> Any:
        raise Retryable("cf did not answer", retry_after=7.2)

    with listening(Served(record(), strays=fail), tmp_path) as api:
        status, body = get(api.path, "/v1/strays")
        assert (status, body["code"], body["error"]) == (503, "incomplete", "cf did not answer")


def test_events_can_be_read_from_either_end(served: Served, path: Path) -> None:
    """Forwards from a number, or the latest few, of one credential or all; and on from there."""
    for number in range(1, 41):
        name = "dns" if number % 10 == 0 else "rotating"
        served.journal.record_events(
            [Event(id=f"e{number}", time=START, actor="a", action="x", credential=name, outcome="done", rotation="rot_4")]
        )
    _, body = get(path, "/v1/events?tail=2&credential=dns")
    assert [event["id"] for event in body["events"]] == ["e30", "e40"]
    _, body = get(path, "/v1/events?tail=3")
    assert [event["id"] for event in body["events"]] == ["e38", "e39", "e40"]
    _, body = get(path, f"/v1/events?after={body['last']}")
    assert body["events"] == []
    assert [event["id"] for event in get(path, "/v1/events?after=0&limit=2")[1]["events"]] == ["e1", "e2"]
    revoked = Event(id="death", time=START, actor="a", action="revoke", credential="rotating", outcome="done")
    served.journal.record_events([revoked])
    history = [event["id"] for event in get(path, "/v1/credentials/rotating/why")[1]["history"]]
    assert (history[0], history[-2:], len(history)) == ("e1", ["e39", "death"], 37)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 100])
def test_the_newest_event_is_found_by_halving(count: int) -> None:
    """Its number is right however many there are, none included."""
    served = Served()
    served.journal.record_events(
        [Event(id=f"e{n}", time=START, actor="a", action="x", credential="", outcome="done") for n in range(count)]
    )
    assert pages.last_seq(served.service) == count


# --- asking --------------------------------------------------------------------------------------------------------


def test_a_command_is_journaled_with_its_actor_and_wakes_the_daemon(served: Served, path: Path) -> None:
    """What was asked is durable when the answer comes, with the name that the kernel vouches for."""
    status, body = post(path, "/v1/credentials/dns/commands/rotate", {"comment": "drill"})
    assert (status, body["credential"]["asked"]["verb"]) == (202, "rotate")
    assert served.woken == 1
    event = served.journal.replay("dns")[-1]
    assert (event.action, event.actor.startswith(f"uid:{os.getuid()}")) == ("rotate", True)


def test_a_refusal_says_why_and_changes_nothing(served: Served, path: Path) -> None:
    """409 with the reason; the record stays as it was."""
    before = served.journal.get("foreign")
    status, body = post(path, "/v1/credentials/foreign/commands/rotate", {})
    assert (status, body["code"]) == (409, "refused")
    assert "adopt" in body["error"]
    assert served.journal.get("foreign") == before


def test_pause_holds_everything_and_is_shown(served: Served, path: Path) -> None:
    """A pause is a fact of the installation with actor and reason, and only a pause can be ended."""
    assert post(path, "/v1/installation/commands/unpause", {})[0] == 409
    assert post(path, "/v1/installation/commands/pause", {"reason": "moving house"})[0] == 202
    assert get(path, "/v1/status")[1]["paused"].endswith("moving house")
    pause = get(path, "/v1/status")[1]["pause"]
    assert (pause["until"], pause["owner"]) == ("2026-01-06T12:00:00Z", pause["actor"])  # 24 hours, and who asked
    assert post(path, "/v1/installation/commands/unpause", {})[0] == 202
    assert get(path, "/v1/status")[1]["paused"] == ""
    assert [event.action for event in served.journal.replay()] == ["pause", "unpause"]


def test_a_pause_has_an_end_and_an_owner(served: Served, path: Path) -> None:
    """It is over by itself; one that is over already, or of more than 31 days, is refused; one of an earlier version, without
    an end, is still a pause."""
    ask = "/v1/installation/commands/pause"
    assert post(path, ask, {"until": "2026-01-05T11:59:00Z"})[0] == 409
    assert "31 days" in post(path, ask, {"until": "2026-02-06T12:00:00Z"})[1]["error"]
    assert post(path, ask, {"until": "2026-01-05T14:00:00Z", "owner": "ana"})[1]["pause"]["owner"] == "ana"
    assert get(path, "/v1/status")[1]["paused"].startswith("until 2026-01-05 14:00Z by ana (asked by uid:")
    served.clock.advance(7200)
    assert get(path, "/v1/status")[1]["paused"] == ""
    assert post(path, "/v1/installation/commands/unpause", {})[0] == 409
    served.journal.set_fact("paused", "by ana at noon: moving")
    assert get(path, "/v1/status")[1]["paused"] == "by ana at noon: moving (without an end)"
    assert post(path, "/v1/installation/commands/unpause", {})[0] == 202


def test_who_asks_for_a_rotation_is_told_what_holds_it_up(served: Served, path: Path) -> None:
    """A pause, and a hold even for what leaked: somebody put it there, and has to end it."""
    post(path, "/v1/installation/commands/pause", {"reason": "moving house"})
    assert "; but the installation is paused" in post(path, "/v1/rotate", {"names": ["dns"]})[1]["outcomes"][0]["message"]
    post(path, "/v1/installation/commands/unpause", {})
    post(path, "/v1/credentials/dns/commands/hold", {"until": "2999-01-01T00:00:00Z", "owner": "ana"})
    leaked = post(path, "/v1/rotate", {"names": ["dns"], "reason": "compromised"})[1]["outcomes"][0]
    assert leaked["accepted"]
    assert leaked["message"].startswith("asked for; but held by ana until 2999-01-01")


def test_rotating_many_reports_each(served: Served, path: Path) -> None:
    """A refusal of one does not keep the others from it, and a dry run changes nothing at all."""
    wish = {"issuer": "cf", "selector": {"tier": "gold"}}
    status, body = post(path, "/v1/rotate", wish | {"dry_run": True})
    outcomes = {item["name"]: item["accepted"] for item in body["outcomes"]}
    assert (status, outcomes) == (200, {"dns": True, "team/dns": True, "rotating": False, "foreign": False})
    assert list(served.journal.replay()) == []
    assert post(path, "/v1/rotate", wish)[1]["outcomes"][0]["message"] == "asked for"
    assert served.journal.get("dns").asked.verb == "rotate"  # type: ignore[union-attr]
    assert post(path, "/v1/rotate", {"owner": "nobody"})[1]["outcomes"] == []


def test_a_new_configuration_with_mistakes_is_not_taken(tmp_path: Path) -> None:
    """All the problems come back, one a line, and a daemon that cannot reload says so."""
    with listening(Served(reload=lambda: ["a.yaml:3: what is this"]), tmp_path) as api:
        assert post(api.path, "/v1/reload") == (422, {"schema": "rotatord.command/v1", "problems": ["a.yaml:3: what is this"]})
    with listening(Served(), tmp_path) as api:
        assert post(api.path, "/v1/reload")[0] == 409


# --- probes --------------------------------------------------------------------------------------------------------


def test_probes_tell_life_from_readiness(tmp_path: Path) -> None:
    """Read-only is alive but not ready; a thread that stands still is neither."""
    stuck = [Finding(subject="chores", ok=True, detail="ticked 1 s ago")]
    served = Served(alive=lambda: stuck, metrics=lambda: b"rotatord_open 1\n")
    with listening(served, tmp_path) as api:
        assert get(api.path, "/healthz")[0] == 200
        assert get(api.path, "/readyz")[0] == 200
        assert get(api.path, "/metrics") == (200, b"rotatord_open 1\n")
        served.journal.set_fact("read_only", "the journal is older than the destinations")
        status, body = get(api.path, "/readyz")
        assert (status, body["findings"][1]["detail"]) == (503, "the journal is older than the destinations")
        assert get(api.path, "/healthz")[0] == 200
        stuck[0] = Finding(subject="chores", ok=False, detail="ticked 10 min ago")
        assert get(api.path, "/healthz")[0] == 503


def test_probes_load_no_web_framework(tmp_path: Path) -> None:
    """A daemon that is only asked whether it is well does not pay for routes."""
    probe = (
        "import sys, pathlib, served, test_api\n"
        "sys.modules.pop('rotatord.api.routes'), [sys.modules.pop(n) for n in list(sys.modules) if n.startswith('fastapi')]\n"
        "with served.listening(served.Served(), pathlib.Path(sys.argv[1])) as api:\n"
        "    assert test_api.get(api.path, '/healthz')[0] == test_api.get(api.path, '/metrics')[0] == 200\n"
        "    assert 'fastapi' not in sys.modules\n"
        "    assert test_api.get(api.path, '/v1/status')[0] == 200\n"
    )
    here = {"PYTHONPATH": str(Path(__file__).parent), "PATH": os.environ["PATH"]}
    ended = subprocess.run([sys.executable, "-c", probe, tmp_path], env=here, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_journal_that_is_away_is_not_an_error_of_the_probe(tmp_path: Path) -> None:
    """Metrics that cannot be counted are 503 with the reason."""

    def fail() -> bytes:
        raise JournalUnavailable("disk full")

    with listening(Served(metrics=fail), tmp_path) as api:
        status, body = get(api.path, "/metrics")
        assert (status, body["findings"][0]["detail"]) == (503, "disk full")
        assert ask(Unix(api.path), "HEAD", "/healthz")[0] == 200


def test_readiness_asks_the_disk_only_now_and_then() -> None:
    """A probe every second does not write every second, and a journal that cannot be written is not ready."""
    served = Served()
    written: list[str] = []
    keep = served.journal.set_fact

    def count(key: str, value: str | None, events: Any = ()) -> None:
        written.append(key)
        keep(key, value, events)

    served.journal.set_fact = count  # type: ignore[method-assign]
    for _ in range(5):
        assert served.service.ready()[0].ok
    assert len(written) == 1

    def fail(*_: Any) -> None:
        raise JournalUnavailable("disk full")

    served.journal.set_fact = fail  # type: ignore[method-assign]
    served.clock.advance(11)
    assert "disk full" in served.service.ready()[0].detail


# --- who may -------------------------------------------------------------------------------------------------------


def routes() -> list[tuple[str, str]]:
    """Every route of the API with its method, filled in."""
    found = [("GET", url) for url in sorted(PROBES)]
    for route in create_routes(Served().service).routes:
        url = getattr(route, "path", "").replace("{name:path}", "dns").replace("{verb}", "rotate")
        found.extend((method, url) for method in getattr(route, "methods", ()) if method != "HEAD")
    return found


def test_every_route_but_the_probes_is_denied_by_default(tmp_path: Path) -> None:
    """Somebody without any right gets 403 everywhere: no route forgot to ask."""
    assert len(routes()) > 12
    with listening(Served(record()), tmp_path, Nobody()) as api:
        for method, route in routes():
            url = route.replace("installation/commands/rotate", "installation/commands/pause")
            body = {"names": ["dns"]} if url == "/v1/rotate" else {} if method == "POST" else None
            status, _ = ask(Unix(api.path), method, url, body)
            assert (status == 403) != (url in PROBES), (method, url, status)


class Nobody(Access):
    """Takes everybody for a stranger without rights, as they are on a machine with more users than this one."""

    def of_peer(self, peer: Peer) -> Any:
        return Access(own_uid=peer.uid + 1).of_peer(Peer(peer.pid, 65534, 65534))


class Holder(Access):
    """Everybody has just these rights."""

    def __init__(self, *rights: Right) -> None:
        super().__init__()
        self.rights = frozenset(rights)

    def of_peer(self, peer: Peer) -> Any:
        from rotatord.api.access import Actor

        return Actor("somebody", self.rights)


@pytest.mark.parametrize("right", list(Right))
def test_rights_are_separate(right: Right, tmp_path: Path) -> None:
    """Each verb needs exactly its own right; none of them includes another."""
    with listening(Served(record()), tmp_path, Holder(right)) as api:
        for verb in VERBS.values():
            url = "/v1/installation/commands/" if verb.installation else "/v1/credentials/dns/commands/"
            status, _ = post(api.path, f"{url}{verb.name}", {"nonsense": 1})
            assert status == (400 if verb.right is right else 403), verb.name
        assert get(api.path, "/v1/status")[0] == (200 if right is Right.READ else 403)
        leak = {"names": ["dns"], "reason": "compromised"}
        assert post(api.path, "/v1/rotate", leak)[0] == (200 if right is Right.OVERRIDE else 403)
        assert post(api.path, "/v1/credentials/dns/commands/rotate", {"reason": "compromised"})[0] == (
            202 if right is Right.OVERRIDE else 403
        )


def test_root_and_the_daemons_own_user_may_everything_and_nobody_else() -> None:
    """Without grants there are no others; a grant to a user or a group gives just what it says."""
    everything = frozenset(Right)
    access = Access(own_uid=4242)
    assert access.of_peer(Peer(1, 0, 0)).rights == everything
    assert access.of_peer(Peer(1, 4242, 4242)).rights == everything
    assert access.of_peer(Peer(1, 65534, 65534)).rights == frozenset()
    granted = Access(
        [Grant(group="daemon", rights=frozenset({Right.READ})), Grant(user="nobody", rights=frozenset({Right.ROTATE}))],
        own_uid=4242,
    )
    assert granted.of_peer(Peer(1, 1, 1)).rights == {Right.READ}
    assert granted.of_peer(Peer(1, 65534, 65534)).rights == {Right.ROTATE}
    assert granted.of_peer(Peer(1, 65534, 65534)).name == "uid:65534(nobody)"
    assert granted.of_peer(Peer(1, 3999999, 3999999)).rights == frozenset()


def test_the_kernel_names_the_peer() -> None:
    """The peer of a Unix socket is this very process; TCP has none."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_of(ours) == Peer(os.getpid(), os.getuid(), os.getgid())
    with socket.socket() as tcp:
        assert peer_of(tcp) is None


def test_tcp_needs_a_token_and_gives_only_its_rights(tmp_path: Path) -> None:
    """No token, a wrong one, a short one and an unreadable one are the same stranger."""
    secrets = {"ci": TOKEN, "short": "short"}

    def secret(reference: JsonMap) -> str:
        return secrets[reference["file"]]

    grants = tuple(
        TokenGrant(name=name, token={"file": name}, rights=frozenset({Right.READ})) for name in ("gone", "short", "ci")
    )
    access = Access(tokens=grants, secret=secret)
    with listening(Served(record()), tmp_path, access, listen={"port": 0}, tokens=grants) as api:
        host, port = api.addresses()[1][:2]

        def call(method: str, url: str, authorization: str | None) -> int:
            headers = {"Authorization": authorization} if authorization is not None else {}
            return ask(http.client.HTTPConnection(host, port, timeout=10), method, url, None, headers)[0]

        for bad in (None, "", "Bearer", "Bearer wrong-wrong-wrong-wrong", "Bearer short", f"Basic {TOKEN}", "Bearer \xff"):
            assert call("GET", "/v1/status", bad) == 401, bad
            assert call("GET", "/healthz", bad) == 401, bad
        assert call("GET", "/v1/status", f"Bearer {TOKEN}") == 200
        assert call("POST", "/v1/credentials/dns/commands/repair", f"bearer {TOKEN}") == 403


def test_the_probe_address_serves_probes_only(tmp_path: Path) -> None:
    """Health and metrics need no token there, and nothing else is to be had, token or not."""
    with listening(Served(record()), tmp_path, probes={"port": 0}) as api:
        host, port = api.addresses()[1][:2]
        for url, expected in (("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/v1/status", 404), ("/", 404)):
            assert ask(http.client.HTTPConnection(host, port, timeout=10), "GET", url)[0] == expected, url


def test_unsafe_settings_are_refused() -> None:
    """Tokens in the clear off this machine, a door that nobody can use, and a grant to nobody in particular."""
    token = {"name": "ci", "token": {"file": "x"}, "rights": ["read"]}
    for wrong in (
        {"listen": {"host": "0.0.0.0", "port": 1}, "tokens": [token]},
        {"listen": {"port": 1}},
        {"tokens": [token, token]},
        {"grants": [{"rights": ["read"]}]},
        {"grants": [{"user": "a", "group": "b", "rights": ["read"]}]},
        {"socket_mode": "rw"},
        {"listen": {"port": 70000}, "tokens": [token]},
    ):
        with pytest.raises(ValueError, match="ApiSettings"):
            ApiSettings.model_validate(wrong)


# --- the socket ----------------------------------------------------------------------------------------------------


def test_the_socket_is_private_and_goes_with_the_daemon(tmp_path: Path) -> None:
    """Mode 0600 unless said otherwise; removed at the end; a dead one left by a crash is replaced."""
    with listening(Served(), tmp_path) as api:
        assert api.path.stat().st_mode & 0o777 == 0o600
    assert not api.path.exists()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(api.path))
    with listening(Served(), tmp_path, socket_mode="0660") as api:
        assert api.path.stat().st_mode & 0o777 == 0o660
        assert get(api.path, "/healthz")[0] == 200


def test_a_living_socket_or_a_foreign_file_is_not_taken(tmp_path: Path) -> None:
    """A second daemon, or somebody's file at the path, is an error, and both are left as they were."""
    with listening(Served(), tmp_path) as api:
        with pytest.raises(Refused, match="another daemon"), listening(Served(), tmp_path):
            pass
        assert get(api.path, "/healthz")[0] == 200
    api.path.write_text("mine")
    with pytest.raises(Refused, match="not a socket"), listening(Served(), tmp_path):
        pass
    assert api.path.read_text() == "mine"


def test_stopping_twice_is_stopping_once(tmp_path: Path) -> None:
    """Stop is idempotent and leaves no thread behind."""
    with listening(Served(), tmp_path) as api:
        api.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "api"]


# --- nonsense ------------------------------------------------------------------------------------------------------

NONSENSE_BODIES: list[Any] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b'{"a":' * 2000,
    {"reason": 7},
    {"reason": None},
    {"until": "tomorrow", "owner": "x"},
    {"how": "pray"},
    {"version": -1, "reason": "x"},
    {"version": 10**30, "reason": "x"},
    {"names": [{}]},
    {"unknown": "x" * 1000},
]
NONSENSE_PATHS = [
    "/v1/status?limit=0",
    "/v1/status?limit=x",
    "/v1/status?limit=1001",
    "/v1/status?after=" + "x" * 501,
    "/v1/events?after=-1",
    "/v1/events?after=99999999999999999999999",
    "/v1/events?tail=0",
    "/v1/plan?limit=1e9",
    "/v1/credentials/%00",
    "/v1/credentials/" + "x" * 600,
    "/v1/credentials/..%2f..%2fetc%2fpasswd",
    "/v1/credentials/",
    "/v1/credentials//why",
    "/nowhere",
    "/v1/rotate",
    "/%ff%fe",
]


def test_nonsense_is_answered_with_a_reason_and_never_a_bug(served: Served, path: Path) -> None:
    """Whatever is sent, the answer is a JSON error with a sentence, never 500, and the journal stays as it was."""
    for url in NONSENSE_PATHS:
        status, body = get(path, url)
        assert 400 <= status < 500, (url, status)
        assert body["error"], url
    before = list(served.journal.records())
    for method, url in routes():
        for verb in VERBS if "/commands/" in url else ("",):
            for content in NONSENSE_BODIES if method == "POST" and url != "/v1/reload" else ():
                where = url.replace("commands/rotate", f"commands/{verb}")
                status, body = ask(Unix(path), method, where, content)
                assert status < 500, (where, content, status)
                assert status < 400 or body["error"], (where, content)
    untouched = {"foreign"}
    assert [r for r in before if r.name in untouched] == [r for r in served.journal.records() if r.name in untouched]


def test_wrong_methods_and_unknown_verbs_are_named(path: Path) -> None:
    """405 and 404, in JSON like everything else, the nearest verb included."""
    status, body = ask(Unix(path), "DELETE", "/v1/status")
    assert (status, body["code"]) == (405, "http")
    status, body = post(path, "/v1/credentials/dns/commands/rotat", {})
    assert (status, body["suggestions"][0]) == (404, "rotate")
    assert post(path, "/v1/installation/commands/rotate", {})[0] == 400
    assert post(path, "/v1/credentials/dns/commands/pause", {})[0] == 400


def test_a_body_larger_than_any_command_is_refused(path: Path) -> None:
    """413 before it is parsed."""
    status, body = post(path, "/v1/rotate", b" " * (BODY_BYTES + 1))
    assert (status, body["code"]) == (413, "too_large")


def test_what_is_not_http_harms_nobody(path: Path) -> None:
    """Garbage on the socket is answered or dropped, and the next request is served."""
    for garbage in (b"\x16\x03\x01\x00\xa5", b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n", b"GET /" + b"x" * 100_000):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(5)
            raw.connect(str(path))
            try:
                raw.sendall(garbage)
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65536):
                    pass
            except OSError:
                pass
    assert get(path, "/v1/status")[0] == 200


def test_a_bug_is_an_error_and_not_an_end(tmp_path: Path) -> None:
    """An exception that nobody foresaw is 500 without its text, which could hold anything, and the daemon goes on."""

    def fail() -> Any:
        raise ZeroDivisionError("hunter2")

    with listening(Served(strays=fail), tmp_path) as api:
        status, body = get(api.path, "/v1/strays")
        assert (status, "hunter2" in json.dumps(body)) == (500, False)
        assert get(api.path, "/healthz")[0] == 200
