"""boto3 clients for tests: of one endpoint, with their own credentials, and without retries."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass, field
from typing import Any

REGION = "eu-west-1"


@dataclass(frozen=True)
class Credentials:
    """A key as its owner has it."""

    id: str
    secret: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


def client(url: str, service: str, credentials: Credentials, *, region: str = REGION, **config: Any) -> Any:
    """A client that takes nothing from the machine's own configuration of AWS."""
    from botocore.config import Config  # noqa: PLC0415 - the SDK is loaded on first use

    limits = {"connect_timeout": 5, "read_timeout": 10, "retries": {"total_max_attempts": 1}, **config}
    with _LOCK:  # a session makes clients for one thread at a time
        return _session().client(
            service,
            region_name=region,
            endpoint_url=url,
            aws_access_key_id=credentials.id,
            aws_secret_access_key=credentials.secret,
            aws_session_token=credentials.session_token,
            config=Config(**limits),
        )


_LOCK = threading.Lock()


@functools.cache
def _session() -> Any:
    """One for all, so that the models of the services are read once."""
    import boto3  # noqa: PLC0415 - likewise

    return boto3.session.Session()
