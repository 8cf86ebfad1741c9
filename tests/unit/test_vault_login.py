"""Our own identity at Vault: had, renewed, replaced and repeated, over a scripted Vault and a clock that tests move."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from rotatord.errors import Denied, NotFound, Retryable
from rotatord.model import JsonMap
from rotatord.vault_client import Answer
from rotatord.vault_login import AuthSettings, Login


@dataclass
class Script:
    """A Vault that hands out ``token-1``, ``token-2`` … for ``lasts`` seconds, and renews for ``renews`` seconds."""

    lasts: int = 90
    renews: int = 90
    renewable: bool = True
    status: int = 200
    asked: list[tuple[str, JsonMap | None, str | None]] = field(default_factory=list)
    during: Any = None

    def send(self, method: str, path: str, body: JsonMap | None, token: str | None) -> Answer:
        assert method in ("post", "get")
        self.asked.append((path, body, token))
        if self.during is not None:
            self.during()
        if self.status != 200:
            return Answer(self.status, {"errors": ["permission denied"]})
        if path.endswith("/login"):
            name = f"token-{sum(1 for each, _, _ in self.asked if each.endswith('/login'))}"
            return Answer(200, {"auth": {"client_token": name, "lease_duration": self.lasts, "renewable": self.renewable}})
        if path == "auth/token/renew-self":
            return Answer(200, {"auth": {"lease_duration": self.renews, "renewable": self.renewable}})
        if path == "auth/token/revoke-self":
            return Answer(204, {})
        assert path == "auth/token/lookup-self"
        return Answer(200, {"data": {"ttl": self.lasts, "creation_ttl": self.lasts, "renewable": self.renewable}})

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


@dataclass
class Hands:
    """The clock, and the secrets that a login reads."""

    now: float = 1000.0
    values: dict[str, str] = field(default_factory=lambda: {"secret": "sid-1", "jwt": "jwt-1", "token": "given-1"})
    missing: Exception | None = None

    def secret(self, reference: JsonMap | str) -> str:
        if self.missing is not None:
            raise self.missing
        assert isinstance(reference, dict)
        return self.values[next(iter(reference.values()))]


APPROLE: JsonMap = {"approle": {"role_id": "rid", "secret_id": {"file": "secret"}}}
LOGIN = "auth/approle/login"


def login(hands: Hands, auth: JsonMap = APPROLE) -> Login:
    return Login(AuthSettings.model_validate(auth), hands.secret, lambda: hands.now)


def test_one_login_serves_many_calls() -> None:
    """Nothing is asked again before two thirds of the life have passed."""
    hands, vault = Hands(), Script()
    own = login(hands)
    assert {own.token(vault.send).value for _ in range(5)} == {"token-1"}
    hands.now += 59
    own.token(vault.send)
    assert vault.asked == [(LOGIN, {"role_id": "rid", "secret_id": "sid-1"}, None)]


def test_renewed_at_two_thirds() -> None:
    """At two thirds the same token is prolonged, once, and lasts anew."""
    hands, vault = Hands(), Script()
    own = login(hands)
    own.token(vault.send)
    hands.now += 61
    assert own.token(vault.send).value == "token-1"
    assert own.token(vault.send).value == "token-1"
    assert vault.paths() == [LOGIN, "auth/token/renew-self"]
    hands.now += 61
    own.token(vault.send)
    assert vault.paths()[2:] == ["auth/token/renew-self"]


@pytest.mark.parametrize(("renews", "renewable"), [(20, True), (90, False)])
def test_a_token_near_its_limit_is_replaced_in_time(renews: int, renewable: bool) -> None:
    """Where a renewal gives little, or is impossible, a new login takes over while the old token still works."""
    hands, vault = Hands(), Script(renews=renews, renewable=renewable)
    own = login(hands)
    own.token(vault.send)
    hands.values["secret"] = "sid-2"
    hands.now += 61
    assert own.token(vault.send).value == "token-2"
    assert vault.asked[-1] == (LOGIN, {"role_id": "rid", "secret_id": "sid-2"}, None)


def test_while_one_renews_the_others_go_on() -> None:
    """A second caller gets the old token without waiting for the renewal."""
    hands, vault = Hands(), Script()
    own = login(hands)
    own.token(vault.send)
    hands.now += 61
    seen: list[str] = []

    def other_caller() -> None:
        vault.during = None
        thread = threading.Thread(target=lambda: seen.append(own.token(vault.send).value))
        thread.start()
        thread.join(5)
        assert not thread.is_alive(), "it waited"

    vault.during = other_caller
    own.token(vault.send)
    assert seen == ["token-1"]
    assert vault.paths().count("auth/token/renew-self") == 1


def test_a_renewal_that_fails_waits_a_little_and_loses_nothing() -> None:
    """While Vault cannot be asked, the old token is used; after a pause it is tried again; once it is over, an error."""
    hands, vault = Hands(), Script()
    own = login(hands)
    own.token(vault.send)
    hands.now += 61
    vault.status = 503
    for _ in range(3):
        assert own.token(vault.send).value == "token-1"
    tries = len(vault.asked)
    hands.now += 6
    own.token(vault.send)
    assert len(vault.asked) > tries
    hands.now += 60
    with pytest.raises(Retryable):
        own.token(vault.send)
    vault.status = 200
    assert own.token(vault.send).value != "token-1"


def test_a_refused_login_is_denied_and_shows_nothing() -> None:
    """Vault's refusal of our login is Denied, without what we logged in with."""
    vault = Script(status=400)
    with pytest.raises(Denied) as caught:
        login(Hands()).token(vault.send)
    assert "sid-1" not in str(caught.value)


