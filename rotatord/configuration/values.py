"""The kinds of values that a configuration has, each with the sentence for what is none. No decisions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from rotatord import durations, references
from rotatord.http import check_url

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$"


@dataclass(frozen=True, slots=True)
class Percent:
    """A share of a version's life."""

    value: float


@dataclass(frozen=True, slots=True)
class StillUsed:
    """What to do about a base that somebody still uses."""

    verb: str
    limit: timedelta | None = None


def _length(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError("should be a length of time such as 30d, 1h30m or 90s")  # noqa: TRY004  pydantic takes ValueError
    return durations.parse(str(value))


def length_or_percent(value: Any) -> timedelta | Percent:
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            share = float(value.strip()[:-1])
        except ValueError:
            raise ValueError("should be a length of time such as 7d, or a share of the life such as 33%") from None
        if not 0 < share < 100:
            raise ValueError("should lie between 0% and 100%")
        return Percent(share)
    length = _length(value)
    assert isinstance(length, timedelta)
    return length


def if_still_used(value: Any) -> StillUsed:
    if isinstance(value, str) and value in {"ignore", "hold"}:
        return StillUsed(value)
    if isinstance(value, dict) and set(value) == {"revoke_after"}:
        return StillUsed("revoke_after", _length(value["revoke_after"]))
    raise ValueError("should be ignore, hold or {revoke_after: 7d}")


def reference(value: Any) -> Any:
    wrong = references.problems(value)
    if wrong:
        raise ValueError(wrong[0])
    return dict(value)


def tokens(value: Any) -> Any:
    """The API's tokens are references too, whatever its own model says."""
    for token in value.get("tokens", ()) if isinstance(value, dict) and isinstance(value.get("tokens"), list) else ():
        wrong = references.problems(token.get("token")) if isinstance(token, dict) else ()
        if wrong:
            raise ValueError(f"tokens: {wrong[0]}")
    return value


def database_url(value: Any) -> Any:
    """A reference, or the URL itself as long as nobody could log in with it."""
    if not isinstance(value, str):
        return local_reference(value)
    parts = urlsplit(value)
    if parts.scheme not in {"postgresql", "postgresql+psycopg"}:
        raise ValueError("should be postgresql://USER@HOST/DATABASE, or a reference to such a URL")
    if parts.password is not None or "password=" in parts.query:
        raise ValueError("a URL that holds a password is given by reference: {file: path} or {env: NAME}")
    return {"url": value}


def signal_url(value: Any) -> Any:
    """A reference, or the address itself."""
    return {"url": check_url(value)} if isinstance(value, str) else reference(value)


def local_reference(value: Any) -> Any:
    """One that can be followed before there are backends."""
    found = reference(value)
    if "vault" in found:
        raise ValueError("is needed before any backend is: {file: path} or {env: NAME}")
    return found


Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Length = Annotated[timedelta, BeforeValidator(_length)]
Reference = Annotated[dict[str, str], BeforeValidator(reference)]


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("should be longer than nothing")
    return value


Positive = Annotated[Length, AfterValidator(_positive)]


class Section(BaseModel):
    """Base of all: an unknown key is a mistake."""

    model_config = ConfigDict(extra="forbid")
