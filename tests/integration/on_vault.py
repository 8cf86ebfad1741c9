"""What the tests of real rotations share: a corner of a real Vault, rotatord's own identity in it, and a busy consumer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from rotatord.formats import parse
from rotatord.vault_labels import LABEL
from tests.integration.running import Installation
from tests.servers.fixtures import KV_MOUNT, Place
from tests.servers.vault import VaultServer

PROGRAM = Path(__file__).with_name("busy_consumer.py")
ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN_SECONDS = 20.0
NAME = "app"


@dataclass
class Corner:
    """Names of one test in a Vault: a token role, what its tokens may do, a KV document, and our identity for all of it."""

    server: VaultServer
    name: str
    directory: Path

    @classmethod
    def make(cls, place: Place, *documents: str) -> Self:
        """Set it up, with least rights as docs/vault.md has them, for KV documents of these names under its own."""
        server, name = place.server, place.name
        server.policy(name, f'path "{KV_MOUNT}/data/{name}/traffic-*" {{ capabilities = ["read"] }}')
        role = {"allowed_policies": [name], "orphan": True, "renewable": True, "token_type": "service"}
        server.call("POST", f"auth/token/roles/{name}", role)
        policies = [place.documented_policy("rotatord-vault-token", ROLE=name)]
        for document in documents or ("app", "other"):
            path = f"{name}/{document}"
            policies.append(place.documented_policy("rotatord-vault-kv", KV=KV_MOUNT, PATH=path))
        corner = cls(server, name, place.directory)
        corner.own_token.write_text(server.token(*dict.fromkeys(policies)))
        (place.directory / "destinations").mkdir(exist_ok=True)
        return corner

    @property
    def own_token(self) -> Path:
        return self.directory / "own-token"

    def reader_token(self) -> Path:
        """A token that may read everything of this corner's KV: how applications get at their document."""
        reader = f"{self.name}-reader"
        self.server.policy(reader, f'path "{KV_MOUNT}/data/{self.name}/*" {{ capabilities = ["read"] }}')
        file = self.directory / "reader-token"
        file.write_text(self.server.token(reader))
        return file

    def head(self, installation: str = "", address: str = "") -> str:
        """The configuration's issuers and backends. ``address``: where Vault is found, if not directly."""
        auth = f'address: "{address or self.server.address}", auth: {{token: {{file: {self.own_token}}}}}'
        return (
            (f"installation: {installation}\n" if installation else "")
            + "state_dir: state\nlog: {format: json}\n"
            + f"issuers:\n  tokens: {{type: vault_token, {auth}, role: {self.name}, call_settles_within: 2s}}\n"
            + f"backends:\n  kv: {{type: vault, {auth}}}\n  files: {{type: file}}\n"
        )

    def also(self, policy: str) -> None:
        """One more policy that tokens of the role may have."""
        self.server.policy(policy, f'path "{KV_MOUNT}/data/{self.name}/more" {{ capabilities = ["read"] }}')
        role = {"allowed_policies": [self.name, policy], "orphan": True, "renewable": True, "token_type": "service"}
        self.server.call("POST", f"auth/token/roles/{self.name}", role)

    # --- the truth, seen as root ----------------------------------------------------------------------------------

    def made(self, **body: Any) -> tuple[str, str]:
        """A token that somebody made by hand: value and accessor."""
        policies = {"policies": [self.name], "no_default_policy": False, "ttl": "1h", **body}
        auth = self.server.call("POST", "auth/token/create-orphan", policies)["auth"]
        return auth["client_token"], auth["accessor"]

    def alive(self, accessor: str) -> bool:
        """Whether Vault still knows the token of this accessor."""
        return self.server.request("POST", "auth/token/lookup-accessor", {"accessor": accessor})[0] == 200

    def labelled(self) -> dict[str, dict[str, Any]]:
        """Every live token that carries a label of rotatord's for this role's corner: metadata by accessor."""
        found = {}
        for accessor in self.accessors():
            status, answer = self.server.request("POST", "auth/token/lookup-accessor", {"accessor": accessor})
            meta = (answer.get("data") or {}).get("meta") or {}
            if status == 200 and f"{LABEL}installation" in meta and self.name in answer["data"]["policies"]:
                found[accessor] = meta
        return found

    def accessors(self) -> set[str]:
        """Every live token."""
        return set(self.server.call("LIST", "auth/token/accessors")["data"]["keys"])

    def mine(self) -> set[str]:
        """Every live token that may do what this corner's application may: other tests' tokens end when they like."""
        answers = {a: self.server.request("POST", "auth/token/lookup-accessor", {"accessor": a}) for a in self.accessors()}
        return {a for a, (status, answer) in answers.items() if status == 200 and self.name in answer["data"]["policies"]}

    def document(self, name: str = "app") -> dict[str, str]:
        """What readers of this KV document see now; {} where there is nothing."""
        status, answer = self.server.request("GET", f"{KV_MOUNT}/data/{self.name}/{name}")
        return (answer["data"]["data"] or {}) if status == 200 else {}

    def write(self, document: dict[str, str], name: str = "app") -> None:
        """What a person does with ``vault kv put``."""
        self.server.call("POST", f"{KV_MOUNT}/data/{self.name}/{name}", {"data": document})

    def works(self, token: str) -> bool:
        """Whether Vault accepts this value."""
        return self.server.request("GET", "auth/token/lookup-self", token=token)[0] == 200


