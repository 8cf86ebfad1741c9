"""Where it happens: the real servers, what is in them that is not rotatord's, its identities with the least rights, and its
configuration. Everything lies in one directory and ends by its own id.

Two installations: replicas that share a PostgreSQL, and one daemon with a journal of its own on a small disk.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.configured import ACCOUNT, HEAD, NAMESPACE, QUICK, REGION, SINGLE, TOKENS, USERS, credentials
from tests.crash.pods import FINALIZER
from tests.crash.reaching import Vault
from tests.crash.small_disk import SmallDisk
from tests.crash.vault_seen import ask_for_plain
from tests.integration.running import ROTATORD
from tests.integration.stalling_proxy import StallingProxy
from tests.servers.component import die_with_parent, free_port
from tests.servers.fixtures import need, prepare
from tests.servers.kubernetes import ControlPlane
from tests.servers.kubernetes_fixtures import control_plane_binaries
from tests.servers.kwok_stages import UNREADY
from tests.servers.postgresql import POSTGRESQL, Database, PostgresServer
from tests.servers.vault import VAULT, VaultServer
from tests.servers.workloads import PATHS, workload

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
BYSTANDER = {"KEEP": "as it is"}


@dataclass
class Scene:
    """See the module. ``start`` brings everything up but the daemons."""

    directory: Path
    seed: int
    age: float
    stack: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.credentials = credentials(self.directory)
        self.vault = VaultServer(need(VAULT), self.directory / "vault", durable=True, audit_accessors=True)
        self.stack.callback(self.vault.stop)
        self.vault.start()
        self.plane = ControlPlane(control_plane_binaries(), self.directory / "control-plane")
        self.stack.callback(self.plane.stop)
        self.plane.start()
        self.postgresql = PostgresServer(need(POSTGRESQL), durable=True)
        self.stack.callback(self.postgresql.remove)
        self.postgresql.start()
        self.database: Database = self.stack.enter_context(self.postgresql.database())
        self.disk = SmallDisk()
        self.stack.callback(self.disk.remove)
        self.disk.make()
        self._fill_vault()
        self._fill_cluster()
        self._paths()
        self._start_aws()
        self._start_consumers()
        self._grant()

    def stop(self) -> None:
        self.stack.close()

    # --- what is there beside rotatord ---

    def _fill_vault(self) -> None:
        vault = self.vault
        prepare(vault)
        ask_for_plain(Vault(vault.address, vault.root_token))
        for name in TOKENS:
            vault.policy(name, f'path "secret/data/crash/traffic-{name}*" {{ capabilities = ["read"] }}')
            role = {"allowed_policies": [name], "orphan": True, "renewable": True, "token_type": "service"}
            vault.call("POST", f"auth/token/roles/{name}", role)
            for path in (f"traffic-{name}", f"traffic-{name}-pod"):
                vault.call("POST", f"secret/data/crash/{path}", {"data": {"for": name}})
        vault.policy("app", 'path "secret/data/crash/traffic-app" { capabilities = ["read"] }')
        vault.call("POST", "auth/approle/role/app", {"token_policies": ["app"], "token_type": "batch", "token_ttl": "60s"})
        # Somebody else's: one of each that looks as if it could be ours, but for the label.
        self.foreign_tokens = [
            vault.call("POST", "auth/token/create-orphan", {"policies": [name], "ttl": "24h"})["auth"]["accessor"]
            for name in TOKENS
        ]
        secret_id = vault.call("POST", "auth/approle/role/app/secret-id", {"metadata": '{"team": "others"}'})
        self.foreign_secret_id = secret_id["data"]["secret_id_accessor"]
        vault.call("POST", "secret/data/crash/bystander", {"data": BYSTANDER})

    def _fill_cluster(self) -> None:
        self.plane.namespace(NAMESPACE)
        admin = self.plane.admin
        base = f"/api/v1/namespaces/{NAMESPACE}"
        for name in ("sa-a", "rotatord"):
            admin.must("POST", f"{base}/serviceaccounts", {"metadata": {"name": name}})
        self.plane.grant(NAMESPACE, "sa-a", [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}])
        admin.must("POST", f"{base}/configmaps", {"metadata": {"name": "uses-sa-a"}, "data": {}})
        admin.must("POST", f"{base}/secrets", {"metadata": {"name": "bystander"}, "stringData": BYSTANDER})
        # Two of the keys in it are rotatord's, this one is not.
        admin.must("POST", f"{base}/secrets", {"metadata": {"name": "tok-a"}, "stringData": BYSTANDER})
        for credential in self.credentials:
            if credential.deployed:
                body = workload("deployment", credential.name, secret=credential.name, annotations={UNREADY: ""})
                body["spec"]["template"]["metadata"]["finalizers"] = [FINALIZER]
                admin.must("POST", PATHS["deployment"].format(NAMESPACE), body)

    def _start_aws(self) -> None:
        """The account, with rotatord's identity in it under exactly the rights that it asks for."""
        rights = self._rights("fleet", "iam")
        read = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "secretsmanager:Get*", "Resource": "*"}]}
        use = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:GetUser", "Resource": "*"}]}
        trust = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}],
        }
        wanted = {
            "seed": self.seed,
            "port": self.aws_port,
            "users": {"rotatord": json.loads(rights), "reader": read, "bystander": None, **dict.fromkeys(USERS, use)},
            "roles": {"app": {"trust": trust, "policy": use}},
            "keys": ["rotatord", "reader", "bystander"],
        }
        told = self._program("tests.crash.aws_account", wanted)
        self.aws_book, self.aws_reader = told["book"], told["keys"]["reader"]
        self.foreign_key = told["keys"]["bystander"][0]
        for file, value in zip(self.aws_files, told["keys"]["rotatord"], strict=True):
            file.write_text(value)

    def _start_consumers(self) -> None:
        server = self.plane.pairs["admin"]
        reaches = {
            "vault": {"address": self.vault.address, "token": self.vault.root_token},
            "kubernetes": {
                "address": self.plane.address,
                "authority": str(self.plane.authority.file),
                "certificate": str(server.certificate),
                "key": str(server.key),
            },
            "aws": {"url": f"http://127.0.0.1:{self.aws_port}", "key": self.aws_reader},
        }
        keys = ("name", "issuer", "reads", "where", "rate", "stale_after")
        applications = [{key: getattr(each, key) for key in keys} for each in self.credentials]
        pods = [each.name for each in self.credentials if each.deployed]
        self.counts = self.directory / "counts.json"
        told = {**reaches, "namespace": NAMESPACE, "applications": applications, "pods": pods, "counts": str(self.counts)}
        self.reaches = reaches
        self.attest_port = self._program("tests.crash.busy_consumers", told)["port"]

    def _program(self, module: str, told: Json) -> Json:
        """A program of ours beside the daemons: told on standard input, it answers with one line."""
        with (self.directory / f"{module}.log").open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=ROOT,
                preexec_fn=die_with_parent,  # noqa: PLW1509  (a short and plain system call)
            )
        self.stack.callback(_end, child)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps(told).encode() + b"\n")
        child.stdin.close()
        line = child.stdout.readline()
        assert line, (self.directory / f"{module}.log").read_text()[-2000:]
        answer: Json = json.loads(line)
        return answer

    # --- rotatord's own ---

    def _paths(self) -> None:
        """Ways to the servers that can be cut, and the files that rotatord's identities lie in."""
        self.aws_port = free_port()
        ports = {"vault": self.vault.port, "kubernetes": self.plane.port, "aws": self.aws_port}
        self.ways = {name: StallingProxy(port) for name, port in ports.items()}
        for way in self.ways.values():
            self.stack.callback(way.close)
        self.own_tokens = {name: self.directory / f"own-token-{name}" for name in ("fleet", "single")}
        self.aws_files = (self.directory / "aws-id", self.directory / "aws-key")
        self.kubeconfig = self.directory / "kubeconfig.json"
        for file in (*self.own_tokens.values(), *self.aws_files, self.kubeconfig):
            file.write_text("")
            file.chmod(0o600)
        self.attest_port = 1

    def config(self, installation: str) -> str:
        """The whole configuration of one of the two."""
        vault = (
            f'address: "http://127.0.0.1:{self.ways["vault"].port}", auth: {{token: {{file: {self.own_tokens[installation]}}}}}'
        )
        key = f"{{id: {{file: {self.aws_files[0]}}}, secret: {{file: {self.aws_files[1]}}}}}"
        endpoint = f"http://127.0.0.1:{self.ways['aws'].port}"
        aws = f'region: {REGION}, account: "{ACCOUNT}", endpoint_url: "{endpoint}", access_key: {key}'
        head = (HEAD if installation == "fleet" else SINGLE).format(
            installation=installation,
            state=self.disk.directory / "state",
            vault=f"{vault}, connect_timeout: 1, read_timeout: 2, timeout: 3",
            cluster=f"kubeconfig: {self.kubeconfig}, timeout: 2",
            aws=f"{aws}, connect_timeout: 1, read_timeout: 2, timeout: 5",
            age=self.age,
            quick=QUICK,
        )
        attest = f'{{url: "http://127.0.0.1:{self.attest_port}", allow_private: true, timeout: 2}}'
        ours = [each.text(attest) for each in self.credentials if each.installation == installation]
        return (head + "".join(ours)).replace("KUBECONFIG", str(self.kubeconfig))

    def _rights(self, installation: str, language: str, *more: str) -> str:
        """What ``rotatord rights`` says that it needs."""
        file = self.directory / f"{installation}-rights.yaml"
        file.write_text(self.config(installation))
        command = [ROTATORD, "rights", "--config", str(file), "--as", language, *more]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=self.directory, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    def _grant(self) -> None:
        for installation, file in self.own_tokens.items():
            self.vault.policy(f"rotatord-{installation}", self._rights(installation, "vault"))
            file.write_text(self.vault.token(f"rotatord-{installation}", ttl="24h"))
        said = json.loads(self._rights("fleet", "rbac", "-o", "json"))
        rules: dict[str, list[Json]] = {}
        for rule in (rule for right in said["rights"] for rule in right["rules"]):
            names = {"resourceNames": rule["names"]} if rule["names"] else {}
            group = {"apiGroups": [rule["group"]], "resources": [rule["resource"]], "verbs": rule["verbs"], **names}
            rules.setdefault(rule["namespace"] or "", []).append(group)
        granted = self.plane.grant(NAMESPACE, "rotatord", rules[NAMESPACE], rules.get("", []))
        config = json.loads(granted.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.ways['kubernetes'].port}"
        self.kubeconfig.write_text(json.dumps(config))
        self.fingerprint_key = self.directory / "fingerprint-key"
        self.fingerprint_key.write_text(secrets.token_hex(32) + "\n")


def _end(child: subprocess.Popen[bytes]) -> None:
    """By its own id: asked, then forced."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(10)
    if child.stdout is not None:
        child.stdout.close()
