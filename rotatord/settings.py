"""Settings of the daemon that may come from the environment: ``ROTATORD_*`` beats the file. They never hold secrets,
but where those are: a database's URL that stands in its variable is read there when it is used."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from rotatord.api.settings import Address, ApiSettings
from rotatord.configuration.schema import LogSection
from rotatord.configuration.values import NAME_PATTERN
from rotatord.errors import ConfigError, Problem
from rotatord.mistakes import words_for

PREFIX = "ROTATORD_"
DEFAULT_CONFIG = "/etc/rotatord/rotatord.yaml"


class Settings(BaseSettings):
    """Each as ``ROTATORD_`` and its name in capitals; where not given the file decides."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)

    config: str = Field(default=DEFAULT_CONFIG, description="the configuration's file or directory")
    installation: str | None = Field(default=None, pattern=NAME_PATTERN, description="as `installation` in the file")
    state_dir: str | None = Field(default=None, description="as `state_dir` in the file")
    database_url: str | None = Field(
        default=None, description="the journal's database: `postgresql://USER@HOST/DATABASE`, or a reference `file:PATH`"
    )
    lease_seconds: float | None = Field(default=None, ge=1, le=3600, description="as `database: {lease}` in the file")
    fingerprint_key: str | None = Field(default=None, description="as `fingerprint_key` in the file, written `file:PATH`")
    log_level: Literal["debug", "info", "warning", "error"] | None = Field(default=None, description="as `log: {level}`")
    log_format: Literal["auto", "json", "text"] | None = Field(default=None, description="as `log: {format}`")
    socket: str | None = Field(default=None, description="as `api: {socket}`")
    tcp_listen: str | None = Field(default=None, description="as `api: {listen}`, written host:port")
    probes_listen: str | None = Field(default=None, description="as `api: {probes}`, written host:port")

    @field_validator("tcp_listen", "probes_listen")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None:
            _parsed(value)
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str | None) -> str | None:
        if value is None or _is_reference(value):
            return value
        if not value.startswith(("postgresql://", "postgresql+psycopg://")):
            raise ValueError("should be postgresql://USER@HOST/DATABASE, or a reference file:PATH or env:NAME")
        return f"env:{PREFIX}DATABASE_URL"  # it may hold a password

    @field_validator("fingerprint_key")
    @classmethod
    def _key(cls, value: str | None) -> str | None:
        if value is not None and not _is_reference(value):
            raise ValueError("should be a reference, file:PATH or env:NAME, never the key itself")
        return value

    @classmethod
    def from_environment(cls) -> Settings:
        """What the environment says. Raises ConfigError that names each variable."""
        try:
            return cls()
        except ValidationError as error:
            problems = []
            for item in error.errors(include_url=False, include_input=False):
                name = str(item["loc"][0]) if item["loc"] else ""
                what = words_for(item).removeprefix(f"{name!r} ")
                problems.append(Problem(f"environment variable {PREFIX}{name.removeprefix(PREFIX.lower()).upper()}", what))
            raise ConfigError(problems) from None

    @classmethod
    def nothing(cls) -> Settings:
        """No overrides, whatever the environment says."""
        return cls.model_construct()

    def api(self, section: ApiSettings) -> ApiSettings:
        """The API's settings with the overrides. Raises ConfigError where together they make no sense."""
        changes: dict[str, object] = {}
        if self.socket is not None:
            changes["socket"] = self.socket
        if self.tcp_listen is not None:
            changes["listen"] = _parsed(self.tcp_listen)
        if self.probes_listen is not None:
            changes["probes"] = _parsed(self.probes_listen)
        if not changes:
            return section
        try:
            return ApiSettings.model_validate(section.model_dump() | changes)
        except ValidationError as error:
            what = "; ".join(words_for(item) for item in error.errors(include_url=False, include_input=False))
            raise ConfigError([Problem(f"environment variable {PREFIX}TCP_LISTEN", what)]) from None

    def log(self, section: LogSection) -> LogSection:
        """The log's settings with the overrides."""
        return LogSection(level=self.log_level or section.level, format=self.log_format or section.format)


def reference_of(text: str | None) -> dict[str, str] | None:
    """A reference as it stands in a file."""
    kind, _, rest = (text or "").partition(":")
    return {kind: rest} if text else None


def _is_reference(text: str) -> bool:
    kind, _, rest = text.partition(":")
    return kind in {"file", "env"} and bool(rest)


def _parsed(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError("should be host:port, such as 127.0.0.1:8080")
    return Address(host=host.strip("[]") or "127.0.0.1", port=int(port))
