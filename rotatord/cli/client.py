"""A small client of the API, over the Unix socket or, when told so, over TCP. Standard library only: it must start fast."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from rotatord.cli.ending import Ending, Exit, unknown_name

JsonMap = dict[str, Any]

DEFAULT_STATE_DIR = "/var/lib/rotatord"
DEFAULT_CONFIG = "/etc/rotatord/rotatord.yaml"
LOCAL_CONFIG = "rotatord.yaml"
_STATE_DIR = re.compile(r"^state_dir:\s+[\"']?([^\"'#\n]+?)[\"']?\s*(?:#.*)?$", re.MULTILINE)
# Preflight and bulk requests look at live systems; reading never takes that long.
ANSWER_SECONDS = 120.0
_BODY_BYTES = 64 * 1024 * 1024


class NoDaemonError(Exception):
    """Nobody answers at the address."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the daemon is looked for. ``api`` and ``token_file``: over TCP instead of the socket."""

    state_dir: str = DEFAULT_STATE_DIR
    socket: str = ""
    api: str = ""
    token_file: str = ""
    config: str = DEFAULT_CONFIG

    @property
    def path(self) -> str:
        return self.socket or str(Path(self.state_dir) / "rotatord.sock")


def default_config() -> str:
    """The configuration of this directory, or else of the machine."""
    return LOCAL_CONFIG if Path(LOCAL_CONFIG).exists() else DEFAULT_CONFIG


def configured_state_dir(config: str) -> str:
    """The state directory that a configuration names, found without reading YAML: commands must not pay for that."""
    path = Path(config)
    try:
        for file in sorted(path.glob("*.y*ml")) if path.is_dir() else [path]:
            found = _STATE_DIR.search(file.read_text())
            if found:
                return str(file.parent / found[1])
    except (OSError, UnicodeDecodeError):
        pass  # not ours to read: `validate` says what is wrong with it, and --state-dir says where to look
    return DEFAULT_STATE_DIR


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except BaseException:
            self.sock.close()
            raise


class Client:
    """One exchange per call. Refusals and nonsense end the command with the daemon's own sentence."""

    def __init__(self, place: Place, timeout: float = ANSWER_SECONDS) -> None:
        self._place = place
        self._timeout = timeout

    def get(self, path: str, **query: Any) -> JsonMap:
        """Raises NoDaemonError; anything but success is an Ending."""
        given = {key: value for key, value in query.items() if value is not None}
        return self._exchange("GET", path + (f"?{urlencode(given, doseq=True)}" if given else ""), None)

    def post(self, path: str, body: JsonMap) -> JsonMap:
        """Raises NoDaemonError; anything but success is an Ending."""
        return self._exchange("POST", path, body)

    def pages(self, path: str) -> Iterator[JsonMap]:
        """Every page of a listing."""
        after: str | None = ""
        while after is not None:
            page = self.get(path, after=after)
            yield page
            after = page.get("next")

    def _exchange(self, method: str, path: str, body: JsonMap | None) -> JsonMap:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._place.api:
            headers["Authorization"] = f"Bearer {self._token()}"
        connection = self._connection()
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return _understood(answer.status, answer.read(_BODY_BYTES))
        except TimeoutError:
            raise Ending(Exit.INCOMPLETE, f"the daemon did not answer within {self._timeout:g} seconds") from None
        except PermissionError:
            raise Ending(Exit.USAGE, f"you may not use {self._place.path}: its mode and owner say who may") from None
        except (OSError, http.client.HTTPException) as error:
            raise NoDaemonError(f"no daemon answers at {self._place.api or self._place.path} ({_reason(error)})") from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self._place.api:
            return _UnixConnection(self._place.path, self._timeout)
        url = urlsplit(self._place.api)
        if url.scheme == "https":
            return http.client.HTTPSConnection(url.hostname or "", url.port, timeout=self._timeout)
        if url.scheme != "http" or not url.hostname:
            raise Ending(Exit.USAGE, f"--api is an address such as https://rotatord.example:8443, not {self._place.api!r}")
        if url.hostname not in {"127.0.0.1", "::1", "localhost"}:
            raise Ending(Exit.USAGE, f"{self._place.api} is not encrypted: a token is sent over https, or over loopback")
        return http.client.HTTPConnection(url.hostname, url.port, timeout=self._timeout)

    def _token(self) -> str:
        if not self._place.token_file:
            raise Ending(Exit.USAGE, "--api needs a token: name its file with --token-file or ROTATORD_TOKEN_FILE")
        try:
            return Path(self._place.token_file).read_text().strip()
        except OSError as error:
            raise Ending(Exit.USAGE, f"cannot read {self._place.token_file}: {_reason(error)}") from None


def credential_path(name: str) -> str:
    """The path of a credential in the API; a name may hold slashes."""
    return f"/v1/credentials/{quote(name, safe='/')}"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__


def _understood(status: int, content: bytes) -> JsonMap:
    try:
        body = json.loads(content)
        assert isinstance(body, dict)
    except (ValueError, AssertionError):
        raise Ending(Exit.INCOMPLETE, f"the daemon answered {status} with something that is not JSON") from None
    if status < 400:
        return body
    message = str(body.get("error") or "; ".join(body.get("problems", [])) or f"the daemon answered {status}")
    if status == 404 and "suggestions" in body:
        raise unknown_name(message, body["suggestions"])
    if status == 409:
        raise Ending(Exit.FINDINGS, message)
    if status == 422:
        raise Ending(Exit.USAGE, *map(str, body.get("problems", [message])))
    raise Ending(Exit.INCOMPLETE if status >= 500 else Exit.USAGE, message)
