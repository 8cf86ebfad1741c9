"""What the integration tests share."""

from tests.integration.on_vault import make_world

__all__ = ["make_world"]
