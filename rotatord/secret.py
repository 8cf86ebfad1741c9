"""The one type that holds secret values, and the keyed fingerprints that stand for them elsewhere.

Python cannot promise that memory is wiped; what this module promises is that a secret is never printed, logged,
pickled, serialised or compared in variable time by accident: every use of a value is a call of :meth:`Secret.reveal`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring as _quoted
from typing import NoReturn, final

FINGERPRINT_HEX_DIGITS = 32


@final
class Secret:
    """A frozen mapping of named fields (``token``; ``access_key_id`` + ``secret_access_key``), redacted everywhere."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, str]) -> None:
        if not fields:
            raise ValueError("a secret needs at least one field")
        for name, value in fields.items():
            if not isinstance(value, str) or not value:
                raise ValueError(f"field {name!r} of a secret is empty or not text")
        self._fields = dict(fields)

    @property
    def names(self) -> frozenset[str]:
        """The names of the fields; they are not secret."""
        return frozenset(self._fields)

    def reveal(self, field: str) -> str:
        """The clear value of one field. Raises ``KeyError`` with the field's name only."""
        return self._fields[field]

    def reveal_all(self) -> dict[str, str]:
        """A copy of all clear values."""
        return dict(self._fields)

    def canonical(self) -> bytes:
        """Bytes that are equal exactly when the secrets are, whatever version of ours made them: JSON, its names in order. As
        secret as the values."""
        fields = self._fields
        return ("{" + ",".join([f"{_quoted(name)}:{_quoted(fields[name])}" for name in sorted(fields)]) + "}").encode()

    def prove(self, nonce: bytes) -> str:
        """HMAC-SHA256 over a nonce, keyed with the value: shows possession without showing the value."""
        return hmac.new(self.canonical(), nonce, hashlib.sha256).hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return self is other or hmac.compare_digest(self.canonical(), other.canonical())

    def __hash__(self) -> int:
        raise TypeError("a Secret is not hashable: a hash would outlive it")

    def __repr__(self) -> str:
        return f"Secret({', '.join(f'{name}=***' for name in sorted(self._fields))})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied to another process")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret has no serialised state")


@final
class Fingerprinter:
    """Keyed HMAC-SHA256 fingerprints: equal for equal secrets, useless without the key, safe to store and show."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        if len(key) < 32:
            raise ValueError("a fingerprint key has at least 32 bytes")
        self._key = key

    @property
    def id(self) -> str:
        """Names the key without telling it: whether a journal's fingerprints were made with this one."""
        return hmac.new(self._key, b"rotatord fingerprint key", hashlib.sha256).hexdigest()[:16]

    def fingerprint(self, secret: Secret) -> str:
        """32 hex digits over all fields."""
        return hmac.digest(self._key, secret.canonical(), "sha256").hex()[:FINGERPRINT_HEX_DIGITS]

    def __repr__(self) -> str:
        return "Fingerprinter(***)"


def digests(secret: Secret, fields: Iterable[str]) -> dict[str, str]:
    """Plain SHA-256 hex per named field, for leak matching; only for fields the issuer declares high in entropy."""
    return {name: hashlib.sha256(secret.reveal(name).encode()).hexdigest() for name in sorted(fields) if name in secret.names}
