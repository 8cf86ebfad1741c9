"""The demo's consumer: a web service that needs a token for every request it serves. Own process, no rotatord in it.

It reads its token from a dotenv file, at start and on SIGHUP, never otherwise, and never retries. It tells which version
it runs on, proves that it holds it, and tells which version it could not load. While the file named by ``--bug`` exists
its parser has a bug: the next version that it does not know yet cannot be loaded, now or ever; it goes on with the old one.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from rotatord.demo.web import Answer, Web, hear_signals, say, until_told

CREDENTIAL = "forecast"
TOKEN_KEY = "FORECAST_TOKEN"  # noqa: S105 - the name of a key
VERSION_KEY = "FORECAST_TOKEN_VERSION"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the service runs on. Exchanged as a whole, so that a request sees one or the other."""

    token: str
    label: str

    def prove(self, nonce: bytes) -> str:
        """The readers' contract: HMAC over the nonce, keyed with the secret's canonical form."""
        canonical = json.dumps({"token": self.token}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hmac.new(canonical.encode(), nonce, hashlib.sha256).hexdigest()


class Service:
    """Serves one page, made from a forecast."""

    def __init__(self, file: Path, forecasts: str, bug: Path) -> None:
        self._file = file
        self._forecasts = forecasts.removeprefix("http://")
        self._bug = bug
        self._connections = threading.local()
        self._lock = threading.Lock()
        self._loaded: Loaded | None = None
        self._unloadable: set[str] = set()
        self._refused = ""
        self.served = 0
        self.failed = 0

    def load(self) -> None:
        """Read the file anew. A version that cannot be loaded leaves the old one in force."""
        found = self._read()
        if found is None:
            return
        known = self._loaded is not None and self._loaded.label == found.label
        if self._bug.exists() and not known:
            self._bug.unlink()
            self._unloadable.add(found.label)
        if found.label in self._unloadable:
            self._refused = found.label
            running = self._loaded.label if self._loaded else "nothing"
            say(f"cannot load version {found.label} (a bug in my parser); I go on with {running}")
            return
        if not known:
            say(f"now running on version {found.label}")
        self._loaded, self._refused = found, ""

    def _read(self) -> Loaded | None:
        try:
            lines = self._file.read_text().splitlines()
        except FileNotFoundError:
            return None
        pairs = dict(line.removeprefix("export ").partition("=")[::2] for line in lines if "=" in line)
        values = {key.strip(): value.strip().strip("\"'") for key, value in pairs.items()}
        token, label = values.get(TOKEN_KEY), values.get(VERSION_KEY)
        return Loaded(token, label) if token and label else None

    def page(self, _authorization: str, _query: dict[str, str]) -> Answer:
        """One request: fetch a forecast with the token that is loaded now. No second try."""
        loaded = self._loaded
        status = self._fetch(loaded.token) if loaded is not None else 503
        with self._lock:
            self.served += status == 200
            self.failed += status != 200
        return (200, {"page": "sunny"}) if status == 200 else (502, {"error": f"the forecast answered {status}"})

    def _fetch(self, token: str) -> int:
        connection: http.client.HTTPConnection | None = getattr(self._connections, "forecasts", None)
        if connection is None:
            connection = self._connections.forecasts = http.client.HTTPConnection(self._forecasts, timeout=5)
        try:
            connection.request("GET", "/forecast", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return 599
        return answer.status

    def attest(self, _authorization: str, query: dict[str, str]) -> Answer:
        """GET /.well-known/rotatord."""
        loaded, entry = self._loaded, {"instance": f"consumer-{os.getpid()}"}
        if loaded is not None:
            entry["version"] = loaded.label
            if "nonce" in query:
                entry["proof"] = loaded.prove(bytes.fromhex(query["nonce"]))
        if self._refused:
            entry["refused"] = self._refused
        return 200, {CREDENTIAL: entry}

    def health(self, _authorization: str, _query: dict[str, str]) -> Answer:
        good = self._loaded is not None
        return (200 if good else 503), {"status": "ok" if good else "no token yet"}

    def stats(self, _authorization: str, _query: dict[str, str]) -> Answer:
        return 200, {"served": self.served, "failed": self.failed}


def main() -> int:
    """Serve until told to stop; the first line of output is the address."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--file", required=True, type=Path)
    parser.add_argument("--forecasts", required=True)
    parser.add_argument("--bug", required=True, type=Path)
    parser.add_argument("--pid-file", required=True, type=Path)
    chosen = parser.parse_args()
    service = Service(chosen.file, chosen.forecasts, chosen.bug)
    web = Web({"/": service.page, "/.well-known/rotatord": service.attest, "/healthz": service.health, "/stats": service.stats})
    hear_signals()
    web.begin()
    say(web.address)
    service.load()
    chosen.pid_file.write_text(f"{os.getpid()}\n")
    until_told(service.load)
    return 0


if __name__ == "__main__":
    sys.exit(main())
