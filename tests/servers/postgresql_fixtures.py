"""Fixtures over a real PostgreSQL: one server a session, a database of its own for every test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.fixtures import need
from tests.servers.postgresql import POSTGRESQL, Database, PostgresServer


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresServer]:
    """A server for the whole session. Never pause or stop this one."""
    server = PostgresServer(need(POSTGRESQL))
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def own_postgresql() -> Iterator[PostgresServer]:
    """A server for one test, durable, that may be paused, stopped and crashed."""
    server = PostgresServer(need(POSTGRESQL), durable=True)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def database(postgresql_server: PostgresServer) -> Iterator[Database]:
    """An empty database of the shared server."""
    with postgresql_server.database() as made:
        yield made


@pytest.fixture
def own_database(own_postgresql: PostgresServer) -> Iterator[Database]:
    """An empty database of a server that may be struck."""
    with own_postgresql.database() as made:
        yield made
