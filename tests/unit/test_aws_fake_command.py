"""The strict AWS as a command, just as the page on plugins shows it."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3
from botocore import xform_name

import rotatord.testing.aws
from rotatord.testing.aws import Credentials, client
from rotatord.testing.aws.gateway import OPERATIONS

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"
SHOWN = re.compile(r"```\n\$ (?P<command>python -m rotatord\.testing\.aws.*)\n(?P<lines>(?:export .*\n)+)```")


def shown() -> re.Match[str]:
    found = SHOWN.search(PAGE.read_text())
    assert found, "docs/plugins.md shows no command"
    return found


def test_the_command_of_the_page_serves_an_account_until_it_is_ended() -> None:
    """It prints what its page says, boto3 understands it, and it ends when asked."""
    argv = [sys.executable, *shlex.split(shown()["command"])[1:]]
    named = re.findall(r"^export (\w+)=", shown()["lines"], re.MULTILINE)
    server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        told = dict(
            line.removeprefix("export ").rstrip("\n").split("=", 1) for line in (server.stdout.readline() for _ in named)
        )
        assert list(told) == named
        key = Credentials(told["AWS_ACCESS_KEY_ID"], told["AWS_SECRET_ACCESS_KEY"])
        sts = client(told["AWS_ENDPOINT_URL"], "sts", key, region=told["AWS_DEFAULT_REGION"])
        assert sts.get_caller_identity()["Arn"].endswith("user/admin")
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait(10)
        assert server.stdout is not None
        server.stdout.close()


def test_the_core_and_the_fake_are_imported_without_the_sdk() -> None:
    """Who does not use AWS does not pay for it."""
    code = "import rotatord.testing.aws, sys; sys.exit(any(name in sys.modules for name in ('boto3', 'botocore')))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_every_operation_is_asked_by_boto3_in_these_tests() -> None:
    """None is there untried."""
    asked = "".join(file.read_text() for file in Path(__file__).parent.glob("test_aws_fake_*.py"))
    known = [xform_name(operation) for operations in OPERATIONS.values() for operation in operations]
    assert [name for name in known if not re.search(rf"\b{name}\b", asked)] == []


def test_every_error_of_an_operation_is_met_in_these_tests() -> None:
    """Nor is any refusal."""
    asked = "".join(file.read_text() for file in Path(__file__).parent.glob("test_aws_fake_*.py"))
    package = Path(rotatord.testing.aws.__file__).parent
    codes = {code for file in package.glob("*.py") for code in re.findall(r'AwsError\(\s*"(\w+)"', file.read_text())}
    assert sorted(code for code in codes if code not in asked) == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_stranger_gets_no_account(method: str) -> None:
    """Whatever is asked without a signature is refused in words."""
    from rotatord.testing.aws import FakeAws

    with FakeAws() as fake, urllib3.PoolManager(retries=False, timeout=10.0) as pool:
        answer = pool.request(method, fake.url + "/")
        assert (answer.status, b"MissingAuthenticationToken" in answer.data) == (403, True)
