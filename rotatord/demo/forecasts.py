"""What the demo's token opens: a weather service that asks the issuer about every token it is shown. Own process.

It knows nothing of rotations: a token that the issuer calls inactive is refused, at once and without mercy.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import threading
import urllib.parse
from pathlib import Path

from rotatord.demo.web import Answer, Web, hear_signals, say, until_told
from rotatord.model import JsonMap

PERMISSION = "forecast:read"


class Forecasts:
    """Answers whoever shows an active token with the right permission; counts both kinds of answer."""

    def __init__(self, issuer: str, caller_secret: Path) -> None:
        self._issuer = issuer.removeprefix("http://")
        self._caller_secret = caller_secret
        self._connections = threading.local()
        self._lock = threading.Lock()
        self.granted = 0
        self.refused = 0

    def forecast(self, authorization: str, _query: dict[str, str]) -> Answer:
        told = self._introspect(authorization.removeprefix("Bearer "))
        good = told.get("active") is True and PERMISSION in str(told.get("scope", "")).split()
        with self._lock:
            self.granted += good
            self.refused += not good
        return (200, {"forecast": "sunny"}) if good else (401, {"error": "this token is not active"})

    def stats(self, _authorization: str, _query: dict[str, str]) -> Answer:
        return 200, {"granted": self.granted, "refused": self.refused}

    def _introspect(self, token: str) -> JsonMap:
        connection: http.client.HTTPConnection | None = getattr(self._connections, "issuer", None)
        if connection is None:
            connection = self._connections.issuer = http.client.HTTPConnection(self._issuer, timeout=5)
        headers = {
            "Authorization": f"Bearer {self._caller_secret.read_text().strip()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        try:
            connection.request("POST", "/introspect", urllib.parse.urlencode({"token": token}), headers)
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            return {}
        return answer if isinstance(answer, dict) else {}


def main() -> int:
    """Serve until told to stop; the first line of output is the address."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--issuer", required=True)
    parser.add_argument("--caller-secret", required=True, type=Path)
    chosen = parser.parse_args()
    service = Forecasts(chosen.issuer, chosen.caller_secret)
    web = Web({"/forecast": service.forecast, "/stats": service.stats})
    hear_signals()
    web.begin()
    say(web.address)
    until_told()
    return 0


if __name__ == "__main__":
    sys.exit(main())
