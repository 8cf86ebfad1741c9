"""Parameter Store of the strict AWS, asked by boto3: numbered versions, labels, sizes and the limit of the history."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rotatord.testing.aws import FakeAws, RunningClock, allow
from rotatord.testing.aws.quotas import Rate

NAME = "/apps/dns/token"
ARN = f"arn:aws:ssm:eu-west-1:123456789012:parameter{NAME}"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"


def refusal(call: Callable[..., Any], **arguments: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


@pytest.fixture
def account(make_aws: Callable[..., FakeAws]) -> FakeAws:
    """An account whose clock stands still, and that is not in a hurry."""
    made = make_aws(clock=RunningClock(scale=0))
    made.quotas.rates |= {"ssm writes": Rate(1000), "ssm reads": Rate(1000)}
    return made


@pytest.fixture
def ssm(account: FakeAws) -> Any:
    """Parameter Store as the administrator, with a parameter of version 1."""
    client = account.client("ssm")
    client.put_parameter(Name=NAME, Value="one", Type="SecureString")
    return client


def put(ssm: Any, value: str, **more: Any) -> int:
    version: int = ssm.put_parameter(Name=NAME, Value=value, Overwrite=True, **more)["Version"]
    return version


def test_a_secure_value_is_shown_on_request_only(ssm: Any) -> None:
    """Without decryption one gets something else, and no error."""
    plain = ssm.get_parameter(Name=NAME, WithDecryption=True)["Parameter"]
    assert (plain["Value"], plain["Version"], plain["Type"], plain["ARN"]) == ("one", 1, "SecureString", ARN)
    assert ssm.get_parameter(Name=NAME)["Parameter"]["Value"] != "one"
    assert ssm.get_parameter(Name=ARN, WithDecryption=True)["Parameter"]["Value"] == "one"
    assert refusal(ssm.get_parameter, Name="/apps/nix")[0] == "ParameterNotFound"


def test_an_existing_parameter_is_overwritten_on_request_only(ssm: Any) -> None:
    """Type, key and tier stay as they were."""
    assert refusal(ssm.put_parameter, Name=NAME, Value="two", Type="SecureString")[0] == "ParameterAlreadyExists"
    assert put(ssm, "two") == 2
    assert ssm.get_parameter(Name=NAME, WithDecryption=True)["Parameter"]["Type"] == "SecureString"
    assert refusal(ssm.put_parameter, Name="/apps/new", Value="x")[0] == "ValidationException"  # a new one needs a type


def test_versions_and_labels_select(ssm: Any) -> None:
    """``name:version`` and ``name:label``; what selects nothing is an error of its own."""
    put(ssm, "two")
    ssm.label_parameter_version(Name=NAME, ParameterVersion=1, Labels=["previous"])
    for selector, value in ((":1", "one"), (":2", "two"), (":previous", "one")):
        found = ssm.get_parameter(Name=NAME + selector, WithDecryption=True)["Parameter"]
        assert (found["Value"], found["Selector"], found["Name"]) == (value, selector, NAME)
        assert ssm.get_parameter(Name=ARN + selector, WithDecryption=True)["Parameter"]["Value"] == value
    for selector in (":3", ":pending"):
        assert refusal(ssm.get_parameter, Name=NAME + selector)[0] == "ParameterVersionNotFound"


def test_a_label_sits_on_one_version(account: FakeAws, ssm: Any) -> None:
    """Moving it is one call; the newest version is meant unless one is named."""
    put(ssm, "two")
    ssm.label_parameter_version(Name=NAME, ParameterVersion=1, Labels=["current", "blue"])
    answer = ssm.label_parameter_version(Name=NAME, Labels=["current"])
    assert (answer["ParameterVersion"], answer["InvalidLabels"]) == (2, [])
    assert [one.labels for one in account.parameter(NAME).versions] == [["blue"], ["current"]]
    removed = ssm.unlabel_parameter_version(Name=NAME, ParameterVersion=2, Labels=["current", "blue"])
    assert (removed["RemovedLabels"], removed["InvalidLabels"]) == (["current"], ["blue"])
    assert refusal(ssm.label_parameter_version, Name=NAME, ParameterVersion=9, Labels=["x"])[0] == "ParameterVersionNotFound"
    assert refusal(ssm.unlabel_parameter_version, Name=NAME, ParameterVersion=9, Labels=["x"])[0] == "ParameterVersionNotFound"
    assert refusal(ssm.label_parameter_version, Name="/apps/nix", Labels=["x"])[0] == "ParameterNotFound"


def test_labels_that_are_none_are_named_and_the_rest_is_put(account: FakeAws, ssm: Any) -> None:
    """The call succeeds: who does not read InvalidLabels believes in a label that is not there."""
    wrong = ["1st", "aws-x", "SSM.x", "with blank", "ok"]
    assert ssm.label_parameter_version(Name=NAME, Labels=wrong)["InvalidLabels"] == wrong[:4]
    assert account.parameter(NAME).newest.labels == ["ok"]


def test_a_version_has_ten_labels_at_most(account: FakeAws, ssm: Any) -> None:
    """Nothing is put where not all fit."""
    ssm.label_parameter_version(Name=NAME, Labels=[f"l{number}" for number in range(9)])
    code, said = refusal(ssm.label_parameter_version, Name=NAME, Labels=["x", "y"])
    assert (code, said) == ("ParameterVersionLabelLimitExceeded", "A parameter version can have a maximum of 10 labels.")
    ssm.label_parameter_version(Name=NAME, Labels=["l0", "x"])
    assert len(account.parameter(NAME).newest.labels) == 10


def test_the_history_holds_100_versions_and_a_label_stops_it(account: FakeAws, ssm: Any) -> None:
    """The oldest goes for the newest; labelled it does not go, and the write is refused."""
    for number in range(2, 102):
        put(ssm, str(number))
    assert [account.parameter(NAME).versions[0].number, account.parameter(NAME).newest.number] == [2, 101]
    ssm.label_parameter_version(Name=NAME, ParameterVersion=2, Labels=["previous"])
    code, said = refusal(ssm.put_parameter, Name=NAME, Value="x", Overwrite=True)
    assert code == "ParameterMaxVersionLimitExceeded"
    assert "Version 2, the oldest version, can't be deleted because it has a label associated with it" in said
    assert account.parameter(NAME).newest.number == 101
    ssm.label_parameter_version(Name=NAME, ParameterVersion=50, Labels=["previous"])
    assert put(ssm, "x") == 102


def test_the_history_is_paged_oldest_first(ssm: Any) -> None:
    """With labels, and with values on request."""
    for number in range(2, 6):
        put(ssm, str(number))
    ssm.label_parameter_version(Name=NAME, ParameterVersion=4, Labels=["current"])
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    for _ in range(3):
        page = ssm.get_parameter_history(Name=NAME, WithDecryption=True, MaxResults=2, **more)
        found += page["Parameters"]
        more = {"NextToken": page.get("NextToken", "")}
    assert [(one["Version"], one["Value"]) for one in found] == [(1, "one"), (2, "2"), (3, "3"), (4, "4"), (5, "5")]
    assert [one["Labels"] for one in found] == [[], [], [], ["current"], []]
    assert refusal(ssm.get_parameter_history, Name=NAME, NextToken="x")[0] == "InvalidNextToken"
    assert refusal(ssm.get_parameter_history, Name="/apps/nix")[0] == "ParameterNotFound"


@pytest.mark.parametrize(
    ("tier", "size", "fits", "ends"),
    [
        ("Standard", 4096, True, "Standard"),
        ("Standard", 4097, False, ""),
        ("Advanced", 8192, True, "Advanced"),
        ("Advanced", 8193, False, ""),
        ("Intelligent-Tiering", 4096, True, "Standard"),
        ("Intelligent-Tiering", 4097, True, "Advanced"),
    ],
)
def test_sizes_go_by_tier(ssm: Any, tier: str, size: int, fits: bool, ends: str) -> None:
    """4 KiB, or 8 for money."""
    asked = {"Name": "/apps/big", "Value": "x" * size, "Type": "SecureString", "Tier": tier}
    if fits:
        assert ssm.put_parameter(**asked)["Tier"] == ends
    else:
        assert refusal(ssm.put_parameter, **asked)[0] == "ValidationException"


def test_a_tier_never_goes_down(ssm: Any) -> None:
    """Advanced once, advanced ever."""
    assert put(ssm, "x", Tier="Advanced") == 2
    code, said = refusal(ssm.put_parameter, Name=NAME, Value="x", Overwrite=True, Tier="Standard")
    assert (code, "can't downgrade" in said) == ("ValidationException", True)
    assert ssm.put_parameter(Name=NAME, Value="y", Overwrite=True)["Tier"] == "Advanced"


@pytest.mark.parametrize("name", ["apps/dns", "/aws/x", "ssm-x", "/apps//x", "/apps/x/", "/a/" * 8 + "x", "with blank", "x:y"])
def test_a_name_is_refused(ssm: Any, name: str) -> None:
    """Prefixes of AWS's own, half paths, empty levels, selectors."""
    code, _ = refusal(ssm.put_parameter, Name=name, Value="x", Type="String")
    assert code in {"ValidationException", "HierarchyLevelLimitExceededException"}


