"""Answers that all kinds of objects share: pages, and the receipt for a deletion."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from flask import Response, jsonify

from gpt_agent_sync.server.bodies import ListQuery
from gpt_agent_sync.server.storage import Collection, Object
from gpt_agent_sync.server.wire_errors import not_found


def list_page(
    collection: Collection,
    connection: sa.Connection,
    query: ListQuery,
    kind: str,
    parent_id: str | None = None,
    *,
    run_id: str | None = None,
    show: Callable[[Object], Object] = dict,
) -> Response:
    """Give a page of a collection as the wire does.

    Raises:
        WireError: If a cursor is not there.
    """
    try:
        found, has_more = collection.page(
            connection,
            parent_id=parent_id,
            order=query.order,
            limit=query.limit,
            after=query.after,
            before=query.before,
            run_id=run_id,
        )
    except KeyError as exc:
        raise not_found(kind, str(exc.args[0])) from exc
    return jsonify(
        {
            "object": "list",
            "data": [show(item) for item in found],
            "first_id": found[0]["id"] if found else None,
            "last_id": found[-1]["id"] if found else None,
            "has_more": has_more,
        }
    )


def deleted(object_id: str, kind: str) -> Response:
    """Give the receipt for a deletion."""
    return jsonify({"id": object_id, "object": kind, "deleted": True})
