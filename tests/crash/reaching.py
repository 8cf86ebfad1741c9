"""The servers' own APIs, as applications and an observer reach them: plain requests, nothing shared with rotatord."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import urllib3

Json = dict[str, Any]
Document = dict[str, str]
REGION = "eu-west-1"
# What AWS says of credentials that it does not take: of a key that was ended, a wrong or an expired session.
AWS_REFUSES = frozenset({"InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken", "UnrecognizedClientException"})


@dataclass(frozen=True)
class Reached:
    """How a use of a credential went: ``ok``, ``refused`` or ``unavailable``."""

    how: str
    why: str = ""


class Http:
    """One server that speaks JSON over HTTP. Safe to use from several threads; nothing is tried twice."""

    def __init__(self, address: str, **options: Any) -> None:
        self.address = address
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=2, read=5), maxsize=12, **options)

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Json]:
        """Status and JSON answer ({} where there is none). urllib3's errors pass."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = None if body is None else json.dumps(body).encode()
        if sent is not None:
            given.setdefault("Content-Type", "application/json")
        answer = self._pool.request(method, f"{self.address}{path}", body=sent, headers=given, redirect=False)
        try:
            said = json.loads(answer.data) if answer.data.strip() else {}
        except ValueError:
            said = {"text": answer.data.decode(errors="replace")}
        return answer.status, said

    def must(self, method: str, path: str, body: Any = None, **headers: str) -> Json:
        """What has to succeed."""
        status, said = self.request(method, path, body, **headers)
        if status >= 300:
            raise OSError(f"{method} {path}: {status} {json.dumps(said)[:300]}")
        return said


class Vault:
    """Vault, with a token of our own for reading."""

    def __init__(self, address: str, token: str) -> None:
        self.http = Http(address)
        self.token = token

    def get(self, path: str) -> tuple[int, Json]:
        return self.http.request("GET", f"/v1/{path}", X_Vault_Token=self.token)

    def write(self, path: str, body: Json) -> tuple[int, Json]:
        return self.http.request("POST", f"/v1/{path}", body, X_Vault_Token=self.token)

    def list(self, path: str) -> list[str]:
        """Keys below a path; none where there are none."""
        status, said = self.http.request("LIST", f"/v1/{path}", X_Vault_Token=self.token)
        if status == 404:
            return []
        if status != 200:
            raise OSError(f"LIST {path}: {status} {said}")
        keys: list[str] = said["data"]["keys"]
        return keys

    def document(self, path: str) -> Document:
        """A KV document; {} where there is none."""
        status, said = self.get(f"secret/data/{path}")
        if status not in {200, 404}:
            raise OSError(f"{path}: {status} {said.get('errors')}")
        found: Document = (said["data"]["data"] or {}) if status == 200 else {}
        return found

    def ask(self, path: str, token: str) -> Reached:
        """One request with a token under test."""
        status, said = self.http.request("GET", f"/v1/{path}", X_Vault_Token=token)
        return _reached(status, {403}, str(said.get("errors")))

    def log_in(self, role_id: str, secret_id: str) -> Reached:
        """One login with an AppRole's secret-id."""
        status, said = self.http.request("POST", "/v1/auth/approle/login", {"role_id": role_id, "secret_id": secret_id})
        return _reached(status, {400, 401, 403}, str(said.get("errors")))


class Kubernetes:
    """An API server, with a client certificate for reading."""

    def __init__(self, address: str, authority: str, certificate: str, key: str) -> None:
        self.http = Http(address, ca_certs=authority, cert_file=certificate, key_file=key)
        self._bare = Http(address, ca_certs=authority)

    def get(self, path: str, **query: str) -> tuple[int, Json]:
        return self.http.request("GET", path + (f"?{urlencode(query)}" if query else ""))

    def patch(self, path: str, body: Json) -> tuple[int, Json]:
        return self.http.request("PATCH", path, body, Content_Type="application/merge-patch+json")

    def document(self, where: str) -> Document:
        """A Secret, ``namespace/name``; {} where there is none."""
        namespace, _, name = where.partition("/")
        status, said = self.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
        if status not in {200, 404}:
            raise OSError(f"secret {where}: {status}")
        return {key: base64.b64decode(value).decode() for key, value in (said.get("data") or {}).items()}

    def ask(self, name: str, token: str) -> Reached:
        """One request with a token under test."""
        path = f"/api/v1/namespaces/crash/configmaps/{name}"
        status, said = self._bare.request("GET", path, Authorization=f"Bearer {token}")
        return _reached(status, {401}, str(said.get("message")))


class Aws:
    """AWS, with a key of our own for reading."""

    def __init__(self, url: str, key: list[str]) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}
        self._session: Any = None
        self._key = key

    def secret(self, name: str) -> Document:
        """What a secret holds; {} where there is none."""
        client = self.client("secretsmanager", *self._key)
        try:
            text = client.get_secret_value(SecretId=name)["SecretString"]
        except client.exceptions.ResourceNotFoundException:
            return {}
        return {key: value for key, value in json.loads(text).items() if isinstance(value, str)}

    def ask(self, held: Document) -> Reached:
        """One request with a key or a session under test: one that rotatord never makes with it."""
        from botocore.exceptions import ClientError

        client = self.client("iam", held["KEY_ID"], held["KEY"], held.get("SESSION"))
        try:
            client.get_user(UserName="bystander")
        except ClientError as error:
            code = error.response["Error"]["Code"]
            return Reached("refused" if code in AWS_REFUSES else "unavailable", code)
        return Reached("ok")

    def client(self, service: str, id: str, secret: str, token: str | None = None) -> Any:
        """The last client of each service is kept while its key stays the same."""
        from boto3.session import Session
        from botocore.config import Config

        with self._lock:
            if (service, id) not in self._clients:
                self._session = self._session or Session()
                limits = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
                if len(self._clients) > 8:
                    self._clients.pop(next(iter(self._clients)))
                self._clients[service, id] = self._session.client(
                    service,
                    region_name=REGION,
                    endpoint_url=self.url,
                    aws_access_key_id=id,
                    aws_secret_access_key=secret,
                    aws_session_token=token,
                    config=limits,
                )
            return self._clients[service, id]


def _reached(status: int, refusing: set[int], why: str) -> Reached:
    if status < 300:
        return Reached("ok")
    return Reached("refused" if status in refusing else "unavailable", f"{status} {why}")