@pytest.mark.parametrize(
    ("value", "more", "code"),
    [
        ("", {"Type": "String"}, "ValidationException"),
        ("{{ssm:other}}", {"Type": "String"}, "ValidationException"),
        ("x", {"Type": "String", "KeyId": "alias/mine"}, "ValidationException"),
        ("x", {"Type": "String", "AllowedPattern": r"\d+"}, "ParameterPatternMismatchException"),
        ("x", {"Type": "String", "AllowedPattern": "*"}, "InvalidAllowedPatternException"),
        ("x", {"Type": "Secret"}, "ValidationException"),
    ],
)
def test_a_value_is_refused(ssm: Any, value: str, more: dict[str, str], code: str) -> None:
    """Nothing is stored of it."""
    assert refusal(ssm.put_parameter, Name="/apps/new", Value=value, **more)[0] == code
    assert refusal(ssm.get_parameter, Name="/apps/new")[0] == "ParameterNotFound"


def test_tags_are_put_and_taken(ssm: Any) -> None:
    """At creation, or apart; never together with an overwrite."""
    ssm.put_parameter(Name="/apps/new", Value="x", Type="String", Tags=[{"Key": "a", "Value": "1"}])
    ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId="/apps/new", Tags=[{"Key": "b", "Value": "2"}])
    ssm.remove_tags_from_resource(ResourceType="Parameter", ResourceId="/apps/new", TagKeys=["a"])
    assert ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId="/apps/new")["TagList"] == [
        {"Key": "b", "Value": "2"}
    ]
    tagged = {"Name": NAME, "Value": "x", "Overwrite": True, "Tags": [{"Key": "a", "Value": "1"}]}
    code, said = refusal(ssm.put_parameter, **tagged)
    assert (code, said.startswith("Invalid request: tags and overwrite")) == ("ValidationException", True)
    missing = {"ResourceType": "Parameter", "ResourceId": "/apps/nix"}
    assert refusal(ssm.list_tags_for_resource, **missing)[0] == "InvalidResourceId"
    assert refusal(ssm.list_tags_for_resource, ResourceType="Document", ResourceId="x")[0] == "InvalidResourceType"
    many = [{"Key": f"k{number}", "Value": ""} for number in range(51)]
    asked = {"ResourceType": "Parameter", "ResourceId": NAME}
    assert refusal(ssm.add_tags_to_resource, **asked, Tags=many)[0] == "TooManyTagsError"


