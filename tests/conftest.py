"""What all tests share: real servers, found or skipped with the remedy."""

from tests.servers.fixtures import own_vault, surroundings, vault_place, vault_server

__all__ = ["own_vault", "surroundings", "vault_place", "vault_server"]
