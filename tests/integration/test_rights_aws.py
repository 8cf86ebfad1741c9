"""The IAM policy that docs/aws.md prints is enough for its example, and all of it is used: the strict AWS is the judge."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rotatord import config
from rotatord.model import JsonMap, Slot, Spec
from rotatord.permission_forms import iam_document
from rotatord.permissions import Needs
from rotatord.ports import MintRequest, Surroundings
from rotatord.registry import Configured, Registry
from rotatord.secret import Secret
from rotatord.testing.aws import REGION, FakeAws, RunningClock, allow
from rotatord.testing.aws.quotas import RATES, Rate
from rotatord.testing.contracts.backend_setting import MARKER, later, put, token_of
from rotatord.testing.contracts.issuer_setting import probe, query

PAGE = Path(__file__).resolve().parents[2] / "docs" / "aws.md"
AN_HOUR = 3600.0


class Place:
    """The page's example in a strict AWS account, and an identity that may do what the page prints for it, as it stands."""

    def __init__(self, directory: Path) -> None:
        found = re.search(
            r"```yaml\n# configuration: rotatord-aws\n(.*?)```.*?drawn by make docs -->\n\n```json\n(.*?)```",
            PAGE.read_text(),
            re.DOTALL,
        )
        assert found, "docs/aws.md has no example of rights"
        self.example, self.policy = found[1], found[2]
        self.directory = directory
        self.aws = FakeAws(clock=RunningClock(0))
        self.aws.quotas.rates.update(dict.fromkeys(RATES, Rate(10_000)))  # rates are tested by themselves

    def start(self) -> None:
        """What the example takes for granted, and us in it."""
        aws = self.aws
        aws.start()
        arns = {name: aws.policy(name, allow("s3:GetObject")).arn for name in ("reports", "limits")}
        assert all(arn in self.example for arn in arns.values()), arns
        aws.user("reports")
        own = aws.policy("rotatord", self.policy).arn
        aws.user("rotatord", attached=[own])
        self.key = aws.key("rotatord")
        statement = {"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"]}
        trusted = {**statement, "Principal": {"AWS": "arn:aws:iam::123456789012:root"}}
        aws.role("reports", json.dumps({"Version": "2012-10-17", "Statement": [trusted]}), allow("s3:GetObject"))

    def configured(self) -> tuple[dict[str, Spec], Registry]:
        """The example's credentials and plugins, led to this account."""
        assert REGION in self.example
        keys = "access_key: {id: {env: OWN_ID}, secret: {env: OWN_SECRET}}"
        text = self.example.replace(f"region: {REGION},", f"region: {REGION}, endpoint_url: '{self.aws.url}', {keys},")
        file = self.directory / "rotatord.yaml"
        file.write_text(text)
        specs: dict[str, Spec] = {}
        heads: list[Configured] = []

        def visit(spec: Spec, _: object, head: Configured) -> None:
            specs[spec.name] = spec
            heads.append(head)

        config.load(file, visit=visit)
        known = {"OWN_ID": self.key.id, "OWN_SECRET": self.key.secret}

        def secret(reference: JsonMap | str) -> str:
            assert isinstance(reference, dict)
            return known[reference["env"]]

        around = Surroundings(installation="page", state_dir="", now=self.aws.clock.now, secret=secret)
        return specs, Registry(heads[0], around)

    def unused(self) -> list[str]:
        """What the policy allows and nobody asked for, action by action and resource by resource."""
        us = {call.caller for call in self.aws.calls if call.key == self.key.id}
        asked = [one for one in self.aws.decisions if one.caller in us]
        assert [one for one in asked if not one.allowed] == []
        left = []
        for statement in json.loads(self.policy)["Statement"]:
            for resource in statement["Resource"]:
                shape = re.escape(resource).replace(r"\?", ".").replace(r"\*", ".*")
                used = {one.action for one in asked if re.fullmatch(shape, one.resource)}
                left += [f"{action} on {resource}" for action in statement["Action"] if action not in used]
        return left


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    made.start()
    yield made
    made.aws.stop()


