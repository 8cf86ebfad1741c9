"""No secret value leaves memory for anything but a destination: a daemon at DEBUG, a real Vault, every place searched."""

from __future__ import annotations

import base64
import json
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import urllib3

from rotatord.testing.leaks import Leak, Scanner
from tests.integration.recording import Recording, recording
from tests.integration.running import Installation
from tests.integration.test_walk import free_ports
from tests.servers.fixtures import Place

CONFIG = """
state_dir: state
log: {{level: debug, format: json}}
api: {{probes: {{port: {probes}}}}}
issuers:
  tokens: {{type: vault_token, address: "{vault}", auth: {{token: {{file: own-token}}}}, call_settles_within: 2s}}
  roles: {{type: vault_approle, address: "{vault}", auth: {{token: {{file: own-token}}}}, call_settles_within: 2s}}
backends:
  kv: {{type: vault, address: "{vault}", auth: {{token: {{file: own-token}}}}}}
  files: {{type: file}}
policies:
  quick: {{ttl: 1h, renew_before: 10m, overlap: 0s, poll: 200ms, verify_within: 15s, unproven: {{overlap: 1s}}}}
credentials:
  - name: reader
    issuer: tokens
    policy: quick
    scope: {{permissions: [{permission}]}}
    destinations:
      - {{backend: kv, path: {path}/reader, keys: {{token: token}}}}
      - {{backend: files, path: destinations/reader.env, format: dotenv, keys: {{TOKEN: token}}}}
    consumers:
      - {{type: process, name: child, command: [{python}, -c, {child}]}}
  - name: login
    issuer: roles
    policy: quick
    scope: {{permissions: [{permission}]}}
    parameters: {{role: {role}}}
    destinations:
      - {{backend: kv, path: {path}/login, keys: {{ROLE: role_id, SECRET: secret_id}}}}
    consumers:
      - {{type: observe, name: poller, refresh_within: 1s}}
  - name: impossible
    issuer: tokens
    policy: quick
    scope: {{permissions: [{permission}]}}
    destinations:
      - {{backend: kv, path: {path}/impossible, keys: {{token: token}}}}
    consumers:
      - {{type: process, name: broken, command: [{python}, -c, "import sys; sys.exit('broken')"], show_output: true}}
"""
FORMS = ("raw", "hex", "url", "base64")
SLOTS = "slots"  # of file destinations, which are destinations themselves
# A child of the daemon that writes down what it was given, for the scan.
CHILD = "import os, sys; open('children', 'a').write(repr((sys.argv, dict(os.environ))) + chr(10))"
BUG = '''
import logging
import traceback


class Buggy:
    """An issuer with two bugs: it prints a traceback, and its error's text holds what it must not."""

    def __init__(self, factory, settings, surroundings):
        self._inner = factory(settings, surroundings)
        self._said = {word!r}

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def mint(self, request, proposed):
        logging.getLogger("urllib3.connectionpool").warning("an SDK warns: {loud}")
        logging.getLogger("urllib3.connectionpool").debug("an SDK tells its headers: {quiet}")
        try:
            raise ValueError("printed: " + self._said)
        except ValueError:
            traceback.print_exc()
        raise RuntimeError("raised: " + request.credential + " has " + {token!r})


def create(settings, surroundings):
    from issuers.builtin import create as builtin
    return Buggy(builtin, settings, surroundings)
'''


class Searched:
    """All the places of one installation in which a value could turn up, each under its name."""

    def __init__(self, installation: Installation, probes: str) -> None:
        self._installation = installation
        self._probes = probes
        self.said: list[str] = []  # what commands printed

    def leaks(self, scanner: Scanner) -> dict[str, list[Leak]]:
        """What the scanner finds, by place."""
        home, daemon = self._installation, self._installation.daemon
        assert daemon is not None
        output = home.output.read_text()
        traces = re.findall(r"Traceback \(most recent call last\).*?(?=^\{|\Z)", output, re.DOTALL | re.MULTILINE)
        metrics = urllib3.request("GET", f"http://127.0.0.1:{self._probes}/metrics", timeout=10.0).data.decode()
        assert "rotatord_" in metrics
        names = [row["name"] for row in home.read("status")["credentials"]]
        seen = {
            "output": scanner.scan_text(output, "output"),
            "tracebacks": scanner.scan_text("\n".join(traces), "tracebacks"),
            "metrics": scanner.scan_text(metrics, "metrics"),
            "events": scanner.scan_text(json.dumps(home.read("log", "--tail", "1000")), "events"),
            "status": scanner.scan_text(json.dumps(home.read("status")), "status"),
            "why": [leak for name in names for leak in scanner.scan_text(json.dumps(home.read("why", name)), "why")],
            "commands": scanner.scan_text("\n".join(self.said), "commands"),
            "state": scanner.scan_tree([home.state], skip=[home.state / SLOTS]),
            "children": scanner.scan_tree([home.directory / "children"]),
        }
        for leak in scanner.scan_pid(daemon.pid):
            seen.setdefault(leak.place.partition(" ")[0], []).append(leak)
        for leak in seen["state"]:
            seen.setdefault(Path(leak.place).name, []).append(leak)
        return {where: found for where, found in seen.items() if found}


@pytest.fixture
def vault(vault_place: Place) -> Iterator[Recording]:
    """The way to Vault that remembers what was handed out."""
    with recording(vault_place.server.address) as recorder:
        yield recorder


