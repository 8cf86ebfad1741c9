"""Pending and previous beside a secret of Secrets Manager, so that clearing them destroys what they held.

Secrets Manager cannot destroy one version of a secret, only a whole secret; and the name of a deleted one is not free again at
once. So a slot is a small secret that stays, its *head*, whose versions hold no value and which gives the compare token; and
each value lies in a secret of its own, named by the id of the head's version that it belongs to, which is deleted without
recovery. The head moves first: a value never lies anywhere that the head does not tell of.

A call that makes or deletes a value may land late. So the head also lists the values that it let go of, and each following
write or clear deletes them once more, until they are older than any call can be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from backends import aws_secret
from backends.aws_secret import Seen, version_id
from rotatord.aws_client import Aws
from rotatord.aws_errors import code_of
from rotatord.errors import Invalid, NotFound
from rotatord.model import JsonMap

HELD, NONE = "held", "none"
FORGET_AFTER = timedelta(hours=1)  # a signed request is refused when it is older than minutes


@dataclass(frozen=True, slots=True)
class Head:
    """A slot at one moment. ``value``: the secret that its value lies in, or None where it holds none of ours."""

    seen: Seen
    value: str | None
    foreign: bool  # somebody else wrote the head


class Slots:
    """The slots of all destinations at one AWS."""

    def __init__(self, aws: Aws, now: Callable[[], datetime]) -> None:
        self._aws = aws
        self._now = now

    def look(self, name: str) -> Head:
        seen = aws_secret.look(self._aws, name)
        aws_secret.must_not_be_doomed(seen)
        kind = next((kind for kind in (HELD, NONE) if seen.current.startswith(f"rotatord-{kind}-")), "")
        value = f"{name}/{seen.current.rpartition('-')[2]}" if kind == HELD else None
        return Head(seen, value, foreign=bool(seen.current) and not kind)

    def text(self, head: Head) -> str | None:
        """What the slot holds; None for nothing. Where a write was stopped before its value was there, that is what it was to
        replace: a slot never loses the only copy of something between two calls."""
        if head.value is None:
            return None
        text = self._text_of(head.value)
        if text is None:
            before = sorted(self._let_go(head).items(), key=lambda item: item[1], reverse=True)
            return next((text for name, _ in before if (text := self._text_of(name)) is not None), None)
        return text

    def _text_of(self, value: str) -> str | None:
        try:
            text = self._aws.call(aws_secret.SERVICE, "get_secret_value", SecretId=value).get("SecretString")
        except NotFound:
            return None
        except Invalid as error:
            if code_of(error) == "InvalidRequestException":  # marked for deletion
                return None
            raise
        return str(text) if text else None

    def write(self, head: Head, text: str, making: JsonMap) -> str:
        """Replace what the slot holds; returns the new token."""
        old = self._let_go(head)
        version = version_id(HELD)
        moved = aws_secret.put(self._aws, head.seen, version, _content(old), making)
        value = f"{head.seen.name}/{moved.current.rpartition('-')[2]}"
        self._aws.call(aws_secret.SERVICE, "create_secret", Name=value, ClientRequestToken=version, SecretString=text, **making)
        self._delete(old)
        return moved.token

    def clear(self, head: Head, making: JsonMap) -> str:
        """Destroys first and moves the token afterwards: stopped in between, the slot is empty and can be cleared again."""
        old = self._let_go(head)
        self._delete(old)
        return aws_secret.put(self._aws, head.seen, version_id(NONE), _content(old), making).token

    def _let_go(self, head: Head) -> dict[str, str]:
        """The values to delete, with the time at which the slot let go of them."""
        old: dict[str, str] = {}
        if head.seen.current and not head.foreign:
            text = aws_secret.text_of(self._aws, head.seen.arn, head.seen.current)
            old = _read_content(text, head.seen.name)
        if head.value is not None:
            old.setdefault(head.value, self._now().isoformat())
        return old

    def _delete(self, values: dict[str, str]) -> None:
        """Delete all; those that a late call could still bring back stay in the list."""
        for name, since in list(values.items()):
            aws_secret.delete(self._aws, name)
            if self._now() - datetime.fromisoformat(since) > FORGET_AFTER:
                del values[name]


def _content(old: Mapping[str, str]) -> str:
    return json.dumps({"_rotatord": "the head of a slot; values lie in secrets below it", "deleted": old}, sort_keys=True)


def _read_content(text: str | None, name: str) -> dict[str, str]:
    """The values that a head lists: only below itself, whatever it says."""
    try:
        listed = json.loads(text or "{}")["deleted"]
        return {
            str(value): datetime.fromisoformat(at).isoformat() for value, at in listed.items() if value.startswith(f"{name}/")
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
