"""Keeping the process small: what parsing a large answer or a service's description needed goes back to the kernel, and
nothing is loaded for the sake of what is never used."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_M_TRIM_THRESHOLD = -1  # <malloc.h> of the GNU C library
_BYTES = 64 * 1024


def give_back() -> bool:
    """From now on free memory at the top of the heap is returned once it exceeds 64 KiB (GNU C library; by default that
    bound grows with use). Whether it could be asked for; elsewhere nothing changes. Idempotent."""
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _BYTES) == 1)
    except (OSError, AttributeError):
        return False


@contextmanager
def without(module: str) -> Iterator[None]:
    """What is imported meanwhile does without a module that it takes where it finds it; others may import that all the same."""
    modules: dict[str, Any] = sys.modules
    if module in modules:
        yield
        return
    modules[module] = None  # the interpreter's own way of saying that there is none
    try:
        yield
    finally:
        del modules[module]