@pytest.mark.vault
@pytest.mark.timeout(240)
def test_no_minted_value_is_anywhere_but_in_destinations(vault_place: Place, vault: Recording, tmp_path: Path) -> None:
    """Rotations that go well, lose an answer, or roll back leave no value in logs, journal, events, metrics or processes."""
    place, (probes,) = vault_place, free_ports(1)
    server = place.server
    server.policy(place.name, 'path "secret/data/nothing" { capabilities = ["read"] }')
    server.call("POST", f"auth/approle/role/{place.name}", {"token_policies": [place.name]})
    (tmp_path / "own-token").write_text(server.root_token)
    (tmp_path / "destinations").mkdir()
    quoted = {"python": json.dumps(sys.executable), "child": json.dumps(CHILD)}
    names = {"vault": vault.address, "probes": probes, "permission": place.name, "role": place.name, "path": place.name}
    installation = Installation(tmp_path, CONFIG.format(**names, **quoted))
    with installation:
        searched = Searched(installation, probes)
        until_first_versions(installation)
        for lose in (False, True, False):
            if lose:
                vault.lose_next_mint()
            searched.said.append(installation.rotate("reader", "login"))
        searched.said.append(installation.ask("rotate", "impossible", "--wait", "--timeout", "60s").stdout)
        planted = {**vault.values, "our own token": server.root_token}
        assert len([name for name in planted if "client_token" in name]) >= 5
        assert len([name for name in planted if "secret_id" in name]) >= 4
        assert searched.leaks(Scanner(planted)) == {}
        assert installation.stop() == 0
        assert Scanner(planted).scan_tree([installation.state, installation.output], skip=[installation.state / SLOTS]) == []
    assert Scanner(planted).scan_tree([tmp_path / "destinations"])  # the scanner does see what is there


def until_first_versions(installation: Installation) -> None:
    """Wait until everything that can have a version has one."""

    def there() -> bool:
        rows = {row["name"]: row for row in installation.read("status")["credentials"]}
        return all(rows[name]["state"] == "quiet" for name in ("reader", "login"))

    installation.until(there, "make the first versions", seconds=60)


@pytest.mark.timeout(120)
def test_the_same_search_finds_a_leak_in_each_place(tmp_path: Path) -> None:
    """A word planted where it can be is found in every place that the search above calls clean."""
    word, (probes,) = f"planted{secrets.token_hex(8)}", free_ports(1)
    plugin = tmp_path / "plugins"
    (plugin / "leaky-1.0.dist-info").mkdir(parents=True)
    token = f"escaped{secrets.token_hex(8)}"
    loud, quiet = f"loud{secrets.token_hex(8)}", f"quiet{secrets.token_hex(8)}"
    value = f"pl+{secrets.token_hex(8)}/?&=@"
    forms = f"{value} {base64.b64encode(value.encode()).decode()} {value.encode().hex()} {quote(value, safe='')}"
    (plugin / "leaky.py").write_text(BUG.format(word=f"{word} {forms}", token=token, loud=loud, quiet=quiet))
    (plugin / "leaky-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1.0\n")
    (plugin / "leaky-1.0.dist-info" / "entry_points.txt").write_text("[rotatord.issuers]\nleaky = leaky:create\n")
    config = f"""
state_dir: state
log: {{level: debug, format: json}}
api: {{probes: {{port: {probes}}}}}
issuers: {{leaky: {{type: leaky, permissions: [read]}}, {word}: {{type: builtin, permissions: [read]}}}}
backends: {{files: {{type: file}}}}
policies: {{quick: {{ttl: 12h, renew_before: 1h, unproven: {{overlap: 1s}}}}}}
credentials:
  - name: {word}
    issuer: {word}
    policy: quick
    scope: {{permissions: [read]}}
    destinations: [{{backend: files, path: destinations/one.env, format: dotenv, keys: {{TOKEN: token}}}}]
    consumers: [{{type: process, name: child, command: [{json.dumps(sys.executable)}, -c, {json.dumps(CHILD)}, {word}]}}]
  - name: buggy
    issuer: leaky
    policy: quick
    scope: {{permissions: [read]}}
    destinations: [{{backend: files, path: destinations/two.env, format: dotenv, keys: {{TOKEN: token}}}}]
"""
    (tmp_path / "destinations").mkdir()
    installation = Installation(
        tmp_path, config, environment={"PYTHONPATH": str(plugin), "PLANTED": f"{word} {forms}"}, config_name=f"{word}.yaml"
    )
    with installation:
        searched = Searched(installation, probes)
        searched.said.append(installation.ask("validate", "--config", str(installation.config_file)).stdout)
        installation.until((tmp_path / "children").exists, "reload the child", seconds=60)
        installation.until(lambda: "RuntimeError in leaky.py" in installation.output.read_text(), "meet the bug", seconds=60)
        held = installation.ask("hold", word, "--until", "1h", "--owner", "me", "--reason", forms)
        assert held.returncode == 0, held.stderr
        searched.said.append(installation.ask("why", word).stdout)
        found = set(searched.leaks(Scanner({"the word": word})))
        in_forms = searched.leaks(Scanner({"the value": value}))
        assert searched.leaks(Scanner({"what an SDK tells at DEBUG": quiet})) == {}
        assert "output" in searched.leaks(Scanner({"what an SDK warns of": loud}))
        assert searched.leaks(Scanner({"what the bug said": token})) == {}  # a bug's place is told, never its text
    expected = {"output", "tracebacks", "metrics", "events", "status", "why", "commands", "state", "children"}
    assert expected | {"environ", "cmdline", "journal.db-wal"} <= found
    for where in ("output", "tracebacks", "events", "status", "why", "commands", "state", "journal.db-wal", "environ"):
        assert {leak.form.partition(" ")[0] for leak in in_forms.get(where, [])} >= set(FORMS), (
            f"{where}: {in_forms.get(where)}"
        )
