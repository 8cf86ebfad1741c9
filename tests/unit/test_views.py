"""What people see of a record: complete, true, documented, and never a secret."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from served import HOUR, TRAITS, Served, halted, owing, record, rotation, spec, version

from rotatord import policy, views
from rotatord.clock import Instant
from rotatord.errors import Refused
from rotatord.model import Asked, Drift, Hold, LeakMark, Pause, Policy, Reason, Record, Standing, State, Summary, Way
from rotatord.react import Accept
from rotatord.testing.clock import START, SeededIds
from rotatord.why import why


def attempt(item: Record, command: Any) -> Any:
    return Accept(lambda _: TRAITS)(item, command, START, SeededIds())


def refuse(*_: Any) -> Any:
    raise Refused("not now")


def test_status_has_exactly_the_documented_fields() -> None:
    """A field that is not documented is not shown, and one that is documented is never missing."""
    for item in (record(), record(current=None), halted(), record(rotation=rotation()), record(ledger=(owing(),))):
        assert list(views.status(item, START)) == [*views.STATUS_FIELDS]


def test_status_names_what_the_issue_asks_for() -> None:
    """The fields that programs rely on hold what the journal knows."""
    last = Summary(
        id="rot_3", reason=Reason.DUE, way=Way.FORWARD, state=State.COMPLETED, started_at=START - HOUR, finished_at=START
    )
    row = views.status(record(last=last, ledger=(owing(),)), START)
    assert row["state"] == "revoking"
    assert (row["generation"], row["fingerprint"], row["version"]) == (3, f"{3:032x}", "3-00000000")
    assert row["minted_at"] == views.plain(START - HOUR)
    assert row["next_rotation_at"] == views.plain(START - HOUR + timedelta(days=30))
    assert (row["reason"], row["overlap_until"], row["owed_revocations"]) == ("due", None, 1)
    assert row["last_rotation"] == {
        "id": "rot_3",
        "reason": "due",
        "way": "forward",
        "state": "completed",
        "started_at": views.plain(START - HOUR),
        "finished_at": views.plain(START),
        "error": "",
    }


@pytest.mark.parametrize(
    ("item", "state"),
    [
        (record(), "quiet"),
        (record(current=None), "empty"),
        (record(current=version(expires_at=START - HOUR)), "expired"),
        (record(ledger=(owing(),)), "revoking"),
        (record(rotation=rotation(State.PROVEN)), "proven"),
        (halted(), "halted"),
        (record(standing=Standing.UNMANAGED, current=None), "unmanaged"),
        (record(standing=Standing.BEHIND), "behind"),
        (record(standing=Standing.RETIRED), "retired"),
    ],
)
def test_state_is_one_word(item: Record, state: str) -> None:
    """The worst news wins the one word that the table has room for."""
    assert views.state_of(item, START) == state


def test_overlap_until_counts_from_the_overlaps_start() -> None:
    """The overlap ends its length after it began, a hard deadline earlier, and is unknown before it has begun."""
    began = Instant(START, 0.0, "boot")
    verified = record(rotation=rotation(State.VERIFIED, timer=began))
    assert views.overlap_until(verified) == START + HOUR
    soon = START + timedelta(minutes=5)
    assert views.overlap_until(record(rotation=rotation(State.VERIFIED, timer=began, hard_deadline=soon))) == soon
    assert views.overlap_until(record(rotation=rotation(State.VERIFIED))) is None
    assert views.overlap_until(record(rotation=rotation(State.RELOADED, timer=began))) is None


def test_status_says_what_it_cannot_tell() -> None:
    """Destinations never read, or unreadable, and lost mint answers are shown as unknown, not as fine."""
    item = record(
        inspected_at=None,
        drift=(Drift(destination="vault:a", what="unreadable", seen_at=START),),
        ledger=(owing(sweep_until=START + HOUR, abandoned=(4,)),),
    )
    sentences = " / ".join(views.status(item, START)["cannot_tell"])
    for expected in ("have not been read", "vault:a could not be read", "nobody was told of"):
        assert expected in sentences
    assert views.status(record(), START)["cannot_tell"] == []


def test_needs_person_covers_what_does_not_end_by_itself() -> None:
    """Halts, foreign values, expiry without a rotation, unmanaged and behind are all named."""
    soon = version(expires_at=START + timedelta(minutes=5))
    cases = [
        (halted(), "halted (verify_failed)"),
        (record(held_for_person="rolled back four times"), "rolled back four times"),
        (record(drift=(Drift(destination="vault:a", what="foreign", seen_at=START),)), "foreign"),
        (record(current=soon), "no rotation is under way"),
        (record(current=version(expires_at=START - HOUR)), "expired at"),
        (record(standing=Standing.UNMANAGED), "adopt"),
        (record(standing=Standing.BEHIND), "rebuild"),
    ]
    for item, expected in cases:
        assert expected in " / ".join(views.status(item, START)["needs_person"]), expected
    assert views.status(record(current=soon, rotation=rotation()), START)["needs_person"] == []


def test_a_short_life_alone_is_no_alarm() -> None:
    """A token of two hours is shorter than alarm_before, and fine as long as its rotation is still to come."""
    short = replace(version(1), minted_at=START, expires_at=START + timedelta(hours=2))
    item = record(current=short, spec=spec(policy=Policy(renew_before=timedelta(minutes=30))))
    assert views.needs_person(item, START + timedelta(hours=1)) == []
    assert views.needs_person(item, START + timedelta(minutes=115)) != []


def test_a_pause_over_all_is_why_nothing_starts() -> None:
    """A pause is shown as the reason, and its end as the start; where it has none, no start is promised."""
    item = record(asked=Asked(verb="rotate", actor="ana", at=START))
    row = views.status(item, START, Pause(owner="ana", until=START + HOUR, actor="ana"))
    assert row["next_rotation_at"] == "2026-01-05T13:00:00Z"
    assert row["waiting"] == "the installation is paused until 2026-01-05 13:00Z by ana"
    row = views.status(item, START, Pause(owner="", until=None, reason="by ana at noon"))
    assert row["next_rotation_at"] is None
    assert row["waiting"] == "the installation is paused by ana at noon (without an end)"


def test_only_holds_in_force_are_shown() -> None:
    """A hold that has ended says nothing any more."""
    holds = (Hold(owner="ana", until=START - HOUR), Hold(owner="bo", until=START + HOUR, reason="audit"))
    assert [hold["owner"] for hold in views.status(record(holds=holds), START)["holds"]] == ["bo"]


def test_plan_is_sorted_by_time_and_tells_what_is_odd() -> None:
    """What is next comes first; what nothing starts comes last; believing without proof is said aloud."""
    later = record("later")
    now = record("now", current=None)
    never = record("never", standing=Standing.UNMANAGED, current=None)
    lax = spec("lax", policy=Policy(unproven_overlap=HOUR, max_age=timedelta(days=60), allow_downtime=True))
    page = views.plan_page([never, later, record("lax", spec=lax), now], START, {"paused": ""})
    assert [row["name"] for row in page["credentials"]] == ["now", "later", "lax", "never"]
    notes = page["credentials"][2]["notes"]
    assert any("without proof" in note for note in notes)
    assert any("downtime" in note for note in notes)


def test_why_tries_each_way_out_on_the_record() -> None:
    """Each way out of a halt is said to be possible exactly when the engine would accept it, and where it leads."""
    page = why(halted(), START, attempt)
    ways = {item["command"]: item for item in page["ways_out"]}
    retry = ways["rotatord resume dns --retry"]
    assert retry["possible"]
    assert retry["leads_to"] == "published, back; next: reload"
    assert ways["rotatord resume dns --skip-consumer web --reason …"]["possible"]
    assert "rotatord rollback dns" in ways
    assert not any(item["possible"] for item in why(halted(), START, refuse)["ways_out"])


def test_why_shows_gate_ledger_and_what_is_live() -> None:
    """The evidence of the gate, every debt, and every version that may still work are listed."""
    page = why(record(rotation=rotation(State.RELOADED), ledger=(owing(error="sealed"),)), START, refuse)
    assert page["rotation"]["gate"][0]["detail"] == "1 of 2 on 4"
    assert page["rotation"]["deadline"] == views.plain(START + timedelta(minutes=10))
    assert page["ledger"][0]["error"] == "sealed"
    roles = {item["version"]: item["roles"] for item in page["live"]}
    assert roles == {
        "3-00000000": ["current", "base of the open rotation"],
        "4-00000000": ["new in the open rotation"],
        "2-00000000": ["owed (replaced): owed"],
    }


def test_why_answers_in_a_sentence() -> None:
    """The summary says the one thing that matters now."""
    never = record(spec=spec(policy=Policy()))
    for item, expected in [
        (halted(), "halted since"),
        (record(rotation=rotation(waiting="2 more instances")), "waiting: 2 more instances"),
        (record(), "is to be replaced from"),
        (never, policy.due(never, START).why),
        (record(standing=Standing.UNMANAGED), "adopt"),
    ]:
        assert expected in why(item, START, refuse)["summary"]


def test_views_are_json_and_hide_digests() -> None:
    """Everything shown can be written as JSON, and digests for leak matching stay inside."""
    item = replace(halted(), ledger=(owing(),))
    served = Served(item)
    text = json.dumps([views.status_page([item], START, {}), why(item, START, served.service.attempt), views.plan(item, START)])
    assert "not-to-be-shown" not in text


def test_why_tells_of_holds_leaks_and_drift_first() -> None:
    """What a person must know before doing anything stands beside the answer, with what could be done about it."""
    item = record(
        holds=(Hold(owner="ana", until=START + HOUR, reason="audit"), Hold(owner="bo", until=START - HOUR)),
        leaks=(LeakMark(ref="r", generation=3, at=START, deadline=START + HOUR, actor="eve"),),
        drift=(Drift(destination="files:path=/a", what="foreign", seen_at=START),),
    )
    page = why(item, START, attempt)
    leak, hold, drift = page["beside"]
    assert leak.startswith("version 3 leaked (marked by eve): it is to be dead by ")
    assert hold.startswith("held by ana until ")
    assert hold.endswith(": audit")
    assert drift.startswith("files:path=/a holds a value that somebody else wrote")
    assert {way["command"].split()[1] for way in page["ways_out"]} == {"repair", "adopt", "release"}


def test_why_says_how_to_take_over_what_is_not_ours() -> None:
    """An unmanaged or forgotten credential, or a journal that is behind, has a way out too."""
    for standing, verb in [(Standing.UNMANAGED, "adopt"), (Standing.BEHIND, "rebuild"), (Standing.FORGOTTEN, "retire")]:
        assert [way["command"].split()[1] for way in why(record(standing=standing), START, refuse)["ways_out"]] == [verb]
    assert [way["command"] for way in why(record(held_for_person="four times"), START, refuse)["ways_out"]] == [
        "rotatord rotate dns"
    ]
