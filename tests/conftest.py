"""The plugins that hold the fixtures, by what they provide."""

from __future__ import annotations

pytest_plugins = [
    "tests.plugins.authorities",
    "tests.plugins.processes",
    "tests.plugins.servers",
    "tests.plugins.services",
]
