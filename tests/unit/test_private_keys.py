"""What may not be committed is seen, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).resolve().parents[1] / "tools" / "private_keys.py"
PLANTED = {
    "a private key": "-----BEGIN OPENSSH PRIVATE " + "KEY-----",
    "an AWS access key id": "key: AKIA" + "QWERTYUIOPASDFGH",
    "an AWS secret key": "aws_secret_access_key = " + "abcdefghij" * 4,
}


def run(path: Path) -> subprocess.CompletedProcess[str]:
    """The check, as pre-commit starts it."""
    return subprocess.run([sys.executable, CHECK, path], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(("what", "text"), PLANTED.items())
def test_a_planted_credential_is_named_with_its_line(tmp_path: Path, what: str, text: str) -> None:
    """A commit with it is refused, and the person is told where it stands."""
    path = tmp_path / "planted.txt"
    path.write_text(f"harmless\n{text}\n")
    answer = run(path)
    assert (answer.returncode, f"{path}:2: {what}" in answer.stderr) == (1, True)


def test_public_keys_and_the_documentation_example_pass(tmp_path: Path) -> None:
    """What may be shown is no finding."""
    path = tmp_path / "fine.txt"
    path.write_text("-----BEGIN PUBLIC KEY-----\nAKIAIOSFODNN7EXAMPLE\n")
    assert run(path).returncode == 0
