"""The readers' contract and the page on files: what they show is run, read and accepted as it stands."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from backends import file as file_backend
from rotatord.attest import parse
from rotatord.configuration.schema import OWN_CONSUMER_KEYS
from rotatord.formats import render
from rotatord.model import Destination
from rotatord.ports import Surroundings

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(match[1], match[2]) for match in BLOCK.finditer((DOCS / "consumers.md").read_text())]
FILE_BLOCKS = [(match[1], match[2]) for match in BLOCK.finditer((DOCS / "files.md").read_text())]


def surroundings(directory: Path) -> Surroundings:
    return Surroundings(
        installation="i", state_dir=str(directory), now=lambda: datetime.now(UTC), secret=lambda _: "", base_dir=str(directory)
    )


@pytest.fixture
def port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def commands() -> Iterator[tuple[str, str]]:
    """Each shell block with the output that the page shows after it."""
    for (kind, text), following in zip(BLOCKS, [*BLOCKS[1:], ("", "")], strict=True):
        if kind == "sh":
            assert following[0] == "text"
            yield text, following[1]


def test_the_commands_do_what_the_page_shows(tmp_path: Path, port: str) -> None:
    """Run one after the other in one directory, each prints exactly what stands below it."""
    ran = 0
    for script, expected in commands():
        run = subprocess.run(
            ["/bin/sh", "-eu", "-c", script.replace("8079", port)],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.stdout == expected, run.stderr
        ran += 1
    assert ran == 3


def test_the_python_on_the_page_runs(tmp_path: Path, port: str) -> None:
    """The proof is the one shown, and the client reads, serves and prints."""
    (tmp_path / "db.env").write_bytes(render("dotenv", {"DB_PASSWORD": "example", "ROTATORD_VERSION": "1-x"}))
    script = "\n".join(text for kind, text in BLOCKS if kind == "python").replace("8079", port)
    script += (
        "\nimport urllib.request\n"
        f"print(urllib.request.urlopen('http://127.0.0.1:{port}/.well-known/rotatord?nonce=00', timeout=5).read().decode())\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    password, answer = run.stdout.splitlines()
    assert password == "example"
    said = json.loads(answer)["orders-db"]
    assert (said["version"], said["instance"], len(said["proof"])) == ("1-x", "web-1", 64)


def test_the_attestations_on_the_page_are_understood() -> None:
    """Both forms name the instance's version."""
    short, long, message = (json.loads(text) for kind, text in BLOCKS if kind == "json")
    assert parse(short["orders-db"], "p")[0].instance.version == "7-3fa94c12"
    found = parse(long["orders-db"], "p")[0]
    assert (found.instance.id, found.instance.version, found.instance.refused, found.status) == (
        "web-1",
        "6-90b1ce77",
        "7-3fa94c12",
        "ok",
    )
    assert set(message["data"]) == {"credential", "version", "rotation", "published_at"}


def yaml_of(blocks: list[tuple[str, str]]) -> list[dict[str, Any]]:
    return [YAML(typ="safe", pure=True).load(text) for kind, text in blocks if kind == "yaml"]


def test_the_consumers_on_the_page_are_accepted(tmp_path: Path) -> None:
    """Every consumer shown can be made as it stands."""
    shown = [declared for block in yaml_of(BLOCKS) for declared in block.get("consumers", ())]
    factories = {point.name: point.load() for point in entry_points(group="rotatord.consumers")}
    evidence = {}
    for declared in shown:
        settings = {key: value for key, value in declared.items() if key not in OWN_CONSUMER_KEYS - {"refresh_within"}}
        evidence[declared["name"]] = factories[declared["type"]](settings, surroundings(tmp_path)).evidence
    assert evidence == {
        "web": "attestation",
        "batch": "rollout",
        "proxy": "none",
        "jobs": "attestation",
        "sidecars": "attestation",
        "reports": "polling",
        "orders": "attestation",
    }


def test_the_copies_on_the_page_are_accepted(tmp_path: Path) -> None:
    """Every copy shown passes the static check of the backend that reads it."""
    plain = file_backend.create({"type": "file"}, surroundings(tmp_path))
    consumers = [declared for block in yaml_of(BLOCKS) for declared in block.get("consumers", ())]
    copies = [copy for declared in consumers for copy in declared.get("copies", ())]
    for copy in copies:
        address = {key: value for key, value in copy.items() if key not in {"backend", "keys"}}
        assert plain.check(Destination(backend="files", address=address, keys=copy["keys"])) == []
    assert copies


def test_the_destinations_on_the_pages_are_accepted(tmp_path: Path) -> None:
    """Every destination shown passes the backend's static check."""
    plain = file_backend.create({"type": "file"}, surroundings(tmp_path))
    (with_files,) = yaml_of(FILE_BLOCKS)
    rooted = file_backend.create(with_files["backends"]["files"], surroundings(tmp_path))
    shown = [(plain, one) for one in yaml_of(BLOCKS)[0]["destinations"]]
    shown += [(rooted, one) for one in with_files["credentials"][0]["destinations"]]
    for backend, declared in shown:
        address = {key: value for key, value in declared.items() if key not in {"backend", "keys", "version_key", "wave"}}
        destination = Destination(
            backend="files", address=address, keys=declared["keys"], version_key=declared.get("version_key")
        )
        assert backend.check(destination) == []
    assert len(shown) == 3
