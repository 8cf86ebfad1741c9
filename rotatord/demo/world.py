"""The demo's small world: a directory, two services that are processes of their own, people who send requests, and the
configuration that puts one credential under rotatord's care."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rotatord.attest import WELL_KNOWN
from rotatord.clock import Clock, random_text
from rotatord.demo.consumer import CREDENTIAL, TOKEN_KEY, VERSION_KEY
from rotatord.demo.forecasts import PERMISSION
from rotatord.errors import RotatordError
from rotatord.model import JsonMap

START_SECONDS = 15.0
END_SECONDS = 5.0
SENDERS = 3
PAUSE_SECONDS = 0.012  # between two requests of one sender

CONFIGURATION = """\
# Made by `rotatord demo`. Everything it names is on this machine.
installation: demo
state_dir: {state_dir}
issuers:
  authority:
    type: builtin
    prefix: demo_
    permissions: ["{permission}", "forecast:write"]
    introspection: {{listen: "127.0.0.1:{port}", secret: {{file: {caller_secret}}}}}
backends:
  files: {{type: file}}
policies:
  demo:
    max_age: 30d
    overlap: 2s
    dwell: 2s
    settle: 1s
    poll: 250ms
    verify_within: 20s
    still_used: hold
    idle_for: 500ms
credentials:
  - name: {credential}
    issuer: authority
    owner: you
    purpose: the web service fetches forecasts
    policy: demo
    scope: {{permissions: ["{permission}"]}}
    destinations:
      - {{backend: files, path: {file}, format: dotenv, keys: {{{token}: token}}, version_key: {version}}}
    consumers:
      - type: process
        name: web
        pid_file: {pid_file}
        signal: HUP
        attest: {{url: "{consumer}", possession: true, allow_private: true}}
        health: [{{http: {{url: "{consumer}/healthz", allow_private: true}}}}]
"""


class DemoError(RotatordError):
    """The demo's own world does not stand; says what is missing."""


class Service:
    """One of the demo's processes. Its first line is its address; the others are given to ``said``."""

    def __init__(self, module: str, arguments: list[str], said: Callable[[str], None]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,  # it ends when we do, however we end
            stdout=subprocess.PIPE,
            text=True,
        )
        self._module = module
        self._said = said
        self._known = threading.Event()
        self._address = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def address(self, clock: Clock) -> str:
        """Waits until the service listens."""
        if not clock.wait(self._known, START_SECONDS) or not self._address:
            raise DemoError(f"{self._module} did not start")
        return self._address

    def ask(self, path: str) -> JsonMap:
        """What the service answers to a GET. Raises DemoError."""
        connection = http.client.HTTPConnection(self._address.removeprefix("http://"), timeout=5)
        try:
            connection.request("GET", path)
            answer = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DemoError(f"{self._module} does not answer: {type(error).__name__}") from error
        finally:
            connection.close()
        return answer if isinstance(answer, dict) else {}

    def end(self) -> None:
        """Ask it to end, and make it. Harmless when it has ended."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(END_SECONDS)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if self._address:
                self._said(line.strip())
            else:
                self._address = line.strip()
                self._known.set()
        self._known.set()


class People:
    """Send requests to the consumer, one after the other, all the time. Nobody asks twice."""

    def __init__(self, address: str, clock: Clock) -> None:
        self._address = address.removeprefix("http://")
        self._clock = clock
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(SENDERS)]
        self.requests = 0
        self.refused = 0

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(END_SECONDS)

    def _send(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=5)
        while not self._stop.is_set():
            good = self._one(connection)
            with self._lock:
                self.requests += 1
                self.refused += not good
            self._clock.wait(self._stop, PAUSE_SECONDS)
        connection.close()

    @staticmethod
    def _one(connection: http.client.HTTPConnection) -> bool:
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return False
        return answer.status == 200


class World:
    """Everything but rotatord. Enter it with :meth:`begin`, leave it with :meth:`end`."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        self.directory = directory
        self.configuration = directory / "rotatord.yaml"
        self.state_dir = directory / "state"
        self.file = directory / "web.env"
        self._bug = directory / "bug"
        self._clock = clock
        self._heard: queue.SimpleQueue[tuple[datetime, str]] = queue.SimpleQueue()
        self._services: list[Service] = []
        self.consumer: Service
        self.forecasts: Service
        self.people: People

    def begin(self) -> None:
        """Start both services and write the configuration. The consumer has no token yet. Raises DemoError."""
        caller_secret, pid_file = self.directory / "caller-secret", self.directory / "web.pid"
        caller_secret.touch(mode=0o600)
        caller_secret.write_text(random_text("0123456789abcdef", 40))
        port = _free_port()
        self.forecasts = self._service(
            "forecasts", ["--issuer", f"http://127.0.0.1:{port}", "--caller-secret", str(caller_secret)], lambda _: None
        )
        forecasts = self.forecasts.address(self._clock)
        self.consumer = self._service(
            "consumer",
            ["--file", str(self.file), "--forecasts", forecasts, "--bug", str(self._bug), "--pid-file", str(pid_file)],
            lambda line: self._heard.put((self._clock.now(), line)),
        )
        address = self.consumer.address(self._clock)
        self.people = People(address, self._clock)
        text = CONFIGURATION.format(
            state_dir=json.dumps(str(self.state_dir)),
            caller_secret=json.dumps(str(caller_secret)),
            permission=PERMISSION,
            port=port,
            credential=CREDENTIAL,
            file=json.dumps(str(self.file)),
            token=TOKEN_KEY,
            version=VERSION_KEY,
            pid_file=json.dumps(str(pid_file)),
            consumer=address,
        )
        self.configuration.write_text(text)

    def plant_bug(self) -> None:
        """The consumer will not be able to load the next version."""
        self._bug.touch()

    def heard(self) -> list[tuple[datetime, str]]:
        """What the consumer has said since this was asked last, each with its time."""
        said = []
        while not self._heard.empty():
            said.append(self._heard.get())
        return said

    def running(self) -> str:
        """The version that the consumer says it runs on."""
        return str(self.consumer.ask(WELL_KNOWN)[CREDENTIAL].get("version", ""))

    def end(self) -> None:
        """Stop the requests, then both services. May be called at any stage, and again."""
        if hasattr(self, "people"):
            self.people.end()
        while self._services:
            self._services.pop().end()

    def _service(self, name: str, arguments: list[str], said: Callable[[str], None]) -> Service:
        service = Service(f"rotatord.demo.{name}", arguments, said)
        self._services.append(service)
        return service


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
