"""The last line of defence of the logs: whatever looks like a secret is struck out just before a line is written.

Secrets do not get here in the first place: values live in :class:`rotatord.secret.Secret`, and messages never hold them.
This is for what others write (SDKs, tracebacks) and for our own mistakes, so it would rather strike out too much.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from rotatord.secret import Secret

STRUCK = "***"
_DEPTH = 8

# Formats that are secret by their look alone. None needs a look-behind of more than a boundary, so all are linear.
_FORMATS = re.compile(
    r"""
      \bhv[sbr]\.[A-Za-z0-9_-]{20,}                              # Vault: service, batch and recovery tokens
    | \b[sb]\.[A-Za-z0-9]{24}\b                                  # Vault before 1.10, OpenBao
    | \bcf(?:k|ut|at)_[A-Za-z0-9]{40,}                           # Cloudflare
    | \bv1\.0-[0-9a-f]{24}-[0-9a-f]{100,}                        # Cloudflare Origin CA
    | \bgithub_pat_[A-Za-z0-9_]{40,}                             # GitHub, fine-grained
    | \b[A-Za-z][A-Za-z0-9]{0,14}_[0-9A-Za-z]{36,}\b             # prefix, 30 random characters, 6 check digits: ours, GitHub's
    | \bglpat-[A-Za-z0-9_.-]{20,}                                # GitLab
    | \bxox[abeoprs]-[A-Za-z0-9-]{10,}                           # Slack
    | \bwhsec_[A-Za-z0-9+/=]{16,}                                # Standard Webhooks
    | \bey[A-Za-z0-9_-]{8,}\.ey[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+ # JSON web tokens
    | -----BEGIN\ [A-Z\ ]*PRIVATE\ KEY-----[\s\S]*?(?:-----END\ [A-Z\ ]*PRIVATE\ KEY-----|\Z)
    """,
    re.VERBOSE,
)
# A name that announces a secret, what joins them, and the value.
_NAMED = re.compile(
    r"""(?ix)
    (["']?(?:x-vault-token|x-amz-security-token|authorization|proxy-authorization|client_token|secret_access_key
       |aws_secret_access_key|secretaccesskey|session_token|secret_id|private_key|password|passwd|api_?key|access_token)["']?
     \s*[:=]\s*(?:b?["'])?(?:(?:bearer|basic|token|splunk)\s+)?)
    ([^\s"',;&}\])]+)
    """
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_USERINFO = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")
_SECRET_KEYS = re.compile(
    r"(?i)^(?:.*[_-])?(?:token|password|passwd|secret|secret_id|secret_access_key|private_key|api_?key|authorization|cookie)$"
)


def redact_text(text: str) -> str:
    """The text with everything struck out that looks like a secret."""
    text = _FORMATS.sub(STRUCK, text)
    text = _NAMED.sub(rf"\1{STRUCK}", text)
    text = _BEARER.sub(rf"\1 {STRUCK}", text)
    return _USERINFO.sub(rf"\1{STRUCK}@", text)


def redact(value: object, depth: int = 0) -> object:
    """A copy fit to be written: plain values, texts struck through, anything else as its struck-through ``repr``."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Secret):
        return repr(value)
    if depth >= _DEPTH:
        return STRUCK
    if isinstance(value, Mapping):
        return {str(redact(key, depth + 1)): _redact_named(str(key), item, depth) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth + 1) for item in value]
    if isinstance(value, bytes | bytearray | memoryview):
        return redact_text(bytes(value).decode("utf-8", "backslashreplace"))
    try:
        return redact_text(repr(value))
    except Exception:  # noqa: BLE001 - somebody else's repr must not cost us the line
        return f"<{type(value).__name__}>"


def _redact_named(key: str, value: object, depth: int) -> object:
    if _SECRET_KEYS.match(key) and isinstance(value, str | bytes) and value:
        return STRUCK
    return redact(value, depth + 1)


def processor(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For structlog: the last one before the renderer."""
    return {key: _redact_named(key, value, 0) for key, value in event.items()}
