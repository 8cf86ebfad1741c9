"""A real consumer for the contracts: loads a label on SIGHUP only, attests over HTTP, counts its loads.

Usage: sample_consumer.py VALUE_FILE STATE_DIRECTORY MODE, with MODE one of good, deaf (accepts reloads, goes on with what
it has) and refusing (says that it could not load what it found).
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    value, state, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    facts: dict[str, str | None] = {"version": value.read_text().strip(), "instance": "sample", "status": "ok"}

    def load(*_: object) -> None:
        with (state / "loads").open("a") as file:
            file.write("x")
        if mode == "good":
            facts["version"] = value.read_text().strip()
        elif mode == "refusing":
            facts["refused"] = value.read_text().strip()

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"contract": facts}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    signal.signal(signal.SIGHUP, load)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    (state / "pid").write_text(f"{os.getpid()}\n")
    (state / "port.new").write_text(str(server.server_address[1]))
    (state / "port.new").rename(state / "port")
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
