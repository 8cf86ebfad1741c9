"""What the issuer suites work with: the fixtures to fill in, and the calls as the engine makes them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rotatord.model import JsonMap
from rotatord.ports import Issuer, Minted, MintRequest, ProbeAnswer, Query
from rotatord.secret import Secret
from rotatord.testing.contracts.common import Contract


def mint(issuer: Issuer, request: MintRequest) -> Minted:
    """Mint as the engine does: propose first where the caller chooses the value."""
    proposed = issuer.propose(request) if issuer.traits.value_origin == "caller" else None
    return issuer.mint(request, proposed)


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
    """The fixtures of an issuer suite. ``issuer``, ``request_`` and ``unknown_ref`` must be given."""

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
