"""For programs that use secrets: read a file anew whenever it changes, and say which version runs.

Needs nothing but the standard library (YAML files need ruamel.yaml). ``docs/consumers.md`` is the contract behind it.

    secrets = Watched("/run/app/db.env", version_key="ROTATORD_VERSION")
    connect(password=secrets()["DB_PASSWORD"])           # at every use: never kept elsewhere
    serve({"db": lambda: Running(version=secrets.version)}, port=9090)
"""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rotatord.formats import FORMATS, format_of, parse

WELL_KNOWN = "/.well-known/rotatord"
MAX_BYTES = 1 << 20
_MAX_NONCE_HEX = 256


class Unreadable(Exception):
    """There is no document to read yet. Says why, without any of its content."""


class Watched:
    """A file of secrets. Calling it gives the document as it is now, whole: never half of one version and half of another.

    While the file is missing or cannot be read the last good document stays in force, and :attr:`trouble` says why.
    Thread-safe. ``format``: dotenv, json, yaml or raw (a document with the one key ``""``); default from the name.
    """

    def __init__(self, path: str | Path, format: str | None = None, *, version_key: str | None = None) -> None:
        self.path = Path(path)
        self.trouble: str | None = None
        form = format or format_of(str(path))
        if form not in FORMATS or form == "template":
            raise ValueError(f"{path}: say the format: dotenv, json, yaml or raw")
        self._form: str = form
        self._version_key = version_key
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._document: dict[str, str] | None = None

    def __call__(self) -> dict[str, str]:
        """The document. Raises Unreadable only while there has never been a good one."""
        with self._lock:
            self._refresh()
            if self._document is None:
                raise Unreadable(self.trouble or f"{self.path}: cannot be read")
            return dict(self._document)

    def __repr__(self) -> str:
        return f"Watched({str(self.path)!r})"

    @property
    def version(self) -> str | None:
        """The label beside the values, where the destination has a ``version_key``; None where it has not."""
        try:
            return self().get(self._version_key or "") if self._version_key else None
        except Unreadable:
            return None

    def _refresh(self) -> None:
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                seen = (found.st_ino, found.st_mtime_ns, found.st_size)
                if seen == self._seen and self._document is not None and self.trouble is None:
                    return
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            self.trouble = f"{self.path}: {error.strerror}"
            return
        document = parse(self._form, content) if len(content) <= MAX_BYTES else None
        if not document:
            self.trouble = f"{self.path}: is not a {self._form} document"
            return
        self._seen, self._document, self.trouble = seen, document, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What an instance says of one credential. ``fields``, by the issuer's names for them, only to prove possession."""

    version: str | None = None
    refused: str | None = None  # the label that could not be loaded, where there is one
    instance: str | None = None
    status: str | None = None  # "ok", or what is wrong
    fields: Mapping[str, str] | None = field(default=None, repr=False)


Versions = Mapping[str, "str | Running | Callable[[], str | Running | None] | None"]


def proof(fields: Mapping[str, str], nonce: bytes) -> str:
    """Hex HMAC-SHA256 over the nonce, keyed with the secret: shows that we hold it without showing it."""
    canonical = json.dumps(dict(fields), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return hmac.new(canonical, nonce, hashlib.sha256).hexdigest()


def answer(versions: Versions, query: str = "") -> bytes:
    """The JSON body of ``GET /.well-known/rotatord`` for this query string."""
    given = parse_qs(query).get("nonce", [""])[0]
    try:
        nonce = bytes.fromhex(given) if len(given) <= _MAX_NONCE_HEX else b""
    except ValueError:
        nonce = b""
    said: dict[str, Any] = {}
    for credential, source in versions.items():
        running = source() if callable(source) else source
        said[credential] = _said(running, nonce) if isinstance(running, Running) else running
    return json.dumps(said).encode()


def well_known(versions: Versions) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """A WSGI application that answers the well-known path and nothing else; mount it beside your own."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != WELL_KNOWN or environ.get("REQUEST_METHOD") not in {"GET", "HEAD"}:
            start_response("404 Not Found", [("Content-Length", "0")])
            return [b""]
        body = answer(versions, environ.get("QUERY_STRING", ""))
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        start_response("200 OK", headers)
        return [body] if environ["REQUEST_METHOD"] == "GET" else [b""]

    return application


def serve(versions: Versions, host: str = "127.0.0.1", port: int = 0) -> http.server.ThreadingHTTPServer:
    """Answer the well-known path from a thread of its own, for programs that are no web server themselves.

    ``server_address`` tells the port; ``shutdown()`` and ``server_close()`` end it. Raises OSError if the port is taken.
    """

    class Answers(http.server.BaseHTTPRequestHandler):
        timeout = 10  # seconds for a request to arrive

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            known = parts.path == WELL_KNOWN
            body = answer(versions, parts.query) if known else b""
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: the program's own log is the program's."""

    server = http.server.ThreadingHTTPServer((host, port), Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="well-known", daemon=True).start()
    return server


def _said(running: Running, nonce: bytes) -> dict[str, str]:
    facts = {
        "version": running.version,
        "refused": running.refused,
        "instance": running.instance,
        "status": running.status,
        "proof": proof(running.fields, nonce) if nonce and running.fields else None,
    }
    return {name: value for name, value in facts.items() if value is not None}
