"""Asking AWS whose a version's own fields are: the one call that no policy can forbid."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rotatord.aws_client import Aws
from rotatord.aws_errors import code_of
from rotatord.errors import OutsideError
from rotatord.ports import Inconclusive, RefusedVerdict
from rotatord.secret import Secret

# The keys that signed are no keys (any more), or do not belong together.
_REFUSED = {
    "InvalidClientTokenId": "AWS does not know this key, or it is inactive",
    "UnrecognizedClientException": "AWS does not know this key, or it is inactive",
    "InvalidAccessKeyId": "AWS does not know this key, or it is inactive",
    "SignatureDoesNotMatch": "AWS knows the key's id, and the secret does not belong to it",
    "InvalidSignatureException": "AWS knows the key's id, and the secret does not belong to it",
    "ExpiredToken": "the session has expired",
    "ExpiredTokenException": "the session has expired",
}
# AWS says SignatureDoesNotMatch, too, of clocks that differ: that says nothing of the key.
_CLOCK = re.compile(r"signature (expired|not yet current)", re.IGNORECASE)
_ARN = re.compile(r"arn:[a-z-]+:(?P<service>iam|sts)::(?P<account>\d{12}):(?P<kind>user|assumed-role)/(?P<name>.+)")


@dataclass(frozen=True, slots=True)
class Who:
    """Who AWS says that the fields belong to."""

    arn: str
    id: str

    @property
    def user(self) -> str:
        """The IAM user's name, in lower case as AWS tells users apart; "" for anybody else."""
        found = _ARN.fullmatch(self.arn)
        return found["name"].rpartition("/")[2].lower() if found and found["kind"] == "user" else ""

    @property
    def session(self) -> str:
        """``role/session`` of an assumed role; "" for anybody else."""
        found = _ARN.fullmatch(self.arn)
        return found["name"] if found and found["kind"] == "assumed-role" else ""


def who_is(aws: Aws, fields: Secret, times: int = 1) -> Who | RefusedVerdict | Inconclusive:
    """Ask ``times`` times: a verdict only where all answers agree. Trouble is Inconclusive; nothing is raised."""
    first = _ask(aws, fields)
    for _ in range(times - 1):
        if isinstance(first, Inconclusive):
            break
        if _ask(aws, fields) != first:
            return Inconclusive("AWS answers differently each time: what it knows of this key is still spreading")
    return first


def _ask(aws: Aws, fields: Secret) -> Who | RefusedVerdict | Inconclusive:
    try:
        with aws.calling():
            client = aws.client("sts", credentials=fields)
            try:
                answer = client.get_caller_identity()
            finally:
                client.close()
    except OutsideError as error:
        refused = _REFUSED.get(code_of(error))
        if refused is None or _CLOCK.search(str(error)):
            return Inconclusive(str(error))
        return RefusedVerdict(refused)
    return Who(answer["Arn"], answer["UserId"])
