"""Notices over real sockets: signed, to everybody who wants them, at least once, and given up in the end, aloud."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rotatord import retry, signing
from rotatord.errors import NotFound
from rotatord.events.notices import KINDS, Notices, Receiver, receivers
from rotatord.http import OutgoingSettings
from rotatord.journal.memory import MemoryJournal
from rotatord.model import JsonMap, Notice
from rotatord.testing.clock import START, SeededIds, VirtualClock
from rotatord.testing.loopback import Answer, Loopback

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
NEXT_SECRET = "whsec_" + base64.b64encode(b"n" * 32).decode()
DOCUMENT = Path(__file__).parents[2] / "docs" / "notices.md"


class Post:
    """A journal with notices in it and receivers beside it, on a clock of its own."""

    def __init__(self, *kinds: str) -> None:
        self.clock = VirtualClock()
        self.journal = MemoryJournal(self.clock, SeededIds())
        self.receivers: list[Receiver] = []
        for number, kind in enumerate(kinds):
            self.tell(f"ntc_{number}", kind)

    def tell(self, id: str, kind: str = "halted") -> None:
        notice = Notice(id=id, kind=kind, credential="dns", text="dns: halted — look", at=START, facts={"code": "x"})
        self.journal.record_events([], [notice])

    def to(self, url: str, name: str = "one", kinds: frozenset[str] = frozenset(), secrets: Any = None) -> Post:
        outgoing = OutgoingSettings(allow_private=True, timeout=5).outgoing()
        self.receivers.append(
            Receiver(name=name, url=url, outgoing=outgoing, secrets=secrets or (lambda: [SECRET]), kinds=kinds)
        )
        return self

    def deliver(self) -> int:
        """One round of a delivery that has just been started: nothing is remembered but by the journal."""
        return Notices(self.journal, self.clock, SeededIds(), "ins_1", self.receivers).deliver()

    def waiting(self) -> int:
        return len(self.journal.notices(START + timedelta(days=365), 100))


def ids(inbox: Loopback) -> list[str]:
    return [asked.headers["webhook-id"] for asked in inbox.asked]


def test_a_notice_arrives_signed_and_as_documented() -> None:
    """The signature verifies with the shared secret, the id is the notice's, and the body is the documented one."""
    with Loopback() as inbox:
        post = Post("halted").to(inbox.url + "/hook")
        assert (post.deliver(), post.waiting()) == (1, 0)
    (asked,) = inbox.asked
    assert (asked.method, asked.path) == ("POST", "/hook")
    assert signing.verify(asked.headers, asked.body, [SECRET], post.clock.now()) == "ntc_0"
    with pytest.raises(signing.NotAuthentic):
        signing.verify(asked.headers, asked.body, [NEXT_SECRET], post.clock.now())
    body = json.loads(asked.body)
    assert (body["type"], body["data"]["credential"], body["data"]["facts"]) == ("rotatord.halted", "dns", {"code": "x"})
    (example,) = [part.split("```")[0] for part in DOCUMENT.read_text().split("```json\n")[1:]]
    documented = json.loads(example)
    assert (documented.keys(), documented["data"].keys()) == (body.keys(), body["data"].keys())


def test_every_kind_is_documented() -> None:
    """The table of kinds in the manual and the kinds of the code are the same."""
    rows = {line.split("`")[1] for line in DOCUMENT.read_text().split("## Delivery")[0].splitlines() if line.startswith("| `")}
    assert rows - {"webhook-id", "webhook-timestamp", "webhook-signature"} == KINDS


def test_while_a_signing_secret_is_replaced_both_sign() -> None:
    """Receivers that know the old one or the new one both find a signature that fits."""
    with Loopback() as inbox:
        post = Post("halted").to(inbox.url, secrets=lambda: [SECRET, NEXT_SECRET])
        post.deliver()
        for secret in (SECRET, NEXT_SECRET):
            assert signing.verify(inbox.asked[0].headers, inbox.asked[0].body, [secret], post.clock.now())


def test_a_failed_delivery_is_repeated_after_a_restart_with_the_same_id() -> None:
    """500 is not an answer: it comes again, not before its time, and ends with the first 2xx."""
    answers = [500, 302, 204]
    with Loopback(lambda _: Answer(answers.pop(0))) as inbox:
        post = Post("halted").to(inbox.url)
        assert post.deliver() == 0
        assert post.deliver() == 0
        assert len(inbox.asked) == 1
        post.clock.advance(7)
        post.deliver()
        post.clock.advance(400)
        assert (post.deliver(), post.waiting()) == (1, 0)
        assert ids(inbox) == ["ntc_0"] * 3
        assert post.deliver() == 0


