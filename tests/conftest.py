"""The plugins that hold the fixtures, by what they provide."""

from __future__ import annotations

import pytest

pytest_plugins = [
    "tests.plugins.authorities",
    "tests.plugins.browsers",
    "tests.plugins.faults",
    "tests.plugins.postgres_servers",
    "tests.plugins.processes",
    "tests.plugins.redis_servers",
    "tests.plugins.servers",
    "tests.plugins.services",
    "tests.plugins.web",
]

# Before anything imports it, so that what its assertions saw is shown.
pytest.register_assert_rewrite("gpt_agent_sync.testing.journals")
