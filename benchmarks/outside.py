"""The outside world of the benchmarks: an issuer, a store and a consumer in memory, all of constant cost and of one delay.

Also a plugin as a third party's would be, so that a real daemon can be given a hundred thousand credentials.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rotatord.clock import Ids, SystemClock
from rotatord.errors import Conflict, Invalid, OutsideError, Retryable
from rotatord.gates import GATE
from rotatord.model import (
    ConsumerSpec,
    Destination,
    JsonMap,
    Marker,
    Policy,
    Record,
    Slot,
    Spec,
    Standing,
    Version,
)
from rotatord.ops import Context
from rotatord.pauses import Pauses
from rotatord.ports import (
    Accepted,
    Backend,
    Consumer,
    Health,
    Held,
    Instance,
    Issuer,
    LiveRef,
    Minted,
    MintRequest,
    ProbeAnswer,
    Published,
    Query,
    RefusedVerdict,
    Surroundings,
    Traits,
)
from rotatord.registry import installed as installed_plugins
from rotatord.secret import Fingerprinter, Secret

INSTALLATION = "benchmark"
FINGERPRINTER = Fingerprinter(b"k" * 32)
SCOPE: JsonMap = {"read": "all"}
FIRST = "first-of-"
MONTH = timedelta(days=30)
Place = tuple[str, Slot]


class Line:
    """What all calls have in common: they take ``seconds``, are counted, and hang while ``hanging`` is set."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls = 0
        self.hanging: threading.Event | None = None  # set it to let the calls go on
        self.timeout = 30.0

    def enter(self) -> None:
        """One call."""
        self.calls += 1
        if self.hanging is not None:
            self.hanging.wait(self.timeout)
            raise Retryable("no answer")
        if self.seconds:
            time.sleep(self.seconds)


@dataclass
class Quota:
    """So many calls in each window of time; more are refused, as issuers do."""

    calls: int
    seconds: float
    began: float = 0.0
    used: int = 0
    total: int = 0
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> None:
        """Count one call. Raises Retryable (429)."""
        with self.lock:
            now = time.monotonic()
            if now - self.began >= self.seconds:
                self.began, self.used = now, 0
            if self.used >= self.calls:
                self.refused += 1
                raise Retryable("429", retry_after=self.seconds)
            self.used += 1
            self.total += 1


class MemoryIssuer(Line):
    """Every method costs the same however many versions there are."""

    traits = Traits(fields=("token",), scope_proof="exact", call_settles_within=timedelta(seconds=1))

    def __init__(self, seconds: float = 0.0, quota: Quota | None = None) -> None:
        super().__init__(seconds)
        self.quota = quota
        self.minted: list[tuple[str, float]] = []  # credential, when
        self._live: dict[str, tuple[str, MintRequest]] = {}
        self._refs: dict[str, str] = {}
        self._dead: set[str] = set()
        self._numbers = itertools.count(1)

    def _enter(self) -> None:
        self.enter()
        if self.quota is not None:
            self.quota.take()

    def check(self, scope: JsonMap, parameters: JsonMap) -> Sequence[str]:
        del scope, parameters
        return []

    def propose(self, request: MintRequest) -> Secret:
        raise Invalid(f"this issuer chooses the values of {request.credential} itself")

    def mint(self, request: MintRequest, proposed: Secret | None) -> Minted:
        del proposed
        self._enter()
        number = next(self._numbers)
        ref, value = f"ref-{number}", f"value-{number}"
        self._live[ref] = (value, request)
        self._refs[value] = ref
        self.minted.append((request.credential, time.monotonic()))
        return Minted(ref=ref, fields=Secret({"token": value}))

    def find(self, query: Query) -> Sequence[LiveRef]:
        self._enter()
        if query.ref is None or query.ref not in self._live:
            return []
        request = self._live[query.ref][1]
        return [LiveRef(ref=query.ref, installation=request.installation, credential=request.credential)]

    def probe(self, fields: Secret, target: JsonMap) -> ProbeAnswer:
        self._enter()
        value = fields.reveal("token")
        ref = self._refs.get(value)
        if value.startswith(FIRST):  # what was there before the benchmark began
            dead = f"ref-of-{value.removeprefix(FIRST)}" in self._dead
            return RefusedVerdict("revoked") if dead else Accepted(scope=target["scope"])
        return Accepted(scope=target["scope"], ref=ref) if ref in self._live else RefusedVerdict("revoked")

    def revoke(self, ref: str, fields: Secret | None, parameters: JsonMap) -> None:
        del fields, parameters
        self._enter()
        self._live.pop(ref, None)
        self._dead.add(ref)


