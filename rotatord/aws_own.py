"""Our own key at AWS, as every plugin for it shows it: whether another would do, and how long the present one lasts.

What a key may do is its principal's: one that belongs to whom we are may do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rotatord.aws_client import Aws
from rotatord.aws_identity import Who, who_is
from rotatord.errors import Permanent, Retryable
from rotatord.ports import Inconclusive, Life, Secrets
from rotatord.secret import Secret

AGREEING_ANSWERS = 3  # a fresh key is known in some places before it is in others


class OwnAws:
    """The powers Empowered and TellsOwnLife."""

    _aws: Aws

    def works_with(self, secret: Secrets, needs: Sequence[Any]) -> Sequence[str]:  # noqa: ARG002  see the module
        key = self._aws.settings.access_key
        if key is None:
            return []  # none of our references leads to it
        with self._aws.calling():
            return self._tried(secret)

    def _tried(self, secret: Secrets) -> list[str]:
        fields = _fields(self._aws, secret)
        who = who_is(self._aws, fields, AGREEING_ANSWERS)
        if isinstance(who, Inconclusive):
            raise Retryable(f"whether AWS takes our new key cannot be told: {who.why}")
        if not isinstance(who, Who):
            return [who.why]
        we = who_is(self._aws, _fields(self._aws, None))
        if isinstance(we, Who) and we.arn != who.arn:
            return [f"it belongs to {who.arn}, and we are {we.arn}: whether that may do what we do cannot be told"]
        return self._refused_role(fields)

    def _refused_role(self, fields: Secret) -> list[str]:
        try:
            self._aws.assumable(fields)
        except Permanent as error:
            return [str(error)]
        return []

    def take_up(self) -> None:
        self._aws.take_up()

    def own_life(self) -> Sequence[Life]:
        key = self._aws.settings.access_key
        if key is None:
            said = "it comes from AWS's own chain of credentials or a profile, and AWS says nowhere when it ends"
            return [Life(place="profile" if self._aws.settings.profile else "chain", unknown=said)]
        if key.session_token is not None:
            return [Life(place="access_key", unknown="AWS says nowhere when a session ends")]
        return [Life(place="access_key")]


def _fields(aws: Aws, secret: Secrets | None) -> Secret:
    keys = aws.own_keys(secret)
    fields = {"access_key_id": keys.access_key, "secret_access_key": keys.secret_key}
    return Secret(fields | ({"session_token": keys.token} if keys.token else {}))
