"""Where the journal lies: in the file, in a variable, by reference; and never a password where somebody could see it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rotatord import identity
from rotatord.config import journal_url, load
from rotatord.errors import ConfigError, Refused
from rotatord.journal.postgresql import parsed
from rotatord.settings import Settings

HUSH = "hush-hush"


def test_a_file_where_nothing_is_said(tmp_path: Path) -> None:
    """One daemon needs no database."""
    found = load(_written(tmp_path, ""))
    assert found.database is None
    assert journal_url(found) == f"sqlite:///{tmp_path}/state/journal.db"


def _written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "rotatord.yaml"
    file.write_text("state_dir: state\n" + text)
    return file


def test_a_url_in_the_file(tmp_path: Path) -> None:
    """Without a password it may stand there; the lease too."""
    found = load(_written(tmp_path, "database: {url: 'postgresql://rotatord@db/rotatord', lease: 30s}\n"))
    assert journal_url(found) == "postgresql://rotatord@db/rotatord"
    assert found.lease_seconds == timedelta(seconds=30).total_seconds()


@pytest.mark.parametrize(
    "text",
    [
        f"database: {{url: 'postgresql://rotatord:{HUSH}@db/rotatord'}}",
        f"database: {{url: 'postgresql://rotatord@db/rotatord?password={HUSH}'}}",
        "database: {url: 'mysql://rotatord@db/rotatord'}",
        "database: {url: {vault: secret/db, key: url}}",
        "database: {url: 'postgresql://db/rotatord', lease: 10ms}",
        "fingerprint_key: {vault: secret/key, key: key}",
        f"fingerprint_key: {HUSH}",
    ],
)
def test_what_is_refused(tmp_path: Path, text: str) -> None:
    """Each with its line, and without what must not be shown."""
    with pytest.raises(ConfigError) as refused:
        load(_written(tmp_path, text + "\n"))
    assert "rotatord.yaml:2" in str(refused.value)
    assert HUSH not in str(refused.value)


def test_the_variable_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ROTATORD_DATABASE_URL beats the file; what it holds is read where it stands and shown nowhere."""
    url = f"postgresql://rotatord:{HUSH}@db/rotatord"
    monkeypatch.setenv("ROTATORD_DATABASE_URL", url)
    settings = Settings.from_environment()
    found = load(_written(tmp_path, "database: {url: 'postgresql://other/db'}\n"), settings=settings)
    assert HUSH not in repr(settings) + repr(found)
    read = journal_url(found)
    assert callable(read)
    assert read() == url


def test_a_file_named_by_the_variable_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the password in it can be replaced while the daemon runs."""
    (tmp_path / "url").write_text("postgresql://a\n")
    (tmp_path / "url").chmod(0o600)
    monkeypatch.setenv("ROTATORD_DATABASE_URL", f"file:{tmp_path}/url")
    read = journal_url(load(_written(tmp_path, ""), settings=Settings.from_environment()))
    assert callable(read)
    assert read() == "postgresql://a"
    (tmp_path / "url").write_text("postgresql://b\n")
    assert read() == "postgresql://b"


@pytest.mark.parametrize("variable", ["DATABASE_URL", "FINGERPRINT_KEY"])
def test_a_variable_that_is_neither(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, its value is not."""
    monkeypatch.setenv(f"ROTATORD_{variable}", HUSH)
    with pytest.raises(ConfigError, match=f"ROTATORD_{variable}") as refused:
        Settings.from_environment()
    assert HUSH not in str(refused.value)


def test_a_malformed_url_is_not_repeated() -> None:
    """The driver's own words would quote it."""
    with pytest.raises(ValueError, match="no URL of a PostgreSQL database") as refused:
        parsed(f"postgresql://rotatord:{HUSH}@[db/rotatord")
    assert HUSH not in str(refused.value)


def test_a_key_given_to_all(tmp_path: Path) -> None:
    """What a first start has made can be given to the others as it is; text may end with its line; too little is refused."""
    made = identity.fingerprinter(tmp_path)
    assert identity.given_key({"file": identity.KEY_FILE}, str(tmp_path)).id == made.id
    text = "0123456789abcdef" * 4
    (tmp_path / "one").write_text(text)
    (tmp_path / "two").write_text(text + "\n")
    ids = {identity.given_key({"file": name}, str(tmp_path)).id for name in ("one", "two")}
    assert len(ids) == 1
    (tmp_path / "short").write_text("abc")
    for name in ("short", "missing"):
        with pytest.raises(Refused, match="fingerprint_key"):
            identity.given_key({"file": name}, str(tmp_path))
