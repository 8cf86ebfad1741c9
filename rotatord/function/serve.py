"""Rotations as events: from which credential each is, and how Lambda hands them over and hears of the outcome."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import urllib3

from rotatord.aws_client import Aws, AwsSettings
from rotatord.bugs import described
from rotatord.clock import Clock
from rotatord.config import Configuration, surroundings
from rotatord.errors import Invalid, RotatordError
from rotatord.function.staged import Staged
from rotatord.function.steps import Event, Rotation, unfit
from rotatord.model import JsonMap, Spec
from rotatord.registry import Find, Registry, installed

BACKEND = "aws_secrets_manager"
INSTALLATION = "rotation-function"  # in labels at issuers, where the configuration names none
WITHOUT_DEADLINE_SECONDS = 300.0
_ARN = re.compile(r"arn:[a-z-]+:secretsmanager:(?P<region>[a-z0-9-]+):\d{12}:secret:(?P<name>.+)-[A-Za-z0-9]{6}")
_API = "2018-06-01/runtime"
_SECONDS = 10.0

_log = logging.getLogger("rotatord")


class Function:
    """The rotation function of every secret that is the home of a credential in one configuration."""

    def __init__(self, configuration: Configuration, clock: Clock, *, find: Find = installed) -> None:
        self._configuration = configuration
        self._installation = configuration.installation or INSTALLATION
        self._around = surroundings(configuration.state_dir, configuration.base_dir, self._installation)
        self._registry = Registry(configuration, self._around, find=find)
        self._clock = clock

    def close(self) -> None:
        self._registry.close()

    def handle(self, event: object, seconds_left: Callable[[], float]) -> str:
        """One step of one rotation; what was done. Raises errors of ours: Secrets Manager then tries the rotation again."""
        asked = Event.of(event)
        spec, region = self._spec_of(asked.secret)
        settings = self._configuration.backends[spec.home.backend].settings
        own: JsonMap = {name: settings[name] for name in AwsSettings.model_fields if name in settings}
        own["region"] = own.get("region") or region
        aws = Aws(AwsSettings.model_validate(own), self._around)
        try:
            rotation = Rotation(
                spec=spec,
                issuer=self._registry.issuer(spec.issuer),
                staged=Staged(aws, asked.secret, spec.home, asked.rotation_token),
                token=asked.token,
                installation=self._installation,
                clock=self._clock,
                seconds_left=seconds_left,
            )
            if problems := unfit(rotation.issuer, spec):
                raise Invalid(f"credential {spec.name!r} cannot be kept by a rotation function: " + "; ".join(problems))
            return f"{spec.name}: {rotation.run(asked.step)}"
        finally:
            aws.close()

    def _spec_of(self, secret: str) -> tuple[Spec, str | None]:
        found = _ARN.fullmatch(secret)
        name, region = (found["name"], found["region"]) if found else (secret, None)
        for spec in self._configuration.specs.values():
            backend = self._configuration.backends.get(spec.home.backend)
            if backend is None or backend.type != BACKEND or spec.home.address.get("name") != name:
                continue
            if region is None or backend.settings.get("region") in (None, region):
                return spec, region
        raise Invalid(f"no credential of this configuration has the secret {name!r} as its home (a backend of type {BACKEND})")


def read(text: bytes | str) -> object:
    """An event as it comes. Raises Invalid, without a word of it."""
    try:
        return json.loads(text or "null")
    except ValueError:
        raise Invalid("the event is not JSON") from None


def serve(api: str, start: Callable[[], Function], clock: Clock) -> int:
    """Take events from Lambda's runtime API at this address until it is gone; an exit code."""
    # The next event may be hours away, and Lambda freezes us meanwhile: that one call has no read timeout.
    waiting = urllib3.Timeout(connect=_SECONDS, read=None)
    with urllib3.PoolManager(retries=False, timeout=_SECONDS) as http:
        try:
            function = start()
        except RotatordError as error:
            _post(http, f"http://{api}/{_API}/init/error", _failure(error))
            return 1
        try:
            while True:
                try:
                    answer = http.request("GET", f"http://{api}/{_API}/invocation/next", timeout=waiting)
                except urllib3.exceptions.HTTPError:
                    return 0
                if answer.status != 200:
                    return 0
                _one(http, api, answer, function, clock)
        finally:
            function.close()


def _one(http: urllib3.PoolManager, api: str, answer: Any, function: Function, clock: Clock) -> None:
    deadline = float(answer.headers.get("Lambda-Runtime-Deadline-Ms") or 0) / 1000
    place = f"http://{api}/{_API}/invocation/{answer.headers.get('Lambda-Runtime-Aws-Request-Id', '')}"

    def seconds_left() -> float:
        return deadline - clock.now().timestamp() if deadline else WITHOUT_DEADLINE_SECONDS

    try:
        done = function.handle(read(answer.data), seconds_left)
    except Exception as error:  # noqa: BLE001 - whatever it is, Secrets Manager has to hear that the step failed
        failure = _failure(error)
        _log.error("%s", failure["errorMessage"])
        _post(http, f"{place}/error", failure)
    else:
        _log.info("%s", done)
        _post(http, f"{place}/response", {"done": done})


def _failure(error: BaseException) -> JsonMap:
    """For Lambda. Of what is not ours only the place is told: its text could hold anything."""
    if isinstance(error, RotatordError):
        return {"errorType": type(error).__name__, "errorMessage": str(error)}
    return {"errorType": "Bug", "errorMessage": f"bug: {described(error)}"}


def _post(http: urllib3.PoolManager, place: str, body: JsonMap) -> None:
    headers = {"Content-Type": "application/json"}
    if "errorType" in body:
        headers["Lambda-Runtime-Function-Error-Type"] = body["errorType"]
    try:
        http.request("POST", place, body=json.dumps(body).encode(), headers=headers)
    except urllib3.exceptions.HTTPError:
        _log.warning("Lambda could not be told the outcome")
