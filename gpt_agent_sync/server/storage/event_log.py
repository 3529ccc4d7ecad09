"""The events of streams that may be resumed, for the processes that do not work on them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from gpt_agent_sync.server.storage.collection import Connection

LoggedEvent = tuple[str, str]
"""An event's name and its data, as they go over the wire."""


class EventLog:
    """The table of events.

    Args:
        table: The table; see ``schema``.
    """

    def __init__(self, table: sa.Table) -> None:
        self._table = table

    def add(
        self,
        connection: Connection,
        work_id: str,
        begin: int,
        events: Sequence[LoggedEvent],
        now: float,
    ) -> None:
        """Add events.

        Args:
            connection: The transaction.
            work_id: Whose they are.
            begin: The number of the first one.
            events: The events.
            now: Unix time.
        """
        rows = [
            {"work_id": work_id, "number": number, "name": name, "data": data, "created_at": now}
            for number, (name, data) in enumerate(events, begin)
        ]
        if rows:
            connection.execute(self._table.insert(), rows)

    def after(
        self, connection: Connection, work_id: str, begin: int, limit: int = 1000
    ) -> list[LoggedEvent]:
        """Return the events of some work, from a number on."""
        table = self._table
        query = sa.select(table.c.name, table.c.data).where(
            table.c.work_id == work_id, table.c.number >= begin
        )
        found = connection.execute(query.order_by(table.c.number).limit(limit))
        return [(str(row.name), str(row.data)) for row in found]

    def has(self, connection: Connection, work_id: str) -> bool:
        """Return whether there are events of some work."""
        return bool(self.after(connection, work_id, 0, limit=1))

    def remove(self, connection: Connection, work_id: str) -> None:
        """Remove the events of some work."""
        connection.execute(self._table.delete().where(self._table.c.work_id == work_id))

    def remove_before(self, connection: Connection, time: float) -> None:
        """Remove the events that are older than a Unix time."""
        connection.execute(self._table.delete().where(self._table.c.created_at < time))
