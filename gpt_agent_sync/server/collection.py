"""One kind of the wires' objects: a table, over SQLAlchemy.

Rows hold the wire's own objects as JSON, beside the few columns that are queried.
"""

from __future__ import annotations

import secrets
from typing import Any, TypeAlias

import sqlalchemy as sa

Connection: TypeAlias = sa.Connection
"""A transaction that ``Storage.read`` or ``Storage.write`` has begun."""

Object = dict[str, Any]
"""An object of a wire; keys that begin with ``_`` are kept beside it, and not shown."""


def new_id(prefix: str) -> str:
    """Return a new id, such as ``thread_4f...``."""
    return f"{prefix}_{secrets.token_hex(12)}"


class Collection:
    """The objects of one kind.

    Args:
        name: The table.
        metadata: Where the table is declared.
    """

    def __init__(self, name: str, metadata: sa.MetaData) -> None:
        self._table = sa.Table(
            name,
            metadata,
            # created_at counts whole seconds, so that the order of age needs a column of its own.
            sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("id", sa.String(64), unique=True, nullable=False),
            sa.Column("parent_id", sa.String(64), index=True),
            sa.Column("run_id", sa.String(64), index=True),
            sa.Column("status", sa.String(32)),
            sa.Column("data", sa.JSON, nullable=False),
        )

    def insert(self, connection: Connection, data: Object, parent_id: str | None = None) -> None:
        """Add an object; its ``id``, ``run_id`` and ``status`` fill the columns."""
        connection.execute(
            self._table.insert().values(
                id=data["id"],
                parent_id=parent_id,
                run_id=data.get("run_id"),
                status=data.get("status"),
                data=data,
            )
        )

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
        query = self._select(self._table.c.data, parent_id).where(self._table.c.id == object_id)
        # SQLite drops FOR UPDATE from the statement: there a write transaction is alone anyway.
        return connection.execute(query.with_for_update() if lock else query).scalar()

    def update(self, connection: Connection, data: Object) -> None:
        """Replace the object of the same id."""
        # One that was deleted meanwhile stays so: the statement then finds no row.
        table = self._table
        connection.execute(
            table.update()
            .where(table.c.id == data["id"])
            .values(data=data, status=data.get("status"), run_id=data.get("run_id"))
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
        """Return the objects of ``parent_id`` in one of the statuses, oldest first."""
        table = self._table
        query = self._select(table.c.data, parent_id).where(table.c.status.in_(statuses))
        return list(connection.execute(query.order_by(table.c.seq)).scalars())

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
        query = self._select(self._table.c.seq, parent_id).where(self._table.c.id == object_id)
        seq = connection.execute(query).scalar()
        # A cursor of another parent is none of this list, although the object exists.
        if seq is None:
            raise KeyError(object_id)
        return int(seq)

    def _select(self, column: sa.Column[Any], parent_id: str | None) -> sa.Select[Any]:
        query = sa.select(column)
        return query if parent_id is None else query.where(self._table.c.parent_id == parent_id)
