"""Where versions carry no labels, a principal is one credential's alone: two would end each other's keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from rotatord import config
from rotatord.errors import ConfigError

HEAD = """\
issuers:
  iam: {type: aws_iam_user, region: eu-west-1}
  same: {type: aws_iam_user, region: eu-west-1, timeout: 25}
  other: {type: aws_iam_user, region: eu-west-1, profile: another-account}
  numbered: {type: aws_iam_user, region: eu-west-1, account: "123456789012"}
  assuming: {type: aws_iam_user, account: "123456789012", assume_role: {arn: "arn:aws:iam::123456789012:role/keys"}}
backends: {files: {type: file}}
policies: {p: {max_age: 30d, unproven: {overlap: 1h}}}
credentials:
"""
ONE = (
    "  - {{name: {0}, issuer: {1}, policy: p, parameters: {{user: {2}}}, "
    "destinations: [{{backend: files, path: /x/{0}.json, keys: {{I: access_key_id, S: secret_access_key}}}}]}}\n"
)


def _load(tmp_path: Path, *credentials: tuple[str, str, str]) -> config.Configuration:
    path = tmp_path / "rotatord.yaml"
    path.write_text(HEAD + "".join(ONE.format(*each) for each in credentials))
    return config.load(path)


@pytest.mark.parametrize(
    ("first", "second"),
    [(("iam", "app"), ("iam", "app")), (("iam", "app"), ("same", "App")), (("numbered", "app"), ("assuming", "app"))],
    ids=["one issuer", "two issuers alike, and AWS does not tell users apart by case", "two ways into one account"],
)
def test_two_credentials_may_not_have_one_user(tmp_path: Path, first: tuple[str, str], second: tuple[str, str]) -> None:
    """What one of them minted is unexplained to the other, and may be taken for what a lost answer left behind."""
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, ("one", *first), ("two", *second))
    (problem,) = caught.value.problems
    assert "credential 'one'" in str(problem)
    assert "each would end the other's" in str(problem)


def test_different_users_and_accounts_are_different_principals(tmp_path: Path) -> None:
    """The same name in another account is somebody else."""
    loaded = _load(tmp_path, ("one", "iam", "app"), ("two", "iam", "web"), ("three", "other", "app"))
    assert set(loaded.specs) == {"one", "two", "three"}
