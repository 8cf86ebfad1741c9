"""One contract suite per port, for pytest: subclass it beside your plugin's tests and fill in the fixtures.

A suite is a class without ``Test`` in front of its name, so importing it runs nothing. A subclass for a registered plugin
says which one with ``plugin = "name"``. Fixtures that a suite needs raise NotImplementedError until they are overridden;
fixtures for what some plugins cannot show return None. Such a one must be given for a registered plugin, or be named in
``not_applicable`` with the reason, which leaves its tests out; for anything else its tests are skipped.
"""

import pytest

pytest.register_assert_rewrite(
    "rotatord.testing.contracts.common",
    "rotatord.testing.contracts.issuer",
    "rotatord.testing.contracts.issuer_powers",
    "rotatord.testing.contracts.issuer_setting",
    "rotatord.testing.contracts.backend",
    "rotatord.testing.contracts.backend_setting",
    "rotatord.testing.contracts.consumer",
    "rotatord.testing.contracts.health",
    "rotatord.testing.contracts.journal",
)
