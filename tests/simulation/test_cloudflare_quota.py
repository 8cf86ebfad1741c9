"""More tokens of Cloudflare are due than its limits let one replace, in virtual time: the benchmark, over one full account."""

from __future__ import annotations

from benchmarks.cloudflare import AT_ONCE, EACH, run


def test_the_quota_is_used_and_never_overrun() -> None:
    """At least nine tenths of it, no answer of 429, nearest expiry first, and no more tokens than an account may have."""
    found = run(seed=1, accounts=1)
    assert found.share >= 90
    assert (found.shut_out, found.refused, found.failed) == (0, 0, 0)
    assert found.rotations >= EACH
    assert found.strayed <= AT_ONCE
    assert found.most <= 500


def test_without_a_budget_the_account_is_shut_out() -> None:
    """So the run would show it."""
    assert run(seed=1, accounts=1, budget=False).shut_out > 0


def test_issuers_of_one_user_have_one_quota() -> None:
    """Cloudflare counts what a user does by all tokens together: two issuers, each with one of them, budget
    together, and still use nearly all of it."""
    found = run(seed=1, accounts=2, each=EACH // 2, one_user=True)
    assert found.share >= 90
    assert (found.shut_out, found.refused, found.failed) == (0, 0, 0)
    assert found.most <= 500
