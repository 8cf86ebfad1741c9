"""What rotatord is given in the crash tests: two configurations, and each credential as its application and the observer
need to know it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.crash.seen import Watched

NAMESPACE, ACCOUNT, REGION = "crash", "123456789012", "eu-west-1"
USERS = ("key-a", "key-b")
TOKENS = ("tok-a", "tok-b", "tok-c", "one-a", "one-b")  # credentials of Vault tokens, each with a policy of its own name
QUICK = "overlap: 1s, settle: 0s, alarm_before: 1s, poll: 200ms, idle: pass"

HEAD = """
installation: {installation}
state_dir: state
log: {{format: json}}
limits: {{threads: 12}}
issuers:
  tokens: {{type: vault_token, {vault}, call_settles_within: 3s}}
  roles: {{type: vault_approle, {vault}, role: app, call_settles_within: 3s}}
  accounts: {{type: kubernetes_token, {cluster}, namespace: crash, ends_within: 11s, call_settles_within: 5s}}
  users: {{type: aws_iam_user, {aws}, propagation: 1s, listing_delay: 1s, last_used_delay: 1s, call_settles_within: 5s}}
  sessions: {{type: aws_sts, {aws}, call_settles_within: 5s}}
backends:
  kv: {{type: vault, {vault}}}
  cluster: {{type: kubernetes, {cluster}, namespace: crash}}
  secrets: {{type: aws_secrets_manager, {aws}}}
  parameters: {{type: aws_ssm_parameter, {aws}}}
policies:
  asked: {{max_age: 1h, {quick}}}
  due: {{max_age: {age}s, {quick}}}
  patient: {{max_age: 120s, {quick}}}
  rare: {{max_age: 18m, {quick}}}
credentials:
"""
SINGLE = """
installation: {installation}
state_dir: {state}
log: {{format: json}}
issuers:
  tokens: {{type: vault_token, {vault}, call_settles_within: 3s}}
backends:
  kv: {{type: vault, {vault}}}
  files: {{type: file}}
policies:
  asked: {{max_age: 1h, {quick}}}
credentials:
"""


@dataclass(frozen=True)
class Credential:
    """One managed credential of the scene, as the configuration, its application and the observer need it."""

    name: str
    issuer: str  # the plugin's name
    destinations: tuple[str, ...]  # as they stand in the configuration; the first is the home
    reads: str  # where its application reads: kv, secret, secretsmanager, file
    where: str
    policy: str = "asked"
    deployed: bool = False
    stale_after: float = 0.0  # proven by polling and not by attesting
    more: str = ""  # further keys of the configuration
    rate: float = 4.0
    installation: str = "fleet"

    def watched(self) -> Watched:
        """As the observer needs it."""
        places = tuple(_place(each) for each in self.destinations)
        return Watched(self.name, self.issuer, places[0], places)

    def text(self, attest: str) -> str:
        """Its part of the configuration."""
        issuers = {"vault_token": "tokens", "vault_approle": "roles", "kubernetes_token": "accounts"}
        issuer = issuers.get(self.issuer) or {"aws_iam_user": "users", "aws_sts": "sessions"}[self.issuer]
        proof = f"refresh_within: {self.stale_after + 3:g}s" if self.stale_after else f"attest: {attest}"
        consumers = [f"{{type: observe, name: app, {proof}}}"]
        if self.deployed:
            patience = "gather: 200ms, stuck_after: 60s, steady_for: 300ms, progress_within: 120s, timeout: 2"
            consumers.append(
                f"{{type: deployment, name: pods, workload: {self.name}, namespace: crash, kubeconfig: KUBECONFIG, {patience}}}"
            )
        return "\n".join(
            [
                f"  - name: {self.name}",
                f"    issuer: {issuer}",
                f"    policy: {self.policy}",
                *([f"    {self.more}"] if self.more else []),
                "    destinations:",
                *(f"      - {each}" for each in self.destinations),
                "    consumers:",
                *(f"      - {each}" for each in consumers),
                "",
            ]
        )


def _place(destination: str) -> str:
    """A destination of the configuration in the observer's words."""
    told: dict[str, Any] = YAML(typ="safe").load(destination)
    kinds = {"kv": "kv", "cluster": "secret", "secrets": "secretsmanager", "parameters": "ssm", "files": "file"}
    where = f"{NAMESPACE}/{told['name']}" if told["backend"] == "cluster" else told.get("path") or told["name"]
    return f"{kinds[told['backend']]} {where}"


def _token(name: str, *, deployed: bool = False, **more: Any) -> Credential:
    keys = "keys: {TOKEN: token}, version_key: VERSION"
    home = f"{{backend: kv, path: crash/{name}, {keys}}}"
    copy = f"{{backend: cluster, name: {name}, {keys}}}"
    return Credential(
        name,
        "vault_token",
        (home, copy) if deployed else (home,),
        "kv",
        f"crash/{name}",
        deployed=deployed,
        more=f"{{scope: {{permissions: [{name}]}}, parameters: {{role: {name}}}}}"[1:-1].replace("}, p", "}\n    p"),
        **more,
    )


def credentials(directory: Path) -> tuple[Credential, ...]:
    """Everything that rotatord is given here."""
    aws_keys = "keys: {KEY_ID: access_key_id, KEY: secret_access_key}"
    approle = "{backend: kv, path: crash/role-a, keys: {ROLE_ID: role_id, SECRET_ID: secret_id}, version_key: VERSION}"
    account = "{backend: cluster, name: sa-a, keys: {TOKEN: token}, version_key: VERSION}"
    session = "KEY_ID: access_key_id, KEY: secret_access_key, SESSION: session_token, UNTIL: expiration"
    file = directory / "one-a.env"
    single = _token("one-a", installation="single")
    in_file = f"{{backend: files, path: {file}, format: dotenv, keys: {{TOKEN: token}}, version_key: VERSION}}"
    return (
        _token("tok-a", deployed=True),
        _token("tok-b", deployed=True),
        _token("tok-c", stale_after=2.0, policy="due"),
        Credential("role-a", "vault_approle", (approle,), "kv", "crash/role-a"),
        Credential(
            "sa-a",
            "kubernetes_token",
            (account,),
            "secret",
            "crash/sa-a",
            policy="patient",  # API servers remember tokens for ten seconds, and three times that is waited for
            more='scope: {audiences: ["https://kubernetes.default.svc"]}\n    parameters: {service_account: sa-a}',
        ),
        *(
            Credential(
                user,
                "aws_iam_user",
                (
                    f"{{backend: secrets, name: crash/{user}, {aws_keys}, version_key: VERSION}}",
                    *([f"{{backend: parameters, name: /crash/{user}, format: json, {aws_keys}}}"] if user == "key-a" else []),
                ),
                "secretsmanager",
                f"crash/{user}",
                # A write of Parameter Store that got no answer is waited for a quarter of an hour.
                policy="rare" if user == "key-a" else "due",
                more=f"parameters: {{user: {user}}}",
            )
            for user in USERS
        ),
        Credential(
            "sts-a",
            "aws_sts",
            (f"{{backend: secrets, name: crash/sts-a, keys: {{{session}}}, version_key: VERSION}}",),
            "secretsmanager",
            "crash/sts-a",
            policy="due",
            more=f'parameters: {{role: "arn:aws:iam::{ACCOUNT}:role/app"}}',
        ),
        Credential(
            "one-a", "vault_token", (*single.destinations, in_file), "file", str(file), more=single.more, installation="single"
        ),
        _token("one-b", installation="single"),
    )
