"""Applications that use what is published, all the time, each in a thread of its own, and never try anything twice.

One program, apart from rotatord: what it does with its credentials the servers record, and they are asked afterwards. It
reads each credential anew every moment by rights of its own, attests what it runs on, and counts how it fared:
``ok``, ``refused`` (the server says that the credential is no good) or ``unavailable`` (anything else).
"""

from __future__ import annotations

import http.server
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.crash.pods import Pods
from tests.crash.reaching import Aws, Kubernetes, Reached, Vault

Json = dict[str, Any]
Document = dict[str, str]
READS_EVERY = 0.4


@dataclass
class Application:
    """One credential in use."""

    name: str
    read: Callable[[], Document]
    use: Callable[[Document], Reached]
    rate: float
    stale_after: float = 0.0  # what is older than this is not used any more; 0: it attests instead, and uses what it has
    running: Document = field(default_factory=dict)  # replaced as a whole
    counts: dict[str, int] = field(default_factory=lambda: {"ok": 0, "refused": 0, "unavailable": 0, "unread": 0})
    said: list[str] = field(default_factory=list)
    _read_at: float = -1e9

    def run(self, stopping: threading.Event) -> None:
        while not stopping.wait(1.0 / self.rate):
            if time.monotonic() - self._read_at > READS_EVERY:
                self._refresh()
            if self.running and not (self.stale_after and time.monotonic() - self._read_at > self.stale_after):
                self._use()

    def _refresh(self) -> None:
        began = time.monotonic()
        try:
            found = self.read()
        except Exception as error:  # noqa: BLE001 - it goes on with what it has
            self.counts["unread"] += 1
            self._note(f"not read: {type(error).__name__}: {error}")
            return
        self._read_at = began
        if found:
            self.running = found

    def _use(self) -> None:
        try:
            reached, why = self.use(self.running), ""
        except Exception as error:  # noqa: BLE001 - no answer is no refusal
            reached, why = Reached("unavailable", type(error).__name__), str(error)
        self.counts[reached.how] += 1
        if reached.how == "refused":
            self._note(f"refused: {reached.why} {why} on {self.running.get('VERSION')}")

    def _note(self, what: str) -> None:
        if len(self.said) < 200:
            self.said.append(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {what[:300]}")


def attesting(applications: list[Application]) -> http.server.ThreadingHTTPServer:
    """``GET /.well-known/rotatord``: which version each of them runs on."""

    class Answers(http.server.BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            said = {each.name: {"version": each.running.get("VERSION"), "instance": each.name} for each in applications}
            body = json.dumps({name: entry for name, entry in said.items() if entry["version"]}).encode()
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


def application(about: Json, vault: Vault, kubernetes: Kubernetes, aws: Aws) -> Application:
    """As the scene describes it: where it reads, and what it does with what it finds."""
    name, where = about["name"], about["where"]
    reads: dict[str, Callable[[], Document]] = {
        "kv": lambda: vault.document(where),
        "secret": lambda: kubernetes.document(where),
        "secretsmanager": lambda: aws.secret(where),
        "file": lambda: dotenv(Path(where)),
    }
    uses: dict[str, Callable[[Document], Reached]] = {
        "vault_token": lambda held: vault.ask(f"secret/data/crash/traffic-{name}", held["TOKEN"]),
        "vault_approle": lambda held: vault.log_in(held["ROLE_ID"], held["SECRET_ID"]),
        "kubernetes_token": lambda held: kubernetes.ask(f"uses-{name}", held["TOKEN"]),
        "aws_iam_user": aws.ask,
        "aws_sts": aws.ask,
    }
    return Application(name, reads[about["reads"]], uses[about["issuer"]], about["rate"], about.get("stale_after", 0.0))


def dotenv(file: Path) -> Document:
    """KEY=VALUE lines, quotes taken off; {} where there is no file yet."""
    if not file.exists():
        return {}
    lines = [line.partition("=") for line in file.read_text().splitlines() if "=" in line]
    return {key.strip(): value.strip().strip("'\"") for key, _, value in lines}


def main() -> int:
    told = json.loads(sys.stdin.readline())
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    vault, kubernetes, aws = Vault(**told["vault"]), Kubernetes(**told["kubernetes"]), Aws(**told["aws"])
    applications = [application(each, vault, kubernetes, aws) for each in told["applications"]]
    pods = Pods(kubernetes, told["namespace"], {name: f"secret/data/crash/traffic-{name}-pod" for name in told["pods"]}, vault)
    server = attesting(applications)
    threads = [threading.Thread(target=each.run, args=(stopping,), daemon=True) for each in (*applications, pods)]
    for thread in threads:
        thread.start()
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    stopping.wait()
    for thread in threads:
        thread.join(15)
    server.shutdown()
    server.server_close()
    counts = {each.name: {"counts": each.counts, "said": each.said} for each in (*applications, pods)}
    Path(told["counts"]).write_text(json.dumps(counts, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
