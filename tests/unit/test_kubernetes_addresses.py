"""Secrets in a configuration: who may share one, and what is said of addresses that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from rotatord import config
from rotatord.errors import ConfigError

HEAD = """
issuers:
  own: {type: builtin}
backends:
  cluster: {type: kubernetes, kubeconfig: nowhere, namespace: shop}
policies:
  p: {unproven: {overlap: 10m}}
credentials:
"""


def credential(name: str, address: str, keys: str = "{TOKEN: token}") -> str:
    return (
        f"  - {{name: {name}, issuer: own, policy: p, scope: {{}}, "
        f"destinations: [{{backend: cluster, {address}, keys: {keys}}}]}}\n"
    )


def problems(directory: Path, *credentials: str) -> str:
    file = directory / "rotatord.yaml"
    file.write_text(f"state_dir: {directory}/state\n{HEAD}{''.join(credentials)}")
    try:
        config.load(file)
    except ConfigError as error:
        return str(error)
    return ""


def test_two_credentials_may_share_a_secret_and_no_key(tmp_path: Path) -> None:
    """Other keys are fine; the same key is told, the namespace said or left to the backend, whatever labels are asked for."""
    one = credential("one", "name: app")
    assert problems(tmp_path, one, credential("two", "name: app", "{OTHER: token}")) == ""
    assert problems(tmp_path, one, credential("two", "name: app, namespace: mall")) == ""
    for address in ("name: app", "name: app, namespace: shop", "name: app, labels: {team: edge}"):
        assert "is written by credential 'one'" in problems(tmp_path, one, credential("two", address))
    assert problems(tmp_path, one) == ""


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("nmae: app", "name"),
        ("name: App", "lower-case"),
        ("name: app, type: kubernetes.io/service-account-token", "identity of the cluster"),
        ("name: app, type: kubernetes.io/tls", "tls.crt and tls.key"),
        ("name: app, annotations: {kubernetes.io/x: y}", "reserved"),
    ],
)
def test_what_is_wrong_with_an_address_is_told_at_its_line(tmp_path: Path, address: str, told: str) -> None:
    """With the file's line, and without asking anybody."""
    text = problems(tmp_path, credential("one", address))
    assert told in text
    assert "rotatord.yaml:" in text
