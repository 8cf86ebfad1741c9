"""Servers that every network plugin must survive: silent, closed, and too busy to take a call. Loopback only."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses connections; it stays reserved, so nobody else can open it meanwhile."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and never listening: connections are refused
        yield reserved.getsockname()[1]


@contextmanager
def full_port() -> Iterator[int]:
    """A port whose queue is full: connecting to it never ends."""
    with socket.socket() as listener, socket.socket() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)  # one may wait to be taken, and nobody is ever taken
        waiting.connect(listener.getsockname())
        yield listener.getsockname()[1]
