"""A Redis for the tests of one process, and one that a test may stop."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.redis_server import PROGRAM, RedisClusterServers, RedisServer

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


@pytest.fixture(scope="session")
def redis_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisClusterServers]:
    """Return a cluster, which the tests of this process share."""
    servers = RedisClusterServers(tmp_path_factory.mktemp("redis_cluster"))
    yield servers
    servers.stop()


@pytest.fixture
def cluster_client(redis_cluster: RedisClusterServers) -> Iterator[Any]:
    """Return a client of the cluster."""
    from redis.cluster import RedisCluster

    client = RedisCluster(host="127.0.0.1", port=redis_cluster.port)
    client.flushall(target_nodes=RedisCluster.PRIMARIES)
    yield client
    client.close()
