"""The contract of issuers, over access keys of a strict AWS that spreads changes late, under exactly the rights they name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from issuers.aws_iam_user import IamUserKeys, create
from rotatord.aws_grants import INLINE_CHARACTERS, tag_of
from rotatord.errors import Conflict, Denied, Invalid, NotFound, Retryable
from rotatord.model import JsonMap
from rotatord.ports import (
    Accepted,
    Inconclusive,
    Inventory,
    Issuer,
    LastUsed,
    MintRequest,
    Preflight,
    PrincipalScope,
    RefusedVerdict,
    Surroundings,
    Suspend,
    Traits,
)
from rotatord.secret import Secret
from rotatord.testing.aws import (
    LIKE_AWS,
    REGION,
    Credentials,
    Dropped,
    Fails,
    FakeAws,
    Garbled,
    Refuse,
    RunningClock,
    throttled,
)
from rotatord.testing.contracts.common import assert_hides, texts_of
from rotatord.testing.contracts.issuer import IssuerContract
from rotatord.testing.contracts.issuer_setting import probe, query
from rotatord.testing.silent import closed_port, silent_server
from tests.servers.aws_fixtures import Moto
from tests.servers.aws_rights import policy_of

USER, PATH = "reports", "/apps/"
QUICK = {"connect_timeout": 0.5, "read_timeout": 0.5, "timeout": 1.0}
AN_HOUR = 3600.0


def allowing(*actions: str, effect: str = "Allow", sid: str = "") -> JsonMap:
    """A policy document in plain form."""
    statement: JsonMap = {"Effect": effect, "Action": list(actions) if len(actions) > 1 else actions[0], "Resource": "*"}
    return {"Version": "2012-10-17", "Statement": [{**({"Sid": sid} if sid else {}), **statement}]}


NARROW: JsonMap = {"inline": {"scope": allowing("iam:GetUser")}, "managed": []}


@dataclass
class Corner:
    """One account with the user whose keys are rotated, and our own identity with the rights that the plugin names."""

    aws: FakeAws
    managed: str
    wide: JsonMap

    def settings(self, credentials: Credentials, **more: Any) -> JsonMap:
        key = {"id": f"env:{credentials.id}", "secret": f"env:{credentials.secret}"}
        return {"region": REGION, "account": "123456789012", "endpoint_url": self.aws.url, "access_key": key, **more}

    def issuer(self, policy: str | None = None, **more: Any) -> IamUserKeys:
        """One under an identity with this policy; without one with the rights that it names itself."""
        around = Surroundings(installation="here", state_dir="", now=self.aws.clock.now, secret=bare)
        bare_settings = {"region": REGION, "account": "123456789012"}
        plugin, parameters = create(bare_settings, around), {"user": USER, "path": PATH}
        rights = [*plugin.rights(self.wide, parameters), *plugin.rights({"boundary": "none"}, parameters)]
        name = f"rotatord-{len(self.aws.account.users)}"
        identity = self.aws.identity(name, policy_of(rights) if policy is None else policy)
        return create(self.settings(identity, **more), around)

    def wait(self, seconds: float = AN_HOUR) -> None:
        self.aws.advance(seconds)


def bare(reference: JsonMap | str) -> str:
    """Tests of one process give their secrets as they are."""
    assert isinstance(reference, str)
    return reference.removeprefix("env:")


@pytest.fixture
def corner(make_aws: Callable[..., FakeAws]) -> Corner:
    aws = make_aws(clock=RunningClock(0), lags=LIKE_AWS)
    aws.user(USER, path=PATH)
    document = json.dumps(allowing("s3:ListAllMyBuckets"))
    managed, boundary = (aws.policy(name, document).arn for name in ("buckets", "limits"))
    wide = {"inline": {"more": allowing("s3:GetObject", "s3:PutObject"), **NARROW["inline"]}, "managed": [managed]}
    return Corner(aws, managed, {**wide, "boundary": boundary})


@pytest.fixture
def issuer(corner: Corner) -> IamUserKeys:
    return corner.issuer()


@pytest.fixture
def request_() -> MintRequest:
    return MintRequest(
        installation="here",
        credential="apps/reports",
        rotation="rot_0123456789abcdef",
        generation=3,
        scope={**NARROW, "boundary": "none"},
        parameters={"user": USER, "path": PATH},
        owner="team-reports",
    )


class TestAwsIamUser(IssuerContract):
    """The suite."""

    plugin: ClassVar[str] = "aws_iam_user"
    powers = frozenset({Suspend, LastUsed, Inventory, Preflight, PrincipalScope})
    traits = Traits(
        fields=("access_key_id", "secret_access_key"),
        max_live=2,
        scope_on="principal",
        scope_proof="exact",
        labels=False,
        exclusive=True,
        propagation=timedelta(seconds=30),
        listing_delay=timedelta(seconds=30),
        last_used_delay=timedelta(hours=4),
        call_settles_within=timedelta(seconds=60),
        high_entropy=("secret_access_key",),
        names=("access_key_id",),
        forms={"access_key_id": r"\w{16,128}", "secret_access_key": r"[A-Za-z0-9/+]{40,}"},
    )

    @pytest.fixture
    def issuer(self, issuer: IamUserKeys) -> Issuer:
        return issuer

    @pytest.fixture
    def request_(self, request_: MintRequest) -> MintRequest:
        return request_

    @pytest.fixture
    def settle(self, corner: Corner) -> Callable[[], None]:
        return corner.wait

    @pytest.fixture
    def unknown_ref(self) -> str:
        return "AKIAAAAAAAAAAAAAAAAA"

    @pytest.fixture
    def wider_scope(self, corner: Corner) -> JsonMap:
        return corner.wide

    @pytest.fixture
    def bad_scope(self) -> JsonMap:
        return {"policy": {"Version": "2012-10-17", "Statement": [{"Effect": "Permit", "Action": "s3:*", "Resource": "*"}]}}

    @pytest.fixture
    def impossible(self, corner: Corner) -> tuple[JsonMap, JsonMap]:
        corner.aws.quarantine(USER)
        return NARROW, {"user": USER, "path": PATH}

    @pytest.fixture
    def garbage(self) -> Secret:
        return Secret({"access_key_id": "AKIANEVERMINTED23456", "secret_access_key": "n3v3r/m1nt3d+" * 3 + "x"})

    @pytest.fixture
    def use(self, corner: Corner) -> Callable[[Secret], None]:
        def use(fields: Secret) -> None:
            corner.wait()
            own = Credentials(fields.reveal("access_key_id"), fields.reveal("secret_access_key"))
            corner.aws.client("iam", own).get_user()
            corner.wait()

        return use

    @pytest.fixture
    def denied(self, corner: Corner) -> Issuer:
        return corner.issuer(json.dumps(allowing("s3:ListAllMyBuckets")))

    @pytest.fixture
    def unreachable(self, corner: Corner) -> Iterator[Issuer]:
        with closed_port() as port:
            yield corner.issuer(endpoint_url=f"http://127.0.0.1:{port}", **QUICK)

    @pytest.fixture
    def hanging(self, corner: Corner) -> Iterator[Issuer]:
        with silent_server() as port:
            yield corner.issuer(endpoint_url=f"http://127.0.0.1:{port}", **QUICK)


def fields_of(credentials: Credentials) -> Secret:
    return Secret({"access_key_id": credentials.id, "secret_access_key": credentials.secret})


# --- whose key it is -----------------------------------------------------------------------------------------------------


def test_only_what_was_made_after_our_intent_can_be_ours(corner: Corner, issuer: IamUserKeys, request_: MintRequest) -> None:
    """A key of somebody else's that was there before, listed or not by then, is never named; the orphan is."""
    theirs = corner.aws.key(USER)
    corner.wait(10)
    intent = corner.aws.clock.now()
    corner.aws.faults.plan("iam:CreateAccessKey", Dropped())
    with pytest.raises(Retryable):
        issuer.mint(request_, None)
    corner.wait()
    (orphan,) = issuer.find(replace(query(request_), since=intent))
    assert orphan.ref != theirs.id
    assert orphan.ref in {row.id for row in corner.aws.keys(USER)}
    assert list(issuer.find(replace(query(request_), since=intent, known=(theirs.id, orphan.ref)))) == []


