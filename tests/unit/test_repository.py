"""The rules that a reader relies on and no linter knows: sizes, words, and who may read the clock."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("rotatord", "issuers", "backends", "consumers")
LONGEST_FUNCTION, LONGEST_FILE = 70, 400
CLOCKS = {"rotatord/clock.py", "rotatord/testing/clock.py"}  # the second one is the tests' and starts from a seed
RANDOM_MODULES = {"random", "secrets", "uuid"}
CLOCK_READS = {
    *(f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep", "clock_gettime")),
    *(f"{name}.{read}" for name in ("datetime", "date") for read in ("now", "utcnow", "today")),
    *(f"time.{name}" for name in ("process_time", "perf_counter_ns", "clock_gettime_ns", "localtime", "gmtime")),
    *("os.urandom", "os.getrandom", "asyncio.sleep", "threading.Timer"),
}
DYNAMIC_IMPORTS = {"importlib.import_module", "__import__"}
UNSAYING_WORDS = {"manager", "handler", "helper", "helpers", "util", "utils", "sync", "data"}
THEIR_WORDS = {("rotatord/vault_client.py", "data"), ("rotatord/vault_login.py", "data")}  # as Vault's answers call it
SDKS = {"hvac", "boto3", "botocore", "cloudflare", "kubernetes", "requests"}
MOCKS = re.compile(r'mock\.patch|\bMagicMock\b|monkeypatch\.setattr\((?!"sys\.)|unittest\.mock')


def sources(*folders: str) -> list[Path]:
    """Our Python files below the named folders."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def named(path: Path) -> str:
    """How a file is called in a message."""
    return path.relative_to(ROOT).as_posix()


def definitions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Every function and class of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node


def words_of(name: str) -> set[str]:
    """``RetryTable`` and ``retry_table`` are both retry and table."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def spelled(node: ast.expr, aliases: dict[str, str]) -> str:
    """``datetime.now`` for whatever leads there: ``datetime.datetime.now``, ``dt.now``, ``now`` imported by itself."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in aliases:
        return ""
    return ".".join([*aliases[node.id].split("."), *names][-2:])


