"""A Redis for the tests of one process, and one that a test may stop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.redis_server import PROGRAM, RedisServer

needs_redis = pytest.mark.skipif(
    (PROGRAM is None or find_spec("redis") is None) and not os.environ.get("TESTS_SKIP_NOTHING"),
    reason="no redis-server, or redis-py is not installed; the extra 'redis' has that",
)
"""Marks a test that needs Redis; where ``TESTS_SKIP_NOTHING`` is set it fails without."""


@pytest.fixture(scope="session")
def _redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def redis_server(_redis_server: RedisServer) -> RedisServer:
    """Return an empty Redis, which the tests of this process share."""
    _redis_server.empty()
    return _redis_server


@pytest.fixture
def own_redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Return a Redis that the test may pause and stop."""
    server = RedisServer(tmp_path)
    yield server
    server.go_on()
    server.stop()
