"""Where the API listens and who may use it."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rotatord.api.access import Grant, TokenGrant


class Tls(BaseModel):
    """Files of a certificate chain and its key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate: str
    key: str


class Address(BaseModel):
    """A TCP address. Port 0 takes a free one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)]

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class ApiSettings(BaseModel):
    """The Unix socket is always there; TCP only when switched on. ``probes`` serves health and metrics, nothing else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    socket: str | None = None  # None: rotatord.sock in the state directory
    socket_mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] = "0600"
    socket_group: str | None = None
    grants: tuple[Grant, ...] = ()
    listen: Address | None = None
    tls: Tls | None = None
    tokens: tuple[TokenGrant, ...] = ()
    probes: Address | None = None

    @model_validator(mode="after")
    def _safe(self) -> ApiSettings:
        if self.listen is not None and not self.tokens:
            raise ValueError("listen needs tokens: nobody could use it")
        if self.listen is not None and self.tls is None and not self.listen.loopback:
            raise ValueError("listen on anything but loopback needs tls: bearer tokens would be readable on the way")
        if len({token.name for token in self.tokens}) < len(self.tokens):
            raise ValueError("two tokens have the same name")
        return self
