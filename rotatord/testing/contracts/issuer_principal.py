"""What issuers must do where scopes sit on a principal. Only for those that have the power."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rotatord.errors import Denied
from rotatord.model import JsonMap
from rotatord.ports import Accepted, Issuer, MintRequest, PrincipalScope
from rotatord.secret import Secret
from rotatord.testing.contracts.issuer_setting import IssuerSetting, mint, of_power


class PrincipalContract(IssuerSetting):
    """A part of :class:`rotatord.testing.contracts.issuer.IssuerContract`."""

    @of_power(PrincipalScope)
    def test_widening_covers_all_in_one_form(self, issuer: Issuer, request_: MintRequest, wider_scope: JsonMap | None) -> None:
        """The order does not matter, a scope covers itself, and what covers both covers each once more."""
        assert isinstance(issuer, PrincipalScope)
        narrow, wide = request_.scope, self.needed("wider_scope", wider_scope)
        both = issuer.widen([narrow, wide])
        assert both == issuer.widen([wide, narrow])
        for scope in (narrow, wide, both):
            assert issuer.widen([issuer.widen([scope])]) == issuer.widen([scope])
            assert issuer.widen([both, scope]) == both

    @of_power(PrincipalScope)
    def test_a_principals_scope_is_set_whole(
        self, issuer: Issuer, request_: MintRequest, wider_scope: JsonMap | None, settle: Callable[[], None]
    ) -> None:
        """Widened, then narrowed: each time exactly that is seen by the probe, and setting it again changes nothing."""
        assert isinstance(issuer, PrincipalScope)
        minted = mint(issuer, request_)
        narrow, wide = request_.scope, self.needed("wider_scope", wider_scope)
        for scopes in ([narrow, wide], [wide], [narrow], [wide, narrow], [narrow]):
            target = issuer.widen(scopes)
            for _ in range(2):
                issuer.set_scope(target, request_.parameters)
            settle()
            assert _seen(issuer, minted.fields, target, request_) == target

    @of_power(PrincipalScope)
    def test_setting_a_scope_needs_a_right(self, denied: Issuer | None, request_: MintRequest) -> None:
        """Without it the scope is Denied, never "done"."""
        plugin = self.needed("denied", denied)
        assert isinstance(plugin, PrincipalScope)
        with pytest.raises(Denied):
            plugin.set_scope(plugin.widen([request_.scope]), request_.parameters)


def _seen(issuer: Issuer, fields: Secret, target: JsonMap, request: MintRequest) -> JsonMap | None:
    answer = issuer.probe(fields, {"scope": target, "parameters": request.parameters})
    assert isinstance(answer, Accepted)
    return answer.scope
