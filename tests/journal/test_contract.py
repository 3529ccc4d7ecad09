"""The contract of journals, over each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.journal.base import Journal
from gpt_agent_sync.journal.memory import MemoryJournal
from gpt_agent_sync.journal.sqlite import SqliteJournal
from gpt_agent_sync.testing import JournalConformance
from tests.plugins.redis_servers import needs_redis
from tests.support.redis_server import RedisServer


class TestMemoryJournal(JournalConformance):
    """The contract over memory."""

    @pytest.fixture
    def journal(self) -> Journal:
        """Return an empty journal."""
        return MemoryJournal()


class TestSqliteJournal(JournalConformance):
    """The contract over a SQLite file."""

    @pytest.fixture
    def journal(self, tmp_path: Path) -> Iterator[Journal]:
        """Return an empty journal."""
        with contextlib.closing(SqliteJournal(tmp_path / "calls.db")) as journal:
            yield journal


@needs_redis
class TestRedisJournal(JournalConformance):
    """The contract over a Redis."""

    @pytest.fixture
    def journal(self, redis_server: RedisServer) -> Iterator[Journal]:
        """Return an empty journal."""
        # Imported here: this is collected where redis-py is missing, too.
        from gpt_agent_sync.journal.redis import RedisJournal

        with contextlib.closing(RedisJournal(redis_server.url)) as journal:
            yield journal


@needs_redis
class TestRedisClusterJournal(JournalConformance):
    """The contract over a cluster."""

    @pytest.fixture
    def journal(self, cluster_client: Any) -> Iterator[Journal]:
        """Return an empty journal."""
        from gpt_agent_sync.journal.redis import RedisJournal

        with contextlib.closing(RedisJournal(cluster_client)) as journal:
            yield journal
