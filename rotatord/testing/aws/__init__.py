"""A strict AWS on loopback, for tests of plugins: IAM, STS, Secrets Manager and Parameter Store.

Real boto3 talks to it by ``endpoint_url``. Signatures and policies are evaluated, quotas kept, changes spread late if asked
to, faults planned call by call; and it tells afterwards what happened.
"""

from rotatord.testing.aws.client import REGION, Credentials, client
from rotatord.testing.aws.fake import FakeAws, allow, granted
from rotatord.testing.aws.faults import Fails, Faults, Refuse, throttled, unavailable
from rotatord.testing.aws.gateway import Call, Refusal
from rotatord.testing.aws.spread import AT_ONCE, LIKE_AWS, Lags
from rotatord.testing.running import Clock, RunningClock
from rotatord.testing.wires import CutOff, Dropped, Garbled, Hangs, Late, Slow

__all__ = [
    "AT_ONCE",
    "LIKE_AWS",
    "REGION",
    "Call",
    "Clock",
    "Credentials",
    "CutOff",
    "Dropped",
    "Fails",
    "FakeAws",
    "Faults",
    "Garbled",
    "Hangs",
    "Lags",
    "Late",
    "Refusal",
    "Refuse",
    "RunningClock",
    "Slow",
    "allow",
    "client",
    "granted",
    "throttled",
    "unavailable",
]
