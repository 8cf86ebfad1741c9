"""Our own way into Vault, as every plugin for it shows it: whether another would do, and how long the present one lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rotatord.errors import Denied, OutsideError
from rotatord.jwt_life import life_of
from rotatord.ports import Life, Secrets
from rotatord.rights import VaultRight
from rotatord.vault_client import Calls, VaultClient, missing_rights, parse_time
from rotatord.vault_login import Login

_SELF = "auth/token/lookup-self"
_UNSEEN_SECONDS = 3600.0  # each refusal is a line in Vault's audit log
_CHILD = "it is no orphan: it ends with its parent token, whose end cannot be seen from here"


class OwnVault:
    """The powers Empowered and TellsOwnLife. Plugins say what they need."""

    _vault: VaultClient
    _unseen: tuple[float, Life] | None = None  # until when Vault's refusal to let us look is not asked for again

    def _needed(self, needs: Sequence[Any]) -> Sequence[VaultRight]:
        raise NotImplementedError

    def _beyond(self, calls: Calls, needs: Sequence[Any]) -> list[str]:  # noqa: ARG002  for those that have something to say
        """What no right on a path says."""
        return []

    def works_with(self, secret: Secrets, needs: Sequence[Any]) -> Sequence[str]:
        wanted: dict[str, tuple[str, ...]] = {}
        for right in self._needed(needs):
            wanted[right.path] = tuple(dict.fromkeys((*wanted.get(right.path, ()), *right.capabilities)))
        try:
            with _as_with(self._vault, secret) as calls:
                return missing_rights(calls, wanted or {_SELF: ()}) + self._beyond(calls, needs)
        except Denied as error:
            return [str(error)]

    def take_up(self) -> None:
        self._vault.take_up()

    def own_life(self) -> Sequence[Life]:
        auth, login = self._vault.settings.auth, self._vault.login
        if auth.jwt is not None:
            return [life_of("auth.jwt.jwt", login.read(auth.jwt.jwt))]
        if auth.kubernetes is not None:
            return [life_of("auth.kubernetes.token_file", login.read({"file": auth.kubernetes.token_file}))]
        if self._unseen is not None and self._vault.monotonic() < self._unseen[0]:
            return [self._unseen[1]]
        calls = self._vault.calls()
        if auth.approle is not None:
            life = _of_secret_id(calls, auth.approle.mount, login.read(auth.approle.secret_id))
        else:
            life = _of_token(calls, "auth.token" if auth.token is not None else "auth.token_file")
        self._unseen = (self._vault.monotonic() + _UNSEEN_SECONDS, life) if life.unknown else None
        return [life]


@contextlib.contextmanager
def _as_with(vault: VaultClient, secret: Secrets) -> Iterator[Calls]:
    """Calls under a login of their own, which is ended again."""
    login = Login(vault.settings.auth, secret, vault.monotonic)
    calls = vault.calls(login)
    try:
        yield calls
    finally:
        for made in login.forget():
            with contextlib.suppress(OutsideError):  # it expires by itself
                calls.send("post", "auth/token/revoke-self", {}, made)


def _of_token(calls: Calls, place: str) -> Life:
    answer = calls.request("get", _SELF, None, (403,))
    if answer.token_is_dead:
        return Life(place=place, danger="Vault does not know it any more")
    if answer.status == 403:
        return Life(place=place, unknown=f"it may not look at itself ({_SELF})")
    told = answer.data
    danger = "" if told.get("orphan") else _CHILD
    ends = parse_time(told.get("expire_time"))
    if ends is None:
        return Life(place=place, danger=danger)
    limit = timedelta(seconds=int(told.get("explicit_max_ttl") or 0))
    renewed = bool(told.get("renewable"))
    if limit and renewed:  # whoever renews it, it ends there
        return Life(
            place=place, ends_at=datetime.fromtimestamp(int(told["creation_time"]), UTC) + limit, lasts=limit, danger=danger
        )
    lasts = timedelta(seconds=int(told.get("period") or told.get("creation_ttl") or 0))
    return Life(place=place, ends_at=ends, lasts=lasts or None, renewed=renewed, danger=danger)


def _of_secret_id(calls: Calls, mount: str, value: str) -> Life:
    place = "auth.approle.secret_id"
    role = (calls.request("get", _SELF, None, (403,)).data.get("meta") or {}).get("role_name")
    path = f"auth/{mount}/role/{role}/secret-id/lookup"
    answer = calls.post(path, {"secret_id": value}, allow=(403, 404)) if role else None
    if answer is None or answer.status not in (200, 204) or not answer.data:
        return Life(place=place, unknown=f"we may not look it up ({path if role else _SELF})")
    told = answer.data
    ends, made = parse_time(told.get("expiration_time")), parse_time(told.get("creation_time"))
    uses = int(told.get("secret_id_num_uses") or 0)
    danger = f"it is good for {uses} more logins" if uses else ""
    return Life(place=place, ends_at=ends, lasts=ends - made if ends and made else None, danger=danger)
