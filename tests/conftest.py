"""What all tests share: real servers, found or skipped with the remedy."""

import signal

from tests.servers.aws_fixtures import aws, make_aws, moto, moto_server
from tests.servers.fixtures import own_vault, surroundings, vault_place, vault_server
from tests.servers.kubernetes_fixtures import control_plane, helm, kubectl, namespace, own_control_plane

# Where the run was started with nohup, or by something that ignores SIGHUP, every child would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

__all__ = [
    "aws",
    "control_plane",
    "helm",
    "kubectl",
    "make_aws",
    "moto",
    "moto_server",
    "namespace",
    "own_control_plane",
    "own_vault",
    "surroundings",
    "vault_place",
    "vault_server",
]
