"""Accessors that Vault lists though no token is behind them: a Vault that was killed halfway leaves such, and answers a
look-up of one as it answers somebody without the right to look."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from issuers import vault_token
from rotatord.errors import Denied
from rotatord.ports import Query, Surroundings
from rotatord.testing.loopback import Answer, Asked, Loopback, answer_json

DENIED = answer_json({"errors": ["1 error occurred:\n\t* permission denied\n\n"]}, 403)
META = {"rotatord_installation": "inst", "rotatord_credential": "app", "rotatord_rotation": "rot_1", "rotatord_generation": "3"}


class OldVault:
    """A Vault with one token of ours, and one accessor with nothing behind it."""

    def __init__(self) -> None:
        self.may = ["update"]  # what our identity may do with look-ups
        self.dangling = {"dangling"}
        self.granting = False  # somebody gives us the right just before we ask which we have
        self.looked_up: list[str] = []

    def answer(self, asked: Asked) -> Answer:
        body = json.loads(asked.body or b"{}")
        path = asked.path.removeprefix("/v1/").partition("?")[0]
        if path == "auth/token/accessors":
            return answer_json({"data": {"keys": ["ours", "dangling"]}})
        if path == "sys/capabilities-self":
            if self.granting:
                self.may = ["update"]
            return answer_json({"data": dict.fromkeys(body["paths"], self.may)})
        if path == "auth/token/lookup-accessor":
            self.looked_up.append(body["accessor"])
            if body["accessor"] in self.dangling or self.may == ["deny"]:
                return DENIED
            return answer_json({"data": {"accessor": body["accessor"], "meta": META, "policies": ["app"]}})
        if path == "auth/token/revoke-accessor":
            return answer_json({"errors": ["token not found"]}, 400)
        return answer_json({"errors": [f"no {path}"]}, 404)


@pytest.fixture
def old_vault() -> OldVault:
    return OldVault()


@pytest.fixture
def server(old_vault: OldVault) -> Iterator[Loopback]:
    with Loopback() as loopback:
        loopback.answer = old_vault.answer
        yield loopback


@pytest.fixture
def settings(server: Loopback, tmp_path: Path) -> dict[str, Any]:
    token = tmp_path / "token"
    token.write_text("own-token")
    return {"address": server.url, "auth": {"token_file": str(token)}}


Make = Callable[..., Surroundings]
OURS = Query(installation="inst", credential="app", rotation="rot_1", parameters={})


def test_it_hides_nothing_that_lives(settings: dict[str, Any], surroundings: Make) -> None:
    """A search finds what it would find without such an accessor, and by itself it is gone."""
    issuer = vault_token.create(settings, surroundings())
    assert [live.ref for live in issuer.find(OURS)] == ["ours"]
    assert issuer.find(Query(ref="dangling", installation="inst", credential="app", parameters={})) == []
    issuer.close()


def test_it_is_not_remembered(settings: dict[str, Any], surroundings: Make, old_vault: OldVault) -> None:
    """The accessor of a token that is just being made is listed before the token is there: the next search looks again."""
    issuer = vault_token.create(settings, surroundings())
    assert [live.ref for live in issuer.find(OURS)] == ["ours"]
    old_vault.dangling.clear()
    assert sorted(live.ref for live in issuer.find(OURS)) == ["dangling", "ours"]
    issuer.close()


def test_it_counts_as_ended(settings: dict[str, Any], surroundings: Make) -> None:
    """Vault finds no token to revoke behind it, and that is the end that was wanted."""
    issuer = vault_token.create(settings, surroundings())
    issuer.revoke("dangling", None, {})
    issuer.close()


def test_a_missing_right_is_still_one(settings: dict[str, Any], surroundings: Make, old_vault: OldVault) -> None:
    """Who may not look up accessors is told so, and nothing counts as gone."""
    old_vault.may = ["deny"]
    issuer = vault_token.create(settings, surroundings())
    with pytest.raises(Denied):
        issuer.find(OURS)
    with pytest.raises(Denied):
        issuer.find(Query(ref="ours", installation="inst", credential="app", parameters={}))
    issuer.close()


def test_a_right_that_comes_meanwhile_hides_nothing(settings: dict[str, Any], surroundings: Make, old_vault: OldVault) -> None:
    """A refused look is followed by the right to it: the token behind it lives, and would have counted as gone."""
    old_vault.may, old_vault.granting = ["deny"], True
    issuer = vault_token.create(settings, surroundings())
    found = issuer.find(Query(ref="ours", installation="inst", credential="app", parameters={}))
    assert [live.ref for live in found] == ["ours"]
    issuer.close()
