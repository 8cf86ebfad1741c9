"""Rights as plugins name them, as the policy that an identity of ours is given in tests: exactly those, nothing more."""

from __future__ import annotations

import json
from collections.abc import Iterable

from rotatord.rights import AwsRight, Right


def policy_of(rights: Iterable[Right]) -> str:
    """One policy document with a statement for each right."""
    statements = []
    for right in rights:
        assert isinstance(right, AwsRight)
        statement: dict[str, object] = {"Effect": "Allow", "Action": list(right.actions), "Resource": list(right.resources)}
        if right.conditions:
            statement["Condition"] = {operator: {key: value} for operator, key, value in right.conditions}
        statements.append(statement)
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
