"""What may be said of an error that nobody expected: its kind and its place. Its text may quote anything, a secret too."""

from __future__ import annotations

import traceback


def described(error: BaseException) -> str:
    """``KeyError in vault.py:12``: fit for logs, events and notices."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} in {place}"
