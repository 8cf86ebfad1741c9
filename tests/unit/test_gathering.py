"""A restart that waits for others longer than a reload may take would turn back every rotation."""

from __future__ import annotations

from pathlib import Path

import pytest

from rotatord import config
from rotatord.errors import ConfigError

TEXT = """\
issuers:
  tokens: {type: builtin}
backends: {files: {type: file}}
policies: {p: {max_age: 30d, reload_within: RELOAD}}
credentials:
  - name: dns
    issuer: tokens
    policy: p
    destinations: [{backend: files, path: /x/dns.json, keys: {T: token}}]
    consumers: [{type: deployment, name: web, namespace: dns, gather: GATHER}]
"""


def _load(tmp_path: Path, reload_within: str, gather: str) -> config.Configuration:
    path = tmp_path / "rotatord.yaml"
    path.write_text(TEXT.replace("RELOAD", reload_within).replace("GATHER", gather))
    return config.load(path)


def test_gathering_has_to_end_before_the_reload_has_to(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, "1m", "1m")
    (problem,) = caught.value.problems
    assert "rotatord.yaml:10" in str(problem)
    assert "gathers for 1m, and the policy's reload_within is 1m" in str(problem)


def test_a_shorter_one_is_fine(tmp_path: Path) -> None:
    assert _load(tmp_path, "1m", "30s").specs
