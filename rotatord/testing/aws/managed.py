"""Policies that AWS itself keeps, as far as tests of credentials need them.

The quarantines are what AWS attaches to a user whose key it found in public. Their parts about other services than IAM are
shortened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

_QUARANTINED = (
    "cloudtrail:LookupEvents",
    "ec2:RequestSpotInstances",
    "ec2:RunInstances",
    "ec2:StartInstances",
    "iam:AddUserToGroup",
    "iam:AttachGroupPolicy",
    "iam:AttachRolePolicy",
    "iam:AttachUserPolicy",
    "iam:ChangePassword",
    "iam:CreateAccessKey",
    "iam:CreateInstanceProfile",
    "iam:CreateLoginProfile",
    "iam:CreatePolicyVersion",
    "iam:CreateRole",
    "iam:CreateUser",
    "iam:DetachUserPolicy",
    "iam:PassRole",
    "iam:PutGroupPolicy",
    "iam:PutRolePolicy",
    "iam:PutUserPermissionsBoundary",
    "iam:PutUserPolicy",
    "iam:SetDefaultPolicyVersion",
    "iam:UpdateAccessKey",
    "iam:UpdateAccountPasswordPolicy",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateLoginProfile",
    "iam:UpdateUser",
    "lambda:CreateFunction",
    "organizations:CreateAccount",
    "organizations:CreateOrganization",
    "organizations:InviteAccountToOrganization",
    "s3:DeleteBucket",
    "s3:DeleteObject",
    "s3:PutBucketLogging",
    "s3:PutBucketPolicy",
)


def _document(effect: str, actions: tuple[str, ...]) -> str:
    statement = {"Effect": effect, "Action": list(actions), "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


POLICIES: Mapping[str, str] = {
    "AdministratorAccess": _document("Allow", ("*",)),
    "AWSDenyAll": _document("Deny", ("*",)),
    "IAMReadOnlyAccess": _document("Allow", ("iam:Get*", "iam:List*", "iam:SimulatePrincipalPolicy")),
    "AmazonSSMReadOnlyAccess": _document("Allow", ("ssm:Describe*", "ssm:Get*", "ssm:List*")),
    "SecretsManagerReadWrite": _document("Allow", ("secretsmanager:*",)),
    "AWSCompromisedKeyQuarantineV2": _document("Deny", _QUARANTINED),
    "AWSCompromisedKeyQuarantineV3": _document("Deny", _QUARANTINED),
}
