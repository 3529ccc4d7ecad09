"""One kind of the wires' objects: a table, over SQLAlchemy.

Rows hold the wire's own objects as JSON, beside the few columns that are queried.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa

Connection: TypeAlias = sa.Connection
"""A transaction that ``Storage.read`` or ``Storage.write`` has begun."""

Object = dict[str, Any]
"""An object of a wire; keys that begin with ``_`` are kept beside it, and not shown."""


MOST_IDS = 500
"""Ids that one statement asks for: databases have bounds."""

OWNER = "_owner"
"""Where a run or response keeps the worker that works on it."""


def new_id(prefix: str) -> str:
    """Return a new id, such as ``thread_4f...``."""
    return f"{prefix}_{secrets.token_hex(12)}"


class Collection:
    """The objects of one kind.

    Args:
        table: The table; see ``schema``.
    """

    def __init__(self, table: sa.Table) -> None:
        self._table = table
        self._columns = [name for name in ("run_id", "status", "owner") if name in table.c]

    def insert(self, connection: Connection, data: Object, parent_id: str | None = None) -> None:
        """Add an object; the columns that are for searches are filled from it."""
        self.insert_all(connection, [data], parent_id)

    def insert_all(
        self, connection: Connection, items: Sequence[Object], parent_id: str | None = None
    ) -> None:
        """Add objects, in this order."""
        rows = [{"id": each["id"], "parent_id": parent_id, **self._values(each)} for each in items]
        if rows:
            connection.execute(self._table.insert(), rows)

    def _values(self, data: Object) -> Object:
        values = {name: data.get(name) for name in self._columns if name != "owner"}
        if "owner" in self._columns:
            values["owner"] = data.get(OWNER)
        return {**values, "data": data}

    def get(
        self,
        connection: Connection,
        object_id: str,
        parent_id: str | None = None,
        *,
        lock: bool = False,
    ) -> Object | None:
        """Return an object, ``None`` when it is not there.

        Args:
            connection: The transaction.
            object_id: Its id.
            parent_id: What it must belong to.
            lock: Whether others are kept from changing it until the transaction ends.
        """
        # PostgreSQL has no texts with a NUL in them, and refuses to look for one.
        if "\0" in f"{object_id}{parent_id}":
            return None
        query = self._select(self._table.c.data, parent_id).where(self._table.c.id == object_id)
        # SQLite drops FOR UPDATE from the statement: there a write transaction is alone anyway.
        return connection.execute(query.with_for_update() if lock else query).scalar()

    def get_all(self, connection: Connection, object_ids: Iterable[str]) -> dict[str, Object]:
        """Return those of the objects that are there, by their ids."""
        table = self._table
        ids = [object_id for object_id in dict.fromkeys(object_ids) if "\0" not in object_id]
        found: dict[str, Object] = {}
        for begin in range(0, len(ids), MOST_IDS):
            query = sa.select(table.c.id, table.c.data).where(
                table.c.id.in_(ids[begin : begin + MOST_IDS])
            )
            found.update((row.id, row.data) for row in connection.execute(query))
        return found

    def update(self, connection: Connection, data: Object) -> None:
        """Replace the object of the same id."""
        # One that was deleted meanwhile stays so: the statement then finds no row.
        table = self._table
        connection.execute(
            table.update().where(table.c.id == data["id"]).values(self._values(data))
        )

    def delete(self, connection: Connection, object_id: str) -> None:
        """Remove an object."""
        connection.execute(self._table.delete().where(self._table.c.id == object_id))

    def delete_of(self, connection: Connection, parent_id: str) -> None:
        """Remove all objects that belong to another."""
        connection.execute(self._table.delete().where(self._table.c.parent_id == parent_id))

    def with_status(
        self, connection: Connection, parent_id: str, statuses: frozenset[str]
    ) -> list[Object]:
        """Return the objects of ``parent_id`` in one of the statuses, oldest first, locked."""
        table = self._table
        query = self._select(table.c.data, parent_id).where(table.c.status.in_(statuses))
        return list(connection.execute(query.order_by(table.c.seq).with_for_update()).scalars())

    def left(
        self,
        connection: Connection,
        statuses: frozenset[str],
        owners: Sequence[str],
        limit: int,
    ) -> list[Object]:
        """Return objects in one of the statuses that none of the owners has, oldest first."""
        table = self._table
        query = sa.select(table.c.data).where(
            table.c.status.in_(statuses),
            sa.or_(table.c.owner.is_(None), table.c.owner.not_in(owners)),
        )
        return list(connection.execute(query.order_by(table.c.seq).limit(limit)).scalars())

    def states(
        self, connection: Connection, object_ids: Sequence[str]
    ) -> list[tuple[str, str, str | None]]:
        """Return id, status and owner of each object that is there."""
        table = self._table
        found: list[tuple[str, str, str | None]] = []
        for begin in range(0, len(object_ids), MOST_IDS):
            asked = table.c.id.in_(object_ids[begin : begin + MOST_IDS])
            query = sa.select(table.c.id, table.c.status, table.c.owner).where(asked)
            found.extend((row.id, row.status, row.owner) for row in connection.execute(query))
        return found

    def newest_of(self, connection: Connection, parent_id: str, count: int) -> list[Object]:
        """Return the newest objects of ``parent_id``, oldest first."""
        query = self._select(self._table.c.data, parent_id).order_by(self._table.c.seq.desc())
        return list(connection.execute(query.limit(count)).scalars())[::-1]

    def walk(
        self, connection: Connection, parent_id: str | None, after: int, limit: int
    ) -> list[tuple[int, Object]]:
        """Return objects with their places in the order of age, from one place on.

        Unlike ids, places can be gone on from though what was there is deleted.
        """
        table = self._table
        query = sa.select(table.c.seq, table.c.data).where(table.c.seq > after)
        if parent_id is not None:
            query = query.where(table.c.parent_id == parent_id)
        found = connection.execute(query.order_by(table.c.seq).limit(limit))
        return [(int(row.seq), row.data) for row in found]

    def count_of(self, connection: Connection, parent_id: str) -> int:
        """Return how many objects belong to ``parent_id``."""
        query = sa.select(sa.func.count()).where(self._table.c.parent_id == parent_id)
        return int(connection.execute(query).scalar() or 0)

    def all_of(self, connection: Connection, parent_id: str) -> list[Object]:
        """Return the objects of ``parent_id``, oldest first."""
        query = self._select(self._table.c.data, parent_id).order_by(self._table.c.seq)
        return list(connection.execute(query).scalars())

    def page(
        self,
        connection: Connection,
        *,
        parent_id: str | None,
        order: str,
        limit: int,
        after: str | None,
        before: str | None,
        run_id: str | None = None,
    ) -> tuple[list[Object], bool]:
        """Return a page of objects, and whether more follow it.

        Args:
            connection: The transaction.
            parent_id: What they belong to.
            order: ``"asc"`` or ``"desc"`` by age.
            limit: How many at most.
            after: The id that the page begins after, in this order.
            before: The id that the page ends before, in this order.
            run_id: The run they come from.

        Raises:
            KeyError: If ``after`` or ``before`` is not there; it carries the id.
        """
        table = self._table
        if "\0" in f"{parent_id}{run_id}":
            return [], False
        query = self._select(table.c.data, parent_id)
        if run_id is not None:
            query = query.where(table.c.run_id == run_id)
        ascending = order == "asc"
        if after is not None:
            seq = self._seq(connection, after, parent_id)
            query = query.where(table.c.seq > seq if ascending else table.c.seq < seq)
        if before is not None:
            seq = self._seq(connection, before, parent_id)
            query = query.where(table.c.seq < seq if ascending else table.c.seq > seq)
        # The page before an id is the one that ends right there: it is read from that end, and
        # turned round.
        backwards = before is not None and after is None
        by = table.c.seq.asc() if ascending != backwards else table.c.seq.desc()
        # One more than asked for: whether it is there is whether more follow, without a count.
        found = list(connection.execute(query.order_by(by).limit(limit + 1)).scalars())
        page = found[:limit]
        return (page[::-1] if backwards else page), len(found) > limit

    def _seq(self, connection: Connection, object_id: str, parent_id: str | None) -> int:
        if "\0" in object_id:
            raise KeyError(object_id)
        query = self._select(self._table.c.seq, parent_id).where(self._table.c.id == object_id)
        seq = connection.execute(query).scalar()
        # A cursor of another parent is none of this list, although the object exists.
        if seq is None:
            raise KeyError(object_id)
        return int(seq)

    def _select(self, column: sa.Column[Any], parent_id: str | None) -> sa.Select[Any]:
        query = sa.select(column)
        return query if parent_id is None else query.where(self._table.c.parent_id == parent_id)