def imported(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            whole = {alias.asname: alias.name for alias in node.names if alias.asname}
            names.update(
                whole | {name: name for alias in node.names if not alias.asname for name in [alias.name.split(".")[0]]}
            )
        elif isinstance(node, ast.ImportFrom):
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def clock_reads(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines that read a clock, sleep or make randomness, by whatever name."""
    aliases = imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and (said := spelled(node, aliases)) in CLOCK_READS:
            yield node.lineno, said
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] in RANDOM_MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in {*RANDOM_MODULES, "time"}:
            yield node.lineno, f"from {node.module}"
        elif isinstance(node, ast.Call) and spelled(node.func, {**aliases, "__import__": "__import__"}) in DYNAMIC_IMPORTS:
            named = [each.value for each in node.args if isinstance(each, ast.Constant)]
            yield from ((node.lineno, str(name)) for name in named if str(name) in {*RANDOM_MODULES, "time"})


def early_imports(tree: ast.Module) -> Iterator[str]:
    """What a file imports as soon as it is imported itself."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_no_function_is_longer_than_a_screen() -> None:
    """A function does one thing and is read at once."""
    long = [
        f"{named(path)}:{node.lineno} {node.name}"
        for path in sources(*PRODUCT, "tests", "benchmarks")
        for node in definitions(path)
        if not isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []


def test_no_file_holds_more_than_one_idea() -> None:
    """A file of more than 400 lines has a second idea in it."""
    assert [named(path) for path in sources(*PRODUCT) if len(path.read_text().splitlines()) > LONGEST_FILE] == []


def test_only_the_clock_reads_time_and_randomness() -> None:
    """Everything else is given time, ids and chance, so that a seed is a run."""
    found = [
        f"{named(path)}:{line} {said}"
        for path in sources(*PRODUCT)
        if named(path) not in CLOCKS
        for line, said in clock_reads(ast.parse(path.read_text()))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import random",
        "import random as chance",
        "from random import choice",
        "from uuid import uuid4 as new",
        "from time import sleep",
        "import time\nx = time.time()",
        "import time as t\nx = t.monotonic()",
        "from datetime import datetime\nx = datetime.now(UTC)",
        "from datetime import datetime as dt\nx = dt.utcnow()",
        "import datetime\nx = datetime.datetime.now()",
        "import datetime\nx = datetime.date.today()",
        "from os import urandom\nx = urandom(9)",
        "import os.path\nread = os.urandom",
        "from threading import Timer\nTimer(1, print)",
        "import threading\nthreading.Timer(1, print)",
        "import importlib\nimportlib.import_module('random')",
        "__import__('time').time()",
    ],
)
def test_a_clock_read_is_seen(text: str) -> None:
    """The check above can fail."""
    assert list(clock_reads(ast.parse(text)))


@pytest.mark.parametrize("text", ["record.time", "event.now()", "clock.monotonic()", "import datetime\nx = datetime.datetime"])
def test_what_reads_no_clock_is_left_alone(text: str) -> None:
    """Names that only look like it are nobody's concern."""
    assert not list(clock_reads(ast.parse(text)))


def test_names_say_something() -> None:
    """None of our things is named by a word that would fit any other."""
    found = [
        f"{named(path)}:{node.lineno} {node.name}"
        for path in sources(*PRODUCT)
        for node in definitions(path)
        if words_of(node.name) & UNSAYING_WORDS and (named(path), node.name) not in THEIR_WORDS
    ]
    assert found == []


def test_no_sdk_is_imported_before_its_first_use() -> None:
    """Starting, and asking for help, costs no SDK."""
    found = [
        f"{named(path)} imports {module}"
        for path in sources(*PRODUCT)
        for module in early_imports(ast.parse(path.read_text()))
        if module.split(".")[0] in SDKS
    ]
    assert found == []


def test_each_file_of_tests_has_a_name_of_its_own() -> None:
    """Of two with one name only the first is collected, wherever they lie, and the whole run ends there."""
    names = Counter(path.name for path in sources("tests") if path.name.startswith("test_"))
    assert [name for name, times in names.items() if times > 1] == []


def test_faults_go_in_through_fakes() -> None:
    """No test replaces a part of the product behind its back."""
    texts = {path: path.read_text() for path in sources("tests") if path != Path(__file__).resolve()}
    assert [named(path) for path, text in texts.items() if MOCKS.search(text)] == []


def test_no_test_sleeps() -> None:
    """Tests wait for events with a deadline, never for time to pass."""
    found = [
        f"{named(path)}:{line}"
        for path in sources("tests")
        for line, said in clock_reads(ast.parse(path.read_text()))
        if said == "time.sleep" and not named(path).startswith("tests/servers/")
    ]
    assert found == []


def test_every_test_says_what_must_hold() -> None:
    """A test's docstring is the behaviour in one sentence."""
    found = [
        f"{named(path)}:{node.lineno} {node.name}"
        for path in sources("tests")
        for node in definitions(path)
        if node.name.startswith("test_") and not isinstance(node, ast.ClassDef) and not ast.get_docstring(node)
    ]
    assert found == []


def pinned() -> dict[str, str]:
    """Name and version of everything in the lock."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = (line.split()[0].split("==") for line in lines if "==" in line)
    return {canonicalize_name(name): version for name, version in pins}


def test_the_lock_answers_everything_that_is_asked_for() -> None:
    """Each dependency, extra, development tool and build requirement is pinned to a version that fits."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, pins = pyproject["project"], pinned()
    lists = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *pyproject["dependency-groups"].values(),
        pyproject["build-system"]["requires"],
    ]
    asked = [Requirement(line) for lines in lists for line in lines]
    wrong = [
        str(need)
        for need in asked
        if canonicalize_name(need.name) != project["name"]
        and not need.specifier.contains(pins.get(canonicalize_name(need.name), "0"))
    ]
    assert wrong == []


def test_the_lock_has_hashes_and_no_addresses() -> None:
    """It installs exactly these files through whatever index a machine is set up with."""
    text = (ROOT / "requirements.lock").read_text()
    assert text.count("==") > 50
    assert all(line.endswith("\\") for line in text.splitlines() if "==" in line)
    assert not re.search(r"://|file:|@ |--(extra-)?index-url|--find-links|--trusted-host", text)
