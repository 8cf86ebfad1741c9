"""The readers' client: whole documents, re-read on change, and what it answers at the well-known path."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rotatord.attest import Attest, Attestor
from rotatord.client import Running, Unreadable, Watched, answer, serve, well_known
from rotatord.ports import Published
from rotatord.secret import Secret


def replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def test_a_change_is_seen_at_the_next_use(tmp_path: Path) -> None:
    """Values and version come from one look at the file."""
    path = tmp_path / "a.env"
    path.write_text("T=1\nV=1-x\n")
    secrets = Watched(path, version_key="V")
    assert (secrets()["T"], secrets.version) == ("1", "1-x")
    replace(path, "T=2\nV=2-x\n")
    assert (secrets()["T"], secrets.version) == ("2", "2-x")


def test_a_link_that_is_turned_is_a_change(tmp_path: Path) -> None:
    """Kubernetes volumes turn a link to another directory: what counts is the file behind it."""
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}" / "a.json").write_text(json.dumps({"T": str(number)}))
    (tmp_path / "data").symlink_to("v1")
    secrets = Watched(tmp_path / "data" / "a.json")
    assert secrets() == {"T": "1"}
    (tmp_path / "fresh").symlink_to("v2")
    (tmp_path / "fresh").rename(tmp_path / "data")
    assert secrets() == {"T": "2"}


def test_the_last_good_document_stays_in_force(tmp_path: Path) -> None:
    """A missing or broken file is said and changes nothing; before the first good one there is only an error."""
    path = tmp_path / "a.json"
    secrets = Watched(path)
    with pytest.raises(Unreadable, match="No such file"):
        secrets()
    assert secrets.version is None
    path.write_text('{"T": "1"}')
    assert secrets() == {"T": "1"}
    assert secrets.trouble is None
    replace(path, '{"T": ')
    assert secrets() == {"T": "1"}
    assert "not a json document" in str(secrets.trouble)
    path.unlink()
    assert secrets() == {"T": "1"}
    replace(path, '{"T": "2"}')
    assert (secrets(), secrets.trouble) == ({"T": "2"}, None)


def test_values_are_not_shown(tmp_path: Path) -> None:
    """Neither the watch nor what is said of an instance has the value in its repr."""
    path = tmp_path / "a.env"
    path.write_text("T=hidden\n")
    secrets = Watched(path)
    secrets()
    assert "hidden" not in f"{secrets!r} {Running(fields={'T': 'hidden'})!r}"


def test_a_format_must_be_known(tmp_path: Path) -> None:
    """A name that tells nothing needs a format; a filled-in template cannot be read."""
    for given in (None, "template", "toml"):
        with pytest.raises(ValueError, match="format"):
            Watched(tmp_path / "x", given)
    (tmp_path / "x").write_text("value")
    assert Watched(tmp_path / "x", "raw")() == {"": "value"}


def test_the_engine_understands_what_the_client_answers(tmp_path: Path) -> None:
    """Served by the client, asked by the attestor, possession included."""
    secret = Secret({"token": "value", "user": "é"})
    running = Running(version="7-x", instance="web-1", fields=secret.reveal_all())
    server = serve({"db": lambda: running, "plain": "3-y", "none": None})
    try:
        where = f"http://127.0.0.1:{server.server_address[1]}"
        published = Published(
            credential="db", label="7-x", rotation="r", token="t", at=datetime(2026, 1, 5, tzinfo=UTC), possession=secret.prove
        )
        asking = Attestor(Attest(url=where, possession=True, allow_private=True))
        assert [(i.id, i.version) for i in asking.instances(published)] == [("web-1", "7-x")]
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            urllib.request.urlopen(where + "/other", timeout=5)
        caught.value.close()
    finally:
        server.shutdown()
        server.server_close()


def test_a_wsgi_application_answers_the_same() -> None:
    """It mounts beside a program's own application and answers nothing but the well-known path."""
    application = well_known({"db": "7-x"})
    seen: list[str] = []

    def start_response(status: str, _headers: list[tuple[str, str]]) -> None:
        seen.append(status)

    def call(method: str, path: str) -> bytes:
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "wsgi.input": io.BytesIO()}
        return b"".join(application(environ, start_response))

    assert json.loads(call("GET", "/.well-known/rotatord")) == {"db": "7-x"}
    assert call("HEAD", "/.well-known/rotatord") == b""
    assert call("GET", "/") == b""
    assert call("POST", "/.well-known/rotatord") == b""
    assert [status[:3] for status in seen] == ["200", "200", "404", "404"]


@pytest.mark.parametrize("query", ["", "nonce=", "nonce=xyz", "nonce=" + "00" * 500])
def test_without_a_good_nonce_there_is_no_proof(query: str) -> None:
    """A missing, malformed or endless nonce is answered without a proof."""
    said = json.loads(answer({"db": Running(version="1-x", fields={"token": "v"})}, query))
    assert said == {"db": {"version": "1-x"}}


def test_the_client_needs_nothing_but_the_standard_library() -> None:
    """Importing it loads no third-party package."""
    script = (
        "import sys, rotatord.client; "
        "print({m.partition('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'rotatord', '__main__'})"
    )
    run = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True, timeout=20, cwd=ROOT)
    assert run.stdout.strip() == "set()"


ROOT = Path(__file__).resolve().parents[2]
