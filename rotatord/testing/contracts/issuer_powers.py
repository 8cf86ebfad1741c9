"""What the optional powers of issuers must do. Each test is only for issuers that have the power."""

from __future__ import annotations

from collections.abc import Callable

from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    Inventory,
    Issuer,
    LastUsed,
    MintRequest,
    Preflight,
    RefusedVerdict,
    Renew,
    Sessions,
    Suspend,
)
from rotatord.secret import Secret
from rotatord.testing.contracts.common import assert_hides
from rotatord.testing.contracts.issuer_setting import IssuerSetting, hidden, mint, of_power, probe, query


class PowersContract(IssuerSetting):
    """A part of :class:`rotatord.testing.contracts.issuer.IssuerContract`."""

    @of_power(Suspend)
    def test_suspension_is_reversible(self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]) -> None:
        """Suspended: refused but still found; resumed: accepted again. Both may be repeated."""
        assert isinstance(issuer, Suspend)
        minted = mint(issuer, request_)
        settle()
        for _ in range(2):
            issuer.suspend(minted.ref, request_.parameters)
        settle()
        assert isinstance(probe(issuer, minted.fields, request_), RefusedVerdict)
        (live,) = issuer.find(query(request_, ref=minted.ref))
        assert live.suspended
        assert [each.ref for each in issuer.find(query(request_))] == [minted.ref]
        for _ in range(2):
            issuer.resume(minted.ref, request_.parameters)
        settle()
        assert isinstance(probe(issuer, minted.fields, request_), Accepted)
        (live,) = issuer.find(query(request_, ref=minted.ref))
        assert not live.suspended

    @of_power(Suspend)
    def test_a_suspended_version_can_be_revoked(
        self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]
    ) -> None:
        """Suspension is no refuge: the version ends and is gone."""
        assert isinstance(issuer, Suspend)
        minted = mint(issuer, request_)
        settle()
        issuer.suspend(minted.ref, request_.parameters)
        issuer.revoke(minted.ref, None, request_.parameters)
        settle()
        assert list(issuer.find(query(request_, ref=minted.ref))) == []
        assert isinstance(probe(issuer, minted.fields, request_), RefusedVerdict)

    @of_power(LastUsed)
    def test_our_probes_are_no_use(self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]) -> None:
        """A version that only we probed was never used."""
        assert isinstance(issuer, LastUsed)
        minted = mint(issuer, request_)
        settle()
        assert isinstance(probe(issuer, minted.fields, request_), Accepted)
        settle()
        assert issuer.last_used(minted.ref, request_.parameters) is None

    @of_power(LastUsed)
    def test_use_by_others_is_told(
        self,
        issuer: Issuer,
        request_: MintRequest,
        settle: Callable[[], None],
        use: Callable[[Secret], None] | None,
    ) -> None:
        """A use by a consumer shows, and later probes of ours do not move it."""
        assert isinstance(issuer, LastUsed)
        use_it = self.needed("use", use)
        minted = mint(issuer, request_)
        settle()
        use_it(minted.fields)
        settle()
        used = issuer.last_used(minted.ref, request_.parameters)
        assert used is not None
        assert used.tzinfo is not None
        probe(issuer, minted.fields, request_)
        settle()
        assert issuer.last_used(minted.ref, request_.parameters) == used

    @of_power(Inventory)
    def test_the_inventory_is_complete(self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]) -> None:
        """Everything live is there with its labels, and nothing that has ended."""
        assert isinstance(issuer, Inventory)
        gone = mint(issuer, request_)
        issuer.revoke(gone.ref, gone.fields, request_.parameters)
        kept = mint(issuer, request_)
        settle()
        found = {live.ref: live for live in issuer.inventory()}
        assert kept.ref in found
        assert gone.ref not in found
        if issuer.traits.labels:
            assert found[kept.ref].credential == request_.credential
        assert_hides(repr(found), [hidden(issuer, kept.fields), hidden(issuer, gone.fields)])

    @of_power(Renew)
    def test_renewing_prolongs(self, issuer: Issuer, renewable_request: MintRequest | None, settle: Callable[[], None]) -> None:
        """A renewed version lives at least as long as before, is due again before its end, and works."""
        assert isinstance(issuer, Renew)
        asked = self.needed("renewable_request", renewable_request)
        minted = mint(issuer, asked)
        settle()
        expires, again = issuer.renew(minted.ref, asked.parameters)
        expires, again = issuer.renew(minted.ref, asked.parameters)
        if minted.expires_at is not None and expires is not None:
            assert expires >= minted.expires_at
        if again is not None and expires is not None:
            assert again < expires
        assert isinstance(probe(issuer, minted.fields, asked), Accepted)

    @of_power(Sessions)
    def test_sessions_end(
        self,
        issuer: Issuer,
        request_: MintRequest,
        settle: Callable[[], None],
        open_session: Callable[[Secret], Callable[[], bool]] | None,
    ) -> None:
        """What was opened with a version ends when asked; asking again ends nothing more."""
        assert isinstance(issuer, Sessions)
        minted = mint(issuer, request_)
        settle()
        works = self.needed("open_session", open_session)(minted.fields)
        assert works()
        assert issuer.end_sessions(minted.ref, request_.parameters) >= 1
        settle()
        assert not works()
        assert issuer.end_sessions(minted.ref, request_.parameters) == 0

    @of_power(Preflight)
    def test_preflight_only_looks(self, issuer: Issuer, request_: MintRequest) -> None:
        """No problems for what can be minted, and nothing is made by looking."""
        assert isinstance(issuer, Preflight)
        assert list(issuer.preflight(request_.scope, request_.parameters)) == []
        assert list(issuer.find(query(request_))) == []

    @of_power(Preflight)
    def test_preflight_tells_what_cannot_be_minted(self, issuer: Issuer, impossible: tuple[JsonMap, JsonMap] | None) -> None:
        """What only the live system shows to be impossible is told in sentences."""
        assert isinstance(issuer, Preflight)
        scope, parameters = self.needed("impossible", impossible)
        problems = list(issuer.preflight(scope, parameters))
        assert problems
        assert all(isinstance(problem, str) and problem for problem in problems)
