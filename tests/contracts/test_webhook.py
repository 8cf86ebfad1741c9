"""The webhook consumer under the consumer contract: a real receiver on loopback that verifies every signature."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from consumers.webhook import WebhookConsumer, create
from rotatord.ports import Published, Surroundings
from rotatord.signing import NotAuthentic, verify
from rotatord.testing.contracts.consumer import ConsumerContract
from rotatord.testing.loopback import Answer, Asked, Loopback, answer_json
from rotatord.testing.silent import closed_port, silent_server

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver:
    """What a careful receiver does: verifies, acts once per id, says which version it runs on."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.version = "1-00000000"
        self.refused: str | None = None
        self.seen: set[str] = set()
        self.loads = 0

    def __call__(self, asked: Asked) -> Answer:
        try:
            message = verify(asked.headers, asked.body, [SECRET], datetime.now(UTC))
        except NotAuthentic:
            return Answer(401)
        content = json.loads(asked.body)
        if content["type"] == "rotatord.credential.published" and message not in self.seen:
            self.seen.add(message)
            self.load(content["data"]["version"])
        return answer_json({"version": self.version, "refused": self.refused, "instance": "receiver"})

    def load(self, label: str) -> None:
        self.loads += 1
        if self.mode == "good":
            self.version = label
        elif self.mode == "refusing":
            self.refused = label


def made(port: int, timeout: float = 5) -> WebhookConsumer:
    settings = {
        "url": f"http://127.0.0.1:{port}/hook",
        "secret": {"env": "SECRET"},
        "attest": "answer",
        "allow_private": True,
        "timeout": timeout,
    }
    around = Surroundings(installation="contract", state_dir="/", now=lambda: datetime.now(UTC), secret=lambda _: SECRET)
    return create(settings, around)


class TestWebhook(ConsumerContract):
    plugin = "webhook"

    @pytest.fixture
    def stack(self) -> Iterator[ExitStack]:
        with ExitStack() as stack:
            yield stack

    @pytest.fixture
    def receiver(self) -> Receiver:
        return Receiver("good")

    @pytest.fixture
    def consumer(self, stack: ExitStack, receiver: Receiver) -> WebhookConsumer:
        return made(stack.enter_context(Loopback(receiver)).port)

    @pytest.fixture
    def publish(self) -> Callable[[], Published]:
        numbers = itertools.count(2)

        def put() -> Published:
            number = next(numbers)
            return Published(
                credential="contract", label=f"{number}-0123abcd", rotation="r", token=f"r-{number}", at=datetime.now(UTC)
            )

        return put

    @pytest.fixture
    def copies(self) -> int:
        return 1

    @pytest.fixture
    def loads(self, receiver: Receiver) -> Callable[[], int]:
        return lambda: receiver.loads

    @pytest.fixture
    def deaf(self, stack: ExitStack) -> WebhookConsumer:
        return made(stack.enter_context(Loopback(Receiver("deaf"))).port)

    @pytest.fixture
    def refusing(self, stack: ExitStack) -> WebhookConsumer:
        return made(stack.enter_context(Loopback(Receiver("refusing"))).port)

    @pytest.fixture
    def unreachable(self, stack: ExitStack) -> WebhookConsumer:
        return made(stack.enter_context(closed_port()))

    @pytest.fixture
    def hanging(self, stack: ExitStack) -> WebhookConsumer:
        return made(stack.enter_context(silent_server()), timeout=0.4)
