"""A real Vault on a free loopback port: with an audit device, seal and unseal, and storage that can outlive a restart.

The small build knows no file storage: ``durable`` uses Raft in the temporary directory, which starts more slowly.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from tests.servers.component import die_with_parent, end, free_port
from tests.servers.go_program import GoProgram

VAULT = GoProgram(
    name="vault",
    version="1.21.0",
    package="github.com/hashicorp/vault",
    build_flags=("-tags", "minimal", "-trimpath", "-ldflags", "-s -w"),
    takes="about 9 minutes on two cores",
)
_READY_SECONDS = 30


class VaultServerError(Exception):
    """The server did not do what a test needs of it."""


@dataclass
class VaultServer:
    """One server of its own. ``call`` speaks to it as root; tests make their own mounts, policies and tokens."""

    binary: Path
    directory: Path
    durable: bool = False
    audit_accessors: bool = False  # written as they are, not as HMACs: who reads the audit file knows tokens by them
    port: int = 0
    root_token: str = ""
    unseal_key: str = ""
    process: subprocess.Popen[bytes] | None = None
    pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=10.0, maxsize=4))

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def audit_file(self) -> Path:
        return self.directory / "audit.log"

    def start(self) -> None:
        """Start it; the first time also initialise it and switch the audit device on. Unsealed when it returns."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for _ in range(3):  # the free port may be taken between our look and Vault's
            self.port = self.port or free_port()
            if self._launch():
                break
            self.port = 0
        else:
            raise VaultServerError(f"Vault did not start; see {self.directory / 'vault.log'}")
        if not self.root_token:
            made = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self.root_token, self.unseal_key = made["root_token"], made["keys"][0]
            self.unseal()
            options = {
                "file_path": str(self.audit_file),
                "mode": "0600",
                "hmac_accessor": str(not self.audit_accessors).lower(),
            }
            self.call("PUT", "sys/audit/file", {"type": "file", "options": options})
        else:
            self.unseal()

    def stop(self, *, kill: bool = False) -> None:
        """End it by its own id: asked, then forced. ``kill`` forces at once."""
        if self.process is not None:
            end(self.process, kill=kill)
            self.process = None

    def seal(self) -> None:
        """Seal it: everything but unsealing then answers 503."""
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseal it and wait until it serves."""
        self.call("PUT", "sys/unseal", {"key": self.unseal_key})
        self._until(lambda: self.request("GET", "sys/health")[0] == 200, "be active")

    def request(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """One request as root or with another token: the status and the JSON answer ({} where there is none)."""
        given = self.root_token if token is None else token
        headers = {"X-Vault-Token": given} if given else {}
        answer = self.pool.request(method, f"{self.address}/v1/{path}", json=body, headers=headers)
        return answer.status, (json.loads(answer.data) if answer.data.strip() else {})

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, *, token: str | None = None) -> dict[str, Any]:
        """Like :meth:`request`, for what must succeed."""
        status, answer = self.request(method, path, body, token=token)
        if status >= 300:
            raise VaultServerError(f"{method} {path}: {status} {answer.get('errors')}")
        return answer

    def until_upgraded(self, mount: str) -> None:
        """Wait until a fresh KV v2 mount is ready for use."""
        self._until(lambda: self.request("GET", f"{mount}/config")[0] == 200, f"make {mount} ready")

    def policy(self, name: str, rules: str) -> None:
        """Write an ACL policy."""
        self.call("PUT", f"sys/policies/acl/{name}", {"policy": rules})

    def token(self, *policies: str, **more: Any) -> str:
        """An orphan token with these policies (and the default one)."""
        made = self.call("POST", "auth/token/create-orphan", {"policies": list(policies), "ttl": "1h", **more})
        value: str = made["auth"]["client_token"]
        return value

    def audit(self) -> list[dict[str, Any]]:
        """Everything that the audit device has recorded so far; values in it are HMACs."""
        if not self.audit_file.exists():
            return []
        whole = self.audit_file.read_text().rpartition("\n")[0]  # the last line may still be being written
        return [json.loads(line) for line in whole.splitlines() if line]

    def _launch(self) -> bool:
        raft = self.directory / "raft"
        raft.mkdir(exist_ok=True)
        config = {
            "storage": {"raft": {"path": str(raft), "node_id": "one"}} if self.durable else {"inmem": {}},
            "listener": {
                "tcp": {
                    "address": f"127.0.0.1:{self.port}",
                    "cluster_address": f"127.0.0.1:{free_port()}",
                    "tls_disable": True,
                }
            },
            "api_addr": self.address,
            "cluster_addr": f"https://127.0.0.1:{free_port()}",
            "disable_mlock": True,
            "ui": False,
            "log_level": "warn",
        }
        file = self.directory / "vault.json"
        file.write_text(json.dumps(config))
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        with (self.directory / "vault.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binary), "server", f"-config={file}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"HOME": str(home), "PATH": os.environ.get("PATH", "")},  # no VAULT_* of this machine
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  (a short and plain system call)
            )
        try:
            self._until(lambda: self.request("GET", "sys/seal-status")[0] == 200, "answer")
        except VaultServerError:
            self.stop(kill=True)
            return False
        return True

    def _until(self, reached: Any, what: str) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        pause = threading.Event()
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                break
            try:
                if reached():
                    return
            except urllib3.exceptions.HTTPError:
                pass
            pause.wait(0.02)
        raise VaultServerError(f"Vault did not {what} within {_READY_SECONDS} s; see {self.directory / 'vault.log'}")
