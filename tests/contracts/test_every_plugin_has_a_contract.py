"""Every registered plugin runs the contract of its port: a test class in this directory says so."""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONTRACTS = {
    "rotatord.issuers": "IssuerContract",
    "rotatord.backends": "BackendContract",
    "rotatord.consumers": "ConsumerContract",
    "rotatord.health": "HealthContract",
    "rotatord.journals": "JournalContract",
}


@dataclass(frozen=True)
class Found:
    """A class of a test file: its bases and the plugin that it names."""

    name: str
    bases: tuple[str, ...]
    plugin: str | None


def classes(directory: Path) -> list[Found]:
    """The classes of all test files, read without running them, so that a missing server hides none."""
    found = []
    for path in sorted(directory.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = tuple(ast.unparse(base).split(".")[-1] for base in node.bases)
                found.append(Found(node.name, bases, _plugin(node)))
    return found


def _plugin(node: ast.ClassDef) -> str | None:
    for line in node.body:
        target = line.targets[0] if isinstance(line, ast.Assign) else line.target if isinstance(line, ast.AnnAssign) else None
        value = line.value if isinstance(line, ast.Assign | ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == "plugin" and isinstance(value, ast.Constant):
            return str(value.value)
    return None


def descends(name: str, contract: str, known: list[Found]) -> bool:
    """Whether a class inherits a contract, through classes of the test files."""
    bases = (base for each in known if each.name == name for base in each.bases)
    return name == contract or any(descends(base, contract, known) for base in bases)


def declared(name: str, known: list[Found]) -> set[str]:
    """The plugins that a class of this name says it is for, itself or through its bases."""
    here = [each for each in known if each.name == name]
    own = {each.plugin for each in here if each.plugin}
    return own or {plugin for each in here for base in each.bases for plugin in declared(base, known)}


def proven(contract: str, known: list[Found]) -> set[str]:
    """The plugins that collected test classes run this contract for."""
    tests = [each.name for each in known if each.name.startswith("Test") and descends(each.name, contract, known)]
    return {plugin for name in tests for plugin in declared(name, known)}


def registered() -> list[tuple[str, str]]:
    """Group and name of each entry point of ours."""
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]
    return [
        (group, name) for group, entries in project["entry-points"].items() if group.startswith("rotatord.") for name in entries
    ]


@pytest.mark.parametrize(("group", "name"), registered())
def test_the_plugin_runs_its_contract(group: str, name: str) -> None:
    """There is a test class that subclasses the port's contract and declares this plugin."""
    contract = CONTRACTS[group]
    assert name in proven(contract, classes(HERE)), (
        f'tests/contracts needs a class Test...({contract}) with plugin = "{name}" for the entry point {name} of {group}'
    )


def test_a_missing_contract_is_noticed(tmp_path: Path) -> None:
    """Only a collected subclass of the right contract that names the plugin counts, also through a base of its own."""
    (tmp_path / "test_x.py").write_text(
        "class Shared(contracts.IssuerContract): pass\n"
        'class TestA(Shared):\n    plugin = "direct"\n'
        'class TestB(Shared):\n    plugin: ClassVar[str] = "annotated"\n'
        'class Hidden(Shared):\n    plugin = "never collected"\n'
        'class TestC(BackendContract):\n    plugin = "other port"\n'
        "class TestD(Shared): pass\n"
        'class Base(Shared):\n    plugin = "inherited"\n'
        "class TestE(Base): pass\n"
    )
    assert proven("IssuerContract", classes(tmp_path)) == {"direct", "annotated", "inherited"}
