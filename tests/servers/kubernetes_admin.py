"""A tiny client of the Kubernetes API for tests: JSON in, status and JSON out. It shares nothing with the product's."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from tests.servers.certificates import Pair

Json = dict[str, Any]
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class AdminError(Exception):
    """The cluster did not do what a test needs of it."""


class Admin:
    """Speaks as one user, by client certificate or token. Safe to use from several threads."""

    def __init__(self, address: str, authority: Path, pair: Pair | None = None, token: str = "") -> None:
        self.address = address
        self._pool = urllib3.PoolManager(
            ca_certs=str(authority),
            cert_file=str(pair.certificate) if pair else None,
            key_file=str(pair.key) if pair else None,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            retries=False,
            timeout=urllib3.Timeout(connect=3, read=20),
            maxsize=8,
        )

    def get(self, path: str, **query: str) -> tuple[int, Json]:
        """Read."""
        return self.request("GET", path, query=query)

    def post(self, path: str, body: Json, content_type: str = "application/json") -> tuple[int, Json]:
        """Create."""
        return self.request("POST", path, body, content_type)

    def put(self, path: str, body: Json, content_type: str = "application/json") -> tuple[int, Json]:
        """Replace."""
        return self.request("PUT", path, body, content_type)

    def patch(self, path: str, body: Json | list[Json], content_type: str = MERGE, **query: str) -> tuple[int, Json]:
        """Patch; a merge patch unless another content type is given."""
        return self.request("PATCH", path, body, content_type, query)

    def delete(self, path: str, body: Json | None = None, **query: str) -> tuple[int, Json]:
        """Delete."""
        return self.request("DELETE", path, body, query=query)

    def request(
        self,
        method: str,
        path: str,
        body: Json | list[Json] | None = None,
        content_type: str = "application/json",
        query: dict[str, str] | None = None,
    ) -> tuple[int, Json]:
        """One request: the status and the JSON answer ({"text": …} where it is none). urllib3's errors pass."""
        url = f"{self.address}{path}{'?' + urlencode(query) if query else ''}"
        sent = None if body is None else json.dumps(body).encode()
        headers = {**self._pool.headers, "Accept": "application/json"} | ({"Content-Type": content_type} if sent else {})
        answer = self._pool.request(method, url, body=sent, headers=headers)
        try:
            said = json.loads(answer.data) if answer.data.strip() else {}
        except ValueError:
            said = answer.data.decode(errors="replace")
        return answer.status, said if isinstance(said, dict) else {"text": said}

    def must(
        self, method: str, path: str, body: Json | list[Json] | None = None, content_type: str = "application/json"
    ) -> Json:
        """Like :meth:`request`, for what has to succeed."""
        status, answer = self.request(method, path, body, content_type)
        if status >= 300:
            raise AdminError(f"{method} {path}: {status} {answer.get('message', answer)}")
        return answer

    def until(self, path: str, reached: Callable[[Json], Any], what: str, seconds: float = 30) -> Json:
        """Read again and again until it is as wanted; {} is asked about where there is nothing."""
        status = 0
        seen: Json = {}
        deadline = time.monotonic() + seconds
        pause = threading.Event()
        while time.monotonic() < deadline:
            try:
                status, seen = self.get(path)
                if status < 500 and reached(seen if status < 300 else {}):
                    return seen
            except urllib3.exceptions.HTTPError as error:  # it may be on its way
                status, seen = 0, {"message": str(error)}
            pause.wait(0.02)
        told = json.dumps(seen.get("status", seen))[:2000]
        raise AdminError(f"{what}: not within {seconds:.0f} s; {path} last answered {status}: {told}")

    def close(self) -> None:
        """Give the connections back."""
        self._pool.clear()
