"""What every issuer must do; see :class:`rotatord.ports.Issuer`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from rotatord.errors import Conflict, Denied, Invalid, NotFound, OutsideError, Permanent, Retryable
from rotatord.model import JsonMap
from rotatord.ports import Accepted, Inconclusive, Issuer, LiveRef, MintRequest, ProbeAnswer, RefusedVerdict, Traits
from rotatord.secret import Secret
from rotatord.testing.contracts.common import assert_hides, assert_within, texts_of
from rotatord.testing.contracts.issuer_powers import PowersContract
from rotatord.testing.contracts.issuer_principal import PrincipalContract
from rotatord.testing.contracts.issuer_setting import hidden, mint, of_traits, powers_of, probe, query

_ENDED = "versions can be neither listed nor ended here"
STRATEGIES = {"overlapping", "alternating", "in_place", "leased"}


def _roomy(traits: Traits) -> bool:
    """Whether any number of versions may live side by side."""
    return traits.max_live is None and traits.strategy != "in_place"


class IssuerContract(PowersContract, PrincipalContract):
    """The whole suite: the port here, the optional powers inherited. Fixtures: see ``IssuerSetting``."""

    def test_traits_make_sense(self, issuer: Issuer) -> None:
        """Traits are within what the engine knows, and the timeout is a bound."""
        traits = issuer.traits
        assert traits.fields
        assert traits.strategy in STRATEGIES
        assert traits.value_origin in {"issuer", "caller"}
        assert traits.scope_on in {"version", "principal"}
        assert traits.scope_proof in {"exact", "sampled", "none"}
        assert traits.max_live is None or traits.max_live >= 1
        assert set(traits.high_entropy) <= set(traits.fields)
        assert set(traits.names) < set(traits.fields)
        assert 0 < issuer.timeout < float("inf")
        assert traits.labels or traits.exclusive, "without labels only an exclusive principal can be swept"
        if not traits.revocable:
            assert traits.expiry, "what can neither be ended nor expires never dies"
            assert traits.listing_delay, "until the longest life is over a lost answer may have made a version"

    def test_it_is_what_was_said(self, issuer: Issuer) -> None:
        """Traits and powers that the class states are those of the issuer, so that no test was left out wrongly."""
        assert self.traits in (None, issuer.traits)
        assert self.powers in (None, powers_of(issuer))

    def test_check_accepts_what_mint_grants(self, issuer: Issuer, request_: MintRequest) -> None:
        """A request that can be granted has no static problems."""
        assert list(issuer.check(request_.scope, request_.parameters)) == []

    def test_an_unknown_scope_is_found_before_or_refused_at_mint(
        self, issuer: Issuer, request_: MintRequest, bad_scope: JsonMap | None
    ) -> None:
        """Nothing is minted for a scope that the issuer does not know: check says so, or mint is Invalid."""
        scope = self.needed("bad_scope", bad_scope)
        problems = list(issuer.check(scope, request_.parameters))
        assert all(isinstance(problem, str) and problem for problem in problems)
        if not problems:
            with pytest.raises(Invalid):
                mint(issuer, replace(request_, scope=scope))
            assert list(issuer.find(query(request_))) == []

    def test_mint_gives_the_fields_once(self, issuer: Issuer, request_: MintRequest) -> None:
        """A mint answers a ref and exactly the fields of the traits; the ref is not the value."""
        minted = mint(issuer, request_)
        assert minted.fields.names == set(issuer.traits.fields)
        assert minted.ref
        assert_hides(minted.ref, [hidden(issuer, minted.fields)])

    def test_nothing_prints_the_value(self, issuer: Issuer, request_: MintRequest) -> None:
        """Neither what is minted nor what is found nor the plugin itself shows a value in its repr."""
        minted = mint(issuer, request_)
        found = list(issuer.find(query(request_)))
        assert_hides(f"{minted!r} {minted} {found!r} {issuer!r}", [hidden(issuer, minted.fields)])

    @of_traits(
        lambda traits: traits.strategy != "in_place" and traits.max_live != 1 and traits.revocable,
        "only one version can live here, or none can be listed",
    )
    def test_two_mints_are_two_versions(self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]) -> None:
        """Minting twice makes two live refs with different values, both found by their labels."""
        first, second = mint(issuer, request_), mint(issuer, _next(request_))
        settle()
        assert first.ref != second.ref
        assert first.fields != second.fields
        assert {live.ref for live in issuer.find(query(request_))} == {first.ref, second.ref}
        assert isinstance(probe(issuer, first.fields, request_), Accepted)
        assert isinstance(probe(issuer, second.fields, request_), Accepted)

    @of_traits(lambda traits: traits.strategy == "in_place", "not an in-place issuer")
    def test_in_place_the_second_mint_ends_the_first(
        self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]
    ) -> None:
        """Where minting kills the old value, only the new one is found and accepted."""
        first, second = mint(issuer, request_), mint(issuer, _next(request_))
        settle()
        assert [live.ref for live in issuer.find(query(request_))] == [second.ref]
        assert isinstance(probe(issuer, first.fields, request_), RefusedVerdict)
        assert isinstance(probe(issuer, second.fields, request_), Accepted)

    @of_traits(lambda traits: traits.value_origin == "caller", "the issuer chooses the value")
    def test_a_callers_value_is_harmless_to_repeat(
        self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]
    ) -> None:
        """Where the caller chooses the value, minting it again makes nothing new and keeps it working."""
        proposed = issuer.propose(request_)
        assert proposed != issuer.propose(request_), "every proposal is fresh"
        first, again = issuer.mint(request_, proposed), issuer.mint(request_, proposed)
        settle()
        assert (again.ref, again.fields) == (first.ref, proposed)
        assert [live.ref for live in issuer.find(query(request_))] == [first.ref]
        assert isinstance(probe(issuer, proposed, request_), Accepted)

    @of_traits(lambda traits: traits.value_origin == "issuer", "the caller chooses the value")
    def test_propose_is_invalid_where_the_issuer_chooses(self, issuer: Issuer, request_: MintRequest) -> None:
        """An issuer that chooses its values proposes none."""
        with pytest.raises(Invalid):
            issuer.propose(request_)

    @of_traits(lambda traits: traits.labels and traits.revocable, "this issuer has no labels that can be searched for")
    def test_labels_are_read_back(self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]) -> None:
        """Installation, credential, rotation and generation come back as they were asked for."""
        minted = mint(issuer, request_)
        settle()
        (live,) = issuer.find(query(request_, rotation=request_.rotation))
        assert live.ref == minted.ref
        assert (live.installation, live.credential) == (request_.installation, request_.credential)
        assert (live.rotation, live.generation) == (request_.rotation, request_.generation)
        assert not live.suspended

    @of_traits(
        lambda traits: traits.labels and _roomy(traits) and traits.revocable, "needs labels and room for several versions"
    )
    def test_find_returns_nothing_of_others(self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]) -> None:
        """Versions of another installation, credential or rotation do not match, also when names share a beginning."""
        mint(issuer, replace(request_, installation=f"{request_.installation}-2"))
        mint(issuer, replace(request_, credential=f"{request_.credential}-2"))
        other = mint(issuer, replace(request_, rotation=f"{request_.rotation}-2"))
        settle()
        assert list(issuer.find(query(request_, rotation=request_.rotation))) == []
        assert [live.ref for live in issuer.find(query(request_))] == [other.ref]

    @of_traits(lambda traits: _roomy(traits) and traits.revocable, "the number of versions is capped, or none can be listed")
    def test_find_is_complete(self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]) -> None:
        """All versions are found, also when there are more than a small page."""
        refs = {mint(issuer, _next(request_, by)).ref for by in range(12)}
        settle()
        assert {live.ref for live in issuer.find(query(request_))} == refs

    @of_traits(
        lambda traits: not traits.labels and traits.max_live != 1 and traits.strategy != "in_place",
        "needs an issuer without labels and room for two versions",
    )
    def test_find_without_labels_leaves_out_what_was_known(
        self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]
    ) -> None:
        """Without labels, refs that were there before are not returned."""
        before = mint(issuer, request_)
        after = mint(issuer, _next(request_))
        settle()
        found = issuer.find(replace(query(request_), known=(before.ref,)))
        assert [live.ref for live in found] == [after.ref]

    @of_traits(lambda traits: traits.revocable, _ENDED)
    def test_find_by_ref_follows_the_life_of_a_version(
        self, issuer: Issuer, request_: MintRequest, unknown_ref: str, settle: Callable[[], None]
    ) -> None:
        """By ref: one answer while it lives, none after its end, none for a ref that never was."""
        minted = mint(issuer, request_)
        settle()
        assert [live.ref for live in issuer.find(query(request_, ref=minted.ref))] == [minted.ref]
        issuer.revoke(minted.ref, minted.fields, request_.parameters)
        settle()
        assert list(issuer.find(query(request_, ref=minted.ref))) == []
        assert list(issuer.find(query(request_))) == []
        assert list(issuer.find(query(request_, ref=unknown_ref))) == []

    @of_traits(lambda traits: traits.revocable, _ENDED)
    def test_find_changes_nothing(self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]) -> None:
        """Looking twice sees the same, and the version still works."""
        minted = mint(issuer, request_)
        settle()
        first = [_identity(live) for live in issuer.find(query(request_))]
        assert first == [_identity(live) for live in issuer.find(query(request_))]
        assert isinstance(probe(issuer, minted.fields, request_), Accepted)

    @of_traits(lambda traits: traits.revocable, _ENDED)
    def test_revoked_is_refused(self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]) -> None:
        """A probe accepts a version, and refuses it once it is revoked; other versions go on working."""
        room = issuer.traits.strategy != "in_place" and issuer.traits.max_live != 1
        other = mint(issuer, _next(request_)) if room else None
        minted = mint(issuer, request_)
        settle()
        answer = probe(issuer, minted.fields, request_)
        assert isinstance(answer, Accepted)
        assert answer.ref in (None, minted.ref)
        issuer.revoke(minted.ref, minted.fields, request_.parameters)
        settle()
        assert isinstance(probe(issuer, minted.fields, request_), RefusedVerdict)
        if other is not None:
            assert isinstance(probe(issuer, other.fields, request_), Accepted)

    @of_traits(lambda traits: traits.revocable, _ENDED)
    def test_revoke_needs_no_value_and_may_be_repeated(
        self, issuer: Issuer, request_: MintRequest, unknown_ref: str, settle: Callable[[], None]
    ) -> None:
        """Revoking by ref alone, revoking again, and revoking what never was all succeed."""
        minted = mint(issuer, request_)
        settle()
        issuer.revoke(minted.ref, None, request_.parameters)
        issuer.revoke(minted.ref, None, request_.parameters)
        issuer.revoke(minted.ref, minted.fields, request_.parameters)
        issuer.revoke(unknown_ref, None, request_.parameters)
        settle()
        assert isinstance(probe(issuer, minted.fields, request_), RefusedVerdict)

    def test_garbage_is_refused_not_an_error(self, issuer: Issuer, request_: MintRequest, garbage: Secret) -> None:
        """A value that never was is refused: an answer, not an exception."""
        answer = probe(issuer, garbage, request_)
        assert isinstance(answer, RefusedVerdict)
        assert_hides(repr(answer), [garbage])

    @of_traits(lambda traits: traits.scope_proof == "exact", "scopes are not exactly visible here")
    def test_the_scope_seen_is_the_scope_asked_for(
        self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]
    ) -> None:
        """Where the proof of scope is exact, a probe sees the very scope that was asked for."""
        minted = mint(issuer, request_)
        settle()
        assert _scope(probe(issuer, minted.fields, request_)) == request_.scope

    @of_traits(lambda traits: traits.scope_proof == "exact", "scopes are not exactly visible here")
    def test_a_wider_scope_is_seen_as_wider(
        self, issuer: Issuer, request_: MintRequest, wider_scope: JsonMap | None, settle: Callable[[], None]
    ) -> None:
        """Where the proof of scope is exact, more than was meant to be granted shows."""
        wide = replace(request_, scope=self.needed("wider_scope", wider_scope))
        minted = mint(issuer, wide)
        settle()
        assert _scope(probe(issuer, minted.fields, wide)) == wide.scope != request_.scope

    @of_traits(lambda traits: not traits.revocable, "versions can be ended here")
    def test_what_cannot_be_ended_lives_until_its_end(
        self, issuer: Issuer, request_: MintRequest, unknown_ref: str, settle: Callable[[], None]
    ) -> None:
        """Where only expiry ends a version: mint says when, find by ref knows it with its labels, and revoking is harmless."""
        first, second = mint(issuer, request_), mint(issuer, _next(request_))
        settle()
        assert first.ref != second.ref
        assert first.fields != second.fields
        issuer.revoke(first.ref, first.fields, request_.parameters)
        issuer.revoke(unknown_ref, None, request_.parameters)
        assert isinstance(probe(issuer, first.fields, request_), Accepted)
        (live,) = issuer.find(query(request_, ref=first.ref))
        assert first.expires_at is not None
        assert live.ref == first.ref
        assert live.generation == request_.generation
        assert list(issuer.find(query(request_, ref=unknown_ref))) == []

    @of_traits(lambda traits: traits.expiry, "versions do not expire here")
    def test_an_asked_life_is_given(self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]) -> None:
        """Where versions can expire, a ttl leads to an expiry that mint and find agree on."""
        assert request_.ttl is not None, "versions can expire here, so ask for a life in request_"
        minted = mint(issuer, request_)
        settle()
        (live,) = issuer.find(query(request_, ref=minted.ref))
        assert minted.expires_at is not None
        assert minted.expires_at.tzinfo is not None
        assert live.expires_at is not None
        assert abs((live.expires_at - minted.expires_at).total_seconds()) <= 5

    @of_traits(lambda traits: traits.max_live is not None and traits.strategy != "in_place", "no cap here")
    def test_the_cap_is_a_conflict(self, issuer: Issuer, request_: MintRequest, settle: Callable[[], None]) -> None:
        """One mint over the cap is a Conflict and changes nothing; room made by a revoke can be used."""
        cap = issuer.traits.max_live
        assert cap is not None
        made = [mint(issuer, _next(request_, by)) for by in range(cap)]
        with pytest.raises(Conflict):
            mint(issuer, _next(request_, cap))
        settle()
        assert {live.ref for live in issuer.find(query(request_))} == {each.ref for each in made}
        issuer.revoke(made[0].ref, made[0].fields, request_.parameters)
        settle()
        assert mint(issuer, _next(request_, cap)).ref not in {each.ref for each in made}

    def test_a_denied_identity_is_told_so(self, denied: Issuer | None, request_: MintRequest, unknown_ref: str) -> None:
        """Without permission, mint and find are Denied, and revoke too: never "done" or "empty"."""
        plugin = self.needed("denied", denied)
        with pytest.raises(Denied):
            mint(plugin, request_)
        if not plugin.traits.revocable:
            return  # there is nobody to ask then
        with pytest.raises(Denied):
            plugin.find(query(request_))
        with pytest.raises(Denied):
            plugin.revoke(unknown_ref, None, request_.parameters)

    def test_an_unreachable_server_is_retryable(
        self, unreachable: Issuer | None, request_: MintRequest, garbage: Secret, unknown_ref: str
    ) -> None:
        """Nobody there: Retryable within the timeout; a probe may say Inconclusive, never refused. No value is shown."""
        plugin = self.needed("unreachable", unreachable)
        _assert_no_answer(plugin, request_, garbage, unknown_ref)

    def test_a_hanging_server_is_given_up(
        self, hanging: Issuer | None, request_: MintRequest, garbage: Secret, unknown_ref: str
    ) -> None:
        """A server that never answers is Retryable within the plugin's own timeout."""
        plugin = self.needed("hanging", hanging)
        _assert_no_answer(plugin, request_, garbage, unknown_ref)


def _assert_no_answer(plugin: Issuer, request: MintRequest, garbage: Secret, ref: str) -> None:
    calls: list[Callable[[], object]] = [lambda: probe(plugin, garbage, request), lambda: mint(plugin, request)]
    if plugin.traits.revocable:  # else there is nobody to ask
        calls += [lambda: plugin.find(query(request)), lambda: plugin.revoke(ref, garbage, request.parameters)]
    for number, call in enumerate(calls):
        result = assert_within(plugin.timeout, call, (OutsideError,))
        if number == 0 and isinstance(result, Inconclusive):
            continue
        assert isinstance(result, Retryable)
        assert not isinstance(result, Permanent | NotFound)
        assert_hides(texts_of(result), [garbage])


def _next(request: MintRequest, by: int = 1) -> MintRequest:
    """The request of a later rotation of the same credential."""
    if by == 0:
        return request
    return replace(request, rotation=f"{request.rotation}{by:02d}", generation=request.generation + by)


def _identity(live: LiveRef) -> tuple[str, str, str, int, bool]:
    return live.ref, live.credential, live.rotation, live.generation, live.suspended


def _scope(answer: ProbeAnswer) -> JsonMap | None:
    assert isinstance(answer, Accepted)
    return answer.scope
