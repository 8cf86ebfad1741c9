"""What all tests share: real servers, found or skipped with the remedy."""

import signal

from tests.servers.aws_fixtures import aws, make_aws, moto, moto_server
from tests.servers.fixtures import own_vault, surroundings, vault_place, vault_server
from tests.servers.kubernetes_fixtures import control_plane, helm, kubectl, namespace, own_control_plane
from tests.servers.postgresql_fixtures import database, own_database, own_postgresql, postgresql_server

# Where the run was started with nohup, or by something that ignores SIGHUP, every child would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

__all__ = [
    "aws",
    "control_plane",
    "database",
    "helm",
    "kubectl",
    "make_aws",
    "moto",
    "moto_server",
    "namespace",
    "own_control_plane",
    "own_database",
    "own_postgresql",
    "own_vault",
    "postgresql_server",
    "surroundings",
    "vault_place",
    "vault_server",
]