@dataclass
class Busy:
    """A running ``busy_consumer.py``. Ends what it started, by its id."""

    corner: Corner
    name: str
    credential: str
    reads: list[str]  # where it finds its token: --file PATH, or --document and --reader-token
    rate: float = 200.0  # requests a second
    process: subprocess.Popen[bytes] | None = None
    counts: dict[str, Any] = field(default_factory=dict)

    @property
    def asks_for(self) -> str:
        """The path that nobody else asks for: by it the audit device tells whose a request was."""
        return f"{KV_MOUNT}/data/{self.corner.name}/traffic-{self.name}"

    @property
    def pid_file(self) -> Path:
        return self._file("pid")

    @property
    def port(self) -> int:
        return int(self._file("port").read_text())

    def consumer(self) -> str:
        """This consumer in the configuration."""
        attest = f'{{url: "http://127.0.0.1:{self.port}", allow_private: true, possession: true}}'
        return f"{{type: process, name: {self.name}, pid_file: {self.pid_file}, attest: {attest}}}"

    def start(self) -> None:
        """Start it and wait until it takes signals."""
        corner = self.corner
        corner.server.call("POST", self.asks_for, {"data": {"for": self.name}})
        options = ["--name", self.name, "--credential", self.credential, "--vault", corner.server.address, *self.reads]
        options += ["--rate", str(self.rate)]
        files = ["--pid-file", self.pid_file, "--port-file", self._file("port"), "--counts", self._file("counts")]
        with self._file("log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), *options, "--asks-for", self.asks_for, *map(str, files)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            )
        deadline, pause = time.monotonic() + STARTS_WITHIN_SECONDS, threading.Event()
        while not self.pid_file.exists() or not self.pid_file.read_text().endswith("\n"):
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            pause.wait(0.02)

    def tell(self) -> None:
        """Make it load, as a person would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End it; what it counted stands in ``counts``."""
        if self.process is None:
            return
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if self._file("counts").exists():
            self.counts = json.loads(self._file("counts").read_text())

    def output(self) -> str:
        """What it complained about."""
        return self._file("log").read_text()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _file(self, kind: str) -> Path:
        return self.corner.directory / f"{self.name}.{kind}"


@dataclass
class Audited:
    """What Vault's audit device has of one path: who asks for it is one consumer, and nobody else."""

    asked: int = 0
    refused: int = 0


def audited(file: Path, path: str) -> Audited:
    """Count the requests for a path, and those that were not answered with what was asked for."""
    seen = Audited()
    errors: set[str] = set()
    with file.open() as lines:
        for line in lines:
            if f'"{path}"' not in line:
                continue
            entry = json.loads(line)
            if entry["request"]["path"] != path or entry["request"]["operation"] != "read":
                continue
            seen.asked += entry["type"] == "request"
            if entry.get("error"):
                errors.add(entry["request"]["id"])
    seen.refused = len(errors)
    return seen


CONFIG = """
policies:
  quick: {{ttl: 1h, renew_before: 10m, alarm_before: 5m, overlap: {overlap}, poll: 100ms, verify_within: 20s}}
credentials:
  - name: app
    issuer: tokens
    policy: quick
    scope: {{permissions: [{permission}]}}
    destinations:
      - {{backend: kv, path: {permission}/{document}, keys: {{TOKEN: token}}, version_key: VERSION}}
      - {{backend: files, path: {file}, format: dotenv, keys: {{TOKEN: token}}, version_key: VERSION}}
    consumers:
      - {consumer}
"""


@dataclass
class World:
    """One corner of Vault with an application in it that must never be refused, and one installation of rotatord."""

    corner: Corner
    busy: Busy
    installation: Installation

    @property
    def file(self) -> Path:
        return self.corner.directory / "destinations" / "app.env"

    def begin(self, rotations: int = 1) -> None:
        """A first version and some rotations."""
        self.installation.until_quiet(NAME)
        for _ in range(rotations):
            self.installation.rotated(NAME)

    def token(self) -> str:
        return self.corner.document()["TOKEN"]

    def in_file(self) -> str:
        return (parse("dotenv", self.file.read_bytes()) or {})["TOKEN"]

    def seen(self) -> tuple[set[str], dict[str, str], bytes]:
        """Everything that must not change: who lives, and what readers see."""
        return self.corner.mine(), self.corner.document(), self.file.read_bytes() if self.file.exists() else b""

    def one_lives(self) -> None:
        """Quiet again: one labelled token, which is what everybody reads and what the journal calls current."""
        row = self.installation.until_quiet(NAME)
        (accessor,) = self.corner.labelled()
        current = self.corner.server.call("GET", "auth/token/lookup-self", token=self.token())["data"]
        assert current["accessor"] == accessor
        assert self.in_file() == self.token()
        # The fingerprint in the label is another one where the key was lost, until the next rotation.
        assert self.corner.document()["VERSION"].partition("-")[0] == str(row["generation"])


MakeWorld = Callable[..., World]


@contextmanager
def application_on(place: Place) -> Iterator[MakeWorld]:
    """Makes worlds around one running application of a corner of this Vault."""
    corner = Corner.make(place)
    reader = ["--document", f"secret/data/{corner.name}/app", "--reader-token", str(corner.reader_token())]
    busy = Busy(corner, "reader", NAME, reader, rate=50)

    def world(overlap: str = "0s", installation: str = "first", address: str = "") -> World:
        names = {"permission": corner.name, "document": "app", "file": "destinations/app.env"}
        config = CONFIG.format(overlap=overlap, consumer=busy.consumer(), **names)
        home = corner.directory / installation
        home.mkdir()
        (home / "destinations").symlink_to(corner.directory / "destinations")
        return World(corner, busy, Installation(home, corner.head(installation, address) + config))

    with busy:
        yield world
    assert busy.counts["asked"] > 0
    assert audited(corner.server.audit_file, busy.asks_for).refused == 0, busy.output()


@pytest.fixture
def make_world(vault_place: Place) -> Iterator[MakeWorld]:
    """Makes the world of a test; whether its application was refused is asked when the test ends."""
    with application_on(vault_place) as world:
        yield world