@pytest.mark.parametrize("fault", [Dropped(), Fails(), Garbled()])
def test_a_lost_answer_is_retryable_and_shows_nothing(corner: Corner, request_: MintRequest, fault: Any) -> None:
    """Whatever becomes of the answer: Retryable, without a value, and the key that was made is found."""
    issuer = corner.issuer()
    corner.aws.faults.plan("iam:CreateAccessKey", fault)
    with pytest.raises(Retryable) as caught:
        issuer.mint(request_, None)
    (made,) = corner.aws.keys(USER)
    assert corner.aws.find_key(made.id).secret not in texts_of(caught.value)
    corner.wait()
    assert [live.ref for live in issuer.find(query(request_))] == [made.id]


def test_the_key_of_another_user_is_not_the_version(corner: Corner, issuer: IamUserKeys, request_: MintRequest) -> None:
    """A value that works, but for somebody else, is accepted with another ref: the engine then refuses the version."""
    other = corner.aws.identity("other", json.dumps(allowing("s3:GetObject")))
    answer = probe(issuer, fields_of(other), request_)
    assert isinstance(answer, Accepted)
    assert answer.ref not in (None, other.id)


def test_a_user_that_is_gone_has_no_keys_where_the_account_is_known(corner: Corner, request_: MintRequest) -> None:
    """With the account configured a deleted user's keys are gone; in another account nothing is said to be."""
    gone = replace(request_, parameters={"user": "long-gone"})
    everything = json.dumps(allowing("iam:*"))
    assert list(corner.issuer(everything).find(query(gone, ref="AKIAAAAAAAAAAAAAAAAA"))) == []
    with pytest.raises(Denied, match="not of account"):
        corner.issuer(everything, account="999999999999").find(query(gone))
    with pytest.raises(NotFound, match="set account"):
        corner.issuer(everything, account=None).find(query(gone))


