"""How connections to a PostgreSQL are made: not again and again where none answers, and never more than there may be."""

from __future__ import annotations

import contextlib
import threading
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest

from rotatord.errors import JournalUnavailable
from rotatord.journal.postgresql import BACKOFF_SECONDS, Connection, Pool, PostgresqlServer
from rotatord.testing.clock import VirtualClock
from tests.servers.component import free_port


class Unreachable(PostgresqlServer):
    """A server where nobody listens, until ``back``."""

    def __init__(self, clock: VirtualClock) -> None:
        self.tries = 0
        self.back = False
        address = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
        super().__init__(lambda: address, read_only=False, clock=clock)

    def _connected(self, *, patient: bool) -> Connection:
        self.tries += 1
        return cast("Connection", SimpleNamespace(close=lambda: None)) if self.back else super()._connected(patient=patient)

    def asked(self) -> bool:
        """Whether a wish for a connection is tried at all."""
        before = self.tries
        with contextlib.suppress(JournalUnavailable):
            self.connect()
        return self.tries > before


def test_a_server_that_is_away_is_asked_less_and_less_often() -> None:
    """However many want a connection: after a failure all are told at once, and the pauses double up to a bound. When it is
    back, the next failure begins with the shortest pause again."""
    clock = VirtualClock()
    server = Unreachable(clock)
    first, longest = BACKOFF_SECONDS
    pause = first
    for _ in range(8):
        assert server.asked()
        assert not server.asked()
        clock.advance(pause * 0.9)
        assert not server.asked()
        clock.advance(pause * 0.2)
        pause = min(2 * pause, longest)
    assert pause == longest
    server.back = True
    clock.advance(longest)
    server.connect()
    server.back = False
    assert server.asked()
    clock.advance(first * 1.1)
    assert server.asked()


class Counting:
    """A server that counts the connections that are open."""

    def __init__(self) -> None:
        self.made = 0

    def connect(self) -> Any:
        self.made += 1
        idle = SimpleNamespace(transaction_status=psycopg.pq.TransactionStatus.IDLE)
        return SimpleNamespace(closed=False, info=idle, close=lambda: None)


@pytest.mark.parametrize("size", [1, 3])
def test_no_more_connections_than_there_may_be(size: int) -> None:
    """Who wants one more waits until one is given back, and the same ones are used again."""
    server = Counting()
    pool = Pool(cast("PostgresqlServer", server), size)
    entered, leave = threading.Semaphore(0), threading.Event()

    def work(_: Connection) -> None:
        entered.release()
        assert leave.wait(10)

    threads = [threading.Thread(target=pool.run, args=(work,)) for _ in range(size + 2)]
    for thread in threads:
        thread.start()
    for _ in range(size):
        assert entered.acquire(timeout=10)
    assert not entered.acquire(timeout=0.3)
    leave.set()
    for thread in threads:
        thread.join(10)
    assert server.made == size
    pool.close()