def test_parameters_are_read_by_path_in_pages(account: FakeAws, ssm: Any) -> None:
    """One level or all below it; a right on the path is a right on what lies below."""
    for name in ("/apps/dns/user", "/apps/dns/old/user", "/apps/dnsx/user"):
        ssm.put_parameter(Name=name, Value="x", Type="String")
    found = ssm.get_parameters_by_path(Path="/apps/dns", WithDecryption=True)["Parameters"]
    assert {one["Name"]: one["Value"] for one in found} == {NAME: "one", "/apps/dns/user": "x"}
    first = ssm.get_parameters_by_path(Path="/apps/dns/", Recursive=True, MaxResults=2)
    second = ssm.get_parameters_by_path(Path="/apps/dns/", Recursive=True, MaxResults=2, NextToken=first["NextToken"])
    assert len(first["Parameters"] + second["Parameters"]) == 3
    assert "NextToken" not in second
    assert refusal(ssm.get_parameters_by_path, Path="/apps", NextToken="x")[0] == "InvalidNextToken"
    path = "arn:aws:ssm:eu-west-1:123456789012:parameter/apps/dns"
    mine = account.client("ssm", account.identity("reader", allow("ssm:GetParametersByPath", path)))
    assert mine.get_parameters_by_path(Path="/apps/dns")["Parameters"]
    assert refusal(mine.get_parameters_by_path, Path="/apps")[0] == "AccessDeniedException"


