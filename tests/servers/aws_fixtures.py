"""AWS for tests: the strict fake with an account of its own for every test, and moto's server, which is lenient."""

from __future__ import annotations

import contextlib
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from rotatord.testing.aws import REGION, Credentials, FakeAws, client
from tests.servers.component import Component, free_port

_READY_SECONDS = 30
_FIRST_CALLS = 3  # unsigned ones, that make the administrator


@pytest.fixture
def make_aws(request: pytest.FixtureRequest) -> Iterator[Callable[..., FakeAws]]:
    """Starts strict AWS accounts as the test asks: ``make_aws(lags=LIKE_AWS, clock=…, seed=…)``."""
    with contextlib.ExitStack() as started:

        def make(**options: Any) -> FakeAws:
            options.setdefault("seed", zlib.crc32(request.node.nodeid.encode()))
            return started.enter_context(FakeAws(**options))

        yield make


@pytest.fixture
def aws(make_aws: Callable[..., FakeAws]) -> FakeAws:
    """A strict AWS account of this test's own, on a running clock, where every change is known at once."""
    return make_aws()


@dataclass
class Moto:
    """moto's server with authentication switched on, and its administrator."""

    url: str
    admin: Credentials

    def client(self, service: str, credentials: Credentials | None = None, *, region: str = REGION) -> Any:
        """A boto3 client without retries."""
        return client(self.url, service, credentials or self.admin, region=region)


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of moto's server, a program of its own that is told nothing of this machine's AWS."""
    port = free_port()
    argv = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = Component("moto", Path(sys.executable), argv, tmp_path_factory.mktemp("moto"))
    server.start()
    try:
        url = f"http://127.0.0.1:{port}"
        _until_ready(url, server)
        yield url
    finally:
        server.stop()


@pytest.fixture
def moto(moto_server: str) -> Moto:
    """moto with nothing in it but an administrator; signatures and policies are checked from here on."""
    with urllib3.PoolManager(retries=False, timeout=10.0) as pool:
        for path, body in (("reset", b""), ("reset-auth", str(_FIRST_CALLS).encode())):
            answer = pool.request("POST", f"{moto_server}/moto-api/{path}", body=body, headers={"Content-Type": "text/plain"})
            assert answer.status == 200, f"moto: {path} answers {answer.status}"
    found = Moto(moto_server, Credentials("AKIAAAAAAAAAAAAAAAAA", "nobody"))
    iam = found.client("iam")
    iam.create_user(UserName="admin")
    iam.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=_ALL)
    made = iam.create_access_key(UserName="admin")["AccessKey"]
    found.admin = Credentials(made["AccessKeyId"], made["SecretAccessKey"])
    return found


_ALL = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'


def _until_ready(url: str, server: Component) -> None:
    until = time.monotonic() + _READY_SECONDS
    with urllib3.PoolManager(retries=False, timeout=1.0) as pool:
        while server.alive and time.monotonic() < until:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if pool.request("GET", f"{url}/moto-api/").status == 200:
                    return
            time.sleep(0.1)
    pytest.fail(f"moto's server did not start: {server.last_words()}")