def test_the_example_needs_exactly_what_the_page_prints(place: Place) -> None:
    """The life of a key, of what its user may do, of a session, and of both at their destinations."""
    specs, registry = place.configured()
    key, session = specs["reports-key"], specs["reports-session"]
    live_as_a_key(registry.issuer(key.issuer), key, place.aws)
    live_as_a_session(registry.issuer(session.issuer), session)
    for spec in (key, session):
        for number, destination in enumerate(spec.destinations):
            live_at(registry.backend(destination.backend), spec, number)
    registry.close()
    assert place.unused() == []


def test_a_role_is_entered_with_what_is_printed(tmp_path: Path) -> None:
    """In a role: who we are before needs the way into it and nothing else, and the role what we did without one."""
    arn = "arn:aws:iam::123456789012:role/rotatord"
    place = Place(tmp_path)
    place.example = place.example.replace(f"region: {REGION},", f"region: {REGION}, assume_role: {{arn: '{arn}'}},")
    needs = Needs()
    (tmp_path / "rotatord.yaml").write_text(place.example)
    config.load(tmp_path / "rotatord.yaml", visit=needs.visit)
    outside, inside = sorted(needs.grants, key=lambda identity: len(identity.shown))
    assert (outside.shown, inside.shown) == ((), (("assume_role", arn),))
    printed = {identity: json.dumps(iam_document(grants)) for identity, grants in needs.grants.items()}
    assert json.loads(printed[inside]) == json.loads(place.policy)
    place.policy = printed[outside]
    try:
        place.start()
        trusted = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}}
        place.aws.role("rotatord", json.dumps({"Version": "2012-10-17", "Statement": [trusted]}), printed[inside])
        specs, registry = place.configured()
        session = specs["reports-session"]
        live_as_a_session(registry.issuer(session.issuer), session)
        registry.close()
        assert place.unused() == []
    finally:
        place.aws.stop()


def asked_of(spec: Spec, number: int = 1) -> MintRequest:
    return MintRequest(
        installation="page",
        credential=spec.name,
        rotation=f"rot_{number:016}",
        generation=number,
        scope=spec.scope,
        parameters=spec.parameters,
        ttl=timedelta(minutes=30),
    )


def live_as_a_key(issuer: Any, spec: Spec, aws: FakeAws) -> None:
    """Rights of the user set and taken away, two keys, one of them disabled, enabled and deleted."""
    nothing = {"managed": [], "boundary": spec.scope["boundary"]}
    assert list(issuer.preflight(spec.scope, spec.parameters)) == []
    issuer.set_scope(nothing, spec.parameters)
    issuer.set_scope(issuer.widen([spec.scope, nothing]), spec.parameters)
    request = asked_of(spec)
    first, second = issuer.mint(request, None), issuer.mint(asked_of(spec, 2), None)
    aws.advance(AN_HOUR)
    probe(issuer, first.fields, request)
    issuer.last_used(first.ref, spec.parameters)
    assert len(issuer.find(query(request))) == 2
    issuer.suspend(first.ref, spec.parameters)
    issuer.resume(first.ref, spec.parameters)
    issuer.set_scope(nothing, spec.parameters)
    issuer.set_scope(spec.scope, spec.parameters)
    for each in (first, second):
        issuer.revoke(each.ref, None, spec.parameters)


def live_as_a_session(issuer: Any, spec: Spec) -> None:
    minted = issuer.mint(asked_of(spec), None)
    probe(issuer, minted.fields, asked_of(spec))


def live_at(backend: Any, spec: Spec, number: int) -> None:
    """Every slot that the destination has, over nothing and over something, cleared and filled again."""
    destination, home = spec.destinations[number], number == 0
    names = destination.keys.values()
    values = [Secret({name: f"{turn}-{name}-0123456789" for name in names}) for turn in range(3)]
    for slot in Slot if home else (Slot.CURRENT,):
        put(backend, destination, slot, values[0])
        put(backend, destination, slot, values[1], later(MARKER))
        token = backend.clear(destination, slot, token_of(backend, destination, slot))
        backend.write(destination, slot, values[2], later(MARKER, 2), token)
        assert backend.read(destination, slot).fields == values[2]
    assert list(backend.preflight(destination, home=home)) == []
