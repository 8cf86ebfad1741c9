"""The rules that the manual shows watch metrics that there are, and its configuration is one."""

from __future__ import annotations

import re
from pathlib import Path

from ruamel.yaml import YAML

from rotatord.configuration.schema import DeadmanSection
from rotatord.telemetry import Telemetry

PAGE = Path(__file__).parents[2] / "docs" / "alarms.md"


def test_every_rule_watches_metrics_that_are_exported() -> None:
    """Who copies them is woken when it matters."""
    blocks = [YAML(typ="safe").load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    (rules,) = [block["groups"][0]["rules"] for block in blocks if "groups" in block]
    (deadman,) = [block["deadman"] for block in blocks if "deadman" in block]
    assert DeadmanSection.model_validate(deadman).failure == "/fail"
    exported = Telemetry().render().decode()
    watched = {name for rule in rules for name in re.findall(r"rotatord_\w+", rule["expr"])}
    assert len(watched) == 4
    assert [name for name in watched if f"# TYPE {name} gauge" not in exported] == []
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)
