"""A strict AWS as a program of its own, with a book beside it that anybody may read: what it was asked, by whom, and how
that ended; which keys there are in truth; what secrets and parameters hold. Nothing of it is kept when it ends.

Told on standard input what there is from the beginning, it answers with one line: the keys that it made.
"""

from __future__ import annotations

import http.server
import json
import signal
import sys
import threading
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rotatord.testing.aws import Dropped, Fails, FakeAws, Hangs
from rotatord.testing.aws.client import REGION
from rotatord.testing.aws.parameter_things import Parameter
from rotatord.testing.aws.spread import Lags

Json = dict[str, Any]
LAGS = Lags(fresh_key=0.7, ended_key=0.7, rights=0.7, listing=0.7, wrong_words=0.2)
FAULTS = {"dropped": Dropped(), "fails": Fails(), "hangs": Hangs(3.0)}


class Book:
    """What the account knows, as JSON-like values."""

    def __init__(self, aws: FakeAws) -> None:
        self.aws = aws

    def pages(self, calls: int, refusals: int) -> Json:
        """Calls and refusals after those numbers, and how everything stands."""
        gateway, account = self.aws.gateway, self.aws.account
        with gateway.lock:
            gateway.land_due()
            secrets = account.things("secretsmanager", REGION).values()
            parameters = [each for each in account.things("ssm", REGION).values() if isinstance(each, Parameter)]
            return {
                "at": _moment(account.now()),
                "calls": [_call(each) for each in gateway.calls[calls:]],
                "refusals": [_refusal(each) for each in gateway.refusals[refusals:]],
                "keys": {name: {row.id: row.status for row in user.holding.keys} for name, user in account.users.items()},
                "sessions": {key: _moment(session.expires) for key, session in account.sessions.items()},
                "secrets": {each.name: _secret(each) for each in secrets if each.purged is None},
                "parameters": {each.name: {"text": each.newest.value, "writes": each.newest.number} for each in parameters},
            }


def _moment(when: datetime) -> str:
    return when.isoformat()


def _call(call: Any) -> list[str]:
    return [_moment(call.at), call.operation, call.key, call.caller, call.resource, call.outcome]


def _refusal(refusal: Any) -> list[str]:
    return [_moment(refusal.at), refusal.operation, refusal.key, refusal.why, refusal.code]


def _secret(secret: Any) -> Json:
    stages = {label: secret.versions[version].text for label, version in secret.stages.items() if version in secret.versions}
    return {"stages": stages, "versions": len(secret.versions), "deleted": secret.deleted is not None}


def _serve(book: Book) -> http.server.ThreadingHTTPServer:
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            self._say(book.pages(int(asked["calls"][0]), int(asked["refusals"][0])))

        def do_POST(self) -> None:
            wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            book.aws.faults.plan(wanted["operation"], FAULTS[wanted["fault"]])
            self._say({})

        def _say(self, told: Json) -> None:
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return server


def main() -> None:
    wanted = json.loads(sys.stdin.readline())
    aws = FakeAws(seed=wanted["seed"], port=wanted["port"], lags=LAGS)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with aws:
        for name, policy in wanted["users"].items():
            aws.user(name, json.dumps(policy) if policy else None)
        for name, role in wanted["roles"].items():
            aws.role(name, json.dumps(role["trust"]), json.dumps(role["policy"]))
        keys = {name: [key.id, key.secret] for name in wanted["keys"] for key in [aws.key(name)]}
        server = _serve(Book(aws))
        print(json.dumps({"url": aws.url, "book": f"http://127.0.0.1:{server.server_address[1]}", "keys": keys}), flush=True)
        ended.wait()
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
