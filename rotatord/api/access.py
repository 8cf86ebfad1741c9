"""Who is asking, and what they may do: peer credentials of the Unix socket, bearer tokens of TCP. Denied by default."""

from __future__ import annotations

import grp
import hashlib
import hmac
import os
import pwd
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rotatord.commands import Right
from rotatord.errors import RotatordError
from rotatord.model import JsonMap

_UCRED = struct.Struct("3i")
_TOKEN_BYTES = 16  # fewer could be guessed


class Grant(BaseModel):
    """Rights over the Unix socket for one user or one group of this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user: str | None = None
    group: str | None = None
    rights: frozenset[Right]

    @model_validator(mode="after")
    def _one(self) -> Grant:
        if (self.user is None) == (self.group is None):
            raise ValueError("a grant names either a user or a group")
        return self


class TokenGrant(BaseModel):
    """Rights over TCP for whoever holds a bearer token; ``token`` is a reference, read anew at each request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    token: dict[str, object]
    rights: frozenset[Right]


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a Unix socket, as the kernel vouches for it at the time of connecting."""

    pid: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody the API knows. ``name`` goes into the event log."""

    name: str
    rights: frozenset[Right]


def peer_of(connection: socket.socket) -> Peer | None:
    """The peer of a Unix socket; None for any other."""
    if connection.family != socket.AF_UNIX:
        return None
    return Peer(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


class Access:
    """Turns a peer or a token into an actor. root and the daemon's own user may do everything; nobody else by default."""

    def __init__(
        self,
        grants: Sequence[Grant] = (),
        tokens: Sequence[TokenGrant] = (),
        secret: Callable[[JsonMap], str] | None = None,
        own_uid: int | None = None,
    ) -> None:
        self._grants = tuple(grants)
        self._tokens = tuple(tokens)
        self._secret = secret
        self._own_uid = os.getuid() if own_uid is None else own_uid

    def of_peer(self, peer: Peer) -> Actor:
        """The actor behind a Unix socket; perhaps one without any right."""
        name = _user_name(peer.uid)
        actor = f"uid:{peer.uid}({name})" if name else f"uid:{peer.uid}"
        if peer.uid in {0, self._own_uid}:
            return Actor(actor, frozenset(Right))
        groups = _groups(name, peer.gid)
        # A uid without a name must not match a grant that names no user: both are None.
        rights = [grant.rights for grant in self._grants if (name is not None and grant.user == name) or grant.group in groups]
        return Actor(actor, frozenset().union(*rights))

    def of_headers(self, headers: Mapping[str, str]) -> Actor | None:
        """The actor that ``Authorization: Bearer …`` proves; None when it proves nothing."""
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not shown:
            return None
        digest = hashlib.sha256(shown.strip().encode()).digest()
        found: Actor | None = None
        for grant in self._tokens:  # all of them, so that the time tells nothing
            if self._matches(grant, digest):
                found = Actor(f"token:{grant.name}", grant.rights)
        return found

    def _matches(self, grant: TokenGrant, digest: bytes) -> bool:
        if self._secret is None:
            return False
        try:
            expected = self._secret(dict(grant.token))
        except (RotatordError, OSError, ValueError, KeyError):
            return False  # a reference that cannot be read lets nobody in
        if len(expected.encode()) < _TOKEN_BYTES:
            return False
        return hmac.compare_digest(hashlib.sha256(expected.encode()).digest(), digest)


def _user_name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _groups(user: str | None, gid: int) -> set[str]:
    """Names of the primary and all other groups; a gid without a name is left out."""
    names = set()
    for number in os.getgrouplist(user, gid) if user else [gid]:
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return names
