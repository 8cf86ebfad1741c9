"""Scopes that sit on a principal (an IAM user, a database role): what all living versions of it need together. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from rotatord.model import Grant, JsonMap, Owing, Record, Version, digest_of

Scopes = tuple[JsonMap, ...]


def living(record: Record, issuer: str, parameters: JsonMap) -> Scopes:
    """The scopes of all versions at this principal that may still be used, each once, in an order of their own."""
    found = {digest_of(version.scope): version.scope for version in _versions(record) if _at(version, issuer, parameters)}
    return tuple(found[key] for key in sorted(found))


def with_scope(scopes: Scopes, scope: JsonMap) -> Scopes:
    """These and one more."""
    found = {digest_of(item): item for item in (*scopes, scope)}
    return tuple(found[key] for key in sorted(found))


def grant_of(record: Record, issuer: str, parameters: JsonMap) -> Grant | None:
    """What the principal was last told."""
    return next((grant for grant in record.grants if (grant.issuer, grant.parameters) == (issuer, parameters)), None)


def stale(record: Record) -> Grant | None:
    """A principal that may do more, or other things, than its living versions need, or whose last change is not known to
    have arrived; None while a rotation is open, which keeps it wide."""
    if record.rotation is not None:
        return None
    for grant in record.grants:
        needed = living(record, grant.issuer, grant.parameters)
        if needed and (grant.open or grant.scopes != needed):
            return grant
    return None


def _versions(record: Record) -> Iterator[Version]:
    rotation = record.rotation
    for version in (record.current, rotation.base if rotation else None, rotation.new if rotation else None):
        if version is not None:
            yield version
    for debt in record.ledger:
        yield from (owed.version for owed in debt.owed if owed.owing is not Owing.DEAD and owed.version.fingerprint)


def _at(version: Version, issuer: str, parameters: JsonMap) -> bool:
    return version.issuer == issuer and version.parameters in (None, parameters)