def test_names_of_users_are_told_apart_as_aws_does(corner: Corner, issuer: IamUserKeys, request_: MintRequest) -> None:
    """IAM takes Reports and reports for one user."""
    minted = issuer.mint(request_, None)
    corner.wait()
    answer = issuer.probe(minted.fields, {"scope": {}, "parameters": {"user": USER}})
    assert answer == Accepted(scope={}, ref=minted.ref)


# --- verdicts ------------------------------------------------------------------------------------------------------------


def test_a_fresh_key_is_never_refused_by_chance(make_aws: Callable[..., FakeAws], request_: MintRequest) -> None:
    """While a key spreads, answers that differ are inconclusive; once it has, and once it is gone everywhere, they agree."""
    aws = make_aws(clock=RunningClock(0), lags=LIKE_AWS, replicas=5)
    aws.user(USER, path=PATH)
    issuer = Corner(aws, "", NARROW).issuer(agreeing_answers=5)
    minted = issuer.mint(request_, None)
    seen = []
    for _ in range(16):
        seen.append(type(issuer.probe(minted.fields, {"scope": {}, "parameters": request_.parameters})))
        aws.advance(1.0)
    assert Inconclusive in seen
    assert seen[-1] is Accepted
    aws.settle()
    issuer.suspend(minted.ref, request_.parameters)
    aws.settle()
    assert isinstance(issuer.probe(minted.fields, {"scope": {}, "parameters": request_.parameters}), RefusedVerdict)


@pytest.mark.parametrize(
    "fault",
    [
        throttled("sts"),
        Refuse("SignatureDoesNotMatch", "Signature expired: 20261122T080000Z is now earlier than 20261122T081500Z", 403),
        Refuse(
            "SignatureDoesNotMatch", "Signature not yet current: 20261122T083000Z is still later than 20261122T080000Z", 403
        ),
        Refuse("InternalFailure", status=500),
        Refuse("AccessDenied", status=403),
        Dropped(),
        Garbled(),
    ],
)
def test_trouble_is_no_refusal(corner: Corner, issuer: IamUserKeys, request_: MintRequest, fault: Any) -> None:
    """Throttling, clocks that differ, and broken answers say nothing of the key."""
    minted = issuer.mint(request_, None)
    corner.wait()
    corner.aws.faults.plan("sts:GetCallerIdentity", fault, times=None)
    answer = probe(issuer, minted.fields, request_)
    assert isinstance(answer, Inconclusive)
    assert_hides(answer.why, [minted.fields])


def test_our_own_broken_identity_refuses_no_version(corner: Corner, request_: MintRequest) -> None:
    """With a key of our own that AWS does not know, a version is not called refused, though AWS's words are the same."""
    minted = corner.issuer().mint(request_, None)
    corner.wait()
    around = Surroundings(installation="here", state_dir="", now=corner.aws.clock.now, secret=bare)
    lost = create(corner.settings(Credentials("AKIANEVERMINTED23456", "x" * 40)), around)
    for fields in (minted.fields, Secret({"access_key_id": "AKIA" + "B" * 16, "secret_access_key": "y" * 40})):
        with pytest.raises(Retryable, match="our own credentials"):
            lost.probe(fields, {"scope": NARROW, "parameters": request_.parameters})


