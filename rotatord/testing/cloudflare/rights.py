"""Who asks, and whether they may: deny beats allow, and what is not allowed is denied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from rotatord.testing.cloudflare import catalogue
from rotatord.testing.cloudflare.catalogue import ACCOUNT, BUCKET, USER, WORKER, ZONE
from rotatord.testing.cloudflare.estate import Account, Estate, Grant, Token, Use, Zone
from rotatord.testing.cloudflare.policies import EVERY_ACCOUNT, EVERY_BUCKET, EVERY_ZONE, Resources


@dataclass(frozen=True, slots=True)
class Target:
    """What a call is about: a scope, and the keys of policies that stand for it, flat or nested under an account."""

    scope: str
    flat: frozenset[str]
    nested: Mapping[str, frozenset[str]]

    def within(self, resources: Resources) -> bool:
        for resource, held in resources.items():
            if isinstance(held, str):
                if resource in self.flat:
                    return True
            elif any(inner in self.nested.get(resource, ()) for inner in held):
                return True
        return False


def of_zone(zone: Zone) -> Target:
    keys = frozenset({f"{ZONE}.{zone.id}", EVERY_ZONE})
    return Target(ZONE, keys, {f"{ACCOUNT}.{zone.account.id}": keys, EVERY_ACCOUNT: keys})


def of_account(account: Account) -> Target:
    return Target(ACCOUNT, frozenset({f"{ACCOUNT}.{account.id}", EVERY_ACCOUNT}), {})


def of_user(id: str) -> Target:
    return Target(USER, frozenset({f"{USER}.{id}", f"{USER}.*"}), {})


def of_bucket(account: Account, jurisdiction: str, name: str) -> Target:
    return Target(BUCKET, frozenset({f"{BUCKET}.{account.id}_{jurisdiction}_{name}", EVERY_BUCKET}), {})


def of_worker(account: Account, tag: str) -> Target:
    return Target(WORKER, frozenset(), {f"{ACCOUNT}.{account.id}": frozenset({f"{WORKER}.{tag}"})})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. Without a token it is the user's Global API key, which may do everything that the user may."""

    estate: Estate
    address: str
    agent: str
    token: Token | None = None
    grant: Grant | None = None

    @property
    def is_user(self) -> bool:
        """Not an account's own token."""
        return self.token is None or self.token.owner.kind == "user"

    @property
    def account(self) -> str | None:
        """The account whose own token this is."""
        return None if self.token is None or self.is_user else self.token.owner.id

    @property
    def name(self) -> str:
        return "global key" if self.token is None else self.token.id

    @property
    def budget(self) -> str:
        """Whose calls are counted together: all of a user's, and each of an account's tokens by itself."""
        return "user" if self.is_user else self.name

    def uses(self) -> list[Use]:
        return self.estate.user.key_uses if self.token is None else self.token.uses

    def member_of(self, account: Account) -> bool:
        return any(member.user_id == self.estate.user.id for member in account.members.values())

    def reaches(self, account: Account) -> bool:
        """Whether the account is the caller's at all, whatever a policy says."""
        return self.member_of(account) if self.is_user else account.id == self.account

    def api_off(self, account: Account) -> bool:
        """Whether the account lets its member use the API."""
        if not self.is_user:
            return False
        mine = next((one for one in account.members.values() if one.user_id == self.estate.user.id), None)
        if mine is not None and mine.api_access is not None:
            return not mine.api_access
        return account.settings.get("api_access_enabled") is False

    def may(self, names: Iterable[str], target: Target) -> bool:
        """Whether one of these groups is allowed there, and none denied."""
        if self.token is None:
            return True
        assert self.grant is not None
        wanted = {group.id for name in names for group in self._named(name, target.scope)}
        effects = {
            policy.effect for policy in self.grant.policies if wanted & set(policy.groups) and target.within(policy.resources)
        }
        return effects == {"allow"}

    def _named(self, name: str, scope: str) -> Iterator[catalogue.Group]:
        return (group for group in self.estate.groups.values() if group.name == name and group.scope == scope)

    def accounts(self) -> list[Account]:
        """Those on which the caller has any group at all."""
        mine = [account for account in self.estate.accounts.values() if self.reaches(account)]
        return [account for account in mine if self.token is None or self._anything(of_account(account))]

    def _anything(self, target: Target) -> bool:
        assert self.grant is not None
        return any(policy.effect == "allow" and target.within(policy.resources) for policy in self.grant.policies)


def why_not(token: Token, believed: Grant | None, text: str, now: datetime) -> str:
    """The truth behind a refusal of a token that was made here once."""
    grant = token.grant
    if grant is None:
        return "deleted"
    if text != token.value:
        return "rolled"
    status = grant.shown_status(now)
    if status != "active":
        return status
    if grant.not_before is not None and now < grant.not_before:
        return "not yet valid"
    if believed is None:
        return "not yet known here"
    return "not yet active again here" if believed.status != "active" else "older news here"
