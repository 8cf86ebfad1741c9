"""Policies: from their section to :class:`rotatord.model.Policy`, and those that can never be met."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from rotatord import lives as decide
from rotatord import windows
from rotatord.configuration.schema import PolicySection
from rotatord.configuration.values import Percent
from rotatord.durations import spell
from rotatord.model import Policy
from rotatord.registry import Trouble

_AS_THEY_ARE = frozenset(PolicySection.model_fields) - {"renew_before", "windows", "unproven", "still_used", "require"}


def policy_from(section: PolicySection, name: str) -> Policy:
    """The policy meant; what is not given has the model's default."""
    given: dict[str, Any] = {key: value for key in _AS_THEY_ARE if (value := getattr(section, key)) is not None}
    if isinstance(section.renew_before, Percent):
        given["renew_before_percent"] = section.renew_before.value
    elif section.renew_before is not None:
        given["renew_before"] = section.renew_before
    if section.windows is not None:
        given["windows"] = tuple(window.window() for window in section.windows)
    if section.unproven is not None:
        given["unproven_overlap"] = section.unproven.overlap
    if section.still_used is not None:
        given["still_used"] = section.still_used.verb
        if section.still_used.limit is not None:
            given["still_used_limit"] = section.still_used.limit
    if section.require is not None:
        given["require"] = section.require.model_dump(exclude_defaults=True)
    return Policy(name=name, **given)


def impossible(policy: Policy, now: datetime) -> Iterator[Trouble]:
    """What can never be met, whatever the credential."""
    for ceiling in ("ttl", "max_age"):
        life: timedelta | None = getattr(policy, ceiling)
        if life is None:
            continue
        if policy.renew_before is not None and policy.renew_before >= life:
            what = f"renew_before {spell(policy.renew_before)} is not shorter than {ceiling} {spell(life)}: always due"
            yield Trouble(("renew_before",), what)
        if policy.overlap >= life:
            what = (
                f"overlap {spell(policy.overlap)} is not shorter than {ceiling} {spell(life)}: the old version would outlive it"
            )
            yield Trouble(("overlap",), what)
    yield from _overlap_outlasts_lead(policy)
    if policy.dwell > policy.verify_within:
        what = f"dwell {spell(policy.dwell)} is longer than verify_within {spell(policy.verify_within)}: it would always fail"
        yield Trouble(("dwell",), what)
    for problem in windows.problems(policy.windows, now):
        yield Trouble(("windows",), problem)


def _overlap_outlasts_lead(policy: Policy) -> Iterator[Trouble]:
    if policy.ttl is None:
        return
    lead = decide.renewal_lead(policy, policy.ttl)
    for key, overlap in (("overlap", policy.overlap), ("unproven", policy.unproven_overlap or timedelta(0))):
        if lead < overlap < policy.ttl:
            left = f"the {spell(lead)} left when a rotation starts"
            yield Trouble((key,), f"{key} {spell(overlap)} is longer than {left}: the old one expires first")
