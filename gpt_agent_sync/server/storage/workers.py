"""The workers: the processes, or servers in one, that work on runs and responses.

A worker that has work in hand counts its beat up now and then. Others see that it is alive by that
the beat changes, each by its own clock: those of several hosts need not agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from gpt_agent_sync.server.storage.collection import Connection


class Workers:
    """The table of workers.

    Args:
        table: The table; see ``schema``.
    """

    def __init__(self, table: sa.Table) -> None:
        self._table = table

    def beat(self, connection: Connection, worker_id: str) -> None:
        """Count a worker's beat up; it is added where it is not there."""
        table = self._table
        beaten = connection.execute(
            table.update().where(table.c.id == worker_id).values(beat=table.c.beat + 1)
        )
        if not beaten.rowcount:
            connection.execute(table.insert().values(id=worker_id, beat=0))

    def beats(self, connection: Connection) -> dict[str, int]:
        """Return the beat of each worker."""
        table = self._table
        found = connection.execute(sa.select(table.c.id, table.c.beat))
        return {str(row.id): int(row.beat) for row in found}

    def remove_gone(self, connection: Connection, beats: Mapping[str, int]) -> None:
        """Remove workers that are gone, unless one has beaten meanwhile.

        Args:
            connection: The transaction.
            beats: The last beat of each.
        """
        table = self._table
        for worker_id, beat in beats.items():
            connection.execute(table.delete().where(table.c.id == worker_id, table.c.beat == beat))

    def remove(self, connection: Connection, worker_ids: Iterable[str]) -> None:
        """Remove workers that end."""
        table = self._table
        connection.execute(table.delete().where(table.c.id.in_(list(worker_ids))))
