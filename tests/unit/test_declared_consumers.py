"""Consumers as they are declared: what could never come to a proof is refused before anything is touched."""

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
    """A restart that waits for others longer than a reload may take would turn back every rotation."""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, "1m", "1m")
    (problem,) = caught.value.problems
    assert "rotatord.yaml:10" in str(problem)
    assert "gathers for 1m, and the policy's reload_within is 1m" in str(problem)


def test_a_shorter_one_is_fine(tmp_path: Path) -> None:
    """There is time left to restart in."""
    assert _load(tmp_path, "1m", "30s").specs


COPIED = """\
issuers:
  iam: {type: aws_iam_user, region: eu-west-1}
backends: {files: {type: file}}
policies: {p: {max_age: 30d}}
credentials:
  - name: mail
    issuer: iam
    policy: p
    parameters: {user: mail}
    destinations: [{backend: files, path: /x/mail.json, keys: {I: access_key_id, S: secret_access_key}}]
    consumers:
      - {type: observe, name: relay, refresh_within: 1m, copies: [{backend: files, path: /y.json, keys: {URL: "TEMPLATE"}}]}
"""


def test_a_copy_has_to_be_one_that_can_be_read_back(tmp_path: Path) -> None:
    """Of a template with two unknown fields nothing can be told: it would be waited for until the rotation turns back."""
    path = tmp_path / "rotatord.yaml"
    path.write_text(COPIED.replace("TEMPLATE", "smtp://{access_key_id}:{secret_access_key}@mail"))
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    (problem,) = caught.value.problems
    assert "cannot be read back" in str(problem)
    path.write_text(COPIED.replace("TEMPLATE", "smtp://relay:{secret_access_key}@mail"))
    assert config.load(path).specs


def test_a_url_whose_password_is_put_in_by_a_template_holds_no_secret(tmp_path: Path) -> None:
    """One that stands there as it is does."""
    path = tmp_path / "rotatord.yaml"
    path.write_text(COPIED.replace("TEMPLATE", "smtp://relay:correct-horse-battery@{secret_access_key}"))
    with pytest.raises(ConfigError, match="a secret itself stands here"):
        config.load(path)
