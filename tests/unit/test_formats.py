"""The forms of files: what is written is what is read, and what shells read too."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rotatord.formats import fill, format_of, parse, placeholders, problems_of, render

VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=60)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
AWKWARD = [
    "plain",
    "two words",
    "it's",
    'say "x"',
    "back\\slash",
    "a\nb",
    "$HOME",
    "`id`",
    "#x",
    "a #b",
    "\\'\"$`\n",
    " lead ",
    "é€😀",
]


@given(document=st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), form=st.sampled_from(["dotenv", "json", "yaml"]))
@settings(max_examples=300, deadline=None)
def test_what_is_rendered_is_parsed_again(document: dict[str, str], form: str) -> None:
    """Every value survives every form, quotes, newlines and all."""
    assert parse(form, render(form, document)) == document


@pytest.mark.parametrize("value", [*AWKWARD, "\\n", "!bang", "a\\$b"])
def test_a_shell_reads_a_dotenv_file_alike(value: str, tmp_path: Path) -> None:
    """``. file`` in a POSIX shell gives exactly the value."""
    path = tmp_path / "x.env"
    path.write_bytes(render("dotenv", {"KEY": value}))
    run = subprocess.run(
        ["/bin/sh", "-c", 'set -a; . "$1"; exec /usr/bin/env -0', "sh", path], capture_output=True, check=True, timeout=10
    )
    assert f"KEY={value}".encode() in run.stdout.split(b"\0")


def test_a_raw_file_is_the_value_and_nothing_else() -> None:
    """No newline is added; two values do not fit."""
    assert render("raw", {"TOKEN": "abc"}) == b"abc"
    assert parse("raw", b"abc") == {"": "abc"}
    with pytest.raises(ValueError, match="exactly one value"):
        render("raw", {"A": "1", "B": "2"})


def test_a_template_is_filled_verbatim_and_strictly() -> None:
    """Unknown placeholders are errors; other braces stand for themselves; values are not templates."""
    template = "auth {{user}}:{{ word }} {x} ${y} {{ word }}\n"
    assert placeholders(template) == {"user", "word"}
    assert fill(template, {"user": "{{ word }}", "word": "\\1"}) == "auth {{ word }}:\\1 {x} ${y} \\1\n"
    with pytest.raises(ValueError, match="asks for word"):
        fill(template, {"user": "u"})
    assert parse("template", b"x") is None


@pytest.mark.parametrize(
    ("form", "content"),
    [("json", b"[1]"), ("json", b'{"a": 1}'), ("json", b"{"), ("yaml", b"a: 1"), ("yaml", b"a: [b"), ("yaml", b"a: {b: c}"),
     ("dotenv", b"not a line\n"), ("dotenv", b"A='x\n"), ("dotenv", b"\xff"), ("yaml", b"")],
)  # fmt: skip
def test_what_is_not_such_a_document_is_none(form: str, content: bytes) -> None:
    """Nesting, other types and broken syntax are not read as something else."""
    assert parse(form, content) is None


def test_dotenv_files_of_others_are_read() -> None:
    """Comments, export, spaces, empty values and Windows line ends are understood."""
    text = b'# c\n\nexport A=1 # x\nB = \'two words\'\r\nC=\nD="x\\"y" # z\nE=a#b\nF=tail'
    assert parse("dotenv", text) == {"A": "1", "B": "two words", "C": "", "D": 'x"y', "E": "a#b", "F": "tail"}


def test_json_is_plain_json() -> None:
    """Any JSON reader gets the document."""
    assert json.loads(render("json", {"k": "é\n"})) == {"k": "é\n"}


def test_problems_name_keys() -> None:
    """A key that cannot be a variable is said; NUL and unknown forms are refused without the value."""
    assert problems_of("dotenv", ["A-B"]) == ["key 'A-B' cannot be the name of an environment variable"]
    with pytest.raises(ValueError, match="NUL") as caught:
        render("json", {"k": "hidden\0"})
    assert "hidden" not in str(caught.value)
    with pytest.raises(ValueError, match="unknown format"):
        render("toml", {"k": "v"})


@pytest.mark.parametrize(
    ("path", "form"), [("a/.env", "dotenv"), ("x.env", "dotenv"), ("x.json", "json"), ("x.yml", "yaml"), ("x", None)]
)
def test_the_name_suggests_the_form(path: str, form: str | None) -> None:
    """Known suffixes choose, others leave the choice to the configuration."""
    assert format_of(path) == form
