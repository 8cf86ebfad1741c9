"""The contract of issuers, over sessions of a role at a strict AWS, under exactly the rights that the plugin names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from issuers.aws_sts import NAME_CHARACTERS, RoleSessions, create, session_name
from rotatord.errors import Denied, Invalid, Retryable
from rotatord.model import JsonMap
from rotatord.ports import Accepted, Issuer, MintRequest, RefusedVerdict, Surroundings, Traits
from rotatord.secret import Secret
from rotatord.testing.aws import LIKE_AWS, REGION, Credentials, Dropped, FakeAws, Garbled, RunningClock, allow
from rotatord.testing.contracts.common import texts_of
from rotatord.testing.contracts.issuer import IssuerContract
from rotatord.testing.contracts.issuer_setting import probe, query
from rotatord.testing.silent import closed_port, silent_server
from tests.servers.aws_fixtures import Moto
from tests.servers.aws_rights import policy_of

ROLE = "arn:aws:iam::123456789012:role/reports"
SCOPE: JsonMap = {"policy": json.loads(allow("secretsmanager:GetSecretValue")), "tags": {"team": "reports"}}
QUICK = {"connect_timeout": 0.5, "read_timeout": 0.5, "timeout": 1.0}


def trust(who: str, *actions: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"AWS": who}, "Action": list(actions)}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@dataclass
class Corner:
    """One account with the role whose sessions are leased."""

    aws: FakeAws

    def issuer(self, policy: str | None = None, *, own: Credentials | None = None, **more: Any) -> RoleSessions:
        """One under an identity with this policy; without one with the rights that it names itself."""
        around = Surroundings(installation="here", state_dir="", now=self.aws.clock.now, secret=str)
        rights = create({"region": REGION}, around).rights(SCOPE, {"role": ROLE})
        name = f"rotatord-{len(self.aws.account.users)}"
        own = own or self.aws.identity(name, policy_of(rights) if policy is None else policy)
        key = {"id": own.id, "secret": own.secret, "session_token": own.session_token}
        return create({"region": REGION, "endpoint_url": self.aws.url, "access_key": key, **more}, around)


@pytest.fixture
def corner(make_aws: Callable[..., FakeAws]) -> Corner:
    aws = make_aws(clock=RunningClock(0), lags=LIKE_AWS)
    aws.role("reports", trust("arn:aws:iam::123456789012:root", "sts:AssumeRole", "sts:TagSession"), allow("secretsmanager:*"))
    return Corner(aws)


@pytest.fixture
def issuer(corner: Corner) -> RoleSessions:
    return corner.issuer()


@pytest.fixture
def request_() -> MintRequest:
    return MintRequest(
        installation="here",
        credential="apps/reports",
        rotation="rot_0123456789abcdef",
        generation=3,
        scope=SCOPE,
        parameters={"role": ROLE},
        ttl=timedelta(minutes=30),
    )


class TestAwsSts(IssuerContract):
    """The suite."""

    plugin: ClassVar[str] = "aws_sts"
    powers = frozenset()
    traits = Traits(
        fields=("access_key_id", "secret_access_key", "session_token", "expiration"),
        strategy="leased",
        expiry=True,
        revocable=False,
        shortest_life=timedelta(minutes=15),
        listing_delay=timedelta(hours=12),
        call_settles_within=timedelta(seconds=60),
        high_entropy=("secret_access_key", "session_token"),
        names=("access_key_id", "expiration"),
        forms={"access_key_id": r"\w{16,128}", "secret_access_key": r"[A-Za-z0-9/+]{40,}"},
    )

    @pytest.fixture
    def issuer(self, issuer: RoleSessions) -> Issuer:
        return issuer

    @pytest.fixture
    def request_(self, request_: MintRequest) -> MintRequest:
        return request_

    @pytest.fixture
    def settle(self, corner: Corner) -> Callable[[], None]:
        return lambda: corner.aws.advance(61)

    @pytest.fixture
    def unknown_ref(self) -> str:
        return "AROAAAAAAAAAAAAAAAAAA:rotatord.rot_0123456789abcdef.1.00000000.apps@2099-01-01T00:00:00Z"

    @pytest.fixture
    def bad_scope(self) -> JsonMap:
        return {"policy": {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*"}]}}

    @pytest.fixture
    def garbage(self) -> Secret:
        fields = {"access_key_id": "ASIANEVERMINTED23456", "secret_access_key": "n3v3r/m1nt3d+" * 3 + "x"}
        return Secret({**fields, "session_token": "n3v3rm1nt3dt0k3n" * 8, "expiration": "2099-01-01T00:00:00Z"})

    @pytest.fixture
    def denied(self, corner: Corner) -> Issuer:
        return corner.issuer(allow("s3:ListAllMyBuckets"))

    @pytest.fixture
    def unreachable(self, corner: Corner) -> Iterator[Issuer]:
        with closed_port() as port:
            yield corner.issuer(endpoint_url=f"http://127.0.0.1:{port}", **QUICK)

    @pytest.fixture
    def hanging(self, corner: Corner) -> Iterator[Issuer]:
        with silent_server() as port:
            yield corner.issuer(endpoint_url=f"http://127.0.0.1:{port}", **QUICK)


def test_a_session_ends_by_itself_and_is_then_refused(corner: Corner, issuer: RoleSessions, request_: MintRequest) -> None:
    """Until its end it is accepted and found, whatever was revoked; afterwards refused and gone."""
    minted = issuer.mint(request_, None)
    issuer.revoke(minted.ref, minted.fields, request_.parameters)
    corner.aws.advance(30 * 60 - 5)
    answer = probe(issuer, minted.fields, request_)
    assert answer == Accepted(scope=None, ref=minted.ref, expires_at=minted.expires_at)
    assert [live.expires_at for live in issuer.find(query(request_, ref=minted.ref))] == [minted.expires_at]
    corner.aws.advance(5 * 60)
    assert isinstance(probe(issuer, minted.fields, request_), RefusedVerdict)
    assert [live.ref for live in issuer.find(query(request_, ref=minted.ref))] == [minted.ref], "our clock may be ahead"
    corner.aws.advance(2 * 60)
    assert list(issuer.find(query(request_, ref=minted.ref))) == []


def test_a_session_may_do_what_its_scope_says_and_no_more(corner: Corner, issuer: RoleSessions, request_: MintRequest) -> None:
    """The role's rights are cut down to the scope's; without a scope it has all of them."""
    corner.aws.client("secretsmanager").create_secret(Name="app", SecretString="{}")
    narrow, whole = issuer.mint(request_, None), issuer.mint(replace(request_, scope={}), None)
    for minted, may in ((narrow, False), (whole, True)):
        own = Credentials(*(minted.fields.reveal(name) for name in ("access_key_id", "secret_access_key", "session_token")))
        client = corner.aws.client("secretsmanager", own)
        assert client.get_secret_value(SecretId="app")["SecretString"] == "{}"
        if may:
            client.describe_secret(SecretId="app")
        else:
            with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
                client.describe_secret(SecretId="app")


def test_the_life_is_what_the_role_and_our_own_session_allow(
    corner: Corner, issuer: RoleSessions, request_: MintRequest
) -> None:
    """Longer than the role's limit, or than an hour from a session of our own: an hour. The end is the true one."""
    start = corner.aws.clock.now()
    long = replace(request_, ttl=timedelta(hours=10))
    (end,) = {issuer.mint(long, None).expires_at}
    assert end is not None
    assert timedelta(minutes=59) < end - start <= timedelta(hours=1)
    corner.aws.role("patient", trust("arn:aws:iam::123456789012:root", "sts:AssumeRole", "sts:TagSession"), max_session=43200)
    patient = replace(long, parameters={"role": "arn:aws:iam::123456789012:role/patient"})
    everybody = corner.issuer(allow(["sts:AssumeRole", "sts:TagSession"]))
    end = everybody.mint(patient, None).expires_at
    assert end is not None
    assert end - start > timedelta(hours=9)
    end = everybody.mint(replace(request_, ttl=None), None).expires_at
    assert end is not None
    assert timedelta(minutes=59) < end - start <= timedelta(hours=1)
    with pytest.raises(Invalid, match="15m at least"):
        issuer.mint(replace(request_, ttl=timedelta(minutes=14)), None)