# --- two keys, and quarantine --------------------------------------------------------------------------------------------


def test_a_full_user_is_told_with_all_that_one_needs_to_decide(corner: Corner, issuer: IamUserKeys) -> None:
    """Both keys, their ages, states and last uses, and what to do: in one sentence."""
    old, idle = corner.aws.key(USER), corner.aws.key(USER)
    corner.wait(86_400)
    corner.aws.client("sts", old).get_caller_identity()
    corner.wait()
    issuer.suspend(idle.id, {"user": USER, "path": PATH})
    corner.wait()
    (sentence,) = issuer.preflight(NARROW, {"user": USER, "path": PATH})
    for word in (old.id, idle.id, "active, 1d2h old", "inactive", "last used 2h", "no use known", "delete the one that nobody"):
        assert word in sentence


def test_under_quarantine_no_further_key_is_made(corner: Corner, issuer: IamUserKeys, request_: MintRequest) -> None:
    """Preflight says so, mint is Invalid, and a probe shows the quarantine as a part of what the key may do."""
    minted = issuer.mint(request_, None)
    corner.aws.quarantine(USER)
    corner.wait()
    assert any("quarantine" in problem for problem in issuer.preflight(NARROW, request_.parameters))
    with pytest.raises(Invalid, match="found in public"):
        issuer.mint(request_, None)
    assert len(corner.aws.keys(USER)) == 1
    for scope in (NARROW, {}):
        answer = issuer.probe(minted.fields, {"scope": scope, "parameters": request_.parameters})
        assert isinstance(answer, Accepted)
        assert (answer.scope or {})["quarantine"]


def test_a_key_is_inactive_before_it_is_deleted(corner: Corner, issuer: IamUserKeys, request_: MintRequest) -> None:
    """So that whoever still uses it is stopped by what can be undone first."""
    minted = issuer.mint(request_, None)
    issuer.revoke(minted.ref, None, request_.parameters)
    asked = [call.operation for call in corner.aws.calls if call.operation in {"iam:UpdateAccessKey", "iam:DeleteAccessKey"}]
    assert asked == ["iam:UpdateAccessKey", "iam:DeleteAccessKey"]


# --- scopes --------------------------------------------------------------------------------------------------------------


def test_what_others_granted_is_left_alone(corner: Corner, issuer: IamUserKeys, request_: MintRequest) -> None:
    """Inline policies and attachments that are not ours stay through widening and narrowing, and are not shown; a check says
    that they are there, where a scope is ours to set."""
    foreign = corner.aws.policy("foreign", json.dumps(allowing("s3:GetObject"))).arn
    user = corner.aws.user("shared", json.dumps(allowing("sqs:SendMessage")), path=PATH, attached=(foreign,))
    parameters = {"user": "shared", "path": PATH}
    issuer = corner.issuer(json.dumps(allowing("iam:*")))
    minted = issuer.mint(replace(request_, parameters=parameters), None)
    for scope in (corner.wide, NARROW, {"inline": {}}):
        issuer.set_scope(issuer.widen([scope]), parameters)
        corner.wait()
        answer = issuer.probe(minted.fields, {"scope": scope, "parameters": parameters})
        assert isinstance(answer, Accepted)
        assert answer.scope == issuer.widen([scope])
    assert user.holding.attached == (foreign,)
    (said,) = issuer.remarks(corner.wide, parameters)
    assert "has 2 policies that are not ours (policy, foreign)" in said
    assert issuer.remarks({}, parameters) == []
    assert set(user.holding.inline) == {"policy"}
    assert not any(key == tag_of(corner.managed) for key in user.holding.tags)
    issuer.set_scope({}, parameters)
    assert set(user.holding.inline) == {"policy"}


def test_from_no_scope_to_one_nothing_is_taken_away_before_the_old_key_is_dead(
    corner: Corner, issuer: IamUserKeys, request_: MintRequest
) -> None:
    """Of a key without a declared scope nobody knows what it needs: what is there stays while it lives, and goes after it."""
    parameters = {"user": USER, "path": PATH}
    before = issuer.widen([{"inline": {"old": allowing("s3:GetObject"), "scope": allowing("sqs:SendMessage")}}])
    issuer.set_scope(before, parameters)
    corner.wait()
    minted = issuer.mint(replace(request_, scope={}), None)
    both = issuer.widen([{}, NARROW])
    issuer.set_scope(both, parameters)
    corner.wait()
    text = " ".join(corner.aws.account.user(USER).holding.inline.values())
    assert all(action in text for action in ("s3:GetObject", "sqs:SendMessage", "iam:GetUser"))
    answer = issuer.probe(minted.fields, {"scope": both, "parameters": parameters})
    assert isinstance(answer, Accepted)
    assert answer.scope == both
    narrow = issuer.widen([NARROW])
    issuer.set_scope(narrow, parameters)
    corner.wait()
    answer = issuer.probe(minted.fields, {"scope": narrow, "parameters": parameters})
    assert isinstance(answer, Accepted)
    assert answer.scope == narrow