def test_each_webhook_gets_what_it_wants_and_no_repetition_for_the_failure_of_another() -> None:
    """Who has answered is not asked again, not even after a restart, while another one is down."""
    good, picky = Loopback(), Loopback()
    down = [503]
    with good, picky, Loopback(lambda _: Answer(down[0])) as bad:
        post = Post("halted", "drift")
        post.to(good.url, "good").to(bad.url, "bad").to(picky.url, "picky", frozenset({"drift"}))
        assert post.deliver() == 0
        post.clock.advance(10)
        down[0] = 200
        assert (post.deliver(), post.waiting()) == (2, 0)
        assert (ids(good), ids(picky), len(bad.asked)) == (["ntc_0", "ntc_1"], ["ntc_1"], 4)
        assert post.journal.fact("delivered:ntc_0") is None


def test_retry_after_is_obeyed() -> None:
    """A receiver that asks for a longer pause gets it, up to an hour."""
    with Loopback(lambda _: Answer(429, headers={"Retry-After": "600"})) as inbox:
        post = Post("halted").to(inbox.url)
        post.deliver()
        post.clock.advance(599)
        post.deliver()
        assert len(inbox.asked) == 1
        post.clock.advance(2)
        post.deliver()
        assert len(inbox.asked) == 2


def test_after_about_three_days_it_is_given_up_aloud() -> None:
    """The tries end, the notice is settled, and the event log says who was not reached."""
    with Loopback(lambda _: Answer(500)) as inbox:
        post = Post("halted").to(inbox.url)
        while post.waiting() and len(inbox.asked) < 100:
            post.deliver()
            post.clock.advance(3600)
    assert len(inbox.asked) == len(retry.NOTICE) + 1
    (event,) = post.journal.replay()
    assert (event.action, event.outcome, event.reason, event.credential) == ("notify", "failed", "halted", "dns")
    assert "answered 500" in event.evidence["errors"]["one"]


def test_gone_ends_it_at_once_for_that_one_only() -> None:
    """410 settles the notice for the receiver that said it, and the event log says so."""
    with Loopback(lambda _: Answer(410)) as gone, Loopback() as good:
        post = Post("halted").to(gone.url, "gone").to(good.url, "good")
        assert (post.deliver(), post.waiting()) == (1, 0)
        assert len(good.asked) == 1
    assert [event.action for event in post.journal.replay()] == ["notify"]


def test_nobody_listening_and_bad_secrets_only_delay() -> None:
    """A refused connection, a missing reference and a malformed secret are failures to be tried again, without the value."""
    with Loopback() as closed:
        url = closed.url

    def missing() -> Any:
        raise NotFound("the file is not there")

    for secrets in (lambda: [SECRET], missing, lambda: ["hunter2"], list):
        post = Post("halted").to(url, secrets=secrets)
        assert (post.deliver(), post.waiting()) == (0, 1)
        for _ in range(20):
            post.clock.advance(90_000)
            post.deliver()
        assert post.waiting() == 0
        assert "hunter2" not in repr(post.journal.replay())


def test_a_silent_receiver_costs_one_timeout_a_round() -> None:
    """What cannot be reached is not tried again for every notice that waits."""
    with Loopback() as closed:
        url = closed.url
    reads = []
    post = Post(*["halted"] * 5).to(url, secrets=lambda: reads.append(1) or [SECRET])
    post.deliver()
    assert len(reads) == 1
    assert post.waiting() == 5


def test_slow_receivers_do_not_hold_up_a_round() -> None:
    """After some seconds the rest waits for the next round."""
    post = Post(*["halted"] * 5)

    def dawdle(_: Any) -> Answer:
        post.clock.advance(15)
        return Answer()

    with Loopback(dawdle) as inbox:
        post.to(inbox.url)
        assert [post.deliver(), post.deliver(), post.deliver()] == [2, 2, 1]


def test_without_webhooks_notices_do_not_pile_up() -> None:
    """Nobody to tell is not a failure."""
    post = Post("halted", "drift")
    assert (post.deliver(), post.waiting()) == (2, 0)


def test_addresses_that_must_not_be_called_are_not() -> None:
    """A webhook on a metadata address is never called, whatever else is allowed."""
    post = Post("halted").to("http://169.254.169.254/latest")
    assert (post.deliver(), post.waiting()) == (0, 1)


class Section(OutgoingSettings):
    """A webhook as the configuration declares it."""

    name: str = "one"
    url: str = "https://example.com/"
    secret: JsonMap | None = None
    kinds: tuple[str, ...] = ()


def test_receivers_come_from_the_configuration() -> None:
    """Each section becomes a receiver whose secrets are read anew at each use; one without a secret is refused."""
    values = [SECRET]
    (receiver,) = receivers([Section(secret={"file": "x"}, kinds=("drift",))], lambda _: " ".join(values))
    assert receiver.secrets() == [SECRET]
    values.append(NEXT_SECRET)
    assert receiver.secrets() == [SECRET, NEXT_SECRET]
    assert receiver.kinds == {"drift"}
    with pytest.raises(ValueError, match="no signing secret"):
        receivers([Section()], lambda _: SECRET)
