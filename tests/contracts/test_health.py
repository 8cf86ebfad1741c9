"""The health checks under the health contract, against real servers and commands on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import ClassVar

import pytest

from consumers.health import create_attestation, create_command, create_http, create_tcp
from rotatord.model import JsonMap
from rotatord.ports import Health, Published, Surroundings
from rotatord.testing.contracts.health import HealthContract
from rotatord.testing.loopback import Answer, Loopback, answer_json
from rotatord.testing.silent import closed_port, full_port, silent_server

AROUND = Surroundings(installation="contract", state_dir="/", now=lambda: datetime.now(UTC), secret=lambda _: "")


class OnLoopback(HealthContract):
    @pytest.fixture
    def stack(self) -> Iterator[ExitStack]:
        with ExitStack() as stack:
            yield stack

    def check_of(self, port: int) -> Health:
        raise NotImplementedError

    @pytest.fixture
    def answering(self, stack: ExitStack) -> Callable[[Answer], Health]:
        return lambda answer: self.check_of(stack.enter_context(Loopback(lambda _: answer)).port)

    @pytest.fixture
    def unreachable(self, stack: ExitStack) -> Health:
        return self.check_of(stack.enter_context(closed_port()))

    @pytest.fixture
    def hanging(self, stack: ExitStack) -> Health:
        return self.check_of(stack.enter_context(silent_server()))


class TestHttp(OnLoopback):
    plugin = "http"

    def check_of(self, port: int) -> Health:
        settings: JsonMap = {
            "url": f"http://127.0.0.1:{port}/healthz",
            "json": {"path": "checks.0.ok", "equals": True},
            "allow_private": True,
            "timeout": 0.5,
        }
        return create_http(settings, AROUND)

    @pytest.fixture
    def health(self, answering: Callable[[Answer], Health]) -> Health:
        return answering(answer_json({"checks": [{"ok": True}]}))

    @pytest.fixture
    def unhealthy(self, answering: Callable[[Answer], Health]) -> Health:
        return answering(answer_json({"checks": [{"ok": False}]}))

    @pytest.fixture
    def nonsense(self, answering: Callable[[Answer], Health]) -> Health:
        return answering(Answer(200, b"\xff\xfe<html>"))


class TestTcp(OnLoopback):
    plugin = "tcp"
    not_applicable: ClassVar = {"nonsense": "a port says nothing that could be misread"}

    def check_of(self, port: int) -> Health:
        return create_tcp({"host": "127.0.0.1", "port": port, "allow_private": True, "timeout": 0.5}, AROUND)

    @pytest.fixture
    def health(self, stack: ExitStack) -> Health:
        return self.check_of(stack.enter_context(silent_server()))

    @pytest.fixture
    def unhealthy(self, stack: ExitStack) -> Health:
        return self.check_of(stack.enter_context(closed_port()))

    @pytest.fixture
    def hanging(self, stack: ExitStack) -> Health:
        """A silent server will not do: that a port takes connections is all that this check asks for."""
        return self.check_of(stack.enter_context(full_port()))


class TestCommand(HealthContract):
    plugin = "command"

    def check_of(self, *argv: str, timeout: float = 5) -> Health:
        return create_command({"command": list(argv), "timeout": timeout}, AROUND)

    @pytest.fixture
    def health(self) -> Health:
        return self.check_of("/bin/sh", "-c", 'test "$ROTATORD_VERSION" = 2-0123abcd')

    @pytest.fixture
    def unhealthy(self) -> Health:
        return self.check_of("/bin/sh", "-c", "echo not well; exit 1")

    @pytest.fixture
    def unreachable(self) -> Health:
        return self.check_of("/nonexistent/check")

    @pytest.fixture
    def hanging(self) -> Health:
        return self.check_of("/bin/sh", "-c", "sleep 60 & wait", timeout=0.3)

    @pytest.fixture
    def nonsense(self) -> Health:
        return self.check_of("/bin/sh", "-c", "kill -9 $$")


class TestAttestation(OnLoopback):
    plugin = "attestation"

    def check_of(self, port: int) -> Health:
        return create_attestation({"url": f"http://127.0.0.1:{port}", "allow_private": True, "timeout": 0.5}, AROUND)

    @pytest.fixture
    def health(self, answering: Callable[[Answer], Health], published: Published) -> Health:
        return answering(answer_json({"contract": published.label}))

    @pytest.fixture
    def unhealthy(self, answering: Callable[[Answer], Health], published: Published) -> Health:
        return answering(answer_json({"contract": {"version": published.label, "status": "pool exhausted"}}))

    @pytest.fixture
    def nonsense(self, answering: Callable[[Answer], Health]) -> Health:
        return answering(Answer(200, b"ok"))
