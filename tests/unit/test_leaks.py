"""The scanner finds a planted value in each form and place, and says so without showing it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from rotatord.testing.leaks import Leak, Scanner, forms

VALUE = 'fake-secret-"ü+/?&=-0123456789'
ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "raw": str.encode,
    "hex": lambda value: value.encode().hex().encode(),
    "upper hex": lambda value: value.encode().hex().upper().encode(),
    "url": lambda value: quote(value, safe="").encode(),
    "url form": lambda value: quote_plus(value).encode(),
    "json": lambda value: json.dumps({"a": value}).encode(),
    "json with unicode": lambda value: json.dumps({"a": value}, ensure_ascii=False).encode(),
    "repr of bytes": lambda value: repr(value.encode()).encode(),
    "utf-16": lambda value: value.encode("utf-16"),
}


@pytest.mark.parametrize("encoding", list(ENCODINGS))
def test_every_form_is_found(encoding: str) -> None:
    """A value is found however it was written down."""
    content = b"log line: " + ENCODINGS[encoding](VALUE) + b" and more"
    assert Scanner({"token": VALUE}).scan_bytes(content, "log")
    assert not Scanner({"token": "another-value-entirely"}).scan_bytes(content, "log")


@pytest.mark.parametrize("before", range(7))
@pytest.mark.parametrize("after", range(4))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("length", [8, 9, 10, 31])
def test_base64_is_found_at_every_offset(before: int, after: int, encode: Callable[[bytes], bytes], length: int) -> None:
    """Text around a value shifts its base64; it is found all the same."""
    value = (VALUE * 2)[:length].encode()[:length].decode(errors="ignore")
    content = encode(b"u" * before + value.encode() + b"w" * after)
    assert Scanner([value]).scan_bytes(b">" + content + b"<", "header")


def test_a_cut_value_is_found_by_its_beginning() -> None:
    """With prefixes on, the first bytes are enough."""
    assert [leak.form for leak in Scanner([VALUE], prefixes=True).scan_bytes(VALUE[:10].encode(), "log")] == ["prefix"]
    assert Scanner([VALUE]).scan_bytes(VALUE[:10].encode(), "log") == []


def test_values_too_short_to_tell_are_refused() -> None:
    """A short value would be found by chance; planting one is a mistake of the test."""
    with pytest.raises(ValueError, match="8 bytes"):
        forms("short")


def test_a_report_names_and_never_shows() -> None:
    """A leak says where, which value and which form; neither it nor the scanner shows the value."""
    scanner = Scanner({"new token": VALUE})
    (leak, *_) = scanner.scan_bytes(b"xx" + VALUE.encode(), "the log")
    assert leak == Leak("the log", "new token", "raw", 2)
    assert str(leak) == "the log: new token as raw at byte 2"
    assert VALUE not in repr(scanner)
    assert VALUE not in repr(leak)


def test_a_tree_is_searched(tmp_path: Path) -> None:
    """Files deep down, names of files, and single files are searched; what is left out is not."""
    deep, left_out = tmp_path / "a" / "b", tmp_path / "destination"
    deep.mkdir(parents=True)
    left_out.mkdir()
    (deep / "journal.db-wal").write_bytes(b"\0" * 1000 + VALUE.encode() + b"\0")
    (left_out / "token").write_text(VALUE)
    (tmp_path / "safe-value-in-a-name.txt").write_text("nothing")
    scanner = Scanner({"token": VALUE, "name": "safe-value-in-a-name"})
    found = scanner.scan_tree([tmp_path], skip=[left_out])
    assert {(leak.name, leak.form) for leak in found} == {("token", "raw"), ("name", "raw")}
    assert [leak.offset for leak in scanner.scan_tree([deep / "journal.db-wal"])] == [1000]


def test_a_value_across_two_reads_is_found(tmp_path: Path) -> None:
    """A large file is read in pieces; a value that lies across two of them is found, at its true place."""
    path = tmp_path / "large.log"
    at = (1 << 20) - 10
    path.write_bytes(b"." * at + VALUE.encode() + b"." * 100)
    assert [(leak.form, leak.offset) for leak in Scanner([VALUE]).scan_file(path)] == [("raw", at)]


def test_a_file_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    """Files come and go while a scan runs."""
    assert Scanner([VALUE]).scan_file(tmp_path / "gone") == []


@pytest.mark.parametrize(("place", "plain"), [("environ", False), ("cmdline", False), ("nowhere", True)])
def test_a_running_program_is_searched(place: str, plain: bool) -> None:
    """A value in the environment or the arguments of a program is found, and none where there is none."""
    wait = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
    argv = [*wait, VALUE] if place == "cmdline" else wait
    env = {"TOKEN": VALUE} if place == "environ" else {}
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        found = Scanner({"token": VALUE}).scan_pid(child.pid)
        child.communicate(timeout=10)
    assert (found == []) is plain
    assert all(leak.place == f"{place} of {child.pid}" for leak in found)


def test_a_program_that_has_ended_holds_nothing() -> None:
    """The scan of a program that is gone finds nothing and does not fail."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait(timeout=10)
    assert Scanner([VALUE]).scan_pid(child.pid) == []