def test_a_scope_that_fails_half_way_is_finished_by_the_next_try(corner: Corner, issuer: IamUserKeys) -> None:
    """Lost or refused at any of its calls: nothing that is needed goes missing, and a repetition makes it whole."""
    parameters = {"user": USER, "path": PATH}
    target, narrow = issuer.widen([corner.wide, NARROW]), issuer.widen([{**NARROW, "boundary": "none"}])
    operations = (
        "PutUserPolicy",
        "TagUser",
        "AttachUserPolicy",
        "DetachUserPolicy",
        "UntagUser",
        "DeleteUserPolicy",
        "GetUser",
    )
    for fault in (Dropped(), throttled("iam")):
        for operation in operations:
            for scope in (target, narrow):
                corner.wait(10)
                corner.aws.faults.plan(f"iam:{operation}", fault)
                try:
                    issuer.set_scope(scope, parameters)
                except Retryable:
                    issuer.set_scope(scope, parameters)
                corner.aws.faults.clear()
                holding = corner.aws.account.user(USER).holding
                assert {name.removeprefix("rotatord-") for name in holding.inline} == set(scope["inline"])
                assert list(holding.attached) == scope["managed"]
                assert set(holding.tags.values()) == set(scope["managed"])


def test_what_was_just_added_is_taken_away_again_though_iam_does_not_list_it_yet(
    corner: Corner, issuer: IamUserKeys, request_: MintRequest
) -> None:
    """A rollback right after the widening: lists of IAM's are late, and yet nothing stays."""
    parameters = {"user": USER, "path": PATH}
    narrow = issuer.widen([NARROW])
    issuer.set_scope(narrow, parameters)
    corner.wait()
    issuer.set_scope(issuer.widen([NARROW, {key: corner.wide[key] for key in ("inline", "managed")}]), parameters)
    issuer.set_scope(narrow, parameters)
    corner.wait()
    holding = corner.aws.account.user(USER).holding
    assert (set(holding.inline), holding.attached) == ({"rotatord-scope"}, ())


def test_limits_are_told_before_anything_is_touched(corner: Corner, issuer: IamUserKeys) -> None:
    """Too many characters or policies, of one scope or of two together, are sentences; AWS's own count is Invalid."""
    long = {"policy": allowing(*(f"s3:Action{'x' * 40}{number}" for number in range(30)))}
    other = {"inline": {"more": allowing(*(f"sqs:Action{'x' * 40}{number}" for number in range(30)))}}
    assert list(issuer.check(long, {"user": USER})) == []
    with pytest.raises(Invalid, match=f"takes {INLINE_CHARACTERS} a user"):
        issuer.widen([long, other])
    both = {**long, **other}
    assert any("characters" in problem for problem in issuer.check(both, {"user": USER}))
    many = {"managed": [f"arn:aws:iam::123456789012:policy/p{number}" for number in range(11)]}
    assert any("11 managed policies" in problem for problem in issuer.check(many, {"user": USER}))
    assert any("managed_policies" in problem for problem in issuer.check(many, {"user": USER}))
    missing = {"managed": ["arn:aws:iam::123456789012:policy/nowhere"]}
    lenient = corner.issuer(json.dumps(allowing("iam:*")))
    assert any("nowhere" in problem for problem in lenient.preflight(missing, {"user": USER, "path": PATH}))


def test_two_boundaries_need_a_third_for_the_change(issuer: IamUserKeys) -> None:
    """Equal ones stay; with and without leaves it as it is; two different ones need one that both can live under."""
    one, two, third = (f"arn:aws:iam::123456789012:policy/{name}" for name in ("one", "two", "third"))
    assert issuer.widen([{"boundary": one}, {"boundary": one}])["boundary"] == one
    assert "boundary" not in issuer.widen([{"boundary": one}, NARROW])
    assert issuer.widen([{"boundary": one}, {"boundary": "none"}])["boundary"] == "none"
    with pytest.raises(Invalid, match="boundary_during_change"):
        issuer.widen([{"boundary": one}, {"boundary": two}])
    assert issuer.widen([{"boundary": one}, {"boundary": two, "boundary_during_change": third}])["boundary"] == third