def test_several_are_deleted_at_once(account: FakeAws, ssm: Any) -> None:
    """What is not there is named; without the right on all of them nothing is deleted."""
    ssm.put_parameter(Name="/other", Value="x", Type="String")
    mine = account.client("ssm", account.identity("app", allow("ssm:DeleteParameters", ARN)))
    assert refusal(mine.delete_parameters, Names=[NAME, "/other"])[0] == "AccessDeniedException"
    assert account.parameter(NAME)
    answer = ssm.delete_parameters(Names=[NAME, "/apps/nix"])
    assert (answer["DeletedParameters"], answer["InvalidParameters"]) == ([NAME], ["/apps/nix"])


def test_a_deleted_name_rests_for_30_seconds(account: FakeAws, ssm: Any) -> None:
    """Then its numbers begin anew: a version number says nothing across a deletion."""
    put(ssm, "two")
    ssm.delete_parameter(Name=NAME)
    assert refusal(ssm.get_parameter, Name=NAME)[0] == "ParameterNotFound"
    assert refusal(ssm.delete_parameter, Name=NAME)[0] == "ParameterNotFound"
    fresh = {"Name": NAME, "Value": "x", "Type": "SecureString"}
    assert refusal(ssm.put_parameter, **fresh)[0] == "TooManyUpdates"
    account.advance(31)
    assert ssm.put_parameter(**fresh)["Version"] == 1


def test_two_writes_at_once_are_one_too_many(account: FakeAws, ssm: Any) -> None:
    """Parameter Store takes one update of a parameter at a time; the test says when two meet."""
    from rotatord.testing.aws import Refuse

    account.faults.plan("ssm:PutParameter", Refuse("TooManyUpdates"))
    assert refusal(ssm.put_parameter, Name=NAME, Value="x", Overwrite=True)[0] == "TooManyUpdates"
    assert put(ssm, "x") == 2


def test_a_customer_s_key_needs_rights_of_the_caller(account: FakeAws, ssm: Any) -> None:
    """kms:Encrypt to write, kms:Decrypt to read."""
    ssm.put_parameter(Name="/apps/sealed", Value="one", Type="SecureString", KeyId=KEY)
    rules = json.loads(allow("ssm:*"))
    key = account.identity("app", json.dumps(rules))
    mine = account.client("ssm", key)
    assert mine.get_parameter(Name="/apps/sealed")["Parameter"]["Version"] == 1
    code, said = refusal(mine.get_parameter, Name="/apps/sealed", WithDecryption=True)
    assert (code, "kms:Decrypt on resource: " + KEY in said) == ("AccessDeniedException", True)
    code, said = refusal(mine.put_parameter, Name="/apps/sealed", Value="two", Overwrite=True)
    assert (code, "kms:Encrypt on resource: " + KEY in said) == ("AccessDeniedException", True)
    rules["Statement"].append({"Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": KEY})
    account.set_policy(account.account.user("app"), json.dumps(rules))
    assert mine.put_parameter(Name="/apps/sealed", Value="two", Overwrite=True)["Version"] == 2
    assert mine.get_parameter(Name="/apps/sealed", WithDecryption=True)["Parameter"]["Value"] == "two"
    assert account.parameter("/apps/sealed").newest.key == KEY


def test_rights_go_by_path_and_overwrite(account: FakeAws, ssm: Any) -> None:
    """One prefix, and creating apart from overwriting."""
    prefix = "arn:aws:ssm:eu-west-1:123456789012:parameter/apps/*"
    mine = account.client(
        "ssm", account.identity("app", allow("ssm:PutParameter", prefix, StringEquals={"ssm:Overwrite": "true"}))
    )
    mine.put_parameter(Name=NAME, Value="x", Overwrite=True)
    assert refusal(mine.put_parameter, Name="/apps/new", Value="x", Type="String")[0] == "AccessDeniedException"
    assert refusal(mine.put_parameter, Name="/other", Value="x", Type="String", Overwrite=True)[0] == "AccessDeniedException"
    code, said = refusal(mine.get_parameter, Name=NAME)
    assert (code, f"is not authorized to perform: ssm:GetParameter on resource: {ARN} because" in said) == (
        "AccessDeniedException",
        True,
    )


def test_there_is_a_quota(account: FakeAws, ssm: Any) -> None:
    """Reads and writes apart."""
    account.quotas.rates["ssm reads"] = Rate(0.01, at_once=1)
    ssm.get_parameter(Name=NAME)
    assert refusal(ssm.get_parameter, Name=NAME) == ("ThrottlingException", "Rate exceeded")
    put(ssm, "two")
