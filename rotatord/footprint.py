"""Keeping the process small: what parsing a large answer or a service's description needed goes back to the kernel."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1  # <malloc.h> of the GNU C library
_BYTES = 64 * 1024


def give_back() -> bool:
    """From now on free memory at the top of the heap is returned once it exceeds 64 KiB (GNU C library; by default that
    bound grows with use). Whether it could be asked for; elsewhere nothing changes. Idempotent."""
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _BYTES) == 1)
    except (OSError, AttributeError):
        return False
