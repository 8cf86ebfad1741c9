"""boto3 clients for tests: of one endpoint, with their own credentials, and without retries."""

from __future__ import annotations

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
    import boto3  # noqa: PLC0415 - the SDK is loaded on first use
    from botocore.config import Config  # noqa: PLC0415

    limits = {"connect_timeout": 5, "read_timeout": 10, "retries": {"total_max_attempts": 1}, **config}
    return boto3.session.Session().client(
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=credentials.id,
        aws_secret_access_key=credentials.secret,
        aws_session_token=credentials.session_token,
        config=Config(**limits),
    )