@pytest.mark.parametrize(
    ("scope", "parameters", "word"),
    [
        (NARROW, {}, "user"),
        (NARROW, {"user": "a/b"}, "parameters.user"),
        (NARROW, {"user": USER, "usr": "x"}, "usr"),
        ({"polcy": {}}, {"user": USER}, "policy"),
        ({"policy": {"Statement": []}}, {"user": USER}, "at least one statement"),
        ({"policy": allowing("s3:*"), "inline": {"scope": allowing("s3:*")}}, {"user": USER}, "give one of them"),
        ({"managed": ["AdministratorAccess"]}, {"user": USER}, "scope.managed"),
        ({"boundary": "nothing"}, {"user": USER}, "scope.boundary"),
    ],
)
def test_mistakes_are_told_without_asking_aws(issuer: IamUserKeys, scope: JsonMap, parameters: JsonMap, word: str) -> None:
    """Static problems are sentences that name what is wrong."""
    problems = list(issuer.check(scope, parameters))
    assert any(word in problem for problem in problems), problems


def test_the_cap_is_told_as_such(corner: Corner, issuer: IamUserKeys, request_: MintRequest) -> None:
    """AWS's LimitExceeded is a Conflict, inactive keys counted."""
    for _ in range(2):
        issuer.suspend(issuer.mint(request_, None).ref, request_.parameters)
    with pytest.raises(Conflict, match="LimitExceeded"):
        issuer.mint(request_, None)
    assert corner.aws.most_keys(USER) == 2


def test_rights_name_one_user_and_nothing_else(issuer: IamUserKeys, corner: Corner) -> None:
    """Each statement is for the user's own ARN, or for a policy that the scope names; attachments are limited to those."""
    for right in issuer.rights(corner.wide, {"user": USER, "path": PATH}):
        if right.actions != ("iam:GetPolicy",):
            assert right.resources == (f"arn:aws:iam::123456789012:user{PATH}{USER}",)
        if "iam:AttachUserPolicy" in right.actions:
            assert right.conditions == (("ArnEquals", "iam:PolicyARN", corner.managed),)


def test_another_servers_answers_are_understood(moto: Moto, request_: MintRequest) -> None:
    """moto, which knows no delays and lets inactive keys in, takes our calls, and we read its answers: all of them once."""
    admin = moto.client("iam")
    admin.create_user(UserName=USER, Path=PATH)
    managed = admin.create_policy(PolicyName="buckets", PolicyDocument=json.dumps(allowing("s3:ListAllMyBuckets")))["Policy"][
        "Arn"
    ]
    around = Surroundings(installation="here", state_dir="", now=lambda: datetime.now(UTC), secret=bare)
    key = {"id": f"env:{moto.admin.id}", "secret": f"env:{moto.admin.secret}"}
    issuer = create({"region": REGION, "endpoint_url": moto.url, "access_key": key}, around)
    scope = {"inline": {"more": allowing("s3:GetObject")}, "managed": [managed]}  # moto has no boundaries of users
    request, parameters = replace(request_, scope=scope), request_.parameters
    assert list(issuer.preflight(scope, parameters)) == []
    target = issuer.widen([scope])
    for _ in range(2):
        issuer.set_scope(target, parameters)
    minted = issuer.mint(request, None)
    answer = issuer.probe(minted.fields, {"scope": target, "parameters": parameters})
    assert answer == Accepted(scope=target, ref=minted.ref)
    issuer.suspend(minted.ref, parameters)
    assert [live.suspended for live in issuer.find(query(request, ref=minted.ref))] == [True]
    issuer.resume(minted.ref, parameters)
    assert [live.ref for live in issuer.inventory()] == [minted.ref]
    issuer.last_used(minted.ref, parameters)
    second = issuer.mint(request, None)
    assert any("access keys" in problem for problem in issuer.preflight(scope, parameters))
    with pytest.raises(Conflict):
        issuer.mint(request, None)
    issuer.set_scope(issuer.widen([NARROW]), parameters)
    for each in (minted, second):
        issuer.revoke(each.ref, None, parameters)
        assert isinstance(probe(issuer, each.fields, request), RefusedVerdict)
    assert list(issuer.find(query(request))) == []
    issuer.close()