def test_sessions_of_sessions_last_an_hour(corner: Corner, issuer: RoleSessions, request_: MintRequest) -> None:
    """Where we are a session ourselves AWS allows an hour, whatever the role does."""
    corner.aws.role(
        "step", trust("arn:aws:iam::123456789012:root", "sts:AssumeRole"), allow(["sts:AssumeRole", "sts:TagSession"])
    )
    corner.aws.role("far", trust("arn:aws:iam::123456789012:root", "sts:AssumeRole", "sts:TagSession"), max_session=43200)
    admin = corner.aws.client("sts")
    step = admin.assume_role(RoleArn="arn:aws:iam::123456789012:role/step", RoleSessionName="us")["Credentials"]
    own = Credentials(step["AccessKeyId"], step["SecretAccessKey"], step["SessionToken"])
    far = replace(request_, ttl=timedelta(hours=8), parameters={"role": "arn:aws:iam::123456789012:role/far"})
    end = corner.issuer(own=own).mint(far, None).expires_at
    assert end is not None
    assert end - corner.aws.clock.now() <= timedelta(hours=1)


@pytest.mark.parametrize("fault", [Dropped(), Garbled()])
def test_a_lost_answer_leaves_a_session_that_nobody_has(
    corner: Corner, issuer: RoleSessions, request_: MintRequest, fault: Any
) -> None:
    """Retryable, and nothing is shown; the ledger waits for the longest life, as nobody can list it."""
    corner.aws.faults.plan("sts:AssumeRole", fault)
    with pytest.raises(Retryable) as caught:
        issuer.mint(request_, None)
    (session,) = corner.aws.account.sessions.values()
    assert session.secret not in texts_of(caught.value)
    assert list(issuer.find(query(request_, rotation=request_.rotation))) == []
    assert session.expires - corner.aws.clock.now() <= issuer.traits.listing_delay


