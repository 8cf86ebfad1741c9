"""The observe consumer under the consumer contract: a receiver on loopback that refreshes by itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import ClassVar

import pytest

from consumers.observe import ObserveConsumer, create
from rotatord.ports import Published, Surroundings
from rotatord.testing.contracts.consumer import ConsumerContract
from rotatord.testing.loopback import Loopback, answer_json
from rotatord.testing.silent import closed_port, silent_server

AROUND = Surroundings(installation="contract", state_dir="/", now=lambda: datetime.now(UTC), secret=lambda _: "")


UNASKED = "nobody makes it load: it looks by itself"
UNHEARD = "it is never asked, so it neither answers nor fails to"


class Refreshing:
    """A program that sees what is published without being told."""

    def __init__(self) -> None:
        self.published = "1-00000000"


def attesting(*ports: int, timeout: float = 5) -> ObserveConsumer:
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    return create({"attest": {"urls": urls, "allow_private": True, "timeout": timeout}}, AROUND)


class ObserveContract(ConsumerContract):
    plugin = "observe"
    reload_asks_nobody = True
    not_applicable: ClassVar = {"loads": UNASKED}

    @pytest.fixture
    def stack(self) -> Iterator[ExitStack]:
        with ExitStack() as stack:
            yield stack

    @pytest.fixture
    def program(self) -> Refreshing:
        return Refreshing()

    @pytest.fixture
    def publish(self, program: Refreshing) -> Callable[[], Published]:
        numbers = itertools.count(2)

        def put() -> Published:
            program.published = f"{next(numbers)}-0123abcd"
            return Published(
                credential="contract", label=program.published, rotation="r", token=program.published, at=datetime.now(UTC)
            )

        return put


class TestAttested(ObserveContract):
    """Two instances that attest."""

    @pytest.fixture
    def consumer(self, stack: ExitStack, program: Refreshing) -> ObserveConsumer:
        servers = [stack.enter_context(Loopback(lambda _: answer_json({"contract": program.published}))) for _ in range(2)]
        return attesting(*(server.port for server in servers))

    @pytest.fixture
    def copies(self) -> int:
        return 2

    @pytest.fixture
    def deaf(self, stack: ExitStack) -> ObserveConsumer:
        return attesting(stack.enter_context(Loopback(lambda _: answer_json({"contract": "1-00000000"}))).port)

    @pytest.fixture
    def refusing(self, stack: ExitStack, program: Refreshing) -> ObserveConsumer:
        return attesting(
            stack.enter_context(
                Loopback(lambda _: answer_json({"contract": {"version": "1-00000000", "refused": program.published}}))
            ).port
        )

    @pytest.fixture
    def unreachable(self, stack: ExitStack) -> ObserveConsumer:
        return attesting(stack.enter_context(closed_port()))

    @pytest.fixture
    def hanging(self, stack: ExitStack) -> ObserveConsumer:
        return attesting(stack.enter_context(silent_server()), timeout=0.4)


class TestPolling(ObserveContract):
    """Nothing but the promise to look within a time."""

    not_applicable: ClassVar = {
        "loads": UNASKED,
        "copies": "nothing is known of the instances",
        "refusing": UNHEARD,
        "unreachable": UNHEARD,
        "hanging": UNHEARD,
    }

    @pytest.fixture
    def consumer(self) -> ObserveConsumer:
        return create({"refresh_within": "5m"}, AROUND)

    @pytest.fixture
    def deaf(self, consumer: ObserveConsumer) -> ObserveConsumer:
        return consumer  # whether it looks is not known of any
