"""What all tests share: real servers, found or skipped with the remedy."""

import signal

from tests.servers.fixtures import own_vault, surroundings, vault_place, vault_server

# Where the run was started with nohup, or by something that ignores SIGHUP, every child would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

__all__ = ["own_vault", "surroundings", "vault_place", "vault_server"]