def test_cloudtrail_sees_whose_session_it_is(corner: Corner, issuer: RoleSessions, request_: MintRequest) -> None:
    """The name says rotation, generation and credential within what AWS takes; two credentials never share a ref."""
    issuer.mint(request_, None)
    (session,) = corner.aws.account.sessions.values()
    name = session.arn.rpartition("/")[2]
    assert name.startswith("rotatord.rot_0123456789abcdef.3.")
    assert "apps-re" in name
    assert len(name) <= NAME_CHARACTERS
    other = replace(request_, credential="apps/reports-2")
    assert session_name(other) != session_name(request_)
    long = replace(request_, credential="ä/" * 100, rotation="r" * 100, generation=10**9)
    assert len(session_name(long)) <= NAME_CHARACTERS


def test_another_installation_does_not_take_a_ref_for_its_own(issuer: RoleSessions, request_: MintRequest) -> None:
    """A ref tells by a digest whose it is."""
    minted = issuer.mint(request_, None)
    for other in (replace(request_, installation="there"), replace(request_, credential="apps/other")):
        assert list(issuer.find(query(other, ref=minted.ref))) == []


def test_what_the_trust_policy_lacks_is_told(corner: Corner, issuer: RoleSessions, request_: MintRequest) -> None:
    """AccessDenied names what has to allow it, and says that no session was made: nobody need wait for its end."""
    corner.aws.role("closed", trust("arn:aws:iam::999999999999:root", "sts:AssumeRole"))
    with pytest.raises(Denied, match="trust policy of arn:aws:iam::123456789012:role/closed") as caught:
        issuer.mint(replace(request_, parameters={"role": "arn:aws:iam::123456789012:role/closed"}), None)
    assert caught.value.made_nothing
    assert corner.aws.account.sessions == {}


@pytest.mark.parametrize(
    ("scope", "parameters", "word"),
    [
        ({}, {}, "role"),
        ({}, {"role": "reports"}, "parameters.role"),
        ({}, {"role": ROLE, "duration": "1h"}, "duration"),
        ({"policy": {"Statement": []}}, {"role": ROLE}, "at least one statement"),
        ({"managed": ["x"]}, {"role": ROLE}, "scope.managed"),
        ({"managed": ["arn:aws:iam::aws:policy/ReadOnlyAccess"] * 11}, {"role": ROLE}, "scope.managed"),
        ({"policy": json.loads(allow([f"s3:Action{'x' * 60}{n}" for n in range(40)]))}, {"role": ROLE}, "2048"),
    ],
)
def test_mistakes_are_told_without_asking_aws(issuer: RoleSessions, scope: JsonMap, parameters: JsonMap, word: str) -> None:
    """Static problems are sentences that name what is wrong."""
    problems = list(issuer.check(scope, parameters))
    assert any(word in problem for problem in problems), problems


def test_another_servers_answers_are_understood(moto: Moto, request_: MintRequest) -> None:
    """moto takes our calls, and we read its answers."""
    moto.client("iam").create_role(RoleName="reports", AssumeRolePolicyDocument=trust("*", "sts:AssumeRole"))
    around = Surroundings(installation="here", state_dir="", now=lambda: datetime.now(UTC), secret=str)
    issuer = create(
        {"region": REGION, "endpoint_url": moto.url, "access_key": {"id": moto.admin.id, "secret": moto.admin.secret}}, around
    )
    minted = issuer.mint(request_, None)
    assert probe(issuer, minted.fields, request_) == Accepted(scope=None, ref=minted.ref, expires_at=minted.expires_at)
    assert [live.generation for live in issuer.find(query(request_, ref=minted.ref))] == [3]
    issuer.close()
