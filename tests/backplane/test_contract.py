"""The contract of backplanes, over each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from gpt_agent_sync.backplane.base import Backplane
from gpt_agent_sync.backplane.local import LocalBackplane
from gpt_agent_sync.testing.backplanes import BackplaneConformance
from tests.plugins.redis_servers import needs_redis
from tests.support.redis_server import RedisServer


class TestLocalBackplane(BackplaneConformance):
    """The contract in memory."""

    @pytest.fixture
    def backplane(self) -> Iterator[Backplane]:
        """Return a backplane."""
        with contextlib.closing(LocalBackplane()) as backplane:
            yield backplane


@needs_redis
class TestRedisBackplane(BackplaneConformance):
    """The contract over a Redis."""

    @pytest.fixture
    def backplane(self, redis_server: RedisServer) -> Iterator[Backplane]:
        """Return a backplane."""
        # Imported here: this is collected where redis-py is missing, too.
        from gpt_agent_sync.backplane.redis import RedisBackplane

        with contextlib.closing(RedisBackplane(redis_server.url)) as backplane:
            yield backplane


@needs_redis
class TestRedisClusterBackplane(BackplaneConformance):
    """The contract over a cluster."""

    @pytest.fixture
    def backplane(self, cluster_client: Any) -> Iterator[Backplane]:
        """Return a backplane."""
        from gpt_agent_sync.backplane.redis import RedisBackplane

        with contextlib.closing(RedisBackplane(cluster_client)) as backplane:
            yield backplane
