"""Policies joined grant what each of them grants, as a judge of policies that knows nothing of the joining sees it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rotatord import aws_policies as policies
from rotatord.aws_grants import plain, widened
from rotatord.errors import Invalid
from rotatord.model import JsonMap
from rotatord.testing.aws.policies import Question, decide, parsed

ACTIONS = ("s3:GetObject", "s3:PutObject", "sqs:SendMessage")
RESOURCES = ("arn:aws:s3:::one/a", "arn:aws:s3:::two/a", "arn:aws:sqs:eu-west-1:123456789012:queue")
patterns = st.lists(st.sampled_from((*ACTIONS, "s3:*", "*")), min_size=1, max_size=2)
places = st.lists(st.sampled_from((*RESOURCES, "arn:aws:s3:::*/a", "*")), min_size=1, max_size=2)


@st.composite
def statements(draw: st.DrawFn) -> JsonMap:
    effect = draw(st.sampled_from(("Allow", "Allow", "Deny")))
    action, resource = draw(st.sampled_from(("Action", "NotAction"))), draw(st.sampled_from(("Resource", "NotResource")))
    found: JsonMap = {"Effect": effect, action: draw(patterns), resource: draw(places)}
    if draw(st.booleans()):
        found["Condition"] = {"StringEquals": {"aws:username": draw(st.sampled_from(("a", "b")))}}
    if draw(st.booleans()):
        found["Sid"] = draw(st.sampled_from(("One", "Two")))
    return found


def sids_are_unique(document: JsonMap) -> bool:
    sids = [item["Sid"] for item in document["Statement"] if "Sid" in item]
    return len(sids) == len(set(sids))


documents = st.builds(
    lambda items: {"Version": policies.VERSION, "Statement": items}, st.lists(statements(), min_size=1, max_size=3)
).filter(sids_are_unique)
scopes = st.dictionaries(st.sampled_from(("x", "y")), documents, min_size=1, max_size=2)


def granted(inline: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Everything that these documents allow, of what there is in this world."""
    judged = [parsed(name, json.dumps(document)) for name, document in inline.items()]
    return {
        (action, resource, name)
        for action, resource, name in itertools.product(ACTIONS, RESOURCES, ("a", "b"))
        if decide(judged, Question(action, resource, {"aws:username": name}))[0] == "allowed"
    }


@settings(deadline=None, max_examples=60)
@given(documents)
def test_the_plain_form_means_the_same(document: JsonMap) -> None:
    """Whoever judges it says the same of it, it is its own plain form, and AWS would take it."""
    plain_form = policies.plain(document)
    assert granted({"x": plain_form}) == granted({"x": document})
    assert policies.plain(plain_form) == plain_form
    assert policies.problems(plain_form, "x") == []


@settings(deadline=None, max_examples=60)
@given(scopes, scopes)
def test_what_covers_two_takes_nothing_from_either(one: dict[str, JsonMap], two: dict[str, JsonMap]) -> None:
    """Joined, in either order, everything is allowed that one of the two allows; joined once more nothing changes."""
    first, second = ({name: policies.plain(document) for name, document in each.items()} for each in (one, two))
    joined = policies.covering([first, second])
    assert granted(joined) >= granted(first) | granted(second)
    assert joined == policies.covering([second, first])
    assert policies.covering([joined, joined]) == joined
    assert all(policies.problems(document, name) == [] for name, document in joined.items())
    assert policies.covering([first, first]) == policies.covering([first])


@settings(deadline=None, max_examples=60)
@given(documents, documents)
def test_what_is_said_to_cover_does(wide: JsonMap, narrow: JsonMap) -> None:
    """A document that may take another's place takes nothing away."""
    wide, narrow = policies.plain(wide), policies.plain(narrow)
    if policies.covers(wide, narrow):
        assert granted({"x": wide}) >= granted({"x": narrow})


def test_a_deny_of_one_does_not_restrict_the_other() -> None:
    """Only Denies that both have stay while both are in use."""
    allow: JsonMap = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    shared: JsonMap = {"Effect": "Deny", "Action": "s3:DeleteBucket", "Resource": "*"}
    own: JsonMap = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"}
    old = {"policy": {"Version": policies.VERSION, "Statement": [allow, shared]}}
    new = {"policy": {"Version": policies.VERSION, "Statement": [allow, {**shared, "Sid": "Keep"}, own]}}
    (kept,) = [item for item in widened([old, new], 10)["inline"]["scope"]["Statement"] if item["Effect"] == "Deny"]
    assert kept["Action"] == "s3:DeleteBucket"


def test_joining_what_is_not_ours_takes_nothing_away() -> None:
    """Of an empty scope nothing is known: what joins it adds only, and says so."""
    scope = {"policy": {"Statement": {"Effect": "Deny", "Action": "s3:*", "Resource": "*"}}, "managed": []}
    joined = widened([{}, scope], 10)
    assert joined == {"inline": {}, "managed": [], "keep_others": True}
    assert widened([joined, scope], 10) == joined
    assert widened([{}], 10) == widened([], 10) == {}


def test_spellings_of_one_scope_are_one_scope() -> None:
    """Order, lists of one, Version left out, booleans, and ``policy`` for the only inline policy mean the same."""
    one = {"policy": {"Statement": {"Effect": "Allow", "Action": ["s3:b", "s3:a"], "Resource": ["*"]}}}
    two = {
        "inline": {
            "scope": {"Version": "2012-10-17", "Statement": [{"Action": ["s3:a", "s3:b"], "Resource": "*", "Effect": "Allow"}]}
        }
    }
    assert plain(one) == plain(two)
    condition: JsonMap = {"Bool": {"aws:SecureTransport": True}}
    said = {"Bool": {"aws:SecureTransport": ["true"]}}
    statement = {"Effect": "Allow", "Action": "s3:a", "Resource": "*"}
    assert policies.plain({"Statement": [{**statement, "Condition": condition}]}) == policies.plain(
        {"Statement": [{**statement, "Condition": said}]}
    )


def test_white_space_does_not_count() -> None:
    """AWS counts neither what we write between words nor what stands within them."""
    document = policies.plain({"Statement": [{"Effect": "Allow", "Action": "s3:a", "Resource": "arn:aws:s3:::a b"}]})
    assert policies.length([document]) == len(policies.text(document)) - 1


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ({"Effect": "Allow", "Action": "s3:*"}, "Resource or NotResource"),
        ({"Effect": "Allow", "Action": "s3:*", "NotAction": "s3:*", "Resource": "*"}, "Action or NotAction"),
        ({"Effect": "allow", "Action": "s3:*", "Resource": "*"}, "Effect"),
        ({"Effect": "Allow", "Action": 1, "Resource": "*"}, "Action"),
        ({"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Principal": "*"}, "no place"),
        ({"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Sid": "a b"}, "Sid"),
        ({"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"Bool": "x"}}, "Condition"),
        ("Allow", "mapping"),
    ],
)
def test_malformed_statements_are_sentences(statement: Any, word: str) -> None:
    """What AWS would call malformed is said, with its place, before AWS is asked."""
    (problem,) = policies.problems({"Statement": [statement]}, "scope.policy")
    assert problem.startswith("scope.policy.Statement[0]")
    assert word in problem


def test_two_boundaries_of_the_same_version_are_no_answer() -> None:
    """Different ones with two different ideas of what holds meanwhile: Invalid."""
    one, two = ({"boundary": name, "boundary_during_change": f"{name}-wide"} for name in ("a", "b"))
    with pytest.raises(Invalid, match="boundary_during_change"):
        policies.joined_boundary([one, two])