@pytest.mark.parametrize("missing", [FileNotFoundError("no such file"), NotFound("the file is empty")])
def test_a_secret_that_cannot_be_read_is_retryable(missing: Exception) -> None:
    """It may be mounted in a moment; "not found" here must never look like something that Vault has not got."""
    with pytest.raises(Retryable):
        login(Hands(missing=missing)).token(Script().send)


def test_after_a_refusal_there_is_one_new_login() -> None:
    """Many callers whose token died get the same new one; a given token that did not change has no successor."""
    hands, vault = Hands(), Script()
    own = login(hands)
    dead = own.token(vault.send)
    newer = [own.after_refusal(dead, vault.send) for _ in range(3)]
    assert [token.value for token in newer if token] == ["token-2"] * 3
    given = login(hands, {"token": {"file": "token"}})
    assert given.after_refusal(given.token(vault.send), vault.send) is None


def test_a_given_token_is_read_anew() -> None:
    """A file that changes is noticed at the next call; a token that we were given is renewed, one from an agent is not."""
    hands, vault = Hands(), Script()
    agent = login(hands, {"token_file": "token"})
    assert agent.token(vault.send).value == "given-1"
    hands.values["token"] = "given-2\n"
    assert agent.token(vault.send).value == "given-2"
    assert vault.asked == []
    given = login(hands, {"token": {"file": "token"}})
    given.token(vault.send)
    hands.now += 61
    assert given.token(vault.send).value == "given-2"
    assert vault.paths() == ["auth/token/lookup-self", "auth/token/renew-self"]
    assert given.forget() == []


def test_a_given_token_that_may_not_look_at_itself_is_used_as_it_is() -> None:
    """Whether it works shows when it is used; a sealed Vault is another matter."""
    hands, vault = Hands(), Script(status=403)
    assert login(hands, {"token": {"file": "token"}}).token(vault.send).value == "given-1"
    vault.status = 503
    with pytest.raises(Retryable):
        login(hands, {"token": {"file": "token"}}).token(vault.send)


def test_a_former_login_is_ended_once_and_no_earlier_than_calls_with_it_can_last() -> None:
    """Whoever comes while it is being ended neither ends it again nor ends a later one too early."""
    hands, vault = Hands(), Script(lasts=9000)
    own = login(hands)
    own.token(vault.send)
    own.take_up(vault.send)
    hands.now += 30
    own.take_up(vault.send)
    vault.during = lambda: own.token(Script().send)
    hands.now += 31
    assert own.token(vault.send).value == "token-3"
    assert [token for path, _, token in vault.asked if path == "auth/token/revoke-self"] == ["token-1"]
    assert own.forget() == ["token-3", "token-2"]


def test_jwts_are_read_for_each_login() -> None:
    """JWT and Kubernetes logins send the role and what the file holds at that moment."""
    hands, vault = Hands(), Script(renewable=False)
    for auth, mount in (
        ({"jwt": {"role": "r", "jwt": {"file": "jwt"}}}, "jwt"),
        ({"kubernetes": {"role": "r", "token_file": "jwt", "mount": "k8s/a"}}, "k8s/a"),
    ):
        hands.values["jwt"] = "jwt-1"
        own = login(hands, auth)
        own.token(vault.send)
        hands.values["jwt"] = "jwt-2"
        hands.now += 61
        own.token(vault.send)
        assert vault.asked[-2:] == [
            (f"auth/{mount}/login", {"role": "r", "jwt": "jwt-1"}, None),
            (f"auth/{mount}/login", {"role": "r", "jwt": "jwt-2"}, None),
        ]


def test_tokens_are_not_shown() -> None:
    """A token of ours has a repr without its value."""
    assert "token-1" not in repr(login(Hands()).token(Script().send))


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"token": {"file": "a"}, "token_file": "b"},
        {"token": "hvs.inline"},
        {"token": {"vault": "a/b"}},
        {"approle": {"role_id": "r"}},
        {"ldap": {}},
        {"jwt": {"role": "r", "jwt": {"file": "x"}, "extra": 1}},
    ],
)
def test_exactly_one_way_in_by_reference(auth: JsonMap) -> None:
    """None, two, inline values, references into Vault itself and unknown words are refused."""
    with pytest.raises(ValidationError):
        AuthSettings.model_validate(auth)
