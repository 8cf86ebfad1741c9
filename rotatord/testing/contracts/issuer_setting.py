"""What the issuer suites work with: the fixtures to fill in, and the calls as the engine makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar

import pytest

from rotatord.model import JsonMap
from rotatord.ports import (
    Inventory,
    Issuer,
    LastUsed,
    Minted,
    MintRequest,
    Preflight,
    PrincipalScope,
    ProbeAnswer,
    Query,
    Renew,
    Sessions,
    Suspend,
    Traits,
)
from rotatord.secret import Secret
from rotatord.testing.contracts.common import Contract

Test = TypeVar("Test", bound=Callable[..., object])
POWERS: tuple[type, ...] = (Suspend, LastUsed, Inventory, Renew, Sessions, Preflight, PrincipalScope)


def of_power(power: type) -> Callable[[Test], Test]:
    """A test for issuers that have this power."""

    def mark(test: Test) -> Test:
        vars(test)["of_power"] = power
        return test

    return mark


def of_traits(holds: Callable[[Traits], bool], otherwise: str) -> Callable[[Test], Test]:
    """A test for issuers of whose traits this holds; ``otherwise`` says what they are if not."""

    def mark(test: Test) -> Test:
        vars(test)["of_traits"] = holds, otherwise
        return test

    return mark


def lacking(test: Callable[..., object], traits: Traits | None, powers: frozenset[type] | None) -> str:
    """Why a test is not for an issuer like this, "" if it is. None: not known, so nothing speaks against it."""
    power = getattr(test, "of_power", None)
    if power is not None and powers is not None and power not in powers:
        return f"has not got the power {power.__name__}"
    holds, otherwise = getattr(test, "of_traits", (None, ""))
    return otherwise if holds is not None and traits is not None and not holds(traits) else ""


def powers_of(issuer: Issuer) -> frozenset[type]:
    return frozenset(power for power in POWERS if isinstance(issuer, power))


def mint(issuer: Issuer, request: MintRequest) -> Minted:
    """Mint as the engine does: propose first where the caller chooses the value, and see first to what the principal may do
    where scopes sit on it."""
    if isinstance(issuer, PrincipalScope):
        issuer.set_scope(issuer.widen([request.scope]), request.parameters)
    proposed = issuer.propose(request) if issuer.traits.value_origin == "caller" else None
    return issuer.mint(request, proposed)


def hidden(issuer: Issuer, fields: Secret) -> Secret:
    """The fields that must be shown nowhere."""
    return Secret({name: fields.reveal(name) for name in fields.names - frozenset(issuer.traits.names)})


def query(request: MintRequest, *, rotation: str | None = None, ref: str | None = None) -> Query:
    return Query(
        installation=request.installation,
        credential=request.credential,
        rotation=rotation,
        ref=ref,
        parameters=request.parameters,
        scope=request.scope,
    )


def probe(issuer: Issuer, fields: Secret, request: MintRequest) -> ProbeAnswer:
    return issuer.probe(fields, {"scope": request.scope, "parameters": request.parameters})


class IssuerSetting(Contract):
    """The fixtures of an issuer suite. ``issuer``, ``request_`` and ``unknown_ref`` must be given.

    ``traits`` and ``powers``: what the issuer is expected to be. Where they are said, tests that are not for such an issuer
    are left out, and an issuer that is anything else fails. Where not, the tests are skipped by what the issuer says.
    """

    traits: ClassVar[Traits | None] = None
    powers: ClassVar[frozenset[type] | None] = None

    @classmethod
    def applies(cls, test: Callable[..., object]) -> bool:
        return super().applies(test) and not lacking(test, cls.traits, cls.powers)

    @pytest.fixture(autouse=True)
    def _only_where_it_applies(self, request: pytest.FixtureRequest, issuer: Issuer) -> None:
        reason = lacking(request.function, issuer.traits, powers_of(issuer))
        if reason:
            pytest.skip(reason)

    @pytest.fixture
    def issuer(self) -> Issuer:
        """A fresh issuer: no version of ``request_``'s installation is live."""
        raise NotImplementedError

    @pytest.fixture
    def request_(self) -> MintRequest:
        """A request that the issuer grants, with a scope that is not the widest."""
        raise NotImplementedError

    @pytest.fixture
    def unknown_ref(self) -> str:
        """A well-formed ref that was never given out."""
        raise NotImplementedError

    @pytest.fixture
    def wider_scope(self) -> JsonMap | None:
        """A scope wider than the request's, where a probe can see scopes."""
        return None

    @pytest.fixture
    def bad_scope(self) -> JsonMap | None:
        """A scope that the issuer does not know."""
        return None

    @pytest.fixture
    def garbage(self, issuer: Issuer) -> Secret:
        """Well-formed fields that were never minted."""
        return Secret({name: f"never-minted-{name}-0123456789abcdef" for name in issuer.traits.fields})

    @pytest.fixture
    def denied(self) -> Issuer | None:
        """The same issuer with an identity of ours that may do nothing."""
        return None

    @pytest.fixture
    def unreachable(self) -> Issuer | None:
        """The same plugin with a server that refuses connections."""
        return None

    @pytest.fixture
    def hanging(self) -> Issuer | None:
        """The same plugin with a server that takes connections and never answers (``rotatord.testing.silent``)."""
        return None

    @pytest.fixture
    def use(self) -> Callable[[Secret], None] | None:
        """Use a value as its consumer would."""
        return None

    @pytest.fixture
    def renewable_request(self, request_: MintRequest) -> MintRequest | None:
        """A request for a periodic version, where the issuer can renew."""
        return request_

    @pytest.fixture
    def open_session(self) -> Callable[[Secret], Callable[[], bool]] | None:
        """Opens a session with a value; what it returns tells whether the session still works."""
        return None

    @pytest.fixture
    def impossible(self) -> tuple[JsonMap, JsonMap] | None:
        """A scope and parameters that only a look at the live system shows to be impossible."""
        return None