class MemoryStore(Line):
    """Holds what was written; a destination that never was shows the first version of :func:`managed`."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(seconds)
        self.first_seen: dict[str, float] = {}  # when a place was first looked at
        self._held: dict[Place, Held] = {}
        self._tokens = itertools.count(1)

    def check(self, destination: Destination) -> Sequence[str]:
        del destination
        return []

    def read(self, destination: Destination, slot: Slot) -> Held:
        self.enter()
        path = str(destination.address["path"])
        self.first_seen.setdefault(path, time.monotonic())
        held = self._held.get((path, slot))
        if held is not None:
            return held
        if slot is Slot.CURRENT and path.startswith("c"):
            return Held(token="0", empty=False, fields=Secret({"token": first_value(path)}))
        return Held(token="0", empty=True)

    def write(self, destination: Destination, slot: Slot, fields: Secret, marker: Marker, expect: str) -> str:
        place, token = self._expected(destination, slot, expect)
        self._held[place] = Held(token=token, empty=False, fields=fields, marker=marker)
        return token

    def clear(self, destination: Destination, slot: Slot, expect: str) -> str:
        place, token = self._expected(destination, slot, expect)
        self._held[place] = Held(token=token, empty=True)
        return token

    def _expected(self, destination: Destination, slot: Slot, expect: str) -> tuple[Place, str]:
        self.enter()
        place = (str(destination.address["path"]), slot)
        held = self._held.get(place)
        if held is not None and held.token != expect:
            raise Conflict("changed meanwhile")
        return place, str(next(self._tokens))


class MemoryConsumer(Line):
    """One instance that loads whatever it is told to."""

    evidence = "attestation"

    def __init__(self, name: str, seconds: float = 0.0) -> None:
        super().__init__(seconds)
        self.name = name
        self._label = ""

    def reload(self, published: Published) -> None:
        self.enter()
        self._label = published.label

    def instances(self, published: Published) -> Sequence[Instance]:
        del published
        self.enter()
        return [Instance(id=self.name, version=self._label)]


class Outside:
    """The plugins of one run; see :class:`rotatord.ports.Plugins`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.issuers: dict[str, MemoryIssuer] = {"issuer": MemoryIssuer(seconds)}
        self.store = MemoryStore(seconds)
        self.consumers: dict[str, MemoryConsumer] = {}

    def issuer(self, name: str) -> Issuer:
        return self.issuers[name]

    def backend(self, name: str) -> Backend:
        del name
        return self.store

    def consumer(self, spec: ConsumerSpec) -> Consumer:
        return self.consumers.setdefault(spec.name, MemoryConsumer(spec.name, self.seconds))

    def health(self, consumer: ConsumerSpec) -> Sequence[tuple[str, Health]]:
        del consumer
        return []

    @property
    def calls(self) -> int:
        """All calls so far."""
        lines: list[Line] = [*self.issuers.values(), self.store, *self.consumers.values()]
        return sum(line.calls for line in lines)

    def context(self, ids: Ids) -> Context:
        """What an engine over these plugins is given."""
        return Context(
            installation=INSTALLATION,
            plugins=self,
            clock=SystemClock(),
            ids=ids,
            fingerprinter=FINGERPRINTER,
            paused=Pauses(lambda: None, SystemClock().now),
            gate=GATE,
        )


def first_value(name: str) -> str:
    """The value that a credential has before the benchmark begins."""
    return f"{FIRST}{name}"


