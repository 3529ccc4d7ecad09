"""The events of streams that may be resumed, for the processes that do not work on them."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from gpt_agent_sync.server.storage.collection import Connection

LoggedEvent = tuple[str, str]
"""An event's name and its data, as they go over the wire."""

NumberedEvent = tuple[int, str, str]
"""An event's number, name and data."""


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
        if not rows:
            return
        # What is there stays: the answer to an earlier commit may have been lost.
        insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        connection.execute(insert(self._table).on_conflict_do_nothing(), rows)

    def after(
        self, connection: Connection, work_id: str, begin: int, limit: int = 1000
    ) -> list[NumberedEvent]:
        """Return the events of some work, from a number on."""
        table = self._table
        query = sa.select(table.c.number, table.c.name, table.c.data).where(
            table.c.work_id == work_id, table.c.number >= begin
        )
        found = connection.execute(query.order_by(table.c.number).limit(limit))
        return [(int(row.number), str(row.name), str(row.data)) for row in found]

    def has(self, connection: Connection, work_id: str) -> bool:
        """Return whether there are events of some work."""
        return bool(self.after(connection, work_id, 0, limit=1))

    def remove(self, connection: Connection, work_id: str) -> None:
        """Remove the events of some work."""
        connection.execute(self._table.delete().where(self._table.c.work_id == work_id))

    def remove_before(self, connection: Connection, time: float) -> None:
        """Remove the events of streams whose last one is older than a Unix time."""
        table = self._table
        old = (
            sa.select(table.c.work_id)
            .group_by(table.c.work_id)
            .having(sa.func.max(table.c.created_at) < time)
        )
        connection.execute(table.delete().where(table.c.work_id.in_(old)))
