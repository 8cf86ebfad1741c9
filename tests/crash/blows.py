"""What else strikes while daemons are killed: a table of blows, each begun, held for a while, and ended."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from tests.crash.company import LEASE_SECONDS, Company
from tests.crash.reaching import Http
from tests.crash.scene import Scene

PAUSE = threading.Event()
AWS_OPERATIONS = (
    "iam:CreateAccessKey",
    "iam:UpdateAccessKey",
    "iam:DeleteAccessKey",
    "secretsmanager:PutSecretValue",
    "secretsmanager:UpdateSecretVersionStage",
    "sts:AssumeRole",
)
CROWD = 70  # more connections than the server takes


@dataclass
class Struck:
    """What a blow may touch."""

    scene: Scene
    company: Company
    dice: random.Random


Strike = Callable[[Struck], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True)
class Blow:
    """One kind. ``seconds``: for how long it is held, while daemons go on being killed."""

    name: str
    strike: Strike
    seconds: float
    counted: bool = False  # what is published before and after it is told


@contextmanager
def _sealed(on: Struck) -> Iterator[None]:
    on.scene.vault.seal()
    yield
    on.scene.vault.unseal()


@contextmanager
def _vault_restarted(on: Struck) -> Iterator[None]:
    on.scene.vault.stop()
    yield
    on.scene.vault.start()


@contextmanager
def _vault_killed(on: Struck) -> Iterator[None]:
    on.scene.vault.stop(kill=True)
    yield
    on.scene.vault.start()


def _cut_off(server: str) -> Strike:
    """Nothing gets through from rotatord to a server, then every connection ends: what was under way may have landed."""

    @contextmanager
    def cut(on: Struck) -> Iterator[None]:
        way = on.scene.ways[server]
        way.stall()
        yield
        way.cut()
        way.flow()

    return cut


@contextmanager
def _api_server_frozen(on: Struck) -> Iterator[None]:
    component = on.scene.plane.components["kube-apiserver"]
    component.pause()
    yield
    component.resume()


@contextmanager
def _api_server_killed(on: Struck) -> Iterator[None]:
    on.scene.plane.kill("kube-apiserver")
    yield
    on.scene.plane.revive("kube-apiserver")


@contextmanager
def _answers_lost(on: Struck) -> Iterator[None]:
    """AWS does it, and hangs up; or does it and answers with an error."""
    book = Http(on.scene.aws_book)
    for operation in AWS_OPERATIONS:
        book.must("POST", "/", {"operation": operation, "fault": on.dice.choice(("dropped", "fails"))})
    yield


@contextmanager
def _connections_killed(on: Struck) -> Iterator[None]:
    for _ in range(8):
        on.scene.database.kill_connections()
        PAUSE.wait(0.2)
    yield


@contextmanager
def _postgresql_restarted(on: Struck) -> Iterator[None]:
    on.scene.postgresql.stop()
    yield
    on.scene.postgresql.start()


@contextmanager
def _postgresql_crashed(on: Struck) -> Iterator[None]:
    on.scene.postgresql.stop(crash=True)
    yield
    on.scene.postgresql.start()


@contextmanager
def _postgresql_hangs(on: Struck) -> Iterator[None]:
    on.scene.postgresql.pause()
    yield
    on.scene.postgresql.resume()


@contextmanager
def _exhausted(on: Struck) -> Iterator[None]:
    """Others take every connection that there is, and rotatord's are cut."""
    server, crowd = on.scene.postgresql, []
    name, password = "crowd", "crowd"
    with server.admin() as admin:
        admin.execute(f"DROP ROLE IF EXISTS {name}")
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    on.scene.database.kill_connections()
    for _ in range(CROWD):
        with contextlib.suppress(psycopg.OperationalError):
            one = psycopg.connect(
                host="127.0.0.1", port=server.port, user=name, password=password, dbname="postgres", connect_timeout=2
            )
            crowd.append(one)
    on.scene.database.kill_connections()
    with contextlib.suppress(psycopg.OperationalError):  # what they gave up is taken, too
        crowd.append(psycopg.connect(host="127.0.0.1", port=server.port, user=name, password=password, dbname="postgres"))
    yield
    for one in crowd:
        one.close()


@contextmanager
def _frozen(on: Struck) -> Iterator[None]:
    """A replica stands still for longer than its lease lasts, wherever it is, and goes on."""
    ready = on.company.ready("fleet")
    if not ready:
        yield
        return
    victim = on.dice.choice(ready)
    victim.freeze()
    yield
    victim.thaw()


@contextmanager
def _away(on: Struck) -> Iterator[None]:
    """A replica is killed, and comes back only when others had to take over what it held."""
    ready = on.company.ready("fleet")
    victims = {on.dice.choice(ready).directory.name} if ready else set()
    on.company.absent |= victims
    for each in ready:
        if each.directory.name in victims:
            each.kill()
    yield
    on.company.absent -= victims


@contextmanager
def _disk_full(on: Struck) -> Iterator[None]:
    single, disk = on.company.single, on.scene.disk
    pid = single.daemon.pid if single.daemon is not None else 0
    disk.fill(pid)
    yield
    disk.relieve(pid)


@contextmanager
def _disk_read_only(on: Struck) -> Iterator[None]:
    """The kernel takes no disk from those who write to it: the daemon is killed, finds it so, and is started again."""
    company, disk = on.company, on.scene.disk
    company.absent.add(company.single.directory.name)
    if company.single.alive:
        company.single.kill()
    if disk.read_only(on=True):
        company.single.launch()
    yield
    if company.single.alive:
        company.single.kill()
    disk.read_only(on=False)
    company.absent.discard(company.single.directory.name)


BLOWS = (
    Blow("Vault sealed", _sealed, 3),
    Blow("Vault restarted", _vault_restarted, 1),
    Blow("Vault killed", _vault_killed, 1),
    Blow("Vault cut off", _cut_off("vault"), 4),
    Blow("AWS cut off", _cut_off("aws"), 4),
    Blow("AWS answers lost", _answers_lost, 2),
    Blow("Kubernetes cut off", _cut_off("kubernetes"), 4),
    Blow("API server frozen", _api_server_frozen, 3),
    Blow("API server killed", _api_server_killed, 1),
    Blow("PostgreSQL connections killed", _connections_killed, 0, counted=True),
    Blow("PostgreSQL restarted", _postgresql_restarted, 2, counted=True),
    Blow("PostgreSQL crashed", _postgresql_crashed, 1, counted=True),
    Blow("PostgreSQL hangs", _postgresql_hangs, 5, counted=True),
    Blow("PostgreSQL exhausted", _exhausted, 4, counted=True),
    Blow("replica frozen past its lease", _frozen, LEASE_SECONDS + 4),
    Blow("replica killed and away", _away, LEASE_SECONDS + 2, counted=True),
    Blow("disk full", _disk_full, 4),
    Blow("disk read-only", _disk_read_only, 4),
)