def spec_of(name: str, *, issuer: str = "issuer", max_age: timedelta = MONTH, jitter_percent: float = 0.0) -> Spec:
    """One destination, one consumer that attests."""
    return Spec(
        name=name,
        issuer=issuer,
        policy=Policy(max_age=max_age, jitter_percent=jitter_percent, settle=timedelta(0)),
        scope=SCOPE,
        destinations=(Destination(backend="store", address={"path": name}, keys={"TOKEN": "token"}),),
        consumers=(ConsumerSpec(type="memory", name=f"reader-of-{name}"),),
    )


def managed(spec: Spec, due_at: datetime, fingerprinter: Fingerprinter = FINGERPRINTER) -> Record:
    """A quiet record whose destination shows its version and which is due, by its age, at that moment."""
    assert spec.policy.max_age is not None
    current = Version(
        generation=1,
        rotation="rot_first",
        issuer=spec.issuer,
        ref=f"ref-of-{spec.name}",
        fingerprint=fingerprinter.fingerprint(Secret({"token": first_value(spec.name)})),
        scope=spec.scope,
        minted_at=due_at - spec.policy.max_age,
        accepted=True,
    )
    return Record(
        name=spec.name,
        spec=spec,
        standing=Standing.MANAGED,
        generation=1,
        current=current,
        inspected_at=datetime.now(UTC),
        due_at=due_at,
    )


# --- as plugins of an installed package, for a daemon of its own ---------------------------------------------------


def create_issuer(settings: JsonMap, surroundings: Surroundings) -> MemoryIssuer:
    """Entry point."""
    del settings, surroundings
    return MemoryIssuer()


def create_backend(settings: JsonMap, surroundings: Surroundings) -> MemoryStore:
    """Entry point."""
    del settings, surroundings
    return MemoryStore()


def create_consumer(settings: JsonMap, surroundings: Surroundings) -> MemoryConsumer:
    """Entry point."""
    del surroundings
    return MemoryConsumer(str(settings.get("name", "")))


NOWHERE = "http://127.0.0.1:9"
KUBECONFIG = """apiVersion: v1
kind: Config
current-context: nowhere
clusters: [{name: nowhere, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: nobody, user: {token: nothing}}]
contexts: [{name: nowhere, context: {cluster: nowhere, user: nobody, namespace: default}}]
"""


def speak_to_nobody(directory: Path) -> list[object]:
    """Plugins of every SDK, each with a call that nobody answers: what they need is loaded, as in use."""
    (directory / "kubeconfig").write_text(KUBECONFIG)
    aws = {
        "region": "eu-west-1",
        "account": "123456789012",
        "endpoint_url": NOWHERE,
        "access_key": {"id": {"env": "AKID"}, "secret": {"env": "KEY"}},
    }
    around = Surroundings(installation="bench", state_dir="", now=SystemClock().now, secret=lambda _: "AKIAIOSFODNN7EXAMPLE")
    asked: tuple[tuple[str, str, JsonMap, JsonMap], ...] = (
        ("backends", "vault", {"address": NOWHERE, "auth": {"token": {"env": "TOKEN"}}}, {"path": "a"}),
        ("backends", "kubernetes", {"kubeconfig": str(directory / "kubeconfig")}, {"name": "a"}),
        ("backends", "aws_secrets_manager", aws, {"name": "a"}),
        ("backends", "aws_ssm_parameter", aws, {"name": "/a"}),
        ("issuers", "aws_iam_user", aws, {"user": "a"}),
        ("issuers", "aws_sts", aws, {"role": "arn:aws:iam::123456789012:role/a"}),
    )
    made: list[object] = []
    for group, kind, settings, address in asked:
        plugin: Any = installed_plugins(f"rotatord.{group}")[kind]()(settings, around)
        made.append(plugin)
        with suppress(OutsideError):
            if group == "backends":
                plugin.read(Destination(backend="b", address=address, keys={"TOKEN": "token"}), Slot.CURRENT)
            else:
                plugin.find(Query(installation="bench", credential="a", parameters=address))
    return made
